"""Check of a meter against the stations below it: a step that they report must be seen by it.

A meter that is built in backwards, whose phases are swapped, that sits before the cars, that is frozen or
has a dead current transformer shows plausible values, and every one of them is wrong. What it cannot do is
follow the cars. So each step of a station's reported consumption of `STEP_A` or more on a phase is looked
for in the readings around it:

    window    from `LEAD_S` before the report that precedes the step to the first reading `SEEN_S` or more
              after the one that shows it; a car that has followed a limit has done so as that changed
    seen      within the window the readings of that phase rose (fell) by `SEEN` of the step
    missed    they did not rise by `MISSED` of it, and did not fall by as much, so that nothing of the
              building can have hidden the step; or they fell by about as much as the station rose, in this
              step or in all its steps within the window
    neither   anything else: the building was too busy, or stations may have stepped the other way (after
              the first `CONNECTING_S` a step is seen that is larger than the station's own moves that way)

Stations that report more seldom than each `LONGEST_WINDOW_S` show no step in time. There each limit that such
a station accepts is a step, and one that is missed counts once the next report shows that its car has
followed.

`MISSES` in a row make the meter suspected, as many seen steps in a row clear it again, and twice as many
where the building has just moved as far itself: that looks like a step now and then.

A phase on which one step was seen is proven to show the cars, and as a load. A building that moves by itself
looks so, too. So a step is not seen on a phase without a proof where its readings have moved both ways, or
further than all cars, unless they have an *edge* of its size, and none of that size the other way. Where they
had moved so far just before, too, and had such edges, `SIGHTINGS` steps in a row prove it.

While none is proven, a step that several phases miss at once counts as often: that is the first step after an
installation. So does a step on a phase that has not been proven and shows no current at all: no load of a
building can have hidden it there.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from controller.load_management.evse.consumption import CommandedStep, OfferCredit, ReportedStep
from controller.load_management.metering.base_load import RollingMax
from controller.load_management.metering.car_steps import (
    CAR_STEPS_S,
    LONGEST_REPORT_S,
    CarSteps,
    NeededStep,
)
from controller.load_management.metering.commanded_steps import CommandedSteps
from controller.load_management.metering.meter_window import MeterWindow
from controller.load_management.metering.ratio_check import LONGEST_S, moves
from controller.load_management.metering.step_edges import find_edges, find_lone_move
from controller.load_management.metering.sum_check import (
    MISSED,
    QUIET_A,
    QUIET_STEP_A,
    SEEN,
    STEP_A,
    SumCheck,
)
from controller.load_management.site_tree import LEAST_CAR_A, NOWHERE, ZERO, PhaseAmps
from controller.model.observations import EvseRef
from drivers.coded_text import coded, join_and

LEAD_S = 8.0
"""Earliest time (s) of a step before the previous report: reports and meters have their delays."""
SEEN_S = 10.0
"""Time (s) after the report that shows a step until the next reading shows it for sure."""
LONGEST_WINDOW_S = 150.0
"""Steps between reports that are further apart are not looked for."""
MIRRORED = (0.7, 1.4)
"""Multiples of a step by which a meter that is built in backwards moves the wrong way."""
EDGE = (0.75, 1.25)
"""Multiples of a step that an edge of the readings is about as large as."""
EDGES_S = 120.0
"""Time (s) before a step without an edge of its size, so that the building makes none as a rule."""
MISSES = 2
SIGHTINGS = 2
"""Steps in a row that prove a phase on which the building moves as far itself."""
CONNECTING_S = 300.0
"""Time (s) from the first reading in which all stations connect and step: only clear steps count."""
FLAT_A = 0.05
"""Readings that differ by less are the same."""
MEMORY_S = LONGEST_WINDOW_S + LEAD_S + SEEN_S
"""Time for which the check needs readings and changes (s)."""
DEAD_A = 0.5
"""A phase that never carries more has no current transformer, or a dead one."""
FEWEST_READINGS = 3
LONGEST_GAP_S = 15.0
"""A step is not looked for where readings are missing for longer (s): it may have happened then."""
USUAL = 2.0
"""Multiple of the longest quiet span of late until then."""
LATE_SPANS_S = 7200.0
"""Time (s) for which a span counts as of late: nights are more quiet than days."""
LIVELY_SPANS = 20
LIVELY_S = 900.0
"""The building moves by itself where so many spans have ended within this time (s); else the cars have."""
OFFER_ERROR_A = 0.5
"""Tolerance (A) with which a car follows its offer."""
LARGEST_STEPS_A = (4.0, 6.0)
"""Largest step (A per phase) that is made for a ratio beside a busy building, and for one that is doubted."""
HELD_BACK_A = 2.0
"""Current (A per phase) that a meter which is not proven holds back, for which a car makes a step."""
STEP_PART = 0.06
"""Part of the limit by which a car steps for a ratio if it can: others change a little meanwhile."""

PLACED_BEFORE = coded(
    "the meter is placed before the cars and does not measure them (then set "
    'measures = "building"), or measures another circuit'
)
WRONG_RATIO = coded("check the ratio of its current transformers, and what the stations measure")
FROZEN = coded("the meter is frozen; restart it or its gateway")


class QuietWatch:
    """Watch for a meter that shows no more than the flutter of its last digits.

    `moved_at`: time (s, monotonic) of the last reading that was more than that.
    """

    def __init__(self) -> None:
        self.moved_at = self._read_at = 0.0
        self._due_from = math.inf
        self._lowest: list[float] = []
        self._highest: list[float] = []
        self._spans = RollingMax(LATE_SPANS_S)
        """Durations (s) of the quiet spans that have ended."""
        self._ends: deque[float] = deque(maxlen=LIVELY_SPANS)
        """Times at which the last of them ended (s)."""

    def on_reading(self, amps: PhaseAmps, now: float) -> None:
        """Process one reading (A per phase)."""
        has_gap, self._read_at = now > self._read_at + LONGEST_GAP_S, now
        if self._lowest and not has_gap:
            self._lowest = [min(pair) for pair in zip(self._lowest, amps, strict=True)]
            self._highest = [max(pair) for pair in zip(self._highest, amps, strict=True)]
            spans = zip(self._lowest, self._highest, strict=True)
            if all(highest - lowest <= QUIET_A for lowest, highest in spans):
                return
            self._spans.add(now - self.moved_at, now)
            self._ends.append(now)
        self._lowest = self._highest = [*amps]
        self.moved_at = now
        self._due_from = now + self._longest_s(now)

    def _longest_s(self, now: float) -> float:
        """Return for how long readings may be quiet from now on until a car is to make a step (s)."""
        least_s, most_s = CAR_STEPS_S
        usual_s = self._spans.highest(now)
        if usual_s is None or len(self._ends) < LIVELY_SPANS or self._ends[0] < now - LIVELY_S:
            return most_s
        return min(max(least_s, USUAL * usual_s), most_s)

    def is_long(self, now: float) -> bool:
        """Return True if the readings have been quiet for so long that a car is to make a step."""
        return now >= self._due_from

    def clear(self) -> None:
        """Drop the readings: those that come cannot be compared with them."""
        self._lowest, self._due_from = [], math.inf


class _Sight(enum.Enum):
    """Result of looking for a step on one phase."""

    SEEN = enum.auto()
    MISSED = enum.auto()
    MIRRORED = enum.auto()
    """The meter moved the wrong way by as much."""
    UNCLEAR = enum.auto()


class _Judgement(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Result of looking for a step in the readings of a `window`: where it was `seen`, and where `missed`.

    `convincing`: those of the phases on which it was seen that were proven before, while the meter is not
    suspected, or on which the building had not moved so just before. `begins`: from when the readings show it
    (s). `dead`: the missed phases that carry nothing. `is_quiet`: the readings have shown no more than
    flutter for long. `is_covered`: they were there before the step.
    """

    step: ReportedStep
    window: Sequence[PhaseAmps]
    seen: Sequence[int]
    convincing: Sequence[int]
    begins: Mapping[int, float]
    missed: Sequence[int]
    dead: Sequence[int]
    is_mirrored: bool
    is_quiet: bool
    is_covered: bool


