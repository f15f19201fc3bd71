"""Departures of cars by rule: by when an EVSE's car needs how much energy."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import date, datetime, time, timedelta, tzinfo

from controller.load_management.energy.energy_csv import (
    CsvMistake,
    EnergyFileError,
    ValueMistakeError,
    parse_number,
    read_rows,
)
from controller.load_management.energy.energy_records import DepartureRow
from controller.load_management.energy.energy_settings import DepartureRule
from controller.load_management.energy.week_schedule import (
    DAY_MINUTES,
    DAYS,
    next_occurrence,
    parse_minute,
)
from controller.model.observations import EvseRef
from drivers.coded_text import coded, decimal

COLUMNS = ("station", "day", "ready_by", "energy_kwh")
CARD_COLUMNS = ("card", "priority_class")
"""Columns that a file may have, too."""
MOST_ROWS = 10_000
MOST_KWH = 1000.0
FAR_AHEAD_S = 366 * 86_400.0
"""A departure farther ahead is most likely one of another year."""
YEARS = range(2000, 2101)
"""Years of a departure."""

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


def is_past(rule: DepartureRule, utc: float, zone: tzinfo) -> bool:
    """Return True for a departure on a date that is over."""
    return rule.date is not None and _moment(rule.date, rule.minute, zone) <= utc


def is_far(rule: DepartureRule, utc: float, zone: tzinfo) -> bool:
    """Return True for a departure on a date more than a year ahead."""
    return rule.date is not None and _moment(rule.date, rule.minute, zone) > utc + FAR_AHEAD_S


def check_date(rule: DepartureRule, utc: float, zone: tzinfo) -> None:
    """Check that a departure on a date is still to come, within a year. Raises ValueMistakeError."""
    if is_past(rule, utc, zone):
        raise ValueMistakeError(
            coded("day: {day} is past by its ready_by", day=rule.date),
            coded("leave it out, or write a date to come or a day of the week"),
        )
    if is_far(rule, utc, zone):
        raise ValueMistakeError(
            coded("day: {day} is more than a year ahead", day=rule.date),
            coded("write the date with its right year, or a day of the week"),
        )


def check_classes(rule: DepartureRule, known: Collection[str]) -> None:
    """Check that the classes of cards that a departure names are configured. Raises ValueMistakeError."""
    for name in rule.priority_classes - {*known}:
        raise ValueMistakeError(
            coded('priority_class: "{name}" is not configured', name=name),
            coded("known are {names}", names=", ".join(sorted(known)))
            if known
            else coded("add a {table}", table="[[priority_class]]"),
        )


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
    mistakes: list[CsvMistake] = []
    rows = read_rows(text, COLUMNS, CARD_COLUMNS)
    if len(rows) > MOST_ROWS:
        what = coded("has more than {most} departures", most=MOST_ROWS)
        raise EnergyFileError([CsvMistake(0, what, coded("leave out those of the past"))])
    for row in rows:
        try:
            energy = f"{row.number('energy_kwh'):g}"
            rules.append(parse_departure(DepartureRow(**row.cells | {"energy_kwh": energy}), find_evses))
        except ValueMistakeError as error:
            mistakes.append(CsvMistake(row.line, error.what, error.remedy))
    if mistakes:
        raise EnergyFileError(mistakes)
    return tuple(rules)


def parse_departure(row: DepartureRow, find_evses: FindEvses) -> DepartureRule:
    """Parse one departure. Raises ValueMistakeError; no card is in its text."""
    if not row.station and not row.card and not row.priority_class:
        raise ValueMistakeError(
            coded("{name}: is empty", name="station"), coded("write a station, a card or a priority_class")
        )
    evses = frozenset(find_evses(row.station))
    if not evses:
        raise ValueMistakeError(
            coded('station: "{station}" is not configured', station=row.station),
            coded("write STATION or STATION/EVSE, as in the configuration"),
        )
    minute = parse_minute(row.ready_by)
    if minute is None:
        short = _SHORT_TIME.fullmatch(row.ready_by)
        meant = f"{short[1]:0>2}:{short[2] or '00'}" if short else ""
        if parse_minute(meant) is None:
            meant = "06:30"
        raise ValueMistakeError(
            coded('ready_by: "{ready_by}" is not a time of day', ready_by=row.ready_by),
            coded("write it like {meant}", meant=meant),
        )
    energy_kwh = parse_number("energy_kwh", row.energy_kwh)
    if not 0 < energy_kwh <= MOST_KWH:
        meant = f"{energy_kwh / 1000:g}" if energy_kwh > MOST_KWH else "30"
        raise ValueMistakeError(
            coded(
                "energy_kwh: {energy} is not above 0 and at most {most}",
                energy=decimal(energy_kwh),
                most=decimal(MOST_KWH),
            ),
            coded("write it in kWh, like {meant}", meant=meant),
        )
    days, on_date = _parse_day(row.day)
    return DepartureRule(
        evses=evses,
        days=days,
        minute=minute,
        energy_wh=1000 * energy_kwh,
        date=on_date,
        cards=frozenset({row.card} - {""}),
        priority_classes=frozenset({row.priority_class} - {""}),
    )


def _parse_day(text: str) -> tuple[frozenset[int], str | None]:
    """Return the days of the week (0: Monday), and the date if it is one. Raises ValueMistakeError."""
    day = text.lower()
    if not day:
        return frozenset(range(7)), None
    if day in DAYS:
        return frozenset({DAYS.index(day)}), None
    try:
        on_date = date.fromisoformat(day)
    except ValueError:
        pass
    else:
        if on_date.year in YEARS:
            return frozenset(range(7)), on_date.isoformat()
    meant = ""
    if written := _GERMAN_DATE.fullmatch(day):
        meant = f"{written[3]}-{int(written[2]):02}-{int(written[1]):02}"
    elif day[:3] in DAYS and day.isalpha():
        meant = day[:3]
    elif day[:2] in _GERMAN_DAYS and day.isalpha():
        meant = DAYS[_GERMAN_DAYS.index(day[:2])]
    remedy = (
        coded("write it like {meant}", meant=meant)
        if meant
        else coded("write one of mon ... sun or a date like 2026-11-27, a line for each day; empty for all")
    )
    raise ValueMistakeError(coded('day: "{day}" is not a day', day=text), remedy)


_SHORT_TIME = re.compile(r"(\d{1,2})(?:[:.](\d\d)(?::\d\d)?)?(?: ?(?:Uhr|h))?", re.IGNORECASE)
_GERMAN_DATE = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})")
_GERMAN_DAYS = ("mo", "di", "mi", "do", "fr", "sa", "so")
