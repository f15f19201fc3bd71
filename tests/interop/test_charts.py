"""Marks of the axes of charts: times by the clock of the site, over changes of summer time, and values."""

from __future__ import annotations

import json
import subprocess
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

CHARTS = Path(__file__).parents[2] / "controller" / "web" / "charts.js"
SCRIPT = """
const { timeMarks } = await import(process.argv[1]);
console.log(JSON.stringify(timeMarks(Number(process.argv[2]), Number(process.argv[3]), process.argv[4])));
"""


def marks(begin: datetime, days: int) -> list[str]:
    """Return the marks of a chart of so many days from a local time on, by the local clock."""
    assert isinstance(begin.tzinfo, ZoneInfo)
    start, zone = int(begin.timestamp()), begin.tzinfo
    command = ["node", "--input-type=module", "-e", SCRIPT, CHARTS.as_uri(), str(start)]
    done = subprocess.run(
        [*command, str(start + days * 86_400), zone.key], capture_output=True, text=True, check=True
    )
    return [f"{datetime.fromtimestamp(each, zone):%d %H:%M}" for each in json.loads(done.stdout)]


BERLIN, BEIRUT, KOLKATA = map(ZoneInfo, ("Europe/Berlin", "Asia/Beirut", "Asia/Kolkata"))


@pytest.mark.parametrize(
    ("begin", "shown"),
    [
        (datetime(2026, 11, 21, 13, 10, tzinfo=BERLIN), ["21 18:00", "22 00:00", "22 06:00", "22 12:00"]),
        (datetime(2026, 3, 28, 20, 0, tzinfo=BERLIN), ["29 00:00", "29 06:00", "29 12:00", "29 18:00"]),
        (datetime(2026, 10, 24, 20, 0, tzinfo=BERLIN), ["25 00:00", "25 06:00", "25 12:00", "25 18:00"]),
        (datetime(2026, 11, 21, 13, 10, tzinfo=KOLKATA), ["21 18:00", "22 00:00", "22 06:00", "22 12:00"]),
    ],
    ids=["winter", "to summer time", "to winter time", "half hour"],
)
def test_chart_marks_of_day_are_round_local_times(begin: datetime, shown: list[str]) -> None:
    assert marks(begin, 1) == shown


@pytest.mark.parametrize("zone", [BERLIN, BEIRUT])
def test_chart_marks_of_week_are_begins_of_local_days(zone: ZoneInfo) -> None:
    begin = datetime(2026, 3, 25, 15, 0, tzinfo=zone)
    days = [f"{begin + timedelta(days=number):%d}" for number in range(1, 8)]
    found = marks(begin, 7)
    assert [each[:2] for each in found] == days
    assert {each[3:] for each in found} <= {"00:00", "01:00"}, "Beirut skips midnight on 29 March"


def test_chart_marks_of_month_are_few_begins_of_days() -> None:
    found = marks(datetime(2026, 10, 10, 15, 0, tzinfo=BERLIN), 31)
    assert len(found) == 7
    assert {each[3:] for each in found} == {"00:00"}


@pytest.mark.parametrize(
    ("low", "high", "whole", "shown"),
    [
        (0, 2, True, [0, 1, 2]),
        (0, 1, True, [0, 1]),
        (0, 0, True, [0, 1]),
        (0, 37, True, [0, 10, 20, 30, 40]),
        (0, 2, False, [0, 0.5, 1, 1.5, 2]),
        (-4000, 21_000, False, [-10_000, 0, 10_000, 20_000, 30_000]),
    ],
)
def test_value_marks_enclose_the_values(low: float, high: float, whole: bool, shown: list[float]) -> None:
    script = """
const { valueMarks } = await import(process.argv[1]);
console.log(JSON.stringify(valueMarks(...JSON.parse(process.argv[2]))));
"""
    command = ["node", "--input-type=module", "-e", script, CHARTS.as_uri(), json.dumps([low, high, whole])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == shown
