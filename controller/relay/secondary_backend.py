"""Secondary backend: one observer's copies of a station's messages, and its permitted commands.

    station's CALL, answered  --copy-->  outbox  --CALL-->  observer      its answer goes no further
    observer's CALL           --if permitted, under an id of ours-->  station's queue  --answer-->  observer

With each link and each boot of the station the replay begins anew: its BootNotification, the state of each
connector, then the queued messages in order. So these two kinds do not wait in the outbox while the observer
is away: the replay has them in their newest form. Heartbeats are ours, at the interval that the observer has
asked for. It numbers 1.6 transactions itself: ids are translated both ways.

Sans-IO: `now` is s, monotonic.
"""

from __future__ import annotations

import logging
import math
import uuid
from collections.abc import Callable, Iterable

import msgspec

from controller.model.effects import LogEntry, TimePassed
from controller.model.journal import Persist
from controller.model.peer_text import peer_word
from controller.ocpp.actions import plain
from controller.ocpp.frames import (
    Answer,
    Call,
    CallError,
    CallResult,
    CallResultError,
    Frame,
    Send,
    Version,
    call,
    call_error,
)
from controller.ocpp.payloads import read_payload
from controller.offline.journal_records import EntryQueued
from controller.offline.offline_messages import BootAnswer
from controller.offline.outbox import Outbox, OutboxFullError, kind_of
from controller.offline.outbox_sender import OutboundCall, OutboxSender
from controller.offline.transaction_id_map import IdRewriteError, TransactionIdMap
from controller.relay.events import ObserverLost, ObserverUp, Redial, ToObserver, persist

COMMAND_DENIED = "SecurityError"
"""The error code of a command that is not permitted (OCPP-J 1.6, section 4.2.3; 2.x Part 4, section 4.3)."""

MOST_COMMANDS = 32
"""Commands of one observer that may wait for the station's answer: OCPP allows one."""

USUAL_HEARTBEAT_S = 300.0
"""The interval where the observer asks for none."""

SHORTEST_HEARTBEAT_S = 1.0
"""The shortest interval, even if the observer requests less."""

_HEARTBEAT = "Heartbeat"
_REPLAYED = {"BootNotification", "StatusNotification"}
"""Actions that the replay sends: they are not queued for an observer that is away."""

_PARTS = msgspec.json.Decoder(list[msgspec.Raw])


class CommandPermissions(msgspec.Struct, frozen=True):
    """The commands that `backend` may send; `actions` None: all of them, unknown ones included.

    That no two backends of a station have the same exclusive command is checked when the configuration is
    read (`controller.config.backend_rules`); here each is held to its own list.
    """

    backend: str
    actions: frozenset[str] | None

    def find_refusal(self, station: str, action: str) -> str | None:
        """Return why a command is not permitted, naming the rule; None: it is.

        A signed command is permitted as the action that it contains.
        """
        if self.actions is None or plain(action) in self.actions:
            return None
        rule = f'see commands in [[backend]] "{self.backend}"'
        return f"{self.backend} may not {peer_word(action)} {station}: {rule}"


class ObserverFrame(msgspec.Struct, frozen=True):
    """A frame arrived from the observer."""

    frame: Frame


class ObserverCopy(msgspec.Struct, frozen=True):
    """A message of the station that has its CALLRESULT (a SEND has none): each is copied once.

    `taken`: when it arrived (POSIX s). `transaction`: in a 1.6 StartTransaction, the transaction id of
    that CALLRESULT.
    """

    frame: Call | Send
    taken: float
    transaction: int | None = None


class AnswerToObserver(msgspec.Struct, frozen=True):
    """The answer to an `ObserverCommand`, the station's or ours: a frame with the command's id."""

    frame: Answer


class ObserverCommand(msgspec.Struct, frozen=True):
    """A permitted CALL of an observer to the station; its answer returns as `AnswerToObserver`."""

    call: Call


class CallToObserver(msgspec.Struct, frozen=True):
    """Send this CALL to the observer: a copy of the station's, or one of our own."""

    call: Call


ObserverEvent = ObserverUp | ObserverLost | ObserverFrame | ObserverCopy | AnswerToObserver | TimePassed
ObserverEffect = ToObserver | CallToObserver | Redial | Persist | ObserverCommand | LogEntry


