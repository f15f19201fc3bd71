"""One EVSE as its station's messages paint it: is there a car, what may it draw, what does it draw."""

from __future__ import annotations

from controller.load_management.allocation.constraints import PhaseFlags
from controller.load_management.evse.consumption import ConsumptionTracker
from controller.load_management.evse.departure_goal import DepartureGoal
from controller.load_management.evse.learned_values import LOADED_A, LearnedNeed, LearnedPhases
from controller.load_management.evse.phase_switch import PhaseSwitch
from controller.load_management.site_tree import EvseNode
from controller.model.observations import DrawSeen, EvseState, NeedsSeen, StateSeen, TransactionSeen

EvseObservation = StateSeen | TransactionSeen | DrawSeen | NeedsSeen

WANTING = frozenset(
    {EvseState.PREPARING, EvseState.CHARGING, EvseState.SUSPENDED_EV, EvseState.SUSPENDED_EVSE}
)
"""A car is there and may want current now or soon."""
GIVING = frozenset({EvseState.CHARGING, EvseState.UNKNOWN})
"""Current may flow. In every other state a station gives none, unless it reports some."""
ASLEEP_S = 900.0
"""A car that takes nothing of its offer for so long sleeps: its place is better used by another."""
PROBE_EVERY_S = 3600.0
PROBE_S = 120.0
"""So often, and for so long, a sleeping car is a car like any other: some wake up only when offered anew."""
DRAWING_A = 1.0
"""A report above this shows a car, whatever the state says: some stations stay `Available`."""


class EvseModel:
    """What is known of one EVSE. `state` outlives a lost link; what was learnt of the car does not.

    `goal`, which nobody learns but by being told, outlives it too: a session that ended is told later.
    """

    def __init__(self, evse: EvseNode, now: float) -> None:
        self.evse = evse
        self.state = EvseState.UNKNOWN
        self.draw = ConsumptionTracker(evse, now)
        self.goal = DepartureGoal()
        self.switch = PhaseSwitch()
        self._state_since = now
        self._running = False
        self._phases = LearnedPhases(len(evse.phases))
        self._need = LearnedNeed(evse.min_a, evse.max_a)

    @property
    def wants(self) -> bool:
        """Whether it has to be thought of as having a car that takes current when offered some."""
        if self.state is EvseState.UNKNOWN:
            return True
        return self._running or self.state in WANTING or self.draw.most_loaded_a > DRAWING_A

    @property
    def phases(self) -> PhaseFlags:
        """The site's phases on which its car may draw."""
        used = {site for site, flag in zip(self.evse.phases, self._phases.used, strict=True) if flag}
        return (0 in used, 1 in used, 2 in used)

    @property
    def phases_known(self) -> bool:
        """Whether `phases` was seen, and is not just the worst case."""
        return self._phases.known

    @property
    def may_use_one_phase(self) -> bool:
        """Whether a car is here that takes current, and perhaps on several phases."""
        return self.wants and self.state is not EvseState.SUSPENDED_EV and sum(self._phases.used) > 1

    def asleep(self, now: float) -> bool:
        """Whether its car has taken nothing for long, and is not being probed just now."""
        slept_s = now - self._state_since
        return (
            self.state is EvseState.SUSPENDED_EV
            and slept_s >= ASLEEP_S
            and slept_s % PROBE_EVERY_S >= PROBE_S
        )

    @property
    def need_a(self) -> float:
        """The most that its car is known to make use of (A per phase), within the EVSE's own bounds."""
        if self.state is EvseState.SUSPENDED_EV:
            return self.evse.min_a  # its car takes nothing now: kept awake, no more
        return self.evse.max_a if self._need.cap_a is None else self._need.cap_a

    def down(self, now: float) -> None:
        """Its station went away: another car may come unseen."""
        self.switch.forgive()
        self._forget_car()
        self.draw.start(now)

    def holds_nothing(self, now: float) -> None:
        """No limit in it allows any current: a change of phases that was decided is made."""
        if self.switch.changing:
            self.switch.made(now)
            self._forget_car()

    def handle(self, observation: EvseObservation, offered_a: float, now: float) -> bool:
        """One observation, made under the offer `offered_a`; whether the sharing has to be thought over."""
        match observation:
            case StateSeen(state=state):
                changed = self._state(state, now)
            case TransactionSeen(running=running):
                changed = self._transaction(running, now)
            case DrawSeen(current_a=current):
                changed = self._draw(current, offered_a, now)
            case NeedsSeen():
                self.goal.set(observation, now)
                changed = True
        self.goal.drew(self._drawn_a(), now)
        return changed

    def _drawn_a(self) -> float:
        """The last report, added up over the phases in use; one that is not told takes as much as another."""
        most_a = self.draw.most_loaded_a
        used = zip(self.draw.report, self._phases.used, strict=True)
        return sum(most_a if amps is None else amps for amps, flag in used if flag)

    def _state(self, state: EvseState, now: float) -> bool:
        before, self.state = self.state, state
        if state is before:
            return False
        self._state_since = now
        if state is EvseState.AVAILABLE:
            self._running = False  # the car has gone, whether or not its StopTransaction reached us
            self.switch.all_phases()
            self._forget_car()
            self.goal.forget()
        if state in GIVING:
            self.draw.start(now)
        else:
            self.draw.stop()
        return True

    def _transaction(self, running: bool, now: float) -> bool:
        changed = running is not self._running
        self._running = running
        self._forget_car()
        if not running:
            self.draw.stop()
            self.goal.forget()
        return changed

    def _draw(
        self, current: tuple[float | None, float | None, float | None], offered_a: float, now: float
    ) -> bool:
        wanted_before = self.wants
        settled = self.draw.see(current, now)
        grown = False
        if self.state is EvseState.CHARGING:
            grown = self._phases.see(self.draw.report)
            if self.switch.single and sum((amps or 0.0) > LOADED_A for amps in self.draw.report) > 1:
                self.switch.fail()
            if settled:
                self._need.see(self.draw.most_loaded_a, offered_a, now)
        return grown or self.wants is not wanted_before

    def _forget_car(self) -> None:
        self._phases.reset(single=self.switch.single)
        self._need.reset()
