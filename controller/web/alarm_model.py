"""Alarms: faults that a person must look at, with their beginning, their end and the remedy. Sans-IO.

A condition is found in the status; it becomes an alarm once it has lasted for the time of its kind, and ends
with the condition. The page, the metrics, MQTT and webhooks show the same alarms.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from controller.model.expiry import DAY_S, HOUR_S, ExpiryLevel
from controller.model.observations import EvseState
from controller.model.statements import Statement, StatementCode
from controller.web.status_model import (
    AlarmStatus,
    CircuitStatus,
    ControllerStatus,
    EvseStatus,
    meter_statement,
)
from drivers.errors import Cause
from drivers.reading import Quality

OVER_LIMIT_S = 10.0
BACKEND_AWAY_S = 300.0
STATION_AWAY_S = 600.0
CLOCK_S = 600.0
METER_S = 30.0
SOURCE_S = 10.0
SETTLE_S = 30.0
"""Time that a condition lasts before it is an alarm, by kind."""
FALLBACK_S = 120.0
"""The same for a connected station without a limit: it is asked again a minute after a refusal, so that
two more tries have failed, and one that has just started is past its start."""
SPACE_STEP_MB = 10
"""Step in which the text of an alarm names free space (MiB), so that it does not change with each record."""
MOST_NAMED = 5
"""EVSEs that one text names."""
UNANSWERED_WARN = 3
"""Messages of the last minutes that a backend has left without an answer."""
OUTBOX_WARN_S, OUTBOX_CRITICAL_S = 3600.0, DAY_S


class AlarmKind(enum.StrEnum):
    """Kind of an alarm. Those of one severity are in this order: what concerns all cars is first."""

    CIRCUIT_OVER_LIMIT = "circuit-over-limit"
    CIRCUIT_NOT_PROTECTED = "circuit-not-protected"
    CONTROL_STALLED = "control-stalled"
    DIMMING_SOURCE_LOST = "dimming-source-lost"
    METER_LOST = "meter-lost"
    METER_INCOMPLETE = "meter-incomplete"
    LIMIT_NOT_FOLLOWED = "limit-not-followed"
    EVSE_NOT_CONFIGURED = "evse-not-configured"
    EVSE_AT_FALLBACK = "evse-at-fallback"
    EVSE_FAULTED = "evse-faulted"
    STATION_AWAY = "station-away"
    STORE_NOT_WRITABLE = "store-not-writable"
    STORE_DAMAGED = "store-damaged"
    DISK_LOW = "disk-low"
    CONFIGURATION_INVALID = "configuration-invalid"
    OUTBOX_OLD = "outbox-old"
    MESSAGES_SET_ASIDE = "messages-set-aside"
    BACKEND_AWAY = "backend-away"
    BACKEND_SILENT = "backend-silent"
    CLOCK_UNVERIFIED = "clock-unverified"
    SIGNING_WAITS = "signing-waits"
    CLOCK_DIFFERS = "clock-differs"
    CERTIFICATE_ENDS = "certificate-ends"
    REMOVED_EVSE_BOOKED = "removed-evse-booked"
    DIMMING_ACTIVE = "dimming-active"


class Severity(enum.StrEnum):
    """Severity of an alarm."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AlarmCondition(msgspec.Struct, frozen=True, kw_only=True):
    """A fault that is there now. `after_s`: how long it lasts before it is an alarm."""

    kind: AlarmKind
    subject: str
    severity: Severity
    statement: Statement
    remedy: Statement
    after_s: float = 0.0

    @property
    def key(self) -> tuple[str, str]:
        """Return what makes two conditions the same one."""
        return (self.kind, self.subject)


class AlarmChange(msgspec.Struct, frozen=True):
    """An alarm that began, or that `has_ended`."""

    alarm: AlarmStatus
    has_ended: bool


class _Watched(msgspec.Struct):
    condition: AlarmCondition
    seen_at: float
    alarm: AlarmStatus | None = None


