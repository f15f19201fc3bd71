"""Proof of a meter: which of its phases the cars' steps have proven, and why they make it suspected.

`MISSES` steps in a row that a phase has missed make the meter suspected. So do `STEPS_WITHOUT_EDGE` steps of
single cars of which no edge of the phase shows a part: beside a lively building none is missed for sure. As
many as `MISSES` that a suspected phase has shown as edges since clear it again, or twice as many seen ones:
the building looks like a step now and then. Cars at their fallback may make none by themselves, so that one
makes a step from time to time (`car_steps.py`).

A phase on which one step was seen is proven to show the cars, and as a load. Where the building had moved as
far just before, `SIGHTINGS` steps in a row prove it.

While none is proven, a step that several phases miss at once counts as often: that is the first step after an
installation. So does a step on a phase that has not been proven and shows no current at all: no load of a
building can have hidden it there. So does one that is missed after the readings have been quiet for longer
than usual: the meter is frozen, though its last digits change.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from controller.load_management.evse.consumption import ReportedStep
from controller.load_management.metering.ratio_check import moves
from controller.load_management.metering.step_edges import LoneMove, SwappedPhases
from controller.load_management.metering.sum_check import MISSED, SEEN, STEP_A
from controller.load_management.site_tree import PhaseAmps
from controller.model.observations import EvseRef
from drivers.coded_text import coded, join_and

MISSES = 2
SIGHTINGS = 2
"""Steps in a row that prove a phase on which the building moves as far itself."""
ENOUGH_SEEN = 2 * MISSES
"""Steps in a row that end a suspicion, convincing ones counted twice."""
STEPS_WITHOUT_EDGE = 3
"""Steps of single cars in a row that a lively building does not hide."""
FLAT_A = 0.05
"""Readings that differ by less are the same."""
DEAD_A = 0.5
"""A phase that never carries more has no current transformer, or a dead one."""

PLACED_BEFORE = coded(
    "the meter is placed before the cars and does not measure them (then set "
    'measures = "building"), or measures another circuit'
)
WRONG_RATIO = coded("check the ratio of its current transformers, and what the stations measure")
FROZEN = coded("the meter is frozen; restart it or its gateway")


class StepJudgement(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Result of looking for a step in the readings of a `window`: where it was `seen`, and where `missed`.

    `move`: the lone move that it ends, if other cars have hardly moved. `convincing`: those of the phases on
    which it was seen that were proven before, while the meter is not suspected, or on which the building had
    not moved so just before. `begins`: from when the readings show it (s). `dead`: the missed phases that
    carry nothing. `is_quiet`: the readings have shown no more than flutter for long. `is_covered`: they were
    there before the step.
    """

    step: ReportedStep
    move: LoneMove | None
    window: Sequence[PhaseAmps]
    seen: Sequence[int]
    convincing: Sequence[int]
    begins: Mapping[int, float]
    missed: Sequence[int]
    dead: Sequence[int]
    is_mirrored: bool
    is_quiet: bool
    is_covered: bool


