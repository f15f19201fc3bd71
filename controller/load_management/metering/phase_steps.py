"""Phases of cars whose stations report no currents, from the meter above them.

A car that starts, or follows a change of its offer, moves the phases that it draws on by that step, and no
others. For each step the mean readings of `BEFORE_S` until it and of `AFTER_S` from `SETTLE_S` after it are
compared, phase by phase. What a step shows of a phase is its evidence: the logarithm of how much more likely
the move is if the car does not use the phase than if it does, with the building as noise. A phase that did
not move with a large step in a calm building is strong evidence; one step never decides (`MOST_EVIDENCE`), as
the building may hide it. Evidence adds up in `LearnedPhases.see_step`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec

from controller.load_management.metering.meter_window import MeterWindow
from controller.model.observations import EvseRef

LEAST_STEP_A = 1.0
"""Smallest step that is looked for."""
BEFORE_S = 5.0
SETTLE_S = 10.0
AFTER_S = 4.0
FEWEST_READINGS = 2
"""Readings that each of the two means needs at least."""
NOISE_A = 0.8
"""Least noise of a difference of two means (A)."""
MOST_EVIDENCE = 4.0
"""Most that one step may show of a phase."""
MOVED = -1.0
"""Evidence of a phase that has moved: without one the car has not followed, and the others show nothing."""
LATE_CHANGE_S = 5.0
"""Time (s) after which another EVSE's change may still show in the readings."""


class OfferStep(msgspec.Struct, frozen=True, kw_only=True):
    """Step of an EVSE's draw by `step_a` (A per phase, negative for a cut) at the time `at` (s, monotonic).

    `phases`: the site's phases that it is wired to, in the order of the station's.
    """

    ref: EvseRef
    phases: tuple[int, ...]
    step_a: float
    at: float


class StepVote(msgspec.Struct, frozen=True):
    """Evidence of one step that each wired phase is not used; negative: that it is."""

    ref: EvseRef
    evidence: tuple[float, ...]


class _Summary(msgspec.Struct, frozen=True):
    """Mean and spread of the readings of a few seconds on each phase (A)."""

    mean: Sequence[float]
    spread: Sequence[float]


class PhaseSteps:
    """Steps of the EVSEs below one meter that report no currents."""

    def __init__(self, window: MeterWindow) -> None:
        self._window = window
        self._steps: deque[OfferStep] = deque()

    def add_step(self, step: OfferStep) -> None:
        """Look for a step in the readings, once they are there."""
        if abs(step.step_a) >= LEAST_STEP_A:
            self._steps.append(step)

    def judge_due(self, now: float) -> list[StepVote]:
        """Return the votes of the steps that the last reading has completed."""
        votes = []
        while self._steps and self._steps[0].at + SETTLE_S + AFTER_S <= now:
            step = self._steps.popleft()
            evidence = self._judge(step)
            if min(evidence) <= MOVED:
                votes.append(StepVote(step.ref, evidence))
        return votes

    def clear(self) -> None:
        """Drop the steps that no reading will show."""
        self._steps.clear()

    def _judge(self, step: OfferStep) -> tuple[float, ...]:
        before = self._summary(step.at - BEFORE_S, step.at)
        after = self._summary(step.at + SETTLE_S, step.at + SETTLE_S + AFTER_S)
        if before is None or after is None:
            return (0.0,) * len(step.phases)
        sign, size_a = (1.0, step.step_a) if step.step_a > 0 else (-1.0, -step.step_a)
        begin, end = step.at - BEFORE_S - LATE_CHANGE_S, step.at + SETTLE_S + AFTER_S
        found: list[float] = []
        for phase in step.phases:
            noise_a = max(NOISE_A, before.spread[phase], after.spread[phase])
            move_a = sign * (after.mean[phase] - before.mean[phase])
            raised_a, lowered_a = self._window.moves_of(step.ref, phase, begin, end, others=True)
            along_a, against_a = (raised_a, lowered_a) if sign > 0 else (lowered_a, raised_a)
            unused = _evidence(move_a + against_a, size_a, noise_a)
            used = _evidence(move_a - along_a, size_a, noise_a)
            found.append(unused if unused > 0 else min(0.0, used))
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


def _evidence(move_a: float, step_a: float, noise_a: float) -> float:
    """Return the evidence of a phase's move that the car does not use it: a log-likelihood ratio.

    Unused, the move is noise about 0; used, it is noise about the step, or more.
    """
    ratio = (step_a * step_a - 2 * step_a * move_a) / (2 * noise_a * noise_a)
    return max(-MOST_EVIDENCE, min(MOST_EVIDENCE, ratio))