class AlarmBook:
    """The alarms that are present."""

    def __init__(self) -> None:
        self._watched: dict[tuple[str, str], _Watched] = {}

    def update(self, conditions: Iterator[AlarmCondition], now: float, utc: float) -> list[AlarmChange]:
        """Take in all conditions of `now` (monotonic s; `utc`: POSIX s); return what began and ended."""
        changes: list[AlarmChange] = []
        present = {condition.key: condition for condition in conditions}
        for key, watched in list(self._watched.items()):
            if key not in present:
                del self._watched[key]
                if watched.alarm is not None:
                    changes.append(AlarmChange(watched.alarm, has_ended=True))
        for key, condition in present.items():
            watched = self._watched.setdefault(key, _Watched(condition, now))
            watched.condition = condition
            if watched.alarm is not None:
                watched.alarm = _alarm(condition, watched.alarm.since)
            elif now - watched.seen_at >= condition.after_s:
                watched.alarm = _alarm(condition, _moment(utc - (now - watched.seen_at)))
                changes.append(AlarmChange(watched.alarm, has_ended=False))
        return changes

    @property
    def present(self) -> tuple[AlarmStatus, ...]:
        """Return the alarms that are present: the most severe first, then by kind, then the oldest first."""
        found = [(each.condition, each.alarm) for each in self._watched.values() if each.alarm is not None]
        return tuple(alarm for _, alarm in sorted(found, key=lambda pair: _rank(*pair)))


def _rank(condition: AlarmCondition, alarm: AlarmStatus) -> tuple[int, int, str]:
    """Return the place of an alarm among those that are present."""
    return (-list(Severity).index(condition.severity), list(AlarmKind).index(condition.kind), alarm.since)


def _alarm(condition: AlarmCondition, since: str) -> AlarmStatus:
    return AlarmStatus(
        kind=condition.kind.value,
        subject=condition.subject,
        severity=condition.severity.value,
        text=str(condition.statement),
        remedy=str(condition.remedy),
        since=since,
        statement=condition.statement,
        remedy_statement=condition.remedy,
    )


def _moment(utc: float) -> str:
    return datetime.fromtimestamp(utc, UTC).isoformat(timespec="seconds")


def find_conditions(status: ControllerStatus, utc: float) -> Iterator[AlarmCondition]:
    """Yield all conditions in a status, each kind and subject once."""
    yield from _controller(status)
    yield from _circuits(status)
    yield from _clocks(status)
    yield from _evses(status)
    yield from _unconfigured(status)
    yield from _removed(status)
    yield from _backends(status)
    yield from _signing(status)
    yield from _dimming(status)
    yield from _certificates(status, utc)


def _controller(status: ControllerStatus) -> Iterator[AlarmCondition]:
    if not status.healthy:
        yield AlarmCondition(
            kind=AlarmKind.CONTROL_STALLED,
            subject=status.site,
            severity=Severity.CRITICAL,
            statement=Statement(
                code=StatementCode.CONTROL_STALLED, duration_s=float(round(status.tick_age_s))
            ),
            remedy=Statement(code=StatementCode.RESTART_CONTROLLER),
        )
    if status.configuration_problem:
        yield AlarmCondition(
            kind=AlarmKind.CONFIGURATION_INVALID,
            subject=status.site,
            severity=Severity.CRITICAL,
            statement=Statement(code=StatementCode.CONFIGURATION_INVALID),
            remedy=Statement(code=StatementCode.CORRECT_CONFIGURATION),
        )
    if not status.store.writable:
        yield AlarmCondition(
            kind=AlarmKind.STORE_NOT_WRITABLE,
            subject=status.site,
            severity=Severity.CRITICAL,
            statement=Statement(
                code=StatementCode.STORE_NOT_WRITABLE,
                detail=status.store.error,
                detail_parts=status.store.error_parts,
            ),
            remedy=Statement(code=StatementCode.MAKE_ROOM_ON_DISK),
        )
    if status.store.low:
        free_mb = status.store.free_mb or 0
        yield AlarmCondition(
            kind=AlarmKind.DISK_LOW,
            subject=status.site,
            severity=Severity.WARNING,
            statement=Statement(code=StatementCode.DISK_LOW, count=free_mb - free_mb % SPACE_STEP_MB),
            remedy=Statement(code=StatementCode.FREE_DISK_SPACE),
        )
    for place in status.damaged:
        yield AlarmCondition(
            kind=AlarmKind.STORE_DAMAGED,
            subject=place,
            severity=Severity.WARNING,
            statement=Statement(code=StatementCode.STORE_DAMAGED, name=place),
            remedy=Statement(code=StatementCode.RESTORE_BACKUP),
        )
    clock = status.clock
    if clock is not None and clock.state == "unverified":
        yield AlarmCondition(
            kind=AlarmKind.CLOCK_UNVERIFIED,
            subject=status.site,
            severity=Severity.WARNING,
            statement=Statement(
                code=StatementCode.CLOCK_UNVERIFIED, detail=clock.reason, detail_parts=clock.reason_parts
            ),
            remedy=Statement(code=StatementCode.REACH_TIME_SERVER),
            after_s=CLOCK_S,
        )


