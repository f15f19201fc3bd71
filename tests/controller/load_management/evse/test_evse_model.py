"""Is there a car, and what may it draw."""

from __future__ import annotations

import msgspec
import pytest

from controller.load_management.evse.evse_model import SAME_CAR_S, EvseModel
from controller.load_management.site_tree import EvseNode
from controller.model.observations import DrawSeen, EvseRef, EvseState, StateSeen, TransactionSeen

EVSE = EvseNode(ref=EvseRef("A", 1), circuit="grid", phases=(1, 2, 0), min_a=6, max_a=32, fallback_a=6)


def model(state: EvseState | None = None) -> EvseModel:
    found = EvseModel(EVSE, 0)
    if state is not None:
        found.on_observation(StateSeen(1, state), 16, 0)
    return found


def charge(found: EvseModel, reports: list[tuple[float, float, float]], start: float = 10) -> None:
    for index, report in enumerate(reports):
        found.on_observation(DrawSeen(1, report), 20, start + 10 * index)


@pytest.mark.parametrize(
    ("state", "has_demand"),
    [
        (EvseState.UNKNOWN, True),
        (EvseState.AVAILABLE, False),
        (EvseState.PREPARING, True),
        (EvseState.CHARGING, True),
        (EvseState.SUSPENDED_EV, True),
        (EvseState.SUSPENDED_EVSE, True),
        (EvseState.FINISHING, False),
        (EvseState.RESERVED, False),
        (EvseState.UNAVAILABLE, False),
        (EvseState.FAULTED, False),
    ],
)
def test_evse_model_needs_current_by_state(state: EvseState, has_demand: bool) -> None:
    assert model(state).has_demand(0) is has_demand


def test_evse_model_transaction_needs_current_in_any_state() -> None:
    found = model(EvseState.FINISHING)
    assert found.on_observation(TransactionSeen(1, True), 16, 1)
    assert found.has_demand(5)
    assert found.on_observation(TransactionSeen(1, False), 16, 2)
    assert not found.has_demand(5)


def test_available_evse_has_no_transaction_after_missed_end() -> None:
    found = model(EvseState.CHARGING)
    found.on_observation(TransactionSeen(1, True), 16, 1)
    found.on_observation(StateSeen(1, EvseState.AVAILABLE), 16, 2)
    assert not found.has_demand(5)


def test_evse_model_draw_shows_car_at_station_that_stays_available() -> None:
    found = model(EvseState.AVAILABLE)
    assert found.on_observation(DrawSeen(1, (10.0, 10.0, 10.0)), 16, 5)
    assert found.has_demand(5)


def test_evse_model_same_state_again_is_no_news() -> None:
    assert not model(EvseState.CHARGING).on_observation(StateSeen(1, EvseState.CHARGING), 16, 1)


def test_evse_model_learned_phases_are_sites() -> None:
    found = model(EvseState.CHARGING)
    charge(found, [(16.0, 0.0, 0.0)] * 2)
    assert found.phases == (False, True, False)


@pytest.mark.parametrize("state", [EvseState.SUSPENDED_EVSE, EvseState.FAULTED])
def test_phases_are_learned_by_reports_beside_another_state(state: EvseState) -> None:
    found = model(state)
    charge(found, [(0.9, 0.0, 0.0)] * 2)
    assert found.phases == (True, True, True)
    charge(found, [(16.0, 0.0, 0.0)] * 2)
    assert found.phases == (False, True, False)


def test_evse_model_paused_car_needs_minimum() -> None:
    found = model(EvseState.SUSPENDED_EV)
    assert found.need_a(5) == 6
    found.on_observation(StateSeen(1, EvseState.CHARGING), 16, 5)
    assert found.need_a(5) == 32


@pytest.mark.parametrize("how", ["available", "new transaction", "link lost"])
def test_learned_values_of_another_car_are_dropped(how: str) -> None:
    found = model(EvseState.CHARGING)
    charge(found, [(10.0, 0.0, 0.0)] * 8)
    assert found.need_a(5) == 12
    if how == "available":
        found.on_observation(StateSeen(1, EvseState.AVAILABLE), 16, 100)
    elif how == "new transaction":
        found.on_observation(TransactionSeen(1, True), 16, 100)
    else:
        found.on_station_down(100)
    assert found.phases == (True, True, True)
    assert found.need_a(5) == 32


def test_learned_phases_of_metered_car_outlive_short_loss_of_link() -> None:
    found = model(EvseState.CHARGING)
    found.is_metered = True
    charge(found, [(10.0, 0.0, 0.0)] * 8)
    found.on_station_down(100)
    found.drop_lost_phases(99 + SAME_CAR_S)
    assert found.phases == (False, True, False)
    assert found.changes_at(100) == 100 + SAME_CAR_S
    found.on_station_up()
    found.drop_lost_phases(1000)
    assert found.phases == (False, True, False)
    found.on_station_down(1000)
    found.drop_lost_phases(1000 + SAME_CAR_S)
    assert found.phases == (True, True, True)


def test_restored_phases_are_those_of_the_restored_transaction_alone() -> None:
    found = model(EvseState.CHARGING)
    found.is_metered = True
    found.restore_phases((True, False, False), 0)
    found.on_observation(TransactionSeen(1, True), 16, 1)
    assert found.phases == (False, True, False)
    found.on_station_up()
    found.on_observation(TransactionSeen(1, True), 16, 5)
    assert found.phases == (True, True, True)


def test_model_without_state_is_offered_minimum_until_it_reports() -> None:
    found = model()
    assert found.has_demand(0)
    assert found.need_a(0) == 6
    found.on_observation(StateSeen(1, EvseState.CHARGING), 6, 1)
    assert found.need_a(1) == 32


def test_model_of_site_below_without_state_is_offered_all() -> None:
    found = EvseModel(msgspec.structs.replace(EVSE, is_site=True), 0)
    assert found.has_demand(0)
    assert found.need_a(0) == 32


def test_model_without_state_that_draws_is_offered_all() -> None:
    found = model()
    found.on_observation(DrawSeen(1, (6.0, 6.0, 6.0)), 6, 1)
    assert found.need_a(1) == 32


def test_evse_model_car_of_unknown_phases_draws_on_first_phase() -> None:
    found = model(EvseState.CHARGING)
    found.draw.offer(10, 1)
    assert found.likely_draw(2) is None
    assert found.likely_draw(60) == ((0.0, 6.0, 0.0), (10.0, 10.0, 10.0))


def test_evse_model_likely_draw_is_need_of_its_car() -> None:
    found = model(EvseState.CHARGING)
    found.draw.offer(20, 1)
    charge(found, [(13, 0, 0)] * 20)
    assert found.need_a(200) < 20
    overdue = 400
    assert found.likely_draw(overdue) == ((0.0, 13.0, 0.0), (0.0, found.need_a(overdue), 0.0))


@pytest.mark.parametrize("state", [EvseState.UNKNOWN, EvseState.PREPARING, EvseState.SUSPENDED_EVSE])
def test_evse_model_without_charging_has_no_likely_draw(state: EvseState) -> None:
    assert model(state).likely_draw(60) is None
