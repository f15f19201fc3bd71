"""Charging in the cheapest quarter hours before a departure.

For each car with a departure goal the cheapest quarter hours until it leaves are chosen that suffice for the
energy that is left, by the power that it can expect in each of them. At no moment more is left to do than
fits into the time until the departure, with a reserve: where only the last quarter hours are cheap, some that
are not are chosen before them. The car waits in all others. A choice is made anew at each quarter hour, and
when prices or the goal change. Within a quarter hour a car that may charge goes on: only the other direction
takes effect at once. Where the site gave the car less than planned in two quarter hours, more are chosen;
when all that are left are needed, it no longer waits.

What a car takes is not known before it has charged: it may use one phase of three, or have a small charger.
So its first quarter hour begins early enough for the goal to be reached with one phase, and with a small
charger where an hour is to spare. Where less is to spare, it is given its minimum for some minutes first,
to show its phases: a car on one phase then charges at once. What it received is expected later, within its
share of the room; more of a larger share, if it had all of a smaller one.

Prices that are not known count as the highest known one: the known cheap hours are used first.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

import msgspec

from controller.load_management.energy.goal_shares import LEAST_PART, LONGEST_PLAN_S, UNBOUNDED, GoalShare
from controller.load_management.energy.price_series import PriceSeries
from controller.load_management.energy.quarter_peak import QUARTER_S
from controller.model.observations import EvseRef

RESERVE = 1.15
"""Factor on the time that the energy takes, for cars that charge slower towards the end."""
SMALL_REST = 0.25
"""Part of a quarter hour that is not worth another one: a car that charges goes on until it has that, too."""
SPARE_QUARTERS = 4
"""Quarter hours to spare from which on a car is taken to have a small charger, until it has charged."""
PROVEN_S = 300.0
"""Time of charging that shows what a car receives (s)."""
SHOWING_S = 1200.0
"""Longest time for which a car is given its minimum until its phases are known (s)."""
ALL_PART = 0.8
"""Part of its share from which on a car has received all of it: of a larger one it may receive more."""
ROUNDED_WH = 1e-6
"""Error of sums (Wh)."""


class ExpectedCar(NamedTuple):
    """Car that needs `left_wh` until it leaves, and what can be expected of it (W).

    `most_w`: the most that it can receive; `sure_w`: what it likely takes at least, before it has charged for
    some minutes; `small_w`: what cars with small chargers take. `shares`: its part of the room for cars in
    each quarter hour from the running one on; after them it is not known.
    """

    left_wh: float
    most_w: float
    sure_w: float = math.inf
    small_w: tuple[float, ...] = ()
    shares: Sequence[GoalShare] = ()


class _Received(NamedTuple):
    """Mean power that a car received in a quarter hour, and what it could have received by its share (W)."""

    mean_w: float
    share_w: float

    def bound_w(self, share_w: float) -> float:
        """Return the most that it can expect of a share: as much, unless it had all of a smaller one."""
        had_all = self.mean_w >= ALL_PART * self.share_w
        return math.inf if had_all and self.share_w < ALL_PART * share_w else self.mean_w


class _Choice(msgspec.Struct):
    """Choice for one car: its quarter hours, when it was made, and for which departure.

    `left_wh` was needed at `began_at` (POSIX s), when this quarter hour began for it, with a share of
    `share_w`. `received`: in the last two quarter hours in which it charged. `is_stale`: prices have changed
    since.
    """

    quarters: frozenset[int]
    made_in: int
    leaves_quarter: int
    began_at: float
    left_wh: float
    share_w: float
    received: tuple[_Received, ...] = ()
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
        self._found: dict[range, Mapping[int, float]] = {}
        """Prices of the quarter hours from the running one until departures (POSIX s / 900)."""

    @property
    def series(self) -> PriceSeries:
        """Return the prices in use."""
        return self._series

    def set_prices(self, series: PriceSeries) -> None:
        """Replace the prices; all choices are made again."""
        if series != self._series:
            self._series = series
            self._found.clear()
            for choice in self._choices.values():
                choice.is_stale = True

    def remove(self, ref: EvseRef) -> None:
        """Remove the choice of a car that has left."""
        self._choices.pop(ref, None)

    def may_charge(self, ref: EvseRef, utc: float) -> bool:
        """Return True if a car for which quarter hours were chosen charges in this one."""
        return math.floor(utc / QUARTER_S) in self._choices[ref].quarters

    def choose(self, ref: EvseRef, car: ExpectedCar, leaves_at: float, utc: float) -> None:
        """Choose the quarter hours of a car anew."""
        self._choices[ref] = self._choose(self._choices.get(ref), car, leaves_at, utc)

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

    def _choose(self, before: _Choice | None, car: ExpectedCar, leaves_at: float, utc: float) -> _Choice:
        """Return the choice of a car at this moment; `before`: its last one."""
        left_wh, quarter = car.left_wh, math.floor(utc / QUARTER_S)
        received = () if before is None else _received(before, left_wh, quarter)
        priced = _PricedQuarters(car, received, self._prices(leaves_at, utc), utc)
        has_charged = before is not None and before.charges and before.made_in == quarter - 1
        quarters = priced.find_cheapest(quarter, knows_power=bool(received), has_charged=has_charged)
        if not received:
            quarters |= priced.find_early(quarter, quarters, has_charged=has_charged)
        shows_until = -math.inf if before is None else before.shows_until
        if shows_until == -math.inf and priced.is_late(min(quarters), leaves_at):
            shows_until = utc + SHOWING_S
        began_at, share_w = utc, min(car.most_w, priced.share_of(quarter).share_w)
        if before is not None and before.made_in == quarter and before.charges:
            quarters |= {quarter}  # it charges in this quarter hour already
            began_at, left_wh, share_w = before.began_at, before.left_wh, before.share_w
        return _Choice(
            quarters=quarters,
            made_in=quarter,
            leaves_quarter=math.floor(leaves_at / QUARTER_S),
            began_at=began_at,
            left_wh=left_wh,
            share_w=share_w,
            received=received,
            shows_until=shows_until if car.small_w else min(shows_until, utc),
        )

    def _prices(self, leaves_at: float, utc: float) -> Mapping[int, float]:
        """Return the price of each whole quarter hour from this one until the departure."""
        quarters = quarters_until(leaves_at, utc)
        if quarters not in self._found:
            if self._found and next(iter(self._found)).start != quarters.start:
                self._found.clear()
            known = {each: self._series.price_at(each * QUARTER_S) for each in quarters}
            highest = max((price for price in known.values() if price is not None), default=0.0)
            self._found[quarters] = {
                each: highest if price is None else price for each, price in known.items()
            }
        return self._found[quarters]


class _PricedQuarters:
    """Prices of the quarter hours until a car leaves, and the energy that it can expect in each.

    `received`: what it received in the last quarter hours in which it charged.
    """

    def __init__(
        self, car: ExpectedCar, received: Sequence[_Received], prices: Mapping[int, float], utc: float
    ) -> None:
        self._car, self._prices = car, prices
        self._ends_at = max(utc, (max(prices) + 1) * QUARTER_S) if prices else utc
        self._shares = dict(zip(prices, car.shares, strict=False))
        self._hours = dict.fromkeys(prices, QUARTER_S / 3600)
        if prices:
            first = min(prices)
            self._hours[first] = ((first + 1) * QUARTER_S - utc) / 3600
        expected_w = {
            share: self._expected_w(share, received) for share in {*self._shares.values(), UNBOUNDED}
        }
        self._usable = {
            each: expected_w[self._shares.get(each, UNBOUNDED)] * hours for each, hours in self._hours.items()
        }
        """Energy that it can expect (Wh)."""
        self._most_wh = max(self._usable.values(), default=0.0)

    def share_of(self, quarter: int) -> GoalShare:
        """Return its part of the room for cars."""
        return self._shares.get(quarter, UNBOUNDED)

    def _expected_w(self, share: GoalShare, received: Sequence[_Received]) -> float:
        share_w = min(self._car.most_w, share.share_w)
        # Others take room for a while only: what it received in the better of two counts.
        bound_w = max((each.bound_w(share_w) for each in received), default=math.inf)
        return min(share_w, max(LEAST_PART * self._car.most_w, bound_w))

    def find_cheapest(self, quarter: int, *, knows_power: bool, has_charged: bool) -> frozenset[int]:
        """Return the cheapest quarter hours that suffice; all, or this one, where none do.

        `knows_power`: its charging has shown what it receives; `has_charged`: in the last quarter hour.
        """
        left_wh = self._car.left_wh
        is_rest = has_charged and left_wh <= SMALL_REST * self._usable.get(quarter, 0.0)
        if is_rest or not self._prices:
            return frozenset({quarter})
        if sum(self._usable.values()) <= left_wh:
            return frozenset(self._prices)
        chosen_wh = RESERVE * left_wh
        if knows_power:
            chosen_wh = max(left_wh, self._most_wh) - SMALL_REST * self._most_wh
        return _cheapest(self._prices, self._usable, left_wh, chosen_wh)

    def find_early(self, quarter: int, chosen: Collection[int], *, has_charged: bool) -> frozenset[int]:
        """Return quarter hours beside the chosen ones for a car that may take less than expected.

        One begins in time for the least that it is likely to take, and for a small charger where an hour is
        to spare.
        """
        sure = {
            each: min(usable, self._car.sure_w * self._hours[each]) for each, usable in self._usable.items()
        }
        if not sum(sure.values()) < sum(self._usable.values()):
            return frozenset()
        begins = (
            _latest_begin(small, self._car.left_wh)
            for small in self._find_small()
            if sum(small.values()) < sum(sure.values())
        )
        first = min(self._prices)
        spared = (begin - SPARE_QUARTERS for begin in begins if begin is not None)
        latest = next((begin for begin in spared if begin >= first), _latest_begin(sure, self._car.left_wh))
        found = {quarter} if has_charged and self._usable[quarter] else set()  # to show what it receives
        if min(chosen) > (first if latest is None else latest):
            usable = [each for each, energy_wh in self._usable.items() if energy_wh]
            early = [each for each in usable if latest is not None and each <= latest] or usable[:1]
            found.add(min(early, key=lambda each: (self._prices[each], each)))
        return frozenset(found)

    def is_late(self, begin: int, leaves_at: float) -> bool:
        """Return True if a car with a small charger misses its goal by this begin, and not by one now."""
        left_wh = self._car.left_wh
        for watts, small in zip(self._car.small_w, self._find_small(), strict=True):
            if sum(small.values()) < sum(self._usable.values()):
                last_wh = watts * max(0.0, leaves_at - self._ends_at) / 3600
                late_wh = sum(energy_wh for each, energy_wh in small.items() if each >= begin)
                if late_wh + last_wh < RESERVE * left_wh <= RESERVE * (sum(small.values()) + last_wh):
                    return True
        return False

    def _find_small(self) -> list[dict[int, float]]:
        """Return the energies that cars with small chargers receive (Wh)."""
        return [
            {each: min(watts, self.share_of(each).one_phase_w) * self._hours[each] for each in self._prices}
            for watts in self._car.small_w
        ]


def quarters_until(leaves_at: float, utc: float) -> range:
    """Return the quarter hours from the running one on that are over when a car leaves (POSIX s / 900)."""
    quarter = math.floor(utc / QUARTER_S)
    return range(quarter, math.floor(min(leaves_at, quarter * QUARTER_S + LONGEST_PLAN_S) / QUARTER_S))


def _received(before: _Choice, left_wh: float, quarter: int) -> tuple[_Received, ...]:
    """Return what was received in the last two quarter hours of charging; short ones do not show it."""
    charged_s = (before.made_in + 1) * QUARTER_S - before.began_at
    if quarter != before.made_in + 1 or not before.charges or charged_s < PROVEN_S:
        return before.received
    mean_w = (before.left_wh - left_wh) * 3600 / charged_s
    return *before.received[-1:], _Received(mean_w, before.share_w)


def _latest_begin(energies: Mapping[int, float], needed_wh: float) -> int | None:
    """Return the last quarter hour from which on an energy is received, with a reserve; None: it is not."""
    found_wh = 0.0
    for quarter in sorted(energies, reverse=True):
        found_wh += energies[quarter]
        if found_wh >= RESERVE * needed_wh:
            return quarter
    return None


def _cheapest(
    prices: Mapping[int, float], energies: Mapping[int, float], needed_wh: float, chosen_wh: float
) -> frozenset[int]:
    """Return the cheapest quarter hours with so much energy, `chosen_wh`, of equal prices the first.

    At no moment more of the energy that is needed is left than fits into the time that is left then, with the
    reserve: where the price falls towards the departure, some of it is charged before.
    """
    passed: list[tuple[float, int]] = []
    found: set[int] = set()
    found_wh, after_wh = 0.0, sum(energies.values())
    for quarter in sorted(prices):
        after_wh -= energies[quarter]
        if energies[quarter] > 0:
            heappush(passed, (prices[quarter], quarter))
        least_wh = needed_wh - after_wh / RESERVE if after_wh > ROUNDED_WH else chosen_wh
        while passed and found_wh < least_wh - ROUNDED_WH:
            _, cheapest = heappop(passed)
            found.add(cheapest)
            found_wh += energies[cheapest]
    return frozenset(found)
