"""Phases of cars whose stations report no currents, from the meter above them.

A car that starts, or follows a change of its offer, moves the phases that it draws on by that step, and no
others. For each step the mean readings of `BEFORE_S` until it and of `AFTER_S` from `SETTLE_S` after it are
compared, phase by phase, less what other EVSEs have changed meanwhile. Where no phase has moved, they are
compared once more `LATE_SETTLE_S` after the step: some stations are slow. Where readings are seldom, these
times are longer.

A car uses the first phases of its station, all with the same current (IEC 62196-2). How far it follows is not
known: it may be at a limit of its own. So every number of phases is weighed with the current that fits the
moves best. What a step shows of a phase is its evidence: the logarithm of how much more likely the moves are
if the car does not use the phase than if it does, with the building as noise. A phase that did not move while
another did, in a calm building, is strong evidence; one step never decides (`MOST_EVIDENCE`), as the building
may hide it. Evidence adds up in `LearnedPhases.see_step`.
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
LATE_SETTLE_S = 32.0
"""Time (s) after a step by which a slow station has followed."""
AFTER_S = 4.0
FEWEST_READINGS = 2
"""Readings that each of the two means needs at least."""
NOISE_A = 0.6
"""Least noise of a difference of two means (A)."""
MOST_EVIDENCE = 4.0
"""Most that one step may show of a phase."""
MOST_UNLIKELY = 6.0
"""Least likely that a move is (a log-likelihood): the building has moved the phase, so it shows nothing."""
COMMON = 4.0
"""Unlikelihood that a load of the building has moved all phases by the same at that moment."""
CURRENTS = 16
"""Parts of a step between which it is found how far the car has followed."""
TURN_S = 600.0
"""Longest time (s) that an EVSE is raised for the tests of its car: renewals make the room for it."""
REST_S = 900.0
"""Time (s) until the next one is raised after a turn without a test: the site is too full for a step."""
FITS = -1.0
"""Likelihood of a move that the right meter shows."""
COMMON_PROOF = 3.0
"""Evidence with which a step proves its phases, all moved alike, once another one has shown as much."""
MOVED = -1.0
"""Evidence of a phase that has moved: without one the car has not followed, and the others show nothing."""


class OfferStep(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Step of an EVSE's draw by `step_a` (A per phase, negative for a cut) at the time `at` (s, monotonic).

    `phases`: the site's phases that it is wired to, in the order of the station's. `lower_a`: the lower of
    the two offers (A per phase).
    """

    ref: EvseRef
    phases: tuple[int, ...]
    step_a: float
    at: float
    lower_a: float


class StepVote(msgspec.Struct, frozen=True, gc=False):
    """Evidence of one step that each wired phase is not used; negative: that it is.

    `drawn_a`: what the car draws under the higher of the two offers (A per phase). `takes_all`: that is all.
    """

    ref: EvseRef
    evidence: tuple[float, ...]
    drawn_a: float
    takes_all: bool


class _Summary(msgspec.Struct, frozen=True):
    """Mean and spread of the readings of a few seconds on each phase (A)."""

    mean: Sequence[float]
    spread: Sequence[float]


class _Move(msgspec.Struct, frozen=True):
    """Move of one phase that other EVSEs do not explain: between these (A). `variance`: twice its noise's.

    `shown_a`: what the meter shows, with the moves of the other EVSEs (A).
    """

    least_a: float
    most_a: float
    variance: float
    shown_a: float

    @property
    def middle_a(self) -> float:
        """Return the middle of both (A)."""
        return (self.least_a + self.most_a) / 2

    def likelihood(self, follows_a: float) -> float:
        """Return the logarithm of how likely it is if the car's part of it is `follows_a` (A)."""
        beyond_a = max(0.0, self.least_a - follows_a, follows_a - self.most_a)
        return -min(beyond_a * beyond_a / self.variance, MOST_UNLIKELY)

    def proves_meter(self, step_a: float, follows_a: float) -> bool:
        """Return True if only the right meter shows it where the car follows a step by `follows_a` (A).

        A meter that does not see the cars, or is built in backwards, does not show it then. Where other
        EVSEs move as far the other way, such a meter shows what the right one does.
        """
        if self.likelihood(math.copysign(follows_a, step_a)) < FITS:
            return False
        lowest_a = self.shown_a - self.most_a + min(0.0, step_a)
        highest_a = self.shown_a - self.least_a + max(0.0, step_a)
        beyond_a = max(0.0, self.shown_a + lowest_a, -self.shown_a - highest_a)
        return min(abs(self.shown_a), beyond_a) ** 2 >= MOST_EVIDENCE * self.variance


