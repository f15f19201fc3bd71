"""Statuses of sites of any size, with and without faults, for the tests of the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec.structs import replace

from controller.model.expiry import DAY_S
from controller.model.observations import EvseState
from controller.model.statements import Statement, StatementCode, detailed
from controller.store.sqlite_journal import unusable
from controller.web.alarm_model import AlarmBook, find_conditions
from controller.web.status_model import (
    ChargingStationStatus,
    CircuitStatus,
    ClockReport,
    ControllerStatus,
    EnergyStatus,
    EvseStatus,
    GroupStatus,
    OverrideStatus,
    PeakStatus,
    SourceFaultStatus,
    StoreHealth,
    WaitStatus,
)
from drivers.coded_text import coded, join_and, parts_of, text_of
from drivers.errors import Cause
from drivers.reading import Quality
from tests.controller.web.examples import STATUS

NOON = 1_763_726_400.0
DEAD = detailed(
    StatementCode.METER_NO_ANSWER,
    coded("{bus} refuses the connection: nothing listens there; check its port", bus="10.0.0.5:502"),
)
BACKWARDS = detailed(
    StatementCode.METER_IMPOSSIBLE_VALUE,
    coded(
        "{phases} not follow station {evse}, whose car made a step of {amps} A: {cause}",
        phases=coded("{phases} do", phases=join_and(["L1", "L2", "L3"])),
        evse="CS001/1",
        amps="+10",
        cause=coded("its current transformers of {phases} are built in backwards", phases="L1"),
    ),
)
HIDDEN = detailed(
    StatementCode.METER_MISSING_VALUE,
    coded(
        "no current has shown yet on {phases}, although a car charges: one car at a time, or the "
        "fallbacks of all, are supplied; check the current transformers there, and whether the meter is "
        "placed before the cars",
        phases=join_and(["L1", "L2", "L3"]),
    ),
)
DIMMED = Statement(code=StatementCode.DIMMED_UNTIL, name="dso", power_w=7560.0, time="14:45")
NO_CAR = Statement(code=StatementCode.NO_CAR)
assert STATUS.dimming is not None
DIMMING = replace(STATUS.dimming, statement=DIMMED)
REASONS = (StatementCode.ALL_ITS_CAR_TAKES, StatementCode.PHASE_FULL, StatementCode.BUILDING_PEAK)
VALUES: dict[str, Any] = {"circuit": "grid", "phase": 2, "current_a": 41.0, "time": "12:07"}
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


FAULTS = (
    "meter",
    "sign",
    "hidden",
    "backend",
    "contacts",
    "dimmed",
    "station",
    "fallback",
    "disk",
    "space",
    "clock",
)
"""Faults that a site can have.

