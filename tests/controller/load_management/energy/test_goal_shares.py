"""Power that cars with departure goals can expect, as computed by hand."""

from __future__ import annotations

import math

import pytest

from controller.load_management.energy.goal_shares import GoalShares
from controller.load_management.events import CarRoom, EvseUse
from controller.load_management.site_tree import PhaseFlags, SiteTree
from controller.model.observations import EvseRef
from tests.controller.load_management.energy.evse_uses import make_use
from tests.controller.load_management.steps import finish_steps
from tests.scenario.site_harness import make_grid, make_row, make_station

A, B, C = (EvseRef(name, 1) for name in "ABC")
ALL: PhaseFlags = (True, True, True)
FIRST: PhaseFlags = (True, False, False)
SECOND: PhaseFlags = (False, True, False)


def site(row: str = "grid") -> SiteTree:
    circuits = (make_grid(63.0), *([make_row(row, 32.0)] if row != "grid" else []))
    return SiteTree(circuits=circuits, evses=tuple(make_station(name, row).evse for name in "ABC"))


def use(phases: PhaseFlags, *, has_demand: bool = True) -> EvseUse:
    return make_use(has_demand=has_demand, most_w=22_080.0, least_w=1_380.0 * sum(phases), phases=phases)


ROOM = {"grid": CarRoom((6_000.0,) * 3)}


def shares_w(
    uses: dict[EvseRef, EvseUse],
    needs_wh: dict[EvseRef, float],
    rooms: dict[str, CarRoom] = ROOM,
    row: str = "grid",
) -> dict[EvseRef, float]:
    found = finish_steps(GoalShares(site(row), uses, needs_wh).find(rooms))
    return {ref: share.share_w for ref, share in found.items()}


def test_goal_shares_lone_car_expects_room_of_its_phases() -> None:
    assert shares_w({A: use(ALL)}, {A: 5_000.0}) == {A: pytest.approx(18_000.0)}
    assert shares_w({A: use(FIRST)}, {A: 5_000.0}) == {A: 6_000.0}


def test_goal_shares_of_equal_needs_are_equal() -> None:
    uses = {A: use(FIRST), B: use(FIRST), C: use(FIRST)}
    found_w = shares_w(uses, dict.fromkeys(uses, 4_000.0))
    assert found_w == {A: 2_000.0, B: 2_000.0, C: 2_000.0}


def test_goal_shares_car_that_needs_little_takes_little_from_others() -> None:
    # With 6 kW: B has its 1 kWh once both have received 1 kWh (1/3 h), A its 5 kWh after 1 h.
    found_w = shares_w({A: use(FIRST), B: use(FIRST)}, {A: 5_000.0, B: 1_000.0})
    assert found_w == {A: pytest.approx(5_000.0), B: pytest.approx(3_000.0)}


def test_goal_shares_cars_on_other_phases_share_nothing() -> None:
    # C needs 1 kWh on each of three phases, A 3 kWh on the first: A has them after 4 kWh there.
    uses = {A: use(FIRST), B: use(SECOND), C: use(ALL)}
    found_w = shares_w(uses, {A: 3_000.0, B: 500.0, C: 3_000.0})
    assert found_w == {A: pytest.approx(4_500.0), B: pytest.approx(3_000.0), C: pytest.approx(9_000.0)}


def test_goal_shares_car_of_unknown_phases_may_need_all_of_one() -> None:
    # 3 kWh on three phases beside 3 kWh on the first take 1/3 h; on the first phase alone they take 1 h.
    shares = GoalShares(site(), {A: use(ALL), B: use(FIRST)}, {A: 3_000.0, B: 3_000.0})
    found = finish_steps(shares.find(ROOM))[A]
    assert found.share_w == pytest.approx(9_000.0)
    assert found.one_phase_w == pytest.approx(4_500.0)


def test_goal_shares_others_get_their_minimum_first() -> None:
    uses = {A: use(FIRST), B: use(ALL), C: use(ALL, has_demand=False)}
    assert shares_w(uses, {A: 3_000.0}) == {A: pytest.approx(4_620.0)}


def test_goal_shares_least_room_of_circuits_and_sums_binds() -> None:
    rooms = {"grid": CarRoom((9_000.0,) * 3, 8_000.0), "row": CarRoom((4_000.0, 2_000.0, 4_000.0))}
    assert shares_w({A: use(ALL)}, {A: 3_000.0}, rooms, "row") == {A: pytest.approx(6_000.0)}
    rooms["row"] = CarRoom((4_000.0,) * 3)
    assert shares_w({A: use(ALL)}, {A: 3_000.0}, rooms, "row") == {A: pytest.approx(8_000.0)}


def test_goal_shares_room_below_minimum_of_car_is_of_no_use() -> None:
    # Three phases take 1380 W each at the minimum; one car of two may have that in its turn.
    uses = {A: use(ALL), B: use(ALL)}
    assert shares_w(uses, {A: 3_000.0, B: 3_000.0}, {"grid": CarRoom((1_379.0,) * 3)}) == {A: 0.0, B: 0.0}
    found_w = shares_w(uses, {A: 3_000.0, B: 3_000.0}, {"grid": CarRoom((1_380.0,) * 3)})
    assert found_w == {A: pytest.approx(2_070.0), B: pytest.approx(2_070.0)}


def test_goal_shares_without_room_are_nothing_and_without_limits_infinite() -> None:
    assert shares_w({A: use(ALL)}, {A: 3_000.0}, {"grid": CarRoom((-50.0,) * 3)}) == {A: 0.0}
    assert shares_w({A: use(ALL)}, {A: 3_000.0}, {}) == {A: math.inf}
