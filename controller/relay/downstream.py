"""The way to a station: the controller's own CALLs and those of its backends, in one line.

Each is judged first (`ownership`), and each gets exactly one answer: the station's, or ours in its place.
The controller's own wait until the station may be commanded: it has been accepted by its backend, or did
not boot anew. A station that is not connected (`present` False) is spoken for: it is not there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from controller.model.deadlines import earliest
from controller.model.effects import LogEntry, OwnCall
from controller.model.observations import ProfilesTouched
from controller.ocpp.frames import Answer, Call, CallResult, call, call_error
from controller.profiles.arbiter import ProfileArbiter
from controller.relay.call_queue import LINE_DEPTH, CallQueue, PendingCall, Rank
from controller.relay.events import Action, Commandable, ObservationMade, OwnAnswered, ToStation

QUIET_S = 3.0
"""A station that has connected and said nothing for so long has not booted anew: it may be commanded."""

OWNER = ""
"""The origin of the owner's commands."""


class ReplyToBackend(msgspec.Struct, frozen=True):
    """The answer to a command, for the backend that it came from: `origin`, OWNER or an observer's id.

    `action` is that of the command where the answer is our own.
    """

    origin: str
    text: str
    action: str = ""


class CommandObeyed(msgspec.Struct, frozen=True):
    """The station has given a command of `origin` a good answer."""

    origin: str
    action: str
    payload: bytes
    result: bytes


Outcome = Action | ReplyToBackend | CommandObeyed


