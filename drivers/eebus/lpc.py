"""EEBUS limitation of power consumption (LPC): the state machine of the Controllable System, sans-IO.

The Energy Guard (the grid operator's control box) writes limits; the Controllable System (this site) keeps
them. Both send heartbeats. The use case (LPC 1.0.0, rules LPC-901 to 923) has five states:

- *init*, after a start: no limit has been written yet, and the failsafe value applies.
- *unlimited/controlled*: the guard is connected and has no active limit.
- *limited*: the guard's limit applies, for its duration or until it is deactivated.
- *failsafe*: the guard's heartbeat was lost: the failsafe value applies.
- *unlimited/autonomous*: the guard has been away for so long that nothing limits the site.

The state changes only by the triggers of `TRANSITIONS`; a trigger that is missing there for a state has no
effect in it. The numbers are those of the use case's state diagram.

In *init*, *failsafe* and *autonomous* a limit is evaluated only within 60 s after a heartbeat: it may be a
copy that a stack delivers for a guard that is not there. If it is evaluated and refused for its value there,
the guard is nevertheless in control again: the state becomes *unlimited/controlled*. In the other two states
a refused limit changes nothing. The failsafe values may be written only in those two states.

Limitation of power production (LPP 1.0.0) is the same machine with another direction of power.

Times are s on the caller's monotonic clock; powers W, never negative.
"""

from __future__ import annotations

import enum
import math

import msgspec

HEARTBEAT_TIMEOUT_S = 120.0
"""Time without a heartbeat after which the guard is lost, and without a limit after which it has none."""
FRESH_HEARTBEAT_S = 60.0
"""Greatest age of the heartbeat for a limit to be evaluated where the guard was not in control."""
FAILSAFE_SHORTEST_S = 2 * 3600.0
FAILSAFE_LONGEST_S = 24 * 3600.0
GREATEST_W = 1e12
"""Limits above this are a mistake: no grid connection comes near."""


class State(enum.Enum):
    """State of the Controllable System, named as in the use case."""

    INIT = "init"
    CONTROLLED = "unlimited/controlled"
    LIMITED = "limited"
    FAILSAFE = "failsafe"
    AUTONOMOUS = "unlimited/autonomous"


class Trigger(enum.Enum):
    """Reason for a transition."""

    INACTIVE_LIMIT = "an inactive limit was accepted"
    ACTIVE_LIMIT = "an active limit was accepted"
    REFUSED_LIMIT = "a limit was refused for its value"
    TIMEOUT = "120 s without heartbeat or limit"
    LIMIT_EXPIRED = "the limit's duration is over"
    INTERRUPTED = "the limit cannot be obeyed any more"
    FAILSAFE_EXPIRED = "the failsafe's duration is over"
    NO_LIMIT = "the guard's heartbeat is back, and no limit came for 120 s"


TRANSITIONS: dict[State, dict[Trigger, tuple[int, State]]] = {
    State.INIT: {
        Trigger.INACTIVE_LIMIT: (1, State.CONTROLLED),
        Trigger.REFUSED_LIMIT: (1, State.CONTROLLED),
        Trigger.ACTIVE_LIMIT: (2, State.LIMITED),
        Trigger.TIMEOUT: (3, State.AUTONOMOUS),
    },
    State.CONTROLLED: {
        Trigger.ACTIVE_LIMIT: (4, State.LIMITED),
        Trigger.TIMEOUT: (5, State.FAILSAFE),
    },
    State.LIMITED: {
        Trigger.INACTIVE_LIMIT: (6, State.CONTROLLED),
        Trigger.LIMIT_EXPIRED: (6, State.CONTROLLED),
        Trigger.INTERRUPTED: (6, State.CONTROLLED),
        Trigger.TIMEOUT: (7, State.FAILSAFE),
    },
    State.FAILSAFE: {
        Trigger.INACTIVE_LIMIT: (8, State.CONTROLLED),
        Trigger.REFUSED_LIMIT: (8, State.CONTROLLED),
        Trigger.ACTIVE_LIMIT: (9, State.LIMITED),
        Trigger.FAILSAFE_EXPIRED: (10, State.AUTONOMOUS),
        Trigger.NO_LIMIT: (10, State.AUTONOMOUS),
    },
    State.AUTONOMOUS: {
        Trigger.INACTIVE_LIMIT: (11, State.CONTROLLED),
        Trigger.REFUSED_LIMIT: (11, State.CONTROLLED),
        Trigger.ACTIVE_LIMIT: (12, State.LIMITED),
    },
}

IN_CONTROL = {State.CONTROLLED, State.LIMITED}
"""States in which the guard is in control."""


class Heartbeat(msgspec.Struct, frozen=True):
    """Heartbeat of the guard."""


