"""EVSEs that have the same room: those of a circuit that draw on the same phases.

Whether there is room for a rise is asked once for all of them, when the first one's turn comes. EVSEs are
raised in the order of their places until the room is gone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable
from heapq import heappop, heapreplace
from typing import Generic, TypeVar

import msgspec

from controller.load_management.allocation.headroom import Headroom
from controller.load_management.evse.evse_controller import EvseController
from controller.load_management.site_tree import PhaseFlags
from controller.model.observations import EvseRef

FLUTTER_A = 0.5
"""Room (A per phase) above the present one for which the result of a search for rises is kept, too."""
COST_PLACE = 3
COST_GROUP = 1
"""Work of one EVSE that is placed, and of a group (about us of a small computer)."""
SEARCH_AT_ONCE = 600
"""Work of the groups that are searched in one step."""

Group = tuple[PhaseFlags, bool]
"""Phases of the site on which an EVSE may draw, and whether the grid operator limits it."""
RisePlace = tuple[float | EvseRef, ...]
"""Place of an EVSE in an order of rises."""
Noted = TypeVar("Noted")
"""Type of the value that is noted with each EVSE of a group: its share, its rank, or none."""


class RiseCandidate(msgspec.Struct, frozen=True, order=True, gc=False):
    """EVSE at its place in an order: the least comes first."""

    place: RisePlace
    controller: EvseController


class RoomGroup(Generic[Noted]):
    """EVSEs that have the same room, as they are on one circuit and draw on the same phases."""

    def __init__(self) -> None:
        self.members: dict[EvseRef, tuple[EvseController, Noted]] = {}
        self._order: list[RiseCandidate] = []
        self._order_ends_at = -math.inf
        """Time (s, monotonic) until which that is their order."""
        self._no_rise_until = -math.inf
        """Time (s, monotonic) until which none of them rises into less room than `_searched_a`."""
        self._searched_a = 0.0

    def set(self, each: EvseController, noted: Noted) -> None:
        """Add an EVSE, or note something else of it."""
        self.members[each.evse.ref] = each, noted
        self._order_ends_at = self._no_rise_until = -math.inf

    def remove(self, ref: EvseRef) -> None:
        """Remove an EVSE that is in the group."""
        self._order_ends_at = self._no_rise_until = -math.inf
        del self.members[ref]

    def room_a(self, ledger: Headroom) -> float:
        """Return the room (A per phase) that each of them has."""
        each, _ = next(iter(self.members.values()))
        return ledger.room(each.evse, each.model.phases)

    def may_rise_into(self, room_a: float, now: float) -> bool:
        """Return True if a rise of one of them into this room may be worth a write by now.

        It is found anew once one has changed. The room of a circuit flutters: it is found for a little more.
        """
        if now >= self._no_rise_until or room_a > self._searched_a:
            self._searched_a = room_a + FLUTTER_A
            self._no_rise_until = math.inf
            for each, _ in self.members.values():
                rises_at = each.offer.rises_into_at(self._searched_a, now)
                self._no_rise_until = min(self._no_rise_until, rises_at)
                if now >= self._no_rise_until:
                    return True
        return now >= self._no_rise_until

    def in_order(self, place_of: PlaceOf[Noted], now: float) -> tuple[Waiting, int]:
        """Return the EVSEs by their places, and the cost; the order is found anew once one has changed."""
        cost = COST_GROUP
        if now >= self._order_ends_at:
            order, self._order_ends_at = [], math.inf
            for each, noted in self.members.values():
                place, ends_at = place_of(each, noted, now)
                order.append(RiseCandidate(place, each))
                self._order_ends_at = min(self._order_ends_at, ends_at)
            order.sort()
            self._order = order
            cost += COST_PLACE * len(order)
        return (self._order[0].place, self._order, 0, True), cost


PlaceOf = Callable[[EvseController, Noted, float], tuple[RisePlace, float]]
"""Function that returns the place of an EVSE, and until when (s, monotonic) it is that."""
Waiting = tuple[RisePlace, list[RiseCandidate], int, bool]
"""EVSEs in their order, how many of them were taken, and before these the place of the next one; True if
they only rise, as one group."""


class RoomGroups(Generic[Noted]):
    """EVSEs of which something is noted, by circuit and group."""

    def __init__(self) -> None:
        self.by_circuit: dict[str, dict[Group, RoomGroup[Noted]]] = {}
        """Groups that have members."""
        self._group_of: dict[EvseRef, tuple[str, Group]] = {}

    def __contains__(self, ref: object) -> bool:
        return ref in self._group_of

    def is_noted(self, each: EvseController, noted: Noted) -> bool:
        """Return True if just this is noted of an EVSE, on the phases on which it may draw now."""
        place = self._group_of.get(each.evse.ref)
        if place is None or place[1][0] != each.model.phases:
            return False
        circuit, key = place
        return self.by_circuit[circuit][key].members[each.evse.ref][1] == noted

    def note(self, each: EvseController, noted: Noted) -> None:
        """Note something of an EVSE, in place of what was noted before."""
        ref, circuit = each.evse.ref, each.evse.circuit
        place = circuit, (each.model.phases, each.evse.steerable)
        if self._group_of.get(ref) != place:
            self.drop(ref)
            self._group_of[ref] = place
        groups = self.by_circuit.get(circuit)
        if groups is None:
            groups = self.by_circuit[circuit] = {}
        group = groups.get(place[1])
        if group is None:
            group = groups[place[1]] = RoomGroup()
        group.set(each, noted)

    def drop(self, ref: EvseRef) -> None:
        """Drop what is noted of an EVSE, if anything."""
        place = self._group_of.pop(ref, None)
        if place is None:
            return
        circuit, key = place
        groups = self.by_circuit[circuit]
        group = groups[key]
        group.remove(ref)
        if not group.members:
            del groups[key]
            if not groups:
                del self.by_circuit[circuit]

    def regroup(self, each: EvseController) -> None:
        """Note that an EVSE may draw on other phases than before."""
        place = self._group_of.get(each.evse.ref)
        if place is not None and place[1][0] != each.model.phases:
            circuit, key = place
            self.note(each, self.by_circuit[circuit][key].members[each.evse.ref][1])

    def waiting(
        self, circuits: Iterable[str], ledger: Headroom, least_a: float, place_of: PlaceOf[Noted], now: float
    ) -> Generator[int, None, list[Waiting]]:
        """Return the groups of these circuits in which a rise may be worth a write by now.

        Each has so much room (A per phase), and is in its order. Yields the cost of each step.
        """
        found: list[Waiting] = []
        cost = 0
        for circuit in circuits:
            for group in self.by_circuit.get(circuit, {}).values():
                room_a = group.room_a(ledger)
                cost += COST_GROUP
                if room_a >= least_a:
                    cost += COST_PLACE * len(group.members)
                    if group.may_rise_into(room_a, now):
                        found.append(group.in_order(place_of, now)[0])
            if cost >= SEARCH_AT_ONCE:
                yield cost
                cost = 0
        yield cost
        return found

    def in_order(self, place_of: PlaceOf[Noted], now: float) -> Generator[int, None, list[Waiting]]:
        """Return all groups, each in its order. Yields the cost of each step."""
        found: list[Waiting] = []
        cost = 0
        for groups in list(self.by_circuit.values()):
            for group in groups.values():
                waiting, found_at_cost = group.in_order(place_of, now)
                found.append(waiting)
                cost += found_at_cost
            if cost >= SEARCH_AT_ONCE:
                yield cost
                cost = 0
        yield cost
        return found


def take_first(
    waiting: list[Waiting], ledger: Headroom, least_a: float
) -> tuple[EvseController | None, bool]:
    """Take the first EVSE out of a heap of groups, and return it, and True if its group only rises.

    Where that group has not so much room (A per phase) any more, it is dropped as a whole: None.
    """
    _, order, taken, only_rises = waiting[0]
    each = order[taken].controller
    if only_rises and ledger.room(each.evse, each.model.phases) < least_a:
        heappop(waiting)
        return None, only_rises
    taken += 1
    if taken < len(order):
        heapreplace(waiting, (order[taken].place, order, taken, only_rises))
    else:
        heappop(waiting)
    return each, only_rises
