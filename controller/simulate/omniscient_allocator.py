"""Omniscient allocator to compare with: it has every car and load, and cars follow it at once.

Its shares are semi-continuous and max-min fair under the same limits and margins as the control's.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

TINY = 1e-7


class QuarterAllowance:
    """Charge that all cars may take until a quarter hour ends: spread evenly over its rest.

    `left_as`: in A s, all phases added up; `ends_at`: in s.
    """

    def __init__(self, left_as: float, ends_at: float) -> None:
        self._left_as = left_as
        self._ends_at = ends_at

    def left_a(self, now: float) -> float:
        """Return the current that lasts until the end (A, all phases)."""
        return self._left_as / (self._ends_at - now) if now < self._ends_at else 0.0

    def use(self, amps: float, seconds: float) -> None:
        """Take a current (A, all phases) for a time."""
        self._left_as -= amps * seconds


def max_min_shares(
    loads: Sequence[Sequence[int]],
    room: Sequence[float],
    minima: Sequence[float],
    maxima: Sequence[float],
    order: Sequence[int],
) -> list[float]:
    """Return semi-continuous max-min fair shares (A): minima in `order`, then all rise together.

    `loads[i]`: the rows of `room` that the i-th car loads.
    """
    left = list(room)
    shares = [0.0] * len(loads)
    rising: set[int] = set()
    for car in order:
        minimum = min(minima[car], maxima[car])
        if maxima[car] > 0 and all(left[row] >= minimum - TINY for row in loads[car]):
            for row in loads[car]:
                left[row] -= minimum
            shares[car] = minimum
            if maxima[car] > minimum + TINY:
                rising.add(car)
    while rising:
        lowest = min(shares[car] for car in rising)
        low = [car for car in rising if shares[car] < lowest + TINY]
        others = [shares[car] for car in rising if shares[car] >= lowest + TINY]
        speed = Counter(row for car in low for row in loads[car])
        step = min(
            min(others, default=math.inf) - lowest,
            min(maxima[car] - shares[car] for car in low),
            min(max(0.0, left[row]) / count for row, count in speed.items()),
        )
        for car in low:
            shares[car] += step
        for row, count in speed.items():
            left[row] -= step * count
        full = {row for row in speed if left[row] < TINY}
        rising = {
            car
            for car in rising
            if shares[car] < maxima[car] - TINY and not any(row in full for row in loads[car])
        }
    return shares
