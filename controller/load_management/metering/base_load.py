"""What draws on one metered circuit besides our EVSEs, per phase.

The meter shows everything, the EVSEs' reports show their part a little late (`draw.py`). So the base
load lies in an interval: the reading less the most, and less the least, that the EVSEs may draw. The
*sample* is the value of that interval nearest to the last sample: what a transition explains is no
news of the building. With a reading that is to be cut (`fuse.py`), or that is above what was planned,
nothing is explained away: the sample is the upper end. The *belief* is the highest sample of the last
`HOLD_S`: up at once, down slowly, so that a pulsing load is not filled and cut in turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from controller.load_management.evse.consumption import OfferCredit
from controller.load_management.metering.fuse_curve import FuseLoad, watches
from controller.load_management.site_tree import Fuse, PhaseAmps

NOISE_A = 0.5
"""By so much readings and roundings may be above what was planned."""
HOLD_S = 20.0
"""How long a higher base load is believed after it was last seen."""
STEADY_S = 30.0
"""A base load that lasted this long is remembered: a moment of overload or of starting cars is not."""
MEMORY_S = 900.0
"""How far back that memory reaches. Its highest stands in for a meter without good readings."""
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


class _PhaseLoad:
    """The base load on one phase, from its samples."""

    def __init__(self) -> None:
        self.sample: float | None = None
        self._held = RollingMax(HOLD_S)
        self._lowest = RollingMax(STEADY_S)  # of the negated samples
        self._memory = RollingMax(MEMORY_S)
        self._first_at = 0.0
        self._last_at = 0.0

    def add(self, sample: float, now: float) -> None:
        if self.sample is None:
            self._first_at = now
        self.sample = sample
        self._last_at = now
        self._held.add(sample, now)
        self._lowest.add(-sample, now)
        if now >= self._first_at + STEADY_S:
            self._memory.add(self._steady(), now)

    def believed(self, now: float) -> float:
        """To plan with while the meter is good; 0 before the first sample.

        Feed-in (a negative base load) is not handed out: a cloud takes it away faster than cars obey.
        """
        return max(0.0, self._held.highest(now) or 0.0)

    def signed(self, now: float) -> float:
        """As `believed`, but feed-in is told as a negative load."""
        return self._held.highest(now) or 0.0

    def worst(self) -> float:
        """To plan with while the meter is not: from before its last good reading, however old."""
        highest = self._memory.highest(self._last_at)
        return max(0.0, self._steady() if highest is None else highest)

    def _steady(self) -> float:
        return -(self._lowest.highest(self._last_at) or 0.0)


class BaseLoad:
    """The base load of one metered circuit, with per-phase limits in A.

    All that the EVSEs were offered and the base load together are planned to stay `margin_a` below the
    limit. A reading above that shows that the belief is wrong: it is mended at once, while the margin
    still bridges the time that cars need. `crossed`: the last reading was such a one.
    """

    def __init__(
        self, limit_a: PhaseAmps, fuse: Fuse = Fuse.PLAIN, now: float = 0.0, margin_a: float = 0.0
    ) -> None:
        self.crossed = False
        self._planned_a = [limit - margin_a + NOISE_A for limit in limit_a]
        self._watches = watches(limit_a, fuse, now)
        self._phases = (_PhaseLoad(), _PhaseLoad(), _PhaseLoad())

    def measure(
        self,
        measured_a: PhaseAmps,
        credits: Sequence[OfferCredit],
        now: float,
        *,
        cut: bool = False,
        slowest_s: float = 0.0,
    ) -> bool:
        """One good reading, with what the EVSEs below draw; whether a phase has to be cut now.

        `cut`: the circuit is over another limit of its own, so every phase has to be. `slowest_s`: the
        longest that an EVSE below it takes to obey.
        """
        overloaded = self.crossed = False
        for phase, measured in enumerate(measured_a):
            low = measured - sum(credit.high[phase] for credit in credits)
            high = measured - sum(credit.low[phase] for credit in credits)
            load = self._phases[phase]
            verdict = self._watches[phase].see(measured, now, slowest_s)
            crossed = measured > self._planned_a[phase] and verdict is not FuseLoad.BORNE
            self.crossed |= crossed
            if cut or crossed or verdict is FuseLoad.OVER:
                # A cut that is under way is not made again: who has not obeyed yet still draws.
                sample = measured - sum(credit.unreacted[phase] for credit in credits)
                overloaded |= cut or verdict is FuseLoad.OVER
            elif load.sample is None:
                sample = high
            elif verdict is FuseLoad.BORNE:
                sample = min(load.sample, high)  # a moment of this tells nothing of what is to come
            else:
                sample = min(max(load.sample, low), high)
            load.add(sample, now)
        return overloaded

    def believed(self, now: float) -> PhaseAmps:
        """The base load to plan with while the meter is good."""
        first, second, third = self._phases
        return (first.believed(now), second.believed(now), third.believed(now))

    def fed_in_a(self, now: float) -> float:
        """What is fed in besides our EVSEs, all phases added up (A); negative where more is drawn."""
        return -sum(phase.signed(now) for phase in self._phases)

    def worst(self) -> PhaseAmps:
        """The base load to plan with while it is not."""
        first, second, third = self._phases
        return (first.worst(), second.worst(), third.worst())
