"""Alarms: faults that a person must look at, with their beginning, their end and the remedy. Sans-IO.

A condition is found in the status; it becomes an alarm once it has lasted for the time of its kind, and ends
with the condition. The page, the metrics, MQTT and webhooks show the same alarms.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from controller.model.expiry import DAY_S, ExpiryLevel
from controller.model.observations import EvseState
from controller.web.status_model import AlarmStatus, ControllerStatus
from drivers.reading import Quality

OVER_LIMIT_S = 10.0
BACKEND_AWAY_S = 300.0
STATION_AWAY_S = 600.0
CLOCK_S = 600.0
METER_S = 30.0
SETTLE_S = 30.0
"""Time that a condition lasts before it is an alarm, by kind."""
MOST_NAMED = 5
"""EVSEs that one text names."""
OUTBOX_WARN_S, OUTBOX_CRITICAL_S = 3600.0, DAY_S


class Severity(enum.StrEnum):
    """Severity of an alarm."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AlarmCondition(msgspec.Struct, frozen=True, kw_only=True):
    """A fault that is there now. `after_s`: how long it lasts before it is an alarm."""

    kind: str
    subject: str
    severity: Severity
    text: str
    remedy: str
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
        """Return the alarms that are present, the most severe first."""
        order = list(reversed(Severity))
        alarms = [each.alarm for each in self._watched.values() if each.alarm is not None]
        return tuple(sorted(alarms, key=lambda each: (order.index(Severity(each.severity)), each.since)))


