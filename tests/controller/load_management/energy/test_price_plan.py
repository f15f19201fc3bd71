"""Cheapest quarter hours before a departure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import pytest

from controller.load_management.energy.goal_shares import GoalShare
from controller.load_management.energy.price_plan import ExpectedCar, PricePlan
from controller.load_management.energy.price_series import PriceSeries, make_series
from controller.model.observations import EvseRef

REF = EvseRef("CS01", 1)
BEGIN = 1_700_000_100.0 // 3600 * 3600
HOUR_S = 3600.0
POWER_W = 10_000.0


def hourly(*prices: float) -> PriceSeries:
    return make_series([(BEGIN + HOUR_S * hour, price) for hour, price in enumerate(prices)])


def may_charge(
    plan: PricePlan,
    left_wh: float,
    most_w: float,
    leaves_at: float,
    utc: float,
    sure_w: float = math.inf,
    small_w: tuple[float, ...] = (),
    shares: Sequence[GoalShare] = (),
) -> bool:
    """Ask for a car at this moment; its quarter hours are chosen where that is due."""
    if plan.is_due(REF, leaves_at, utc, knows_phases=not small_w):
        plan.choose(REF, ExpectedCar(left_wh, most_w, sure_w, small_w, shares), leaves_at, utc)
    return plan.may_charge(REF, utc)


def simulate(
    plan: PricePlan, need_wh: float, hours: float, power_w: float = POWER_W
) -> tuple[list[int], float]:
    """Charge by the plan; return the minutes with current, and the missing energy (Wh)."""
    minutes = []
    for minute in range(int(hours * 60)):
        utc = BEGIN + 60 * minute
        if need_wh > 0 and may_charge(plan, need_wh, POWER_W, BEGIN + hours * HOUR_S, utc):
            minutes.append(minute)
            need_wh -= power_w / 60
    return minutes, max(0.0, need_wh)


def test_price_plan_car_charges_in_cheapest_hour() -> None:
    plan = PricePlan()
    plan.set_prices(hourly(0.4, 0.3, 0.1, 0.3, 0.4, 0.4))
    minutes, missing = simulate(plan, 8_000.0, 6.0)
    assert missing == 0.0
    assert set(minutes) <= set(range(120, 180))


def test_price_plan_car_that_needs_more_takes_next_cheapest_hours() -> None:
    plan = PricePlan()
    plan.set_prices(hourly(0.4, 0.3, 0.1, 0.2, 0.4, 0.4))
    minutes, missing = simulate(plan, 17_000.0, 6.0)
    assert missing == 0.0
    assert {minute // 60 for minute in minutes} == {2, 3}


def test_price_plan_proven_power_needs_no_expensive_quarters_in_reserve() -> None:
    # The four cheap hours suffice once the first has shown that it receives 10 kW: time is left after them.
    plan = PricePlan()
    plan.set_prices(hourly(0.1, 0.3, 0.1, 0.1, 0.1, 0.4, 0.4, 0.4))
    minutes, missing = simulate(plan, 39_999.0, 8.0)
    assert missing == 0.0
    assert minutes == [*range(60), *range(120, 300)]


def test_price_plan_some_is_charged_before_cheap_end() -> None:
    # Of the last two hours 15 % are kept in reserve: one quarter hour before them.
    plan = PricePlan()
    plan.set_prices(hourly(0.3, 0.2, 0.1, 0.1))
    minutes, missing = simulate(plan, 19_500.0, 4.0)
    assert missing == 0.0
    assert minutes[:15] == list(range(60, 75))
    assert minutes[15] >= 120


def test_price_plan_small_rest_goes_on_in_next_quarter() -> None:
    # An hour and a minute: the rest is not worth a quarter hour before the cheap ones, nor another start.
    plan = PricePlan()
    plan.set_prices(hourly(0.3, 0.1, 0.4, 0.2))
    minutes, missing = simulate(plan, 10_150.0, 4.0)
    assert missing == 0.0
    assert minutes == list(range(60, 121))


def test_car_without_time_to_spare_charges_at_once() -> None:
    plan = PricePlan()
    plan.set_prices(hourly(0.9, 0.1))
    minutes, missing = simulate(plan, 18_000.0, 2.0)
    assert missing == 0.0
    assert minutes == list(range(len(minutes)))


def test_car_that_receives_less_than_planned_takes_more_quarters() -> None:
    plan = PricePlan()
    plan.set_prices(hourly(0.4, 0.4, 0.1, 0.4, 0.4, 0.4))
    minutes, missing = simulate(plan, 8_000.0, 6.0, power_w=POWER_W / 4)
    assert missing == 0.0
    assert set(range(120, 180)) <= set(minutes)


def test_price_plan_one_busy_quarter_does_not_lower_expectation() -> None:
    # It receives a quarter of its power in one quarter hour, as another car charges beside it.
    plan = PricePlan()
    plan.set_prices(hourly(0.1, 0.4, 0.1, 0.3))
    left_wh, minutes = 12_000.0, []
    for minute in range(240):
        if left_wh > 0 and may_charge(plan, left_wh, POWER_W, BEGIN + 4 * HOUR_S, BEGIN + 60 * minute):
            minutes.append(minute)
            left_wh -= (POWER_W / 4 if 15 <= minute < 30 else POWER_W) / 60
    assert left_wh <= 0.0
    assert {minute // 60 for minute in minutes} == {0, 2}


def test_choice_changes_at_quarter_hours_only() -> None:
    plan = PricePlan()
    plan.set_prices(hourly(*([0.3, 0.1] * 6)))
    minutes, _ = simulate(plan, 25_000.0, 12.0)
    changes = [b for a, b in pairwise(minutes) if b != a + 1]
    assert all(minute % 15 == 0 for minute in changes)
    assert len(changes) <= 5


def test_price_plan_new_prices_do_not_stop_car_within_quarter() -> None:
    plan = PricePlan()
    plan.set_prices(hourly(0.1, 0.2, 0.3))
    leaves_at = BEGIN + 3 * HOUR_S
    assert may_charge(plan, 5_000.0, POWER_W, leaves_at, BEGIN)
    plan.set_prices(hourly(0.3, 0.2, 0.1))
    assert may_charge(plan, 4_900.0, POWER_W, leaves_at, BEGIN + 60)
    assert not may_charge(plan, 2_500.0, POWER_W, leaves_at, BEGIN + 900)


def test_price_plan_unknown_prices_count_as_highest() -> None:
    plan = PricePlan()
    plan.set_prices(hourly(0.2, 0.1))
    minutes, missing = simulate(plan, 8_000.0, 10.0)
    assert missing == 0.0
    assert set(minutes) <= set(range(60, 120))


def test_price_plan_waiting_car_shows_when_it_charges_next() -> None:
    plan = PricePlan()
    plan.set_prices(hourly(0.4, 0.1, 0.4))
    assert not may_charge(plan, 2_000.0, POWER_W, BEGIN + 3 * HOUR_S, BEGIN)
    assert plan.next_begin(REF, BEGIN) == BEGIN + HOUR_S
    plan.remove(REF)
    assert plan.next_begin(REF, BEGIN) is None


def test_price_plan_car_of_unknown_power_begins_in_time_for_one_phase() -> None:
    # 6 kWh in the two cheap quarter hours before the last one, if it takes 10 kW; it takes 3.3 kW: 1.8 h.
    plan = PricePlan()
    plan.set_prices(make_series([(BEGIN + 900 * k, 0.1 if k in (13, 14) else 0.4) for k in range(16)]))
    left_wh, leaves_at = 6_000.0, BEGIN + 4 * HOUR_S
    for minute in range(240):
        utc = BEGIN + 60 * minute
        if left_wh > 0 and may_charge(plan, left_wh, POWER_W, leaves_at, utc, sure_w=2_300.0):
            left_wh -= POWER_W / 3 / 60
    assert left_wh <= 0.0


def test_price_plan_short_rest_of_quarter_does_not_show_power() -> None:
    # It arrives a minute before the end of a cheap quarter hour: what it receives there is no measure.
    plan = PricePlan()
    plan.set_prices(
        make_series([(BEGIN + 900 * k, price) for k, price in enumerate([0.1, 0.1, *[0.5] * 14])])
    )
    left_wh, minutes = 2_490.0, []
    for minute in range(14, 240):
        if left_wh > 0 and may_charge(plan, left_wh, POWER_W, BEGIN + 4 * HOUR_S, BEGIN + 60 * minute):
            minutes.append(minute)
            left_wh -= 0.0 if minute == 14 else POWER_W / 60
    assert minutes == list(range(14, 30))


def test_price_plan_share_of_room_bounds_expected_power() -> None:
    # 12 kWh at 10 kW fit into hour 2 and a part of hour 3; with 4 kW for each car they take all four hours.
    plan = PricePlan()
    plan.set_prices(hourly(0.4, 0.3, 0.1, 0.2))
    leaves_at = BEGIN + 4 * HOUR_S
    assert not may_charge(plan, 12_000.0, POWER_W, leaves_at, BEGIN)
    plan.remove(REF)
    assert may_charge(plan, 12_000.0, POWER_W, leaves_at, BEGIN, shares=[GoalShare(4_000.0, 4_000.0)] * 16)


def test_price_plan_car_with_small_charger_begins_in_time() -> None:
    # 10 kWh in 5 h with 3.7 kW; it may take 22 kW for all that is known: the last cheap hour is too late.
    plan = PricePlan()
    plan.set_prices(hourly(0.4, 0.3, 0.35, 0.4, 0.1))
    left_wh, leaves_at = 10_000.0, BEGIN + 5 * HOUR_S
    for minute in range(300):
        utc = BEGIN + 60 * minute
        asked = (left_wh, 22_000.0, leaves_at, utc)
        if left_wh > 0 and may_charge(plan, *asked, sure_w=7_400.0, small_w=(2_300.0, 3_700.0)):
            left_wh -= 3_700.0 / 60
    assert left_wh <= 0.0


def ask(plan: PricePlan, left_wh: float, minute: float, *, phases: int | None) -> bool:
    """Ask for a car on a three-phase station that leaves after 4.5 h; `phases` it uses, None: not known."""
    sure_w, small_w = {
        None: (7_360.0, (2_300.0, 3_680.0)),
        1: (2_300.0, ()),
        3: (6_900.0, ()),
    }[phases]
    most_w = 7_360.0 * (phases or 3)
    leaves_at, utc = BEGIN + 4.5 * HOUR_S, BEGIN + 60 * minute
    return may_charge(plan, left_wh, most_w, leaves_at, utc, sure_w=sure_w, small_w=small_w)


@pytest.mark.parametrize("phases", [1, 3])
def test_price_plan_car_with_little_time_to_spare_shows_its_phases_first(phases: int) -> None:
    # 12 kWh take 3.3 h with 3.7 kW on one phase: it cannot wait for hour 2. On three phases it can.
    plan = PricePlan()
    plan.set_prices(hourly(0.4, 0.3, 0.1, 0.3, 0.4))
    assert not ask(plan, 12_000.0, 0, phases=None)
    assert plan.shows_phases(REF, BEGIN)
    left_wh, minutes = 12_000.0 - 20.0, []
    for minute in range(1, 270):
        if left_wh > 0 and ask(plan, left_wh, minute, phases=phases):
            minutes.append(minute)
            left_wh -= (3_680.0 if phases == 1 else 11_000.0) / 60
        assert not plan.shows_phases(REF, BEGIN + 60 * minute)
    assert left_wh <= 0.0
    assert minutes[0] == (1 if phases == 1 else 120)


def test_price_plan_car_shows_its_phases_for_a_while_at_most() -> None:
    plan = PricePlan()
    plan.set_prices(hourly(0.4, 0.3, 0.1, 0.3, 0.4))
    shown = [minute for minute in range(240) if _waits_and_shows(plan, minute)]
    assert shown == list(range(20))


def _waits_and_shows(plan: PricePlan, minute: int) -> bool:
    return not ask(plan, 12_000.0, minute, phases=None) and plan.shows_phases(REF, BEGIN + 60 * minute)


@pytest.mark.parametrize("left_wh", [3_000.0, 18_000.0])
def test_price_plan_car_whose_phases_decide_nothing_does_not_show_them(left_wh: float) -> None:
    # 3 kWh leave time for an early quarter hour; 18 kWh are out of reach of a small charger.
    plan = PricePlan()
    plan.set_prices(hourly(0.4, 0.3, 0.1, 0.3, 0.4))
    assert not ask(plan, left_wh, 0, phases=None)
    assert not plan.shows_phases(REF, BEGIN)


def charge(
    plan: PricePlan, left_wh: float, shares_w: Sequence[float], takes_w: float = POWER_W
) -> dict[int, float]:
    """Charge a car by the plan with its share of each quarter hour until it leaves; return Wh in each."""
    shares = [GoalShare(share_w, share_w) for share_w in shares_w]
    leaves_at, received = BEGIN + 900.0 * len(shares), {}
    for quarter, share in enumerate(shares):
        for minute in range(15):
            utc = BEGIN + 900.0 * quarter + 60.0 * minute
            if left_wh > 0 and may_charge(plan, left_wh, POWER_W, leaves_at, utc, shares=shares[quarter:]):
                added_wh = min(left_wh, takes_w / 60, share.share_w / 60)
                received[quarter] = received.get(quarter, 0.0) + added_wh
                left_wh -= added_wh
    assert left_wh == pytest.approx(0.0, abs=1e-6)
    return {quarter: round(energy_wh) for quarter, energy_wh in received.items() if energy_wh}


FULL = [POWER_W]


def test_price_plan_cheap_hours_without_power_are_not_chosen() -> None:
    # The last two of four hours are cheapest, and the calendar leaves nothing then: the second hour it is.
    plan = PricePlan()
    plan.set_prices(hourly(0.3, 0.2, 0.1, 0.1))
    assert charge(plan, 8_000.0, FULL * 8 + [0.0] * 8) == {4: 2_500, 5: 2_500, 6: 2_500, 7: 500}


def test_price_plan_energy_fits_into_quarters_of_little_power() -> None:
    # The cheap hour has 2 kW: of 6.7 kWh, 1.74 are left to it with the reserve, so 4.96 are charged before.
    plan = PricePlan()
    plan.set_prices(hourly(0.4, 0.3, 0.1))
    found = charge(plan, 6_700.0, FULL * 8 + [2_000.0] * 4)
    assert found == {4: 2_500, 5: 2_500, 8: 500, 9: 500, 10: 500, 11: 200}


def test_price_plan_limit_that_ends_leaves_more_power_later() -> None:
    # 1 kW now, and 10 kW in the cheapest hour after it: 8 kWh fit into that.
    plan = PricePlan()
    plan.set_prices(hourly(0.2, 0.1, 0.3))
    found = charge(plan, 8_000.0, [1_000.0] * 4 + FULL * 8)
    assert found == {4: 2_500, 5: 2_500, 6: 2_500, 7: 500}


def test_price_plan_small_share_that_was_used_does_not_bound_larger_one() -> None:
    # It takes all of 4 kW in the first hour: of 10 kW in the last hour it can expect more.
    plan = PricePlan()
    plan.set_prices(hourly(0.1, 0.3, 0.2))
    found = charge(plan, 12_000.0, [4_000.0] * 8 + FULL * 4)
    assert found == {**dict.fromkeys(range(4), 1_000), 8: 2_500, 9: 2_500, 10: 2_500, 11: 500}


def test_price_plan_car_that_took_less_than_its_share_takes_no_more_later() -> None:
    # It takes 3 kW of 4 kW: 9 kWh are 12 quarter hours, whatever the room. In the last four 2.6 kWh are
    # received with the reserve: 6.4 kWh, in nine quarter hours, come before them.
    plan = PricePlan()
    plan.set_prices(hourly(0.1, 0.3, 0.4, 0.2))
    found = charge(plan, 9_000.0, [4_000.0] * 8 + FULL * 8, takes_w=3_000.0)
    assert Counter(quarter // 4 for quarter in found) == {0: 4, 1: 4, 2: 1, 3: 3}


def test_price_plan_goal_that_is_reached_only_now_charges_now() -> None:
    # 9.5 kWh in the hour before the limit: no later quarter hour has power, however cheap it is.
    plan = PricePlan()
    plan.set_prices(hourly(0.9, 0.1, 0.1))
    assert charge(plan, 9_500.0, FULL * 4 + [0.0] * 8) == {0: 2_500, 1: 2_500, 2: 2_500, 3: 2_000}


@pytest.mark.parametrize("share_w", [0.0, 500.0])
def test_price_plan_goal_out_of_reach_charges_whenever_it_can(share_w: float) -> None:
    plan = PricePlan()
    plan.set_prices(hourly(0.9, 0.1, 0.1))
    shares = [GoalShare(share_w, share_w)] * 12
    for minute in range(0, 180, 15):
        utc = BEGIN + 60.0 * minute
        rest = shares[minute // 15 :]
        assert may_charge(plan, 9_500.0, POWER_W, BEGIN + 3 * HOUR_S, utc, shares=rest)


def test_price_plan_unknown_car_begins_in_time_before_limit() -> None:
    # 6 kWh at 2.3 kW are 2.6 h, 3 h with the reserve; the last of four hours has no power.
    plan = PricePlan()
    plan.set_prices(hourly(0.4, 0.3, 0.1, 0.1))
    shares = [GoalShare(POWER_W, POWER_W)] * 12 + [GoalShare(0.0, 0.0)] * 4
    leaves_at = BEGIN + 4 * HOUR_S
    assert may_charge(plan, 6_000.0, POWER_W, leaves_at, BEGIN, sure_w=2_300.0, shares=shares)
    plan.remove(REF)
    assert not may_charge(plan, 6_000.0, POWER_W, leaves_at, BEGIN, sure_w=2_300.0)
