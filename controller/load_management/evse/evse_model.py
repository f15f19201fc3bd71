"""State of one EVSE from its station's messages: is there a car, what may it draw, what does it draw.

What is learned of its car's phases, minimum and need is in `learned_values.py`, whether it takes nothing in
`car_idleness.py`, whether its station reports what is not so in `false_reports.py`.
"""

from __future__ import annotations

import math

from msgspec.structs import replace

from controller.load_management.evse.car_idleness import IDLE_A, START_A, CarIdleness
from controller.load_management.evse.consumption import (
    DRAWING_A,
    HIGH_VOLTAGE,
    ConsumptionTracker,
)
from controller.load_management.evse.departure_goal import DepartureGoal
from controller.load_management.evse.false_reports import WITH_CAR, FalseEnds, FalseZeros
from controller.load_management.evse.learned_values import (
    LOADED_A,
    OVERDRAW_A,
    LearnedMinimum,
    LearnedNeed,
    LearnedPhases,
)
from controller.load_management.evse.phase_switch import PhaseSwitch
from controller.load_management.metering.phase_steps import PhaseTests, StepVote
from controller.load_management.site_tree import ZERO, EvseNode, PhaseAmps, PhaseFlags
from controller.model.deadlines import first_after
from controller.model.observations import (
    DrawSeen,
    EvseObservation,
    EvseState,
    NeedsSeen,
    StateSeen,
    TransactionSeen,
)

CONDUCTING = frozenset({EvseState.CHARGING, EvseState.UNKNOWN})
"""Current may flow. In every other state a station gives none, unless it reports some."""
AUTHORIZE_S = 180.0
"""Time (s) that a cable without a transaction is offered the minimum; then it gets nothing."""
MOST_PAUSES = 2
"""Tests of its phases up to which a car is paused for one: each is a stop."""
ADDED_PART = 0.7
"""Part of its draw by which a phase rises at least where a car has added it."""
ADDED_AGAIN_S = 30.0
"""Least time (s) between two such rises: a car that has added phases draws again after a pause."""
ADDED_LASTS_S = 15.0
"""Time (s) above the limit after such a rise from which on a car is taken to have added its phases."""
SHOWS_SOON_S = 60.0
"""Longest time (s) between reports of a station whose next one is waited for instead."""
SAME_CAR_S = 60.0
"""Time (s) after its link was lost for which an EVSE is taken to have the same car: another one is not
plugged in, authorized and charging sooner, and the meters above would show it."""
UNEXPLAINED_S = 60.0
"""Time (s) above the limit from which on each car may have: nothing that is known explains it."""