class LimitWritten(msgspec.Struct, frozen=True, kw_only=True):
    """Limit written by the guard. `duration_s` None: until it is deactivated."""

    watts: float
    active: bool
    duration_s: float | None = None


class FailsafeWritten(msgspec.Struct, frozen=True, kw_only=True):
    """Failsafe value (W) and minimum duration (s) written by the guard; None: unchanged.

    `unlocked`: the duration may be written in any state, because another use case that shares it is
    in control.
    """

    watts: float | None = None
    duration_s: float | None = None
    unlocked: bool = False


class ObedienceChanged(msgspec.Struct, frozen=True):
    """Reason why the site cannot obey an active limit from now on (safety, law); empty: it can."""

    obstacle: str = ""


class Tick(msgspec.Struct, frozen=True):
    """Time has passed."""


Event = Heartbeat | LimitWritten | FailsafeWritten | ObedienceChanged | Tick


class Answered(msgspec.Struct, frozen=True):
    """Answer to a write: accepted (ACK), or refused (NACK) with the reason."""

    accepted: bool
    reason: str = ""


class Moved(msgspec.Struct, frozen=True):
    """Transition of the state machine, by its number in the use case."""

    number: int
    origin: State
    state: State
    trigger: Trigger


class Failsafe(msgspec.Struct, frozen=True):
    """FailsafeConsumptionActivePowerLimit (W) and FailsafeDurationMinimum (s)."""

    watts: float = 4200.0
    duration_s: float = FAILSAFE_SHORTEST_S


class SaveFailsafe(msgspec.Struct, frozen=True):
    """Persist the failsafe values: they alone survive a restart, which begins in *init*."""

    failsafe: Failsafe


Action = Answered | Moved | SaveFailsafe


class LpcView(msgspec.Struct, frozen=True, kw_only=True):
    """State of a machine for reports. Times: s, monotonic."""

    state: State
    failsafe: Failsafe
    limit_w: float | None = None
    until: float | None = None
    deadline: float | None = None
    heartbeat_at: float | None = None


