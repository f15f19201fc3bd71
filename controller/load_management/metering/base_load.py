"""Base load of one metered circuit: the draw on each phase besides our EVSEs.

The meter shows everything, the EVSEs' reports show their part a little late (`consumption.py`). So the
base load lies in an interval: the reading less the most, and less the least, that the EVSEs draw. What they
are likely to draw gives a narrow interval, what they may draw a wide and sure one. The *sample* is the value
of the likely interval nearest to the last sample: a change that a transition of the EVSEs explains is no
change of the building. With a reading that is to be cut (`fuse_curve.py`), or that is above the plan, the
sample is the upper end of the sure interval. That is the worst case and not the likely one: it counts until
the EVSEs' draw is known again, and then only what was the base load for sure is kept. Where no reports show
that, it counts until the steps of their offers have, and for `HOLD_S` then.

Four estimates are made of the samples, each for its own question:

    assumed   how far may those rise who charge?    the highest sample of the last `HOLD_S`,
                                                     of `PULSING_HOLD_S` while the building pulses,
                                                     of `RESERVED_S` after pulses above the limit;
                                                     with a load that returns soon (`recurring_loads.py`)
    keep       must a car that charges be stopped?   the lowest sure value of the last `WAIT_S`
    start      may another car start?                the highest sure value of the last `START_S`;
                                                     with a load that comes at regular times
    worst      what if it is not measured now?       the highest lasting sample of the last `MEMORY_S`
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from operator import neg
from typing import NamedTuple

from controller.load_management.evse.consumption import OfferCredit
from controller.load_management.metering.fuse_curve import INRUSH_S, MOTOR_S, FuseLoad, watches
from controller.load_management.metering.recurring_loads import RecurringLoads
from controller.load_management.site_tree import ZERO, Fuse, PhaseAmps

MARGIN_USED = 0.75
"""Part of the margin that a surge may use before anybody is cut."""
NOISE_A = 0.5
"""Tolerance (A) of readings and roundings above the plan."""
HOLD_S = 24.0
"""Time (s) that a higher base load is kept after it was last measured."""
PULSING_HOLD_S = 60.0
"""The same while the building pulses: its gaps end before cars that rise in them have gained anything."""
SHORT_GAP_S = 15.0
"""A gap that ends within this time after the base load is no longer held is too short to rise in (s)."""
PULSE_A = 4.0
"""Smallest pulse (A): a load of 1 kW."""
PULSING_S = 600.0
"""The building pulses when its last two gaps, within this time, were too short (s)."""
RESERVED_S = 200.0
"""Time (s) within which a second pulse above the limit reserves the room of both, and how long it does."""
SAME_A = 3.0
"""Difference (A) up to which two pulses are of the same load."""
LATE_S = 4.0
"""Time (s) for which a draw that has ended may still be in the reading: stations and meters are late."""
STOPPED_S = 4.0
"""Time (s) after a fall of the base load within which a message may show that a car has stopped instead."""
KNOWN = 1.0
"""A doubt about the base load is over when the EVSEs' draw is known to this part of it."""
WAIT_S = 18.0
"""Time (s) that the base load leaves no room for a minimum until a car is stopped, where the fuse holds the
overload for an hour: a lift has arrived by then, and who can come down has done so."""
START_S = 300.0
"""Time (s) that room was free until another car starts in it."""
STEADY_S = 30.0
"""A base load that lasted this long is remembered: a moment of overload or of starting cars is not."""
UNREPORTED_S = 120.0
"""Time (s) from the first reading on for which a load may be that of cars without a report yet: after a start
stations connect one by one. Until then it is not remembered, and is no surge of the building."""
MEMORY_S = 900.0
"""Span of that memory (s). Its highest stands in for a meter without good readings."""
SUSPECTED_S = 300.0
"""The same for what a suspected meter shows (s): once it is right again, cars have to charge to prove it."""
LASTING_S = 12.0
"""Time (s) after the first stops that an overload lasts until draws that no report shows count as nothing."""
FEED_IN_SHARED = 0.75
"""Part of a lasting feed-in that is shared: a cloud takes it away faster than cars obey."""
FEED_IN_S = 60.0
"""Time (s) that a feed-in has lasted until a part of it is shared with those who charge."""
OWN_LOAD_EACH_S = 5.0
"""Time (s) between two values of what a circuit carries beside those below it."""
BUCKETS = 40
"""Parts of a window: at most two values are stored for each, however often a meter is read."""
JUMP_S = 15.0
"""A rise of the base load within this time is a jump: the margin has to absorb it."""


