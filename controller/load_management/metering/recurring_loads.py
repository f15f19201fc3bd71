"""Loads of a building that come again and again: lifts, ovens, compressors.

While such a load is off, cars rise into its room, and have to be cut when it returns: until they obey, the
circuit is above its limit. So its room is kept free in pauses that have been short so far.

A load is found by the steps of the base load, from one level that lasts to another: it switches on and off
with the same current, whatever else runs. How long its pauses last is learned from pause to pause.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

LEAST_A = 4.0
"""Smallest step (A): a load of 1 kW."""
STILL_A = 1.5
"""A level lasts while the base load stays within this distance of it (A)."""
STILL_S = 2.0
"""Time (s) from which a level lasts: a motor has started by then."""
RETURNS_S = 4.0
"""Time (s) from the first reading of a step within which it lasts: its inrush is over by then."""
FOLLOWS = 0.3
"""Part by which a level follows each value near it: the base load drifts."""
SAME_A = 2.0
SAME = 0.12
"""A step is of a load if it differs from it by no more than the greater of these A and this part of it."""
LONGEST_PAUSE_S = 200.0
"""Longest pause (s) in which the room of a load is kept free: cars gain little before it returns."""
LONGEST_REGULAR_S = 604.0
"""Longest pause (s) of a load that comes at regular times, in which no car starts in its room: each return
would stop it. Ten minutes, and the time until readings show its end and its return."""
SHORTEST_PAUSE_S = 10.0
"""A load that is off for less (s) was on all the time: cars that follow a cut seem to take a part of it."""
PAUSE_FACTOR = 1.25
"""A load that stays off for longer than its longest pause by this factor is not expected any more."""
PAUSES = 4
"""Pauses of a load that are remembered."""
MOST_LOADS = 6
"""Loads that are remembered of one phase."""
FORGOTTEN_S = 900.0
"""Time (s) without a step after which a load is forgotten."""


class _Load:
    """One load (A): whether it is on, since when (s), and its last pauses (s)."""

    __slots__ = ("amps", "is_on", "pauses", "since")

    def __init__(self, amps: float, since: float) -> None:
        self.amps = amps
        self.is_on = True
        self.since = since
        self.pauses: deque[float] = deque(maxlen=PAUSES)

    def is_same(self, step_a: float) -> bool:
        """Return True if a step of so many A may be the load's own."""
        return abs(self.amps - step_a) <= max(SAME_A, SAME * self.amps)

    def is_expected(self, now: float) -> bool:
        """Return True if it is off after pauses, and returns soon by these."""
        return self._returns_within(LONGEST_PAUSE_S, now)

    def is_regular(self, now: float) -> bool:
        """Return True if it is off after pauses, and returns some time by these, which are much alike."""
        if not self._returns_within(LONGEST_REGULAR_S, now):
            return False
        return max(self.pauses) <= PAUSE_FACTOR * min(self.pauses)

    def _returns_within(self, most_s: float, now: float) -> bool:
        """Return True if the pauses of a load that is off were at most `most_s`, nor is this one longer."""
        longest_s = max(self.pauses)
        return longest_s <= most_s and now <= self.since + PAUSE_FACTOR * longest_s


class ReturningLoad(NamedTuple):
    """Base load (A) with the greatest load that is off.

    `expected_a`: with one that returns soon. `regular_a`: with one that comes at regular times.
    """

    expected_a: float
    regular_a: float


class RecurringLoads:
    """Loads that come again and again in the base load of one phase."""

    def __init__(self) -> None:
        self._level_a: float | None = None
        self._left_at: float | None = None
        """Time (s) at which the base load left its level; None: it is there."""
        self._next_a = 0.0
        self._next_since = 0.0
        """Level that it has reached instead, and since when (s)."""
        self._loads: list[_Load] = []

    def add(self, load_a: float, now: float) -> None:
        """Add one value of the base load (A)."""
        level_a = self._level_a
        if level_a is None:
            self._level_a = load_a
        elif abs(load_a - level_a) <= STILL_A:
            self._level_a = level_a + FOLLOWS * (load_a - level_a)
            self._left_at = None
        elif self._left_at is None or abs(load_a - self._next_a) > STILL_A:
            if self._left_at is None:
                self._left_at = now
            self._next_a, self._next_since = load_a, now
        elif now >= self._next_since + STILL_S:
            self._add_step(load_a - level_a, self._left_at)
            self._level_a, self._left_at = load_a, None

    def find_returning(self, load_a: float, now: float) -> ReturningLoad:
        """Return the base load, now `load_a` (A), with what returns; what is just returning is in it."""
        expected_a = regular_a = step_a = 0.0
        if self._level_a is not None and self._left_at is not None and now <= self._left_at + RETURNS_S:
            step_a = load_a - self._level_a
        for load in self._loads:
            if load.is_on or not load.pauses or load.is_same(step_a):
                continue
            if load.amps > expected_a and load.is_expected(now):
                expected_a = load.amps
            if load.amps > regular_a and load.is_regular(now):
                regular_a = load.amps
        return ReturningLoad(load_a + expected_a, load_a + regular_a)

    def _add_step(self, step_a: float, at: float) -> None:
        amps, is_on = abs(step_a), step_a > 0
        if amps < LEAST_A:
            return
        load = self._switched(amps, to_on=is_on)
        if load is None:
            if is_on:
                self._remember(_Load(amps, at))
            return
        if is_on and at >= load.since + SHORTEST_PAUSE_S:
            load.pauses.append(at - load.since)
            load.amps = (load.amps + amps) / 2
        load.is_on, load.since = is_on, at

    def _switched(self, amps: float, *, to_on: bool) -> _Load | None:
        """Return the load that a step of so many A has switched on or off; None: it was another one."""
        found = [load for load in self._loads if load.is_on is not to_on and load.is_same(amps)]
        return min(found, key=lambda load: abs(load.amps - amps), default=None)

    def _remember(self, load: _Load) -> None:
        self._loads = [each for each in self._loads if load.since < each.since + FORGOTTEN_S]
        if len(self._loads) == MOST_LOADS:
            self._loads.remove(min(self._loads, key=lambda each: each.since))
        self._loads.append(load)
