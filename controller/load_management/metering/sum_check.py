"""Check of a meter against all EVSEs below it together: what they draw must move its readings.

The step of one station (`step_check.py`) is hidden where others move at the same time, and a small one is not
looked for. Their sum is not hidden: it lies between the least and the most that the EVSEs draw.

*Moves*: where the sum has risen (fallen) by `STEP_A` or more within `WINDOW_S`, the readings have moved too,
by that or by what the building does. A phase whose readings have stayed within `MISSED` of it for all of the
time has missed the move. `MISSES` in a row show a meter that does not see the EVSEs, or no longer does: one
that is frozen though its last digits change, or that was connected to another circuit. Where no phase has
moved by `QUIET_A` meanwhile, smaller moves count, and each counts as `QUIET_MISSES`: no building hides a move
so well.

*Falls*: a meter that ceases to see the EVSEs shows a base load that is lower by their draw, as generation
that begins in that moment would. One that never saw them shows that as they start. So where a base load falls
within a minute below all that it was in the quarter of an hour before, to a feed-in, while cars draw, the one
from before counts until a step of a car has shown that the meter sees them. While none does, the cars are
left a small part of it for a moment each quarter of an hour, so that they make one.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from operator import neg

from controller.load_management.evse.consumption import OfferCredit
from controller.load_management.metering.base_load import MEMORY_S, RollingMax
from controller.load_management.metering.meter_window import LATE_S
from controller.load_management.metering.ratio_check import DrawSample, RatioCheck
from controller.load_management.site_tree import LEAST_CAR_A, NOWHERE, PhaseAmps

STEP_A = 5.0
"""Smallest move of the draw that is looked for."""
SEEN = 0.6
"""Part of it from which on the readings show it."""
MISSED = 0.4
"""Part of it below which they do not."""
EARLY_S = 10.0
"""Time (s) by which the readings may be ahead: a report shows the draw from before its car has followed."""
WINDOW_S = 150.0
"""Longest time (s) within which a move is looked for: stations report each minute."""
MISSES = 3
"""Moves in a row that are missed: the draw of a station that is slower than it has shown is another one."""
QUIET_A = (1.0, 4.0)
QUIET_PART = 0.02
"""Span within which the readings of a phase are quiet, least and most (A) and as a part of them: the last
digits of larger currents flutter more."""
QUIET_S = 60.0
"""Time (s) before a move for which they have to be: a late report shows it later than the readings."""
QUIET_STEP_A = 3.0
"""Smallest move of the draw that is looked for in quiet readings."""
QUIET_MISSES = 2
MISSES_S = 900.0
"""Time (s) after which a miss no longer counts."""
BEFORE_S = 60.0
"""Longest time (s) in which a load falls, whose highest base load counts on."""
FIRST_PROBE_S = 450.0
"""Time (s) from such a fall to the first probe."""
PROBE_S = 120.0
"""Time (s) for which the least current of a car is left of a load that is not confirmed: a step that must
show."""
FALLEN_S = 8.0
"""Time (s) after a fall until a message has shown whether a car has stopped instead."""


class SumCheck:
    """Check of one meter. Times in s, monotonic; currents in A per phase.

    `before_fall_a`: base load from before a fall that no step has confirmed; negative infinity: no such fall.
    `fallen_at`: time of the last one on each phase, or of its last probe.
    `ends_probe`: the last reading has ended a probe that no step has answered, so cars are to be cut.
    """

    def __init__(self) -> None:
        self.before_fall_a = NOWHERE
        self.ends_probe = False
        self.fallen_at = [0.0] * 3
        self._probe_at = [math.inf] * 3
        """Time of the next probe; one that has begun is in the past."""
        self._samples: deque[DrawSample] = deque()
        self._draw: tuple[float, ...] = ()
        self._drawn = tuple(RollingMax(LATE_S) for _ in range(6))
        """Least draw of the EVSEs on each phase, negated, and then their most."""
        self._lowest = (RollingMax(MEMORY_S), RollingMax(MEMORY_S), RollingMax(MEMORY_S))
        """Base loads, negated: those from before the last `BEFORE_S`."""
        self._highest = (RollingMax(BEFORE_S), RollingMax(BEFORE_S), RollingMax(BEFORE_S))
        self._last: deque[tuple[float, Sequence[float]]] = deque()
        """Times and base loads since then."""
        self.ratios = RatioCheck(self._samples)
        self._misses = [0, 0, 0]
        self._missed_at = [-math.inf] * 3
        self._judged_at = [-math.inf] * 3
        self._due_at = math.inf

    def on_reading(
        self, shown_a: PhaseAmps, draw: OfferCredit, seen_from: Sequence[float], now: float
    ) -> list[int]:
        """Process one reading; return the phases (0 to 2) that do not follow the EVSEs, as of now.

        `seen_from`: begin of the last step of a station that the meter has shown on each phase.
        """
        samples = self._samples
        drawn = (*map(neg, map(min, draw.low, draw.likely_low)), *draw.high)
        if self._draw and drawn != self._draw:
            self._due_at = min(self._due_at, now + LATE_S)
        self._draw = drawn
        least_1, least_2, least_3, *most_a = RollingMax.add_all(zip(self._drawn, drawn, strict=True), now)
        most_1, most_2, most_3 = most_a
        least_a = (-least_1, -least_2, -least_3)
        samples.append(DrawSample(now, shown_a, least_a, (most_1, most_2, most_3), self.ratios.reported_a))
        self.ratios.on_sample()
        while samples[0].at < now - WINDOW_S:
            samples.popleft()
        self._follow_falls(seen_from, now)
        self._find_falls(now)
        if now < self._due_at:
            return []
        self._due_at = math.inf
        return [phase for phase in range(3) if self._misses_moves(phase)]

    def clear(self) -> None:
        """Drop the readings: those that come cannot be compared with them."""
        self._samples.clear()
        self._draw = ()
        self.ratios.clear()
        for window in self._drawn:
            window.clear()
        self._due_at = math.inf

    def _set_before_fall(self, phase: int, load_a: float, probe_at: float) -> None:
        self._probe_at[phase] = probe_at
        loads = [*self.before_fall_a]
        loads[phase] = load_a
        self.before_fall_a = (loads[0], loads[1], loads[2])

    def _follow_falls(self, seen_from: Sequence[float], now: float) -> None:
        """End the falls that a step has confirmed; begin and end probes of the others."""
        self.ends_probe = False
        for phase, load_a in enumerate(self.before_fall_a):
            if load_a == -math.inf:
                continue
            probe_at = self._probe_at[phase]
            if seen_from[phase] >= self.fallen_at[phase]:
                self._set_before_fall(phase, -math.inf, math.inf)
            elif now >= probe_at > self.fallen_at[phase]:
                self.fallen_at[phase] = now
                self._set_before_fall(phase, load_a - LEAST_CAR_A, probe_at)
            elif now >= probe_at + PROBE_S:
                self.ends_probe = True
                self._set_before_fall(phase, load_a + LEAST_CAR_A, now + MEMORY_S)

    def _find_falls(self, now: float) -> None:
        """Find the phases whose base load has fallen below all that it was, to a feed-in."""
        after = next((each for each in reversed(self._samples) if each.at <= now - FALLEN_S), None)
        if after is None:
            return
        last, bases_a = self._samples[-1], [0.0, 0.0, 0.0]
        *lowest, high_1, high_2, high_3 = RollingMax.highest_of((*self._lowest, *self._highest), now)
        for phase, before_a in enumerate((high_1, high_2, high_3)):
            drawn_a = min(after.least_a[phase], last.least_a[phase])
            bases_a[phase] = base_a = after.shown_a[phase] - drawn_a
            if drawn_a < STEP_A:  # no car can be missing in it
                self._lowest[phase].add(-base_a, now)
                continue
            is_known = -math.inf not in (before_a, lowest[phase])
            if is_known and base_a < min(0.0, -lowest[phase]) - STEP_A:
                # A fall after one that no step has confirmed starts from what is not the base load.
                self._set_before_fall(phase, max(before_a, self.before_fall_a[phase]), now + FIRST_PROBE_S)
                self.fallen_at[phase] = now
                self._lowest[phase].add(-base_a, now)
        self._last.append((now, bases_a))
        RollingMax.add_all(zip(self._highest, bases_a, strict=True), now)
        while self._last[0][0] < now - BEFORE_S:
            _, late_a = self._last.popleft()
            RollingMax.add_all(zip(self._lowest, map(neg, late_a), strict=True), now)

    def _misses_moves(self, phase: int) -> bool:
        """Return True if a phase has missed the last moves of the EVSEs, with the one that ends now."""
        end, since = self._samples[-1], self._judged_at[phase]
        before = [each for each in self._samples if since <= each.at <= end.at - LATE_S]
        if not before:
            return False
        # The latest of several: the less time, the less the building has moved.
        lowest = min(reversed(before), key=lambda each: each.most_a[phase])
        highest = max(reversed(before), key=lambda each: each.least_a[phase])
        rise_a = end.least_a[phase] - lowest.most_a[phase]
        fall_a = highest.least_a[phase] - end.most_a[phase]
        if max(rise_a, fall_a) < QUIET_STEP_A:
            return False
        begin, move_a = (lowest, rise_a) if rise_a >= fall_a else (highest, -fall_a)
        is_quiet = self._is_quiet_since(begin.at - QUIET_S)
        if abs(move_a) < STEP_A and not is_quiet:
            return False
        around = [each.shown_a[phase] for each in self._samples if each.at >= begin.at - EARLY_S]
        shown = [each.shown_a[phase] for each in self._samples if each.at >= begin.at]
        if max(around) - min(around) < MISSED * abs(move_a):
            if end.at > self._missed_at[phase] + MISSES_S:
                self._misses[phase] = 0
            self._missed_at[phase] = end.at
            self._misses[phase] += QUIET_MISSES if is_quiet else 1
        elif (shown[-1] - shown[0]) / move_a >= SEEN:
            self._misses[phase] = 0
        self._judged_at[phase] = end.at
        return self._misses[phase] >= MISSES

    def _is_quiet_since(self, begin: float) -> bool:
        """Return True if no phase has moved since then (s): the stations have reported later than that."""
        rows = [each.shown_a for each in self._samples if each.at >= begin]
        return self._samples[0].at <= begin and all(
            is_quiet(min(column), max(column)) for column in zip(*rows, strict=True)
        )


def is_quiet(lowest_a: float, highest_a: float) -> bool:
    """Return True if readings of a phase between these (A) are no more than the flutter of last digits."""
    least_a, most_a = QUIET_A
    return highest_a - lowest_a <= min(max(least_a, QUIET_PART * highest_a), most_a)