class ControllableSystem:
    """State machine of one direction of power, started at `now`.

    `minimum_w`: limits and failsafe values below it are refused; 0: none is.
    """

    def __init__(self, failsafe: Failsafe, minimum_w: float, now: float) -> None:
        self.state = State.INIT
        self.failsafe = failsafe
        self.heartbeat_at: float | None = None
        """Time of the guard's last heartbeat; None: there was none since the start."""
        self.obstacle = ""
        self._minimum_w = minimum_w
        self._entered_at = now
        self._returned_at: float | None = None
        """In *failsafe*: time of the first heartbeat of the guard's return."""
        self._limit: LimitWritten | None = None
        self._limit_ends: float | None = None

    @property
    def view(self) -> LpcView:
        """State for reports."""
        return LpcView(
            state=self.state,
            failsafe=self.failsafe,
            limit_w=self.limit_w,
            until=self.until,
            deadline=self.deadline,
            heartbeat_at=self.heartbeat_at,
        )

    @property
    def limit_w(self) -> float | None:
        """Power that applies now (W); None: unlimited."""
        if self.state in (State.INIT, State.FAILSAFE):
            return self.failsafe.watts
        return self._limit.watts if self._limit is not None else None

    @property
    def until(self) -> float | None:
        """End of what applies now, if nothing else happens; None: no such end."""
        due = self._due()
        if self.state is State.INIT:
            return due[0] if due else None
        if self.state is State.FAILSAFE:
            return self._entered_at + self.failsafe.duration_s
        return self._limit_ends

    @property
    def deadline(self) -> float | None:
        """Time of the next transition if nothing else happens; None: there is none."""
        due = self._due()
        return due[0] if due else None

    def handle(self, event: Event, now: float) -> list[Action]:
        """Process one event, after everything that was due before it; return the actions in order."""
        actions: list[Action] = self._pass_time(now)
        match event:
            case Heartbeat():
                self.heartbeat_at = now
                if self.state is State.FAILSAFE and self._returned_at is None:
                    self._returned_at = now
            case LimitWritten():
                actions += self._on_limit(event, now)
            case FailsafeWritten():
                actions += self._on_failsafe(event)
            case ObedienceChanged():
                self.obstacle = event.obstacle
                if event.obstacle:
                    actions += self._apply(Trigger.INTERRUPTED, now)
            case Tick():
                pass
        return actions

    def share_duration(self, duration_s: float) -> None:
        """Take over the failsafe duration that was written for the other direction of power."""
        self.failsafe = Failsafe(self.failsafe.watts, duration_s)

    def _pass_time(self, now: float) -> list[Action]:
        actions: list[Action] = []
        while (due := self._due()) is not None and due[0] <= now:
            at, trigger = due
            if trigger is Trigger.NO_LIMIT and self._is_heartbeat_lost(at):
                # The heartbeats stopped again: the guard's return is void, the failsafe goes on.
                self._returned_at = None
            else:
                actions += self._apply(trigger, at)
        return actions

    def _due(self) -> tuple[float, Trigger] | None:
        """Time and trigger of the next transition by time alone."""
        dues: list[tuple[float, Trigger]] = []
        if self.state is State.INIT:
            dues.append((self._entered_at + HEARTBEAT_TIMEOUT_S, Trigger.TIMEOUT))
        elif self.state is State.FAILSAFE:
            dues.append((self._entered_at + self.failsafe.duration_s, Trigger.FAILSAFE_EXPIRED))
            if self._returned_at is not None:
                dues.append((self._returned_at + HEARTBEAT_TIMEOUT_S, Trigger.NO_LIMIT))
        elif self.state in IN_CONTROL and self.heartbeat_at is not None:
            dues.append((self.heartbeat_at + HEARTBEAT_TIMEOUT_S, Trigger.TIMEOUT))
            if self._limit_ends is not None:
                dues.append((self._limit_ends, Trigger.LIMIT_EXPIRED))
        return min(dues, key=lambda due: due[0], default=None)

    def _apply(self, trigger: Trigger, at: float) -> list[Action]:
        transition = TRANSITIONS[self.state].get(trigger)
        if transition is None:
            return []
        number, state = transition
        moved = Moved(number, self.state, state, trigger)
        self.state, self._entered_at, self._returned_at = state, at, None
        if state is not State.LIMITED:
            self._limit = self._limit_ends = None
        return [moved]

    def _on_limit(self, written: LimitWritten, now: float) -> list[Action]:
        if self.state not in IN_CONTROL and not self._is_heartbeat_fresh(now):
            return [Answered(False, f"no heartbeat within the last {FRESH_HEARTBEAT_S:g} s")]
        if reason := self._reason_to_refuse(written):
            return [Answered(False, reason), *self._apply(Trigger.REFUSED_LIMIT, now)]
        moves = self._apply(Trigger.ACTIVE_LIMIT if written.active else Trigger.INACTIVE_LIMIT, now)
        if written.active:
            self._limit = written
            self._limit_ends = None if written.duration_s is None else now + written.duration_s
        return [Answered(True), *moves]

    def _reason_to_refuse(self, written: LimitWritten) -> str:
        """Reason why an evaluated limit is refused; empty: it is accepted."""
        if not 0 <= written.watts <= GREATEST_W:  # false for NaN
            return f"{written.watts:g} W is not a limit of power"
        if written.active and written.watts < self._minimum_w:
            return f"{written.watts:g} W is below the minimum of {self._minimum_w:g} W"
        if written.duration_s is not None and not (
            math.isfinite(written.duration_s) and written.duration_s > 0
        ):
            return f"{written.duration_s:g} s is not a duration"
        if written.active and self.obstacle:
            return f"the limit cannot be obeyed: {self.obstacle}"
        return ""

    def _on_failsafe(self, written: FailsafeWritten) -> list[Action]:
        locked = self.state not in IN_CONTROL
        if locked and (written.watts is not None or not written.unlocked):
            return [Answered(False, f"failsafe values are locked in state {self.state.value}")]
        watts = self.failsafe.watts if written.watts is None else written.watts
        if not max(0.0, self._minimum_w) <= watts <= GREATEST_W:
            return [Answered(False, f"failsafe value {watts:g} W is below {self._minimum_w:g} W or too high")]
        duration_s = self.failsafe.duration_s if written.duration_s is None else written.duration_s
        if duration_s > FAILSAFE_LONGEST_S:
            # The use case asks for our own maximum to be set, and the write to be refused.
            return [
                *self._store_failsafe(Failsafe(self.failsafe.watts, FAILSAFE_LONGEST_S)),
                Answered(False, "failsafe duration is above 24 h: set to 24 h"),
            ]
        if not duration_s >= FAILSAFE_SHORTEST_S:
            return [Answered(False, f"failsafe duration {duration_s:g} s is below 2 h")]
        return [*self._store_failsafe(Failsafe(watts, duration_s)), Answered(True)]

    def _store_failsafe(self, failsafe: Failsafe) -> list[Action]:
        self.failsafe = failsafe
        return [SaveFailsafe(failsafe)]

    def _is_heartbeat_fresh(self, at: float) -> bool:
        return self.heartbeat_at is not None and at - self.heartbeat_at <= FRESH_HEARTBEAT_S

    def _is_heartbeat_lost(self, at: float) -> bool:
        return self.heartbeat_at is None or at - self.heartbeat_at >= HEARTBEAT_TIMEOUT_S