def _meter_alarm(
    circuit: CircuitStatus, kind: AlarmKind, code: StatementCode, remedy: StatementCode, quality: str = ""
) -> AlarmCondition:
    """Return the condition of a circuit whose meter does not show what it should, with the cause."""
    cause = circuit.meter_statement or meter_statement(
        circuit.meter_cause, circuit.meter_problem or "unknown"
    )
    return AlarmCondition(
        kind=kind,
        subject=circuit.id,
        severity=Severity.WARNING,
        statement=Statement(code=code, circuit=circuit.id, quality=quality, cause=cause),
        remedy=Statement(code=remedy),
        after_s=METER_S,
    )


def _circuits(status: ControllerStatus) -> Iterator[AlarmCondition]:
    for circuit in status.circuits:
        if circuit.meter_quality not in (None, Quality.GOOD):
            remedy = StatementCode.CHECK_METER
            if circuit.meter_quality is Quality.IMPLAUSIBLE:
                remedy = StatementCode.CHECK_METER_WIRING
            yield _meter_alarm(
                circuit,
                AlarmKind.METER_LOST,
                StatementCode.METER_LOST,
                remedy,
                quality=str(circuit.meter_quality),
            )
        elif circuit.meter_cause is Cause.MISSING_VALUE:
            yield _meter_alarm(
                circuit,
                AlarmKind.METER_INCOMPLETE,
                StatementCode.METER_INCOMPLETE,
                StatementCode.CHECK_METER_WIRING,
            )
        if circuit.over_limit_s >= OVER_LIMIT_S:
            yield AlarmCondition(
                kind=AlarmKind.CIRCUIT_OVER_LIMIT,
                subject=circuit.id,
                severity=Severity.CRITICAL,
                statement=Statement(
                    code=StatementCode.CIRCUIT_OVER_LIMIT,
                    circuit=circuit.id,
                    duration_s=float(round(circuit.over_limit_s)),
                ),
                remedy=Statement(code=StatementCode.REDUCE_OTHER_LOADS),
            )

        if circuit.excess_a:
            yield AlarmCondition(
                kind=AlarmKind.CIRCUIT_NOT_PROTECTED,
                subject=circuit.id,
                severity=Severity.CRITICAL,
                statement=Statement(
                    code=StatementCode.CIRCUIT_NOT_PROTECTED,
                    circuit=circuit.id,
                    current_a=circuit.excess_a,
                    name=", ".join(circuit.unlimited[:MOST_NAMED]),
                ),
                remedy=Statement(code=StatementCode.ENABLE_SMART_CHARGING),
                after_s=SETTLE_S,
            )


def _clocks(status: ControllerStatus) -> Iterator[AlarmCondition]:
    is_unset = _has_unset_clock(status)
    for clock in status.clock_offsets:
        code, remedy = StatementCode.BACKEND_CLOCK_DIFFERS, StatementCode.CHECK_TIME_SERVER
        if clock.kind == "station":
            code = StatementCode.STATION_CLOCK_DIFFERS
            remedy = remedy if is_unset else StatementCode.SET_STATION_CLOCK
        yield AlarmCondition(
            kind=AlarmKind.CLOCK_DIFFERS,
            subject=f"{clock.kind} {clock.id}",
            severity=Severity.WARNING,
            statement=Statement(code=code, name=clock.id, offset_s=clock.offset_s),
            remedy=Statement(code=remedy),
            after_s=SETTLE_S,
        )


