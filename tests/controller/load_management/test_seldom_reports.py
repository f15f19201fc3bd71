"""Stations that report each 5 to 15 minutes: their meter is proven by the limits that they accept.

The draws (A per phase) were computed by hand: limit less margin (1 A) less the load of the building.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from msgspec.structs import replace

from controller.load_management.site_tree import Fuse
from controller.model.observations import EvseState
from tests.controller.load_management.test_meter_faults import (
    FaultyMeter,
    right,
)
from tests.scenario.site_harness import Building, CarModel, SiteHarness, StationModel, make_grid, make_station


class StayingStation(StationModel):
    """Station that stays in Charging while its car takes nothing of an offer."""

    def next_state(self) -> EvseState:
        is_offered = bool(self._limits) and self._limits[0][0] >= self.evse.min_a
        if self.car is not None and self.state is EvseState.CHARGING and is_offered:
            return EvseState.CHARGING
        return super().next_state()


@dataclass
class FillingCar(CarModel):
    """Car that takes nothing once it is full."""

    is_full: bool = False

    def draw_a(self, limit_a: float) -> float:
        return 0.0 if self.is_full else super().draw_a(limit_a)


def flat(amps: float) -> Building:
    return lambda now: (amps, amps, amps)


def make_site(
    cars: list[CarModel],
    limit_a: float,
    building: Building,
    report_s: int,
    fallback_a: float = 6.0,
    gap_s: int = 60,
) -> SiteHarness:
    """Return a site whose cars have come one after the other."""
    stations: list[StationModel] = []
    for number in range(len(cars)):
        evse = replace(make_station(f"C{number}").evse, fallback_a=fallback_a)
        stations.append(StayingStation(evse=evse, report_s=report_s))
    site = SiteHarness((make_grid(limit_a, fuse=Fuse.GG),), stations, building)
    site.meter = FaultyMeter(site, right)
    site.connect()
    site.wait(60)
    for number, car in enumerate(cars):
        site.plug_in(f"C{number}", car)
        site.wait(gap_s)
    return site


@pytest.mark.parametrize("report_s", [300, 600])
@pytest.mark.parametrize("full_at_s", [1700, 1800, 1850])
def test_full_car_of_seldom_reports_costs_others_minutes(report_s: int, full_at_s: int) -> None:
    # 16 A less flow, which the last report still shows: 3 A of the building seem to be 13 A of feed-in.
    cars = [FillingCar(16.0), CarModel(16.0), CarModel(16.0)]
    site = make_site([*cars], 63.0, flat(3.0), report_s)
    site.wait(full_at_s - round(site.now))
    cars[0].is_full = True
    site.wait(1200)
    before_as = sum(site.station(name).energy_as for name in ("C1", "C2"))
    site.wait(3600)
    assert site.circuit_view("grid").meter_problem == ""
    assert sum(site.station(name).energy_as for name in ("C1", "C2")) - before_as >= 0.98 * 32 * 3600
    assert site.seconds_over("grid", 63.0) == 0


@pytest.mark.parametrize("report_s", [10, 300, 900])
def test_load_from_before_cars_ends_once_limits_have_proven_meter(report_s: int) -> None:
    # The cars share 14.5 A while the building takes 19.5 of 35 A: no step is large enough to be reported as
    # one. Then it takes 4 A, and the cars 15 A each.
    site = make_site(
        [CarModel(16.0), CarModel(16.0)],
        35.0,
        lambda now: (19.5 if now < 1500 else 4.0,) * 3,
        report_s,
        fallback_a=0.0,
        gap_s=5,
    )
    site.wait(1500 - round(site.now))
    assert sum(site.station(name).draw_a for name in ("C0", "C1")) <= 14.5
    site.wait(600)
    before_as = sum(site.station(name).energy_as for name in ("C0", "C1"))
    site.wait(1800)
    assert sum(site.station(name).energy_as for name in ("C0", "C1")) - before_as >= 0.9 * 30 * 1800
    assert site.seconds_over("grid", 35.0) == 0
