"""One EVSE brought to its allocation."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from controller.load_management.allocation.allocator import ALL_IT_CAN_TAKE, FIRST_PLACE, Allocation
from controller.load_management.allocation.headroom import Headroom
from controller.load_management.allocation.rotation import Turn
from controller.load_management.evse.car_idleness import FULL_S
from controller.load_management.evse.due_evses import DueQueues
from controller.load_management.evse.evse_controller import EvseController
from controller.load_management.evse.limit_delivery import LimitDelivery
from controller.load_management.site_tree import CircuitNode, EvseNode, SiteTree
from controller.model.observations import (
    BackendLimit,
    DrawSeen,
    EvseRef,
    EvseState,
    StateSeen,
    TransactionSeen,
)
from controller.model.statements import Statement, StatementCode

EVSE = EvseNode(ref=EvseRef("A", 1), circuit="grid", phases=(0, 1, 2), min_a=6, max_a=32, fallback_a=6)
SITE = SiteTree(circuits=(CircuitNode(id="grid", parent=None, limit_a=(63.0,) * 3),), evses=(EVSE,))
STALE = Statement(code=StatementCode.METER_NOT_GOOD, name="grid", quality="stale")
FULL = Statement(code=StatementCode.PHASE_FULL, circuit="grid", phase=1)
FIRST_TURN = Turn(FIRST_PLACE, is_served=False, is_due=False)


def at(limit_a: float, due: DueQueues | None = None) -> EvseController:
    """An EVSE with a car that confirmed this lease at the time 0."""
    controller = EvseController(EVSE, LimitDelivery(EVSE, 120.0, itertools.count(1)), 0.0, due)
    controller.delivery.on_connected(0.0)
    controller.model.on_observation(StateSeen(1, EvseState.PREPARING), 0.0, 0.0)
    controller.model.on_observation(TransactionSeen(1, True), 0.0, 0.0)
    for command in controller.delivery.commands(limit_a, limit_a, 0.0):
        controller.delivery.on_answer(command.token, True, "", 0.0)
    return controller


def with_room(amps: float) -> Headroom:
    return Headroom(SITE, {"grid": (amps, 63.0, 63.0)})


@pytest.mark.parametrize(
    ("now_a", "room_a", "sent"),
    [(0.0, 5.9, []), (0.0, 6.0, [6.0]), (0.0, 20.0, [16.0]), (8.0, 3.0, [11.0]), (8.0, -3.0, [])],
)
def test_evse_controller_rise_takes_free_headroom_but_at_least_minimum(
    now_a: float, room_a: float, sent: list[float]
) -> None:
    commands = at(now_a).offer.commands_towards(
        Allocation(EVSE.ref, 16.0, FULL), with_room(room_a), 20.0, urgent=False
    )
    assert [command.limit_a for command in commands] == sent


def test_evse_controller_rise_is_booked_and_cut_is_not_given_back_yet() -> None:
    headroom = with_room(5.0)
    at(8.0).offer.commands_towards(Allocation(EVSE.ref, 16.0, FULL), headroom, 20.0, urgent=False)
    assert headroom.rooms()["grid"] == (0.0, 58.0, 58.0)
    at(16.0).offer.commands_towards(Allocation(EVSE.ref, 8.0, FULL), headroom, 20.0, urgent=False)
    assert headroom.rooms()["grid"] == (0.0, 58.0, 58.0)


def test_evse_controller_demand_is_capped_by_lowest_cap() -> None:
    controller = at(8.0)
    assert controller.demand.current(FIRST_TURN, None, 10.0).cap == ALL_IT_CAN_TAKE
    troubled = controller.demand.current(FIRST_TURN, STALE, 10.0)
    assert (troubled.max_a, str(troubled.cap)) == (6, "meter grid is stale: held at its fallback")


@pytest.mark.parametrize(("unbalance_a", "is_same"), [(None, True), (20.0, False)])
def test_evse_demand_after_another_draw_changes_only_for_unbalance(
    unbalance_a: float | None, is_same: bool
) -> None:
    controller = at(16.0)
    controller.model.on_observation(DrawSeen(1, (15.0, 15.0, 15.0)), 10.0, 16.0)
    before = controller.demand.current(FIRST_TURN, None, 10.0, unbalance_a=unbalance_a)
    controller.model.on_observation(DrawSeen(1, (14.6, 15.0, 15.0)), 11.0, 16.0)
    after = controller.demand.current(FIRST_TURN, None, 11.0, unbalance_a=unbalance_a)
    assert (after == before) is is_same


def test_possibly_single_phase_car_starts_within_unbalance() -> None:
    controller = at(8.0)
    small = controller.demand.current(FIRST_TURN, None, 10.0, unbalance_a=10.0)
    assert (small.max_a, str(small.cap)) == (10.0, "its car may draw on one phase alone")
    assert controller.demand.current(FIRST_TURN, None, 10.0, unbalance_a=4.0).max_a == EVSE.min_a
    controller.model.on_observation(StateSeen(1, EvseState.CHARGING), 8.0, 10.0)
    for now in (20.0, 30.0):
        controller.model.on_observation(DrawSeen(1, (8.0, 8.0, 8.0)), 8.0, now)
    controller.refresh(230.0, 10.0)
    assert controller.demand.current(FIRST_TURN, None, 10.0, unbalance_a=10.0).max_a == EVSE.max_a


def test_evse_backend_limit_is_a_cap_with_its_own_reason() -> None:
    controller = at(8.0)
    controller.demand.backend = BackendLimit(1, 10.0)
    demand = controller.demand.current(FIRST_TURN, None, 10.0)
    assert (demand.max_a, str(demand.cap)) == (10.0, "its backend allows 10 A")


def test_evse_controller_that_cannot_be_stopped_waits_for_its_station() -> None:
    due, evse = DueQueues(), msgspec.structs.replace(EVSE, fallback_a=0.0)
    away = EvseController(evse, LimitDelivery(evse, 120.0, itertools.count(1)), 0.0, due)
    due.updates.take_due(0.0)
    away.refresh(230.0, 0.0)
    away.offer.settle(None, 0.0)
    assert not due.updates.take_due(0.0)


def test_what_changes_between_two_slices_of_a_pass_is_due_in_the_next_one() -> None:
    due = DueQueues()
    probed = at(6.0, due)
    probed.on_observation(StateSeen(1, EvseState.SUSPENDED_EV), 30.0)
    due.updates.take_due(30.0)
    asleep_at = 30.0 + FULL_S
    probed.refresh(230.0, asleep_at - 0.1)
    probed.offer.settle(None, asleep_at + 0.1)
    assert due.updates.take_due(asleep_at + 0.2) == [EVSE.ref]


@pytest.mark.parametrize("hold_s", [0.0, 600.0])
def test_evse_controller_is_updated_for_a_renewal_only_while_it_is_dimmed(hold_s: float) -> None:
    due = DueQueues()
    charging = at(16.0, due)
    charging.delivery.hold_s = hold_s
    charging.refresh(230.0, 20.0)
    due.updates.take_due(20.0)
    charging.offer.settle(Allocation(EVSE.ref, 16.0, FULL), 20.0)
    assert (due.updates.take_due(79.0), due.renewals.take_due(79.0)) == ([], [])
    found = due.updates.take_due(80.0), due.renewals.take_due(80.0)
    assert found == (([EVSE.ref], []) if hold_s else ([], [EVSE.ref]))


def test_evse_controller_that_has_to_stop_is_updated_in_the_next_pass() -> None:
    due = DueQueues()
    stopping = at(16.0, due)
    due.updates.take_due(20.0)
    stopping.offer.settle(Allocation(EVSE.ref, 0.0, FULL), 20.0)
    assert due.updates.take_due(20.0) == [EVSE.ref]


def test_evse_controller_report_that_changes_nothing_is_not_due() -> None:
    due = DueQueues()
    controller = at(16.0, due)
    controller.on_observation(StateSeen(1, EvseState.CHARGING), 0.0)
    for now in (10.0, 20.0):  # the second one shows the phases of its car
        controller.on_observation(DrawSeen(1, (15.0, 15.0, 15.0)), now)
    due.updates.take_due(20.0)
    controller.on_observation(DrawSeen(1, (14.8, 15.1, 15.0)), 30.0)
    assert due.updates.take_due(30.0) == []


@pytest.mark.parametrize(
    "draw",
    [(15.0, 0.0, 0.0), (25.0, 25.0, 25.0), (0.0, 0.0, 0.0), (16.7, 16.7, 16.7)],
    ids=["other phases", "above its limits", "nothing", "a little above its offer"],
)
def test_evse_controller_report_that_changes_its_plan_is_due(draw: tuple[float, float, float]) -> None:
    due = DueQueues()
    controller = at(16.0, due)
    controller.on_observation(StateSeen(1, EvseState.CHARGING), 0.0)
    for now in (10.0, 20.0):  # the second one shows the phases of its car
        controller.on_observation(DrawSeen(1, (15.0, 15.0, 15.0)), now)
    due.updates.take_due(20.0)
    for now in (30.0, 40.0):
        controller.on_observation(DrawSeen(1, draw), now)
    assert due.updates.take_due(40.0) == [EVSE.ref]


@pytest.mark.parametrize(
    ("before_a", "after_a", "accepted", "is_due"),
    [
        (16.0, 10.0, True, False),
        (10.0, 16.0, True, False),
        (16.0, 10.0, False, True),
        (0.0, 10.0, True, True),
    ],
    ids=["cut", "rise", "refused", "start"],
)
def test_evse_controller_answer_that_changes_its_plan_is_due(
    before_a: float, after_a: float, accepted: bool, is_due: bool
) -> None:
    due = DueQueues()
    controller = at(before_a, due)
    (command,) = controller.delivery.commands(after_a, after_a, 20.0)
    due.updates.take_due(20.0)
    assert controller.on_answer(command.token, accepted, "", 21.0)
    assert due.updates.take_due(21.0) == [EVSE.ref] * is_due