class PhaseTests:
    """Tests of the phases of cars below one meter, one at a time: two hide each other in its readings.

    `raised`: the EVSE that is offered more than its minimum, as its car has no step to follow otherwise;
    None: none is. EVSEs are raised in turns of `TURN_S`; `raised_at`: begin of this one (s, monotonic).
    """

    def __init__(self) -> None:
        self.begin_at = -math.inf
        """Time from which the next may begin (s, monotonic)."""
        self.raised: EvseRef | None = None
        self.raised_at = -math.inf
        self._turn_ends_at = -math.inf
        self._rests_until = -math.inf
        self._waiting: dict[EvseRef, None] = {}
        """EVSEs that are to be raised, with the one that is."""

    def set_needed(self, ref: EvseRef, *, is_needed: bool, has_step: bool) -> None:
        """Note whether the car of an EVSE is to be tested, and whether its offer is high enough for it."""
        if not is_needed or (has_step and ref != self.raised):
            self._waiting.pop(ref, None)
        else:
            self._waiting.setdefault(ref)

    def take_turn(self, now: float) -> list[EvseRef]:
        """Raise the next EVSE if it is time; return who is raised no longer, and who is from now on."""
        before = self.raised
        if before in self._waiting:
            if now < self._turn_ends_at:
                return []
            self._waiting[before] = self._waiting.pop(before)
            if self.begin_at <= self._turn_ends_at - TURN_S:  # no test has begun in this turn
                self._rests_until = now + REST_S
        is_resting = now < self._rests_until
        self.raised = None if is_resting else next(iter(self._waiting), None)
        self.raised_at, self._turn_ends_at = now, now + TURN_S
        return [] if self.raised == before else [ref for ref in (before, self.raised) if ref is not None]

    def begin(self, duration_s: float, now: float) -> None:
        """Note that a test begins; the meter shows its end as late as its begin."""
        self.begin_at = now + 2 * duration_s


