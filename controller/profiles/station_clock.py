"""The clock of a charging station, estimated from the timestamps that it sends.

A lease has a start and an end in the station's clock: a station whose clock is ahead has passed the end of
a lease that is written in our time, one behind has not reached its start. So the lease is written in the
station's time, and the fallback is valid from 1970 on.

A message of the past (sent after the station was offline) has a timestamp that is too old, none has one that
is too new: the latest of the last few counts. Meter values may be minutes old, they count only where nothing
else is known. Without any timestamp the station is taken to have the time of its backend, which answers its
boot and its heartbeats with `currentTime`. Offsets are s, positive if a clock is ahead of ours.

Our own clock may be set as well: by NTP after a start without a battery, or by hand. That is seen at its
difference to the monotonic clock, and moves no clock but ours: all offsets are shifted against it.
"""

from __future__ import annotations

import enum
import logging
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from controller.model.effects import LogEntry
from controller.ocpp.payloads import read_payload

TOLERANCE_S = 30.0
"""A change of the offset that leaves a lease as it is; the slack of its start is twice as much."""
STATION_DIFFERS_S = 60.0
CONTROLLER_DIFFERS_S = 10.0
"""Offsets that are worth a warning."""
STEP_S = 1.0
"""A smaller change of our clock against the monotonic one counts once it adds up to this."""
_SAMPLES = 5
_EARLIEST = 0.0
_LATEST = 4_102_444_800.0
"""Year 2100: a later timestamp is an error."""

_EVENTS = {"StatusNotification", "StartTransaction", "StopTransaction", "TransactionEvent"}


class _Stamped(msgspec.Struct, frozen=True):
    timestamp: str = ""
    offline: bool = False


class _CurrentTime(msgspec.Struct, frozen=True, rename="camel"):
    current_time: str = ""


class ClockSteps:
    """Steps of our own clock: changes of UTC against the monotonic clock that add up to `STEP_S`."""

    def __init__(self) -> None:
        self._base_s: float | None = None
        """UTC less the monotonic clock as of the last step; None before the first time."""

    def take_step(self, now: float, utc: float) -> float:
        """Return by how much our clock was set since the last step (s), 0 if it was not.

        It shows `utc` (POSIX s) at `now` (s, monotonic).
        """
        base_s = utc - now
        if self._base_s is None:
            self._base_s = base_s
        step_s = base_s - self._base_s
        if abs(step_s) < STEP_S:
            return 0.0
        self._base_s = base_s
        return step_s


class StationClock:
    """The estimate of one station's clock, over all its links."""

    def __init__(self) -> None:
        self._events: deque[float] = deque(maxlen=_SAMPLES)
        self._meter_values: deque[float] = deque(maxlen=_SAMPLES)
        self.backend_offset_s: float | None = None
        """Offset of the backend's clock; None: unknown."""
        self._written_s: float | None = None
        self._steps = ClockSteps()
        """Steps of our own clock that all offsets have been shifted by."""
        self.offset_s = 0.0
        """Offset of the station's clock: computed when it changes, since each message is compared with it."""

    def _update_offset(self) -> None:
        samples = self._events or self._meter_values
        self.offset_s = max(samples) if samples else self.backend_offset_s or 0.0

    @property
    def is_known(self) -> bool:
        """True if the station has sent a timestamp since its last boot."""
        return bool(self._events or self._meter_values)

    @property
    def has_moved(self) -> bool:
        """True if the clock differs from the one in which the station's limits were written."""
        return self._written_s is not None and abs(self.offset_s - self._written_s) > TOLERANCE_S

    def write_offset(self) -> float:
        """Return the offset for a limit that is written now."""
        self._written_s = self.offset_s
        return self._written_s

    def follow(self, now: float, utc: float) -> None:
        """Shift all offsets if our own clock was set: `utc` (POSIX s) is `now` (s, monotonic)."""
        step_s = self._steps.take_step(now, utc)
        if not step_s:
            return
        for samples in (self._events, self._meter_values):
            shifted = [offset_s - step_s for offset_s in samples]
            samples.clear()
            samples.extend(shifted)
        if self.backend_offset_s is not None:
            self.backend_offset_s -= step_s
        if self._written_s is not None:
            self._written_s -= step_s
        self._update_offset()

    def on_call(self, action: str, payload: bytes, utc: float) -> None:
        """Take the timestamp of a station's CALL at `utc`; those of meter values go to `on_sampled`."""
        stamped = read_payload(_Stamped, payload) if action in _EVENTS else None
        if stamped is None or stamped.offline:
            return
        sent = parse_time(stamped.timestamp)
        if sent is not None:
            self._events.append(sent - utc)
            self._update_offset()

    def on_sampled(self, sampled_at: float, utc: float) -> bool:
        """Take the timestamp of meter values (POSIX s) at `utc`; return False if events give a better one."""
        if self._events or not _EARLIEST <= sampled_at <= _LATEST:
            return False
        self._meter_values.append(sampled_at - utc)
        self._update_offset()
        return True

    def on_result(self, action: str, result: bytes, utc: float) -> None:
        """Take the backend's time from its answer to a BootNotification or a Heartbeat at `utc`."""
        if action not in ("BootNotification", "Heartbeat"):
            return
        sent = read_current_time(result)
        if sent is None:
            return
        self.backend_offset_s = sent - utc
        if action == "BootNotification":  # the station sets its clock by it
            self._events.clear()
            self._meter_values.clear()
        self._update_offset()


