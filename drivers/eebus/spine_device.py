"""Our SPINE device with all its partners: limits, measurements and heartbeats, sans-IO.

A write of a limit or failsafe value that was understood is returned as `LimitRequested`, the last effect of
its datagram. The owner of the state machine of that direction answers with `answer_request`; only then are
the new values notified to the subscribers, and the result is sent to the partner.

    device.receive("guard", payload, message, now, utc)  -> [..., LimitRequested(...)]
    machine.handle(request.event, now)                   -> [Answered(True), ...]
    device.answer_request(answered, machine.view)        -> [SendPayload(notify), SendPayload(result)]

Times are s on the caller's monotonic clock, `utc` POSIX s.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from drivers.eebus import spine_features as features
from drivers.eebus.limitation import NAMES, SCENARIOS, Limitation, PowerDirection, PreparedWrite
from drivers.eebus.lpc import Answered, FailsafeWritten, LimitWritten, LpcView
from drivers.eebus.monitoring import Monitoring
from drivers.eebus.spine_data import HeartbeatData, format_time
from drivers.eebus.spine_datagrams import ErrorNumber, SpineError
from drivers.eebus.spine_features import DIAGNOSIS, Key, LocalDevice, UseCase
from drivers.eebus.spine_session import (
    DatagramRefused,
    HeartbeatReceived,
    SendPayload,
    SessionEffect,
    SpineSession,
    WriteReceived,
)
from drivers.eebus.spine_types import Header, ManufacturerData
from drivers.reading import Reading

HEARTBEAT_S = 50.0
"""Interval of our heartbeats; the partner may count one as missing after 60 s."""
HEARTBEAT_TIMEOUT = "PT1M"


class LimitRequested(msgspec.Struct, frozen=True):
    """Write of a partner for the state machine of a direction; `received`: the message as it came."""

    session: str
    direction: PowerDirection
    event: LimitWritten | FailsafeWritten
    received: bytes


class GuardHeartbeat(msgspec.Struct, frozen=True):
    """Heartbeat of the energy guard, for the state machines of all directions."""

    session: str


SpineEffect = SendPayload | LimitRequested | GuardHeartbeat | DatagramRefused


class DeviceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Identity and offers of the device. `nominal_w`: contractual maximum of each direction offered (W)."""

    address: str
    vendor: str
    model: str
    serial: str
    software: str
    nominal_w: Mapping[PowerDirection, float]
    monitoring: bool = True


class _Pending(msgspec.Struct, frozen=True):
    session: SpineSession
    header: Header
    written: tuple[Key, str]
    write: PreparedWrite


