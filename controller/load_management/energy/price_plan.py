"""Charging in the cheapest quarter hours before a departure.

For each car with a departure goal the cheapest quarter hours until it leaves are chosen that suffice for the
energy that is left. At no moment more is left to do than fits into the time until the departure, with a
reserve: where only the last quarter hours are cheap, some that are not are chosen before them. The car waits
in all others. A choice is made anew at each quarter hour, and when prices or the goal change. Within a
quarter hour a car that may charge goes on: only the other direction takes effect at once. Where the site gave
the car less than planned in two quarter hours, more are chosen; when all that are left are needed, it no
longer waits.

What a car takes is not known before it has charged: it may use one phase of three, or have a small charger.
So its first quarter hour begins early enough for the goal to be reached with one phase, and with a small
charger where an hour is to spare. Where less is to spare, it is given its minimum for some minutes first,
to show its phases: a car on one phase then charges at once. What it received is expected later, within its
share of the room.

Prices that are not known count as the highest known one: the known cheap hours are used first. A price holds
until the next one, but in a series of equal steps for one step only: a missing price is unknown.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from heapq import heappop, heappush
from itertools import pairwise

import msgspec

from controller.load_management.energy.energy_csv import (
    CsvMistake,
    EnergyFileError,
    ValueMistakeError,
    read_rows,
)
from controller.load_management.energy.quarter_peak import QUARTER_S
from controller.model.observations import EvseRef
from drivers.coded_text import coded

COLUMNS = ("begin", "price")
MOST_ROWS = 20_000
MOST_PRICE = 1e6
LAST_PRICE_S = 3600.0
"""Longest time that the last price of a series holds (s)."""
RESERVE = 1.15
"""Factor on the time that the energy takes, for cars that charge slower towards the end."""
SMALL_REST = 0.25
"""Part of a quarter hour that is not worth another one: a car that charges goes on until it has that, too."""
LONGEST_PLAN_S = 8 * 86_400.0
LEAST_PART = 0.1
"""Lowest part of its greatest power that a car is expected to receive."""
SPARE_QUARTERS = 4
"""Quarter hours to spare from which on a car is taken to have a small charger, until it has charged."""
PROVEN_S = 300.0
"""Time of charging that shows what a car receives (s)."""
SHOWING_S = 1200.0
"""Longest time for which a car is given its minimum until its phases are known (s)."""
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
            begin, price = _parse_begin(row.cells["begin"]), row.number("price")
            if abs(price) > MOST_PRICE:
                raise ValueMistakeError(
                    coded(
                        "price: {price} is not a finite number of at most {most}",
                        price=f"{price:g}",
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

    `left_wh` was needed at `began_at` (POSIX s), when this quarter hour began for it. `received_w`: mean
    powers of the last two quarter hours in which it charged. `is_stale`: prices have changed since.
    """

    quarters: frozenset[int]
    made_in: int
    leaves_quarter: int
    began_at: float
    left_wh: float
    received_w: tuple[float, ...] = ()
    shows_until: float = -math.inf
    is_stale: bool = False

    @property
    def charges(self) -> bool:
        """Return True if the car charges in the quarter hour in which the choice was made."""
        return self.made_in in self.quarters


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

    def may_charge(
        self,
        ref: EvseRef,
        left_wh: float,
        most_w: float,
        leaves_at: float,
        utc: float,
        share_w: float = math.inf,
        sure_w: float = math.inf,
        small_w: Sequence[float] = (),
    ) -> bool:
        """Return True if a car that needs `left_wh` until `leaves_at` charges in this quarter hour.

        `most_w`: the most power that it can receive, `share_w`: its part of the room for cars (W);
        `sure_w`: what the car likely takes at least, before it has charged for some minutes; `small_w`: what
        cars with small chargers take, which is planned with where there is an hour to spare (W).
        """
        if self.is_due(ref, leaves_at, utc, knows_phases=not small_w):
            self._choices[ref] = self._choose(
                self._choices.get(ref), left_wh, most_w, leaves_at, utc, share_w, sure_w, small_w
            )
        return math.floor(utc / QUARTER_S) in self._choices[ref].quarters

    def is_due(self, ref: EvseRef, leaves_at: float, utc: float, *, knows_phases: bool) -> bool:
        """Return True if the quarter hours of a car with this departure are to be chosen anew."""
        choice = self._choices.get(ref)
        if choice is None or choice.is_stale or choice.made_in != math.floor(utc / QUARTER_S):
            return True
        has_shown = knows_phases and self.shows_phases(ref, utc)
        return has_shown or choice.leaves_quarter != math.floor(leaves_at / QUARTER_S)

    def shows_phases(self, ref: EvseRef, utc: float) -> bool:
        """Return True if a car is given its minimum while it waits, until its phases are known."""
        choice = self._choices.get(ref)
        return choice is not None and utc < choice.shows_until

    def next_begin(self, ref: EvseRef, utc: float) -> float | None:
        """Return when a waiting car charges next (POSIX s); None: it does not wait, or has no plan."""
        choice = self._choices.get(ref)
        quarter = math.floor(utc / QUARTER_S)
        if choice is None or quarter in choice.quarters:
            return None
        later = [each for each in choice.quarters if each > quarter]
        return min(later) * QUARTER_S if later else None

    def _choose(
        self,
        before: _Choice | None,
        left_wh: float,
        most_w: float,
        leaves_at: float,
        utc: float,
        share_w: float,
        sure_w: float,
        small_w: Sequence[float],
    ) -> _Choice:
        """Return the choice of a car at this moment; `before`: its last one."""
        quarter = math.floor(utc / QUARTER_S)
        received_w = () if before is None else _received_w(before, left_wh, quarter)
        # Others take room for a while only: what it received in the better of two counts.
        expected_w = max(1.0, LEAST_PART * most_w, min(most_w, share_w, max(received_w, default=math.inf)))
        prices = self._prices(quarter, leaves_at)
        needed = _quarters(left_wh, expected_w)
        has_charged = before is not None and before.charges and before.made_in == quarter - 1
        chosen = max(needed, 1.0) - SMALL_REST if received_w else RESERVE * needed
        is_rest = has_charged and needed <= SMALL_REST
        quarters = frozenset({quarter}) if is_rest else _cheapest(prices, needed, chosen)
        if not received_w and sure_w < expected_w and prices:
            if has_charged:
                quarters |= {quarter}  # to show what it receives
            with_small = [
                _with_reserve(left_wh, watts) + SPARE_QUARTERS for watts in small_w if watts < sure_w
            ]
            fitting = (number for number in with_small if number <= len(prices))
            quarters |= _early_one(prices, quarters, next(fitting, _with_reserve(left_wh, sure_w)))
        shows_until = -math.inf if before is None else before.shows_until
        begins_at = max(utc, min(quarters, default=quarter) * QUARTER_S)
        is_late = [_is_late(utc, begins_at, leaves_at, left_wh, w) for w in small_w if w < expected_w]
        if any(is_late) and shows_until == -math.inf:
            shows_until = utc + SHOWING_S
        began_at = utc
        if before is not None and before.made_in == quarter and before.charges:
            quarters |= {quarter}  # it charges in this quarter hour already
            began_at, left_wh = before.began_at, before.left_wh
        return _Choice(
            quarters=quarters or frozenset({quarter}),
            made_in=quarter,
            leaves_quarter=math.floor(leaves_at / QUARTER_S),
            began_at=began_at,
            left_wh=left_wh,
            received_w=received_w,
            shows_until=shows_until if small_w else min(shows_until, utc),
        )

    def _prices(self, quarter: int, leaves_at: float) -> dict[int, float]:
        """Return the price of each whole quarter hour from this one until the departure."""
        last = math.floor(min(leaves_at, quarter * QUARTER_S + LONGEST_PLAN_S) / QUARTER_S)
        known = {each: self._series.price_at(each * QUARTER_S) for each in range(quarter, last)}
        highest = max((price for price in known.values() if price is not None), default=0.0)
        return {each: highest if price is None else price for each, price in known.items()}