class LoadEstimates(NamedTuple):
    """Base load for each question (A per phase); feed-in is negative.

    `assumed`: how far may those rise who charge? `keep`: must a car that charges be stopped? `start`: may
    another car start? `leading`: by what does a phase lead others: the assumed load, or all of its feed-in.
    `low`: the lowest recent load.
    """

    assumed: PhaseAmps
    keep: PhaseAmps
    start: PhaseAmps
    leading: PhaseAmps
    low: PhaseAmps


class RollingMax:
    """Highest of the values of the last `window_s`; the newest value never grows too old."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._times: deque[float] = deque()
        self._values: deque[float] = deque()
        """Values since then, each below the one before. Pairs of the two would be objects of their own."""

    def set_window(self, window_s: float) -> None:
        """Apply another window (s); values that a longer one would have kept are not known any more."""
        self._window_s = window_s

    def add(self, value: float, now: float) -> None:
        """Add one value at the time `now`, which never goes backwards."""
        RollingMax.add_all([(self, value)], now)

    @staticmethod
    def add_all(added: Iterable[tuple[RollingMax, float]], now: float) -> list[float]:
        """Add a value to each of several windows at the time `now`; return the highest value of each."""
        highest = []
        for window, value in added:
            times, values, window_s = window._times, window._values, window._window_s
            while times and times[0] < now - window_s:
                times.popleft()
                values.popleft()
            while values and values[-1] <= value:
                times.pop()
                values.pop()
            if len(times) >= 2 and now - times[-2] < window_s / BUCKETS:
                times.pop()
                value = values.pop()  # close together: stored as one, as the higher and the later
            times.append(now)
            values.append(value)
            highest.append(values[0])
        return highest

    @staticmethod
    def highest_of(windows: Iterable[RollingMax], now: float) -> list[float]:
        """Return `highest` of several windows; negative infinity for one that has no value."""
        found = []
        for window in windows:
            times = window._times
            if times and times[0] >= now - window._window_s:
                found.append(window._values[0])
            else:
                peak = window.peak(now) if times else None
                found.append(-math.inf if peak is None else peak[1])
        return found

    def highest(self, now: float) -> float | None:
        """Return the highest value not older than the window at `now`; None before the first."""
        if self._times and self._times[0] >= now - self._window_s:
            return self._values[0]
        found = self.peak(now)
        return None if found is None else found[1]

    def peak(self, now: float) -> tuple[float, float] | None:
        """Return the time and the value of `highest`; None before the first."""
        oldest = now - self._window_s
        for place, at in enumerate(self._times):
            if at >= oldest:
                return at, self._values[place]  # values fall from left to right
        return (self._times[-1], self._values[-1]) if self._times else None

    def shift(self, step_s: float) -> None:
        """Move the times of all values: the clock that they were taken from was set."""
        self._times = deque(at + step_s for at in self._times)

    def clear(self) -> None:
        """Drop all values."""
        self._times.clear()
        self._values.clear()


class PulsePattern:
    """Gaps between the pulses of a base load: while they are too short to rise in, its peak counts.

    `peak`: the loads of the last `PULSING_HOLD_S` (A).
    """

    def __init__(self) -> None:
        self.peak = RollingMax(PULSING_HOLD_S)
        self._at_peak = -math.inf
        self._short_gaps: deque[float] = deque(maxlen=2)  # times at which they ended

    def on_load(self, load_a: float, peak_a: float, now: float) -> None:
        """Process one value of the load (A), which `peak` has, with the highest value there."""
        if load_a < peak_a - PULSE_A:
            return
        gap_s, self._at_peak = now - self._at_peak, now
        if gap_s > HOLD_S + SHORT_GAP_S:
            self._short_gaps.clear()
        elif gap_s > HOLD_S:
            self._short_gaps.append(now)

    def peak_a(self, now: float) -> float:
        """Return the peak (A) if the last two gaps were too short; else negative infinity."""
        if len(self._short_gaps) < 2 or now - self._short_gaps[0] >= PULSING_S:
            return -math.inf
        return self.peak.highest(now) or 0.0


class PulseReserve:
    """Peak of a base load whose pulses overload the circuit again and again.

    Cars that rise in a gap are cut when the next pulse comes, and until they obey the circuit is above its
    limit: once may be chance, so room is reserved from the second one of the same load within `RESERVED_S`
    on. It is released when no pulse of `PULSE_A` has reached the peak for as long. `peak` and `trough`: the
    loads of that time (A), and the same negated.
    """

    def __init__(self) -> None:
        self.peak = RollingMax(RESERVED_S)
        self.trough = RollingMax(RESERVED_S)
        self._overloaded_at = -math.inf
        self._overloads: deque[tuple[float, float]] = deque(maxlen=2)
        """Times at which they began, and their highest loads (A)."""
        self._reserved_until = -math.inf

    def on_load(self, load_a: float, span_a: tuple[float, float], now: float, *, is_overloaded: bool) -> None:
        """Process one value of the load (A), which `peak` and `trough` have, with the highest there.

        `is_overloaded`: the circuit is above its limit with it.
        """
        peak_a, negated_a = span_a
        if is_overloaded:
            if now > self._overloaded_at + HOLD_S:
                self._overloads.append((now, load_a))
            else:
                began_at, highest_a = self._overloads.pop()
                self._overloads.append((began_at, max(highest_a, load_a)))
            self._overloaded_at = now
            if self._is_repeated(now):
                self._reserved_until = now + RESERVED_S
        elif (
            now < self._reserved_until and load_a >= peak_a - NOISE_A and load_a + negated_a >= PULSE_A
        ):  # a pulse
            self._reserved_until = now + RESERVED_S

    def _is_repeated(self, now: float) -> bool:
        """Return True if the same load has overloaded the circuit twice: one that comes again and again."""
        if len(self._overloads) < 2:
            return False
        (first_at, first_a), (_, second_a) = self._overloads
        return now <= first_at + RESERVED_S and abs(second_a - first_a) <= SAME_A

    def peak_a(self, now: float) -> float:
        """Return the load that is reserved (A); negative infinity: none is."""
        found = self.peak.peak(now) if now < self._reserved_until else None
        return -math.inf if found is None else found[1]


class _PhaseLoad:
    """Base load on one phase, from its samples."""

    def __init__(self) -> None:
        self.sample: float | None = None
        self.likely: float | None = None
        """Sample by the likely draw of the EVSEs, where `sample` is the worst case."""
        self.least_a = 0.0
        """Last reading less the highest likely draw of the EVSEs."""
        self.most_a = 0.0
        """Last reading less the least that they are likely to draw."""
        self.drawn_a = 0.0
        """Last reading less the likely load: what the EVSEs draw, as far as these two show."""
        self._fallen_at = -math.inf
        self._before_fall = (0.0, 0.0)
        """Sample and likely value before the last fall."""
        self._was_worst_case = False
        self._held = RollingMax(HOLD_S)
        self._doubted = RollingMax(HOLD_S)
        """Worst cases that the EVSEs' draw has not disproved yet."""
        self._doubted_at = -math.inf
        """Time of the last of them (s): for a while no likely draw disproves them."""
        self._pulses = PulsePattern()
        self._reserve = PulseReserve()
        self._recurring = RecurringLoads()
        self._sure_a = 0.0
        self._start = RollingMax(START_S)
        self._feed_in = RollingMax(FEED_IN_S)
        self._keep = RollingMax(WAIT_S)  # of the negated samples
        self._lowest = RollingMax(STEADY_S)  # of the negated samples
        self._short = RollingMax(JUMP_S)  # of the negated samples
        self.level_a = 0.0
        """Sample, before a fall that a message about a car may explain yet (A)."""
        self._low = RollingMax(JUMP_S)  # of these, negated
        self._memory = RollingMax(MEMORY_S)
        self._suspected = RollingMax(SUSPECTED_S)
        """Loads that the meter has shown since it is suspected."""
        self._first_at = 0.0
        self._unreported_until = -math.inf
        """Until when a load of the last `HOLD_S` may be that of cars without a report (s, monotonic)."""
        self._building_a = -math.inf
        """The most that is the building's for sure by the readings so far: the highest `least_a` (A)."""
        self._last_at = 0.0
        self.rise_a = 0.0
        """Rise within the last `JUMP_S` (A)."""
        self.highest_rise_a = 0.0
        """The same with the sample, which may be the worst case (A)."""

    def set_wait(self, wait_s: float) -> None:
        """Apply another time (s) that the load leaves no room for a minimum until a car is stopped."""
        self._keep.set_window(wait_s)

    def add(
        self,
        sample: float,
        likely: float,
        bounds: tuple[float, float, float],
        over_s: float,
        now: float,
        *,
        stop: bool,
        is_overloaded: bool,
        is_worst_case: bool,
        is_suspected: bool,
    ) -> None:
        """Add a sample, and the likely value beside it.

        `bounds`: the base load beside the EVSEs' highest draw of the last `LATE_S`, beside their highest now,
        and beside their least. `over_s`: how long the readings have been above the limit (s).
        `is_overloaded`: they are, and not for a moment. `stop`: that is to be ended now, by stopping cars if
        need be. `is_worst_case`: the sample is not the likely load, but the highest that it may be.
        `is_suspected`: the meter is.
        """
        surest, least, most = bounds
        # What a car may draw is no feed-in: that is one only beside what the cars draw at least.
        proven = min(0.0, most)
        least = max(least, proven)
        sure = max(proven, min(surest, sample))
        lasting_a, start_a = self._lasting(likely, sure, over_s, now)
        if self.sample is None or self.likely is None:
            self._first_at = now
        elif is_worst_case or self._was_worst_case:
            self._fallen_at = -math.inf
        elif sample < self.sample - NOISE_A and now >= self._unreported_until:
            has_risen = self.sample >= self._before_fall[0] - NOISE_A  # another car stops after the first one
            if has_risen or now > self._fallen_at + STOPPED_S:
                self._fallen_at, self._before_fall = now, (self.sample, self.likely)
        self._was_worst_case = is_worst_case
        self.sample, self.likely = sample, likely
        may_stop = now <= self._fallen_at + STOPPED_S
        self.level_a = max(sample, self._before_fall[0]) if may_stop else sample
        self._sure_a, self._last_at = sure, now
        pulses, reserve = self._pulses, self._reserve
        if stop:
            self._keep.clear()
        _, _, peak_a, reserved_a, negated_a, _, steady_a, lowest_a, *_ = RollingMax.add_all(
            (
                (self._held, lasting_a),
                (self._start, start_a),
                (pulses.peak, likely),
                (reserve.peak, likely),
                (reserve.trough, -likely),
                (self._keep, -sample if stop else -min(least, sample)),
                (self._lowest, -sample),
                (self._short, -sample),
                (self._feed_in, start_a),
                (self._low, -self.level_a),
            ),
            now,
        )
        pulses.on_load(likely, peak_a, now)
        reserve.on_load(likely, (reserved_a, negated_a), now, is_overloaded=is_overloaded)
        self._recurring.add(likely, now)
        open_a = most - least
        if now > self._doubted_at + HOLD_S:
            open_a = min(open_a, self.most_a - self.least_a)
        doubted_a = self._doubted.highest(now)
        if doubted_a is not None and open_a <= max(NOISE_A, KNOWN * (doubted_a - likely)):
            self._doubted.clear()
        further = []
        if sample > likely:
            further.append((self._doubted, sample))
            self._doubted_at = now
        self._building_a = max(self._building_a, self.least_a)
        if self._awaits_reports and (
            self.most_a - self.least_a <= NOISE_A or now >= self._first_at + UNREPORTED_S
        ):
            self._unreported_until = now + HOLD_S
        if now >= self._first_at + STEADY_S:
            if not self._awaits_reports:
                if is_suspected:
                    further += [(self._memory, -math.inf), (self._suspected, -steady_a)]
                else:
                    self._suspected.clear()
                    further.append((self._memory, -steady_a))
            self.rise_a = likely + lowest_a
            self.highest_rise_a = sample + lowest_a
        RollingMax.add_all(further, now)

    def expect_reports(self) -> None:
        """Take cars to draw by offers from before a restart until their stations report."""
        self._unreported_until = math.inf

    @property
    def _awaits_reports(self) -> bool:
        """Return True after a restart, until reports have shown what the EVSEs draw, or could have."""
        return self._unreported_until == math.inf

    @property
    def unreported_a(self) -> float:
        """Return what of the load to plan with cars may draw, or drew without a report after a start (A).

        It is nothing where they may draw more than the meter shows: as before their limits are known.
        """
        if self._last_at >= self._unreported_until or self._building_a < 0:
            return 0.0
        return max(0.0, (self._held.highest(self._last_at) or 0.0) - self._building_a)

    def before(self, now: float) -> tuple[float, float]:
        """Return the sample and the likely value that the next reading changes.

        After a fall just now they are those before it: the building has not changed where a car stopped a
        moment before its station reports that.
        """
        if now <= self._fallen_at + STOPPED_S:
            return self._before_fall
        return self.sample or 0.0, self.likely or 0.0

    def _lasting(self, likely: float, sure: float, over_s: float, now: float) -> tuple[float, float]:
        """Return what of the likely and the sure value has lasted since the last reading (A).

        A motor takes its inrush for a moment. An overload that lasts is none: its highest value counts. A
        meter that is read less often than `INRUSH_S` shows no moment.
        """
        lasting_a, lasting_sure_a = likely, sure
        if self.likely is not None and now <= self._last_at + INRUSH_S:
            chosen = max if over_s > 0 else min
            lasting_a, lasting_sure_a = chosen(likely, self.likely), chosen(sure, self._sure_a)
        # A moment without feed-in counts: a cloud takes away what is shared of it.
        return lasting_a, max(lasting_sure_a, min(0.0, sure))

    def raise_least(self, amps: float) -> None:
        """Take the least that it is by the last reading to be so much higher (A)."""
        self.least_a += amps
        if self.sample is not None and self.likely is not None:
            self.sample = max(self.sample, self.least_a)
            self.likely = max(self.likely, self.least_a)

    def estimates(self, now: float, carried_a: float) -> tuple[float, float, float, float, float]:
        """Return the members of `LoadEstimates` on this phase; 0 before the first sample.

        The margin carries `carried_a` of a surge that is over. Of a feed-in (a negative load) a part is
        shared with those who charge once it has lasted for `FEED_IN_S`, and with those who start after
        `START_S`; that is also the least time from the first reading.
        """
        if self.likely is None:
            return 0.0, 0.0, 0.0, 0.0, 0.0
        windows = (self._held, self._doubted, self._keep, self._start, self._low)
        held_a, doubted_a, keep_a, start_a, lowest_a = RollingMax.highest_of(windows, now)
        highest = max(self.likely, held_a, doubted_a, self._reserve.peak_a(now))
        expected_a, regular_a = self._recurring.find_returning(self.likely, now)
        rising = max(highest, self._pulses.peak_a(now), expected_a) - carried_a
        assumed = max(self.sample or 0.0, rising)
        if assumed < 0:
            assumed = self._shared_feed_in(self._feed_in.highest(now) or 0.0)
        start = max(start_a, highest, regular_a)
        if start < 0:
            start = self._shared_feed_in(start_a)
        leading = assumed if assumed > 0 else highest
        if now < self._unreported_until:  # what a report has shown just now is no longer held
            leading = min(leading, max(self.likely, self.sample or 0.0, doubted_a))
        return assumed, min(-keep_a, highest), start, leading, -lowest_a

    def signed(self, now: float) -> float:
        """Return the highest load of `HOLD_S`, with what is reserved or is in doubt at the worst.

        Feed-in is negative; 0 before the first sample.
        """
        if self.likely is None:
            return 0.0
        held_a, doubted_a = RollingMax.highest_of((self._held, self._doubted), now)
        return max(self.likely, held_a, self._reserve.peak_a(now), doubted_a)

    def start_peak(self, now: float) -> tuple[float, float]:
        """Return the time and the value (A) of the load that a car about to start has to expect."""
        peaks = [peak for each in (self._start, self._held) if (peak := each.peak(now)) is not None]
        return max(peaks, key=lambda peak: peak[1], default=(now, 0.0))

    def _shared_feed_in(self, lasting: float) -> float:
        if lasting >= 0 or self._last_at < self._first_at + START_S:
            return 0.0
        return FEED_IN_SHARED * lasting

    def lowest(self, now: float) -> float:
        """Return the lowest load of the last `JUMP_S`, feed-in as a negative one."""
        return -(self._short.highest(now) or 0.0)

    def worst(self) -> float:
        """Return the load to plan with while the meter is not good: from before its last good reading."""
        highest = self.remembered()
        unreported_a = self.unreported_a if self._awaits_reports else 0.0
        return max(0.0, self._steady() - unreported_a if highest == -math.inf else highest)

    def remembered(self) -> float:
        """Return the highest load that has lasted; negative infinity before one has."""
        return max(RollingMax.highest_of((self._memory, self._suspected), self._last_at))

    def _steady(self) -> float:
        return -(self._lowest.highest(self._last_at) or 0.0)