class OwnClock(enum.StrEnum):
    """State of the controller's own clock; `UNSET`: it shows a time before this software was made."""

    SYNCHRONISED = "synchronised"
    NOT_SYNCHRONISED = "not-synchronised"
    UNSET = "unset"


class ClockWatch:
    """Warnings about clocks that differ: those of stations, and ours beside those of backends."""

    def __init__(self) -> None:
        self._warned: dict[str, float] = {}
        """The offset of each clock that a warning was logged for, by its name."""

    def check(
        self, station: str, backend: str | None, clock: StationClock, read_own: Callable[[], OwnClock]
    ) -> list[LogEntry]:
        """Return what to log about a station's clock and its backend's.

        `backend` None: its CSMS is the controller itself, whose clock is our own. A station that agrees with
        its backend differs from us by our own clock. `read_own` returns the state of that. It costs a system
        call, so only a warning reads it.
        """
        found: list[LogEntry] = []
        theirs_s = None if backend is None else clock.backend_offset_s
        if theirs_s is not None:
            found += self._compare(
                f"backend={backend}", theirs_s, CONTROLLER_DIFFERS_S, lambda: _describe_own(read_own())
            )
        name = f"station={station}"
        if theirs_s is not None and abs(theirs_s - clock.offset_s) < STATION_DIFFERS_S <= abs(theirs_s):
            self._warned.pop(name, None)
        elif clock.is_known:
            found += self._compare(
                name, clock.offset_s, STATION_DIFFERS_S, lambda: _describe_station(read_own())
            )
        return found

    def drop_station(self, station: str) -> None:
        """Remove a station that is not in the configuration any more."""
        self._warned.pop(f"station={station}", None)

    def offsets(self) -> dict[str, float]:
        """Return the offset (s) of each clock that differs, by its name."""
        return dict(self._warned)

    def _compare(
        self,
        name: str,
        offset_s: float,
        differs_s: float,
        describe: Callable[[], str],
    ) -> list[LogEntry]:
        """Return what to log about a clock; `describe` returns state and remedy, empty for no warning."""
        warned = self._warned.get(name)
        if abs(offset_s) < differs_s / 2:
            if self._warned.pop(name, None) is None:
                return []
            return [LogEntry(logging.INFO, f"clock agrees again {name} offset={offset_s:+.0f}s")]
        if abs(offset_s) < differs_s or (warned is not None and abs(offset_s - warned) < differs_s):
            return []
        described = describe()
        if not described:
            return []
        self._warned[name] = offset_s
        return [LogEntry(logging.WARNING, f"clock differs {name} offset={offset_s:+.0f}s {described}")]


def _describe_own(own: OwnClock) -> str:
    return f"ntp={own}: check the controller's NTP (timedatectl)"


def _describe_station(own: OwnClock) -> str:
    """Return the state of our clock and the remedy; empty while ours is not set, which is the fault then."""
    if own is OwnClock.UNSET:
        return ""
    own_first = "" if own is OwnClock.SYNCHRONISED else "check the controller's NTP (timedatectl), then "
    return f"ntp={own}: {own_first}set the station's clock; its limits are written in its time"


def read_current_time(result: bytes) -> float | None:
    """Return the `currentTime` of a backend's answer (POSIX s); None where there is none that can be one."""
    answer = read_payload(_CurrentTime, result)
    return None if answer is None else parse_time(answer.current_time)


def parse_time(text: str) -> float | None:
    """Parse an OCPP dateTime as POSIX seconds, without a zone as UTC; None where it cannot be one."""
    try:
        moment = datetime.fromisoformat(text)
        utc = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return utc if _EARLIEST <= utc <= _LATEST else None
