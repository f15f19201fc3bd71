"""Departures of cars by rule: by when an EVSE's car needs how much energy."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, time, timedelta, tzinfo

from controller.load_management.energy.csv_error import EnergyFileError
from controller.load_management.energy.energy_records import DepartureRow
from controller.load_management.energy.energy_settings import DepartureRule
from controller.load_management.energy.week_schedule import (
    DAY_MINUTES,
    DAYS,
    next_occurrence,
    parse_minute,
)
from controller.model.observations import EvseRef

COLUMNS = ("station", "day", "ready_by", "energy_kwh")
CARD_COLUMNS = ("card", "priority_class")
"""Columns that a file may have, too."""
MOST_ROWS = 10_000
MOST_KWH = 1000.0

FindEvses = Callable[[str], Iterable[EvseRef]]
"""Return the EVSEs that a name means, all for an empty one; none for an unknown one."""


def next_departure(
    rules: Sequence[DepartureRule], ref: EvseRef, utc: float, zone: tzinfo
) -> tuple[float, float] | None:
    """Return the next departure of an EVSE's car (POSIX s) and its energy (Wh); None without a rule."""
    found: list[tuple[float, float]] = []
    for rule in rules:
        if ref not in rule.evses:
            continue
        leaves_at = (
            next_occurrence(rule.days, rule.minute, utc, zone)
            if rule.date is None
            else _moment(rule.date, rule.minute, zone)
        )
        if leaves_at is not None and leaves_at > utc:
            found.append((leaves_at, rule.energy_wh))
    return min(found, default=None)


def _moment(day: str, minute: int, zone: tzinfo) -> float:
    ahead, minute = divmod(minute, DAY_MINUTES)
    midnight = datetime.combine(date.fromisoformat(day) + timedelta(days=ahead), time(), zone)
    return (midnight + timedelta(minutes=minute)).timestamp()


def parse_departures(text: str, find_evses: FindEvses) -> tuple[DepartureRule, ...]:
    """Parse a CSV file of departures; `day` is a day of the week (mon ... sun), a date, or empty for all.

    The columns `card` (label or idToken) and `priority_class` may be left out; with one of them `station` may
    be empty: any. Raises EnergyFileError with all mistakes, each with its line; no card is in its text.
    """
    rules: list[DepartureRule] = []
    mistakes: list[str] = []
    rows = csv.DictReader(text.splitlines())
    names = rows.fieldnames = [name.strip() for name in rows.fieldnames or ()]
    if tuple(names[: len(COLUMNS)]) != COLUMNS or not set(names[len(COLUMNS) :]) <= set(CARD_COLUMNS):
        raise EnergyFileError(
            [f"line 1: the first line has to be {','.join(COLUMNS)}; {' and '.join(CARD_COLUMNS)} may follow"]
        )
    for cells in rows:
        if len(rules) >= MOST_ROWS:
            raise EnergyFileError([f"line {rows.line_num}: more than {MOST_ROWS} departures"])
        row = DepartureRow(**{name: str(cells.get(name) or "").strip() for name in names})
        try:
            rules.append(parse_departure(row, find_evses))
        except ValueError as error:
            mistakes.append(f"line {rows.line_num}: {error}")
    if mistakes:
        raise EnergyFileError(mistakes)
    return tuple(rules)


def parse_departure(row: DepartureRow, find_evses: FindEvses) -> DepartureRule:
    """Parse one departure. Raises ValueError with what is wrong and the remedy."""
    if not row.station and not row.card and not row.priority_class:
        raise ValueError("station: is empty; write a station, a card or a priority_class")
    evses = frozenset(find_evses(row.station))
    if not evses:
        raise ValueError(f'station: "{row.station}" is not configured; write STATION or STATION/EVSE')
    minute = parse_minute(row.ready_by)
    if minute is None:
        raise ValueError(f'ready_by: "{row.ready_by}" is not a time of day; write it like 06:30')
    try:
        energy_kwh = float(row.energy_kwh)
    except ValueError:
        raise ValueError(f'energy_kwh: "{row.energy_kwh}" is not a number; write it like 30') from None
    if not 0 < energy_kwh <= MOST_KWH:
        raise ValueError(f"energy_kwh: {energy_kwh:g} is not between 0 and {MOST_KWH:g}; write kWh")
    day, on_date = row.day.lower(), None
    days = frozenset(range(7))
    if day in DAYS:
        days = frozenset({DAYS.index(day)})
    elif day:
        try:
            on_date = date.fromisoformat(day).isoformat()
        except ValueError:
            raise ValueError(f'day: "{row.day}" is not a day; write mon ... sun or 2026-11-27') from None
    return DepartureRule(
        evses=evses,
        days=days,
        minute=minute,
        energy_wh=1000 * energy_kwh,
        date=on_date,
        cards=frozenset({row.card} - {""}),
        priority_classes=frozenset({row.priority_class} - {""}),
    )
