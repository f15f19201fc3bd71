"""Check of the ratio of a meter's current transformers: all of a move of the EVSEs' draw must show.

A meter with another ratio than configured shows the same part of each move. So each move between two moments
at which the draw has been known and the same for `STEADY_S` is held against the readings of that phase:

    clean     the readings have moved the other way by no more than `CLEAN` of it: nothing has hidden a part
    small     a clean one that shows less than `SMALL` of the move, also with the readings from before it, as
              a station may report late what its car has done: those of `LATE_REPORT_S`, and those of
              `EARLIEST_S` if no offers have changed that explain the move
    right     a clean one that shows about all of it

The move is the smaller one of what the EVSEs are taken to draw and of what the stations have reported: cars
that draw more than their offer are taken to draw it until two reports have shown that.

More small moves than right ones by `MOVES` show another ratio; more right moves the right one. One small move
of `SURE_MOVE_A` or more counts twice if several phases show the same part of it. A move that shows less than
`LEAST_PART` is missed: what that means is judged elsewhere (`step_check.py`).

Beside a lively building no move is clean. There the edges of the readings show the ratio (`step_edges.py`).

Where cars charge steadily in a building that is at rest, no move comes by itself. So while the ratio of a
phase is open, and a part of its limit is reached that may be more than the limit with another ratio, one car
is to make a step that stands out of what the building has moved in the last `AT_REST_S`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import msgspec

from controller.load_management.metering.step_edges import SAME_PART, SMALL, PhaseEdges, StepEdges
from controller.load_management.site_tree import LEAST_CAR_A, ZERO, PhaseAmps

STEADY_S = 6.0
"""Time (s) after which the readings of a meter that takes means have followed the draw."""
KNOWN_A = 1.0
"""The draw is known where it lies between two values that differ by no more (A)."""
SILENT_S = 120.0
"""Time (s) after which bounds that differ by more are those of EVSEs that never report: these do not move."""
LONGEST_S = 90.0
"""Longest time (s) from the begin of a move to its end: stations report each minute."""
FOLLOWS_S = 15.0
"""Time (s) in which a car follows its offer as a rule."""
SLOW_S = 40.0
"""Time (s) after which any car has followed its offer."""
EARLIEST_S = 60.0
LATE_REPORT_S = 30.0
LEAST_MOVE_A = 2.5
"""Smallest move that is judged (A)."""
CLEAN = 0.3
"""Part of a move by which the readings may go the other way, until `FOLLOWS_S` after the last offer."""
OFFERED = 0.8
"""Part of a move that changes of offers have to allow."""
LEAST_PART = 0.25
RIGHT = (0.93, 1.15)
"""Part of a move that it shows as a rule, at least and at most: the building moves as well."""
SURE_MOVE_A = 5.0
ERROR_A = 0.1
"""Resolution of reports and readings (A)."""
MOVES = 2
AT_REST_S = 30.0
REACHED = 0.5
"""Part of the limit from which on a wrong ratio is dangerous: that of the largest mistake that is likely."""


class DrawSample(msgspec.Struct, frozen=True, gc=False):
    """One reading (A per phase), with the least and the most that the EVSEs have drawn just before.

    `reported_a`: all steps that the stations have reported so far, added up.
    """

    at: float
    shown_a: PhaseAmps
    least_a: PhaseAmps
    most_a: PhaseAmps
    reported_a: PhaseAmps


class _Draw(msgspec.Struct, frozen=True, gc=False):
    """Least and most that the EVSEs draw on one phase (A) from a moment on (s), and their reported steps."""

    at: float
    least_a: float
    most_a: float
    reported_a: float

    def is_like(self, least_a: float, most_a: float) -> bool:
        """Return True if the bounds have stayed the same."""
        return abs(least_a - self.least_a) <= KNOWN_A and abs(most_a - self.most_a) <= KNOWN_A

    @property
    def width_a(self) -> float:
        return self.most_a - self.least_a


class PhaseRatio:
    """Ratio of the current transformer of one phase (0 to 2). Times in s, monotonic.

    `is_small`: moves have shown that its readings are only a part. `part`: the largest part of a small move.
    `is_doubted`: a move has shown another ratio, and one more has to. `judged_at`: time of the last move that
    has shown anything of it.
    """

    def __init__(self, phase: int, edges: PhaseEdges) -> None:
        self.is_small = self.is_doubted = False
        self.part = 0.0
        self.judged_at = -math.inf
        self._phase = phase
        self._edges = edges
        self._score = 0
        """Small moves less right ones, within `MOVES` on both sides."""
        self._full = 0
        """Clean moves since the last small one that have shown at least all of the move."""
        self._steady: _Draw | None = None
        """Draw since it has been the same."""
        self._known: _Draw | None = None
        """Last draw that was known."""
        self._widest_a = 0.0
        """Largest difference of the bounds since then (A)."""
        self._offered_at = -math.inf
        """Time of the last offer that has changed since then."""
        self._width_a = 0.0

    @property
    def is_open(self) -> bool:
        """Return True if moves have shown neither another ratio nor the right one."""
        return not self.is_small and self._score >= 0 and self._full < MOVES

    @property
    def doubts(self) -> int:
        """Return how many moves have to show the right ratio until it is no longer another one."""
        return (self._score if self.is_small else 0) + (self._edges.part > 0)

    def is_at_rest(self, now: float) -> bool:
        """Return True if the draw is known, and has been the same for `AT_REST_S`."""
        known, steady = self._known, self._steady
        return known is not None and known.at == now and steady is not None and steady.at <= now - AT_REST_S

    def on_sample(self, samples: Sequence[DrawSample]) -> float:
        """Process the last one of the samples.

        Return the part of a large move that has shown, if that is small without doubt; else 0.
        """
        sample = samples[-1]
        now, least_a, most_a = sample.at, sample.least_a[self._phase], sample.most_a[self._phase]
        steady, before, width_a = self._steady, self._known, most_a - least_a
        after = _Draw(now, least_a, most_a, sample.reported_a[self._phase])
        if width_a > self._width_a + ERROR_A:
            self._offered_at = now
        self._width_a = width_a
        self._widest_a = max(self._widest_a, width_a)
        if steady is None or not steady.is_like(least_a, most_a):
            self._steady = after
            return 0.0
        if now < steady.at + STEADY_S:
            return 0.0
        is_same_width = before is not None and abs(width_a - before.width_a) <= KNOWN_A
        if width_a > KNOWN_A and not is_same_width and now < steady.at + SILENT_S:
            return 0.0
        sure_part = 0.0
        if before is not None and is_same_width and now <= before.at + LONGEST_S:
            sure_part = self._judge_move(before, after, samples)
        self._known, self._widest_a = after, width_a
        return sure_part

    def _judge_move(self, before: _Draw, after: _Draw, samples: Sequence[DrawSample]) -> float:
        """Judge the move between two moments at which the draw was known; see `on_sample`."""
        risen_a = after.least_a - before.least_a
        direction = math.copysign(1.0, risen_a)
        possible_a = (
            abs(risen_a),
            abs(after.most_a - before.most_a),
            direction * (after.reported_a - before.reported_a),
        )
        least_a, most_a = min(possible_a), max(possible_a)
        if least_a < LEAST_MOVE_A:
            return 0.0
        all_rows = [
            (each.at, each.shown_a[self._phase]) for each in samples if each.at >= before.at - EARLIEST_S
        ]
        is_offered = self._widest_a - before.width_a >= OFFERED * most_a
        begin = before.at - (LATE_REPORT_S if is_offered else EARLIEST_S)
        end = self._offered_at + SLOW_S if is_offered else after.at
        follows_until = self._offered_at + FOLLOWS_S if is_offered else after.at
        rows = [(at, amps) for at, amps in all_rows if begin <= at <= end]
        along_a, _ = moves([amps for at, amps in rows if at >= before.at], up=risen_a > 0)
        _, against_a = moves([amps for at, amps in rows if before.at <= at <= follows_until], up=risen_a > 0)
        if against_a > CLEAN * least_a:
            return 0.0
        shown_a, _ = moves([amps for _, amps in rows], up=risen_a > 0)
        if shown_a <= SMALL * least_a - ERROR_A:
            if shown_a >= LEAST_PART * least_a:
                self.add_vote(1, after.at)
                self.part = max(self.part, shown_a / least_a)
                widest_a, against_a = moves([amps for _, amps in all_rows], up=risen_a > 0)
                is_sure = widest_a <= SMALL * least_a - ERROR_A and against_a <= CLEAN * least_a
                return widest_a / least_a if is_sure and least_a >= SURE_MOVE_A else 0.0
        elif along_a - against_a >= RIGHT[0] * most_a - ERROR_A:
            self._full += 1
            if along_a <= RIGHT[1] * least_a + ERROR_A:
                self.add_vote(-1, after.at)
        return 0.0

    def add_vote(self, vote: int, now: float) -> None:
        """Count a small move (1) or a right one (-1)."""
        self.judged_at = now
        if vote > 0:
            self._full = 0
        else:
            self._edges.add_right_move()
        self._score = min(max(-MOVES, self._score + vote), MOVES)
        if self._score >= MOVES:
            self.is_small = True
        elif self._score <= 0:
            self.is_small, self.part = False, 0.0
        self.is_doubted = not self.is_small and self._score > 0

    def clear(self) -> None:
        """Drop the move that has begun."""
        self._steady = self._known = None


class RatioCheck:
    """Ratio of the current transformers of one meter, by samples of its readings and by their `edges`."""

    def __init__(self, samples: deque[DrawSample]) -> None:
        self._samples = samples
        self.reported_a: PhaseAmps = ZERO
        """Steps that the stations have reported, added up (A per phase)."""
        self.edges = StepEdges()
        first, second, third = self.edges.phases
        self._phases = (PhaseRatio(0, first), PhaseRatio(1, second), PhaseRatio(2, third))

    def add_step(self, delta_a: PhaseAmps) -> None:
        """Add a step of a station's reported draw (A per phase)."""
        first, second, third = self.reported_a
        self.reported_a = (first + delta_a[0], second + delta_a[1], third + delta_a[2])

    def on_sample(self) -> None:
        """Process the last sample."""
        parts = [ratio.on_sample(self._samples) for ratio in self._phases]
        sure = [part for part in parts if part]
        if len(sure) > 1 and max(sure) - min(sure) <= SAME_PART:
            for part, ratio in zip(parts, self._phases, strict=True):
                if part:
                    ratio.add_vote(1, self._samples[-1].at)

    @property
    def judged_at(self) -> float:
        """Return the time (s, monotonic) of the last move that has shown anything."""
        return max(ratio.judged_at for ratio in self._phases)

    @property
    def is_doubted(self) -> bool:
        """Return True if one more small move of a phase is to show that its ratio is another one."""
        first, second, third = self._phases
        return first.is_doubted or second.is_doubted or third.is_doubted

    @property
    def doubts(self) -> int:
        """Return what moves have yet to show of ratios and swapped phases that are suspected; 0: nothing."""
        return sum(ratio.doubts for ratio in self._phases) + self.edges.doubts

    def small_parts(self) -> dict[int, float]:
        """Return the part of each move that the phases (0 to 2) with another ratio show at most."""
        parts = [
            max(ratio.part if ratio.is_small else 0.0, edges.part)
            for ratio, edges in zip(self._phases, self.edges.phases, strict=True)
        ]
        return {phase: part for phase, part in enumerate(parts) if part}

    def find_open(self, limit_a: PhaseAmps) -> tuple[list[int], float]:
        """Return the phases whose ratio is open, and may let more than the limit (A per phase) flow.

        Return with them the least move (A) that stands out on one of them now; infinity: none does.
        """
        if not self._samples:
            return [], math.inf
        sample, is_doubted, phases, least_a = self._samples[-1], self.is_doubted, [], math.inf
        for phase, ratio in enumerate(self._phases):
            is_near_limit = sample.shown_a[phase] >= REACHED * limit_a[phase]
            if is_near_limit and sample.least_a[phase] >= LEAST_CAR_A and (is_doubted or ratio.is_open):
                phases.append(phase)
                if ratio.is_at_rest(sample.at):
                    least_a = min(least_a, self._standing_out_a(phase))
        return phases, least_a

    def _standing_out_a(self, phase: int) -> float:
        """Return the least move (A) of which the building hides no part, as it has moved of late."""
        begin = self._samples[-1].at - AT_REST_S
        shown = [each.shown_a[phase] for each in self._samples if each.at >= begin]
        return max(LEAST_MOVE_A, (max(shown) - min(shown)) / CLEAN)

    def clear(self) -> None:
        """Drop the moves that have begun."""
        for ratio in self._phases:
            ratio.clear()


def moves(values: Sequence[float], *, up: bool) -> tuple[float, float]:
    """Return the largest move along and against a direction, each from an earlier to a later value."""
    lowest = highest = values[0]
    rise = fall = 0.0
    for value in values:
        rise, fall = max(rise, value - lowest), max(fall, highest - value)
        lowest, highest = min(lowest, value), max(highest, value)
    return (rise, fall) if up else (fall, rise)
