"""Cuts and rises of a pass: who comes down as others need the room, who takes what is left.

Small differences between offers and shares wait for renewals. Their room is not left unused meanwhile: few
EVSEs are raised by much, above their share if need be, rather than many by a little. Who needs the room later
gets it by a cut, and renewals level the shares again.

EVSEs of a circuit that draw on the same phases have the same room. Whether there is room for a rise is asked
once for all of them, when the first one's turn comes. EVSEs are raised in the order of their places until the
room is gone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence, Set
from heapq import heapify, heappop, heapreplace
from typing import Generic, TypeVar

import msgspec

from controller.load_management.allocation.allocator import Allocation
from controller.load_management.allocation.headroom import Bookings, Headroom
from controller.load_management.evse.evse_controller import EvseController
from controller.load_management.evse.evse_offer import deepest_a
from controller.load_management.evse.limit_delivery import NOISE_A
from controller.load_management.site_model import SiteModel
from controller.load_management.site_tree import PhaseFlags
from controller.model.observations import EvseRef

ASKED_A = 3.0
ASKED = 0.35
"""A rise by less than so many A, or this part of the share, does not make others come down early."""
ASKS_AFTER_S = 15.0
"""Time (s) after its last limit until others come down for an EVSE that is offered less than its share."""
EXCESS_A = 2.0
"""Offers less above their share than this do not come down for others that rise: renewals level them."""
CHUNK_A = 4.0
"""Smallest cut where a circuit is short of room: the next small shortage is then within it already."""

COST_FIND = 2
COST_SEARCH = 10
COST_CUT = 15
"""Work of one EVSE: found off its share, searched, cut (about us of a small computer)."""
AT_ONCE = 200
SORTED_AT_ONCE = 100
"""EVSEs that are searched in one step, and so many that are sorted in a step with others."""

SPARE_A = 2.0
"""Least room into which an EVSE is raised."""
BUFFER_A = 1.0
"""Room that is left then, so that the next flutter of the building needs no cut."""
LEAST_RISE_A = 1.0
"""Smallest such rise."""
SHOWS_AFTER_S = 30.0
"""Time after the last limit of an EVSE from which another step can show the phases of its car."""

ALL = 3
"""Column of a circuit's phases together, beside those of its phases."""
DIMMED = "dimmed"
"""Place of the EVSEs that the grid operator dims, beside the circuits."""
Place = tuple[str, int]
"""A circuit and the number of one of its phases, or `ALL`."""
Places = dict[Place, int]
"""Places that an EVSE loads, each with how many times its current."""

SEARCHED_FOR_S = 15.0
"""Time (s) for which the least room of a rise is found. It gets less with time: EVSEs are asked that do not
rise yet."""
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


PlaceOf = Callable[[EvseController, Noted, float], tuple[RisePlace, float]]
"""Function that returns the place of an EVSE, and until when (s, monotonic) it is that."""
Waiting = tuple[RiseCandidate, float, Iterator[RiseCandidate]]
"""First of some EVSEs in their order, the least room (A per phase) into which one of them rises, as a group
(negative infinity: the room does not matter), and those that follow the first."""


