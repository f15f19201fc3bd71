"""Rises of a pass into room that the rises to the shares have left.

Small differences between offers and shares wait for renewals. Their room is not left unused meanwhile: few
EVSEs are raised by much, above their share if need be, rather than many by a little. Who needs the room later
gets it by a cut (`cut_planner.py`), and renewals level the shares again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Mapping

from controller.load_management.allocation.allocator import Allocation
from controller.load_management.allocation.headroom import Headroom
from controller.load_management.cut_planner import deepest_a
from controller.load_management.evse.evse_controller import EvseController
from controller.load_management.site_tree import PhaseFlags
from controller.model.observations import EvseRef

SPARE_A = 2.0
"""Least room into which an EVSE is raised."""
BUFFER_A = 1.0
"""Room that is left then, so that the next flutter of the building needs no cut."""
LEAST_RISE_A = 1.0
"""Smallest such rise."""
SHOWS_AFTER_S = 30.0
"""Time after the last limit of an EVSE from which another step can show the phases of its car."""
COST_SEARCH = 3
COST_PLACE = 5
COST_SORT = 2
SEARCH_AT_ONCE = 600
"""Work of one EVSE that is searched, placed and sorted, and of those searched in one step (about us of a
small computer)."""


Group = tuple[PhaseFlags, bool]
"""Phases of the site on which an EVSE may draw, and whether the grid operator limits it."""


class RisePlanner:
    """Finds the EVSEs that are raised into the room that is left."""

    def __init__(self) -> None:
        self._groups: defaultdict[str, dict[Group, dict[EvseRef, EvseController]]] = defaultdict(dict)
        """EVSEs that can take more than their offers, as they were noted last: by circuit and group."""
        self._group_of: dict[EvseRef, Group] = {}

    def note(self, each: EvseController, allocation: Allocation | None) -> None:
        """Note whether an EVSE with this allocation can take more than it is offered now."""
        ref, groups = each.evse.ref, self._groups[each.evse.circuit]
        can_rise = allocation is not None and _most_a(each, allocation) - each.offer.offered_a >= LEAST_RISE_A
        group = (each.model.phases, each.evse.steerable) if can_rise else None
        before = self._group_of.get(ref)
        if before == group:
            return
        if before is not None:
            del groups[before][ref]
        if group is None:
            del self._group_of[ref]
        else:
            self._group_of[ref] = group
            groups.setdefault(group, {})[ref] = each

    def find_able(
        self, allocations: Mapping[EvseRef, Allocation], ledger: Headroom, now: float
    ) -> Generator[int, None, list[tuple[EvseController, Allocation]]]:
        """Return the EVSEs that may rise with their shares, in order; yield the cost of each step.

        The most important come first, then those whose phases a step may show, then those below their share,
        then those whose lease would be renewed soonest. Only circuits with room are searched: on a full site
        these are few. Most that have room now have none when it is their turn: `target_a` is asked then.
        """
        able: dict[tuple[int, bool, bool, float, EvseRef], tuple[EvseController, Allocation]] = {}
        cost = 0
        for circuit in ledger.circuits_with_room(SPARE_A):
            for (phases, _), evses in self._groups[circuit].items():
                if not evses:
                    continue
                first = next(iter(evses.values()))
                room_a = ledger.room(first.evse, phases)
                cost += COST_SEARCH
                if room_a < SPARE_A:
                    continue
                cost += COST_SEARCH * len(evses)
                for ref, each in evses.items():
                    allocation = allocations.get(ref)
                    if allocation is not None and each.delivery.least_rise_a(now) <= room_a - BUFFER_A:
                        able[_place(each, allocation, now)] = each, allocation
                        cost += COST_PLACE
            if cost >= SEARCH_AT_ONCE:
                yield cost
                cost = 0
        yield cost + len(able) * COST_SORT
        return [able[place] for place in sorted(able)]


def _place(
    each: EvseController, allocation: Allocation, now: float
) -> tuple[int, bool, bool, float, EvseRef]:
    """Return the place of an EVSE in the order of the rises."""
    written_at = each.delivery.written_at
    return (
        -each.demand.priority,
        each.model.phases_known or now < written_at + SHOWS_AFTER_S,
        each.offer.offered_a >= allocation.limit_a,
        written_at,
        each.evse.ref,
    )


def target_a(
    controller: EvseController, allocation: Allocation, ledger: Headroom, now: float
) -> float | None:
    """Return the limit (A per phase) to raise an EVSE to; None: it has no room or does not rise beyond it."""
    room_a = ledger.room(controller.evse, controller.model.phases)
    if room_a < SPARE_A:
        return None
    offered_a = controller.offer.offered_a
    least_a = max(LEAST_RISE_A, controller.delivery.least_rise_a(now))
    if room_a - BUFFER_A < least_a:
        return None
    found_a = min(offered_a + room_a - BUFFER_A, _most_a(controller, allocation))
    return found_a if found_a - offered_a >= least_a else None


def _most_a(controller: EvseController, allocation: Allocation) -> float:
    """Return the most (A per phase) that an EVSE with this allocation is raised to."""
    share_a = allocation.limit_a
    return min(share_a + deepest_a(share_a), controller.offer.most_beside_share_a(allocation))
