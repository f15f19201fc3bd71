"""Cars that add phases when reports or steps have shown that they use one only."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from controller.load_management.evse.report_requests import ReportRequests
from controller.load_management.site_tree import PhaseAmps
from controller.model.observations import DrawSeen
from tests.controller.load_management.test_scenes import TOLERANCE_A, car
from tests.scenario.site_harness import CarModel, SiteHarness, StationModel, make_grid, make_row, make_station

ONE_PHASE, ALL_PHASES = (0,), (0, 1, 2)


def rotated_stations(number: int, report_s: int) -> list[StationModel]:
    """Return stations with a car on one phase each, which begins on L1, L2 and L3 in turn."""
    stations = []
    for place in range(number):
        made = car(f"c{place}", report_s=report_s)
        first = place % 3
        made.evse = replace(made.evse, phases=(first, (first + 1) % 3, (first + 2) % 3))
        made.car = CarModel(32.0, ONE_PHASE)
        stations.append(made)
    return stations


def run_until_phases_are_known(number: int, limit_a: float, report_s: int) -> SiteHarness:
    site = SiteHarness((make_grid(limit_a),), rotated_stations(number, report_s), lambda now: (0.5,) * 3)
    site.connect()
    site.wait(900)
    return site


@pytest.mark.parametrize("report_s", [60, 300, 600, 900])
@pytest.mark.parametrize("limit_a", [25.0, 35.0, 50.0])
def test_cars_that_add_phases_overload_their_meter_twice_at_most(limit_a: float, report_s: int) -> None:
    # Each has one phase for itself, and draws a third of that on each phase later.
    site = run_until_phases_are_known(3, limit_a, report_s)
    alone_a = min(32.0, limit_a - 1.5)
    assert [each.draw_a for each in site.stations.values()] == pytest.approx([alone_a] * 3, abs=TOLERANCE_A)
    for each in site.stations.values():
        each.car = CarModel(32.0, ALL_PHASES)
    del site.flowed[:]
    site.wait(1200)
    assert site.seconds_over("grid", limit_a) <= 18  # twice what meter, control and stations take
    share_a = (limit_a - 1.5) / 3
    assert [each.draw_a for each in site.stations.values()] == pytest.approx([share_a] * 3, abs=1.0)


@pytest.mark.parametrize("report_s", [0, 300])
def test_car_that_adds_full_phase_overloads_it_for_seconds(report_s: int) -> None:
    # Nobody else can come down on L2, where the building takes 20 of 40 A: the car has to, to 19 A.
    station = make_station("c0", car=CarModel(32.0, ONE_PHASE), report_s=report_s)
    site = SiteHarness((make_grid(40.0),), [station], lambda now: (10.0 + now % 3 / 100, 20.0, 10.0))
    site.connect()
    site.wait(1200)
    assert station.draw_a == pytest.approx(29.0, abs=TOLERANCE_A)
    station.car = CarModel(32.0, ALL_PHASES)
    del site.flowed[:]
    site.wait(900)
    assert site.seconds_over("grid", 40.0) <= 20
    assert station.draw_a == pytest.approx(19.0, abs=TOLERANCE_A)


@pytest.mark.parametrize("surge_a", [(20.0, 0.0, 0.0), (0.0, 20.0, 0.0)])
def test_surge_on_one_phase_leaves_the_phases_of_cars_known(surge_a: PhaseAmps) -> None:
    # A car adds all of its other phases at once. On L3 the car keeps its 23.5 A.
    site = run_until_phases_are_known(3, 25.0, 300)
    site.building = lambda now: (surge_a[0] + 0.5, surge_a[1] + 0.5, 0.5)
    site.wait(60)
    assert site.station("c2").draw_a == pytest.approx(23.5, abs=TOLERANCE_A)


@pytest.mark.parametrize("answers", [False, True])
def test_car_that_adds_phases_on_unmetered_row_is_asked_for_reports(*, answers: bool) -> None:
    """Reports come each 900 s, and by request where the station `answers`: nothing else shows the car."""
    phases = [(0, 1, 2), (1, 2, 0)]
    stations = [
        make_station(f"c{place}", "row", phases=wired, car=CarModel(32.0, ONE_PHASE), report_s=900)
        for place, wired in enumerate(phases)
    ]
    site = SiteHarness((make_grid(200.0), make_row("row", 25.0)), stations, lambda now: (1.0,) * 3)
    site.connect()
    requests = ReportRequests()
    for _ in range(3600):
        if site.now == 2005:
            site.station("c0").car = CarModel(32.0, ALL_PHASES)
        site.step()
        due = requests.take_due(site.now, site.control.seldom_evses(site.now)) if site.now % 15 == 0 else []
        for ref in due if answers else ():
            site.report(ref.station, DrawSeen(1, site.stations[ref].drawn()))
    assert site.longest_over("row", 25.0) <= (100 if answers else 700)
    assert [each.draw_a for each in stations] == pytest.approx([12.0, 12.0], abs=1.0)