class RoomGroup(Generic[Noted]):
    """EVSEs that have the same room, as they are on one circuit and draw on the same phases."""

    def __init__(self) -> None:
        self.members: dict[EvseRef, tuple[EvseController, Noted]] = {}
        self._placed: dict[EvseRef, RiseCandidate] = {}
        """Members whose places are known, each with its place."""
        self._order: list[RiseCandidate] = []
        """All of them by their places; empty: to be found anew."""
        self._places_end_at = math.inf
        """Time (s, monotonic) until which these are their places."""
        self._least_rooms: dict[EvseRef, float] = {}
        """Least room (A per phase) into which a rise of each member may be worth a write."""
        self._least_rooms_until = -math.inf
        """Time (s, monotonic) until which it is not less."""

    def set(self, each: EvseController, noted: Noted) -> None:
        """Add an EVSE, or note something else of it."""
        self.members[each.evse.ref] = each, noted
        self._forget(each.evse.ref)

    def remove(self, ref: EvseRef) -> None:
        """Remove an EVSE that is in the group."""
        del self.members[ref]
        self._forget(ref)

    def _forget(self, ref: EvseRef) -> None:
        """Find anew what followed from an EVSE."""
        self._placed.pop(ref, None)
        self._least_rooms.pop(ref, None)
        self._order = []

    def room_a(self, headroom: Headroom) -> float:
        """Return the room (A per phase) that each of them has."""
        each, _ = next(iter(self.members.values()))
        return headroom.room(each.evse, each.model.phases)

    def least_room_a(self, now: float) -> tuple[float, int]:
        """Return the least room (A per phase) into which a rise of one may be worth a write, and the cost.

        It gets less with time: it is found for some seconds, and then only for those that have changed.
        """
        if now > self._least_rooms_until:
            self._least_rooms, self._least_rooms_until = {}, now + SEARCHED_FOR_S
        cost = COST_GROUP
        for ref in self.members.keys() - self._least_rooms.keys():
            each, _ = self.members[ref]
            self._least_rooms[ref] = each.offer.least_room_a(now, self._least_rooms_until)
            cost += COST_PLACE
        return min(self._least_rooms.values()), cost

    def find_rising(
        self, headroom: Headroom, place_of: PlaceOf[Noted], now: float
    ) -> tuple[Waiting | None, int]:
        """Return those of which a rise into their room may be worth a write, in their order, and the cost.

        None: there is no such one. One that changes meanwhile may rise, too.
        """
        room_a = self.room_a(headroom)
        if room_a < -NOISE_A:
            return None, COST_GROUP
        least_a, cost = self.least_room_a(now)
        if room_a < least_a:
            return None, cost
        order, found_at_cost = self.in_order(place_of, now)
        least_rooms = self._least_rooms
        rising = (each for each in order if least_rooms.get(each.controller.evse.ref, room_a) <= room_a)
        return (next(rising), least_a, rising), cost + found_at_cost

    def find_with_room(
        self, headroom: Headroom, least_a: float, place_of: PlaceOf[Noted], now: float
    ) -> tuple[Waiting | None, int]:
        """Return all of them in their order, and the cost; None where their room (A per phase) is less."""
        if self.room_a(headroom) < least_a:
            return None, COST_GROUP
        order, cost = self.in_order(place_of, now)
        following = iter(order)
        return (next(following), least_a, following), cost

    def in_order(self, place_of: PlaceOf[Noted], now: float) -> tuple[list[RiseCandidate], int]:
        """Return the EVSEs by their places, and the cost; only those that have changed are placed anew."""
        if now >= self._places_end_at:
            self._placed, self._order, self._places_end_at = {}, [], math.inf
        cost = COST_GROUP
        if not self._order:
            for ref in self.members.keys() - self._placed.keys():
                each, noted = self.members[ref]
                place, ends_at = place_of(each, noted, now)
                self._placed[ref] = RiseCandidate(place, each)
                self._places_end_at = min(self._places_end_at, ends_at)
                cost += COST_PLACE
            self._order = sorted(self._placed.values())
        return self._order, cost


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
        place = circuit, (each.model.phases, each.evse.is_controllable)
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

    def find_rising(
        self, circuits: Iterable[str], headroom: Headroom, place_of: PlaceOf[Noted], now: float
    ) -> Generator[int, None, list[Waiting]]:
        """Return the EVSEs of these circuits of which a rise may be worth a write by now.

        Each group is in its order. Yields the cost of each step.
        """
        return self._find(circuits, lambda group: group.find_rising(headroom, place_of, now))

    def find_with_room(
        self, headroom: Headroom, least_a: float, place_of: PlaceOf[Noted], now: float
    ) -> Generator[int, None, list[Waiting]]:
        """Return all groups with so much room (A per phase), each in its order.

        Yields the cost of each step.
        """
        return self._find(
            list(self.by_circuit), lambda group: group.find_with_room(headroom, least_a, place_of, now)
        )

    def _find(
        self, circuits: Iterable[str], find: Callable[[RoomGroup[Noted]], tuple[Waiting | None, int]]
    ) -> Generator[int, None, list[Waiting]]:
        """Return what is found in the groups of these circuits, each with its cost; yields that of a step."""
        found: list[Waiting] = []
        cost = 0
        for circuit in circuits:
            for group in self.by_circuit.get(circuit, {}).values():
                waiting, found_at_cost = find(group)
                cost += found_at_cost
                if waiting is not None:
                    found.append(waiting)
            if cost >= SEARCH_AT_ONCE:
                yield cost
                cost = 0
        yield cost
        return found