class MeterProof:
    """Proof of one meter. `problem` states in words why it is suspected; empty while it is not.

    `proven`: the phases on which a step was seen since the start. `seen_from`: time of the first reading in
    which the last one was seen on each (s, monotonic).
    """

    def __init__(self) -> None:
        self.problem: str = ""
        self.proven = [False, False, False]
        self.seen_from = [-math.inf] * 3
        self._misses = [0, 0, 0]
        self.swapped: frozenset[int] = frozenset()
        """Phases that are suspected to be swapped: steps that are alike on all of them disprove nothing."""
        self._sightings = [0, 0, 0]
        """Steps that were seen on each phase since it has missed one, convincing ones twice."""
        self._without_edge = [0, 0, 0]
        """Steps of single cars without an edge of each phase, since the last one with an edge."""
        self.seen = 0
        """Steps that were seen since the last miss, convincing ones twice."""
        self._small_phases: Sequence[int] = ()
        """Phases that show too small a part of each step."""
        self._by_edges: SwappedPhases | None = None
        """Swapped phases by the edges of the readings."""

    @property
    def suspected_phases(self) -> Sequence[int]:
        """Return the phases (0 to 2) that steps have to show again; all, once each was shown."""
        found = {*self._small_phases, *(self.swapped if self._by_edges else ())}
        found.update(phase for phase, misses in enumerate(self._misses) if misses >= MISSES)
        return sorted(found or self.swapped) or (0, 1, 2)

    @property
    def steps_lacking(self) -> int:
        """Return how many steps have yet to be seen until the suspicion ends; convincing ones count twice."""
        missed = (
            sightings
            for sightings, misses in zip(self._sightings, self._misses, strict=True)
            if misses >= MISSES
        )
        return max(0, ENOUGH_SEEN - self.seen) + sum(max(0, ENOUGH_SEEN - sightings) for sightings in missed)

    def has_missed(self, phase: int) -> bool:
        """Return True if the last step that was judged on a phase was missed."""
        return self._misses[phase] > 0

    def add_judgement(self, judgement: StepJudgement) -> None:
        """Add the judgement of a step that a station has reported."""
        shows_swap = self._shows_swap(judgement.step.delta_a)
        for phase in judgement.seen:
            if shows_swap or phase not in self.swapped:
                self._sightings[phase] += 2 if self._is_convincing(judgement, phase) else 1
            if self._sightings[phase] >= SIGHTINGS and self._is_cleared(phase):
                self._prove(phase, judgement.begins[phase])
            if shows_swap and self.proven[phase] and self._is_cleared(phase):
                self._misses[phase] = 0
        if judgement.seen and shows_swap:
            self.seen += 2 if judgement.convincing else 1
        self._count_missed(judgement)
        self._count_without_edge(judgement)

    def add_confirmed(self, judgement: StepJudgement) -> None:
        """Add the judgement of a step by a limit that a later report shows to have been made.

        One that was seen proves nothing by itself: a smaller move would have looked so, too.
        """
        for phase in judgement.seen if self._shows_swap(judgement.step.delta_a) else ():
            self._sightings[phase] += 1
            if self._is_cleared(phase):
                self._misses[phase] = 0
        self._count_missed(judgement)
        self._count_without_edge(judgement)

    def add_proven(self, phases: Sequence[int], seen_from: Sequence[float]) -> None:
        """Add phases (0 to 2) that steps by limits have proven, by readings since these moments (s)."""
        for phase in phases:
            self._prove(phase, seen_from[phase])
        if phases and not self.swapped:
            self.seen += 2

    def add_missed_sum(self, phases: Sequence[int], *, is_quiet: bool) -> None:
        """Suspect the meter, as these phases do not show what all stations below draw together.

        `is_quiet`: the readings have shown no more than flutter for long.
        """
        self.seen = 0
        for phase in phases:
            self._misses[phase] = max(MISSES, self._misses[phase])
            self._sightings[phase] = 0
        if self.swapped and self.problem:
            return  # a likelier cause is known
        self.problem = coded(
            "{phases} not follow what all stations below report together: {cause}",
            phases=_follow_in_words(phases),
            cause=FROZEN if is_quiet else PLACED_BEFORE,
        )

    def set_small_parts(self, parts: Mapping[int, float]) -> None:
        """Suspect the meter where a phase shows too small a part of each step."""
        phases, self._small_phases = self._small_phases, [*parts]
        if parts and (not self.problem or phases != self._small_phases):
            if not self.problem or not parts.keys() <= set(phases):
                self.seen = 0
            self.problem = coded(
                "{phases} not show more than {percent} % of the steps that stations report: {cause}",
                phases=_follow_in_words([*parts]),
                percent=f"{100 * max(parts.values()):.0f}",
                cause=WRONG_RATIO,
            )

    def set_swapped(self, swapped: SwappedPhases | None) -> None:
        """Suspect the meter where the edges of its readings show that phases are swapped."""
        is_new, self._by_edges = swapped is not None and self._by_edges is None, swapped
        if swapped is not None and not self._small_phases and (is_new or not self.problem):
            self.seen = 0
            self.swapped = swapped.pair
            cause = _swapped_in_words([swapped.phase, swapped.other])
            self.problem = _in_words([swapped.phase], swapped.ref, swapped.step_a, cause)

    def end_suspicion(self) -> None:
        """End the suspicion once nothing speaks for it, and enough steps were seen in a row since."""
        by_edges = self._small_phases or self._by_edges
        if self.seen >= ENOUGH_SEEN and not by_edges and max(self._misses) < MISSES:
            self.problem = ""
            self.swapped = frozenset()

    def drop_proof(self, phases: Sequence[int]) -> None:
        """Take phases (0 to 2) as not proven from now on, until the next step of a car shows them."""
        for phase in phases:
            self.proven[phase] = False

    def _shows_swap(self, delta_a: PhaseAmps) -> bool:
        """Return True if a step (A per phase) would show phases that are suspected to be swapped."""
        if not self.swapped:
            return True
        steps = [delta_a[phase] for phase in self.swapped]
        return max(steps) - min(steps) >= STEP_A

    def _is_convincing(self, judgement: StepJudgement, phase: int) -> bool:
        """Return True if a phase has shown a step so that one proves it.

        Where it is suspected and no other cars have moved, that takes an edge, too.
        """
        move = judgement.move
        if move is not None and phase in move.step_a and self._misses[phase] >= MISSES:
            return move.is_shown(phase) is True
        return phase in judgement.convincing

    def _is_cleared(self, phase: int) -> bool:
        """Return True if a phase has missed too few steps to be suspected, or has shown enough since."""
        return self._misses[phase] < MISSES or self._sightings[phase] >= 2 * MISSES

    def _prove(self, phase: int, since: float) -> None:
        """Take a phase as proven, by readings since this moment (s)."""
        self.seen_from[phase] = max(self.seen_from[phase], since)
        self.proven[phase] = True
        if phase not in self.swapped:
            self._misses[phase] = 0

    def _count_missed(self, judgement: StepJudgement) -> None:
        """Count the phases that have missed a step, and suspect the meter by them."""
        phases = judgement.missed
        if not phases:
            return
        self.seen = 0
        is_first = len(phases) > 1 and judgement.is_covered and not any(self.proven)
        for phase in phases:
            self._sightings[phase] = 0
            is_bare = not self.proven[phase] and phase in judgement.dead
            self._misses[phase] += MISSES if is_first or is_bare or judgement.is_quiet else 1
        if suspected := [phase for phase in phases if self._misses[phase] >= MISSES]:
            self._suspect(judgement, suspected)

    def _count_without_edge(self, judgement: StepJudgement) -> None:
        """Count the phases without an edge of a step that a car has made alone; suspect the meter by them.

        The building moves too much for these to be missed for sure, but hides no three in a row.
        """
        move, hidden = judgement.move, []
        if move is None:
            return
        for phase in move.step_a:
            is_shown = phase in judgement.seen or move.is_shown(phase)
            if is_shown:
                self._without_edge[phase] = 0
            elif is_shown is False:
                self._without_edge[phase] += 1
                self._sightings[phase] = 0
                if self._without_edge[phase] >= STEPS_WITHOUT_EDGE:
                    self._misses[phase] = max(MISSES, self._misses[phase])
                    hidden.append(phase)
        if hidden:
            self._suspect(judgement, hidden)

    def _suspect(self, judgement: StepJudgement, suspected: Sequence[int]) -> None:
        """Suspect the meter by phases that have not shown a step."""
        step = judgement.step
        self.seen = 0
        # With another ratio, moves of the building hide steps, and edges show swapped phases for sure.
        if self._small_phases or self._by_edges:
            return
        swapped = [] if judgement.is_quiet else _find_swapped(judgement, suspected)
        self.swapped = frozenset([suspected[-1], *swapped] if swapped else [])
        cause = FROZEN if judgement.is_quiet else _find_cause(judgement, suspected, swapped)
        self.problem = _in_words(suspected, step.ref, step.delta_a[suspected[-1]], cause)


