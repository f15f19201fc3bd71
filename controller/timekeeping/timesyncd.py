"""Reports of systemd-timesyncd, as `timedatectl show-timesync --all` prints them.

timesyncd asks one server by SNTP without authentication: its clock is at best synchronised, never legal time.
"""

from __future__ import annotations

import re

import msgspec

from controller.timekeeping import TimekeepingError
from drivers.coded_text import coded

MAX_BYTES = 65_536
_MEMBER = re.compile(r"([A-Za-z]+)=([^,{}]*)")
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|min|h|d)")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
UNSYNCHRONISED_LEAP = 3


class TimesyncdError(TimekeepingError):
    """The output of timedatectl cannot be read."""


class TimesyncdReport(msgspec.Struct, frozen=True):
    """Server in use, and its last answer. `stratum` and `error_bound_s` are None before the first."""

    server: str | None
    address: str | None
    leap_status: int | None = None
    stratum: int | None = None
    error_bound_s: float | None = None


def read_timesyncd(output: str) -> TimesyncdReport:
    """Read the output of `timedatectl show-timesync --all`. Raises TimesyncdError."""
    if len(output) > MAX_BYTES:
        raise TimesyncdError(coded("timedatectl printed more than {count} characters", count=MAX_BYTES))
    lines = dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
    if "ServerName" not in lines and "ServerAddress" not in lines:
        raise TimesyncdError(coded("timedatectl printed no server: systemd-timesyncd is not running"))
    message = dict(_MEMBER.findall(lines.get("NTPMessage", "")))
    delay, dispersion = _span(message.get("RootDelay")), _span(message.get("RootDispersion"))
    bound = None if delay is None or dispersion is None else delay / 2 + dispersion
    return TimesyncdReport(
        server=lines.get("ServerName") or None,
        address=lines.get("ServerAddress") or None,
        leap_status=_number(message.get("Leap")),
        stratum=_number(message.get("Stratum")),
        error_bound_s=bound,
    )


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.strip().isdecimal() else None


def _span(text: str | None) -> float | None:
    """Read a span such as "1min 2.5s" or "13.427ms" as s; None for anything else."""
    if text is None:
        return None
    if text.strip() == "0":
        return 0.0
    parts = _SPAN.findall(text)
    return sum(float(number) * _UNITS[unit] for number, unit in parts) if parts else None
