"""Groups of EVSEs that have the same room, and the order in which they rise into it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator

import pytest

from controller.load_management.allocation.allocator import Allocation
from controller.load_management.allocation.headroom import Headroom
from controller.load_management.cuts_and_rises import (
    SEARCHED_FOR_S,
    RisePlace,
    RoomGroup,
    RoomGroups,
    Waiting,
    rising_place,
    take_first,
)
from controller.load_management.evse.evse_controller import EvseController
from controller.load_management.evse.limit_delivery import LimitDelivery
from controller.load_management.site_tree import CircuitNode, EvseNode, SiteTree
from controller.model.observations import EvseRef
from controller.model.statements import Statement, StatementCode

FULL = Statement(code=StatementCode.PHASE_FULL, circuit="row-a", phase=1)
SHARE_A = 30.0
LEASE_S = 120.0


def node(station: str, row: str) -> EvseNode:
    return EvseNode(ref=EvseRef(station, 1), circuit=row, phases=(0, 1, 2), min_a=6, max_a=32, fallback_a=0)


NODES = {name: node(name, row) for name, row in (("A", "row-a"), ("B", "row-a"), ("C", "row-b"))}
SITE = SiteTree(
    circuits=(
        CircuitNode(id="grid", parent=None, limit_a=(200.0,) * 3),
        CircuitNode(id="row-a", parent="grid", limit_a=(100.0,) * 3),
        CircuitNode(id="row-b", parent="grid", limit_a=(100.0,) * 3),
    ),
    evses=tuple(NODES.values()),
)


def charging(name: str, amps: float, *, at: float) -> EvseController:
    """Return an EVSE with a lease of this limit (A), sent and accepted at this time."""
    delivery = LimitDelivery(NODES[name], LEASE_S, itertools.count(1))
    delivery.on_connected(at)
    each = EvseController(NODES[name], delivery, at)
    for limit in delivery.commands(amps, amps, at):
        delivery.on_answer(limit.token, True, "", at)
    each.offer.offered_a = amps
    each.offer.settle(Allocation(each.evse.ref, SHARE_A, FULL), at)
    return each


def headroom(room_a: float) -> Headroom:
    return Headroom(SITE, {circuit.id: (room_a,) * 3 for circuit in SITE.circuits})


def end_of(steps: Generator[int, None, list[Waiting]]) -> list[Waiting]:
    """Return the result of steps."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: list[Waiting] = end.value
            return found


@pytest.mark.parametrize("after_s", [0.0, SEARCHED_FOR_S / 2, SEARCHED_FOR_S])
@pytest.mark.parametrize("begin", [1.0, 20.0, 60.0, LEASE_S])
def test_least_room_of_a_group_is_none_above_that_of_its_evses(begin: float, after_s: float) -> None:
    group = RoomGroup[None]()
    stations = [charging("A", 10.0, at=0.0), charging("B", 10.0, at=-LEASE_S / 2)]
    for each in stations:
        group.set(each, None)
    group.least_room_a(begin)
    now = begin + after_s
    least_a, _ = group.least_room_a(now)
    exact_a = [each.offer.least_room_a(now, now) for each in stations]
    assert least_a <= min(exact_a)
    for room_a in (0.0, 0.5, 1.0, 2.0, 5.0):
        found, _ = group.find_rising(headroom(room_a), rising_place, now)
        rising = set() if found is None else {each.controller.evse.ref for each in (found[0], *found[2])}
        assert rising >= {
            each.evse.ref for each, least_a in zip(stations, exact_a, strict=True) if least_a <= room_a
        }


def test_least_room_of_a_group_falls_with_time_and_follows_its_evses() -> None:
    group = RoomGroup[None]()
    group.set(charging("A", 10.0, at=0.0), None)
    early_a, _ = group.least_room_a(20.0)
    assert 0.5 < early_a < 15.0
    late_a, _ = group.least_room_a(40.0)
    assert late_a < early_a
    group.set(charging("B", 10.0, at=-LEASE_S), None)
    assert group.least_room_a(40.0)[0] < late_a