class SpineDevice:
    """Our device. `views`: state of the machine of each direction that is offered."""

    def __init__(
        self, settings: DeviceSettings, views: Mapping[PowerDirection, LpcView], now: float, utc: float
    ) -> None:
        self._settings = settings
        self._local = LocalDevice(settings.address, ())
        self._limitation = Limitation(self._local, settings.nominal_w, views)
        self._monitoring = Monitoring(self._local) if settings.monitoring else None
        self._sessions: dict[str, SpineSession] = {}
        self._pending: _Pending | None = None
        self._heartbeat_counter = 0
        self._heartbeat_at = now
        self._local.set_use_cases(self._use_cases())
        self._local.set_data(
            features.CLASSIFICATION,
            features.MANUFACTURER,
            ManufacturerData(
                device_name=settings.model,
                device_code=settings.model,
                serial_number=settings.serial,
                software_revision=settings.software,
                vendor_name=settings.vendor,
                brand_name=settings.vendor,
            ),
        )
        self._beat(now, utc)

    @property
    def deadline(self) -> float:
        """Time of the next `tick`."""
        times = [session.deadline for session in self._sessions.values()]
        times.append(None if self._monitoring is None else self._monitoring.deadline)
        return min([self._heartbeat_at, *(each for each in times if each is not None)])

    @property
    def sessions(self) -> Mapping[str, SpineSession]:
        """Sessions by name, to be reported."""
        return self._sessions

    # -- partners -------------------------------------------------------------------------------------

    def connect(self, session: str, now: float) -> list[SpineEffect]:
        """Begin a session after the SHIP handshake."""
        self._sessions[session] = opened = SpineSession(session, self._local)
        return self._complete(opened.start(now), opened, now, 0.0)

    def disconnect(self, session: str) -> None:
        """End a session: its subscriptions and bindings are dropped."""
        ended = self._sessions.pop(session, None)
        if ended is not None:
            ended.end()
            if self._pending is not None and self._pending.session is ended:
                self._pending = None

    def receive(
        self, session: str, payload: object, received: bytes, now: float, utc: float
    ) -> list[SpineEffect]:
        """Process a datagram of a partner."""
        found = self._sessions.get(session)
        if found is None:
            return []
        return self._complete(found.receive(payload, received, now, utc), found, now, utc)

    def answer_request(self, answered: Answered, view: LpcView) -> list[SpineEffect]:
        """Answer the write that was requested last, with the state that it has led to."""
        pending, self._pending = self._pending, None
        if pending is None:
            return []
        write = pending.write
        if answered.accepted:
            self._limitation.commit(write)
        changed = self._limitation.update(write.direction, view)
        if answered.accepted and pending.written not in changed:
            changed.append(pending.written)  # written again as it was: confirmed all the same
        number = ErrorNumber.NONE if answered.accepted else ErrorNumber.REJECTED
        # Subscribers learn the new values first, the writer included; then it gets its result.
        return [
            *self._notify(changed),
            *_for_device(pending.session.answer_result(pending.header, number, answered.reason)),
        ]

    # -- our side -------------------------------------------------------------------------------------

    def update_view(self, direction: PowerDirection, view: LpcView) -> list[SpineEffect]:
        """Copy the state of a machine after a change of its own."""
        return self._notify(self._limitation.update(direction, view))

    def update_reading(self, reading: Reading | None, now: float, utc: float) -> list[SpineEffect]:
        """Take over a reading of the grid connection's meter; None: it cannot be read."""
        if self._monitoring is None:
            return []
        changed = self._monitoring.update(reading, now, utc)
        if self._local.set_use_cases(self._use_cases()):
            changed.append((features.NODE_MANAGEMENT, features.USE_CASES))
        return self._notify(changed)

    def tick(self, now: float, utc: float) -> list[SpineEffect]:
        """Send what is due: heartbeats, measurements, repeated requests."""
        effects: list[SpineEffect] = []
        if now >= self._heartbeat_at:
            self._beat(now, utc)
            effects += self._notify([(DIAGNOSIS, features.HEARTBEAT)])
        if self._monitoring is not None:
            effects += self._notify(self._monitoring.tick(now))
        for session in self._sessions.values():
            if session.deadline is not None and session.deadline <= now:
                effects += self._complete(session.tick(now), session, now, utc)
        return effects

    def _beat(self, now: float, utc: float) -> None:
        self._heartbeat_counter += 1
        self._heartbeat_at = now + HEARTBEAT_S
        data = HeartbeatData(
            timestamp=format_time(utc),
            heartbeat_counter=self._heartbeat_counter,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
        )
        self._local.set_data(DIAGNOSIS, features.HEARTBEAT, data)

    def _use_cases(self) -> tuple[UseCase, ...]:
        limits = [
            UseCase("ControllableSystem", NAMES[direction].use_case, SCENARIOS)
            for direction in self._settings.nominal_w
        ]
        return (*limits, *(() if self._monitoring is None else (self._monitoring.use_case,)))

    def _notify(self, changed: list[tuple[Key, str]]) -> list[SpineEffect]:
        return [
            effect
            for key, function in changed
            for session in self._sessions.values()
            for effect in _for_device(session.notify(key, function))
        ]

    def _complete(
        self, effects: list[SessionEffect], session: SpineSession, now: float, utc: float
    ) -> list[SpineEffect]:
        """Turn effects of a session into ours: understand writes, pass heartbeats on."""
        completed: list[SpineEffect] = []
        for effect in effects:
            match effect:
                case WriteReceived():
                    completed += self._on_write(effect, session, now, utc)
                case HeartbeatReceived():
                    completed.append(GuardHeartbeat(session.name))
                case _:
                    completed.append(effect)
        return completed

    def _on_write(
        self, received: WriteReceived, session: SpineSession, now: float, utc: float
    ) -> list[SpineEffect]:
        try:
            write = self._limitation.prepare(received.key, received.command, now, utc)
        except SpineError as error:
            refused = DatagramRefused(session.name, f"write: {error}")
            return [*_for_device(session.answer_error(received.header, error)), refused]
        self._pending = _Pending(session, received.header, (received.key, received.command.function), write)
        return [LimitRequested(session.name, write.direction, write.event, received.received)]


def _for_device(effects: list[SessionEffect]) -> list[SpineEffect]:
    """Return the effects of answers and notifications, which are sent only."""
    return [effect for effect in effects if isinstance(effect, SendPayload | DatagramRefused)]
