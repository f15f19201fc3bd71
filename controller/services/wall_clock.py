"""Clocks of the gateway: the one place where services read the time of day and relate it to trio's."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import trio

from controller.model.plausible_time import EARLIEST


def find_time_of_day() -> float | None:
    """Return the time of day (POSIX s); None while the clock is not set."""
    now = datetime.now(UTC).timestamp()
    return None if now < EARLIEST else now


def utc_now() -> datetime:
    """Return the time of day, in UTC."""
    return datetime.now(UTC)


def utc(now: float) -> float:
    """Convert s, monotonic, to POSIX s."""
    return datetime.now(UTC).timestamp() + now - trio.current_time()


def uptime() -> float:
    """Return the time since the machine was started (s), which nobody sets; suspended time counts."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