class StepCheck:
    """Check of one meter. `problem` states in words why it is suspected; empty while it is not.

    `proven`: the phases on which a step was seen since the start.
    """

    def __init__(self, window: MeterWindow) -> None:
        self.problem: str = ""
        self.proven = [False, False, False]
        self.car_steps = CarSteps()
        self._quiet = QuietWatch()
        self.commanded = CommandedSteps(window)
        self._window = window
        self._sums = SumCheck()
        self._seen_from = [-math.inf] * 3
        """Time of the first reading in which the last step was seen (s, monotonic)."""
        self._pending: deque[ReportedStep] = deque()
        self._unreported: deque[ReportedStep] = deque()
        """Steps by limits that no report shows in time."""
        self._unconfirmed: list[_Judgement] = []
        """Of such steps: no report has shown yet that their cars have followed."""
        self._misses = [0, 0, 0]
        self._swapped: frozenset[int] = frozenset()
        """Phases that are suspected to be swapped: steps that are alike on all of them disprove nothing."""
        self._sightings = [0, 0, 0]
        """Steps that were seen on each phase since it has missed one."""
        self._seen = 0
        """Steps that were seen since the last miss, convincing ones twice."""
        self._small_phases: Sequence[int] = ()
        """Phases that show too small a part of each step."""
        self._steady_from = math.inf
        """Time (s) from which the stations are taken to have connected."""

    def add_step(self, step: ReportedStep) -> None:
        """Look for a reported step in the readings, once they are there."""
        if step.reported_at - step.since <= LONGEST_S:
            self._sums.ratios.add_step(step.delta_a)
        is_large = any(abs(delta) >= STEP_A for delta in step.delta_a)
        if is_large and step.reported_at - step.since <= LONGEST_WINDOW_S:
            self._pending.append(step)

    def add_commanded(self, step: CommandedStep) -> None:
        """Look for a step by a limit that a station has accepted in the readings, once they are there.

        Where no report shows it in time, it counts as a reported one does, once the next report shows that
        its car has followed.
        """
        self.commanded.add(step)
        is_large = any(abs(delta) >= STEP_A for delta in step.delta_a)
        if is_large and step.is_known and LONGEST_WINDOW_S < step.report_s < math.inf:
            end = step.at + step.slowest_s
            self._unreported.append(
                ReportedStep(ref=step.ref, delta_a=step.delta_a, since=step.at, at=end, reported_at=end)
            )

    def on_report(self, ref: EvseRef, *, shows_limits: bool) -> None:
        """Count the steps by limits of an EVSE whose report shows that its car has followed; else drop them.

        One that was seen proves nothing by itself: a smaller move would have looked so, too.
        """
        if not self._unconfirmed:
            return
        judgements = [each for each in self._unconfirmed if each.step.ref == ref]
        self._unconfirmed = [each for each in self._unconfirmed if each.step.ref != ref]
        for judgement in judgements if shows_limits else ():
            for phase in judgement.seen if self._shows_swap(judgement.step.delta_a) else ():
                self._misses[phase] = 0
            self._count_missed(judgement)

    @property
    def before_fall_a(self) -> PhaseAmps:
        """Return the base load from before a fall that no step has confirmed (A); negative infinity: none."""
        return self._sums.before_fall_a

    def on_reading(self, shown_a: PhaseAmps, draw: OfferCredit, now: float) -> bool:
        """Process one reading (A per phase) beside the draw of all EVSEs; it may complete steps.

        Return True if cars are to be cut: a step that they were let make did not show.
        """
        self._quiet.on_reading(shown_a, now)
        self._steady_from = min(self._steady_from, now + CONNECTING_S)
        for judgement in self._judge_due(self._pending, now):
            self._count_seen(judgement)
            self._count_missed(judgement)
            if (move := find_lone_move(self._window, judgement.step, now)) is not None:
                self._sums.ratios.edges.add_move(move)
        self._unconfirmed += self._judge_due(self._unreported, now)
        for phase in (proven := self.commanded.on_reading(now)):
            self._prove(phase, self.commanded.seen_from[phase])
        if proven and not self._swapped:
            self._on_seen(is_convincing=True)
        if missing := self._sums.on_reading(shown_a, draw, self._seen_from, now):
            self._suspect(missing, now)
        self._check_ratios()
        return self._sums.ends_probe

    def needed_step(self, limit_a: PhaseAmps, now: float, held_back_a: PhaseAmps = ZERO) -> NeededStep | None:
        """Return the step that a car is to make now; None: none.

        `limit_a`: of the circuit. `held_back_a`: for want of a proof (A per phase).
        """
        steps = self.car_steps
        if not self._quiet.is_long(now):
            steps.for_quiet.reset()
        elif steps.for_quiet.have_ended(now):
            return NeededStep(QUIET_STEP_A + OFFER_ERROR_A, math.inf, (0, 1, 2), math.inf, steps.for_quiet)
        fallen = [phase for phase, load_a in enumerate(self.before_fall_a) if load_a > -math.inf]
        held_back = [phase for phase, amps in enumerate(held_back_a) if amps >= HELD_BACK_A]
        unproven = [phase for phase in held_back if not self.proven[phase]]
        if not fallen:
            steps.for_fall.reset()
        for phases, pauses in ((fallen, steps.for_fall), (unproven, steps.for_proof)):
            if not phases or not pauses.have_ended(now):
                continue
            may_pause = max(held_back_a) >= LEAST_CAR_A and steps.for_pauses.have_ended(now)
            reported = NeededStep(
                STEP_A + OFFER_ERROR_A, math.inf, phases, LONGEST_REPORT_S, pauses, may_pause=may_pause
            )
            commanded = NeededStep(
                self.commanded.needed_move_a(phases, now),
                math.inf,
                phases,
                math.inf,
                pauses,
                is_commanded=True,
                may_pause=may_pause,
            )
            first, other = (reported, commanded) if phases is fallen else (commanded, reported)
            return msgspec.structs.replace(first, otherwise=other)
        ratios = self._sums.ratios
        if ratios.is_doubted:
            steps.for_ratio.reset()
        if not steps.for_ratio.have_ended(now) or not (phases := ratios.open_phases(limit_a)):
            return None
        least_a = ratios.needed_move_a(phases) + OFFER_ERROR_A
        if least_a > LARGEST_STEPS_A[ratios.is_doubted]:
            return None
        most_a = max(least_a, STEP_PART * max(limit_a))
        return NeededStep(least_a, most_a, phases, LONGEST_REPORT_S, steps.for_ratio)

    def has_answered(self, now: float) -> bool:
        """Return True if a car makes a step, and its begin has shown what it is made for."""
        steps = self.car_steps
        is_commanded = steps.stepping is not None and steps.is_commanded
        if is_commanded and self.commanded.may_return(steps.begun_at, now):
            return True
        if steps.is_for(steps.for_fall):
            return self.before_fall_a == NOWHERE
        if steps.is_for(steps.for_proof):
            return all(self.proven)
        shown_at = self._sums.ratios.judged_at if steps.is_for(steps.for_ratio) else self._quiet.moved_at
        return steps.stepping is not None and shown_at > steps.begun_at

    def has_missed(self, phase: int) -> bool:
        """Return True if the last step that was judged on a phase was missed."""
        return self._misses[phase] > 0

    def clear(self) -> None:
        """Drop the steps that no reading will show."""
        self._pending.clear()
        self._drop_commanded()
        self._sums.clear()
        self._quiet.clear()

    def drop_proof(self, phases: Sequence[int]) -> None:
        """Take phases (0 to 2) as not proven from now on, until the next step of a car shows them."""
        for phase in phases:
            self.proven[phase] = False
        self._drop_commanded()

    def _drop_commanded(self) -> None:
        """Drop the steps by limits: no reading will show them, or has shown what holds no longer."""
        self.commanded.clear()
        self._unreported.clear()
        self._unconfirmed.clear()

    def _suspect(self, phases: Sequence[int], now: float) -> None:
        """Suspect the meter, as these phases do not show what all stations below draw together."""
        self._seen = 0
        if self._swapped and self.problem:
            return  # a likelier cause is known
        self.problem = coded(
            "{phases} not follow what all stations below report together: {cause}",
            phases=_follow_in_words(phases),
            cause=FROZEN if self._quiet.is_long(now) else PLACED_BEFORE,
        )

    def _check_ratios(self) -> None:
        """Suspect the meter where a phase shows too small a part of each step."""
        parts = self._sums.ratios.small_parts()
        phases, self._small_phases = self._small_phases, [*parts]
        if parts and (not self.problem or phases != self._small_phases):
            self._seen = 0
            self.problem = coded(
                "{phases} not show more than {percent} % of the steps that stations report: {cause}",
                phases=_follow_in_words([*parts]),
                percent=f"{100 * max(parts.values()):.0f}",
                cause=WRONG_RATIO,
            )

    def _judge_due(self, steps: deque[ReportedStep], now: float) -> Iterator[_Judgement]:
        """Judge and drop the steps that the readings show by now."""
        while steps and (end := self._window.first_after(steps[0].at + SEEN_S)) <= now:
            if (judgement := self._judge(steps.popleft(), end)) is not None:
                yield judgement

    def _judge(self, step: ReportedStep, end: float) -> _Judgement | None:
        """Judge a step by the readings until `end` (s), the first one after `SEEN_S`; None: some miss."""
        begin = step.since - LEAD_S
        window = self._window.readings(begin, end)
        if len(window) < FEWEST_READINGS or not self._window.reaches_back_to(step.at - 1):
            return None
        if self._window.has_gap(LONGEST_GAP_S, step.since, end):
            return None
        phases = [phase for phase, delta in enumerate(step.delta_a) if abs(delta) >= STEP_A]
        judged = {phase: self._judge_phase(step, phase, window, end) for phase in phases}
        seen = [phase for phase in phases if judged[phase] is _Sight.SEEN]
        missed = [phase for phase in phases if judged[phase] in (_Sight.MISSED, _Sight.MIRRORED)]
        return _Judgement(
            step=step,
            window=window,
            seen=seen,
            convincing=[
                phase
                for phase in seen
                if (self.proven[phase] and not self.problem) or self._is_surprising(step, phase, window, end)
            ],
            begins={phase: self._find_begin(step, phase, end) for phase in seen},
            missed=missed,
            dead=[phase for phase in missed if _is_dead(window, phase)],
            is_mirrored=bool(missed) and judged[missed[-1]] is _Sight.MIRRORED,
            is_quiet=self._quiet.is_long(end),
            # A car that charged before the first reading has not stepped, though its first report looks so.
            is_covered=self._window.reaches_back_to(begin),
        )

    def _judge_phase(self, step: ReportedStep, phase: int, window: Sequence[PhaseAmps], end: float) -> _Sight:
        """Return whether these readings show a step on one phase, beside the other moves of the cars."""
        begin, delta = step.since - LEAD_S, step.delta_a[phase]
        size, opposite = abs(delta), 1 if delta > 0 else 0
        values = [amps[phase] for amps in window]
        along, against = moves(values, up=delta > 0)
        own_a = self._window.moves_of(step.ref, phase, begin, end)
        others_a = self._window.moves_of(step.ref, phase, begin, end, others=True)
        is_seen = along >= SEEN * size
        if max(own_a[opposite], others_a[opposite]) >= MISSED * size:
            # These moves may hide the step, or look like it in a meter built in backwards. That one would
            # show the car's own moves as no larger step.
            is_larger = along >= MIRRORED[1] * own_a[opposite]
            is_seen &= is_larger and others_a[opposite] < MISSED * size and end >= self._steady_from
            if not is_seen:
                return _Sight.UNCLEAR
        if is_seen:
            is_like_cars = along <= MIRRORED[1] * (size + others_a[1 - opposite])
            is_one_way = against < (MIRRORED[0] if is_like_cars else MISSED) * size
            is_sure = self.proven[phase] or is_one_way or _has_edge(values, delta)
            return _Sight.SEEN if is_sure else _Sight.UNCLEAR
        if along >= MISSED * size:
            return _Sight.UNCLEAR
        if against < MISSED * size:
            return _Sight.MISSED
        along_a = max(size, own_a[1 - opposite])
        is_mirrored = MIRRORED[0] * size <= against <= MIRRORED[1] * along_a
        return _Sight.MIRRORED if is_mirrored else _Sight.UNCLEAR

    def _is_surprising(self, step: ReportedStep, phase: int, window: Sequence[PhaseAmps], end: float) -> bool:
        """Return True if the readings of a phase had not moved so in the same time just before a step.

        Where they had, a load of the building may have moved them now, unless they show an edge of its size.
        """
        begin, delta = step.since - LEAD_S, step.delta_a[phase]
        before = self._window.readings(begin - (end - begin), begin)
        if not before or moves([amps[phase] for amps in before], up=delta > 0)[0] < SEEN * abs(delta):
            return True
        long_before = [amps[phase] for amps in self._window.readings(begin - EDGES_S, begin)]
        return _has_edge([amps[phase] for amps in window], delta) and not _similar_edges(long_before, delta)

    def _count_seen(self, judgement: _Judgement) -> None:
        """Prove the phases on which a step was seen; several in a row end the suspicion."""
        shows_swap = self._shows_swap(judgement.step.delta_a)
        for phase in judgement.seen:
            self._sightings[phase] += 1
            if phase in judgement.convincing or self._sightings[phase] >= SIGHTINGS:
                self._prove(phase, judgement.begins[phase])
            if shows_swap and self.proven[phase]:
                self._misses[phase] = 0
        if judgement.seen and shows_swap:
            self._on_seen(is_convincing=bool(judgement.convincing))

    def _shows_swap(self, delta_a: PhaseAmps) -> bool:
        """Return True if a step (A per phase) would show phases that are suspected to be swapped."""
        if not self._swapped:
            return True
        steps = [delta_a[phase] for phase in self._swapped]
        return max(steps) - min(steps) >= STEP_A

    def _prove(self, phase: int, since: float) -> None:
        """Take a phase as proven, by readings since this moment (s)."""
        self._seen_from[phase] = max(self._seen_from[phase], since)
        self.proven[phase] = True
        if phase not in self._swapped:
            self._misses[phase] = 0

    def _on_seen(self, *, is_convincing: bool) -> None:
        """Count what was seen since the last miss: several times in a row end the suspicion."""
        self._seen += 2 if is_convincing else 1
        if self._seen >= 2 * MISSES and not self._sums.ratios.small_parts() and max(self._misses) < MISSES:
            self.problem = ""
            self._swapped = frozenset()

    def _find_begin(self, step: ReportedStep, phase: int, end: float) -> float:
        """Return the begin of the readings that show a step: a fall of the base load, if later ones show it.

        Cars are cut at such a fall, and a late report shows that as a step from before it.
        """
        begin, fallen_at = step.since - LEAD_S, self._sums.fallen_at[phase]
        readings = self._window.readings(fallen_at, end)
        if begin >= fallen_at or not readings:
            return begin
        along, _ = moves([amps[phase] for amps in readings], up=step.delta_a[phase] > 0)
        return fallen_at if along >= SEEN * abs(step.delta_a[phase]) else begin

    def _count_missed(self, judgement: _Judgement) -> None:
        """Count the phases that have missed a step, and suspect the meter by them."""
        step, phases = judgement.step, judgement.missed
        if not phases:
            return
        self._seen = 0
        is_first = len(phases) > 1 and judgement.is_covered and not any(self.proven)
        for phase in phases:
            self._sightings[phase] = 0
            is_bare = not self.proven[phase] and phase in judgement.dead
            self._misses[phase] += MISSES if is_first or is_bare else 1
        suspected = [phase for phase in phases if self._misses[phase] >= MISSES]
        # With another ratio, moves of the building hide steps: that is the cause.
        if not suspected or self._small_phases:
            return
        swapped = [] if judgement.is_quiet else _find_swapped(judgement, suspected)
        self._swapped = frozenset([suspected[-1], *swapped] if swapped else [])
        cause = FROZEN if judgement.is_quiet else _find_cause(judgement, suspected)
        self.problem = coded(
            "{phases} not follow station {evse}, whose car made a step of {amps} A: {cause}",
            phases=_follow_in_words(suspected),
            evse=step.ref,
            amps=f"{step.delta_a[suspected[-1]]:+.0f}",
            cause=cause,
        )


