"""Contents of the files of prices and departures: each mistake is found with its line and the remedy."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controller.config.loader import check_config
from controller.services.configuration.energy_file_rules import find_energy_file_hints

SITE = """
[site]
id = "lc"
timezone = "Europe/Berlin"
[prices]
file = "prices.csv"
pause_above = 0.35
[load_management]
departures = "departures.csv"
[local_csms]
cards_file = "cards.csv"
[[circuit]]
id = "grid"
limit_a = 63
[[station]]
id = "CS01"
circuit = "grid"
"""
TOMORROW = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT06:00Z}"
PRICES = f"begin,price\n{TOMORROW},0.25\n"
DEPARTURES = "station,day,ready_by,energy_kwh,card,priority_class\nCS01,mon,06:30,30,Anna,\n"


def hints_of(
    folder: Path, prices: str | bytes = PRICES, departures: str | bytes = DEPARTURES, site: str = SITE
) -> list[str]:
    for name, text in (("prices", prices), ("departures", departures), ("cards", "token,label\n04A1,Anna\n")):
        file = folder / f"{name}.csv"
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        file.chmod(0o600)
    config, errors, hints = check_config(
        site, str(folder / "site.toml"), folder, hint_rules=[find_energy_file_hints]
    )
    assert config is not None, errors
    keys = ("prices", "load_management.departures", "departure", "site.timezone")
    texts = [f"{each.key}: {each.what}; {each.remedy}" for each in hints if each.key.startswith(keys)]
    return [text.replace(f"{folder}/", "") for text in texts]


def with_consequence(key: str, file: str, hint: str) -> list[str]:
    """Return the hints for one mistake: where it is in the file itself, also what follows from it."""
    unused = f"{key}: nothing of {file} is used while a part of it is wrong; correct it; it is read again "
    return [f"{key}: {hint}", *([f"{unused}within half a minute"] if re.match(rf"{file}:\d+:", hint) else [])]


def test_energy_files_without_mistakes_have_no_hint(tmp_path: Path) -> None:
    assert hints_of(tmp_path) == []
    assert hints_of(tmp_path, f"\ufeffPrice;Begin\n0,25;{TOMORROW}\n\n") == []
    assert hints_of(tmp_path, f"begin\tprice\n{TOMORROW}\t0,25\n") == []


@pytest.mark.parametrize(
    ("prices", "expected"),
    [
        (
            "2026-11-28T06:00Z,0.2\n",
            "prices.csv:1: has no column begin, price; begin the file with begin,price",
        ),
        ("Beginn;Preis\n", "prices.csv:1: has no column begin, price; begin the file with begin,price"),
        (
            "begin,end,price\n",
            'prices.csv:1: "end" is not one of the columns, or is there twice; use begin, price',
        ),
        (
            "begin,price\n2026-11-30T06:00Z,0,2\n",
            "prices.csv:2: has 3 columns, line 1 names 2; write decimals with a point, or separate "
            "all columns by semicolons",
        ),
        (
            'begin,price\n2026-11-30T06:00Z,"0,5"\n',
            'prices.csv:2: price: "0,5" is not a number; write the number alone, with a decimal '
            "point, like 0.5",
        ),
        (
            "begin,price\n2026-11-30T06:00Z,0.5 \u20ac\n",
            'prices.csv:2: price: "0.5 \u20ac" is not a number; write the number alone, with a '
            "decimal point, like 0.5",
        ),
        (
            "begin,price\n2026-11-30T06:00Z\n",
            "prices.csv:2: price: is empty; write the number alone, with a decimal point, like 30",
        ),
        (
            "begin,price\n2026-11-30T06:00Z,nan\n",
            'prices.csv:2: price: "nan" is not a number; write the number alone, with a decimal '
            "point, like 30",
        ),
        (
            "begin,price\n30.11.2026 6:00,0.5\n",
            'prices.csv:2: begin: "30.11.2026 6:00" is not a time; write it with its zone, like '
            "2026-11-30T06:00+01:00",
        ),
        (
            "begin,price\n1795000000,0.5\n",
            'prices.csv:2: begin: "1795000000" is not a time; write it with its zone, like 2026-11-18T11:06Z',
        ),
        (
            "begin,price\n2026-11-30 06:00,0.5\n",
            "prices.csv:2: begin: 2026-11-30 06:00 has no time zone; add it, like +01:00 or Z",
        ),
        (
            "begin,price\n2026-11-30T06:00Z,0.5\n2026-11-30T07:00+01:00,0.6\n",
            "prices.csv:3: begin: is that of line 2, too; keep one of the two",
        ),
        (
            "begin,price\n2026-11-30T06:00Z,1e9\n",
            "prices.csv:2: price: 1e+09 is not a finite number of at most 1000000; write the price of a kWh",
        ),
        (
            "begin,price\n2026-11-30T06:00Z,0.5 \u00fc\n".encode("latin-1"),
            'prices.csv:2: is not UTF-8 text at column 23, where Windows-1252 has "\u00fc"; save the '
            "file as UTF-8",
        ),
        (
            "begin,price\n2126-01-30T06:00Z,0.5\n",
            "has no price before 2126-01-30T06:00Z: until then cars charge as without prices; write the "
            "prices of today and tomorrow",
        ),
        (
            "begin,price\n2026-01-30T06:00Z,0.5\n",
            "has no price from now on: cars charge as without prices; write the prices of today and tomorrow",
        ),
    ],
)
def test_prices_with_mistake_are_a_hint(tmp_path: Path, prices: str | bytes, expected: str) -> None:
    assert hints_of(tmp_path, prices=prices) == with_consequence("prices.file", "prices.csv", expected)


@pytest.mark.parametrize(
    ("price", "expected"),
    [
        (
            "25.3",
            "is below all prices of the file, from 25.3 on: cars without a departure never charge; "
            "write it in the unit of the file",
        ),
        (
            "0.0003",
            "is far above all prices of the file, up to 0.0003: no car ever waits; write it in the "
            "unit of the file",
        ),
    ],
)
def test_prices_in_another_unit_than_the_threshold_are_a_hint(
    tmp_path: Path, price: str, expected: str
) -> None:
    assert hints_of(tmp_path, f"begin,price\n{TOMORROW},{price}\n") == [f"prices.pause_above: {expected}"]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            "CS09,mon,06:30,30",
            'departures.csv:2: station: "CS09" is not configured; write STATION or STATION/EVSE, as '
            "in the configuration",
        ),
        (
            ",mon,06:30,30",
            "departures.csv:2: station: is empty; write a station, a card or a priority_class",
        ),
        (
            "CS01,mon,6:30,30",
            'departures.csv:2: ready_by: "6:30" is not a time of day; write it like 06:30',
        ),
        (
            "CS01,mon,06:30:00,30",
            'departures.csv:2: ready_by: "06:30:00" is not a time of day; write it like 06:30',
        ),
        (
            "CS01,mon,25:61,30",
            'departures.csv:2: ready_by: "25:61" is not a time of day; write it like 06:30',
        ),
        (
            "CS01,mon,7 Uhr,30",
            'departures.csv:2: ready_by: "7 Uhr" is not a time of day; write it like 07:00',
        ),
        (
            "CS01,mon,06:30,30 kWh",
            'departures.csv:2: energy_kwh: "30 kWh" is not a number; write the number alone, with a '
            "decimal point, like 30",
        ),
        (
            "CS01,mon,06:30,30000",
            "departures.csv:2: energy_kwh: 30000 is not above 0 and at most 1000; write it in kWh, like 30",
        ),
        ("CS01,Mo,06:30,30", 'departures.csv:2: day: "Mo" is not a day; write it like mon'),
        ("CS01,Sunday,06:30,30", 'departures.csv:2: day: "Sunday" is not a day; write it like sun'),
        (
            "CS01,1.12.2026,06:30,30",
            'departures.csv:2: day: "1.12.2026" is not a day; write it like 2026-12-01',
        ),
        (
            "CS01,mon-fri,06:30,30",
            'departures.csv:2: day: "mon-fri" is not a day; write one of mon ... sun or a date like '
            "2026-11-27, a line for each day; empty for all",
        ),
        (
            "CS01,2026-01-30,06:30,30",
            "all departures of departures.csv are past; write those to come, or days of the week",
        ),
        (
            "CS01,mon,06:30,30\nCS01,2062-12-01,06:30,30",
            "departures.csv: 2062-12-01 is more than a year ahead; write the date with its right year, or "
            "a day of the week",
        ),
        (
            "CS01,9999-12-31,24:00,30",
            'departures.csv:2: day: "9999-12-31" is not a day; write one of mon ... sun or a date like '
            "2026-11-27, a line for each day; empty for all",
        ),
        (
            "CS01,mon,06:30,30\nCS01,tue,06:30,0.03",
            "departures.csv: 0.03 kWh is too little for any trip; did you mean 30 (kWh)?",
        ),
        (
            "CS01,mon,06:30,30\nCS01,mon,06:30,30",
            "departures.csv has a departure twice; change what differs, or remove it",
        ),
        (
            "CS01,mon,06:30,30,Bert",
            "departures.csv names 1 cards that are not listed; compare them with label and token of "
            "[[card]]; case counts in labels",
        ),
        (
            "CS01,mon,06:30,30,,vip",
            'priority_class "vip" does not exist; add a [[priority_class]]',
        ),
    ],
)
def test_departures_with_mistake_are_a_hint(tmp_path: Path, row: str, expected: str) -> None:
    header = DEPARTURES.partition("\n")[0]
    found = hints_of(tmp_path, departures=f"{header}\n{row}\n")
    assert found == with_consequence("load_management.departures", "departures.csv", expected)


def test_departures_without_time_zone_are_a_hint(tmp_path: Path) -> None:
    assert hints_of(tmp_path, site=SITE.replace('timezone = "Europe/Berlin"\n', "")) == [
        "site.timezone: is UTC: the times of day in departures.csv are not those of a clock on the wall; "
        'write the zone of the site, e.g. timezone = "Europe/Berlin"'
    ]


def test_departures_of_the_configuration_know_the_card_file(tmp_path: Path) -> None:
    departure = '[[departure]]\nready_by = "06:30"\nenergy_kwh = 30\ncards = ["{}"]\n'
    assert hints_of(tmp_path, site=SITE + departure.format("Anna")) == []
    assert hints_of(tmp_path, site=SITE + departure.format("Bert")) == [
        "departure[0].cards[0]: is neither the label nor the token of a [[card]]; compare it with "
        "label and token there; case counts in labels"
    ]