def take_first(waiting: list[Waiting], headroom: Headroom) -> tuple[EvseController | None, bool]:
    """Take the first EVSE out of a heap of groups, and return it, and True if its group only rises.

    Where that group has less room by now than the least into which one of it rises, it is dropped: None.
    """
    first, least_a, following = waiting[0]
    each = first.controller
    only_rises = least_a > -math.inf
    if only_rises and headroom.room(each.evse, each.model.phases) < least_a:
        heappop(waiting)
        return None, only_rises
    if (after := next(following, None)) is None:
        heappop(waiting)
    else:
        heapreplace(waiting, (after, least_a, following))
    return each, only_rises


OffShare = tuple[EvseController, float]
"""EVSE whose offer differs from its share, and its share (A per phase)."""
OffPlace = tuple[bool, float, bool, float, EvseRef, EvseController, float, Places]
"""EVSE above its share at its place in the order of the cuts, with its share and the places that it loads."""


class OffShares:
    """EVSEs whose offers differ from their shares, as they were noted last: `refs`, in any way.

    `below`: those so far below their share that they may ask for room. `above`: those above.
    """

    def __init__(self) -> None:
        self.refs: dict[EvseRef, None] = {}
        self.below: dict[EvseRef, OffShare] = {}
        self.above: RoomGroups[float] = RoomGroups()

    def note(self, each: EvseController, allocation: Allocation | None) -> None:
        """Note the offer of an EVSE and what it is allocated; None: nothing, so it gets its fallback."""
        ref, offered_a, share_a = each.evse.ref, each.offer.offered_a, each.offer.share_a(allocation)
        self.below.pop(ref, None)
        if abs(offered_a - share_a) <= NOISE_A:
            self.refs.pop(ref, None)
        else:
            self.refs[ref] = None
            if allocation is not None and offered_a > share_a:
                self.above.note(each, share_a)
                return
            needs_start = offered_a < each.demand.start_a
            if allocation is not None and (share_a - offered_a >= ASKED_A or needs_start):
                self.below[ref] = each, share_a
        self.above.drop(ref)


