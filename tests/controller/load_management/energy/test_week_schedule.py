"""Spans of a week by the site's clock, also on the days on which the clock is changed."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from controller.load_management.energy.week_schedule import (
    WeekSpan,
    local_time,
    next_occurrence,
    parse_minute,
)

BERLIN = ZoneInfo("Europe/Berlin")
WORKDAYS = frozenset(range(5))


def utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def is_active(span: WeekSpan, text: str) -> bool:
    return span.is_active(local_time(utc(text), BERLIN))


@pytest.mark.parametrize(
    ("text", "minute"),
    [("00:00", 0), ("24:00", 1440), ("06:30", 390), ("24:01", None), ("6:30", None), ("12:60", None)],
)
def test_parse_minute_accepts_times_of_day_only(text: str, minute: int | None) -> None:
    assert parse_minute(text) == minute


def test_span_by_day_holds_from_begin_until_end() -> None:
    span = WeekSpan(days=WORKDAYS, begin=6 * 60, end=22 * 60)
    assert not is_active(span, "2026-11-27T04:59:59")  # a Friday, 05:59:59 in Berlin
    assert is_active(span, "2026-11-27T05:00:00")
    assert is_active(span, "2026-11-27T20:59:59")
    assert not is_active(span, "2026-11-27T21:00:00")
    assert not is_active(span, "2026-11-28T12:00:00")


def test_week_schedule_span_over_midnight_belongs_to_day_of_begin() -> None:
    friday_night = WeekSpan(days=frozenset({4}), begin=22 * 60, end=6 * 60)
    assert not is_active(friday_night, "2026-11-27T04:00:00")  # the night before
    assert is_active(friday_night, "2026-11-27T21:30:00")
    assert is_active(friday_night, "2026-11-28T04:59:00")
    assert not is_active(friday_night, "2026-11-28T05:00:00")
    assert not is_active(friday_night, "2026-11-28T22:00:00")


def test_week_schedule_span_in_spring_follows_wall_clock() -> None:
    night = WeekSpan(begin=1 * 60, end=4 * 60)  # 2026-03-29: 02:00 becomes 03:00, two hours long
    active = [
        minute for minute in range(1440) if night.is_active(local_time(_day_s(3, 28) + 60 * minute, BERLIN))
    ]
    assert len(active) == 120
    left_out = WeekSpan(begin=2 * 60, end=3 * 60)
    begin = utc("2026-03-28T23:00:00")
    assert not any(left_out.is_active(local_time(begin + 60 * k, BERLIN)) for k in range(23 * 60))


def _day_s(month: int, day: int) -> float:
    return datetime(2026, month, day, 23, tzinfo=UTC).timestamp()


def test_span_in_autumn_holds_in_both_hours() -> None:
    doubled = WeekSpan(begin=2 * 60, end=3 * 60)  # 2026-10-25: 03:00 becomes 02:00
    begin = datetime(2026, 10, 24, 22, tzinfo=UTC).timestamp()
    active = [k for k in range(25 * 60) if doubled.is_active(local_time(begin + 60 * k, BERLIN))]
    assert active == list(range(120, 240))


@pytest.mark.parametrize(
    ("now", "minute", "expected"),
    [
        ("2026-11-27T04:00:00", 390, "2026-11-27T05:30:00"),  # Friday 05:00, next 06:30
        ("2026-11-27T05:30:00", 390, "2026-11-30T05:30:00"),  # it is 06:30: Monday's
        ("2026-03-27T22:00:00", 390, "2026-03-30T04:30:00"),  # over the change in spring
        ("2026-10-23T22:00:00", 390, "2026-10-26T05:30:00"),  # over the change in autumn
        ("2026-11-27T04:00:00", 1440, "2026-11-27T23:00:00"),  # 24:00 ends the day
    ],
)
def test_week_schedule_next_occurrence_is_on_next_chosen_day(now: str, minute: int, expected: str) -> None:
    assert next_occurrence(WORKDAYS, minute, utc(now), BERLIN) == utc(expected)


def test_week_schedule_next_occurrence_in_left_out_hour_is_after_it() -> None:
    sunday = frozenset({6})
    found = next_occurrence(sunday, 150, utc("2026-03-28T12:00:00"), BERLIN)  # 02:30 does not exist
    assert found == utc("2026-03-29T01:30:00")  # 03:30 in Berlin


def test_week_schedule_next_occurrence_without_day_is_none() -> None:
    assert next_occurrence(frozenset(), 0, 0.0, BERLIN) is None
