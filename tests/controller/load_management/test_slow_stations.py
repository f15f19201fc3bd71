"""Stations that take their time to follow a limit, before they have shown how long."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from controller.load_management.site_tree import PhaseAmps
from tests.scenario.site_harness import CarModel, SiteHarness, StationModel, make_grid, make_station

LIMIT_A = 100.0


def calm(_: float) -> PhaseAmps:
    return (20.0, 20.0, 20.0)


def make_site(
    stations: list[StationModel], building: Callable[[float], PhaseAmps], apart_s: int, wait_s: int
) -> SiteHarness:
    """Return a site after some time; its cars came all at once, or so many s apart."""
    site = SiteHarness((make_grid(LIMIT_A, margin_a=8.0),), stations, building)
    site.meter_delay_s = 1
    for station in stations:
        station.car = None if apart_s else CarModel()
    site.connect()
    for second in range(wait_s):
        number, rest = divmod(second, max(1, apart_s))
        if apart_s and not rest and number < len(stations):
            site.plug_in(stations[number].evse.ref.station, CarModel())
        site.step()
    return site


@pytest.mark.parametrize("reaction_s", [10, 20, 30])
@pytest.mark.parametrize("report_s", [5, 10])
@pytest.mark.parametrize(("count", "apart_s"), [(4, 0), (6, 0), (8, 0), (4, 20), (6, 20)])
def test_slow_stations_stay_below_limit_from_first_minute(
    reaction_s: int, report_s: int, count: int, apart_s: int
) -> None:
    stations = [
        make_station(f"S{i}", reaction_s=reaction_s, report_s=report_s, answer_s=1.0) for i in range(count)
    ]
    site = make_site(stations, calm, apart_s, 600)
    assert site.seconds_over("grid", LIMIT_A) == 0


@pytest.mark.parametrize("count", [4, 6])
def test_slow_stations_that_are_known_get_their_share(count: int) -> None:
    # 72 A for them; each pass plans with 4 A less at most, while one of them follows.
    stations = [make_station(f"S{i}", reaction_s=30, report_s=10, answer_s=1.0) for i in range(count)]
    site = make_site(stations, calm, 0, 1200)
    site.row_flowed["grid"].clear()
    before_as = sum(each.energy_as for each in stations)
    site.wait(600)
    mean_a = (sum(each.energy_as for each in stations) - before_as) / 600
    assert mean_a >= 0.9 * (LIMIT_A - 8.0 - 20.0)


def test_slow_station_does_not_hold_back_quick_ones() -> None:
    # Quick stations show their time with their first steps: what they free is given on after 5 s.
    stations = [make_station(f"S{i}", reaction_s=3, report_s=10, answer_s=1.0) for i in range(6)]
    site = make_site(stations, calm, 0, 300)
    learned = [site.evse_view(each.evse.ref.station).learned for each in stations]
    assert all(each.slowest_s < 20.0 for each in learned)
