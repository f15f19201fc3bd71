"""What a car's goal needs, from its message to its share."""

from __future__ import annotations

import itertools
import math

import pytest

from controller.load_management.events import GoalBound
from controller.load_management.evse.departure_goal import NO_NEED, DepartureGoal
from controller.load_management.evse.due_evses import DueQueues
from controller.load_management.evse.evse_controller import EvseController
from controller.load_management.evse.evse_model import EvseModel
from controller.load_management.evse.limit_delivery import LimitDelivery
from controller.model.observations import DrawSeen, EvseState, NeedsSeen, StateSeen, TransactionSeen
from tests.scenario.site_harness import CarModel, SiteHarness, make_grid, make_station

HOUR_S = 3600.0
EVSE = make_station("A").evse


def goal(energy_wh: float | None, departs_in_s: float | None) -> DepartureGoal:
    found = DepartureGoal()
    found.set_needs(NeedsSeen(1, energy_wh, departs_in_s), 0.0)
    return found


def test_goal_needs_average_current_in_whole_amperes() -> None:
    need = goal(20_000, 2.1 * HOUR_S).need(230.0, 3, 0.0)
    assert need.needs_a == 14.0  # 13.8
    assert str(need.why) == "leaves in 2 h 10 min, needs 14 A on average"


@pytest.mark.parametrize(
    ("seconds", "words"), [(59.0, "10 min"), (600.0, "10 min"), (3001.0, "1 h"), (7200.0, "2 h")]
)
def test_departure_goal_time_left_is_reported_in_steps(seconds: float, words: str) -> None:
    assert str(goal(1000, seconds).need(230.0, 3, 0.0).why).startswith(f"leaves in {words}, ")


@pytest.mark.parametrize(
    ("energy_wh", "departs_in_s", "now"),
    [(None, HOUR_S, 0.0), (5000.0, None, 0.0), (0.0, HOUR_S, 0.0), (5000.0, HOUR_S, HOUR_S)],
)
def test_departure_goal_without_energy_or_time_needs_nothing(
    energy_wh: float | None, departs_in_s: float | None, now: float
) -> None:
    assert goal(energy_wh, departs_in_s).need(230.0, 3, now) == NO_NEED


def test_departure_goal_falls_by_the_energy_drawn() -> None:
    found = goal(23_000, 10 * HOUR_S)  # 100 Ah
    found.on_draw(30.0, 0.0)
    found.on_draw(0.0, 2 * HOUR_S)
    assert found.need(230.0, 1, 2 * HOUR_S).needs_a == 5.0  # 40 Ah in 8 h
    found.on_draw(0.0, 3 * HOUR_S)
    found.on_draw(45.0, 3 * HOUR_S)
    found.on_draw(45.0, 4 * HOUR_S)
    assert found.need(230.0, 1, 4 * HOUR_S) == NO_NEED


def test_departure_goal_ignores_energy_drawn_before_it() -> None:
    found = DepartureGoal()
    found.on_draw(30.0, 0.0)
    found.set_needs(NeedsSeen(1, 2300.0, 2 * HOUR_S), HOUR_S)
    assert found.need(230.0, 1, HOUR_S).needs_a == 5.0
    found.on_draw(0.0, HOUR_S + 600)  # 5 Ah of its 10 Ah
    assert found.need(230.0, 1, 2 * HOUR_S).needs_a == 5.0


def test_need_that_wavers_around_whole_ampere_rises_once_and_stays() -> None:
    found = goal(230.0 * 10 * 10, 10 * HOUR_S)
    reported = []
    for minute in range(60):
        found.on_draw(10.2 if minute % 2 else 9.8, 60.0 * minute)
        reported.append(found.need(230.0, 1, 60.0 * minute).needs_a)
    assert reported == [10.0] + 59 * [11.0]


def test_need_of_a_goal_is_the_same_until_it_is_due() -> None:
    watched, due = goal(20_000, 2.1 * HOUR_S), goal(20_000, 2.1 * HOUR_S)
    answer, changes = due.need(230.0, 3, 0.0), 0
    for second in range(int(2.2 * HOUR_S)):
        if (now := second + 0.5) >= due.changes_at:
            before, answer = answer, due.need(230.0, 3, now)
            changes += answer != before
        assert watched.need(230.0, 3, now) == answer
    assert answer == NO_NEED
    assert changes > 50
    assert due.changes_at == math.inf


@pytest.mark.parametrize(
    ("most_a", "needs_a"),
    [
        (0.0, 12.0),  # 60 Ah in the five hours without a limit
        (2.0, 10.0),  # 10 Ah under the limit, and 50 Ah in five hours
        (5.9, 7.0),  # 29.5 Ah and 30.5 Ah: 6.1 A
        (8.0, 6.0),  # it bounds no current that the goal needs
    ],
)
def test_departure_goal_limit_to_come_raises_need_before_it(most_a: float, needs_a: float) -> None:
    bounds = (GoalBound(4 * HOUR_S, 9 * HOUR_S, most_a),)
    assert goal(230.0 * 60, 10 * HOUR_S).need(230.0, 1, 0.0, bounds).needs_a == needs_a


def test_departure_goal_lowest_bounds_give_what_they_can() -> None:
    # 60 Ah in 10 h: 2 h of 1 A, 3 h of 4 A, and 46 Ah in 5 h. The bound after the departure is none.
    bounds = (
        GoalBound(0.0, 2 * HOUR_S, 1.0),
        GoalBound(4 * HOUR_S, 7 * HOUR_S, 4.0),
        GoalBound(10 * HOUR_S, 12 * HOUR_S, 0.0),
    )
    assert goal(230.0 * 60, 10 * HOUR_S).need(230.0, 1, 0.0, bounds).needs_a == 10.0  # 9.2


