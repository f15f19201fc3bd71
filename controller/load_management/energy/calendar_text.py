"""Calendar in words for people."""

from __future__ import annotations

from collections.abc import Iterator

from controller.load_management.energy.energy_settings import CalendarEntry, EnergySettings
from controller.load_management.energy.week_schedule import DAYS, local_time


def describe_calendar(settings: EnergySettings, utc: float) -> Iterator[str]:
    """Yield a line for each entry: when it holds, what it sets, and if it holds at `utc` (POSIX s)."""
    local = local_time(utc, settings.zone)
    for entry in settings.calendar:
        now = ", holds now" if entry.span.is_active(local) else ""
        yield f'calendar "{entry.name}": {_span(entry)}: {"; ".join(_settings(entry))}{now}'


def _span(entry: CalendarEntry) -> str:
    days = sorted(entry.span.days)
    if len(days) == len(DAYS):
        when = "daily"
    elif len(days) > 2 and days == list(range(days[0], days[-1] + 1)):
        when = f"{DAYS[days[0]]} to {DAYS[days[-1]]}"
    else:
        when = ", ".join(DAYS[day] for day in days)
    return f"{when} {_clock(entry.span.begin)} to {_clock(entry.span.end)}"


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _settings(entry: CalendarEntry) -> Iterator[str]:
    if entry.limit_a is not None:
        yield f"{entry.circuit} at most {entry.limit_a:g} A"
    if entry.limit_w is not None:
        yield f"{entry.circuit} at most {entry.limit_w / 1000:g} kW"
    if entry.peak_w is not None:
        yield f"{entry.circuit} at most {entry.peak_w / 1000:g} kW in a quarter hour"
    evses = ", ".join(str(ref) for ref in sorted(entry.evses))
    if entry.priority is not None:
        yield f"priority {entry.priority} for {evses}"
    if entry.surplus is not None:
        yield f"{'surplus only' if entry.surplus else 'no surplus mode'} for {evses}"