def _evses(status: ControllerStatus) -> Iterator[AlarmCondition]:
    away: set[str] = set()
    for evse in status.evses:
        name = f"{evse.station}/{evse.evse}"
        if not evse.connected:
            if evse.station not in away:
                away.add(evse.station)
                yield AlarmCondition(
                    kind=AlarmKind.STATION_AWAY,
                    subject=evse.station,
                    severity=Severity.WARNING,
                    statement=Statement(code=StatementCode.STATION_AWAY, name=evse.station),
                    remedy=Statement(code=StatementCode.CHECK_STATION_LINK),
                    after_s=STATION_AWAY_S,
                )
        elif evse.state is EvseState.FAULTED:
            yield AlarmCondition(
                kind=AlarmKind.EVSE_FAULTED,
                subject=name,
                severity=Severity.WARNING,
                statement=Statement(code=StatementCode.EVSE_FAULTED, name=name),
                remedy=Statement(code=StatementCode.SEE_STATION_LOG),
                after_s=SETTLE_S,
            )
        if evse.connected and (unlimited := _find_unlimited(evse)) is not None:
            yield AlarmCondition(
                kind=AlarmKind.EVSE_AT_FALLBACK,
                subject=name,
                severity=Severity.WARNING,
                statement=Statement(code=StatementCode.EVSE_AT_FALLBACK, name=name, cause=unlimited),
                remedy=Statement(code=StatementCode.CHECK_SMART_CHARGING),
                after_s=FALLBACK_S,
            )
        if evse.obeys is False:
            yield AlarmCondition(
                kind=AlarmKind.LIMIT_NOT_FOLLOWED,
                subject=name,
                severity=Severity.WARNING,
                statement=Statement(code=StatementCode.LIMIT_NOT_FOLLOWED, name=name),
                remedy=Statement(code=StatementCode.CHECK_SMART_CHARGING),
                after_s=SETTLE_S,
            )


def _removed(status: ControllerStatus) -> Iterator[AlarmCondition]:
    for evse in status.removed:
        name = f"{evse.station}/{evse.evse}"
        yield AlarmCondition(
            kind=AlarmKind.REMOVED_EVSE_BOOKED,
            subject=name,
            severity=Severity.INFO,
            statement=Statement(code=StatementCode.REMOVED_EVSE_BOOKED, name=name, current_a=evse.booked_a),
            remedy=Statement(code=StatementCode.DISCONNECT_STATION),
        )


def _unconfigured(status: ControllerStatus) -> Iterator[AlarmCondition]:
    for evse in status.unconfigured:
        if not evse.has_car:
            continue
        name = f"{evse.station}/{evse.evse}"
        held = StatementCode.IT_TAKES_NO_LIMIT
        if evse.is_limited:
            shares = evse.shares_limit
            held = (
                StatementCode.IT_SHARES_STATION_LIMIT if shares else StatementCode.IT_IS_AT_STATION_FALLBACK
            )
        table = "; ".join(evse.table.strip().splitlines())
        yield AlarmCondition(
            kind=AlarmKind.EVSE_NOT_CONFIGURED,
            subject=name,
            severity=Severity.WARNING,
            statement=Statement(
                code=StatementCode.EVSE_NOT_CONFIGURED,
                name=name,
                cause=Statement(code=held),
                current_a=evse.booked_a,
            ),
            remedy=Statement(code=StatementCode.ADD_EVSE, detail=table),
            after_s=0.0,
        )


def _has_unset_clock(status: ControllerStatus) -> bool:
    """Return True while the gateway's own clock may be the wrong one."""
    return status.clock is not None and status.clock.state == "unverified"


def _find_unlimited(evse: EvseStatus) -> Statement | None:
    """Return why the station of an EVSE at its fallback takes no limit; None where another reason holds."""
    if evse.statement is None or evse.statement.code is not StatementCode.AT_FALLBACK:
        return None
    return next((each for each in evse.statement.parts() if each.code in _WITHOUT_LIMIT), None)


_WITHOUT_LIMIT = (StatementCode.LIMITS_REFUSED, StatementCode.LIMITS_UNCONFIRMED)