def _received_w(before: _Choice, left_wh: float, quarter: int) -> tuple[float, ...]:
    """Return the mean powers of the last two quarter hours of charging (W); short ones do not show it."""
    charged_s = (before.made_in + 1) * QUARTER_S - before.began_at
    if quarter != before.made_in + 1 or not before.charges or charged_s < PROVEN_S:
        return before.received_w
    return *before.received_w[-1:], (before.left_wh - left_wh) * 3600 / charged_s


def _quarters(energy_wh: float, power_w: float) -> float:
    """Return the number of quarter hours that an energy takes."""
    return energy_wh * 3600 / power_w / QUARTER_S


def _with_reserve(energy_wh: float, power_w: float) -> int:
    """Return the number of whole quarter hours that an energy takes, with a reserve."""
    return math.ceil(RESERVE * _quarters(energy_wh, power_w))


def _is_late(utc: float, begins_at: float, leaves_at: float, energy_wh: float, power_w: float) -> bool:
    """Return True if a car that receives so much misses its goal by a begin so late, and not by one now."""
    energy_ws = energy_wh * 3600
    return (leaves_at - begins_at) * power_w < RESERVE * energy_ws and (
        leaves_at - utc
    ) * power_w >= energy_ws


def _cheapest(prices: Mapping[int, float], needed: float, chosen: float) -> frozenset[int]:
    """Return so many of the cheapest quarter hours, `chosen`, of equal prices the first.

    At no moment more of those that are `needed` is left than fits into the time that is left then, with the
    reserve: where the price falls towards the departure, some of it is charged before.
    """
    ordered = sorted(prices)
    passed: list[tuple[float, int]] = []
    found: set[int] = set()
    for after, quarter in zip(range(len(ordered) - 1, -1, -1), ordered, strict=True):
        heappush(passed, (prices[quarter], quarter))
        least = needed - after / RESERVE if after else chosen
        while passed and len(found) < least:
            found.add(heappop(passed)[1])
    return frozenset(found)


def _early_one(prices: Mapping[int, float], chosen: Collection[int], needed: int) -> frozenset[int]:
    """Return the cheapest quarter hour that leaves time for `needed` ones; none if such a one is chosen."""
    latest = max(min(prices), max(prices) + 1 - needed)
    if min(chosen) <= latest:
        return frozenset()
    early = {each: price for each, price in prices.items() if each <= latest}
    return frozenset({min(early, key=lambda each: (early[each], each))})
