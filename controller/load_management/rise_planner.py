"""Rises of a pass into room that the rises to the shares have left.

Small differences between offers and shares wait for renewals. Their room is not left unused meanwhile: few
EVSEs are raised by much, above their share if need be, rather than many by a little. Who needs the room later
gets it by a cut (`cut_planner.py`), and renewals level the shares again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence

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


class RisePlanner:
    """Finds the EVSEs that are raised into the room that is left."""

    def __init__(self, controllers: Sequence[EvseController]) -> None:
        self._on_circuit: defaultdict[str, list[EvseController]] = defaultdict(list)
        for each in controllers:
            self._on_circuit[each.evse.circuit].append(each)

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
            rooms: dict[tuple[PhaseFlags, bool], float] = {}
            for each in self._on_circuit.get(circuit, ()):
                evse, phases = each.evse, each.model.phases
                room_a = rooms.get((phases, evse.steerable))
                if room_a is None:
                    room_a = rooms[phases, evse.steerable] = ledger.room(evse, phases)
                cost += COST_SEARCH
                if room_a < SPARE_A or (allocation := allocations.get(evse.ref)) is None:
                    continue
                if each.delivery.least_rise_a(now) <= room_a - BUFFER_A:
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
    offered_a, share_a = controller.offer.offered_a, allocation.limit_a
    least_a = max(LEAST_RISE_A, controller.delivery.least_rise_a(now))
    found_a = min(offered_a + room_a - BUFFER_A, share_a + deepest_a(share_a))
    if found_a - offered_a < least_a:
        return None
    found_a = min(found_a, controller.offer.most_beside_share_a(allocation))
    return found_a if found_a - offered_a >= least_a else None
