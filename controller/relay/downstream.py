"""Downstream: the CALLs to a station, the controller's own and those of its backends, in one queue.

A backend's command is first decided on by the profile arbiter, and each gets exactly one answer: the
station's, or ours in its place. Our own CALLs wait until the station is commandable: its backend has
accepted it, or it did not boot anew. In that case it is asked for the states that it does not report by
itself (TriggerMessage: 1.6, 5.17; 2.x Part 2, F06). Without a connected station (`is_present` False)
commands are refused.
"""

from __future__ import annotations

import logging
import math
import uuid
from collections.abc import Callable, Sequence

import msgspec

from controller.model.effects import LogEntry, OwnCall
from controller.model.peer_text import bounded_text, peer_word
from controller.ocpp.frames import (
    Answer,
    Call,
    CallError,
    CallResult,
    Version,
    call,
    error_frame,
    malformed_code,
    parse,
)
from controller.ocpp.trigger_messages import trigger_status
from controller.profiles.arbiter import ProfileArbiter, ProfileDecision
from controller.relay.call_queue import QUEUE_DEPTH, CallQueue, PendingCall, Rank
from controller.relay.events import Action, Commandable, OwnAnswered

QUIET_S = 3.0
"""A station that has connected and sent nothing for so long did not boot anew: it is commandable."""

STATES_WAIT_S = 5.0
"""Time that a station that did not boot anew may take to report its states by itself."""

OWNER = ""
"""The origin of the owner's commands."""

_TRIGGER = "TriggerMessage"
_BOTH_WAYS = {"DataTransfer"}
"""Actions that stations and backends send."""


class ReplyToBackend(msgspec.Struct, frozen=True):
    """The answer to a command, for the backend that sent it: OWNER or an observer's id.

    `action` is that of the command where the answer is our own, and may have to be signed.
    """

    origin: str
    frame: Answer
    action: str = ""


class CommandObeyed(msgspec.Struct, frozen=True):
    """The station has answered a command of `origin` with a CALLRESULT."""

    origin: str
    action: str
    payload: bytes
    result: bytes


DownstreamEffect = Action | ReplyToBackend | CommandObeyed