class CutPlanner:
    """Finds the EVSEs that are cut in a pass."""

    def __init__(self, model: SiteModel) -> None:
        self._model = model
        self._places_of: dict[tuple[str, PhaseFlags, bool], Places] = {}
        self._names: dict[str, list[str]] = {}

    def plan_cuts(
        self,
        off_shares: OffShares,
        headroom: Headroom,
        falling: Bookings,
        now: float,
    ) -> Generator[int, None, dict[EvseRef, float]]:
        """Return the limits (A per phase) of EVSEs that are cut now because their room is needed.

        Yields the cost of each step.
        `headroom`: the room beside all bookings; `falling`: what of these cuts free that are under way.
        Where a circuit is short of room or an EVSE cannot start, few are cut, and below their share, rather
        than many by a little, to spare writes: those first that obey fastest, then, where room is short,
        those whose reports show what they draw, then those whose lease would be renewed soonest. Where an
        EVSE is far below its share, those that are far above theirs come down to it. Renewals level the
        shares again.
        """
        headroom = headroom.beside(falling)  # what cuts under way will free is not asked a second time
        short = self._shortage(headroom)
        yield from self._model.site.scan_costs
        asked: dict[Place, float] = {}
        if off_shares.below:
            asked = yield from self._asked_room(list(off_shares.below.values()), headroom, short, now)
        cuts: dict[EvseRef, float] = {}
        if not short and not asked:
            return cuts
        order = yield from self._order(off_shares.above, short, asked, now)
        number, concerns_all = 0, self._concerns_all(short, asked)
        while order:
            *_, controller, share_a, places = heappop(order)
            number += 1
            if number % 100 == 0:
                yield 100 * COST_CUT
            missing_a = asked_a = 0.0
            for place in places.keys() & short.keys():
                missing_a = max(missing_a, short[place] / places[place])
            for place in places.keys() & asked.keys():
                asked_a = max(asked_a, asked[place])
            # What an EVSE may take beyond its booking, as its station has just connected, frees nothing.
            taken_a = min(controller.offer.offered_a, controller.booking.most_a(now))
            if missing_a <= 0 and (asked_a <= 0 or taken_a - share_a < EXCESS_A):
                continue
            ref, min_a = controller.evse.ref, controller.model.least_a
            cuts[ref] = share_a
            if missing_a > 0 and share_a > min_a:
                cuts[ref] = max(min_a, share_a - deepest_a(share_a), taken_a - max(missing_a, CHUNK_A))
            freed_a = max(0.0, taken_a - cuts[ref])
            for needed in (short, asked):
                for place in places.keys() & needed.keys():
                    needed[place] -= places[place] * freed_a
                    if needed[place] <= 0:
                        del needed[place]
            if not short and not asked:
                break
            if concerns_all and not self._concerns_all(short, asked):
                concerns_all = False
                order = self._below(order, {name for name, _ in (*short, *asked)})
        return cuts

    def _concerns_all(self, *needed: Mapping[Place, float]) -> bool:
        """Return True if room is needed on the circuit that feeds all others, or of what is dimmed."""
        names = (self._model.site.circuits[0].id, DIMMED)
        return any(name in names for places in needed for name, _ in places)

    def _below(self, order: list[OffPlace], names: Set[str]) -> list[OffPlace]:
        """Return those of a heap that load these circuits, as a heap."""
        left = [each for each in order if not names.isdisjoint(self._names_above(each[5].evse.circuit))]
        heapify(left)
        return left

    def _order(
        self, above: RoomGroups[float], short: Mapping[Place, float], asked: Mapping[Place, float], now: float
    ) -> Generator[int, None, list[OffPlace]]:
        """Return the EVSEs of which some may be cut, as a heap in the order in which they are.

        Yields the cost of each step. What is short and what is asked for only gets less with each cut: who
        is not concerned now is not concerned later.
        """
        order: list[OffPlace] = []
        names = {name for name, _ in (*short, *asked)}
        searched = 0
        for circuit, groups in list(above.by_circuit.items()):
            if DIMMED not in names and names.isdisjoint(self._names_above(circuit)):
                continue
            for group in groups.values():
                found = list(group.members.values())
                places = self._places(found[0][0])
                if is_short := not short.keys().isdisjoint(places):
                    least_a = 0.0
                elif not asked.keys().isdisjoint(places):
                    least_a = EXCESS_A  # how far above its share an EVSE at least is that is cut for others
                else:
                    continue
                for controller, share_a in found:
                    if controller.offer.offered_a - share_a >= least_a:
                        # Stops are decided, others get what they free: they come first.
                        delivery = controller.delivery
                        is_silent = is_short and controller.model.draw.unknown(now)
                        key = (share_a > 0, delivery.reaction_s, is_silent, delivery.written_at)
                        order.append((*key, controller.evse.ref, controller, share_a, places))
                searched += len(found)
            if searched >= AT_ONCE:
                yield searched * COST_SEARCH
                searched = 0
        if searched + len(order) >= SORTED_AT_ONCE:
            yield searched * COST_SEARCH + len(order) * COST_FIND
        heapify(order)
        return order

    def _names_above(self, circuit: str) -> list[str]:
        """Return the names of a circuit and of all that feed it."""
        found = self._names.get(circuit)
        if found is None:
            found = self._names[circuit] = [each.id for each in self._model.site.path(circuit)]
        return found

    def _shortage(self, headroom: Headroom) -> dict[Place, float]:
        """Return the room (A) that is missing on each place, beyond what the margin carries on a phase."""
        found: dict[Place, float] = {}
        for circuit_id, room in headroom.short_rooms().items():
            carried_a = self._model.metering.carried_a(self._model.site.circuit_by_id[circuit_id])
            for phase in range(3):
                if room[phase] < -carried_a:
                    found[circuit_id, phase] = -room[phase]
        for circuit_id, room_a in headroom.sums().items():
            _note_missing(found, (circuit_id, ALL), room_a)
        if (dimmed := headroom.dimmed()) is not None:
            for column, room_a in enumerate((*dimmed.phases_a, dimmed.sum_a)):
                _note_missing(found, (DIMMED, column), room_a)
        return found

    def _asked_room(
        self, below: Sequence[OffShare], headroom: Headroom, short: dict[Place, float], now: float
    ) -> Generator[int, None, dict[Place, float]]:
        """Return the room (A) that large rises lack, on each place.

        Yields the cost of each step.
        `below`: EVSEs far below their share. What an EVSE lacks to start is added to `short` instead: it has
        nothing until it has its minimum.
        """
        found: dict[Place, float] = {}
        for number, (controller, share_a) in enumerate(below, 1):
            if number % AT_ONCE == 0:
                yield AT_ONCE * COST_SEARCH
            offered_a = controller.offer.offered_a
            start_a = controller.demand.start_a
            if starts := offered_a < start_a <= share_a:
                rise_a = start_a - offered_a
            else:
                rise_a = share_a - offered_a
                is_recent = now < controller.delivery.written_at + ASKS_AFTER_S
                if is_recent or rise_a < max(ASKED_A, ASKED * share_a):
                    continue
            lacking_a = rise_a - max(0.0, headroom.room(controller.evse, controller.model.phases))
            if lacking_a > NOISE_A:
                needed = short if starts else found
                for place, times in self._places(controller).items():
                    needed[place] = needed.get(place, 0.0) + times * lacking_a
        return found

    def _places(self, controller: EvseController) -> Places:
        """Return the places that an EVSE loads, each with how many times its current."""
        evse, phases = controller.evse, controller.model.phases
        key = (evse.circuit, phases, evse.is_controllable)
        found = self._places_of.get(key)
        if found is None:
            columns = [(phase, 1) for phase in range(3) if phases[phase]] + [(ALL, sum(phases))]
            names = self._names_above(evse.circuit)
            if evse.is_controllable:
                names = [*names, DIMMED]
            found = {(name, column): times for name in names for column, times in columns}
            self._places_of[key] = found
        return found


