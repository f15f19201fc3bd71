"""Series of prices, and the CSV file that it is read from."""

from __future__ import annotations

import pytest

from controller.load_management.energy.energy_csv import EnergyFileError
from controller.load_management.energy.price_series import make_series, parse_prices

BEGIN = 1_700_000_100.0 // 3600 * 3600
HOUR_S = 3600.0


def test_price_series_has_no_price_outside_its_span() -> None:
    series = make_series([(BEGIN, 0.1), (BEGIN + HOUR_S, 0.2)])
    assert series.price_at(BEGIN - 1) is None
    assert series.price_at(BEGIN) == 0.1
    assert series.price_at(BEGIN + 2 * HOUR_S - 1) == 0.2
    assert series.price_at(BEGIN + 2 * HOUR_S) is None


def test_price_series_last_price_holds_for_step_of_regular_series() -> None:
    series = make_series([(BEGIN + 900.0 * number, 0.1) for number in range(4)])
    assert series.price_at(BEGIN + 3599.0) == 0.1
    assert series.price_at(BEGIN + 3600.0) is None


def test_prices_are_read_from_csv() -> None:
    series = parse_prices("begin,price\n2026-11-27T06:00:00+01:00,0.25\n2026-11-27T06:00Z,-0.01\n")
    assert series.prices == (0.25, -0.01)
    assert series.begins[1] - series.begins[0] == HOUR_S


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time,price\n", "line 1: has no column begin; begin the file with begin,price"),
        ("begin,price\nsoon,1\n", 'line 2: begin: "soon" is not a time'),
        ("begin,price\n2026-11-27T06:00,1\n", "line 2: begin: 2026-11-27T06:00 has no time zone"),
        ("begin,price\n2026-11-27T06:00Z,cheap\n", 'line 2: price: "cheap" is not a number'),
        ("begin,price\n2026-11-27T06:00Z,nan\n", 'line 2: price: "nan" is not a number'),
        ("begin,price\n2026-11-27T06:00Z,1e7\n", "not a finite number"),
        (
            "begin,price\n2026-11-27T06:00Z,1\n2026-11-27T07:00+01:00,2\n",
            "line 3: begin: is that of line 2, too",
        ),
    ],
)
def test_price_series_error_in_prices_is_named_with_line(text: str, message: str) -> None:
    with pytest.raises(EnergyFileError, match=message.replace("(", r"\(")):
        parse_prices(text)


def test_price_series_missing_price_of_regular_series_is_unknown() -> None:
    missing = [(BEGIN + HOUR_S * hour, 0.1) for hour in range(24) if hour not in (7, 8)]
    series = make_series(missing)
    assert series.price_at(BEGIN + 7 * HOUR_S - 1) == 0.1
    assert series.price_at(BEGIN + 7 * HOUR_S) is None
    assert series.price_at(BEGIN + 9 * HOUR_S) == 0.1


def test_price_series_price_of_two_tariffs_holds_until_the_next() -> None:
    day, night = 6 * HOUR_S, 22 * HOUR_S
    series = make_series([(BEGIN + 24 * HOUR_S * k + at, at) for k in range(5) for at in (day, night)])
    assert series.price_at(BEGIN + night - 1) == day
    assert series.price_at(BEGIN + 24 * HOUR_S + day - 1) == night


def test_price_series_out_of_range_price_is_named_with_line() -> None:
    with pytest.raises(
        EnergyFileError, match="line 2: price: 1e\\+07 is not a finite number of at most 1000000"
    ):
        parse_prices("begin,price\n2026-11-27T06:00Z,1e7\n")
