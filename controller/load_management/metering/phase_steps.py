"""Phases of cars whose stations report no currents, from the meter above them.

A car that starts, or follows a change of its offer, moves the phases that it draws on by that step, and no
others. For each step the mean readings of `BEFORE_S` until it and of `AFTER_S` from `SETTLE_S` after it are
compared, phase by phase, less what other EVSEs have changed meanwhile. What a step shows of a phase is its
evidence: the logarithm of how much more likely the move is if the car does not use the phase than if it does,
with the building as noise. A phase that did not move with a large step in a calm building is strong evidence;
one step never decides (`MOST_EVIDENCE`), as the building may hide it. Evidence adds up in
`LearnedPhases.see_step`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import msgspec

from controller.load_management.metering.meter_window import LATE_S, MeterWindow
from controller.model.observations import EvseRef

LEAST_STEP_A = 1.0
"""Smallest step that is looked for."""
BEFORE_S = 5.0
SETTLE_S = 10.0
AFTER_S = 4.0
FEWEST_READINGS = 2
"""Readings that each of the two means needs at least."""
NOISE_A = 0.6
"""Least noise of a difference of two means (A)."""
MOST_EVIDENCE = 4.0
"""Most that one step may show of a phase."""
MOVED = -1.0
"""Evidence of a phase that has moved: without one the car has not followed, and the others show nothing."""


class OfferStep(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Step of an EVSE's draw by `step_a` (A per phase, negative for a cut) at the time `at` (s, monotonic).

    `phases`: the site's phases that it is wired to, in the order of the station's.
    """

    ref: EvseRef
    phases: tuple[int, ...]
    step_a: float
    at: float


class StepVote(msgspec.Struct, frozen=True, gc=False):
    """Evidence of one step that each wired phase is not used; negative: that it is."""

    ref: EvseRef
    evidence: tuple[float, ...]


class _Summary(msgspec.Struct, frozen=True):
    """Mean and spread of the readings of a few seconds on each phase (A)."""

    mean: Sequence[float]
    spread: Sequence[float]


class PhaseSteps:
    """Steps of the EVSEs below one meter that report no currents.

    `proven`: the phases that have clearly followed a step since the start.
    """

    def __init__(self, window: MeterWindow) -> None:
        self.proven = [False, False, False]
        self._window = window
        self._steps: deque[OfferStep] = deque()
        self._last_at: dict[EvseRef, float] = {}
        """Time of the last step of each EVSE."""
        self._mixed: set[tuple[EvseRef, float]] = set()
        """Steps (by EVSE and time) in whose readings another step of the same EVSE shows."""

    def add_step(self, step: OfferStep) -> None:
        """Look for a step in the readings, once they are there."""
        if abs(step.step_a) < LEAST_STEP_A:
            return
        last_at = self._last_at.get(step.ref, -math.inf)
        if step.at < last_at + SETTLE_S + AFTER_S:
            self._mixed.add((step.ref, last_at))
        if step.at < last_at + BEFORE_S + LATE_S:
            self._mixed.add((step.ref, step.at))
        self._last_at[step.ref] = step.at
        self._steps.append(step)

    def judge_due(self, now: float) -> list[StepVote]:
        """Return the votes of the steps that the last reading has completed."""
        votes = []
        while self._steps and self._steps[0].at + SETTLE_S + AFTER_S <= now:
            step = self._steps.popleft()
            is_mixed = (step.ref, step.at) in self._mixed
            self._mixed.discard((step.ref, step.at))
            if is_mixed or self._window.is_crowded:
                continue
            evidence = self._judge(step)
            for phase, found in zip(step.phases, evidence, strict=True):
                self.proven[phase] |= found <= -MOST_EVIDENCE
            if min(evidence) <= MOVED:
                votes.append(StepVote(step.ref, evidence))
        if not self._steps:
            self._mixed.clear()
        return votes

    def clear(self) -> None:
        """Drop the steps that no reading will show."""
        self._steps.clear()
        self._last_at.clear()
        self._mixed.clear()

    def _judge(self, step: OfferStep) -> tuple[float, ...]:
        spans = (step.at - BEFORE_S, step.at), (step.at + SETTLE_S, step.at + SETTLE_S + AFTER_S)
        before, after = (self._summary(*span) for span in spans)
        if before is None or after is None:
            return (0.0,) * len(step.phases)
        found: list[float] = []
        for phase in step.phases:
            noise_a = max(NOISE_A, before.spread[phase], after.spread[phase])
            move_a = after.mean[phase] - before.mean[phase]
            least_a, most_a = self._window.net_of_others(step.ref, phase, *spans)
            unused_a = _distance(move_a, least_a, most_a)
            used_a = _distance(move_a - step.step_a, least_a, most_a)
            ratio = (used_a * used_a - unused_a * unused_a) / (2 * noise_a * noise_a)
            found.append(max(-MOST_EVIDENCE, min(MOST_EVIDENCE, ratio)))
        return tuple(found)

    def _summary(self, begin: float, end: float) -> _Summary | None:
        """Return the summary of the readings between two moments; None if there are too few."""
        rows = self._window.readings(begin, end)
        if len(rows) < FEWEST_READINGS:
            return None
        columns = [*zip(*rows, strict=True)]
        return _Summary(
            [sum(column) / len(rows) for column in columns], [max(column) - min(column) for column in columns]
        )


def _distance(move_a: float, least_a: float, most_a: float) -> float:
    """Return how far a move is outside the range that other EVSEs explain (A): noise of the building."""
    return max(0.0, least_a - move_a, move_a - most_a)