def test_departure_goal_bounded_at_all_times_needs_highest_bound_most() -> None:
    # 60 Ah in 10 h, of which 6 h give 3 A: 42 Ah in the 4 h of at most 5 A.
    bounds = (GoalBound(0.0, 6 * HOUR_S, 3.0), GoalBound(6 * HOUR_S, 10 * HOUR_S, 5.0))
    assert goal(230.0 * 60, 10 * HOUR_S).need(230.0, 1, 0.0, bounds).needs_a == 11.0  # 10.5
    assert goal(230.0 * 60, 10 * HOUR_S).need(230.0, 1, 0.0, bounds[1:]).needs_a == 7.0  # 40 Ah in 6 h


@pytest.mark.parametrize("most_a", [0.0, 4.0, 20.0])
def test_departure_goal_with_bound_is_the_same_until_it_is_due(most_a: float) -> None:
    bounds = (GoalBound(0.5 * HOUR_S, 1.2 * HOUR_S, most_a),)
    watched, due = goal(20_000, 2.1 * HOUR_S), goal(20_000, 2.1 * HOUR_S)
    answer = due.need(230.0, 3, 0.0, bounds)
    for second in range(int(2.2 * HOUR_S)):
        if (now := second + 0.5) >= due.changes_at:
            answer = due.need(230.0, 3, now, bounds)
        assert watched.need(230.0, 3, now, bounds) == answer
    assert answer == NO_NEED


def test_car_with_a_goal_is_updated_only_when_its_need_changes() -> None:
    due = DueQueues()
    each = EvseController(EVSE, LimitDelivery(EVSE, 120.0, itertools.count(1)), 0.0, due)
    each.on_observation(NeedsSeen(1, 20_000, 2.1 * HOUR_S), 0.0)
    each.refresh(230.0, 0.0)
    due.updates.take_due(0.0)
    each.offer.settle(None, 0.0)
    grows_at = 2.1 * HOUR_S - 20_000 * 3600 / 230 / 3 / 14.0
    assert not due.updates.take_due(grows_at - 1.0)
    assert due.updates.take_due(grows_at + 1.0) == [EVSE.ref]
    each.refresh(230.0, grows_at + 1.0)
    assert each.demand.cannot_wait
    each.on_observation(DrawSeen(1, (14.0, 14.0, 14.0)), grows_at + 2.0)  # it shows what is left
    assert due.updates.take_due(grows_at + 2.0) == [EVSE.ref]


def test_goal_lasts_until_session_end_over_start_and_lost_link() -> None:
    model = EvseModel(EVSE, 0.0)

    def needs_a() -> float:
        return model.goal.need(230.0, 3, 3.0).needs_a

    model.on_observation(StateSeen(1, EvseState.PREPARING), 6.0, 0.0)
    assert model.on_observation(NeedsSeen(1, 20_000, 2 * HOUR_S), 6.0, 0.0)
    model.on_observation(TransactionSeen(1, True), 6.0, 1.0)
    model.on_station_down(2.0)
    assert needs_a() == 15.0
    model.on_observation(TransactionSeen(1, False), 6.0, 3.0)
    assert needs_a() == 0.0


def test_departure_goal_car_that_is_gone_needs_nothing() -> None:
    model = EvseModel(EVSE, 0.0)
    model.on_observation(NeedsSeen(1, 20_000, 2 * HOUR_S), 6.0, 0.0)
    model.on_observation(StateSeen(1, EvseState.AVAILABLE), 6.0, 1.0)
    assert model.goal.need(230.0, 3, 3.0) == NO_NEED


def test_departure_goal_departing_car_gets_energy_in_time_on_short_site() -> None:
    site = SiteHarness(
        (make_grid(28.0),), [make_station("A", car=CarModel()), make_station("B", car=CarModel())]
    )
    site.connect()
    site.wait(120)
    before_as, before_over_s = site.station("A").energy_as, site.seconds_over("grid", 28.0)
    wanted_wh = 3 * 230.0 * 15.0 / 2  # 15 A for half an hour; its fair share would be less
    site.report("A", NeedsSeen(1, wanted_wh, HOUR_S / 2))
    site.wait(60)
    assert "leaves in 30 min, needs" in site.evse_view("A").reason
    assert site.evse_view("B").reason == "grid L1 full"
    site.wait(int(HOUR_S / 2) - 60)
    assert 3 * 230.0 * (site.station("A").energy_as - before_as) / 3600 >= 0.99 * wanted_wh
    site.wait(120)
    assert site.evse_view("A").reason == "grid L1 full"
    assert site.seconds_over("grid", 28.0) == before_over_s  # when no EVSE was limited yet
    assert site.limit_changes("A") < 20


def test_departure_goal_of_silent_station_is_reached_and_not_exceeded() -> None:
    # No report shows what its car has drawn: what it is likely to draw at least counts.
    stations = [make_station(name, car=CarModel(), report_s=0) for name in "ABC"]
    site = SiteHarness((make_grid(32.0),), stations)
    site.connect()
    site.wait(1200)
    before_as = site.station("A").energy_as
    wanted_wh = 9_000.0
    site.report("A", NeedsSeen(1, wanted_wh, HOUR_S))
    site.wait(int(HOUR_S))
    drawn_wh = 3 * 230.0 * (site.station("A").energy_as - before_as) / 3600
    assert wanted_wh <= drawn_wh <= 1.1 * wanted_wh
