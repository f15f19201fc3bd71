"""Charging from the sun alone: shares, times on and off, and a day with clouds."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

import pytest
from msgspec.structs import replace

from controller.load_management.allocation.surplus import DWELL_S, NO_SURPLUS, Surplus
from controller.load_management.site_tree import PhaseAmps
from controller.model.observations import EvseRef
from drivers.reading import MeterState, Reading
from tests.controller.load_management.allocation.test_allocator import demand, depot
from tests.scenario.site_harness import (
    CarModel,
    SiteHarness,
    good_state,
    make_grid,
    make_station,
    stale_state,
)

A = EvseRef("grid1", 1)


def shared(surplus: Surplus, surplus_a: float, now: float) -> tuple[float, str]:
    site, capacity = depot(grid=100)
    allocation = surplus.share(site, [demand("grid1")], capacity, {}, surplus_a, now)[A]
    return allocation.limit_a, allocation.reason


def test_surplus_is_shared_over_all_phases() -> None:
    site, capacity = depot(grid=100)
    demands = [demand("grid1"), demand("grid2", phases=(True, False, False))]
    got = Surplus().share(site, demands, capacity, {}, 40.0, 0.0)
    assert {ref.station: each.limit_a for ref, each in got.items()} == {"grid1": 10.0, "grid2": 10.0}


def test_surplus_below_minimum_gives_nothing_with_reason() -> None:
    assert shared(Surplus(), 17.9, 0.0) == (
        0.0,
        "no room for its minimum of 6 A, grid exports no more: waiting",
    )


def test_surplus_too_small_is_reason_also_where_phase_is_full() -> None:
    site, _ = depot(grid=100)
    full: dict[str, PhaseAmps] = {"grid": (90.0, 90.0, 0.0)}
    reasons = [
        Surplus().share(site, [demand("grid1")], full, {}, surplus_a, 0.0)[A].reason
        for surplus_a in (-30.0, 40.0)
    ]
    assert reasons == [
        "no room for its minimum of 6 A, grid exports no more: waiting",
        "no room for its minimum of 6 A, grid L3 full: waiting",
    ]


def test_surplus_start_keeps_minimum_then_rests_for_while() -> None:
    surplus = Surplus()
    assert shared(surplus, 30.0, 0.0) == (10.0, "grid exports no more")
    assert shared(surplus, 0.0, 1.0)[0] == 6.0
    assert shared(surplus, 0.0, DWELL_S - 1)[0] == 6.0
    assert shared(surplus, 0.0, DWELL_S)[0] == 0.0
    assert shared(surplus, 30.0, DWELL_S + 1) == (0.0, str(NO_SURPLUS))
    assert shared(surplus, 30.0, 2 * DWELL_S)[0] == 10.0


def feeding_in(building: Callable[[float], PhaseAmps], *fair: CarModel) -> SiteHarness:
    stations = [make_station("SUN", car=CarModel(), surplus=True)]
    stations += [make_station(f"F{index}", car=car) for index, car in enumerate(fair)]
    site = SiteHarness((make_grid(100.0),), stations, building)
    site.connect()
    site.wait(60)
    site.flowed.clear()
    return site


def test_surplus_car_takes_what_is_fed_in_and_no_more() -> None:
    site = feeding_in(lambda now: (-15.0, -10.0, -11.0))
    site.wait(600)
    assert site.evse_view("SUN").offered_a == 12.0
    assert abs(sum(site.flowed[-1])) < 0.5
    assert site.evse_view("SUN").reason == "grid exports no more"


def with_power(reading: Reading) -> MeterState:
    """Return the state of a meter that shows active power beside the currents."""
    return good_state(replace(reading, power_total_w=230.0 * sum(amps or 0.0 for amps in reading.current_a)))


@pytest.mark.parametrize("report_s", [0, 300])
def test_surplus_of_car_that_reports_seldom_or_never_is_shared(report_s: int) -> None:
    # What the car draws is missing in the feed-in that the meter shows: 9 A on each phase stay 9 A.
    station = make_station("SUN", car=CarModel(), surplus=True, report_s=report_s)
    site = SiteHarness(
        (make_grid(63.0, generation_a=30.0),), [station], lambda now: (-9.0 + now % 3 / 100, -9.0, -9.0)
    )
    site.meter = with_power
    site.connect()
    site.wait(900)
    station.energy_as = 0.0
    site.wait(3600)
    assert station.energy_as / 3600 >= 8.8


@pytest.mark.parametrize("report_s", [0, 10, 60, 300])
def test_surplus_is_shared_by_one_phase_cars_on_three_phase_stations(report_s: int) -> None:
    # 16 A are too few for a minimum on three phases: the second car starts to show that it uses one.
    stations = [
        make_station(name, car=CarModel(32.0, (0,)), surplus=True, report_s=report_s) for name in "AB"
    ]
    site = SiteHarness((make_grid(63.0),), stations, lambda now: (-5.4, -5.3, -5.3))
    site.connect()
    site.wait(3600)
    assert [site.station(name).draw_a for name in "AB"] == pytest.approx([8.0, 8.0], abs=0.3)


def test_surplus_without_feed_in_waits() -> None:
    site = feeding_in(lambda now: (5.0, 5.0, 5.0))
    site.wait(600)
    assert site.station("SUN").limit_a(site.now) == 0.0


def test_surplus_evse_of_other_modes_uses_it_first() -> None:
    site = feeding_in(lambda now: (-30.0, -30.0, -30.0), CarModel(20.0))
    site.wait(900)
    assert site.station("F0").draw_a == 20.0
    assert 7.0 <= site.evse_view("SUN").offered_a <= 10.0  # the other is left 2 A of headroom


@pytest.mark.slow
def test_surplus_clouds_do_not_switch_car_to_and_fro() -> None:
    site = feeding_in(lambda now: (-2.0, -2.0, -2.0) if now % 120 < 60 else (-12.0, -12.0, -12.0))
    on = []
    for _ in range(3600):
        site.step()
        on.append(site.station("SUN").draw_a > 0)
    assert len(list(groupby(on))) == 2  # off at first, then on: the clouds are bridged
    assert on[-1]


def test_surplus_gone_for_long_stops_car_once() -> None:
    site = feeding_in(lambda now: (-12.0, -12.0, -12.0) if now < 900 else (2.0, 2.0, 2.0))
    site.wait(900 + int(DWELL_S) - 120)
    assert site.station("SUN").draw_a > 0
    site.wait(240)
    assert site.station("SUN").draw_a == 0


def test_surplus_meter_that_is_gone_shows_no_surplus() -> None:
    site = feeding_in(lambda now: (-15.0 - now % 2 / 10, -15.0, -15.0))
    site.wait(600)
    assert site.evse_view("SUN").offered_a > 12.0
    site.meter = stale_state
    site.wait(int(DWELL_S) + 30)
    assert site.station("SUN").limit_a(site.now) == 0.0


def switching(building: Callable[[float], PhaseAmps]) -> SiteHarness:
    site = SiteHarness(
        (make_grid(100.0),),
        [make_station("SUN", car=CarModel(), surplus=True, phase_switching=True)],
        building,
    )
    site.connect()
    site.wait(600)
    return site


def phases_used(site: SiteHarness) -> int:
    return sum(amps > 0 for amps in site.station("SUN").drawn())


@pytest.mark.slow
def test_surplus_too_low_for_three_phases_continues_on_one() -> None:
    """3 x 6 A it began with; then 9 A in all is left, and 30 A in the end."""
    site = switching(lambda now: (-(6.5 if now < 900 else 3.0 if now < 2700 else 10.0),) * 3)
    assert phases_used(site) == 3
    drawn = []
    for _ in range(2100):
        site.step()
        drawn.append(site.station("SUN").draw_a > 0)
    assert site.station("SUN").drawn() == (9.0, 0.0, 0.0)
    assert site.evse_view("SUN").reason == "on one phase: grid exports no more"
    assert drawn.count(False) < 60, "a pause for the contactors, and none for the cloud"
    site.wait(900)
    assert site.station("SUN").drawn() == (10.0, 10.0, 10.0)


def test_surplus_weak_sun_begins_with_one_phase() -> None:
    site = switching(lambda now: (-3.0, -3.0, -3.0))
    assert site.station("SUN").drawn() == (9.0, 0.0, 0.0)


@pytest.mark.slow
def test_by_night_no_phase_is_switched() -> None:
    site = switching(lambda now: (-10.0, -10.0, -10.0) if now < 600 else (5.0, 5.0, 5.0))
    site.wait(3600)
    assert not any(single for _, single in site.station("SUN").one_phase)
    assert site.station("SUN").draw_a == 0.0


def test_surplus_for_one_phase_starts_three_phase_car_once_and_briefly() -> None:
    # 9 A of feed-in: enough for a one-phase car. This one shows that it takes 18 A, and stops at once.
    site = feeding_in(lambda now: (-3.0 - now % 3 / 100,) * 3)
    site.wait(7200)
    drawn_a = [sum(amps) + 9.0 for amps in site.flowed]
    assert 0 < sum(amps > 6.0 for amps in drawn_a) <= 60
    assert max(max(amps) for amps in site.flowed[-3600:]) <= 0.0
