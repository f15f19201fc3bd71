"""Wall clock of a site on one day of its calendar, beside the time since the day's begin. Sans-IO.

On most days both are the same. Where daylight saving time begins, the wall clock leaves out an hour; where it
ends, an hour comes twice.

clock = DayClock("2026-03-29", ZoneInfo("Europe/Berlin"))
clock.length_s                          # 82800.0
clock.elapsed_s(3 * 3600)               # 7200.0: three o'clock, two hours after midnight
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, tzinfo

from controller.load_management.energy.week_schedule import local_time

MINUTE_S = 60.0
QUARTER_S = 900.0


class DayClock:
    """Wall clock of a day; wall times in s of the day, elapsed times in s since the day's begin.

    `begin_utc`: POSIX s.
    """

    def __init__(self, day: str, zone: tzinfo) -> None:
        self.day = day
        self._zone = zone
        first = date.fromisoformat(day)
        self.begin_utc, end_utc = (
            datetime.combine(each, time(), zone).timestamp() for each in (first, first + timedelta(days=1))
        )
        self.length_s = end_utc - self.begin_utc
        self._spans: list[tuple[float, float]] = []
        """Begins of the spans between changes of the clock: elapsed time, and wall time."""
        for minute in range(self.minutes):
            elapsed_s = minute * MINUTE_S
            wall_s = _seconds(local_time(self.begin_utc + elapsed_s, zone))
            if not self._spans or wall_s != self.wall_s(elapsed_s):
                self._spans.append((elapsed_s, wall_s))

    @property
    def minutes(self) -> int:
        """Return the number of minutes of the day."""
        return math.ceil(self.length_s / MINUTE_S)

    @property
    def quarters(self) -> int:
        """Return the number of quarter hours of the day."""
        return math.ceil(self.length_s / QUARTER_S)

    def wall_s(self, elapsed_s: float) -> float:
        """Return what the clock shows; at the end of the day 86 400 s."""
        begin_s, wall_s = self._spans[bisect_right(self._spans, (elapsed_s, math.inf)) - 1]
        return wall_s + elapsed_s - begin_s

    def elapsed_s(self, wall_s: float) -> float:
        """Return when the clock first shows a time, or a later one where it leaves that time out."""
        ends = [*(begin_s for begin_s, _ in self._spans[1:]), self.length_s]
        for (begin_s, shown_s), end_s in zip(self._spans, ends, strict=True):
            if wall_s < shown_s + end_s - begin_s:
                return begin_s + max(0.0, wall_s - shown_s)
        return self.length_s

    def label(self, elapsed_s: float) -> str:
        """Return a time as HH:MM, with the zone's abbreviation where the clock shows it twice."""
        local = local_time(self.begin_utc + elapsed_s, self._zone)
        label = f"{local:%H:%M}"
        is_twice = local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()
        return f"{label} {local:%Z}" if is_twice else label

    def has_any(self, value_at: Callable[[float], float | None]) -> bool:
        """Return True if a value is known at any minute; `value_at` takes POSIX s."""
        moments = (self.begin_utc + minute * MINUTE_S for minute in range(self.minutes))
        return any(value_at(moment) is not None for moment in moments)

    def describe_change(self) -> str:
        """Return how the clock is changed on this day; empty where it is not."""
        changes: list[str] = []
        for index, (begin_s, wall_s) in enumerate(self._spans):
            before_s = self.wall_s(begin_s - MINUTE_S) + MINUTE_S if index else 0.0
            if wall_s == before_s:
                continue
            first, last = (_text(each) for each in sorted((before_s, wall_s)))
            change = "left out, with cars that come and leave in it" if wall_s > before_s else "there twice"
            changes.append(f"{first} to {last} is {change}")
        if not changes:
            return ""
        return f"{self.day} has {self.length_s / 3600:g} hours in {self._zone}: {', '.join(changes)}"


def _seconds(local: datetime) -> float:
    return 3600.0 * local.hour + 60.0 * local.minute + local.second


def _text(wall_s: float) -> str:
    return f"{int(wall_s // 3600):02}:{int(wall_s % 3600 // 60):02}"
