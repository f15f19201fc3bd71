"""One circuit with a meter of its own: what the meter is worth, and the circuit's base load.

No reading alone shows that a meter is installed wrongly. So until a step of a car has proven a phase
(`step_check.py`), its readings count twice, and the higher base load holds:

    as shown        what generation gives the cars (surplus), and what a phase leads others by (unbalance)
    at the worst    feed-in is a load of the same size, as with a current transformer built in backwards; and
                    while cars draw, the base load is the highest lasting one from a quarter of an hour before
                    them on, as a meter that does not see the cars would show it

Where generation is declared the first leaves room for one car, whose first step proves the phase or ends
that. A meter that measures the building alone is never proven: its feed-in is trusted where it is declared.
What phases that are not proven may hide is in `unproven_phases.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from controller.load_management.evse.consumption import OfferCredit
from controller.load_management.metering.base_load import FEED_IN_SHARED, NOISE_A, BaseLoad, LoadEstimates
from controller.load_management.metering.margin_learning import MarginLearning, MarginStored
from controller.load_management.metering.meter_window import SETTLED_S, MeterWindow
from controller.load_management.metering.phase_steps import PhaseSteps, StepVote
from controller.load_management.metering.plausibility import (
    ContradictionWatch,
    PlausibilityBounds,
    SignWatch,
    SpikeWatch,
    StillWatch,
)
from controller.load_management.metering.step_check import FEWEST_READINGS, MEMORY_S, StepCheck
from controller.load_management.metering.unproven_phases import (
    MAY_DRAW_A,
    HiddenLoad,
    HiddenLoadStored,
    StartingCars,
    UnseenPhases,
    highest_of,
)
from controller.load_management.site_tree import LEAST_CAR_A, NOWHERE, ZERO, CircuitNode, PhaseAmps, add_up
from controller.model.statements import Statement, StatementCode, detailed
from drivers.coded_text import coded
from drivers.errors import Cause
from drivers.reading import MeterState, Quality, Reading

BRIDGE_S = 30.0
"""Time after the last good reading that the worst of the last quarter of an hour bridges (s)."""
OVER_WARN_S = 10.0
"""Time (s) that a circuit is above its limit until a warning."""
OVER_UNEXPLAINED_S = 60.0
"""Longest time (s) of a circuit above its limit without all that the EVSEs below may draw."""
ESTIMATES_HOLD_S = 2.0
"""Time (s) after which the base load is estimated anew without a reading: what was measured ages slowly."""
UNPROVEN = coded(
    "no step of a car has proven it yet: until then the feed-in that it shows counts as a load; let a car "
    "charge, or check the direction of its current transformers"
)
FALLEN = coded(
    "the load of the building has become feed-in within a minute: until a step of a car has proven it, the "
    "load from before counts; check that the meter measures the cars"
)


LoadStored = MarginStored | HiddenLoadStored
"""Record of the base load of a circuit."""
LOAD_RECORDS = (MarginStored, HiddenLoadStored)


class MeterProblem(msgspec.Struct, frozen=True):
    """Trouble of a meter: a sentence, and its cause as a label. The cause is NONE for a good meter."""

    text: str
    cause: Cause


NO_PROBLEM = MeterProblem("", Cause.NONE)
NOT_READ = MeterProblem(coded("not read yet"), Cause.NOT_READ)


def phase_currents(reading: Reading, voltage_v: float) -> PhaseAmps | None:
    """Return the reading's A per phase, from power where it has no current; None if one has neither."""
    amps = []
    for current, power, voltage in zip(reading.current_a, reading.power_w, reading.voltage_v, strict=True):
        if current is not None:
            amps.append(current)
        elif power is not None:
            amps.append(power / (voltage or voltage_v))
        else:
            return None
    return (amps[0], amps[1], amps[2])