class EvseModel:
    """Knowledge about one EVSE. `state` outlives a lost link; what was learned of the car does not.

    `goal` outlives it, too: a station reports it once, and the end of the session later.
    """

    def __init__(self, evse: EvseNode, now: float) -> None:
        self.evse = evse
        self.state = EvseState.UNKNOWN
        self.draw = ConsumptionTracker(evse, now)
        self.goal = DepartureGoal()
        self.switch = PhaseSwitch()
        self.running = False
        self.state_since = now
        """Time of its last change of state (s, monotonic)."""
        self._ends = FalseEnds()
        self._zeros = FalseZeros()
        self.reported_phases: tuple[bool, ...] | None = None
        """Station's phases that the last report was taken to be of; None: all that it names, or unknown."""
        self._names_no_phases = False
        """True if the last report named no phases."""
        self._added_at: float | None = None
        """Time from which on its car may have added phases, since these were shown last (s)."""
        self.phase_tests: PhaseTests | None = None
        """Tests of the cars below the nearest meter that shows its current; None: no meter does."""
        self.helps_phases = False
        """True where unbalance is limited: by what its car draws, other phases may carry more."""
        self.is_metered = False
        """True where a meter of each circuit above it shows its car."""
        self._other_car_at = math.inf
        """Time from which on another car may have come, unless its link comes back before (s, monotonic)."""
        self._is_unseen = False
        """True while the meter above does not show what a car without reports is likely to draw."""
        self._phases = LearnedPhases(len(evse.phases))
        self._need = LearnedNeed(evse.min_a, evse.max_a)
        self._minimum = LearnedMinimum(evse.min_a, evse.max_a)
        self.idleness = CarIdleness(self.draw, self._minimum)
        self.phases = self._find_phases()
        """Phases of the site on which its car may draw."""

    def replace_evse(self, evse: EvseNode) -> None:
        """Use other settings of the EVSE, on as many phases; what was learned of the car stays."""
        self.evse = evse
        self.draw.replace_evse(evse)
        self._need.set_bounds(evse.min_a, evse.max_a)
        self._minimum.set_bounds(evse.min_a, evse.max_a)
        self.phases = self._find_phases()

    def has_demand(self, now: float) -> bool:
        """Return True if it must be taken to have a car that takes current when offered some.

        A cable without a transaction counts for `AUTHORIZE_S` only.
        """
        if self.state is EvseState.UNKNOWN or self.running or self.state in WITH_CAR:
            return True
        if self.state is EvseState.PREPARING and now < self.state_since + AUTHORIZE_S:
            return True
        return self.draw.most_loaded_a > DRAWING_A

    @property
    def is_charging(self) -> bool:
        """Return True if its station reports that current flows."""
        return self.state is EvseState.CHARGING

    @property
    def unauthorized(self) -> bool:
        """Return True if a cable is plugged in and no transaction is running."""
        return self.state is EvseState.PREPARING and not self.running and not self._is_drawing

    def changes_at(self, now: float) -> float:
        """Return when its answers change next without an event (s, monotonic); inf: never.

        Its draw is not among them: see `ConsumptionTracker.credit_changes_at`.
        """
        if self.idleness.since is None and self.state is not EvseState.PREPARING:
            return min(self.goal.changes_at, self._other_car_at)
        moments = [self.goal.changes_at, self._other_car_at, *self.idleness.moments(now)]
        if self.state is EvseState.PREPARING:
            moments.append(self.state_since + AUTHORIZE_S)
        return first_after(now, moments)

    @property
    def unreported(self) -> bool:
        """Return True if nothing shows whether there is a car: no state, no transaction, no draw.

        Never of a site below: its controller has no state to report (2.x has one of an EVSE only), and its
        cars would share the minimum of one for ever.
        """
        if self.evse.is_site:
            return False
        return self.state is EvseState.UNKNOWN and not self.running and not self._is_drawing

    def _find_phases(self) -> PhaseFlags:
        pairs = zip(self.evse.phases, self._phases.used, strict=True)
        site = [phase for phase, flag in pairs if flag or self.evse.is_dc]
        return (0 in site, 1 in site, 2 in site)

    @property
    def least_phases(self) -> int:
        """Return on how many phases its car draws at least, by reports; 1 before the first."""
        return sum(self.phases) if self.phases_known else self._phases.least

    @property
    def sure_phases(self) -> PhaseFlags:
        """Return those of its phases on which its car draws in any case, if it does at all."""
        if self.phases_known:
            return self.phases
        wired = self.evse.phases[: self.least_phases]
        return (0 in wired, 1 in wired, 2 in wired)

    @property
    def phases_known(self) -> bool:
        """Return True if `phases` comes from reports, and is not just the worst case."""
        return self.evse.is_dc or self._phases.known

    def learned(self, now: float) -> tuple[object, ...]:
        """Return what reports of its draw have shown of the car: the answers here that they may change."""
        phases = self._phases
        return (
            *(phases.used, phases.known, phases.least, phases.needs_test),
            *(self._need.cap_a, self.idleness.has_drawn, self.idleness.since, self._is_drawing),
            self.reports_no_current(now),
        )

    def name_phases(self, seen: DrawSeen, allowed_a: float) -> DrawSeen:
        """Return the draw on each phase (A) of a report that names no phases.

        On the phases that its car is known to use, unless these cannot carry it under the highest limit in
        its station, `allowed_a`, or one that it may follow yet: then, or while none are known, on as many as
        it needs, each of which may be any.
        """
        if self.phases_known:
            allowed_a = max(allowed_a, self.draw.may_follow_a)
        most_a = allowed_a * (HIGH_VOLTAGE if seen.at_v else 1.0) + OVERDRAW_A
        least = max(seen.least_phases, math.ceil(seen.total_a / max(most_a, LOADED_A)))
        least = min(least, len(self.evse.phases))
        if self.phases_known and sum(self._phases.used) < least:
            self._phases.doubt()
            self.phases = self._find_phases()
        used = self._phases.used
        count = sum(used) if self.phases_known else least
        amps_a = seen.total_a / count if seen.total_a else seen.current_a[0]
        amps = [0.0 if self.phases_known and not flag else amps_a for flag in used]
        wired = [*amps, None, None]
        seen = replace(seen, least_phases=least)
        return replace(seen, current_a=(wired[0], wired[1], wired[2]))

    def may_use_one_phase(self, now: float) -> bool:
        """Return True if a car is here that takes current, and perhaps on several phases."""
        return (
            self.has_demand(now) and self.state is not EvseState.SUSPENDED_EV and sum(self._phases.used) > 1
        )

    def takes_nothing(self, now: float) -> bool:
        """Return True if its car takes nothing of its offer, and is not offered more just now to find out."""
        return self.idleness.takes_nothing(now) and not self.is_raised_for_test(now)

    @property
    def least_a(self) -> float:
        """Return the least offer (A per phase) under which its car has been seen to charge on."""
        return self._minimum.least_a

    def start_a(self, now: float) -> float:
        """Return the least offer (A per phase) that its car can use.

        For a car that did not start that is more than the minimum for a while, which it has refused already.
        """
        return self.need_a(now) if self.idleness.is_start_helped(now) else self.least_a

    def need_a(self, now: float) -> float:
        """Return the most that its car has been seen to use (A per phase), within the EVSE's own bounds."""
        if self.idleness.since is not None and not self.idleness.may_go_on(now):
            is_full = self.idleness.is_full(now) and not self.idleness.may_be_pausing(now)
            return min(max(self.evse.min_a, START_A), self.evse.max_a) if is_full else self.least_a
        if self.unauthorized or self.unreported:
            return self.evse.min_a
        return self.evse.max_a if self._need.cap_a is None else self._need.cap_a

    def likely_draw(self, now: float) -> tuple[PhaseAmps, PhaseAmps] | None:
        """Return the least and the most that its car draws as a rule (A on the site's phases).

        None while nothing shows that it charges, while it follows a change of its offer, and where a report
        shows the draw. Where no report does for minutes, only this is likely at least: what the last step of
        its offer has shown, on the phases that it is known to use; or its minimum on the first phase of the
        station, which every car uses (IEC 62196-2: L1 and neutral of a one-phase car).
        """
        likely_a = self.draw.likely_a(now) if self.is_charging else None
        if likely_a is None:
            return None
        need_a = self.need_a(now)
        least_a, most_a = min(likely_a[0], need_a), min(likely_a[1], need_a)
        most = _on_phases(self.phases, most_a)
        is_base_load = self.draw.reported_at is None and self.draw.restored_a(now) is not None
        if self._is_unseen or (self.helps_phases and is_base_load):
            return ZERO, most
        if not self.phases_known:
            return _on_phases(self.evse.one_phase, min(least_a, self.least_a)), most
        if self.reports_no_current(now):
            least_a = min(least_a, max(self.least_a, self.draw.shown_a[0]))
        return most if least_a == most_a else _on_phases(self.phases, least_a), most

    def count_unreported(self, now: float) -> None:
        """Add the least that its car is likely to draw to its goal, where its station reports no current."""
        if self.goal.is_set and self.reports_no_current(now):
            likely_a = self.likely_draw(now)
            self.goal.on_draw(0.0 if likely_a is None else sum(likely_a[0]), now)

    def draw_by_meter(self, now: float) -> PhaseAmps:
        """Return what the meter above has shown of a draw that no report shows (A on the site's phases).

        Its minimum, where no step has shown more; nothing while its phases are unknown, or without a meter.
        """
        offer_a = self.draw.least_offer_a(now)
        is_known = self.phases_known and self.phase_tests is not None and not self._is_unseen
        if not (is_known and self.is_charging) or offer_a < self.least_a:
            return ZERO
        return _on_phases(self.phases, min(offer_a, max(self.least_a, self.draw.shown_a[0])))

    def on_draw_missing(self, lacks_a: PhaseAmps, now: float) -> bool:
        """Note how much less the meter above shows than is likely (A); return True if it may be its draw.

        Its car may have become full unreported: until a step shows that it draws, it counts as nothing.
        """
        draws_a = self.draw_by_meter(now) if self.reports_no_current(now) else ZERO
        if not any(missing > LOADED_A and amps > 0 for missing, amps in zip(lacks_a, draws_a, strict=True)):
            return False
        self._is_unseen, self.draw.shown_a = True, (0.0, math.inf)
        return True

    def on_station_up(self) -> None:
        """Keep the phases of its car: its station is back before another one can have come."""
        self._other_car_at = math.inf

    def on_station_down(self, now: float) -> None:
        """Drop the car: its station went away, and another one may come unseen.

        Its phases are known for `SAME_CAR_S` longer where meters show what it draws.
        """
        keeps_phases = bool(self.shown_phases)
        self.switch.on_link_lost()
        self._ends = FalseEnds()
        self._zeros = FalseZeros()
        self._reset_car(keeps_phases=keeps_phases)
        self._other_car_at = now + SAME_CAR_S if keeps_phases else math.inf
        self.idleness.on_link_lost()
        self.draw.start(now)

    @property
    def shown_phases(self) -> tuple[bool, ...]:
        """Return which phases of its station its car uses, where reports and meters show it; else nothing."""
        is_shown = self.is_metered and self.phases_known and not self.switch.single
        return self._phases.used if is_shown and not self.switch.changing else ()

    def restore_phases(self, used: tuple[bool, ...], now: float) -> None:
        """Take its car to use the same phases as before a restart, until another one may have come."""
        if self.is_metered and len(used) == len(self.evse.phases):
            self._phases.restore(used)
            self.phases = self._find_phases()
            self._other_car_at = now + SAME_CAR_S

    def drop_lost_phases(self, now: float) -> None:
        """Take every phase as one that may be used where another car may have come meanwhile."""
        if now >= self._other_car_at:
            self._other_car_at = math.inf
            self._reset_phases()

    def holds_nothing(self, now: float) -> None:
        """Make a decided change of phases, as no limit in the station allows any current."""
        if self.switch.changing:
            self.switch.on_change_made(now)
            self._phases.reset(single=self.switch.single)
            self.phases = self._find_phases()
            self._need.reset()

    def on_observation(self, observation: EvseObservation, offered_a: float, now: float) -> bool:
        """Take in one observation under the offer `offered_a`; return True if the sharing changes."""
        before = self._sharing_state(now)
        match observation:
            case StateSeen(state=state):
                changed = self._on_state(state, now)
            case TransactionSeen():
                changed = self._on_transaction(observation, now)
            case DrawSeen():
                changed = self._on_draw(observation, offered_a, now)
            case NeedsSeen():
                self.goal.set_needs(observation, now)
                changed = True
        self.idleness.watch(
            self.state,
            self.state_since,
            offered_a,
            now,
            is_running=self.running,
            is_report=isinstance(observation, DrawSeen),
        )
        self.goal.on_draw(self._drawn_a(), now)
        return changed or before != self._sharing_state(now)

    def _sharing_state(self, now: float) -> tuple[bool, bool, bool]:
        return self.has_demand(now), self.takes_nothing(now), self.idleness.since is not None

    @property
    def _is_drawing(self) -> bool:
        return self.draw.most_loaded_a > DRAWING_A

    def _drawn_a(self) -> float:
        """Return the last report of the phases in use together; a missing one counts as the highest."""
        if None not in self.draw.report:
            return self.draw.total_a
        most_a = self.draw.most_loaded_a
        used = zip(self.draw.report, self._phases.used, strict=True)
        return sum(most_a if amps is None else amps for amps, flag in used if flag)

    def _on_state(self, state: EvseState, now: float) -> bool:
        before = self.state
        self.state = state = self._ends.weigh_state(state, before, now)
        if state is before:
            return False
        self.state_since = now
        if state is EvseState.AVAILABLE:
            self.running = False  # the car has gone, whether or not its StopTransaction reached us
            self.switch.reset()
            self._reset_car()
            self.goal.clear()
        if state in CONDUCTING:
            self.draw.start(now)
        else:
            self.draw.stop(now)
        return True

    def _on_transaction(self, seen: TransactionSeen, now: float) -> bool:
        running = seen.running and not seen.waits
        if seen.inferred and self._ends.are_usual:
            return False  # by a state that may be wrong
        changed = running is not self.running
        if not seen.inferred:
            if self._ends.is_ignored and not seen.running:
                self.state, changed = EvseState.FINISHING, True
            self._ends.on_transaction(running=seen.running)
        self.running = running
        # What comes without a link is the state from before a restart: no other car.
        self._reset_car(keeps_phases=running and self._other_car_at < math.inf)
        if not seen.running:
            self.draw.stop(now)
            self.goal.clear()
        return changed

    def _on_draw(self, seen: DrawSeen, offered_a: float, now: float) -> bool:
        first_a = None
        self._names_no_phases = bool(seen.least_phases)
        is_assigned = bool(seen.least_phases) and self.phases_known
        self.reported_phases = self._phases.used if is_assigned else None
        if seen.least_phases and not self.phases_known and seen.least_phases < len(self.evse.phases):
            first_a = seen.total_a / len(self.evse.phases) if seen.total_a else seen.current_a[0]
        settled = self.draw.add_report(seen.current_a, now, first_a, seen.total_a)
        grown = False
        if self._is_drawing:
            self._added_at = None
            self._ends.on_draw(now)
            self._zeros.on_draw()
        if self.is_charging or self._is_drawing:
            # Under an offer that its station has not followed yet, more seems to flow than one phase carries.
            least = seen.least_phases if settled else min(1, seen.least_phases)
            grown = self._phases.on_report(self.draw.report, least)
            self.phases = self._find_phases()
            if self.switch.single and sum((amps or 0.0) > LOADED_A for amps in self.draw.report) > 1:
                self.switch.on_failure()
            if settled and self._is_drawing:
                self._minimum.on_draw(offered_a)
            if settled:
                self._need.on_settled_draw(self.draw.most_loaded_a, offered_a, now)
        return grown

    def on_step_seen(self, vote: StepVote, now: float) -> bool:
        """Take in what a step shows of the car's phases and draw; return True if the phases change."""
        if not self.reports_no_current(now):
            if not self.idleness.has_only_zeros:
                return self._names_no_phases and self._see_phases(vote)
            self._zeros.on_step(vote.drawn_a)
            if not self._zeros.are_usual:
                return False
            self.draw.drop_reports()
            self._need.reset()
            self.idleness.end()
        self.draw.shown_a = (vote.drawn_a, math.inf if vote.takes_all else vote.drawn_a)
        self._is_unseen = False
        self._added_at = None
        return self._see_phases(vote)

    def _see_phases(self, vote: StepVote) -> bool:
        changed = self._phases.on_step(vote.evidence)
        self.phases = self._find_phases()
        return changed

    def is_false_zero(self, seen: DrawSeen) -> bool:
        """Return True if a report shows no current where its station reports none whatever flows."""
        return (
            self._zeros.are_usual
            and self.is_charging
            and max(amps or 0.0 for amps in seen.current_a) < IDLE_A
        )

    def doubt_phases(self, rise_a: PhaseAmps, offered_a: float, since: float, now: float) -> bool:
        """Doubt that its car uses some phases only; return True if the phases change by it.

        `rise_a`: of the base load (A per phase), by which its circuit is above its limit since then (s).
        Where all phases that the car did not use have risen by its draw under the offer `offered_a`, it may
        be the car that has added them, if that comes again before a report or a step has shown its phases,
        or, where reports are seldom, if it lasts.
        """
        if (self.draw.reported_at or -math.inf) >= since or self.evse.is_dc or self.switch.single:
            return False
        if not (self.is_charging or self._is_drawing):
            return False
        drawn_a = min(offered_a, self.draw.own_a, self.draw.shown_a[1], self.need_a(since))
        added = [phase for phase in self.evse.phases if not self.phases[phase]]
        least_a = max(LOADED_A, ADDED_PART * drawn_a)
        if drawn_a < self.evse.min_a or not added:
            return False
        has_risen = all(rise_a[phase] >= least_a for phase in added)
        if has_risen and self._added_at is None:
            self._added_at = since
        comes_again = has_risen and self._added_at is not None and since >= self._added_at + ADDED_AGAIN_S
        lasts = since == self._added_at and now >= since + ADDED_LASTS_S
        lasts |= now >= since + UNEXPLAINED_S
        if not comes_again and not (lasts and self.draw.reports_each_s(now) > SHOWS_SOON_S):
            return False
        self._phases.doubt()
        self.phases = self._find_phases()
        return True

    def needs_phase_test(self, now: float) -> bool:
        """Return True if a step of its offer is to show in the meter above which phases its car uses.

        Where its station reports no current of a car that charges by its state, it shows whether that is so.
        Reports that name no phases show its phases only if as much flows as all of them carry.
        """
        if self.phase_tests is None or self.evse.is_dc or self.switch.single:
            return False
        if self._are_zeros_doubted:
            return self._zeros.needs_test and self.idleness.was_start_helped(now)
        if not self.is_charging:
            return False
        if self.reports_no_current(now) and self._needs_draw_test(now):
            return True
        return self._phases.needs_test and (self.reports_no_current(now) or self._names_no_phases)

    def _needs_draw_test(self, now: float) -> bool:
        """Return True if a step is to show its draw, which helps other phases, and it is offered enough."""
        if not self.helps_phases or self.draw.shown_a[0] > 0 or not self._phases.may_test:
            return False
        return self.draw.least_offer_a(now) >= self.least_a + LOADED_A

    @property
    def _are_zeros_doubted(self) -> bool:
        """Return True if its state has been Charging while its reports have shown no current."""
        return self.idleness.charges_idle and self.idleness.has_only_zeros and not self._zeros.are_usual

    def is_raised_for_test(self, now: float) -> bool:
        """Return True if it is its turn to be offered more than its minimum, so that it can be tested."""
        tests = self.phase_tests
        return tests is not None and tests.raised == self.evse.ref and self.needs_phase_test(now)

    def may_pause_for_test(self, now: float) -> bool:
        """Return True if its car may be paused in its turn, which it is a few times at most."""
        tests = self._zeros.tests if self._are_zeros_doubted else self._phases.tests
        return tests < MOST_PAUSES and self.is_raised_for_test(now)

    def on_phase_test(self) -> int:
        """Note that such a step is made; return which one it is for this car, from 1 on."""
        if self._are_zeros_doubted:
            self._zeros.tests += 1
            return self._zeros.tests
        return self._phases.on_test()

    def shows_by_meter(self, now: float) -> bool:
        """Return True if only the meter above can show what its car draws, or on which phases."""
        return self.reports_no_current(now) or self.idleness.has_only_zeros or self._names_no_phases

    def reports_no_current(self, now: float) -> bool:
        """Return True if its station has not reported the current of each phase for minutes."""
        return self.draw.reports_none(now)

    def _reset_car(self, *, keeps_phases: bool = False) -> None:
        self.idleness.reset(self.state)
        self._zeros.tests = 0
        self.draw.takes_a = 0.0
        self.draw.shown_a = (0.0, math.inf)
        self._is_unseen = False
        self._added_at = None
        if not keeps_phases:
            self._other_car_at = math.inf
            self._reset_phases()
        self._need.reset()
        self._minimum.reset()

    def _reset_phases(self) -> None:
        self._phases.reset(single=self.switch.single)
        self.phases = self._find_phases()


def _on_phases(phases: PhaseFlags, amps: float) -> PhaseAmps:
    """Return so much (A) on each of these phases."""
    first, second, third = phases
    return (amps if first else 0.0, amps if second else 0.0, amps if third else 0.0)
