"""Calendar in words."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from controller.load_management.energy.calendar_text import describe_calendar
from controller.load_management.energy.energy_settings import CalendarEntry, EnergySettings
from controller.load_management.energy.week_schedule import WeekSpan
from controller.model.observations import EvseRef

FRIDAY_EVENING = datetime(2026, 11, 27, 17, 30, tzinfo=UTC).timestamp()


def test_calendar_is_described_with_entry_in_force() -> None:
    entries = (
        CalendarEntry(
            name="evening",
            span=WeekSpan(days=frozenset(range(5)), begin=17 * 60, end=20 * 60),
            circuit="grid",
            limit_a=63.0,
            peak_w=40_000.0,
        ),
        CalendarEntry(
            name="sun",
            span=WeekSpan(days=frozenset({5, 6}), begin=600, end=960),
            evses=frozenset({EvseRef("CS02", 1), EvseRef("CS01", 1)}),
            priority=3,
            surplus=True,
        ),
        CalendarEntry(name="ever", span=WeekSpan(), circuit="row", limit_w=11_000.0),
    )
    settings = EnergySettings(zone=ZoneInfo("Europe/Berlin"), calendar=entries)
    assert list(describe_calendar(settings, FRIDAY_EVENING)) == [
        'calendar "evening": mon to fri 17:00 to 20:00: grid at most 63 A; grid at most 40 kW in a quarter '
        "hour, holds now",
        'calendar "sun": sat, sun 10:00 to 16:00: priority 3 for CS01/1, CS02/1; surplus only for CS01/1, '
        "CS02/1",
        'calendar "ever": daily 00:00 to 24:00: row at most 11 kW, holds now',
    ]