def _backends(status: ControllerStatus) -> Iterator[AlarmCondition]:
    connected = sum(status.links.connected.values())
    is_unset = _has_unset_clock(status)
    for backend in status.backends:
        if connected and not sum(backend.links.values()):
            yield AlarmCondition(
                kind=AlarmKind.BACKEND_AWAY,
                subject=backend.id,
                severity=Severity.WARNING,
                statement=Statement(code=StatementCode.BACKEND_AWAY, name=backend.id),
                remedy=Statement(
                    code=StatementCode.CHECK_CLOCK_THEN_LINK if is_unset else StatementCode.CHECK_BACKEND_LINK
                ),
                after_s=BACKEND_AWAY_S,
            )
        if backend.unanswered >= UNANSWERED_WARN:
            yield AlarmCondition(
                kind=AlarmKind.BACKEND_SILENT,
                subject=backend.id,
                severity=Severity.WARNING,
                statement=Statement(
                    code=StatementCode.BACKEND_SILENT, name=backend.id, command=backend.unanswered_action
                ),
                remedy=Statement(code=StatementCode.ASK_BACKEND),
            )
        if backend.oldest_s >= OUTBOX_WARN_S:
            critical = backend.oldest_s >= OUTBOX_CRITICAL_S
            yield AlarmCondition(
                kind=AlarmKind.OUTBOX_OLD,
                subject=backend.id,
                severity=Severity.CRITICAL if critical else Severity.WARNING,
                statement=Statement(
                    code=StatementCode.OUTBOX_OLD,
                    name=backend.id,
                    count=backend.waiting,
                    duration_s=round(backend.oldest_s / HOUR_S) * HOUR_S,
                ),
                remedy=Statement(code=StatementCode.BRING_BACKEND_BACK),
            )
        if backend.set_aside:
            yield AlarmCondition(
                kind=AlarmKind.MESSAGES_SET_ASIDE,
                subject=backend.id,
                severity=Severity.WARNING,
                statement=Statement(
                    code=StatementCode.MESSAGES_SET_ASIDE, name=backend.id, count=backend.set_aside
                ),
                remedy=Statement(code=StatementCode.DECIDE_MESSAGES),
            )


def _signing(status: ControllerStatus) -> Iterator[AlarmCondition]:
    wait = status.signing_wait
    if wait is None:
        return
    statement = Statement(code=StatementCode.SIGNING_WAITS_FOR_CLOCK)
    if wait.until is not None:
        statement = Statement(code=StatementCode.SIGNING_WAITS, time=wait.until)
    code = StatementCode.RESUME_SIGNING if wait.can_shorten else StatementCode.NOTHING_TO_DO
    yield AlarmCondition(
        kind=AlarmKind.SIGNING_WAITS,
        subject=status.site,
        severity=Severity.CRITICAL if wait.can_shorten else Severity.WARNING,
        statement=statement,
        remedy=Statement(code=code),
    )


def _dimming(status: ControllerStatus) -> Iterator[AlarmCondition]:
    dimming = status.dimming
    if dimming is None:
        return
    for fault in dimming.source_faults:
        yield AlarmCondition(
            kind=AlarmKind.DIMMING_SOURCE_LOST,
            subject=fault.source,
            severity=Severity.CRITICAL,
            statement=Statement(
                code=StatementCode.DIMMING_SOURCE_LOST,
                detail=fault.why,
                detail_parts=fault.why_parts,
            ),
            remedy=Statement(code=StatementCode.CHECK_CONTROL_BOX),
            after_s=SOURCE_S,
        )
    statement = dimming.statement
    if dimming.dimmed and (statement is None or statement.code is not StatementCode.DIMMED_ASSUMED):
        lost = {fault.source for fault in dimming.source_faults}
        if statement is not None:
            lost.discard(statement.name)  # it orders one limit, and another one is assumed
        names = ", ".join(source for source in dimming.sources if source not in lost)
        yield AlarmCondition(
            kind=AlarmKind.DIMMING_ACTIVE,
            subject=names,
            severity=Severity.INFO,
            statement=statement or Statement(code=StatementCode.DIMMED_EACH, name=names),
            remedy=Statement(code=StatementCode.NOTHING_TO_DO),
        )


def _certificates(status: ControllerStatus, utc: float) -> Iterator[AlarmCondition]:
    for expiry in status.expiries:
        level = expiry.level(utc)
        if level is not ExpiryLevel.NONE:
            yield AlarmCondition(
                kind=AlarmKind.CERTIFICATE_ENDS,
                subject=expiry.name,
                severity=Severity.CRITICAL if level >= ExpiryLevel.CRITICAL else Severity.WARNING,
                statement=expiry.statement(utc),
                remedy=Statement(code=StatementCode.RENEW_CERTIFICATE),
            )
