"""Meters made of the stations' own values: what is known of each EVSE, for how long, and what it is worth."""

from __future__ import annotations

import pytest

from controller.load_management.events import MeterUpdated, StationObserved, StationUp
from controller.load_management.metering.station_meters import StationMeters
from controller.load_management.sharing_settings import SiteSettings
from controller.load_management.site_control import SiteControl
from controller.load_management.site_tree import CircuitNode, EvseNode, SiteTree
from controller.model.observations import DrawSeen, EvseRef, EvseState, StateSeen, TransactionSeen
from drivers.errors import Cause
from drivers.reading import MeterState, Quality
from drivers.settings import MeterSettings

SITE = SiteTree(
    circuits=(CircuitNode(id="row", parent=None, limit_a=(63.0,) * 3, meter="cars", base_load_a=10.0),),
    evses=tuple(
        EvseNode(ref=EvseRef(station, 1), circuit="row", phases=phases, min_a=6.0, max_a=32.0, fallback_a=6.0)
        for station, phases in (("CS01", (0, 1, 2)), ("CS02", (1, 2, 0)), ("CS03", (2,)))
    ),
)
METER = MeterSettings(
    id="cars",
    driver="virtual",
    transport="virtual",
    stations=("CS01", "CS02", "CS03"),
    stale_after_s=60.0,
)


def meters(*, connected: bool = True) -> StationMeters:
    """The meter of a site whose stations are connected at 0 s, each without a car."""
    found = StationMeters([METER], SITE)
    if connected:
        for station in METER.stations:
            found.on_link(station, 0.0, is_connected=True)
            found.on_observation(station, StateSeen(1, EvseState.AVAILABLE), 0.0)
    return found


def state_of(found: StationMeters, now: float) -> MeterState:
    [state] = found.states(now)
    return state


def test_station_meter_adds_reports_on_phases_of_site() -> None:
    found = meters()
    found.on_observation("CS01", DrawSeen(1, (10.0, 11.0, 12.0)), 5.0)
    found.on_observation("CS02", DrawSeen(1, (1.0, 2.0, 3.0)), 6.0)
    found.on_observation("CS03", DrawSeen(1, (16.0, None, None)), 7.0)
    state = state_of(found, 8.0)
    assert (state.quality, state.stations_alone) == (Quality.GOOD, True)
    assert state.reading is not None
    assert state.reading.current_a == (13.0, 12.0, 30.0)
    assert state.reading.time == 5.0


def test_station_meter_without_cars_is_good_at_zero() -> None:
    state = state_of(meters(), 5000.0)
    assert state.quality is Quality.GOOD
    assert state.reading is not None
    assert (state.reading.current_a, state.reading.time) == ((0.0, 0.0, 0.0), 5000.0)


def test_station_meter_counts_phase_that_is_not_reported_as_highest() -> None:
    found = meters()
    found.on_observation("CS01", DrawSeen(1, (10.0, None, 12.0)), 5.0)
    state = state_of(found, 5.0)
    assert state.reading is not None
    assert state.reading.current_a == (10.0, 12.0, 12.0)


def test_station_meter_turns_stale_and_dead_with_oldest_report() -> None:
    found = meters()
    found.on_observation("CS01", StateSeen(1, EvseState.CHARGING), 1.0)
    found.on_observation("CS01", DrawSeen(1, (10.0, 10.0, 10.0)), 2.0)
    assert state_of(found, 62.0).quality is Quality.GOOD
    stale = state_of(found, 63.0)
    assert (stale.quality, stale.cause) == (Quality.STALE, Cause.NOT_REPORTED)
    assert stale.problem.startswith("CS01/1 has reported no current for 61 s; check its connection")
    assert state_of(found, 363.0).quality is Quality.DEAD


def test_station_meter_does_not_know_car_that_begins_before_report() -> None:
    found = meters()
    found.on_observation("CS02", StateSeen(1, EvseState.CHARGING), 100.0)
    state = state_of(found, 100.0)
    assert (state.quality, state.reading) == (Quality.STALE, None)
    found.on_observation("CS02", DrawSeen(1, (8.0, 8.0, 8.0)), 101.0)
    assert state_of(found, 101.0).quality is Quality.GOOD


@pytest.mark.parametrize(
    "ended", [TransactionSeen(1, running=False), StateSeen(1, EvseState.FINISHING)], ids=["end", "state"]
)
def test_station_meter_has_zero_after_session(ended: TransactionSeen | StateSeen) -> None:
    found = meters()
    found.on_observation("CS01", StateSeen(1, EvseState.CHARGING), 1.0)
    found.on_observation("CS01", DrawSeen(1, (10.0, 10.0, 10.0)), 2.0)
    found.on_observation("CS01", ended, 3.0)
    state = state_of(found, 3000.0)
    assert state.quality is Quality.GOOD
    assert state.reading is not None
    assert state.reading.current_a == (0.0, 0.0, 0.0)


def test_station_meter_of_lost_station_ages_from_loss() -> None:
    found = meters()
    found.on_link("CS03", 100.0, is_connected=False)
    assert state_of(found, 160.0).quality is Quality.GOOD
    assert state_of(found, 161.0).quality is Quality.STALE


def test_station_meter_ignores_impossible_report() -> None:
    found = meters()
    found.on_observation("CS01", DrawSeen(1, (1e6, 0.0, 0.0)), 5.0)
    state = state_of(found, 5.0)
    assert state.reading is not None
    assert state.reading.current_a == (0.0, 0.0, 0.0)


def test_station_meter_of_unknown_stations_is_dead_in_time() -> None:
    found = meters(connected=False)
    assert state_of(found, 0.0).quality is Quality.STALE
    assert state_of(found, 361.0).quality is Quality.DEAD


def test_circuit_with_station_meter_counts_declared_base_load() -> None:
    found = meters()
    control = SiteControl(SITE, SiteSettings(voltage_v=230.0, margin_a=0.0), 0.0)
    for station in METER.stations:
        control.handle(StationUp(station), 0.0)
        for observation in (StateSeen(1, EvseState.CHARGING), DrawSeen(1, (6.0, 6.0, 6.0))):
            found.on_observation(station, observation, 0.0)
            control.handle(StationObserved(station, observation), 0.0)
    control.handle(MeterUpdated(state_of(found, 0.0)), 0.0)
    view = control.snapshots.take_view(0.0)
    [circuit] = view.circuits
    assert (circuit.meter_quality, circuit.base_a) == (Quality.GOOD, (10.0, 10.0, 10.0))