class Downstream:
    """The state machine of one connected station's way down. Times are s, monotonic.

    `seal` gives the text of a CALL as it leaves the line.
    """

    def __init__(
        self,
        station: str,
        ownership: ProfileArbiter,
        call_timeout_s: float,
        now: float,
        *,
        present: bool = True,
        seal: Callable[[PendingCall, float], str] = lambda call, _now: call.text,
    ) -> None:
        self._station = station
        self._seal = seal
        self._ownership = ownership
        self._line = CallQueue(LINE_DEPTH, call_timeout_s)
        self._present = present
        self._commandable = False
        self._quiet_until: float | None = now + QUIET_S if present else None

    @property
    def deadline(self) -> float | None:
        """When a tick is wanted."""
        return earliest(self._line.deadline, self._quiet_until, self._ownership.deadline)

    @property
    def concerns_limits(self) -> bool:
        """Whether something is under way that our limits depend on."""
        return self._line.concerns_limits

    def awaits(self, message_id: str, origin: str) -> bool:
        """Whether a CALL of this backend with this id has no answer yet."""
        return self._line.awaits(message_id, origin)

    def asked(self, message_id: str) -> str | None:
        """What the station was asked that an answer with this id would be for."""
        return self._line.asked(message_id)

    def boots(self) -> None:
        """The station boots anew: from here on the backend's answer decides whether it may be commanded."""
        self._quiet_until = None

    def allow(self) -> list[Outcome]:
        """The station may be commanded."""
        self._quiet_until = None
        if self._commandable or not self._present:
            return []
        self._commandable = True
        return [Commandable()]

    # -- commands -----------------------------------------------------------------------------------

    def own(self, event: OwnCall) -> list[Outcome]:
        """The controller itself wants something of the station."""
        rank = Rank.URGENT if event.urgent else Rank.OWN
        text = call(event.id, event.action, event.payload)
        self._line.put(PendingCall(event.id, event.action, text, event.payload, rank, token=event.token))
        return []

    def command(self, frame: Call, origin: str, name: str, now: float) -> list[Outcome]:
        """A CALL of a backend, `name` in words: into the line, or answered by us."""
        if not self._present:
            return [_refusal(origin, frame.id, f"station {self._station} is not connected")]
        ruling = self._ownership.judge(frame, now)
        if ruling.call is None:
            why = f"{frame.action} to {self._station} refused, {ruling.reason}"
            notes = [LogEntry(logging.WARNING, f"{name}: {why}")] if ruling.reason else []
            return [*notes, ReplyToBackend(origin, ruling.answer, frame.action)]
        sent = ruling.call
        if self._line.holds(sent.text, origin):
            what = f"{frame.action} {frame.id} to {self._station}: sent on once"
            return [LogEntry(logging.INFO, f"{name} repeats {what}")]
        if self._line.full:
            self._ownership.unanswered(ruling)
            return [
                _refusal(origin, frame.id, f"station {self._station} has {LINE_DEPTH} calls waiting already")
            ]
        self._line.put(
            PendingCall(sent.id, sent.action, sent.text, sent.payload, origin=origin, ruling=ruling)
        )
        return []

    def forget(self, origin: str) -> None:
        """The backend's link is gone: nobody waits for the answers to its commands."""
        for waiting in self._line.forget(origin):
            if waiting.ruling is not None:
                self._ownership.unanswered(waiting.ruling)

    def answered(self, frame: Answer, now: float) -> list[Outcome]:
        """The station answers."""
        waiting = self._line.answered(frame.id)
        if waiting is None:
            what = f"answer to {frame.id} unasked for: dropped"
            return [LogEntry(logging.INFO, f"station {self._station}: {what}")]
        if waiting.ruling is not None:
            text = self._ownership.answered(waiting.ruling, frame, now)
            told: list[Outcome] = [] if text is None else [ReplyToBackend(waiting.origin, text)]
            if not isinstance(frame, CallResult):
                return told
            obeyed = CommandObeyed(waiting.origin, waiting.action, waiting.payload, frame.payload)
            return [obeyed, *told, *_wiping(waiting)]
        if waiting.token is None:
            return []
        if isinstance(frame, CallResult):
            return [OwnAnswered(waiting.token, frame.payload)]
        return [OwnAnswered(waiting.token, None, f"{frame.code} {frame.description}".strip())]

    # -- time ---------------------------------------------------------------------------------------

    def tick(self, now: float) -> list[Outcome]:
        """Time has passed."""
        outcomes = self.allow() if self._quiet_until is not None and now >= self._quiet_until else []
        late = self._line.expired(now)
        return outcomes if late is None else outcomes + self._is_late(late)

    def _is_late(self, late: PendingCall) -> list[Outcome]:
        note = LogEntry(logging.WARNING, f"station {self._station} does not answer {late.action} {late.id}")
        if late.ruling is None:
            return [note, *_unanswered(late, "no answer in time")]
        self._ownership.unanswered(late.ruling)
        refusal = _refusal(late.origin, late.id, f"station {self._station} gave no answer in time")
        return [note, refusal, *_wiping(late)]  # it may have done it all the same

    def advance(self, now: float, *, peers: bool) -> list[Outcome]:
        """Send what may be sent now; `peers`: whether the backends' commands may go."""
        following = self._line.next(now, own=self._commandable, peer=peers)
        return [] if following is None else [ToStation(self._seal(following, now))]

    def settle(self, reason: str) -> list[Outcome]:
        """The link ends: every CALL gets its end."""
        outcomes: list[Outcome] = []
        for waiting in self._line.drain():
            if waiting.ruling is not None:
                outcomes.append(_refusal(waiting.origin, waiting.id, reason))
            else:
                outcomes += _unanswered(waiting, reason)
        outcomes += [ReplyToBackend(OWNER, text) for text in self._ownership.last_answers()]
        self._quiet_until = None
        return outcomes


def _refusal(origin: str, message_id: str, why: str) -> ReplyToBackend:
    return ReplyToBackend(origin, call_error(message_id, "GenericError", why))


def _wiping(waiting: PendingCall) -> list[Outcome]:
    return [ObservationMade(ProfilesTouched(waiting.action))] if waiting.wipes_limits else []


def _unanswered(waiting: PendingCall, why: str) -> list[Outcome]:
    """The end of one of our own, if anybody waits for it."""
    return [] if waiting.token is None else [OwnAnswered(waiting.token, None, why)]