def _in_words(phases: Sequence[int], ref: EvseRef, step_a: float, cause: str) -> str:
    """Return in words that phases have missed a step of a car (A), and why."""
    return coded(
        "{phases} not follow station {evse}, whose car made a step of {amps} A: {cause}",
        phases=_follow_in_words(phases),
        evse=ref,
        amps=f"{step_a:+.0f}",
        cause=cause,
    )


def _swapped_in_words(phases: Sequence[int]) -> str:
    """Return in words that phases are swapped."""
    return coded(
        "phases {phases} are swapped at the meter, or the station's phases are not as configured",
        phases=list_phases(phases),
    )


def _find_swapped(judgement: StepJudgement, missed: Sequence[int]) -> list[int]:
    """Return the phases that have moved as the last of the missed ones should have, without their cars."""
    step, phase = judgement.step, missed[-1]
    size = abs(step.delta_a[phase])
    return [
        other
        for other in range(3)
        if other not in missed
        if abs(step.delta_a[other]) < MISSED * size
        if moves([amps[other] for amps in judgement.window], up=step.delta_a[phase] > 0)[0] >= SEEN * size
    ]


def _find_cause(judgement: StepJudgement, missed: Sequence[int], swapped: Sequence[int]) -> str:
    """Return the likely cause of a step that these phases have missed, in words, with what to check.

    `swapped`: those that have moved in their place.
    """
    step, window = judgement.step, judgement.window
    phase = missed[-1]
    columns = [[amps[each] for amps in window] for each in range(3)]
    spans = [max(column) - min(column) for column in columns]
    others = [other for other in range(3) if other not in missed]
    phases, is_single = list_phases(missed), len(missed) == 1
    others_show_load = any(
        max(map(abs, columns[other])) > DEAD_A
        and (
            abs(step.delta_a[other]) < STEP_A
            or moves(columns[other], up=step.delta_a[other] > 0)[0] >= SEEN * abs(step.delta_a[other])
        )
        for other in others
    )
    if max(spans) <= FLAT_A:
        return FROZEN
    if judgement.is_mirrored:
        return (
            coded("its current transformer of {phase} is built in backwards", phase=phases)
            if is_single
            else coded("its current transformers of {phases} are built in backwards", phases=phases)
        )
    if swapped:
        return _swapped_in_words([phase, *swapped])
    if others_show_load and max(map(abs, columns[phase])) <= DEAD_A:
        return (
            coded("its current transformer of {phase} is dead or not connected", phase=phases)
            if is_single
            else coded("its current transformers of {phases} are dead or not connected", phases=phases)
        )
    return PLACED_BEFORE


def _follow_in_words(phases: Sequence[int]) -> str:
    """Return the begin of a sentence about what phases follow: `L1 does`, `L1 and L2 do`."""
    if len(phases) > 1:
        return coded("{phases} do", phases=list_phases(phases))
    return coded("{phase} does", phase=list_phases(phases))


def list_phases(phases: Sequence[int]) -> str:
    """Return the names of phases in words: `L1, L2 and L3`."""
    return join_and([f"L{phase + 1}" for phase in phases])
