"""Charging in the cheapest quarter hours before a departure.

For each car with a departure goal the quarter hours until it leaves are ordered by price, and the cheapest
are chosen until they suffice for the energy that is left, with some time in reserve. Where the last quarter
hour before the departure is among them, one more is chosen, as nothing could be made up for later. The car
waits in all others. A choice is made anew at each quarter hour, and when prices or the goal change. Within a
quarter hour a car that may charge goes on: only the other direction takes effect at once. Where the site gave
the car less than planned, more quarter hours are chosen; when all that are left are needed, it no longer
waits.

Prices that are not known yet count as the highest known one: the known cheap hours are used first.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from controller.load_management.energy.energy_csv import (
    CsvMistake,
    EnergyFileError,
    ValueMistakeError,
    read_rows,
)
from controller.load_management.energy.quarter_peak import QUARTER_S
from controller.model.observations import EvseRef
from controller.model.statements import Statement, StatementCode
from drivers.coded_text import coded

CHEAPER_QUARTER = Statement(code=StatementCode.CHEAPER_QUARTER)
Waits = dict[EvseRef, Statement]
"""EVSEs whose cars wait for a lower price, and why."""
COLUMNS = ("begin", "price")
MOST_ROWS = 20_000
MOST_PRICE = 1e6
LAST_PRICE_S = 3600.0
"""Time that the last price of a series holds (s)."""
RESERVE = 1.15
"""Factor on the time that the energy takes, for cars that charge slower towards the end."""
LONGEST_PLAN_S = 8 * 86_400.0
LEAST_PART = 0.2
"""Lowest part of its greatest power that a car is expected to receive."""


class PriceSeries(msgspec.Struct, frozen=True):
    """Prices of a kWh: `prices[k]` from `begins[k]` (POSIX s, rising) on, the last for an hour."""

    begins: tuple[float, ...] = ()
    prices: tuple[float, ...] = ()

    def price_at(self, utc: float) -> float | None:
        """Return the price at a moment; None where the series has none."""
        index = bisect_right(self.begins, utc) - 1
        if index < 0 or (index == len(self.begins) - 1 and utc >= self.begins[-1] + LAST_PRICE_S):
            return None
        return self.prices[index]


def make_series(pairs: Sequence[tuple[float, float]]) -> PriceSeries:
    """Return the series of pairs (begin in POSIX s, price), in any order. Raises EnergyFileError."""
    if len(pairs) > MOST_ROWS:
        what = coded("has more than {most} prices", most=MOST_ROWS)
        raise EnergyFileError([CsvMistake(0, what, coded("leave out those of the past"))])
    ordered = sorted(pairs)
    begins = tuple(begin for begin, _ in ordered)
    if len(set(begins)) < len(begins):
        what = coded("two prices begin at the same time")
        raise EnergyFileError([CsvMistake(0, what, coded("write each once"))])
    if not all(math.isfinite(b) and math.isfinite(p) and abs(p) <= MOST_PRICE for b, p in ordered):
        what = coded("a price or a time is not a finite number")
        remedy = coded("write a price of at most {most}", most=f"{MOST_PRICE:.0f}")
        raise EnergyFileError([CsvMistake(0, what, remedy)])
    return PriceSeries(begins, tuple(price for _, price in ordered))


def parse_prices(text: str) -> PriceSeries:
    """Parse a CSV file of prices. Raises EnergyFileError with all mistakes, each with its line."""
    prices: dict[float, float] = {}
    lines: dict[float, int] = {}
    mistakes: list[CsvMistake] = []
    for row in read_rows(text, COLUMNS):
        try:
            begin, price = _parse_begin(row.cells["begin"]), row.number("price")
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


def _parse_begin(text: str) -> float:
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


class _Choice(msgspec.Struct):
    """Choice for one car: its quarter hours, when it was made, and for which departure.

    `left_wh` was needed at the begin of that quarter hour; `part`: of its greatest power it was expected to
    receive. `is_stale`: prices have changed since.
    """

    quarters: frozenset[int]
    made_in: int
    leaves_quarter: int
    left_wh: float
    part: float
    is_stale: bool = False


class PricePlan:
    """Quarter hours in which cars with a departure charge. Times in POSIX s."""

    def __init__(self) -> None:
        self._series = PriceSeries()
        self._choices: dict[EvseRef, _Choice] = {}

    @property
    def series(self) -> PriceSeries:
        """Return the prices in use."""
        return self._series

    def set_prices(self, series: PriceSeries) -> None:
        """Replace the prices; all choices are made again."""
        if series != self._series:
            self._series = series
            for choice in self._choices.values():
                choice.is_stale = True

    def remove(self, ref: EvseRef) -> None:
        """Remove the choice of a car that has left."""
        self._choices.pop(ref, None)

    def may_charge(self, ref: EvseRef, left_wh: float, most_w: float, leaves_at: float, utc: float) -> bool:
        """Return True if a car that needs `left_wh` until `leaves_at` charges in this quarter hour.

        `most_w`: the most power that it can receive (W).
        """
        quarter = math.floor(utc / QUARTER_S)
        leaves_quarter = math.floor(leaves_at / QUARTER_S)
        before = self._choices.get(ref)
        is_new = before is None or before.leaves_quarter != leaves_quarter or before.made_in != quarter
        if is_new or (before is not None and before.is_stale):
            part = 1.0 if before is None else self._part(before, left_wh, most_w, quarter)
            needed_s = RESERVE * left_wh * 3600 / max(1.0, part * most_w)
            quarters = self._cheapest(quarter, leaves_at, math.ceil(needed_s / QUARTER_S))
            if before is not None and quarter in before.quarters and quarter == before.made_in:
                quarters |= {quarter}  # it charges in this quarter hour already
            begin_wh = before.left_wh if before is not None and before.made_in == quarter else left_wh
            self._choices[ref] = _Choice(quarters, quarter, leaves_quarter, begin_wh, part)
        return quarter in self._choices[ref].quarters

    def next_begin(self, ref: EvseRef, utc: float) -> float | None:
        """Return when a waiting car charges next (POSIX s); None: it does not wait, or has no plan."""
        choice = self._choices.get(ref)
        quarter = math.floor(utc / QUARTER_S)
        if choice is None or quarter in choice.quarters:
            return None
        later = [each for each in choice.quarters if each > quarter]
        return min(later) * QUARTER_S if later else None

    def _part(self, before: _Choice, left_wh: float, most_w: float, quarter: int) -> float:
        """Return the part of its power that a car receives: as in its last quarter hour of charging."""
        if quarter != before.made_in + 1 or before.made_in not in before.quarters:
            return before.part
        received_w = (before.left_wh - left_wh) * 3600 / QUARTER_S
        return min(1.0, max(LEAST_PART, received_w / max(1.0, most_w)))

    def _cheapest(self, quarter: int, leaves_at: float, needed: int) -> frozenset[int]:
        """Return the cheapest quarter hours from this one until the departure, of equal ones the first."""
        last = math.floor(min(leaves_at, quarter * QUARTER_S + LONGEST_PLAN_S) / QUARTER_S)
        known = {each: self._series.price_at(each * QUARTER_S) for each in range(quarter, last)}
        highest = max((price for price in known.values() if price is not None), default=0.0)
        ordered = sorted(known, key=lambda each: (highest if known[each] is None else known[each], each))
        chosen = frozenset(ordered[:needed])
        if last - 1 in chosen:
            chosen = frozenset(ordered[: needed + 1])
        return chosen or frozenset({quarter})


def wait_for_price(most: float) -> Statement:
    """Return that a car without a departure waits for a price of at most this (per kWh)."""
    return Statement(code=StatementCode.PRICE_ABOVE, price=most)
