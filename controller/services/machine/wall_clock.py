"""Clocks of the gateway: the one place where services read the time of day and relate it to trio's."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import trio

from controller.model.plausible_time import EARLIEST
from controller.ocpp.payloads import StationTime


def find_time_of_day() -> float | None:
    """Return the time of day (POSIX s); None while the clock is not set."""
    now = datetime.now(UTC).timestamp()
    return None if now < EARLIEST else now


def find_last_write(files: Iterable[Path]) -> float | None:
    """Return when the newest of files of the run before was written (POSIX s); None: there is none.

    To be called at the start, before any of them is written.
    """
    written: list[float] = []
    for file in files:
        with contextlib.suppress(OSError):
            written.append(file.stat().st_mtime)
    return max(written, default=None)


def find_station_time(last_write: float | None, utc: float) -> StationTime:
    """Return the time for stations; the last known one is that of the last write of the run before.

    `utc`: what the clock shows now (POSIX s).
    """
    return StationTime(max(EARLIEST, last_write or EARLIEST) - utc)


def format_end(until: float, made_at: float, zone: ZoneInfo) -> str:
    """Return the end of what was made at a moment by the site's clock: "12:07", with its date on another day.

    `until`, `made_at`: POSIX s.
    """
    end, made = datetime.fromtimestamp(until, zone), datetime.fromtimestamp(made_at, zone)
    return f"{end:%H:%M}" if end.date() == made.date() else f"{end:%Y-%m-%d %H:%M}"


def utc_now() -> datetime:
    """Return the time of day, in UTC."""
    return datetime.now(UTC)


def utc(now: float) -> float:
    """Convert s, monotonic, to POSIX s."""
    return datetime.now(UTC).timestamp() + now - trio.current_time()


def uptime() -> float:
    """Return the time since the machine was started (s), which nobody sets; suspended time counts."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
