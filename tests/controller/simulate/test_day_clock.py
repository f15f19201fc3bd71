"""Wall clock of a simulated day, where daylight saving time begins and ends."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from controller.simulate.day_clock import DayClock

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = 3600.0


def test_day_clock_of_usual_day_is_the_time_since_midnight() -> None:
    clock = DayClock("2026-11-27", BERLIN)
    assert (clock.length_s, clock.minutes, clock.quarters, clock.describe_change()) == (
        24 * HOUR,
        1440,
        96,
        "",
    )
    assert [clock.elapsed_s(each * HOUR) for each in (0, 2.5, 24)] == [0.0, 2.5 * HOUR, 24 * HOUR]
    assert [clock.wall_s(each * HOUR) for each in (0, 2.5, 24)] == [0.0, 2.5 * HOUR, 24 * HOUR]
    assert clock.label(9.75 * HOUR) == "09:45"


def test_day_clock_in_spring_leaves_an_hour_out() -> None:
    clock = DayClock("2026-03-29", BERLIN)
    assert (clock.length_s, clock.minutes, clock.quarters) == (23 * HOUR, 1380, 92)
    walls = (1.5, 2.0, 2.5, 3.0, 4.0, 24.0)
    assert [clock.elapsed_s(each * HOUR) / HOUR for each in walls] == [1.5, 2.0, 2.0, 2.0, 3.0, 23.0]
    assert [clock.wall_s(each * HOUR) / HOUR for each in (1.5, 2.0, 3.0, 23.0)] == [1.5, 3.0, 4.0, 24.0]
    assert [clock.label(each * HOUR) for each in (1.75, 2.0)] == ["01:45", "03:00"]
    assert clock.describe_change() == (
        "2026-03-29 has 23 hours in Europe/Berlin: 02:00 to 03:00 is left out, with cars that come and "
        "leave in it"
    )


def test_day_clock_in_autumn_has_an_hour_twice() -> None:
    clock = DayClock("2026-10-25", BERLIN)
    assert (clock.length_s, clock.minutes, clock.quarters) == (25 * HOUR, 1500, 100)
    walls = (1.5, 2.0, 2.5, 3.0, 24.0)
    assert [clock.elapsed_s(each * HOUR) / HOUR for each in walls] == [1.5, 2.0, 2.5, 4.0, 25.0]
    elapsed = (1.5, 2.5, 3.0, 3.5, 4.0, 25.0)
    assert [clock.wall_s(each * HOUR) / HOUR for each in elapsed] == [1.5, 2.5, 2.0, 2.5, 3.0, 24.0]
    labels = [clock.label(each * HOUR) for each in (1.75, 2.25, 3.25, 4.25)]
    assert labels == ["01:45", "02:15 CEST", "02:15 CET", "03:15"]
    assert (
        clock.describe_change() == "2026-10-25 has 25 hours in Europe/Berlin: 02:00 to 03:00 is there twice"
    )


@pytest.mark.parametrize(
    ("day", "zone", "hours", "noon", "change"),
    [
        (
            "2026-04-24",
            "Africa/Cairo",
            23,
            11,
            "00:00 to 01:00 is left out, with cars that come and leave in it",
        ),
        ("2026-10-29", "Africa/Cairo", 25, 12, "23:00 to 24:00 is there twice"),
        ("2026-11-01", "America/Havana", 25, 13, "00:00 to 01:00 is there twice"),
        ("2026-04-05", "Australia/Lord_Howe", 24.5, 12.5, "01:30 to 02:00 is there twice"),
    ],
)
def test_day_clock_change_beside_midnight(
    day: str, zone: str, hours: float, noon: float, change: str
) -> None:
    clock = DayClock(day, ZoneInfo(zone))
    assert clock.length_s == hours * HOUR
    assert clock.describe_change() == f"{day} has {hours:g} hours in {zone}: {change}"
    assert clock.elapsed_s(0.0) == 0.0
    assert clock.elapsed_s(12 * HOUR) == noon * HOUR
    assert clock.wall_s(clock.length_s) == 24 * HOUR
