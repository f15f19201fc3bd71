"""Statuses of sites of any size, with and without faults, for the tests of the page."""

from __future__ import annotations

from msgspec.structs import replace

from controller.model.observations import EvseState
from controller.web.status_model import (
    ChargingStationStatus,
    CircuitStatus,
    ControllerStatus,
    EnergyStatus,
    EvseStatus,
    GroupStatus,
    OverrideStatus,
    PeakStatus,
    WaitStatus,
)
from drivers.reading import Quality
from tests.controller.web.examples import STATUS

STATES = (EvseState.CHARGING, EvseState.AVAILABLE, EvseState.PREPARING, EvseState.SUSPENDED_EV)
ROW = 50
"""Stations below one circuit."""
ENERGY = EnergyStatus(
    peaks=(
        PeakStatus(
            circuit="grid", target_kw=60.0, used_kwh=7.5, budget_kwh=15.0, ends_in_s=420.0, month_kw=58.2
        ),
    ),
    calendar=("night tariff",),
    groups=(GroupStatus(id="tenant-a", guaranteed_a=16.0, used_kwh=31.5, quota_kwh=50.0),),
    waiting=(WaitStatus(station="CS001", evse=1, begins="2026-11-21T13:00:00+00:00"),),
    price=0.291,
    battery_a=5.0,
)


def site_of(stations: int, *, faulty: bool = False) -> ControllerStatus:
    """Return the status of a site with so many stations of one EVSE each."""
    rows = [f"row-{number + 1}" for number in range((stations + ROW - 1) // ROW)]
    grid = replace(
        STATUS.circuits[0],
        measured_a=(60.5, 98.0, 71.0),
        meter_quality=Quality.DEAD if faulty else Quality.GOOD,
        meter_problem="unit 1 does not answer" if faulty else "",
    )
    row = CircuitStatus(
        id="row",
        parent="grid",
        limit_a=(63.0, 63.0, 63.0),
        measured_a=None,
        base_a=(0.0, 0.0, 0.0),
        booked_a=(16.0, 16.0, 16.0),
        meter_quality=None,
    )
    circuits = (grid, *(replace(row, id=name) for name in rows))
    evses = tuple(_evse(number, rows[number // ROW], faulty=faulty) for number in range(stations))
    charging = tuple(_station(evse, number) for number, evse in enumerate(evses))
    return replace(
        STATUS,
        circuits=circuits,
        evses=evses,
        energy=ENERGY,
        backends=tuple(replace(each, set_aside=1 if faulty else 0) for each in STATUS.backends),
        stations=charging,
        alarms=STATUS.alarms if faulty else (),
        knocks=STATUS.knocks if faulty else (),
        dimming=STATUS.dimming,
        healthy=True,
    )


def _evse(number: int, circuit: str, *, faulty: bool) -> EvseStatus:
    state = STATES[number % len(STATES)]
    draws = 15.5 if state is EvseState.CHARGING else 0.0
    connected = not faulty or number % 7 != 3
    return EvseStatus(
        station=f"CS{number + 1:02}",
        evse=1,
        circuit=circuit,
        ocpp="ocpp2.0.1" if connected else None,
        connected=connected,
        state=EvseState.FAULTED if faulty and number % 7 == 5 else state,
        offered_a=16.0,
        drawn_a=(draws, draws, draws),
        reason="all that its car takes" if draws else "no car",
    )


def _station(evse: EvseStatus, number: int) -> ChargingStationStatus:
    override = OverrideStatus(evse=1, kind="limit", value=10.0, until="2026-11-21T13:00:00+00:00", by="anna")
    return ChargingStationStatus(
        id=evse.station,
        label=f"Bay {number + 1}, north side" if number % 3 == 0 else "",
        connected=evse.connected,
        ocpp=evse.ocpp,
        owner="cpo",
        observers=(),
        when_backend_away="autonomous",
        vendor="Vendor",
        model="Wallbox 22 with a long name",
        firmware="1.2.3-build.20260101",
        quirk="standard",
        peer=f"192.0.2.{number % 250}",
        overrides=(override,) if number % 5 == 1 else (),
    )
