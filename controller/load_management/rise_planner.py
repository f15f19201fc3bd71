"""Rises of a pass into room that the rises to the shares have left.

Small differences between offers and shares wait for renewals. Their room is not left unused meanwhile: few
EVSEs are raised by much, above their share if need be, rather than many by a little. Who needs the room later
gets it by a cut (`cut_planner.py`), and renewals level the shares again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator
from heapq import heapify

import msgspec

from controller.load_management.allocation.allocator import Allocation
from controller.load_management.allocation.headroom import Headroom
from controller.load_management.cut_planner import Group, deepest_a
from controller.load_management.evse.evse_controller import EvseController
from controller.load_management.evse.limit_delivery import STEP_A
from controller.model.observations import EvseRef

SPARE_A = 2.0
"""Least room into which an EVSE is raised."""
BUFFER_A = 1.0
"""Room that is left then, so that the next flutter of the building needs no cut."""
LEAST_RISE_A = 1.0
"""Smallest such rise."""
SHOWS_AFTER_S = 30.0
"""Time after the last limit of an EVSE from which another step can show the phases of its car."""
COST_NOTED = 5
COST_SEARCH = 3
COST_PLACE = 1
COST_SORT = 1
SEARCH_AT_ONCE = 600
"""Work of one EVSE that was noted, is searched, placed and sorted, and of those searched in one step (about
us of a small computer)."""


Place = tuple[int, bool, bool, float, EvseRef]
"""Place of an EVSE in the order of the rises."""


class Able(msgspec.Struct, frozen=True, order=True, gc=False):
    """EVSE that can take more than its offer, at its place in the order of the rises."""

    place: Place
    controller: EvseController
    allocation: Allocation


class RisePlanner:
    """Finds the EVSEs that are raised into the room that is left."""

    def __init__(self) -> None:
        self._groups: defaultdict[str, dict[Group, dict[EvseRef, Able]]] = defaultdict(dict)
        """EVSEs that can take more than their offers: by circuit and group."""
        self._group_of: dict[EvseRef, dict[EvseRef, Able]] = {}
        """Group in which an EVSE is."""
        self._noted: defaultdict[str, dict[EvseRef, tuple[EvseController, Allocation | None]]] = defaultdict(
            dict
        )
        """EVSEs to place anew when their circuit is searched; on a full site few circuits are."""

    def note(self, each: EvseController, allocation: Allocation | None) -> None:
        """Note that the offer or the allocation of an EVSE is another one than before."""
        self._noted[each.evse.circuit][each.evse.ref] = each, allocation

    def _place_noted(self, circuit: str) -> int:
        """Place the EVSEs of a circuit that were noted since it was searched last; return what that costs."""
        groups, noted = self._groups[circuit], self._noted.pop(circuit, {})
        for ref, (each, allocation) in noted.items():
            if (before := self._group_of.pop(ref, None)) is not None:
                del before[ref]
            offered_a = each.offer.offered_a
            if allocation is None or _most_a(each, allocation) - offered_a < LEAST_RISE_A:
                continue
            written_at, is_at_share = each.delivery.written_at, offered_a >= allocation.limit_a
            place = (-each.demand.priority, each.model.phases_known, is_at_share, written_at, ref)
            group = groups.setdefault((each.model.phases, each.evse.steerable), {})
            group[ref] = Able(place, each, allocation)
            self._group_of[ref] = group
        return len(noted) * COST_NOTED

    def find_able(self, ledger: Headroom, now: float) -> Generator[int, None, list[Able]]:
        """Return the EVSEs that may rise with their shares, as a heap; yield the cost of each step.

        The most important come first, then those whose phases a step may show, then those below their share,
        then those whose lease would be renewed soonest. Only circuits with room are searched: on a full site
        these are few. Most that have room now have none when it is their turn: `target_a` is asked then.
        """
        able: list[Able] = []
        cost = 0
        for circuit in ledger.circuits_with_room(SPARE_A):
            cost += self._place_noted(circuit)
            for (phases, _), evses in self._groups[circuit].items():
                if not evses:
                    continue
                found = list(evses.values())
                free_a = ledger.room(found[0].controller.evse, phases) - BUFFER_A
                cost += COST_SEARCH
                if free_a < SPARE_A - BUFFER_A:
                    continue
                if free_a < STEP_A:
                    found = [each for each in found if each.controller.delivery.least_rise_a(now) <= free_a]
                able += [_placed(each, now) for each in found]
                cost += COST_PLACE * len(evses)
            if cost >= SEARCH_AT_ONCE:
                yield cost
                cost = 0
        yield cost + len(able) * COST_SORT
        heapify(able)
        return able


def _placed(able: Able, now: float) -> Able:
    """Return an EVSE at its place by now: a step shows the phases of its car a while after the last one."""
    priority, is_known, is_at_share, written_at, ref = able.place
    if is_known or now >= written_at + SHOWS_AFTER_S:
        return able
    place = (priority, True, is_at_share, written_at, ref)
    return Able(place, able.controller, able.allocation)


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