In this order: a dead meter, a current transformer built in backwards, a meter that does not show the cars, a
lost backend, a dead contact module, a limit of the grid operator, a station that does not follow its limits,
one that has not confirmed them, a full disk, one with little space, a clock that no time server sets.
"""


def _with_meters(status: ControllerStatus, problem: Statement, **members: Any) -> ControllerStatus:
    """Return the status with one problem of all meters."""
    found = {"meter_problem": problem.detail, "meter_statement": problem, **members}
    circuits = [each if each.meter_quality is None else replace(each, **found) for each in status.circuits]
    return replace(status, circuits=tuple(circuits))


def site_with(fault: str, stations: int) -> ControllerStatus:
    """Return the status of a site with one fault, and the alarms that it brings about."""
    status = replace(site_of(stations), dimming=replace(DIMMING, dimmed=False, why="", statement=None))
    first, *others = status.evses
    if fault == "meter":
        held = Statement(code=StatementCode.METER_NOT_GOOD, name="grid", quality="dead")
        status = replace(
            site_of(stations, faulty=True),
            dimming=status.dimming,
            evses=tuple(
                replace(evse, **reason(Statement(code=StatementCode.AT_FALLBACK, cause=held)))
                for evse in status.evses
            ),
            stations=status.stations,
            backends=status.backends,
        )
    elif fault == "backend":
        gone = [replace(each, links={"main": 0}, waiting=12, oldest_s=7300.0) for each in status.backends]
        status = replace(status, backends=tuple(gone))
    elif fault == "contacts":
        why = coded("its contacts cannot be read")
        lost = coded("{source}: {reason}", source="dso", reason=why)
        fault = SourceFaultStatus(source="dso", why=str(why), why_parts=parts_of(why))
        dimming = replace(
            DIMMING, source_fault=str(lost), source_fault_parts=parts_of(lost), source_faults=(fault,)
        )
        assumed = Statement(code=StatementCode.DIMMED_ASSUMED, name="dso", power_w=7560.0)
        dimming = replace(dimming, statement=assumed, why=str(assumed))
        status = replace(status, dimming=dimming, evses=_dimmed(status.evses, assumed))
    elif fault == "dimmed":
        status = replace(status, dimming=DIMMING, evses=_dimmed(status.evses, DIMMED))
    elif fault == "station":
        disobeys = Statement(code=StatementCode.DISOBEYS, drawn_a=32.0, current_a=10.0)
        first = replace(first, obeys=False, drawn_a=(32.0, 32.0, 32.0), offered_a=10.0, **reason(disobeys))
        status = replace(status, evses=(first, *others))
    elif fault == "fallback":
        held = Statement(code=StatementCode.LIMITS_UNCONFIRMED)
        at_fallback = reason(Statement(code=StatementCode.AT_FALLBACK, cause=held))
        status = replace(status, evses=(replace(first, offered_a=6.0, **at_fallback), *others))
    elif fault == "sign":
        status = _with_meters(status, BACKWARDS, meter_quality=Quality.IMPLAUSIBLE, meter=status.meters[0].id)
        suspected = Statement(code=StatementCode.METER_SUSPECTED, name="grid", cause=BACKWARDS)
        at_fallback = reason(Statement(code=StatementCode.AT_FALLBACK, cause=suspected))
        status = replace(status, evses=tuple(replace(evse, **at_fallback) for evse in status.evses))
    elif fault == "hidden":
        status = _with_meters(status, HIDDEN, meter_cause=Cause.MISSING_VALUE)
    elif fault == "passing":  # too short for an alarm
        meters = [replace(each, quality=Quality.STALE) for each in status.meters]
        over = replace(status.circuits[0], over_limit_s=4.0)
        circuits = (over, *status.circuits[1:])
        return replace(status, meters=tuple(meters), circuits=circuits, alarms=())
    elif fault == "lowered":
        grid = replace(status.circuits[0], limit_now_a=(90.5, 90.5, 90.5))
        status = replace(status, circuits=(grid, *status.circuits[1:]))
    elif fault == "space":
        status = replace(status, store=StoreHealth(free_mb=96, size_mb=7600, low=True))
    elif fault == "clock":
        why = coded("{source} does not discipline the clock", source="chrony")
        clock = ClockReport(state="unverified", reason=str(why), reason_parts=parts_of(why), source="chrony")
        status = replace(status, clock=clock)
    elif fault == "disk":
        file = Path("/var/lib/local-controller/state.sqlite")
        full = text_of(unusable(file, OSError("database or disk is full")))
        status = replace(
            status, store=StoreHealth(writable=False, error=str(full), kept=7, error_parts=parts_of(full))
        )
    book = AlarmBook()
    for now in (0.0, DAY_S):
        book.update(find_conditions(replace(status, expiries=()), NOON), now, NOON)
    return replace(status, alarms=book.present)


def reason(statement: Statement) -> dict[str, Any]:
    """Return the members of a status for a reason."""
    return {"statement": statement, "reason": str(statement)}


def _dimmed(evses: tuple[EvseStatus, ...], statement: Statement) -> tuple[EvseStatus, ...]:
    return tuple(
        replace(evse, offered_a=6.0, drawn_a=(6.0, 6.0, 6.0), **reason(statement))
        if evse.state is EvseState.CHARGING
        else evse
        for evse in evses
    )


def site_of(stations: int, *, faulty: bool = False) -> ControllerStatus:
    """Return the status of a site with so many stations of one EVSE each."""
    rows = [f"row-{number + 1}" for number in range((stations + ROW - 1) // ROW)]
    grid = replace(
        STATUS.circuits[0],
        measured_a=(60.5, 98.0, 71.0),
        meter_quality=Quality.DEAD if faulty else Quality.GOOD,
        meter_problem=DEAD.detail if faulty else "",
        meter_statement=DEAD if faulty else None,
        margin_a=4.0,
        learns_margin=True,
        jumps=41,
        jump_a=6.5,
        jumps_beyond=2,
        proposed_margin_a=4.0,
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
        meters=STATUS.meters
        if faulty
        else tuple(replace(each, quality=Quality.GOOD) for each in STATUS.meters),
        alarms=STATUS.alarms if faulty else (),
        unknown_stations=STATUS.unknown_stations if faulty else (),
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
        **reason(Statement(code=REASONS[number % len(REASONS)], **VALUES) if draws else NO_CAR),
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