class SecondaryBackend:
    """One observer of one station, over all its links.

    `observed`: the actions that are copied. `sender` sends the replay and what waits in `outbox`.
    """

    def __init__(
        self,
        station: str,
        version: Version,
        permissions: CommandPermissions,
        observed: frozenset[str],
        sender: OutboxSender,
        outbox: Outbox,
        ids: TransactionIdMap,
        call_timeout_s: float,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._station = station
        self._backend = permissions.backend
        self._version = version
        self._permissions = permissions
        self._observed = observed
        self._sender = sender
        self._outbox = outbox
        self._ids = ids
        self._timeout_s = call_timeout_s
        self._new_id = new_id
        self._is_up = False
        self._outstanding: OutboundCall | None = None
        self._answer_by = math.inf
        self._interval_s = USUAL_HEARTBEAT_S
        self._outdated: OutboundCall | None = None
        """Outstanding, but of the replay before this one: its answer does not concern this one."""
        self._newer_from: int | None = None
        """The first entry of the outbox that is newer than the replay."""
        self._is_accepted = True
        self._heartbeat_at = math.inf
        self._commands: dict[str, str] = {}
        """The observer's id of each command that waits for the station's answer, by ours."""
        self._is_full = False
        self._is_stopping = False

    @property
    def deadline(self) -> float:
        """Time of the next TimePassed (s, monotonic; inf: none)."""
        if not self._is_up:
            return math.inf
        if self._outstanding is not None:
            return self._answer_by
        next_try = self._sender.deadline
        return min(
            self._heartbeat_at if self._is_accepted else math.inf, math.inf if next_try is None else next_try
        )

    @property
    def is_idle(self) -> bool:
        """True if the link may be closed without loss: nothing is under way, and nothing waits."""
        return self._outstanding is None and not self._commands and self._sender.is_done

    @property
    def waits_for_answer(self) -> bool:
        """True if a CALL to the observer has no answer yet."""
        return self._outstanding is not None

    @property
    def has_open_call(self) -> bool:
        """True if a CALL in either direction has no answer yet."""
        return self._outstanding is not None or bool(self._commands)

    def stop(self) -> None:
        """Send no further CALL: the controller stops."""
        self._is_stopping = True

    def has_command(self, message_id: str) -> bool:
        """Return True if a command of the observer with this id has no answer yet."""
        return message_id in self._commands.values()

    def handle(self, event: ObserverEvent, now: float) -> list[ObserverEffect]:
        """Handle one event; the effects are to be done in their order."""
        effects: list[ObserverEffect] = []
        match event:
            case ObserverUp():
                self._on_up(now)
            case ObserverLost():
                self._on_lost()
            case ObserverFrame(frame):
                effects += self._on_frame(frame, now)
            case ObserverCopy():
                effects += self._on_copy(event)
            case AnswerToObserver(frame):
                effects += self._on_command_answer(frame)
            case TimePassed():
                effects += self._on_time(now)
        return effects + self._send_next(now)

    # -- the link -----------------------------------------------------------------------------------

    def _on_up(self, now: float) -> None:
        self._is_up = self._is_accepted = True
        self._heartbeat_at = now + self._interval_s
        self._begin_replay()

    def _begin_replay(self) -> None:
        self._sender.on_attached()
        sent = self._outstanding
        self._outdated = sent if sent is not None and sent.number is None else None
        self._newer_from = None

    def _on_lost(self) -> None:
        self._is_up = False
        self._outstanding, self._answer_by = None, math.inf
        self._commands.clear()

    def _on_time(self, now: float) -> list[ObserverEffect]:
        if self._outstanding is None or now < self._answer_by:
            return []
        action = self._outstanding.action
        self._on_lost()
        return [Redial(self._backend, f"no answer to {peer_word(action)}")]

    # -- messages of the station ----------------------------------------------------------------------

    def _on_copy(self, copy: ObserverCopy) -> list[ObserverEffect]:
        frame = copy.frame
        action = plain(frame.action)
        if action == "BootNotification":
            if self._is_up:
                self._begin_replay()
            return []
        if action not in self._observed or (action in _REPLAYED and not self._is_up):
            return []
        if isinstance(frame, Send):
            return [ToObserver(self._backend, frame.text)] if self._is_up else []
        return self._queue_copy(frame, copy)

    def _queue_copy(self, frame: Call, copy: ObserverCopy) -> list[ObserverEffect]:
        kind = kind_of(self._version, frame.action, frame.payload)
        try:
            records = self._outbox.queue_message(
                self._version, frame.action, frame.payload, kind, self._new_id(), copy.taken, copy.transaction
            )
        except OutboxFullError as full:
            return self._report_full(str(full))
        if not records:
            return []  # all that waits already is worth more
        self._is_full = False
        if self._newer_from is None:
            self._newer_from = next(
                record.entry.number for record in records if isinstance(record, EntryQueued)
            )
        return [Persist(tuple(records))]

    def _report_full(self, why: str) -> list[ObserverEffect]:
        """Report once that copies are lost: a full outbox of an observer must not stop the owner's."""
        if self._is_full:
            return []
        self._is_full = True
        line = (
            f"copies lost backend={self._backend} station={self._station} reason={why!r}: away for too long"
        )
        return [LogEntry(logging.ERROR, line)]

    def _on_command_answer(self, frame: Answer) -> list[ObserverEffect]:
        """Pass the answer to a command on under the observer's own id."""
        command_id = self._commands.pop(frame.id, None)
        if command_id is None:
            line = f"answer dropped backend={self._backend} station={self._station} reason='no such command'"
            return [LogEntry(logging.INFO, line)]
        return [ToObserver(self._backend, _with_id(frame.text, command_id))]

    # -- messages of the observer ---------------------------------------------------------------------

    def _on_frame(self, frame: Frame, now: float) -> list[ObserverEffect]:
        match frame:
            case Call():
                return self._on_command(frame)
            case CallResult() | CallError():
                return self._on_answer(frame, now)
            case Send():
                line = (
                    f"send dropped backend={self._backend} station={self._station} "
                    f"action={peer_word(frame.action)} reason='an observer may not send it'"
                )
                return [LogEntry(logging.WARNING, line)]
            case CallResultError():
                return []

    def _on_command(self, frame: Call) -> list[ObserverEffect]:
        refusal = self._permissions.find_refusal(self._station, frame.action)
        if refusal is not None:
            note = LogEntry(logging.WARNING, f"command rejected backend={self._backend} reason={refusal}")
            return [note, self._error(frame.id, COMMAND_DENIED, refusal)]
        if self.has_command(frame.id):
            line = (
                f"repeated command sent once station={self._station} backend={self._backend} "
                f"action={peer_word(frame.action)} id={peer_word(frame.id)}"
            )
            return [LogEntry(logging.INFO, line)]
        if len(self._commands) >= MOST_COMMANDS:
            why = f"station {self._station} has {MOST_COMMANDS} calls waiting already"
            return [self._error(frame.id, "GenericError", why)]
        payload = self._ids.translate_for_station(frame.action, frame.payload)
        if isinstance(payload, IdRewriteError):
            return [self._error(frame.id, "GenericError", payload.reason)]
        own_id = self._new_id()
        self._commands[own_id] = frame.id
        return [ObserverCommand(Call(call(own_id, frame.action, payload), own_id, frame.action, payload))]

    def _error(self, message_id: str, code: str, why: str) -> ToObserver:
        return ToObserver(self._backend, call_error(message_id, code, why))

    def _on_answer(self, frame: Answer, now: float) -> list[ObserverEffect]:
        """End the CALL that the observer answers; the answer does not go to the station."""
        sent = self._outstanding
        if sent is None or sent.id != frame.id:
            good = frame.payload if isinstance(frame, CallResult) else None
            late = None if good is None else self._sender.on_late_result(frame.id, good, now)
            if late is not None:
                return [*persist(late[0]), *self._log_notes(late[1])]
            about = f"backend={self._backend} station={self._station} id={peer_word(frame.id)}"
            return [LogEntry(logging.INFO, f"answer dropped {about} reason='no such call'")]
        self._outstanding, self._answer_by = None, math.inf
        result = frame.payload if isinstance(frame, CallResult) else None
        if sent.action == "BootNotification" and result is not None:
            self._on_boot_answer(result, now)
        if sent.action == _HEARTBEAT or sent is self._outdated:
            self._outdated = None
            return []
        return self._end(sent, result, frame.code if isinstance(frame, CallError) else None, now)

    def _end(
        self, sent: OutboundCall, result: bytes | None, code: str | None, now: float
    ) -> list[ObserverEffect]:
        records, notes = self._sender.on_answer(sent, result, code, now)
        return [*persist(records), *self._log_notes(notes)]

    def _on_boot_answer(self, result: bytes, now: float) -> None:
        answer = read_payload(BootAnswer, result)
        if answer is None:
            return
        self._is_accepted = answer.status == "Accepted"
        if self._is_accepted and answer.interval_s > 0:
            self._interval_s = max(SHORTEST_HEARTBEAT_S, float(answer.interval_s))
            self._heartbeat_at = now + self._interval_s

    # -- CALLs to the observer ------------------------------------------------------------------------

    def _send_next(self, now: float) -> list[ObserverEffect]:
        """Send the next CALL, once the last is answered."""
        effects: list[ObserverEffect] = []
        while self._is_up and self._outstanding is None and not self._is_stopping:
            following = self._sender.next_call(now)
            if following is None and self._is_accepted and now >= self._heartbeat_at:
                following = OutboundCall(id=self._new_id(), action=_HEARTBEAT, payload=b"{}")
            if following is None:
                break
            effects += [*persist(following.records), *self._log_notes(following.notes)]
            if self._is_skipped(following):
                effects += self._end(following, b"{}", None, now)
            else:
                effects.append(self._send(following, now))
        return effects

    def _is_skipped(self, following: OutboundCall) -> bool:
        """Return True for what is replayed and not observed, or queued and older than its replay."""
        if following.number is None:
            return following.action == "StatusNotification" and following.action not in self._observed
        is_old = self._newer_from is None or following.number < self._newer_from
        return is_old and plain(following.action) in _REPLAYED

    def _send(self, following: OutboundCall, now: float) -> CallToObserver:
        self._outstanding, self._answer_by = following, now + self._timeout_s
        self._heartbeat_at = now + self._interval_s  # any message is a sign of life
        text = call(following.id, following.action, following.payload)
        return CallToObserver(Call(text, following.id, following.action, following.payload))

    def _log_notes(self, notes: Iterable[str]) -> list[ObserverEffect]:
        about = f"backend={self._backend} station={self._station}"
        return [LogEntry(logging.WARNING, f"{note} {about}") for note in notes]


def _with_id(text: str, message_id: str) -> str:
    """Return an answer under another id; every other element stays as it is."""
    parts = _PARTS.decode(text)
    parts[1] = msgspec.Raw(msgspec.json.encode(message_id))
    return msgspec.json.encode(parts).decode()
