"""Series of prices of a kWh, and the CSV file that it is read from.

A price holds until the next one, but in a series of equal steps for one step only: a missing price is
unknown.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise

import msgspec

from controller.load_management.energy.energy_csv import (
    CsvMistake,
    EnergyFileError,
    ValueMistakeError,
    read_rows,
)
from controller.load_management.energy.goal_shares import LONGEST_PLAN_S
from drivers.coded_text import coded, decimal

COLUMNS = ("begin", "price")
MOST_ROWS = 20_000
MOST_PRICE = 1e6
LAST_PRICE_S = 3600.0
"""Longest time that the last price of a series holds (s)."""
EQUAL_PART = 0.8
"""Part of the steps of a series that are equal, from which on a longer one is a gap."""


class PriceSeries(msgspec.Struct, frozen=True):
    """Prices of a kWh: `prices[k]` from `begins[k]` (POSIX s, rising) on.

    Each holds until the next one, for `longest_s` at most; the last one for no more than an hour.
    """

    begins: tuple[float, ...] = ()
    prices: tuple[float, ...] = ()
    longest_s: float = math.inf

    def price_at(self, utc: float) -> float | None:
        """Return the price at a moment; None where the series has none."""
        index = bisect_right(self.begins, utc) - 1
        if index < 0:
            return None
        is_last = index == len(self.begins) - 1
        if utc >= self.begins[index] + (min(LAST_PRICE_S, self.longest_s) if is_last else self.longest_s):
            return None
        return self.prices[index]

    def check_time(self, utc: float) -> None:
        """Check that the prices are of use from now on. Raises ValueMistakeError."""
        ends_at = self.begins[-1] + min(LAST_PRICE_S, self.longest_s) if self.begins else -math.inf
        if ends_at <= utc:
            raise ValueMistakeError(
                coded("has no price from now on: cars charge as without prices"),
                coded("write the prices of today and tomorrow"),
            )
        if self.begins[0] > utc + LONGEST_PLAN_S:
            raise ValueMistakeError(
                coded(
                    "has no price before {begin}: until then cars charge as without prices",
                    begin=f"{datetime.fromtimestamp(self.begins[0], UTC):%Y-%m-%dT%H:%MZ}",
                ),
                coded("write the prices of today and tomorrow"),
            )


def _longest_s(begins: Sequence[float]) -> float:
    """Return how long a price holds: one step where nearly all are equal, otherwise until the next one."""
    steps = Counter(after - before for before, after in pairwise(begins))
    step_s, count = max(steps.items(), key=lambda each: each[1], default=(math.inf, 0))
    return step_s if count >= EQUAL_PART * steps.total() else math.inf


def make_series(pairs: Sequence[tuple[float, float]]) -> PriceSeries:
    """Return the series of pairs (begin in POSIX s, price), in any order. Raises EnergyFileError."""
    if len(pairs) > MOST_ROWS:
        what = coded("has more than {most} prices", most=MOST_ROWS)
        raise EnergyFileError([CsvMistake(0, what, coded("leave out those of the past"))])
    ordered = sorted(pairs)
    begins = tuple(begin for begin, _ in ordered)
    twice = next((one for one, other in pairwise(begins) if one == other), None)
    if twice is not None:
        what = coded(
            "two prices begin at the same time, {begin}",
            begin=f"{datetime.fromtimestamp(twice, UTC):%Y-%m-%dT%H:%M:%SZ}",
        )
        raise EnergyFileError([CsvMistake(0, what, coded("write each once"))])
    if not all(math.isfinite(b) and math.isfinite(p) and abs(p) <= MOST_PRICE for b, p in ordered):
        what = coded("a price or a time is not a finite number")
        remedy = coded("write a price of at most {most}", most=f"{MOST_PRICE:.0f}")
        raise EnergyFileError([CsvMistake(0, what, remedy)])
    return PriceSeries(begins, tuple(price for _, price in ordered), _longest_s(begins))


def parse_prices(text: str) -> PriceSeries:
    """Parse a CSV file of prices. Raises EnergyFileError with all mistakes, each with its line."""
    prices: dict[float, float] = {}
    lines: dict[float, int] = {}
    mistakes: list[CsvMistake] = []
    for row in read_rows(text, COLUMNS):
        try:
            begin, price = parse_begin(row.cells["begin"]), row.number("price")
            if abs(price) > MOST_PRICE:
                raise ValueMistakeError(
                    coded(
                        "price: {price} is not a finite number of at most {most}",
                        price=decimal(price),
                        most=f"{MOST_PRICE:.0f}",
                    ),
                    coded("write the price of a kWh"),
                )
            if (other := lines.setdefault(begin, row.line)) != row.line:
                raise ValueMistakeError(
                    coded("begin: is that of line {other}, too", other=other), coded("keep one of the two")
                )
        except ValueMistakeError as error:
            mistakes.append(CsvMistake(row.line, error.what, error.remedy))
        else:
            prices[begin] = price
    if mistakes:
        raise EnergyFileError(mistakes)
    return make_series(list(prices.items()))


def parse_begin(text: str) -> float:
    """Return a moment with its zone (POSIX s). Raises ValueMistakeError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        written = _GERMAN_TIME.fullmatch(text)
        meant = "2026-11-27T06:00Z"
        if written:
            meant = f"{written[3]}-{int(written[2]):02}-{int(written[1]):02}T{written[4]:0>5}+01:00"
        elif _POSIX_TIME.fullmatch(text):
            meant = f"{datetime.fromtimestamp(int(text[:10]), UTC):%Y-%m-%dT%H:%MZ}"
        raise ValueMistakeError(
            coded('begin: "{begin}" is not a time', begin=text),
            coded("write it with its zone, like {meant}", meant=meant),
        ) from None
    if moment.tzinfo is None:
        raise ValueMistakeError(
            coded("begin: {begin} has no time zone", begin=text), coded("add it, like +01:00 or Z")
        )
    return moment.timestamp()


_GERMAN_TIME = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})\s+(\d{1,2}:\d\d)(?::\d\d)?")
_POSIX_TIME = re.compile(r"\d{10}|\d{13}")
