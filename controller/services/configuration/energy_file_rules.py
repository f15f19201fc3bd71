"""Contents of the files of prices and departures.

Mistakes there are hints: the daemon keeps the content that it has while a file is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from controller.config.card_files import CardFileError, load_cards
from controller.config.clock_rules import WRITE_ZONE, find_time_zone, is_universal
from controller.config.energy_rules import LEAST_CAR_KWH, find_evses
from controller.config.local_csms_rules import find_unlisted_cards, is_listed
from controller.config.schema import CardConfig, Config
from controller.load_management.energy.departure_rules import is_far, is_past, parse_departures
from controller.load_management.energy.energy_csv import EnergyFileError, ValueMistakeError
from controller.load_management.energy.energy_settings import DepartureRule
from controller.load_management.energy.price_series import PriceSeries, parse_prices
from controller.model.observations import EvseRef
from controller.tomlcheck.diagnostics import NotTextError, Problem, decode_text, unknown_name
from controller.tomlcheck.positions import DataPath
from drivers.coded_text import coded, decimal, literal

T = TypeVar("T")
FAR_ABOVE = 10.0
"""A threshold that is so many times the highest price is most likely in another unit."""


def find_energy_file_hints(config: Config) -> Iterator[Problem]:
    """Find mistakes in the files of prices and departures, and what in them has no effect."""
    prices, departures = config.prices, config.load_management.departures
    try:
        cards = load_cards(config)
    except CardFileError:  # which the check of all files reports
        return
    if config.local_csms.cards_file is not None:
        yield from find_unlisted_cards(config, cards)
    if prices is not None and prices.file is not None:
        path: DataPath = ("prices", "file")
        yield from _parse(prices.file, path, parse_prices, lambda each: _price_hints(config, each))
    if departures is not None:

        def find(name: str) -> list[EvseRef]:
            names = [name] if name else [station.id for station in config.station]
            return [EvseRef(*ref) for each in names for ref in find_evses(config, each)]

        yield from _parse(
            departures,
            ("load_management", "departures"),
            lambda text: parse_departures(text, find),
            lambda rules: _departure_hints(config, cards, departures, rules),
        )


def _parse(
    file: str, path: DataPath, parse: Callable[[str], T], find_hints: Callable[[T], Iterator[Problem]]
) -> Iterator[Problem]:
    """Parse a file; one that cannot be read or is empty is reported by the check of all files."""
    try:
        text = decode_text(Path(file).read_bytes())
        if not text.strip():
            return
        content = parse(text)
    except OSError:
        return
    except NotTextError as error:
        mistakes = [(error.line, error.what, error.remedy)]
    except EnergyFileError as error:
        mistakes = [(each.line or 1, each.what, each.remedy) for each in error.mistakes]
    else:
        yield from find_hints(content)
        return
    for line, problem, remedy in mistakes:
        yield Problem(path, coded("{file}:{line}: {problem}", file=file, line=line, problem=problem), remedy)
    yield Problem(
        path,
        coded("nothing of {file} is used while a part of it is wrong", file=file),
        coded("correct it; it is read again within half a minute"),
    )


def _price_hints(config: Config, series: PriceSeries) -> Iterator[Problem]:
    try:
        series.check_time(datetime.now(UTC).timestamp())
    except ValueMistakeError as error:
        yield Problem(("prices", "file"), error.what, error.remedy)
        return
    above = None if config.prices is None else config.prices.pause_above
    if above is None or not series.prices:
        return
    least, most = min(series.prices), max(series.prices)
    if above < least:
        yield Problem(
            ("prices", "pause_above"),
            coded(
                "is below all prices of the file, from {least} on: cars without a departure never charge",
                least=decimal(least),
            ),
            coded("write it in the unit of the file"),
        )
    elif above > FAR_ABOVE * abs(most):
        yield Problem(
            ("prices", "pause_above"),
            coded("is far above all prices of the file, up to {most}: no car ever waits", most=decimal(most)),
            coded("write it in the unit of the file"),
        )


def _departure_hints(
    config: Config, cards: Sequence[CardConfig], file: str, rules: Sequence[DepartureRule]
) -> Iterator[Problem]:
    path: DataPath = ("load_management", "departures")
    classes = [each.id for each in config.priority_class]
    for name in sorted({name for rule in rules for name in rule.priority_classes} - {*classes}):
        yield unknown_name(path, name, classes, "priority_class")
    names = frozenset[str]().union(*(rule.cards for rule in rules))
    if unlisted := [name for name in names if not is_listed(config, cards, name)]:
        yield Problem(
            path,
            coded("{file} names {count} cards that are not listed", file=file, count=len(unlisted)),
            coded("compare them with label and token of [[card]]; case counts in labels"),
        )
    utc, zone = datetime.now(UTC).timestamp(), find_time_zone(config.site.timezone) or UTC
    if rules and all(is_past(rule, utc, zone) for rule in rules):
        yield Problem(
            path,
            coded("all departures of {file} are past", file=file),
            coded("write those to come, or days of the week"),
        )
    if far := [rule.date for rule in rules if rule.date is not None and is_far(rule, utc, zone)]:
        yield Problem(
            path,
            coded("{file}: {day} is more than a year ahead", file=file, day=min(far)),
            coded("write the date with its right year, or a day of the week"),
        )
    least_kwh = min((rule.energy_wh / 1000 for rule in rules), default=LEAST_CAR_KWH)
    if least_kwh < LEAST_CAR_KWH:
        yield Problem(
            path,
            coded(
                "{file}: {energy_kwh} kWh is too little for any trip",
                file=file,
                energy_kwh=decimal(least_kwh),
            ),
            coded("did you mean {meant} (kWh)?", meant=literal(least_kwh * 1000)),
        )
    if is_universal(config.site.timezone) and not config.departure and not config.calendar:
        yield Problem(
            ("site", "timezone"),
            coded("is UTC: the times of day in {file} are not those of a clock on the wall", file=file),
            WRITE_ZONE,
        )
    if len({*rules}) < len(rules):
        yield Problem(
            path, coded("{file} has a departure twice", file=file), coded("change what differs, or remove it")
        )