def _alarm(condition: AlarmCondition, since: str) -> AlarmStatus:
    return AlarmStatus(
        kind=condition.kind,
        subject=condition.subject,
        severity=condition.severity.value,
        text=condition.text,
        remedy=condition.remedy,
        since=since,
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
    yield from _backends(status)
    yield from _dimming(status)
    yield from _certificates(status, utc)


def _controller(status: ControllerStatus) -> Iterator[AlarmCondition]:
    if not status.healthy:
        yield AlarmCondition(
            kind="control-stalled",
            subject=status.site,
            severity=Severity.CRITICAL,
            text=f"no control step for {status.tick_age_s:.0f} s",
            remedy="stations fall back by themselves; restart the controller and keep its log",
        )
    if status.configuration_problem:
        yield AlarmCondition(
            kind="configuration-invalid",
            subject=status.site,
            severity=Severity.CRITICAL,
            text="the configuration file has errors; the last valid one is in use",
            remedy="correct the file: local-controller check shows the errors",
        )
    if not status.store.writable:
        yield AlarmCondition(
            kind="store-not-writable",
            subject=status.site,
            severity=Severity.CRITICAL,
            text=f"the store cannot be written: {status.store.error}",
            remedy="make room on the disk and check its rights; transactions wait in the stations meanwhile",
        )
    for place in status.damaged:
        yield AlarmCondition(
            kind="store-damaged",
            subject=place,
            severity=Severity.WARNING,
            text=f"a file of the store was damaged and is now {place}",
            remedy="restore a backup if there is one; look for a worn out card or lost power",
        )
    clock = status.clock
    if clock is not None and clock.state == "unverified":
        yield AlarmCondition(
            kind="clock-unverified",
            subject=status.site,
            severity=Severity.WARNING,
            text=f"the gateway's clock is not verified: {clock.reason}",
            remedy="let chrony or systemd-timesyncd reach a time server",
            after_s=CLOCK_S,
        )


def _circuits(status: ControllerStatus) -> Iterator[AlarmCondition]:
    for circuit in status.circuits:
        if circuit.meter_quality not in (None, Quality.GOOD):
            yield AlarmCondition(
                kind="meter-lost",
                subject=circuit.id,
                severity=Severity.WARNING,
                text=f"the meter of {circuit.id} is {circuit.meter_quality}: {circuit.meter_problem}",
                remedy="check its supply, cabling and address: local-controller meter read",
                after_s=METER_S,
            )
        if circuit.over_limit_s >= OVER_LIMIT_S:
            yield AlarmCondition(
                kind="circuit-over-limit",
                subject=circuit.id,
                severity=Severity.CRITICAL,
                text=f"{circuit.id} is above its limit for {circuit.over_limit_s:.0f} s",
                remedy="reduce the other loads; if it happens again raise margin_a",
            )

        if circuit.excess_a:
            yield AlarmCondition(
                kind="circuit-not-protected",
                subject=circuit.id,
                severity=Severity.CRITICAL,
                text=f"{circuit.id} may go {circuit.excess_a:g} A above its limit: "
                f"{', '.join(circuit.unlimited[:MOST_NAMED])} took no limit",
                remedy="enable smart charging in these stations or update their firmware; until then set the "
                "rated current of their EVSEs so that the circuit can carry it",
                after_s=SETTLE_S,
            )


def _clocks(status: ControllerStatus) -> Iterator[AlarmCondition]:
    for clock in status.clock_offsets:
        fix = "set the station's clock" if clock.kind == "station" else "check the gateway's time server"
        yield AlarmCondition(
            kind="clock-differs",
            subject=f"{clock.kind} {clock.id}",
            severity=Severity.WARNING,
            text=f"the clock of {clock.kind} {clock.id} differs by {clock.offset_s:+.0f} s",
            remedy=fix,
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
                    kind="station-away",
                    subject=evse.station,
                    severity=Severity.WARNING,
                    text=f"station {evse.station} is not connected; current is kept free for it",
                    remedy="check its supply, its network and its backend URL",
                    after_s=STATION_AWAY_S,
                )
        elif evse.state is EvseState.FAULTED:
            yield AlarmCondition(
                kind="evse-faulted",
                subject=name,
                severity=Severity.WARNING,
                text=f"EVSE {name} reports a fault",
                remedy="see the station's own display or log; a reset may end it",
                after_s=SETTLE_S,
            )
        if evse.obeys is False:
            yield AlarmCondition(
                kind="limit-not-followed",
                subject=name,
                severity=Severity.WARNING,
                text=f"EVSE {name} did not follow its last lower limit",
                remedy="check the station's firmware and whether smart charging is enabled in it",
                after_s=SETTLE_S,
            )


def _unconfigured(status: ControllerStatus) -> Iterator[AlarmCondition]:
    for evse in status.unconfigured:
        if not evse.has_car:
            continue
        name = f"{evse.station}/{evse.evse}"
        held = "is limited to its station's fallback" if evse.is_limited else "takes no limit"
        if evse.is_limited and evse.shares_limit:
            held = "draws under the limit of its station"
        table = "; ".join(evse.table.strip().splitlines())
        yield AlarmCondition(
            kind="evse-not-configured",
            subject=name,
            severity=Severity.WARNING,
            text=f"EVSE {name} is not configured, and a car may be there: it {held}; {evse.booked_a:g} A are "
            "kept free for it",
            remedy=f"add to the station, as it is wired: {table}",
            after_s=0.0,
        )


def _backends(status: ControllerStatus) -> Iterator[AlarmCondition]:
    connected = sum(status.links.connected.values())
    for backend in status.backends:
        if connected and not sum(backend.links.values()):
            yield AlarmCondition(
                kind="backend-away",
                subject=backend.id,
                severity=Severity.WARNING,
                text=f"backend {backend.id} has no connection",
                remedy="check the gateway's internet connection and the backend's URL and credentials",
                after_s=BACKEND_AWAY_S,
            )
        if backend.oldest_s >= OUTBOX_WARN_S:
            critical = backend.oldest_s >= OUTBOX_CRITICAL_S
            yield AlarmCondition(
                kind="outbox-old",
                subject=backend.id,
                severity=Severity.CRITICAL if critical else Severity.WARNING,
                text=f"{backend.waiting} messages wait for {backend.id}, the oldest for "
                f"{backend.oldest_s / 3600:.0f} h",
                remedy="nothing is lost; bring the backend's connection back",
            )
        if backend.set_aside:
            yield AlarmCondition(
                kind="messages-set-aside",
                subject=backend.id,
                severity=Severity.WARNING,
                text=f"{backend.id} rejects {backend.set_aside} messages, which are set aside",
                remedy="decide on each: local-controller outbox list",
            )


def _dimming(status: ControllerStatus) -> Iterator[AlarmCondition]:
    dimming = status.dimming
    if dimming is None:
        return
    if dimming.source_fault:
        yield AlarmCondition(
            kind="dimming-source-lost",
            subject=", ".join(dimming.sources),
            severity=Severity.CRITICAL,
            text=f"a limit is assumed, not ordered by the grid operator: {dimming.source_fault}",
            remedy="check the contact module, the control box and their cabling",
        )
    elif dimming.dimmed:
        yield AlarmCondition(
            kind="dimming-active",
            subject=", ".join(dimming.sources),
            severity=Severity.INFO,
            text=dimming.why,
            remedy="nothing to do: it ends by itself",
        )


def _certificates(status: ControllerStatus, utc: float) -> Iterator[AlarmCondition]:
    for expiry in status.expiries:
        level = expiry.level(utc)
        if level is not ExpiryLevel.NONE:
            yield AlarmCondition(
                kind="certificate-ends",
                subject=expiry.name,
                severity=Severity.CRITICAL if level >= ExpiryLevel.CRITICAL else Severity.WARNING,
                text=expiry.describe(utc),
                remedy="renew it; newer files are used without a restart",
            )
