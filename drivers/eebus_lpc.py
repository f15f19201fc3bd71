"""EEBUS "limitation of power consumption" (LPC), the Controllable System's side, as a pure machine.

The Energy Guard (the grid operator's control box) writes limits; the Controllable System (this site) keeps
them. Both send heartbeats, so that each knows that the other is alive. Five states say what holds:

- *init*, after a start: nobody has said anything yet, and the failsafe value limits.
- *unlimited/controlled*: the guard is there, and limits nothing.
- *limited*: the guard is there, and its limit holds, for its duration or until it is taken back.
- *failsafe*: the guard was there and went silent: the failsafe value limits.
- *unlimited/autonomous*: the guard has been away for so long that the site is on its own.

Nothing else moves the machine than the cues in `TRANSITIONS`; a cue that a state does not have there
leaves it where it is. The numbers are those of the use case's state machine (rules LPC-901 to 923).

A limit that is written counts in *init*, *failsafe* and *autonomous* only within 60 s of a heartbeat: it
may be a copy that a stack delivers when it comes back, of a guard that does not. What is refused moves
nothing. A failsafe ends by its own time, by a new limit, or when the guard is there again for 120 s and
says nothing; a single heartbeat followed by silence does not end it.

Times are s on the caller's monotonic clock; powers W of consumption. No SHIP, no SPINE in here.
"""

from __future__ import annotations

import enum
import math

import msgspec

SILENCE_S = 120.0
"""So long without a heartbeat, the other side is lost; so long without a limit, it has none to give."""
FRESH_S = 60.0
"""How long after a heartbeat a limit counts where nobody was in control before."""
OWN_HEARTBEAT_S = 30.0
"""Ours may be 60 s apart: one that is lost does not count."""
FAILSAFE_LEAST_S = 2 * 3600.0
FAILSAFE_MOST_S = 24 * 3600.0


class State(enum.Enum):
    """What holds."""

    INIT = "init"
    CONTROLLED = "unlimited/controlled"
    LIMITED = "limited"
    FAILSAFE = "failsafe"
    AUTONOMOUS = "unlimited/autonomous"


class Cue(enum.Enum):
    """What may move the machine."""

    INACTIVE = "an inactive limit was accepted"
    ACTIVE = "an active limit was accepted"
    SILENT = "120 s without"
    LIMIT_OVER = "the limit's duration is over"
    INTERRUPTED = "the limit was interrupted for safety"
    FAILSAFE_OVER = "the failsafe's duration is over"
    NO_LIMIT = "the guard is back, and gave no limit for 120 s"


TRANSITIONS: dict[State, dict[Cue, tuple[int, State]]] = {
    State.INIT: {
        Cue.INACTIVE: (1, State.CONTROLLED),
        Cue.ACTIVE: (2, State.LIMITED),
        Cue.SILENT: (3, State.AUTONOMOUS),
    },
    State.CONTROLLED: {
        Cue.ACTIVE: (4, State.LIMITED),
        Cue.SILENT: (5, State.FAILSAFE),
    },
    State.LIMITED: {
        Cue.INACTIVE: (6, State.CONTROLLED),
        Cue.LIMIT_OVER: (6, State.CONTROLLED),
        Cue.INTERRUPTED: (6, State.CONTROLLED),
        Cue.SILENT: (7, State.FAILSAFE),
    },
    State.FAILSAFE: {
        Cue.INACTIVE: (8, State.CONTROLLED),
        Cue.ACTIVE: (9, State.LIMITED),
        Cue.FAILSAFE_OVER: (10, State.AUTONOMOUS),
        Cue.NO_LIMIT: (10, State.AUTONOMOUS),
    },
    State.AUTONOMOUS: {
        Cue.INACTIVE: (11, State.CONTROLLED),
        Cue.ACTIVE: (12, State.LIMITED),
    },
}

IN_CONTROL = {State.CONTROLLED, State.LIMITED}


class Heartbeat(msgspec.Struct, frozen=True):
    """The guard is alive."""


class LimitWritten(msgspec.Struct, frozen=True, kw_only=True):
    """The guard writes its limit. `duration_s` None: until it is taken back."""

    watts: float
    active: bool
    duration_s: float | None = None


class FailsafeWritten(msgspec.Struct, frozen=True, kw_only=True):
    """The guard writes what shall hold without it; None: as before."""

    watts: float | None = None
    duration_s: float | None = None


class Interrupted(msgspec.Struct, frozen=True):
    """The site does not keep the limit any more, because somebody would be in danger."""


class Tick(msgspec.Struct, frozen=True):
    """Time has passed."""


Event = Heartbeat | LimitWritten | FailsafeWritten | Interrupted | Tick


class Answered(msgspec.Struct, frozen=True):
    """The answer to what was written: taken (ACK), or refused (NACK) and why."""

    accepted: bool
    reason: str = ""


class Moved(msgspec.Struct, frozen=True):
    """The machine has changed its state, by the transition of this number."""

    number: int
    origin: State
    state: State
    cue: Cue


class SendHeartbeat(msgspec.Struct, frozen=True):
    """Send ours."""


class Failsafe(msgspec.Struct, frozen=True):
    """FailsafeConsumptionActivePowerLimit (W) and FailsafeDurationMinimum (s)."""

    watts: float = 4200.0
    duration_s: float = FAILSAFE_LEAST_S


class SaveFailsafe(msgspec.Struct, frozen=True):
    """The guard's failsafe must survive a restart: nothing else does, a restart begins in *init*."""

    failsafe: Failsafe


Action = Answered | Moved | SendHeartbeat | SaveFailsafe


