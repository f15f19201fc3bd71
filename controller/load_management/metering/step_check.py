"""Check of a meter against the stations below it: a step that they report must be seen by it.

A meter that is built in backwards, whose phases are swapped, that sits before the cars, that is frozen or
has a dead current transformer shows plausible values, and every one of them is wrong. What it cannot do is
follow the cars. So each step of a station's reported consumption of `STEP_A` or more on a phase is looked
for in the readings around it:

    window    from the last reading `LEAD_S` or more before the report that precedes the step to the first
              one `SEEN_S` or more after the report that shows it; a car that has followed a limit has done so
              as that changed
    seen      within the window the readings of that phase rose (fell) by `SEEN` of the step
    missed    they did not rise by `MISSED` of it, and did not fall by as much, so that nothing of the
              building can have hidden the step; or they fell by about as much as the station rose, in this
              step or in all its steps within the window
    neither   anything else: the building was too busy, or stations may have stepped the other way (after
              the first `CONNECTING_S` a step is seen that is larger than the station's own moves that way)

Stations that report more seldom than each `LONGEST_WINDOW_S` show no step in time. There each limit that such
a station accepts is a step, and one that is missed counts once the next report shows that its car has
followed.

A building that moves by itself looks like a step that was seen. So none is seen on a phase without a proof
where its readings have moved both ways, or further than all cars, unless they have an *edge* of its size, and
none of that size the other way. It is not convincing where they had moved so far just before, too, and had
such edges. What the steps that were seen and missed show of the meter, is found elsewhere (`meter_proof.py`).
"""

from __future__ import annotations

import enum
import math
from collections import deque
from collections.abc import Iterator, Sequence
from operator import sub

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
from controller.load_management.metering.meter_proof import DEAD_A, MeterProof, StepJudgement
from controller.load_management.metering.meter_window import MeterWindow
from controller.load_management.metering.ratio_check import LONGEST_S, moves
from controller.load_management.metering.step_edges import find_edges, find_lone_move
from controller.load_management.metering.sum_check import (
    MISSED,
    QUIET_STEP_A,
    SEEN,
    STEP_A,
    SumCheck,
    is_quiet,
)
from controller.load_management.site_tree import LEAST_CAR_A, NOWHERE, ZERO, PhaseAmps
from controller.model.observations import EvseRef

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
CONNECTING_S = 300.0
"""Time (s) from the first reading in which all stations connect and step: only clear steps count."""
MEMORY_S = LONGEST_WINDOW_S + LEAD_S + SEEN_S
"""Time for which the check needs readings and changes (s)."""
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


class QuietWatch:
    """Watch for a meter that shows no more than the flutter of its last digits.

    `moved_at`: time (s, monotonic) of the last reading that was more than that. `is_lively`: the readings
    have moved often before that, so that a long quiet span is unusual.
    """

    def __init__(self) -> None:
        self.moved_at = self._read_at = 0.0
        self.is_lively = False
        self._due_from = math.inf
        self._lowest: list[float] = []
        self._highest: list[float] = []
        self._spans = RollingMax(LATE_SPANS_S)
        """Durations (s) of the quiet spans that have ended."""
        self._ends: deque[float] = deque(maxlen=LIVELY_SPANS)
        """Times at which the last of them ended (s)."""

    def on_reading(self, amps: PhaseAmps, now: float) -> bool:
        """Process one reading (A per phase); return True if it ends quiet that lasted longer than usual."""
        has_gap, self._read_at = now > self._read_at + LONGEST_GAP_S, now
        was_long = False
        if self._lowest:
            lowest, highest = list(map(min, self._lowest, amps)), list(map(max, self._highest, amps))
            if not has_gap and all(map(is_quiet, lowest, highest)):
                self._lowest, self._highest = lowest, highest
                return False
            was_long = now - self.moved_at >= self._unusual_s(now)
            if not has_gap:
                self._spans.add(now - self.moved_at, now)
                self._ends.append(now)
        self._lowest = self._highest = [*amps]
        self.moved_at = now
        self._due_from = now + self._longest_s(now)
        return was_long

    def _unusual_s(self, now: float) -> float:
        """Return from which duration on (s) the quiet is longer than usual."""
        return max(CAR_STEPS_S[0], USUAL * (self._spans.highest(now) or 0.0))

    def _longest_s(self, now: float) -> float:
        """Return for how long readings may be quiet from now on until a car is to make a step (s)."""
        self.is_lively = len(self._ends) == LIVELY_SPANS and self._ends[0] >= now - LIVELY_S
        longest_s = CAR_STEPS_S[1]
        return min(self._unusual_s(now), longest_s) if self.is_lively else longest_s

    @property
    def span_a(self) -> float:
        """Return the widest span of a phase in the quiet readings (A): small steps are hidden there."""
        return max(map(sub, self._highest, self._lowest), default=0.0)

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