def test_groups_with_room_come_in_the_order_of_their_first_evse() -> None:
    groups: RoomGroups[None] = RoomGroups()
    for name, amps in (("A", 12.0), ("B", 8.0), ("C", 10.0)):
        groups.note(charging(name, amps, at=0.0), None)
    room = headroom(20.0)
    found = sorted(end_of(groups.find_with_room(headroom(20.0), 0.0, rising_place, 20.0)))
    order = []
    while found:
        each, only_rises = take_first(found, room)
        assert each is not None
        assert only_rises
        order.append(each.evse.ref.station)
    assert order == ["B", "C", "A"]


def test_group_is_dropped_as_a_whole_once_its_room_is_gone() -> None:
    groups: RoomGroups[None] = RoomGroups()
    for name in NODES:
        groups.note(charging(name, 10.0, at=0.0), None)
    room = headroom(20.0)
    found = sorted(end_of(groups.find_with_room(headroom(20.0), 0.0, rising_place, 20.0)))
    room.book(NODES["A"], (True, True, True), 21.0)
    room.book(NODES["C"], (True, True, True), -21.0)  # only row A is full
    assert take_first(found, room) == (None, True)
    (last, _) = take_first(found, room)
    assert last is not None
    assert last.evse.ref.station == "C"
    assert found == []


@pytest.mark.parametrize(("room_a", "stations"), [(-0.5, 0), (0.5, 0), (15.0, 2)])
def test_only_groups_are_found_of_which_one_may_rise(room_a: float, stations: int) -> None:
    groups: RoomGroups[None] = RoomGroups()
    groups.note(charging("A", 10.0, at=0.0), None)
    groups.note(charging("C", 10.0, at=0.0), None)
    found = end_of(groups.find_rising(SITE.circuit_by_id, headroom(room_a), rising_place, 20.0))
    assert len(found) == stations


def test_evse_that_left_its_group_is_in_none() -> None:
    groups: RoomGroups[None] = RoomGroups()
    each = charging("A", 10.0, at=0.0)
    groups.note(each, None)
    assert each.evse.ref in groups
    groups.drop(each.evse.ref)
    groups.drop(each.evse.ref)
    assert each.evse.ref not in groups
    assert groups.by_circuit == {}
    assert end_of(groups.find_with_room(headroom(20.0), 0.0, rising_place, 20.0)) == []


def test_order_of_a_group_is_kept_until_an_evse_has_another_rank() -> None:
    groups: RoomGroups[int] = RoomGroups()
    first, second = charging("A", 10.0, at=0.0), charging("B", 10.0, at=0.0)
    groups.note(first, 1)
    groups.note(second, 2)

    placed: list[EvseController] = []

    def place(each: EvseController, rank: int, now: float) -> tuple[RisePlace, float]:
        placed.append(each)
        return (rank, each.evse.ref), math.inf

    def order(now: float) -> list[EvseController]:
        [(candidate, _, following)] = end_of(groups.find_with_room(headroom(20.0), 0.0, place, now))
        return [candidate.controller, *(each.controller for each in following)]

    assert order(20.0) == [first, second]
    assert len(placed) == 2
    assert groups.is_noted(second, 2)
    assert order(30.0) == [first, second]
    assert len(placed) == 2
    assert not groups.is_noted(second, 0)
    groups.note(second, 0)
    assert order(30.0) == [second, first]
    assert placed[2:] == [second]


def test_what_was_noted_on_other_phases_is_not_noted() -> None:
    groups: RoomGroups[int] = RoomGroups()
    each = charging("A", 10.0, at=0.0)
    assert not groups.is_noted(each, 1)
    groups.note(each, 1)
    each.model.phases = (True, False, False)
    assert not groups.is_noted(each, 1)