class BaseLoad:
    """Base load of one metered circuit, with per-phase limits in A.

    All offers and the base load together are planned to stay `margin_a` below the limit. A reading above
    that shows that the estimate is too low: it is corrected at once, while the margin still bridges the time
    that cars need. `crossed`: the last reading was such a one.
    """

    def __init__(
        self, limit_a: PhaseAmps, fuse: Fuse = Fuse.PLAIN, now: float = 0.0, margin_a: float = 0.0
    ) -> None:
        self.crossed = False
        self.may_feed_in = False
        """True once something may feed in below the circuit: generation, a battery, or a reading of it."""
        self.lacks_a = ZERO
        """Part of the EVSEs' likely draw that the last reading does not show, where nothing feeds in (A)."""
        self._watches = watches(limit_a, fuse, now)
        self._phases = (_PhaseLoad(), _PhaseLoad(), _PhaseLoad())
        self.own_load = OwnLoad()
        self.set_limits(limit_a, fuse, margin_a)
        self._late_draw = (RollingMax(LATE_S), RollingMax(LATE_S), RollingMax(LATE_S))

    def set_limits(self, limit_a: PhaseAmps, fuse: Fuse, margin_a: float) -> None:
        """Apply other limits, another protection and margin; what is known of the load stays."""
        self._planned_a = [limit - (1 - MARGIN_USED) * margin_a + NOISE_A for limit in limit_a]
        self._carried_a = MARGIN_USED * margin_a
        wait_s = MOTOR_S if fuse is Fuse.PLAIN else WAIT_S
        for watch, phase, limit in zip(self._watches, self._phases, limit_a, strict=True):
            watch.set_limit(limit, fuse)
            phase.set_wait(wait_s)

    def measure(
        self,
        measured_a: PhaseAmps,
        draw: OfferCredit,
        now: float,
        *,
        cut: bool = False,
        slowest_s: float = 0.0,
        is_suspected: bool = False,
    ) -> bool:
        """Take in one good reading; return True if a phase has to be cut now.

        `draw`: of all EVSEs below together. `cut`: the circuit is over another limit of its own, so every
        phase has to be cut. `slowest_s`: the longest that an EVSE below it takes to obey.
        """
        overloaded = self.crossed = False
        late_a = RollingMax.add_all(zip(self._late_draw, draw.high, strict=True), now)
        # Where nothing can feed in, no load is below zero: a silent car has stopped on all of its phases.
        is_less = not self.may_feed_in and any(
            measured < likely_a - NOISE_A
            for measured, likely_a in zip(measured_a, draw.likely_low, strict=True)
        )
        self.lacks_a = _missing(draw.likely_low, measured_a) if is_less else ZERO
        for phase, measured in enumerate(measured_a):
            low = measured - draw.high[phase]
            high = measured - draw.low[phase]
            # Beside what the EVSEs are likely to draw: within `low` to `high`.
            least, most = measured - draw.likely_high[phase], measured - draw.likely_low[phase]
            if is_less:
                most = high
            load = self._phases[phase]
            load.least_a, load.most_a = least, most
            watch = self._watches[phase]
            verdict = watch.on_reading(measured, now, slowest_s)
            over_s = watch.over_s
            stops_after_s = WAIT_S if watch.is_held else MOTOR_S
            inrush = verdict is FuseLoad.WITHSTOOD and watch.is_inrush
            crossed = measured > self._planned_a[phase] and not inrush
            self.crossed |= crossed
            over = cut or verdict is FuseLoad.OVER
            before_a, likely_before_a = load.before(now)
            likely = most if load.likely is None else min(likely_before_a, most)
            if not inrush:
                likely = max(likely, least)
            if over or crossed:
                # A cut that is under way is not made again: who has not obeyed yet still draws. An overload
                # that lasts is explained by no other cut than one that was sent just now. A silent car that
                # is known to use other phases explains nothing here.
                lasts = over_s >= stops_after_s + LASTING_S
                sample = max(least, measured - (draw.in_reaction if lasts else draw.unreacted)[phase])
                overloaded |= over
            elif load.sample is None:
                sample = most
            elif inrush:
                sample = min(load.sample, most)  # a moment of this shows nothing about what is to come
            else:
                sample = min(max(before_a, least), most)
            # No car stops for an inrush. Where the fuse holds the overload, who can come down does so first.
            stops = over and (cut or over_s >= stops_after_s)
            load.add(
                sample,
                min(likely, sample),
                (measured - late_a[phase], low, high),
                over_s,
                now,
                stop=stops,
                is_overloaded=verdict is not FuseLoad.WITHIN and not inrush,
                is_worst_case=over or crossed,
                is_suspected=is_suspected,
            )
            load.drawn_a = measured - (load.likely or 0.0)
        return overloaded

    def explain_less(self, amps: PhaseAmps) -> None:
        """Plan with the base load that the last reading shows if the EVSEs draw so much less (A per phase).

        That much of it was taken for the draw of a car which turns out not to use the phase.
        """
        for load, missing_a in zip(self._phases, amps, strict=True):
            load.raise_least(max(0.0, missing_a))

    def estimates(self, now: float) -> LoadEstimates:
        """Return the estimates for each question, while the meter is good."""
        first, second, third = self._phases
        carried_a = self._carried_a
        return LoadEstimates(
            *zip(
                first.estimates(now, carried_a),
                second.estimates(now, carried_a),
                third.estimates(now, carried_a),
                strict=True,
            )
        )

    def without_common(self, found: LoadEstimates) -> LoadEstimates:
        """Return estimates in which what all phases rise and fall by together is no lead of one."""
        levels_a = [phase.level_a for phase in self._phases]
        swing_a = max(0.0, min(high - level for high, level in zip(found.leading, levels_a, strict=True)))
        dip_a = max(0.0, min(level - low for low, level in zip(found.low, levels_a, strict=True)))
        first, second, third = (high - swing_a for high in found.leading)
        low_first, low_second, low_third = (low + dip_a for low in found.low)
        return found._replace(leading=(first, second, third), low=(low_first, low_second, low_third))

    def assumed(self, now: float) -> PhaseAmps:
        """Return the load to plan rises with while the meter is good (A per phase)."""
        return self.estimates(now).assumed

    def start_peak(self, phase: int, now: float) -> tuple[float, float]:
        """Return when a phase (0 to 2) carried the load that another car has to expect, and that load (A)."""
        return self._phases[phase].start_peak(now)

    def signed(self, now: float) -> PhaseAmps:
        """Return the highest recent load, feed-in as a negative one (A per phase)."""
        first, second, third = self._phases
        return (first.signed(now), second.signed(now), third.signed(now))

    def lowest(self, now: float) -> PhaseAmps:
        """Return the lowest recent load, feed-in as a negative one (A per phase)."""
        first, second, third = self._phases
        return (first.lowest(now), second.lowest(now), third.lowest(now))

    @property
    def drawn_a(self) -> PhaseAmps:
        """Return what the EVSEs draw by the last reading, beside the likely load (A per phase)."""
        first, second, third = self._phases
        return (first.drawn_a, second.drawn_a, third.drawn_a)

    def expect_reports(self) -> None:
        """Take cars to draw by offers from before a restart until their stations report."""
        for phase in self._phases:
            phase.expect_reports()

    @property
    def unreported_a(self) -> PhaseAmps:
        """Return what of the load to plan with cars may draw that no report has shown after a start (A)."""
        first, second, third = (phase.unreported_a for phase in self._phases)
        return (first, second, third)

    def worst(self) -> PhaseAmps:
        """Return the load to plan with while the meter is not good (A per phase)."""
        first, second, third = self._phases
        return (first.worst(), second.worst(), third.worst())

    def remembered(self) -> PhaseAmps:
        """Return the highest load that has lasted (A per phase); negative infinity before one has."""
        first, second, third = self._phases
        return (first.remembered(), second.remembered(), third.remembered())

    @property
    def likely_a(self) -> PhaseAmps:
        """Return the likely load by the last reading (A per phase); 0 before the first."""
        first, second, third = self._phases
        return (first.likely or 0.0, second.likely or 0.0, third.likely or 0.0)

    @property
    def rises_a(self) -> PhaseAmps:
        """Return the rise within the last `JUMP_S` (A per phase)."""
        first, second, third = self._phases
        return (first.rise_a, second.rise_a, third.rise_a)

    @property
    def highest_rises_a(self) -> PhaseAmps:
        """Return the most that it may have risen by within the last `JUMP_S` (A per phase)."""
        first, second, third = self._phases
        return (first.highest_rise_a, second.highest_rise_a, third.highest_rise_a)


