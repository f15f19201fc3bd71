"""What draws on one metered circuit besides our EVSEs, per phase.

The meter shows everything, the EVSEs' reports show their part a little late (`draw.py`). So the base
load lies in an interval: the reading less the most, and less the least, that the EVSEs may draw. The
*sample* is the value of that interval nearest to the last sample: what a transition explains is no
news of the building. With a reading above the circuit's limit nothing is explained away: the sample
is the upper end. The *belief* is the highest sample of the last `HOLD_S`: up at once, down slowly, so
that a pulsing load is not filled and cut in turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from controller.site.draw import Credit
from controller.site.tree import PhaseAmps

HOLD_S = 20.0
"""How long a higher base load is believed after it was last seen."""
MEMORY_S = 900.0
"""How far back the worst case reaches that stands in for a meter without good readings."""
BUCKETS = 40
"""Parts of a window: at most two values are kept for each, however often a meter is read."""


class RollingMax:
    """The highest of the values of the last `window_s`; the newest value never grows too old."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._falling: deque[tuple[float, float]] = deque()  # (time, value): each value below the last

    def add(self, value: float, now: float) -> None:
        """One value at the time `now`, which never goes backwards."""
        falling = self._falling
        while falling and falling[0][0] < now - self._window_s:
            falling.popleft()
        while falling and falling[-1][1] <= value:
            falling.pop()
        if len(falling) >= 2 and now - falling[-2][0] < self._window_s / BUCKETS:
            value = falling.pop()[1]  # close together: kept as one, as the higher and the later
        falling.append((now, value))

    def highest(self, now: float) -> float | None:
        """The highest value not older than the window at `now`; None before the first."""
        fresh = [value for time, value in self._falling if time >= now - self._window_s]
        if fresh:
            return max(fresh)
        return self._falling[-1][1] if self._falling else None


class BaseLoad:
    """The base load of one metered circuit, with per-phase limits in A."""

    def __init__(self, limit_a: PhaseAmps) -> None:
        self._limit_a = limit_a
        self._sample: list[float] | None = None
        self._held = [RollingMax(HOLD_S) for _ in range(3)]
        self._memory = [RollingMax(MEMORY_S) for _ in range(3)]
        self._sampled_at = 0.0

    def measure(self, measured_a: PhaseAmps, credits: Iterable[Credit], now: float) -> bool:
        """One good reading, with what the EVSEs below draw; whether a phase is over its limit."""
        credits = tuple(credits)
        overloaded = False
        samples = []
        for phase, measured in enumerate(measured_a):
            low = measured - sum(credit.high[phase] for credit in credits)
            high = measured - sum(credit.low[phase] for credit in credits)
            if measured > self._limit_a[phase]:
                # A cut that is under way is not done again: who has not obeyed yet still draws.
                sample = measured - sum(credit.unreacted[phase] for credit in credits)
                overloaded = True
            elif self._sample is None:
                sample = high
            else:
                sample = min(max(self._sample[phase], low), high)
            samples.append(sample)
            self._held[phase].add(sample, now)
            self._memory[phase].add(sample, now)
        self._sample = samples
        self._sampled_at = now
        return overloaded

    def believed(self, now: float) -> PhaseAmps:
        """The base load to plan with while the meter is good."""
        return _not_negative(rolling.highest(now) for rolling in self._held)

    def worst(self) -> PhaseAmps:
        """The base load to plan with while it is not: the highest of the last `MEMORY_S` that it was."""
        return _not_negative(rolling.highest(self._sampled_at) for rolling in self._memory)


def _not_negative(values: Iterable[float | None]) -> PhaseAmps:
    """Base load as planned with; 0 where never measured.

    Feed-in (a negative base load) is not handed out: a cloud takes it away faster than cars obey.
    """
    first, second, third = (max(0.0, value or 0.0) for value in values)
    return (first, second, third)