def _note_missing(found: dict[Place, float], place: Place, room_a: float) -> None:
    if room_a < -NOISE_A:
        found[place] = -room_a


def rising_place(each: EvseController, noted: None, now: float) -> tuple[RisePlace, float]:
    """Return the place of an EVSE among those that rise to their shares: cuts, then who has least."""
    return (True, each.offer.offered_a, each.evse.ref), math.inf


RankBesideShare = tuple[int, bool, bool, float]
"""Properties that order the EVSEs that are raised into the room that is left: the priority
(negated), whether the phases are known, whether the share is reached, and the time of the last lease (s)."""


def rank_beside_share(each: EvseController, allocation: Allocation) -> RankBesideShare:
    """Return that of an EVSE with this allocation."""
    is_at_share = each.offer.offered_a >= allocation.limit_a
    return -each.demand.priority, each.model.phases_known, is_at_share, each.delivery.written_at


def place_beside_share(each: EvseController, rank: RankBesideShare, now: float) -> tuple[RisePlace, float]:
    """Return the place of an EVSE among those that are raised into the room that is left.

    The most important come first, then those whose phases a step may show by now, then those below their
    share, then those whose lease would be renewed soonest.
    """
    priority, shows_nothing, is_at_share, written_at = rank
    ends_at = math.inf
    if not shows_nothing and now < written_at + SHOWS_AFTER_S:
        shows_nothing, ends_at = True, written_at + SHOWS_AFTER_S
    return (priority, shows_nothing, is_at_share, written_at, each.evse.ref), ends_at


def target_a(
    controller: EvseController, allocation: Allocation, headroom: Headroom, now: float
) -> float | None:
    """Return the limit (A per phase) to raise an EVSE to; None: it has no room or does not rise beyond it."""
    room_a = headroom.room(controller.evse, controller.model.phases)
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