class OwnLoad:
    """Load of a circuit beside its EVSEs and beside the circuits with meters below it (A per phase).

    While its meter is lost, theirs go on to show what rises there.
    """

    def __init__(self) -> None:
        self._lowest = (RollingMax(STEADY_S), RollingMax(STEADY_S), RollingMax(STEADY_S))
        """Loads, negated."""
        self._lasting = (RollingMax(MEMORY_S), RollingMax(MEMORY_S), RollingMax(MEMORY_S))
        self._first_at = self._last_at = -math.inf

    def is_due(self, now: float) -> bool:
        """Return True if it is time for another value (s, monotonic)."""
        return now >= self._last_at + OWN_LOAD_EACH_S

    def add(self, load_a: PhaseAmps, now: float) -> None:
        """Add a value (A per phase)."""
        if now > self._last_at + STEADY_S:
            self._first_at = now
        self._last_at = now
        steady_a = RollingMax.add_all(zip(self._lowest, map(neg, load_a), strict=True), now)
        if now >= self._first_at + STEADY_S:
            RollingMax.add_all(zip(self._lasting, map(neg, steady_a), strict=True), now)

    def highest(self) -> PhaseAmps:
        """Return the highest that has lasted, of a quarter of an hour before the last value; 0 before one."""
        first, second, third = (
            max(0.0, amps) for amps in RollingMax.highest_of(self._lasting, self._last_at)
        )
        return first, second, third


def _missing(likely_a: PhaseAmps, measured_a: PhaseAmps) -> PhaseAmps:
    """Return how much less is measured than likely (A per phase)."""
    first, second, third = (max(0.0, a - b) for a, b in zip(likely_a, measured_a, strict=True))
    return (first, second, third)
