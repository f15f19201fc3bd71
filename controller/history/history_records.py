"""Durable records of the history. Times are POSIX s; values are (lowest, mean, highest).

With 40 channels a block of 15 minutes is some 11 kB and a quarter hour 1 kB: about 1 GB of writes a year and
100 MB on the disk, with minutes kept for 14 days and quarter hours for two years.
"""

from __future__ import annotations

from controller.model.journal import Record

Triple = tuple[float, float, float]

BLOCK_S = 900
MINUTE_S = 60


class HistoryMinutes(Record, frozen=True):
    """Minutes from `start`, a quarter hour: for each channel 15 values, None where there was none."""

    start: int
    channels: dict[str, list[Triple | None]]


class HistoryQuarter(Record, frozen=True):
    """One quarter hour from `start`: one value for each channel."""

    start: int
    channels: dict[str, Triple]


class HistoryTrimmed(Record, frozen=True):
    """All but so many of the newest quarter hours are removed, in minutes and as such.

    By number and not by age: a clock that is wrong for an hour removes nothing.
    """

    in_minutes: int
    quarters: int
