"""Spans of time in a week by the site's local clock, valid over changes of daylight saving time.

A span is compared with the wall clock of the site. In spring an hour of the wall clock is left out: a span
within it does not occur on that day. In autumn an hour occurs twice, and so does a span within it. A span
that ends at or before its begin ends on the next day and belongs to the day on which it begins.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta, tzinfo

import msgspec

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""Days of the week in the order of `datetime.weekday`."""
DAY_MINUTES = 1440
SEARCH_DAYS = 8
"""Every time of day on a day of the week occurs within so many days, but for the hour left out in spring."""

_TIME = re.compile(r"(\d\d):(\d\d)")


def parse_minute(text: str) -> int | None:
    """Parse a time of day HH:MM, 00:00 to 24:00, into minutes; None for anything else."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    hours, minutes = int(match[1]), int(match[2])
    total = 60 * hours + minutes
    return total if minutes < 60 and total <= DAY_MINUTES else None


def local_time(utc: float, zone: tzinfo) -> datetime:
    """Return the site's wall clock at a moment (POSIX s)."""
    return datetime.fromtimestamp(utc, UTC).astimezone(zone)


class WeekSpan(msgspec.Struct, frozen=True, kw_only=True):
    """Span of time on some days of the week: from `begin` until `end` (minutes of the day).

    `days`: numbers of the days on which it begins, 0 is Monday. A span whose end is not after its begin
    ends on the next day.
    """

    days: frozenset[int] = frozenset(range(7))
    begin: int = 0
    end: int = DAY_MINUTES

    def is_active(self, local: datetime) -> bool:
        """Return True if the span contains this moment of the site's wall clock."""
        minute = 60 * local.hour + local.minute
        weekday = local.weekday()
        if self.begin < self.end:
            return weekday in self.days and self.begin <= minute < self.end
        began_today = weekday in self.days and minute >= self.begin
        began_yesterday = (weekday - 1) % 7 in self.days and minute < self.end
        return began_today or began_yesterday


def next_occurrence(days: frozenset[int], minute: int, utc: float, zone: tzinfo) -> float | None:
    """Return when the wall clock next shows a time on one of these days (POSIX s); None: on no day.

    In spring, a time within the hour that is left out occurs when the clock has jumped over it. In autumn
    it occurs the first time.
    """
    today = local_time(utc, zone).date()
    for ahead in range(SEARCH_DAYS + 1):
        date = today + timedelta(days=ahead)
        if date.weekday() not in days:
            continue
        midnight = datetime.combine(date + timedelta(days=minute // DAY_MINUTES), time(), zone)
        wall = midnight + timedelta(minutes=minute % DAY_MINUTES)  # on the wall clock, as `zone` is set
        moment = wall.timestamp()  # fold = 0: the first of two, and past a gap by the gap's length
        if moment > utc:
            return moment
    return None