class MeteredCircuit:
    """State of one circuit's meter. Times in s, monotonic; `silence_s`: the meter is dead after so long.

    `margin_a` is the configured one (A per phase), which holds unless the circuit's is learned.
    `overloads` counts how often the circuit was above its limit for `OVER_WARN_S`; `last_overload_s` and
    `last_overload_a` are the length and the highest current (A) of the last time, or of the present one.
    """

    def __init__(
        self,
        circuit: CircuitNode,
        bounds: PlausibilityBounds,
        margin_a: float,
        silence_s: float,
        now: float,
    ) -> None:
        self.circuit = circuit
        self.jumps = MarginLearning(circuit)
        self._configured_margin_a = margin_a
        self.margin_a = self._find_margin_a()
        """Current kept free below the circuit's limit (A per phase)."""
        self.load = BaseLoad(circuit.limit_a, circuit.fuse, now, self.margin_a)
        self._unproven: BaseLoad | None = BaseLoad(circuit.limit_a, circuit.fuse, now, self.margin_a)
        """Base load at the worst while a phase is not proven; None once all are."""
        self._feeds_in = False
        """True while a phase that is not proven shows feed-in."""
        self._hidden = HiddenLoad(circuit.id)
        self._estimated: tuple[float, LoadEstimates] | None = None
        """Time of the last estimates, and these; None after anything but time has changed them."""
        self.window = MeterWindow(MEMORY_S)
        self.steps = StepCheck(self.window)
        self.phase_steps = PhaseSteps(self.window)
        self.unseen = UnseenPhases(() if circuit.measures_building else (0, 1, 2), now)
        self.votes: list[StepVote] = []
        """Votes on the phases of cars below that the last reading brought."""
        self.battery_a = ZERO
        """Flow of a battery behind the meter, by its own meter (A per phase; positive: it charges)."""
        self.hidden_a = ZERO
        """Part of that which no car may count on (A per phase)."""
        self.held_back_a = ZERO
        """Part of the base load (A per phase) that counts only for want of a proof, by the last estimate."""
        self.measured: PhaseAmps | None = None
        self.overloads = 0
        self.over_limit = False
        self.last_overload_s = 0.0
        self.last_overload_a = 0.0
        self._bounds = bounds
        self._silence_s = silence_s
        self._sign = SignWatch()
        self._still = StillWatch()
        self._spikes = SpikeWatch(circuit.limit_a)
        self._contradiction = ContradictionWatch()
        self._state: MeterState | None = None
        self._read_at = now
        self._good_at: float | None = None
        self._used: Reading | None = None
        self._over_since: float | None = None
        self._unexplained_since: float | None = None
        self._first_reading_by = -math.inf

    def await_first_reading(self, now: float) -> None:
        """Plan with the declared base load until the first reading of a meter that was added just now.

        It has to come within `BRIDGE_S`.
        """
        self._first_reading_by = now + BRIDGE_S

    def replace_circuit(
        self, circuit: CircuitNode, bounds: PlausibilityBounds, margin_a: float, silence_s: float
    ) -> None:
        """Apply other limits and another fuse of the same circuit; what its meter has shown stays."""
        self.circuit, self._bounds, self._silence_s = circuit, bounds, silence_s
        self._configured_margin_a = margin_a
        self.jumps.set_circuit(circuit)
        self.margin_a = self._find_margin_a()
        self._set_load_limits()
        self._spikes.set_limit(circuit.limit_a)

    def _find_margin_a(self) -> float:
        return self.jumps.auto_a if self.circuit.learns_margin else self._configured_margin_a

    def restore(self, stored: LoadStored) -> None:
        """Take over what was learned of the base load before a restart."""
        self._estimated = None
        if isinstance(stored, HiddenLoadStored):
            self._hidden.restore(stored)
            return
        self.jumps.restore(stored)
        self.margin_a = self._find_margin_a()
        self._set_load_limits()

    @property
    def is_unsaved(self) -> bool:
        """Return True if there is something new to record."""
        return self.jumps.is_unsaved or self._hidden.is_unsaved

    def take_records(self) -> list[LoadStored]:
        """Return what has to be stored of the base load; it then counts as saved."""
        records: list[LoadStored] = []
        if self.jumps.is_unsaved:
            records.append(self.jumps.take_record())
        if self._hidden.is_unsaved:
            records.append(self._hidden.take_record())
        return records

    def _set_load_limits(self) -> None:
        self._estimated = None
        for load in self._loads:
            load.set_limits(self.circuit.limit_a, self.circuit.fuse, self.margin_a)

    @property
    def _loads(self) -> tuple[BaseLoad, ...]:
        """Return the base loads of which the higher one holds."""
        return (self.load,) if self._unproven is None else (self.load, self._unproven)

    def standing(self, now: float) -> tuple[object, ...]:
        """Return what of the meter decides how its circuit is planned, beside its base load."""
        return self.trouble(now), self.doubted, self.unseen.phases, self.unseen.cars

    @property
    def crossed(self) -> bool:
        """Return True if the last good reading was above what was planned."""
        return self.load.crossed or (self._unproven is not None and self._unproven.crossed)

    def explain_less(self, amps: PhaseAmps) -> None:
        """Plan with the base load that the last reading shows if the EVSEs draw so much less (A)."""
        self._estimated = None
        for load in self._loads:
            load.explain_less(amps)

    def _measure(
        self, amps: PhaseAmps, draw: OfferCredit, now: float, power_limited: bool, slowest_s: float
    ) -> bool:
        """Add a good reading to the base load and to its jumps; return True if the circuit is to be cut."""
        self._follow_limit(amps, draw, now)
        self.load.may_feed_in |= self._bounds.has_generation or min(*amps, *self.battery_a) < -NOISE_A
        before_a = self.load.likely_a
        is_over = self.load.measure(
            amps,
            draw,
            now,
            cut=power_limited,
            slowest_s=slowest_s,
            is_suspected=bool(self.steps.proof.problem),
        )
        is_over |= self._measure_unproven(amps, draw, now, power_limited, slowest_s)
        self._follow_jumps(amps, before_a, draw, now)
        return is_over

    def _follow_jumps(self, amps: PhaseAmps, before_a: PhaseAmps, draw: OfferCredit, now: float) -> None:
        """Learn how far a good reading shows the base load to jump; `before_a`: the likely load before it."""
        rise_a, explained_a = self.jumps.seen_rises.on_reading(amps, before_a, self.load, now)
        if self.steps.proof.problem:
            return
        margin_a = self.margin_a
        if self.circuit.measures_building:  # it shows the building's load without the cars
            self.jumps.add(max(self.load.rises_a), margin_a, now)
        else:
            self.jumps.add(rise_a, margin_a, now, explained_a, may_be_explained=max(draw.high) > 0)
        self.margin_a = self._find_margin_a()
        if self.margin_a != margin_a:
            self._set_load_limits()

    def _measure_unproven(
        self, amps: PhaseAmps, draw: OfferCredit, now: float, power_limited: bool, slowest_s: float
    ) -> bool:
        """Add a reading to the base load of the phases not proven yet; return True if it is to be cut."""
        if self._unproven is None:
            return False
        unproven = [not self._is_proven(phase) for phase in range(3)]
        self._feeds_in = any(a < -NOISE_A and flag for a, flag in zip(amps, unproven, strict=True))
        if not any(unproven):
            self._unproven = None
            self._hidden.clear()
            return False
        if not self.circuit.measures_building:  # no draw of a car hides a part of what that shows
            loads = self._loads
            self._hidden.on_reading(
                unproven,
                draw,
                highest_of([load.remembered() for load in loads]),
                highest_of([load.worst() for load in loads]),
                max(abs(a) + abs(flow_a) for a, flow_a in zip(amps, self.battery_a, strict=True)),
                now,
            )
        first, second, third = (
            self._as_load(a, phase, draw) if flag else a
            for phase, (a, flag) in enumerate(zip(amps, unproven, strict=True))
        )
        return self._unproven.measure(
            (first, second, third),
            draw,
            now,
            cut=power_limited,
            slowest_s=slowest_s,
            is_suspected=bool(self.steps.proof.problem),
        )

    def _is_proven(self, phase: int) -> bool:
        """Return True if a feed-in of the phase is one for sure, or for all that can be checked."""
        if self.circuit.measures_building:
            return self._bounds.has_generation
        return self.steps.proof.proven[phase] or self.phase_steps.proven[phase]

    def _as_load(self, amps: float, phase: int, draw: OfferCredit) -> float:
        """Return the load (A) that a current transformer built in backwards would show as these A."""
        if self.circuit.measures_building:
            return abs(amps - draw.low[phase]) + draw.low[phase]
        feeds_in = self._bounds.has_generation or self.battery_a[phase] < 0
        if amps >= 0 or not feeds_in or self.steps.proof.has_missed(phase):
            return abs(amps)
        # For the car that proves it, beside what is taken off the supply as a battery delivers it: that may
        # leave less than this car needs, as it is missing in the supply and in the load.
        room_a = self.circuit.limit_a[phase] - self.margin_a - LEAST_CAR_A - self.hidden_a[phase]
        least_a = max(amps, -self.hidden_a[phase])
        return min(-amps, max(least_a, room_a) + draw.low[phase])

    @property
    def has_good_reading(self) -> bool:
        """Return True if the last reading is a good one."""
        return self._state is not None and self._state.quality is Quality.GOOD

    @property
    def reading(self) -> Reading | None:
        """Return the last reading, of whatever quality."""
        return None if self._state is None else self._state.reading

    def supplied_a(self, supply_a: PhaseAmps, starting: StartingCars, now: float) -> PhaseAmps:
        """Return what may be supplied of `supply_a` (A per phase): for few cars where no current has shown.

        A meter that cannot be planned with limits EVSEs otherwise.
        """
        if not self.unseen.phases or self._used is None or self.trouble(now):
            return supply_a
        return self.unseen.supplied_a(supply_a, starting, now)

    @property
    def doubted(self) -> bool:
        """Return True if the meter is good so far, and has to be planned with at the worst."""
        return self._still.doubted or self._sign.doubted or self.unseen.doubted

    def on_reading_below(self, meter: str, amps: PhaseAmps, settled_s: float, now: float) -> None:
        """Take in one reading (A per phase) of a meter below this one; see `RestWatch`."""
        self._still.rest.on_reading_below(meter, amps, settled_s, now)

    @property
    def settled_s(self) -> float:
        """Return the time after a change until the readings show it (s)."""
        return self.window.span_of(FEWEST_READINGS, SETTLED_S)

    def on_meter_state(
        self, state: MeterState, draw: OfferCredit, now: float, power_limited: bool, slowest_s: float
    ) -> bool:
        """Take in one state of the meter; return True if the circuit has to be cut now.

        `draw`: of all EVSEs below together. `power_limited`: the reading is above a limit in W.
        """
        self._read_at = now
        self._estimated = None
        self.votes = []
        measured = phase_currents(state.reading, self._bounds.voltage_v) if state.reading else None
        if state.quality is Quality.GOOD and measured is not None and self._spikes.is_spike(measured, now):
            return False  # one reading far above the rating shows nothing before the next one
        self._state = self._judged(state, measured, draw, now)
        self.measured = measured
        if self._state.quality is not Quality.GOOD or state.reading is None or measured is None:
            return False
        self._good_at = now - state.still_s  # a meter that repeats itself has shown nothing since
        if state.reading == self._used:
            return False  # a poll was lost: an old reading beside today's draws shows a wrong base load
        self._used = state.reading
        if state.stations_alone:
            self.window.clear()
            self.steps.clear()
            self.phase_steps.clear()
            self.unseen.clear()
            return False  # it lacks the base load, which is planned with at the worst
        if self.circuit.measures_building:
            # The EVSEs are not in the reading: the base load is known, the circuit's current is estimated.
            estimate = draw.unreacted
            total = (measured[0] + estimate[0], measured[1] + estimate[1], measured[2] + estimate[2])
            draw = OfferCredit.within(estimate, estimate, estimate)
            return self._measure(total, draw, now, power_limited, slowest_s)
        flow_a = self.battery_a  # a battery that levels the meter out within a second hides the cars' steps
        own_a = (measured[0] - flow_a[0], measured[1] - flow_a[1], measured[2] - flow_a[2])
        self.unseen.on_reading(measured, draw, now)
        self.window.add_reading(own_a, now)
        self._still.rest.on_reading(own_a)
        is_to_cut = self.steps.on_reading(own_a, draw, now)
        self.votes = self.phase_steps.judge_due(now)
        if self._sign.doubted:
            for phase in filter(self._is_proven, range(3)):
                self._sign.end_doubt(phase)
        return self._measure(measured, draw, now, power_limited, slowest_s) or is_to_cut

    def _judged(
        self, state: MeterState, measured: PhaseAmps | None, draw: OfferCredit, now: float
    ) -> MeterState:
        """Return the state, implausible where it is good by itself but cannot be on this site."""
        if state.quality is not Quality.GOOD or state.reading is None or measured is None:
            return state
        if state.stations_alone:
            return state  # judged from the reports themselves
        reported_a = max(draw.low)
        self._still.on_reading(state.reading, state.still_s, reported_a, now)
        broken = self._bounds.broken_by(state.reading, measured)
        contradiction = self._contradiction.on_reading(state.reading)
        sign = "" if self.circuit.measures_building else self._sign.on_reading(measured, draw.high, now)
        self._drop_proof(self._sign.turned_now, now)
        problem = broken or contradiction or sign
        if not problem and self._still.frozen:
            problem = coded("it repeats itself while stations report current; restart it or its gateway")
        if not problem:
            return state
        return msgspec.structs.replace(
            state, quality=Quality.IMPLAUSIBLE, problem=problem, cause=Cause.IMPOSSIBLE_VALUE
        )

    def _drop_proof(self, phases: Sequence[int], now: float) -> None:
        """Take phases as not proven from now on, until the next step of a car shows them."""
        if not phases:
            return
        self.steps.drop_proof(phases)
        for phase in phases:
            self.phase_steps.drop_proof(phase)
        self.window.drop_readings()
        if self._unproven is None:
            self._unproven = BaseLoad(self.circuit.limit_a, self.circuit.fuse, now, self.margin_a)

    def _follow_limit(self, amps: PhaseAmps, draw: OfferCredit, now: float) -> None:
        """Follow for how long the circuit has been above its limit, and whether our EVSEs explain it."""
        limit_a = self.circuit.limit_a
        if not (
            amps[0] > limit_a[0] + NOISE_A or amps[1] > limit_a[1] + NOISE_A or amps[2] > limit_a[2] + NOISE_A
        ):
            self._over_since = self._unexplained_since = None
            self.over_limit = False
            return
        if self._over_since is None:
            self._over_since = now
            self.last_overload_a = 0.0
        self.last_overload_s = now - self._over_since
        is_explained = False
        for shown_a, most_a, drawn_a in zip(amps, limit_a, draw.high, strict=True):
            if shown_a > most_a + NOISE_A:
                self.last_overload_a = max(self.last_overload_a, shown_a)
                is_explained |= drawn_a > MAY_DRAW_A and shown_a - drawn_a <= most_a + NOISE_A
        if not self.over_limit and now >= self._over_since + OVER_WARN_S:
            self.over_limit = True
            self.overloads += 1
        if is_explained:
            self._unexplained_since = None
        elif self._unexplained_since is None:
            self._unexplained_since = now

    def over_limit_s(self, now: float) -> float:
        """Return for how long the circuit has been above its limit (s)."""
        return 0.0 if self._over_since is None else now - self._over_since

    def quality(self, now: float) -> Quality:
        """Return what the meter is worth now."""
        return self._assess(now)[0]

    def _assess(self, now: float) -> tuple[Quality, str, bool, bool]:
        """Return `quality`, `suspicion`, `is_good`, and whether the worst of the past bridges its loss."""
        suspicion, state = self.suspicion(now), self._state
        if state is None or now - self._read_at > self._silence_s:
            quality = Quality.DEAD
        else:
            is_suspected = state.quality is Quality.GOOD and suspicion
            quality = Quality.IMPLAUSIBLE if is_suspected else state.quality
        until = self._first_reading_by if self._good_at is None else self._good_at + BRIDGE_S
        is_good = quality is Quality.GOOD and self.measured is not None
        is_bridged = not suspicion and now <= until and quality is not Quality.GOOD
        return quality, suspicion, is_good, is_bridged

    def suspicion(self, now: float) -> str:
        """Return in words why a meter with plausible readings is not trusted; empty if it is."""
        if self.steps.proof.problem:
            return self.steps.proof.problem
        since = self._unexplained_since
        if since is not None and now - since > OVER_UNEXPLAINED_S:
            return coded(
                "it shows more than the circuit's limit without all that the stations below may draw"
            )
        return ""

    def problem(self, now: float) -> MeterProblem:
        """Return what is wrong with the meter, or what its good readings lack; empty if nothing."""
        if self._state is None:
            return NOT_READ
        if now - self._read_at > self._silence_s:
            return MeterProblem(
                coded("no state for {duration} s", duration=f"{now - self._read_at:.0f}"), Cause.NOT_READ
            )
        if suspicion := self.suspicion(now):
            return MeterProblem(suspicion, Cause.IMPOSSIBLE_VALUE)
        if self._state.quality is not Quality.GOOD:
            return MeterProblem(self._state.problem, self._state.cause)
        if self.measured is None:
            return MeterProblem(coded("it does not measure the current of each phase"), Cause.MISSING_VALUE)
        if missing := self.unseen.missing_current(now):
            return MeterProblem(missing, Cause.MISSING_VALUE)
        if missed := self._still.rest.describe():
            return MeterProblem(missed, Cause.NONE)
        if self._unproven is not None and self._feeds_in and not self._state.limitation:
            return MeterProblem(UNPROVEN, Cause.NONE)
        if self.steps.before_fall_a != NOWHERE:
            return MeterProblem(FALLEN, Cause.NONE)
        return MeterProblem(self._state.limitation, self._state.cause)

    def expect_reports(self) -> None:
        """Take cars to draw by offers from before a restart until their stations report."""
        for load in self._loads:
            load.expect_reports()

    def is_good(self, now: float) -> bool:
        """Return True if its last reading is good for the current of each phase: no past one bridges it."""
        return self._assess(now)[2]

    def trouble(self, now: float) -> Statement | None:
        """Return why the meter cannot be planned with; None if it can."""
        quality, suspicion, is_good, is_bridged = self._assess(now)
        meter = self.circuit.meter or ""
        if is_good or is_bridged:
            return None
        if suspicion:
            suspected = detailed(StatementCode.METER_IMPOSSIBLE_VALUE, suspicion)
            return Statement(code=StatementCode.METER_SUSPECTED, name=meter, cause=suspected)
        if quality is Quality.GOOD:
            return Statement(code=StatementCode.METER_WITHOUT_PHASES, name=meter)
        return Statement(code=StatementCode.METER_NOT_GOOD, name=meter, quality=quality.value)

    def base(self, now: float, declared_a: float, below_a: PhaseAmps = ZERO) -> LoadEstimates:
        """Return the base load for each question (A per phase).

        Where the meter cannot be planned with, is doubted, or shows the cars alone, every one is the worst.
        That is not less than what the meters below it show with what is not in theirs: `below_a` (A per
        phase).
        """
        _, _, is_good, is_bridged = self._assess(now)
        lacks_base = self._state is not None and self._state.stations_alone
        if is_good and not lacks_base and not self.doubted:
            return self._estimates(now)
        known = [load.worst() for load in self._loads]
        if is_good or is_bridged:
            known += [load.assumed(now) for load in self._loads]
        known.append(add_up((self.load.own_load.highest(), below_a)))
        worst = highest_of([(declared_a,) * 3, *known])
        if is_good and self._sign.doubted and not (lacks_base or self._still.doubted or self.unseen.doubted):
            shown = self._estimates(now)  # as of phases that are not proven yet: no car could end the doubt
            return LoadEstimates(worst, worst, worst, shown.leading, shown.low)
        # What is declared may draw on one phase alone; beside what was shown just now it is no lead.
        has_shown = self._good_at is not None and not lacks_base and (is_good or is_bridged)
        return LoadEstimates(
            worst, worst, worst, highest_of(known) if has_shown else worst, self.load.lowest(now)
        )

    def _estimates(self, now: float) -> LoadEstimates:
        """Return the base loads of a good meter, as they were found a moment ago if it was not read since."""
        if self._estimated is None or now > self._estimated[0] + ESTIMATES_HOLD_S:
            self._estimated = now, self._find_estimates(now)
        return self._estimated[1]

    def _find_estimates(self, now: float) -> LoadEstimates:
        """Return the base loads of a good meter, at the worst while a phase is not proven."""
        shown = self.load.without_common(self._beside_battery(self.load.estimates(now)))
        before_fall_a = self.steps.before_fall_a
        self.held_back_a = ZERO
        if self._unproven is None and before_fall_a == NOWHERE:
            return shown
        assumed, keep, start = [shown.assumed, before_fall_a], [shown.keep], [shown.start, before_fall_a]
        if self._unproven is not None:
            worst_case = self._beside_battery(self._unproven.estimates(now))
            assumed += [worst_case.assumed, self._hidden.load_a]
            keep.append(worst_case.keep)
            start += [worst_case.start, self._hidden.load_a]
        counted_a = highest_of(assumed)
        first, second, third = (a - b for a, b in zip(counted_a, shown.assumed, strict=True))
        self.held_back_a = (first, second, third)
        return shown._replace(assumed=counted_a, keep=highest_of(keep), start=highest_of(start))

    def _beside_battery(self, shown: LoadEstimates) -> LoadEstimates:
        """Return the estimates with all of the feed-in that comes from a battery, and not with a part of it.

        What the battery delivers is taken off the supply as a whole: without the building's own load in it
        the feed-in would be missing twice.
        """
        if self.hidden_a == ZERO:
            return shown
        assumed = _with_feed_in(shown.assumed, shown.leading, self.hidden_a)
        first, second, third = shown.start
        lasting = (first / FEED_IN_SHARED, second / FEED_IN_SHARED, third / FEED_IN_SHARED)
        return shown._replace(assumed=assumed, start=_with_feed_in(shown.start, lasting, self.hidden_a))

    def start_peak(self, phase: int, now: float) -> tuple[float, float]:
        """Return when a phase (0 to 2) carried the load that another car has to expect, and that load (A)."""
        return max((load.start_peak(phase, now) for load in self._loads), key=lambda peak: peak[1])


def _with_feed_in(load_a: PhaseAmps, fed_in_a: PhaseAmps, most_a: PhaseAmps) -> PhaseAmps:
    """Return a load (A per phase); where it is a feed-in, with all of `fed_in_a`, up to `most_a`."""
    first, second, third = (
        min(amps, max(fed_a, -hidden_a)) if amps <= 0 else amps
        for amps, fed_a, hidden_a in zip(load_a, fed_in_a, most_a, strict=True)
    )
    return (first, second, third)
