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
from controller.ocpp.frames import Answer, Call, CallResult, call, call_error
from controller.profiles.arbiter import ProfileArbiter, ProfileDecision
from controller.relay.call_queue import LINE_DEPTH, CallQueue, PendingCall, Rank
from controller.relay.events import Action, Commandable, OwnAnswered, ToStation

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
        self._is_announced = False
        self._is_rejected = False
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
        """Take a BootNotification: the station may be commanded again once its backend accepts it."""
        self._quiet_until = None
        self._commandable = False

    def on_boot_answered(self, *, accepted: bool) -> list[Outcome]:
        """Take the backend's answer: a pending or rejected station gets no CALL of ours (1.6 ed. 2, 4.2)."""
        self._is_rejected = not accepted
        return self.allow()

    def allow(self) -> list[Outcome]:
        """Allow our CALLs to the station, unless its backend has not accepted it."""
        self._quiet_until = None
        if self._commandable or self._is_rejected or not self._present:
            return []
        self._commandable = True
        if self._is_announced:
            return []
        self._is_announced = True
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
        ruling = self._ownership.decide(frame, now, origin)
        notes: list[Outcome] = []
        if ruling.reason:
            refused = f"command refused backend={name} station={self._station} action={frame.action}"
            notes = [LogEntry(logging.WARNING, f"{refused} reason={ruling.reason}")]
        if ruling.call is None:
            if ruling.answer:
                notes.append(ReplyToBackend(origin, ruling.answer, frame.action))
            return notes
        sent = ruling.call
        if self._line.holds(sent.text, origin):
            what = f"{frame.action} {frame.id} to {self._station}: sent on once"
            return [LogEntry(logging.INFO, f"{name} repeats {what}")]
        if self._line.full:
            self._ownership.on_no_result(ruling)
            return [
                _refusal(origin, frame.id, f"station {self._station} has {LINE_DEPTH} calls waiting already")
            ]
        self._line.put(
            PendingCall(sent.id, sent.action, sent.text, sent.payload, origin=origin, ruling=ruling)
        )
        return notes

    def _continue(self, before: PendingCall, decision: ProfileDecision) -> None:
        """Send the next of several CALLs that one command has become, before others."""
        following = decision.call
        assert following is not None
        self._line.put_first(
            PendingCall(
                following.id,
                following.action,
                following.text,
                following.payload,
                origin=before.origin,
                ruling=decision,
            )
        )

    def forget(self, origin: str) -> None:
        """The backend's link is gone: nobody waits for the answers to its commands."""
        for waiting in self._line.forget(origin):
            if waiting.ruling is not None:
                self._ownership.on_no_result(waiting.ruling)

    def answered(self, frame: Answer, now: float) -> list[Outcome]:
        """The station answers."""
        waiting = self._line.answered(frame.id)
        if waiting is None:
            what = f"answer to {frame.id} unasked for: dropped"
            return [LogEntry(logging.INFO, f"station {self._station}: {what}")]
        if waiting.ruling is not None:
            answer = self._ownership.on_result(waiting.ruling, frame, now)
            if isinstance(answer, ProfileDecision):
                self._continue(waiting, answer)
                return []
            told: list[Outcome] = [] if answer is None else [ReplyToBackend(waiting.origin, answer)]
            if not isinstance(frame, CallResult):
                return told
            obeyed = CommandObeyed(waiting.origin, waiting.action, waiting.payload, frame.payload)
            return [obeyed, *told]
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
        self._ownership.on_no_result(late.ruling)
        why = f"station {self._station} gave no answer in time"
        return [note, _refusal(late.origin, _reply_id(late), why)]

    def advance(self, now: float, *, peers: bool) -> list[Outcome]:
        """Send what may be sent now; `peers`: whether the backends' commands may go."""
        following = self._line.next(now, own=self._commandable, peer=peers)
        return [] if following is None else [ToStation(self._seal(following, now))]

    def settle(self, reason: str) -> list[Outcome]:
        """The link ends: every CALL gets its end."""
        outcomes: list[Outcome] = []
        for waiting in self._line.drain():
            if waiting.ruling is not None:
                outcomes.append(_refusal(waiting.origin, _reply_id(waiting), reason))
            else:
                outcomes += _unanswered(waiting, reason)
        outcomes += [ReplyToBackend(origin, text) for origin, text in self._ownership.final_responses()]
        self._quiet_until = None
        return outcomes


def _refusal(origin: str, message_id: str, why: str) -> ReplyToBackend:
    return ReplyToBackend(origin, call_error(message_id, "GenericError", why))


def _reply_id(waiting: PendingCall) -> str:
    """Return the id of the backend's message that a CALL to the station belongs to."""
    decision = waiting.ruling
    return waiting.id if decision is None or not decision.reply_to else decision.reply_to


def _unanswered(waiting: PendingCall, why: str) -> list[Outcome]:
    """The end of one of our own, if anybody waits for it."""
    return [] if waiting.token is None else [OwnAnswered(waiting.token, None, why)]