class StepCheck:
    """Check of one meter. `proof`: what the steps of its cars have shown of it."""

    def __init__(self, window: MeterWindow) -> None:
        self.proof = MeterProof()
        self.car_steps = CarSteps()
        self._quiet = QuietWatch()
        self.commanded = CommandedSteps(window)
        self._window = window
        self._sums = SumCheck()
        self._pending: deque[ReportedStep] = deque()
        self._unreported: deque[ReportedStep] = deque()
        """Steps by limits that no report shows in time."""
        self._unconfirmed: list[StepJudgement] = []
        """Of such steps: no report has shown yet that their cars have followed."""
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
        """Count the steps by limits of an EVSE whose report shows that its car has made them.

        Drop them where it does not.
        """
        if not self._unconfirmed:
            return
        judged = [each for each in self._unconfirmed if each.step.ref == ref]
        self._unconfirmed = [each for each in self._unconfirmed if each.step.ref != ref]
        for judgement in judged if shows_limits else ():
            self.proof.add_confirmed(judgement)
            self._add_move(judgement)

    @property
    def before_fall_a(self) -> PhaseAmps:
        """Return the base load from before a fall that no step has confirmed (A); negative infinity: none."""
        return self._sums.before_fall_a

    def on_reading(self, shown_a: PhaseAmps, draw: OfferCredit, now: float) -> bool:
        """Process one reading (A per phase) beside the draw of all EVSEs; it may complete steps.

        Return True if cars are to be cut: a step that they were let make did not show.
        """
        if self._quiet.on_reading(shown_a, now) and now > self.car_steps.begun_at + LONGEST_WINDOW_S:
            self.car_steps.for_trust.follow_up(now)  # it may have been frozen, and is repaired by now
        self._steady_from = min(self._steady_from, now + CONNECTING_S)
        lacking = self._lacking
        for judgement in self._judge_due(self._pending, now):
            self.proof.add_judgement(judgement)
            self._add_move(judgement)
        self._unconfirmed.extend(self._judge_due(self._unreported, now))
        self.proof.add_proven(self.commanded.on_reading(now), self.commanded.seen_from)
        if missing := self._sums.on_reading(shown_a, draw, self.proof.seen_from, now):
            self.proof.add_missed_sum(missing, is_quiet=self._quiet.is_long(now))
        self.proof.set_small_parts(self._sums.ratios.small_parts())
        self.proof.set_swapped(self._sums.ratios.edges.swapped)
        self.proof.end_suspicion()
        if self._lacking < lacking:
            self.car_steps.for_trust.follow_up(now)
        return self._sums.ends_probe

    @property
    def _lacking(self) -> int:
        """Return how much has yet to be shown until the meter is no longer suspected."""
        return self.proof.steps_lacking + self._sums.ratios.doubts

    def _add_move(self, judgement: StepJudgement) -> None:
        """Add the edges of the readings in the time of a step, if others have hardly moved."""
        if judgement.move is not None:
            self._sums.ratios.edges.add_move(judgement.move)

    def needed_step(
        self,
        limit_a: PhaseAmps,
        now: float,
        held_back_a: PhaseAmps = ZERO,
        *,
        car_waits: bool = False,
        car_is_short: bool = False,
        start_room_a: PhaseAmps | None = None,
    ) -> NeededStep | None:
        """Return the step that a car is to make now; None: none.

        `limit_a`: of the circuit. `held_back_a`: for want of a proof (A per phase); while one of its cars
        waits for current, a smaller one is worth a pause of another; none is unless one waits or is short of
        current. `start_room_a`: room for a car that
        starts while the meter is suspected, beside the worst base load (A per phase); None: that is unknown.
        """
        steps = self.car_steps
        if self.proof.problem:
            return self._find_step_for_trust(now, start_room_a)
        steps.for_trust.restart(now)
        if not self._quiet.is_long(now):
            steps.for_quiet.reset()
        elif steps.for_quiet.have_ended(now):
            least_a = max(QUIET_STEP_A, self._quiet.span_a / MISSED) + OFFER_ERROR_A
            may_pause = self._quiet.is_lively and steps.for_pauses.have_ended(now)
            return NeededStep(least_a, math.inf, (0, 1, 2), math.inf, steps.for_quiet, may_pause=may_pause)
        fallen = [phase for phase, load_a in enumerate(self.before_fall_a) if load_a > -math.inf]
        held_back = [phase for phase, amps in enumerate(held_back_a) if amps >= HELD_BACK_A]
        unproven = [phase for phase in held_back if not self.proof.proven[phase]]
        if not fallen:
            steps.for_fall.reset()
        for phases, pauses in ((fallen, steps.for_fall), (unproven, steps.for_proof)):
            if not phases or not pauses.have_ended(now):
                continue
            worth_a = HELD_BACK_A if car_waits else LEAST_CAR_A if car_is_short else math.inf
            may_pause = max(held_back_a) >= worth_a and steps.for_pauses.have_ended(now)
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
        if not steps.for_ratio.have_ended(now):
            return None
        phases, least_a = ratios.find_open(limit_a)
        least_a += OFFER_ERROR_A
        if least_a > LARGEST_STEPS_A[ratios.is_doubted]:
            return None
        most_a = max(least_a, STEP_PART * max(limit_a))
        return NeededStep(least_a, most_a, phases, LONGEST_REPORT_S, steps.for_ratio)

    def _find_step_for_trust(self, now: float, start_room_a: PhaseAmps | None) -> NeededStep | None:
        """Return the step that is to show whether a suspected meter has been corrected; None: none now.

        Cars that stay at their fallback make none by themselves.
        """
        pauses = self.car_steps.for_trust
        if not pauses.have_ended(now):
            return None
        phases = self.proof.suspected_phases
        return NeededStep(
            STEP_A + OFFER_ERROR_A,
            math.inf,
            phases,
            LONGEST_REPORT_S,
            pauses,
            may_pause=True,
            start_room_a=start_room_a,
            counts_phases=True,
            apart=() if self.proof.swapped.isdisjoint(phases) else self.proof.swapped,
        )

    def has_answered(self, now: float) -> bool:
        """Return True if a car makes a step, and its begin has shown what it is made for."""
        steps = self.car_steps
        if steps.is_for(steps.for_trust):
            return False  # its station has to report it
        is_commanded = steps.stepping is not None and steps.is_commanded
        if is_commanded and self.commanded.may_return(steps.begun_at, now):
            return True
        if steps.is_for(steps.for_fall):
            return self.before_fall_a == NOWHERE
        if steps.is_for(steps.for_proof):
            return all(self.proof.proven)
        shown_at = self._sums.ratios.judged_at if steps.is_for(steps.for_ratio) else self._quiet.moved_at
        return steps.stepping is not None and shown_at > steps.begun_at

    def clear(self) -> None:
        """Drop the steps that no reading will show."""
        self._pending.clear()
        self._drop_commanded()
        self._sums.clear()
        self._quiet.clear()

    def drop_proof(self, phases: Sequence[int]) -> None:
        """Take phases (0 to 2) as not proven from now on, until the next step of a car shows them."""
        self.proof.drop_proof(phases)
        self._drop_commanded()

    def _drop_commanded(self) -> None:
        """Drop the steps by limits: no reading will show them, or has shown what holds no longer."""
        self.commanded.clear()
        self._unreported.clear()
        self._unconfirmed.clear()

    def _judge_due(self, steps: deque[ReportedStep], now: float) -> Iterator[StepJudgement]:
        """Judge and drop the steps that the readings show by now."""
        while steps and (end := self._window.first_after(steps[0].at + SEEN_S)) <= now:
            if (judgement := self._judge(steps.popleft(), end, now)) is not None:
                yield judgement

    def _judge(self, step: ReportedStep, end: float, now: float) -> StepJudgement | None:
        """Judge a step by the readings until `end` (s), the first one after `SEEN_S`; None: some miss."""
        begin = self._begin_of(step)
        window = self._window.readings(begin, end)
        if len(window) < FEWEST_READINGS or not self._window.reaches_back_to(step.at - 1):
            return None
        if self._window.has_gap(LONGEST_GAP_S, step.since, end):
            return None
        phases = [phase for phase, delta in enumerate(step.delta_a) if abs(delta) >= STEP_A]
        judged = {phase: self._judge_phase(step, phase, window, end) for phase in phases}
        seen = [phase for phase in phases if judged[phase] is _Sight.SEEN]
        missed = [phase for phase in phases if judged[phase] in (_Sight.MISSED, _Sight.MIRRORED)]
        proof = self.proof
        return StepJudgement(
            step=step,
            move=find_lone_move(self._window, step, now),
            window=window,
            seen=seen,
            convincing=[
                phase
                for phase in seen
                if (proof.proven[phase] and not proof.problem)
                or self._is_surprising(step, phase, window, end)
            ],
            begins={phase: self._find_begin(step, phase, end) for phase in seen},
            missed=missed,
            dead=[phase for phase in missed if all(abs(amps[phase]) <= DEAD_A for amps in window)],
            is_mirrored=bool(missed) and judged[missed[-1]] is _Sight.MIRRORED,
            is_quiet=self._quiet.is_long(end),
            # A car that charged before the first reading has not stepped, though its first report looks so.
            is_covered=self._window.reaches_back_to(begin),
        )

    def _begin_of(self, step: ReportedStep) -> float:
        """Return the time (s) of the last reading that shows the state before a step."""
        return self._window.last_until(step.since - LEAD_S, LONGEST_GAP_S)

    def _judge_phase(self, step: ReportedStep, phase: int, window: Sequence[PhaseAmps], end: float) -> _Sight:
        """Return whether these readings show a step on one phase, beside the other moves of the cars."""
        begin, delta = self._begin_of(step), step.delta_a[phase]
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
            is_sure = self.proof.proven[phase] or is_one_way or _has_edge(values, delta)
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
        begin, delta = self._begin_of(step), step.delta_a[phase]
        before = self._window.readings(begin - (end - begin), begin)
        if not before or moves([amps[phase] for amps in before], up=delta > 0)[0] < SEEN * abs(delta):
            return True
        long_before = [amps[phase] for amps in self._window.readings(begin - EDGES_S, begin)]
        return _has_edge([amps[phase] for amps in window], delta) and not _similar_edges(long_before, delta)

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