def _has_edge(values: Sequence[float], delta_a: float) -> bool:
    """Return True if readings (A) have an edge as large as a step (A), and none the other way."""
    edges = _similar_edges(values, delta_a)
    return bool(edges) and min(edges) > 0


def _similar_edges(values: Sequence[float], delta_a: float) -> list[float]:
    """Return the edges of readings (A) that are about as large as a step (A), as parts of it.

    Negative ones go the other way.
    """
    parts = (edge.size_a / delta_a for edge in find_edges(values))
    return [part for part in parts if EDGE[0] <= abs(part) <= EDGE[1]]


def _is_dead(window: Sequence[PhaseAmps], phase: int) -> bool:
    """Return True if a phase carries nothing in all of these readings."""
    return all(abs(amps[phase]) <= DEAD_A for amps in window)


def _follow_in_words(phases: Sequence[int]) -> str:
    """Return the begin of a sentence about what phases follow: `L1 does`, `L1 and L2 do`."""
    if len(phases) > 1:
        return coded("{phases} do", phases=list_phases(phases))
    return coded("{phase} does", phase=list_phases(phases))


def list_phases(phases: Sequence[int]) -> str:
    """Return the names of phases in words: `L1, L2 and L3`."""
    return join_and([f"L{phase + 1}" for phase in phases])


def _find_swapped(judgement: _Judgement, missed: Sequence[int]) -> list[int]:
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


def _find_cause(judgement: _Judgement, missed: Sequence[int]) -> str:
    """Return the likely cause of a step that these phases have missed, in words, with what to check."""
    step, window = judgement.step, judgement.window
    phase = missed[-1]
    columns = [[amps[each] for amps in window] for each in range(3)]
    spans = [max(column) - min(column) for column in columns]
    others = [other for other in range(3) if other not in missed]
    phases, is_single = list_phases(missed), len(missed) == 1
    swapped = _find_swapped(judgement, missed)
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
        return coded(
            "phases {phases} are swapped at the meter, or the station's phases are not as configured",
            phases=list_phases([phase, *swapped]),
        )
    if others_show_load and max(map(abs, columns[phase])) <= DEAD_A:
        return (
            coded("its current transformer of {phase} is dead or not connected", phase=phases)
            if is_single
            else coded("its current transformers of {phases} are dead or not connected", phases=phases)
        )
    return PLACED_BEFORE