class PhaseSteps:
    """Steps of the EVSEs below one meter that report no currents.

    `proven`: the phases that have clearly followed a step since the start. `tests`: of those EVSEs.

    A step that moves all phases of the site alike may be a load of the building: two of them prove a phase.
    """

    def __init__(self, window: MeterWindow) -> None:
        self.proven = [False, False, False]
        self._followed = [False, False, False]
        """Phases that have followed one step of a car as all the others did."""
        self.tests = PhaseTests()
        self._window = window
        self._steps: deque[OfferStep] = deque()
        self._late: deque[OfferStep] = deque()
        """Steps that are looked for once more, as no phase had moved."""
        self._last_at: dict[EvseRef, float] = {}
        """Time of the last step of each EVSE."""
        self._mixed: set[tuple[EvseRef, float]] = set()
        """Steps (by EVSE and time) in whose readings another step of the same EVSE shows."""

    def add_step(self, step: OfferStep) -> None:
        """Look for a step in the readings, once they are there."""
        if abs(step.step_a) < LEAST_STEP_A:
            return
        last_at = self._last_at.get(step.ref, -math.inf)
        if step.at < last_at + SETTLE_S + self._after_s:
            self._mixed.add((step.ref, last_at))
        if step.at < last_at + self._before_s + LATE_S:
            self._mixed.add((step.ref, step.at))
        self._last_at[step.ref] = step.at
        self._steps.append(step)

    def judge_due(self, now: float) -> list[StepVote]:
        """Return the votes of the steps that the last reading has completed."""
        if not self._steps and not self._late:
            return []
        votes, after_s = [], self._after_s
        while self._steps and self._steps[0].at + SETTLE_S + after_s <= now:
            step = self._steps.popleft()
            if (step.ref, step.at) in self._mixed:
                self._mixed.discard((step.ref, step.at))
            elif not self._window.is_crowded:
                if (vote := self._vote(step, SETTLE_S)) is None:
                    self._late.append(step)
                else:
                    votes.append(vote)
        while self._late and self._late[0].at + LATE_SETTLE_S + after_s <= now:
            step = self._late.popleft()
            is_last = self._last_at[step.ref] == step.at
            if is_last and not self._window.is_crowded and (vote := self._vote(step, LATE_SETTLE_S)):
                votes.append(vote)
        if not self._steps:
            self._mixed.clear()
        return votes

    @property
    def _before_s(self) -> float:
        """Return the time (s) of the readings before a step."""
        return self._window.span_of(FEWEST_READINGS, BEFORE_S)

    @property
    def _after_s(self) -> float:
        """Return the time (s) of the readings after a step."""
        return self._window.span_of(FEWEST_READINGS, AFTER_S)

    def _vote(self, step: OfferStep, settle_s: float) -> StepVote | None:
        """Return the vote of a step that was settled after `settle_s`; None: no phase has moved."""
        moves = self._moves(step, settle_s)
        if not moves:
            return None
        evidence, follows_a = _weigh(moves, step.step_a)
        takes_all = follows_a >= abs(step.step_a) - NOISE_A
        for phase, found, move in zip(step.phases, evidence, moves, strict=True):
            if not move.proves_meter(step.step_a, follows_a):
                continue
            self.proven[phase] |= found <= -MOST_EVIDENCE
            if found <= -COMMON_PROOF and takes_all:
                self.proven[phase] |= self._followed[phase]
                self._followed[phase] = True
        if min(evidence) > MOVED:
            return None
        return StepVote(step.ref, evidence, drawn_a=step.lower_a + follows_a, takes_all=takes_all)

    def drop_proof(self, phase: int) -> None:
        """Take a phase (0 to 2) as not proven from now on."""
        self.proven[phase] = self._followed[phase] = False

    def clear(self) -> None:
        """Drop the steps that no reading will show."""
        self._steps.clear()
        self._late.clear()
        self._last_at.clear()
        self._mixed.clear()

    def _moves(self, step: OfferStep, settle_s: float) -> list[_Move]:
        """Return the moves of the step's phases, in the order of the station's; none without readings."""
        begin = step.at + settle_s
        spans = (step.at - self._before_s, step.at), (begin, begin + self._after_s)
        before, after = (self._summary(*span) for span in spans)
        if before is None or after is None:
            return []
        moves: list[_Move] = []
        for phase in step.phases:
            noise_a = max(NOISE_A, before.spread[phase], after.spread[phase])
            move_a = after.mean[phase] - before.mean[phase]
            least_a, most_a = self._window.net_of_others(step.ref, phase, *spans)
            moves.append(_Move(move_a - most_a, move_a - least_a, 2 * noise_a * noise_a, move_a))
        return moves

    def _summary(self, begin: float, end: float) -> _Summary | None:
        """Return the summary of the readings between two moments; None if there are too few."""
        rows = self._window.readings(begin, end)
        if len(rows) < FEWEST_READINGS:
            return None
        columns = [*zip(*rows, strict=True)]
        return _Summary(
            [sum(column) / len(rows) for column in columns], [max(column) - min(column) for column in columns]
        )


def _weigh(moves: Sequence[_Move], step_a: float) -> tuple[tuple[float, ...], float]:
    """Return the evidence that each wired phase is not used, and how far the car has followed (A per phase).

    It follows with a current between `LEAST_STEP_A` and all of the step, or not at all. A load of the
    building may have moved all phases by the same: by what those have moved that the car does not use.
    """
    steps_a = [
        math.copysign(LEAST_STEP_A + (abs(step_a) - LEAST_STEP_A) * part / CURRENTS, step_a)
        for part in range(1, CURRENTS + 1)
    ]
    best = [(-math.inf, 0.0)] * (len(moves) + 1)
    """Likelihood if the car uses so many phases or has not followed, and how far it has followed then."""
    for used in range(len(moves) + 1):
        unused = moves[used:]
        common_a = sum(move.middle_a for move in unused) / len(unused) if unused else 0.0
        for shift_a in (0.0, common_a):
            likelihood = sum(move.likelihood(shift_a) for move in unused) - COMMON * (shift_a != 0)
            if not used:
                best[0] = max(best[0], (likelihood, 0.0))
                continue
            for follows_a in steps_a:
                found = likelihood + sum(move.likelihood(shift_a + follows_a) for move in moves[:used])
                best[used] = max(best[used], (found, abs(follows_a)))
    evidence = []
    for phase in range(len(moves)):
        unused_by = max(best[: phase + 1])[0]
        used_by = max(best[0], *best[phase + 1 :])[0]
        evidence.append(max(-MOST_EVIDENCE, min(MOST_EVIDENCE, unused_by - used_by)))
    return tuple(evidence), max(best)[1]