class ControllableSystem:
    """The machine, from its start at `now` on.

    `minimum_w`: what nobody may limit the site below; a limit that is lower is refused, as a promise that
    could not be kept.
    """

    def __init__(self, failsafe: Failsafe, minimum_w: float, now: float) -> None:
        self.state = State.INIT
        self.failsafe = failsafe
        self._minimum_w = minimum_w
        self._entered_at = now
        self._heard_at: float | None = None
        self._back_at: float | None = None
        """Since when, in *failsafe*, the guard is heard again."""
        self._limit: LimitWritten | None = None
        self._limit_ends: float | None = None
        self._say_at = now

    @property
    def limit_w(self) -> float | None:
        """What the site may draw now; None: as much as it likes."""
        if self.state in (State.INIT, State.FAILSAFE):
            return self.failsafe.watts
        return self._limit.watts if self._limit is not None else None

    @property
    def until(self) -> float | None:
        """When what limits the site is over by itself; None where it has no such end."""
        due = self._due()
        if self.state is State.INIT:
            return due[0] if due else None
        if self.state is State.FAILSAFE:
            return self._entered_at + self.failsafe.duration_s
        return self._limit_ends

    @property
    def deadline(self) -> float:
        """When a Tick is wanted."""
        due = self._due()
        return min(self._say_at, due[0]) if due else self._say_at

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take in one event; what to do because of it, and of what was due before it, in this order."""
        actions: list[Action] = self._pass_time(now)
        match event:
            case Heartbeat():
                self._heard_at = now
                if self.state is State.FAILSAFE and self._back_at is None:
                    self._back_at = now
            case LimitWritten():
                actions += self._written(event, now)
            case FailsafeWritten():
                actions += self._failsafe_written(event)
            case Interrupted():
                actions += self._cue(Cue.INTERRUPTED, now)
            case Tick():
                pass
        if now >= self._say_at:
            self._say_at = now + OWN_HEARTBEAT_S
            actions.append(SendHeartbeat())
        return actions

    def _pass_time(self, now: float) -> list[Action]:
        actions: list[Action] = []
        while (due := self._due()) is not None and due[0] <= now:
            at, cue = due
            if cue is Cue.NO_LIMIT and not self._heard(at):
                self._back_at = None  # it was not back
            else:
                actions += self._cue(cue, at)
        return actions

    def _due(self) -> tuple[float, Cue] | None:
        """What happens next if nobody says anything, and when."""
        dues: list[tuple[float, Cue]] = []
        if self.state is State.INIT:
            dues.append((self._entered_at + SILENCE_S, Cue.SILENT))
        elif self.state is State.FAILSAFE:
            dues.append((self._entered_at + self.failsafe.duration_s, Cue.FAILSAFE_OVER))
            if self._back_at is not None:
                dues.append((self._back_at + SILENCE_S, Cue.NO_LIMIT))
        elif self.state in IN_CONTROL and self._heard_at is not None:
            dues.append((self._heard_at + SILENCE_S, Cue.SILENT))
            if self._limit_ends is not None:
                dues.append((self._limit_ends, Cue.LIMIT_OVER))
        return min(dues, key=lambda due: due[0], default=None)

    def _cue(self, cue: Cue, at: float) -> list[Action]:
        move = TRANSITIONS[self.state].get(cue)
        if move is None:
            return []
        number, state = move
        moved = Moved(number, self.state, state, cue)
        self.state, self._entered_at, self._back_at = state, at, None
        if state is not State.LIMITED:
            self._limit = self._limit_ends = None
        return [moved]

    def _written(self, written: LimitWritten, now: float) -> list[Action]:
        if reason := self._why_not(written, now):
            return [Answered(False, reason)]
        moves = self._cue(Cue.ACTIVE if written.active else Cue.INACTIVE, now)
        if written.active:
            self._limit = written
            self._limit_ends = None if written.duration_s is None else now + written.duration_s
        return [Answered(True), *moves]

    def _why_not(self, written: LimitWritten, now: float) -> str:
        """Why a limit is refused; empty where it is not."""
        if not (math.isfinite(written.watts) and written.watts >= 0):
            return f"{written.watts:g} W is no limit of consumption"
        if written.active and written.watts < self._minimum_w:
            return f"{written.watts:g} W is below the minimum of {self._minimum_w:g} W"
        if written.duration_s is not None and not (
            math.isfinite(written.duration_s) and written.duration_s > 0
        ):
            return f"{written.duration_s:g} s is no duration"
        if self.state not in IN_CONTROL and not self._heard(now, FRESH_S):
            return f"no heartbeat within the last {FRESH_S:g} s"
        return ""

    def _failsafe_written(self, written: FailsafeWritten) -> list[Action]:
        watts = self.failsafe.watts if written.watts is None else written.watts
        duration_s = self.failsafe.duration_s if written.duration_s is None else written.duration_s
        if not (math.isfinite(watts) and watts >= self._minimum_w):
            return [Answered(False, f"{watts:g} W is below the minimum of {self._minimum_w:g} W")]
        if not FAILSAFE_LEAST_S <= duration_s <= FAILSAFE_MOST_S:
            return [Answered(False, f"{duration_s:g} s is not between 2 h and 24 h")]
        self.failsafe = Failsafe(watts, duration_s)
        return [SaveFailsafe(self.failsafe), Answered(True)]

    def _heard(self, at: float, within_s: float = SILENCE_S) -> bool:
        """Whether there was a heartbeat within so many s before a moment."""
        return self._heard_at is not None and at - self._heard_at < within_s
