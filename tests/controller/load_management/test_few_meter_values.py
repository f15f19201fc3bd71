"""Stations whose meter values name no phases, or show the energy register alone."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from controller.load_management.energy.energy_settings import EnergySettings, GroupSettings
from controller.load_management.sharing_settings import SiteSettings
from controller.model.observations import EvseRating, Observation
from controller.model.statements import StatementCode
from controller.ocpp.frames import Version
from controller.ocpp.payloads import format_time
from controller.ocpp.station_state import StationStateTracker
from tests.scenario.site_harness import CarModel, SiteHarness, StationModel, make_grid, make_station

NOON = 1_774_785_600.0
VOLTAGE = 230.0
KINDS = ["Current.Import", "Power.Active.Import", "Energy.Active.Import.Register"]


@dataclass
class MeteredStation(StationModel):
    """Station whose MeterValues have one value of this measurand, without a phase."""

    measurand: str = KINDS[0]
    voltage_v: float = VOLTAGE
    _tracker: StationStateTracker = field(init=False)

    def __post_init__(self) -> None:
        rating = EvseRating(len(self.evse.phases), self.evse.max_a)
        self._tracker = StationStateTracker(Version.V16, VOLTAGE, {1: rating})

    def read_meter(self, now: float) -> list[Observation]:
        values = {
            "Current.Import": (f"{max(self.drawn()):.1f}", "A"),
            "Power.Active.Import": (f"{sum(self.drawn()) * self.voltage_v:.0f}", "W"),
            "Energy.Active.Import.Register": (f"{12_345 + self.energy_wh:.0f}", "Wh"),
        }
        value, unit = values[self.measurand]
        sample = {"value": value, "measurand": self.measurand, "unit": unit}
        element = {"timestamp": format_time(NOON + now), "sampledValue": [sample]}
        message = json.dumps({"connectorId": 1, "meterValue": [element]}).encode()
        return self._tracker.on_message("MeterValues", message, NOON + now)

    @property
    def energy_wh(self) -> float:
        phases = 0 if self.car is None else len(self.car.phases)
        return self.energy_as * phases * self.voltage_v / 3600


def metered(
    name: str, measurand: str, car: CarModel, report_s: int = 10, reaction_s: int = 3
) -> MeteredStation:
    if measurand == KINDS[2]:
        report_s = max(report_s, 60)
    evse = replace(make_station(name).evse, fallback_a=0.0)
    return MeteredStation(evse=evse, car=car, measurand=measurand, report_s=report_s, reaction_s=reaction_s)


@pytest.mark.parametrize("measurand", KINDS)
@pytest.mark.parametrize("reaction_s", [1, 3, 10])
@pytest.mark.parametrize("report_s", [5, 10, 30])
def test_cars_below_their_offers_are_separated_from_building(
    measurand: str, reaction_s: int, report_s: int
) -> None:
    # 44 A on L1 and 36 A on the others of 62 A: each takes all that it can, and the building takes 1 A.
    takes = {"a": CarModel(8.0, (0,)), "b": CarModel(16.0), "c": CarModel(8.0), "d": CarModel(12.0)}
    stations: list[StationModel] = [
        metered(name, measurand, car, report_s, reaction_s) for name, car in takes.items()
    ]
    site = SiteHarness((make_grid(63.0),), stations, lambda now: (1.0 + now % 3 / 100,) * 3)
    site.connect()
    site.wait(1500)
    assert [each.draw_a for each in stations] == [8.0, 16.0, 8.0, 12.0]
    assert site.circuit_view("grid").meter_problem == ""
    assert site.seconds_over("grid", 63.0) == 0


@pytest.mark.parametrize("measurand", KINDS)
def test_unmetered_circuit_is_shared_by_what_cars_take(measurand: str) -> None:
    # 39 A: one takes 8 A on three phases, so 29 A and the 2 A in which its rise would show are left.
    stations: list[StationModel] = [
        metered("a", measurand, CarModel(8.0)),
        metered("b", measurand, CarModel()),
    ]
    site = SiteHarness((make_grid(40.0, None),), stations)
    site.connect()
    site.wait(1500)
    assert stations[0].draw_a == 8.0
    assert stations[1].draw_a >= 19.5
    assert site.seconds_over("grid", 40.0) == 0
    assert max(site.limit_changes(name) for name in "ab") <= 12


@pytest.mark.slow
@pytest.mark.parametrize("measurand", KINDS[1:])
@pytest.mark.parametrize("report_s", [60, 300])
@pytest.mark.parametrize("voltage_v", [207.0, 242.0, 253.0])
def test_powers_are_currents_at_measured_voltage(measurand: str, report_s: int, voltage_v: float) -> None:
    # 62 A less 11 A of the building: 25.5 A each, at any voltage.
    stations: list[StationModel] = [metered(name, measurand, CarModel(), report_s) for name in "ab"]
    for each in stations:
        assert isinstance(each, MeteredStation)
        each.voltage_v = voltage_v
    site = SiteHarness((make_grid(63.0),), stations, lambda now: (10.0 + now // 60 % 2,) * 3)
    site.voltage_v = voltage_v
    site.connect()
    site.wait(900)
    begin_as = [each.energy_as for each in stations]
    site.wait(1800)
    means_a = [(each.energy_as - before) / 1800 for each, before in zip(stations, begin_as, strict=True)]
    assert min(means_a) >= 24.5
    assert not [each for each in site.decisions if each.statement.code is StatementCode.DISOBEYS]
    assert max(site.limit_changes(name) for name in "ab") <= 30
    assert site.seconds_over("grid", 63.0) == 0


@pytest.mark.parametrize("report_s", [10, 60])
@pytest.mark.parametrize("voltage_v", [230.0, 235.0, 242.0])
def test_powers_at_unknown_voltage_are_within_limits(report_s: int, voltage_v: float) -> None:
    # Nothing measures the voltage, which is within what a grid has as a rule.
    stations: list[StationModel] = [metered(name, KINDS[1], CarModel(), report_s) for name in "ab"]
    for each in stations:
        assert isinstance(each, MeteredStation)
        each.voltage_v = voltage_v
    site = SiteHarness((make_grid(63.0, None),), stations)
    site.connect()
    site.wait(900)
    assert [each.draw_a for each in stations] == [31.0, 31.0]
    assert not [each for each in site.decisions if each.statement.code is StatementCode.DISOBEYS]


@pytest.mark.parametrize("measurand", KINDS[:2])
def test_current_without_phase_counts_on_phases_of_car(measurand: str) -> None:
    # The building takes 30 A on L2, which the car on L1 does not relieve: 32 A of it are left for two others.
    stations: list[StationModel] = [
        metered("a", measurand, CarModel(32.0, (0,)), report_s=300),
        make_station("b", phases=(1,), car=CarModel(32.0, (0,))),
        make_station("c", phases=(1,), car=CarModel(32.0, (0,))),
    ]
    site = SiteHarness((make_grid(63.0),), stations, lambda now: (5.0 + now % 3 / 100, 30.0, 5.0))
    site.connect()
    site.wait(3600)
    assert site.longest_over("grid", 63.0) <= 5
    assert site.circuit_view("grid").meter_problem == ""
    assert [each.draw_a for each in stations] == [32.0, 16.0, 16.0]


@pytest.mark.parametrize("measurand", KINDS[:2])
def test_power_of_phases_added_late_is_taken_in(measurand: str) -> None:
    station = metered("a", measurand, CarModel(32.0, (0,)), report_s=300)
    site = SiteHarness((make_grid(40.0),), [station], lambda now: (10.0 + now % 3 / 100, 20.0, 10.0))
    site.connect()
    site.wait(1200)
    station.car = CarModel(32.0)
    site.wait(900)
    assert station.draw_a == 19.0
    assert site.evse_view("a").drawn_a == (19.0, 19.0, 19.0)


@pytest.mark.parametrize("measurand", KINDS[1:])
@pytest.mark.parametrize("phases", [(0,), (0, 1, 2)])
def test_quota_counts_power_of_all_phases_once(measurand: str, phases: tuple[int, ...]) -> None:
    station = metered("a", measurand, CarModel(16.0, phases), report_s=60)
    group = GroupSettings(id="bakery", evses=frozenset({station.ref}), quota_wh=3000.0)
    settings = SiteSettings(energy=EnergySettings(groups=(group,)))
    site = SiteHarness(
        (make_grid(63.0),), [station], lambda now: (1.0 + now % 3 / 100,) * 3, settings, utc=NOON
    )
    site.connect()
    site.wait(3600)
    assert station.energy_wh == pytest.approx(3000.0, rel=0.15)


@pytest.mark.parametrize("measurand", KINDS)
@pytest.mark.parametrize("report_s", [10, 60])
def test_phases_that_no_report_names_are_shown_by_meter(measurand: str, report_s: int) -> None:
    # One-phase cars in 31 A, one on L1 and two on L2: booked on all phases, they would share 10.3 A each.
    stations: list[StationModel] = [
        metered(name, measurand, CarModel(32.0, (0,)), report_s=report_s) for name in "abc"
    ]
    for each in stations[1:]:
        each.evse = replace(each.evse, phases=(1, 2, 0))
    site = SiteHarness((make_grid(33.0),), stations, lambda now: (1.0 + now % 3 / 100,) * 3)
    site.connect()
    site.wait(1800)
    assert [each.draw_a for each in stations] == pytest.approx([31.0, 15.5, 15.5], abs=0.5)
    assert site.seconds_over("grid", 33.0) <= 5