class Downstream:
    """The state machine of the CALLs to one station. Times are s, monotonic.

    `is_commandable`: our own CALLs may be sent. `is_rejected`: its backend did not accept its last boot.
    `list_unreported` returns the EVSEs whose state the station has not reported over this link.
    """

    def __init__(
        self,
        station: str,
        version: Version,
        profiles: ProfileArbiter,
        call_timeout_s: float,
        now: float,
        *,
        is_present: bool = True,
        is_rejected: bool = False,
        list_unreported: Callable[[], Sequence[int]] = lambda: (),
    ) -> None:
        self.queue = CallQueue(QUEUE_DEPTH, call_timeout_s, overtakes=True)
        self.is_commandable = False
        self.is_stopping = False
        """True if nothing is sent to the station any more."""
        self._quiet_until = now + QUIET_S if is_present else math.inf
        self._states_due_at = math.inf
        self._station = station
        self._version = version
        self._profiles = profiles
        self._is_present = is_present
        self._list_unreported = list_unreported
        self._is_announced = False
        self._is_rejected = is_rejected
        self._has_booted = False

    @property
    def deadline(self) -> float:
        """Time of the next `on_time`, apart from the queue's own deadline (s; inf: not at all)."""
        return min(self._quiet_until, self._states_due_at)

    @property
    def is_quiet(self) -> bool:
        """True if the station is commandable and no CALL to it waits or is outstanding."""
        return self.is_commandable and not self.is_stopping and self.queue.is_empty

    def on_boot(self) -> None:
        """Take a BootNotification: the station is commandable again once its backend accepts it."""
        self._quiet_until = self._states_due_at = math.inf
        self._has_booted = True
        self.is_commandable = False

    def on_boot_answered(self, now: float, *, is_accepted: bool) -> list[DownstreamEffect]:
        """Take the backend's answer: a pending or rejected station gets no CALL of ours (1.6 ed. 2, 4.2)."""
        self._is_rejected = not is_accepted
        return self.allow_commands(now)

    def allow_commands(self, now: float) -> list[DownstreamEffect]:
        """Make the station commandable, unless its backend has not accepted it."""
        self._quiet_until = math.inf
        if self.is_commandable or self._is_rejected or not self._is_present:
            return []
        self.is_commandable = True
        if not self._has_booted:
            self._states_due_at = now + STATES_WAIT_S
        if self._is_announced:
            return []
        self._is_announced = True
        return [Commandable()]

    # -- commands -----------------------------------------------------------------------------------

    def on_own_call(self, event: OwnCall, now: float) -> None:
        """Queue a CALL of the controller."""
        rank = Rank.URGENT if event.urgent else Rank.OWN
        text = call(event.id, event.action, event.payload)
        self.queue.push(
            PendingCall(event.id, event.action, text, event.payload, rank, token=event.token, queued_at=now)
        )

    def on_command(self, frame: Call, origin: str, backend: str, now: float) -> list[DownstreamEffect]:
        """Queue a CALL of a backend, or answer it."""
        if not self._is_present:
            return [_refuse(origin, frame.id, f"station {self._station} is not connected")]
        if self.is_stopping:
            return [_refuse(origin, frame.id, "the controller stops")]
        decision = self._profiles.decide(frame, now, origin)
        effects: list[DownstreamEffect] = []
        if decision.reason:
            line = (
                f"command rejected station={self._station} backend={backend} "
                f"action={peer_word(frame.action)} reason={decision.reason!r}"
            )
            effects.append(LogEntry(logging.WARNING, line))
        sent = decision.call
        if sent is None:
            if decision.answer:  # else it follows
                effects.append(ReplyToBackend(origin, _own_answer(decision.answer), frame.action))
            return effects
        if self.queue.has_text(sent.text, origin):
            return [_repeated(self._station, backend, frame)]
        if self.queue.is_full:
            self._profiles.on_no_result(decision)
            why = f"station {self._station} has {QUEUE_DEPTH} calls waiting already"
            return [_refuse(origin, frame.id, why)]
        self.queue.push(_pending(sent, origin, decision))
        return effects

    def on_backend_lost(self, origin: str) -> None:
        """Drop the commands of a backend whose link is gone, and the answers to them."""
        for pending in self.queue.remove_origin(origin):
            if pending.decision is not None:
                self._profiles.on_no_result(pending.decision)

    # -- answers ------------------------------------------------------------------------------------

    def read_answer(self, frame: Call | Answer, *, is_valid: bool = True) -> Answer | None:
        """Return what a station's message answers; None where it is a CALL of its own.

        A CALLERROR of ours stands for an answer that cannot be relayed: a text that is not a valid frame,
        one without an id, and an answer that is written as a CALL.
        """
        sent = self.queue.outstanding
        if isinstance(frame, Call):
            if (
                sent is None
                or (sent.id, sent.action) != (frame.id, frame.action)
                or sent.action in _BOTH_WAYS
            ):
                return None
            return self._unreadable(sent, "it is a CALL")
        if not is_valid:
            return self._unreadable(frame, "it is not a valid frame")
        if frame.id == "" and sent is not None and sent.id:
            return self._unreadable(sent, "it has no message id")
        return frame

    def _unreadable(self, sent: PendingCall | Answer, why: str) -> CallError:
        text = f"the answer of station {self._station} cannot be read: {why}"
        return error_frame(sent.id, malformed_code(self._version), text)

    def on_answer(self, frame: Answer, now: float) -> list[DownstreamEffect]:
        """End the CALL that the station answers."""
        sent = self.queue.on_answer(frame.id)
        if sent is None:
            line = f"answer dropped station={self._station} id={peer_word(frame.id)} reason='no such call'"
            return [LogEntry(logging.INFO, line)]
        if sent.decision is not None:
            answer = self._profiles.on_result(sent.decision, frame, now)
            if isinstance(answer, ProfileDecision):
                # One command has become several CALLs: the next of them goes before all other commands.
                assert answer.call is not None
                self.queue.push_first(_pending(answer.call, sent.origin, answer))
                return []
            replies: list[DownstreamEffect] = []
            if answer is not None:
                reply = frame if answer is frame.text else _own_answer(answer)
                replies = [ReplyToBackend(sent.origin, reply)]
            if not isinstance(frame, CallResult):
                return replies
            return [CommandObeyed(sent.origin, sent.action, sent.payload, frame.payload), *replies]
        if sent.token is None:
            return []
        if isinstance(frame, CallResult):
            return [OwnAnswered(sent.token, frame.payload)]
        return [OwnAnswered(sent.token, None, bounded_text(f"{frame.code} {frame.description}"))]

    # -- time ---------------------------------------------------------------------------------------

    def on_time(self, now: float) -> list[DownstreamEffect]:
        """End what has waited for too long."""
        effects = self.allow_commands(now) if now >= self._quiet_until else []
        if now >= self._states_due_at:
            self._states_due_at = math.inf
            self._request_states()
        late = self.queue.expire(now)
        return effects if late is None else effects + self._on_late(late)

    def _on_late(self, late: PendingCall) -> list[DownstreamEffect]:
        about = f"action={peer_word(late.action)} id={peer_word(late.id)}"
        line = f"call not answered station={self._station} {about}"
        note = LogEntry(logging.WARNING, line)
        if late.decision is None:
            return [note, *_fail_own(late, "no answer in time")]
        self._profiles.on_no_result(late.decision)
        why = f"station {self._station} gave no answer in time"
        return [note, _refuse(late.origin, _reply_id(late), why)]

    def _request_states(self) -> None:
        """Queue a CALL for each state that the station has not reported; the answers are ignored."""
        for evse in self._list_unreported():
            payload = trigger_status(self._version, evse)
            message_id = str(uuid.uuid4())
            text = call(message_id, _TRIGGER, payload)
            self.queue.push(PendingCall(message_id, _TRIGGER, text, payload, Rank.OWN))

    def next_call(self, now: float, *, peer: bool) -> PendingCall | None:
        """Return the CALL to send now; `peer`: whether the backends' commands may be sent."""
        if self.is_stopping:
            return None
        return self.queue.next_call(now, own=self.is_commandable, peer=peer)

    def settle(self, reason: str) -> list[DownstreamEffect]:
        """End every CALL: the link is closed."""
        effects: list[DownstreamEffect] = []
        for pending in self.queue.drain():
            if pending.decision is not None:
                effects.append(_refuse(pending.origin, _reply_id(pending), reason))
            else:
                effects += _fail_own(pending, reason)
        for origin, text in self._profiles.final_responses():
            effects.append(ReplyToBackend(origin, _own_answer(text)))
        self._quiet_until = self._states_due_at = math.inf
        return effects


def _own_answer(text: str) -> Answer:
    """Return the frame of an answer that the profile arbiter has written."""
    frame = parse(text)
    assert isinstance(frame, Answer)
    return frame


def _refuse(origin: str, message_id: str, why: str) -> ReplyToBackend:
    return ReplyToBackend(origin, error_frame(message_id, "GenericError", why))


def _repeated(station: str, backend: str, frame: Call) -> LogEntry:
    line = (
        f"repeated command sent once station={station} backend={backend} "
        f"action={peer_word(frame.action)} id={peer_word(frame.id)}"
    )
    return LogEntry(logging.INFO, line)


def _pending(sent: Call, origin: str, decision: ProfileDecision) -> PendingCall:
    return PendingCall(sent.id, sent.action, sent.text, sent.payload, origin=origin, decision=decision)


def _reply_id(pending: PendingCall) -> str:
    """Return the id of the backend's message that a CALL to the station belongs to."""
    decision = pending.decision
    return pending.id if decision is None or not decision.reply_to else decision.reply_to


def _fail_own(pending: PendingCall, why: str) -> list[DownstreamEffect]:
    return [] if pending.token is None else [OwnAnswered(pending.token, None, why)]
