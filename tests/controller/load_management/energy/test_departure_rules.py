"""Departures by rule and by file."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from controller.load_management.energy.departure_rules import next_departure, parse_departures
from controller.load_management.energy.energy_csv import EnergyFileError
from controller.load_management.energy.energy_settings import DepartureRule
from controller.model.observations import EvseRef

BERLIN = ZoneInfo("Europe/Berlin")
A, B = EvseRef("A", 1), EvseRef("B", 1)
FRIDAY = datetime(2026, 11, 27, 12, tzinfo=UTC).timestamp()


def find(name: str) -> list[EvseRef]:
    return [ref for ref in (A, B) if name in (ref.station, str(ref))]


def utc(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_next_departure_is_first_of_all_rules() -> None:
    workdays = DepartureRule(
        evses=frozenset({A, B}), days=frozenset(range(5)), minute=390, energy_wh=30_000.0
    )
    saturday = DepartureRule(evses=frozenset({A}), days=frozenset({5}), minute=600, energy_wh=10_000.0)
    rules = (workdays, saturday)
    assert next_departure(rules, A, FRIDAY, BERLIN) == (utc("2026-11-28T10:00+01:00"), 10_000.0)
    assert next_departure(rules, B, FRIDAY, BERLIN) == (utc("2026-11-30T06:30+01:00"), 30_000.0)
    assert next_departure(rules, EvseRef("C", 1), FRIDAY, BERLIN) is None


def test_departures_are_read_from_csv() -> None:
    text = "station,day,ready_by,energy_kwh\nA,2026-12-24,08:00,40\nB/1,sun,24:00,5\nB,,07:00,20\n"
    rules = parse_departures(text, find)
    assert next_departure(rules, A, FRIDAY, BERLIN) == (utc("2026-12-24T08:00+01:00"), 40_000.0)
    assert next_departure(rules, A, utc("2026-12-24T08:00+01:00"), BERLIN) is None
    assert next_departure(rules, B, FRIDAY, BERLIN) == (utc("2026-11-28T07:00+01:00"), 20_000.0)
    assert next_departure(rules, B, utc("2026-11-29T07:00+01:00"), BERLIN) == (
        utc("2026-11-30T00:00+01:00"),
        5_000.0,
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("C,,07:00,20", 'line 2: station: "C" is not configured'),
        ("A,,7,20", 'line 2: ready_by: "7" is not a time of day'),
        ("A,someday,07:00,20", 'line 2: day: "someday" is not a day'),
        ("A,,07:00,much", 'line 2: energy_kwh: "much" is not a number'),
        (
            "A,,07:00,20000",
            "line 2: energy_kwh: 20000 is not above 0 and at most 1000; write it in kWh, like 20",
        ),
    ],
)
def test_departure_rules_error_in_departures_is_named_with_line(row: str, message: str) -> None:
    with pytest.raises(EnergyFileError, match=message):
        parse_departures(f"station,day,ready_by,energy_kwh\n{row}\n", find)


def test_departures_without_header_are_rejected() -> None:
    with pytest.raises(EnergyFileError, match="has no column station, day, ready_by, energy_kwh"):
        parse_departures("A,mon,07:00,20\n", find)
