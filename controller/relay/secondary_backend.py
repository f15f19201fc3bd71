"""One backend that observes a station: it hears a story of its own, and commands only what it may.

    station's CALL, answered  --copy-->  outbox  --CALL-->  observer      its answer goes no further
    observer's CALL           --if allowed, under an id of ours-->  the station's line  --answer-->  observer

The story begins anew with each link and each boot of the station: its BootNotification, the state of each
connector, then what has waited, in order. So neither of these two waits in the outbox while the observer
is away: what they said is told anyway, and in its newest form. Heartbeats are ours, at the interval that
the observer has asked for. It numbers 1.6 transactions itself: ids are exchanged both ways.

Pure: `now` is s, monotonic.
"""

from __future__ import annotations

import logging
import math
import uuid
from collections.abc import Callable, Iterable, Sequence

import msgspec

from controller.model.deadlines import earliest
from controller.model.effects import LogEntry, TimePassed
from controller.model.journal import Persist, Record
from controller.ocpp.actions import plain
from controller.ocpp.frames import (
    Answer,
    Call,
    CallError,
    CallResult,
    CallResultError,
    Send,
    Version,
    call,
    call_error,
    parse,
)
from controller.ocpp.payloads import read_payload
from controller.offline.journal_records import EntryQueued
from controller.offline.offline_messages import BootAnswer
from controller.offline.outbox import Outbox, OutboxFullError, kind_of
from controller.offline.outbox_sender import OutboundCall, OutboxSender
from controller.offline.transaction_id_map import IdRewriteError, TransactionIdMap
from controller.relay.command_permissions import DENIED, CommandPermissions
from controller.relay.events import FromObserver, ObserverLost, ObserverUp, Redial, ToObserver
from controller.relay.hearing import UnreadableText, parse_text

MOST_COMMANDS = 32
"""Commands of one observer that may wait for the station's answer: OCPP allows one."""

USUAL_HEARTBEAT_S = 300.0
"""Where the observer asks for no interval of its own."""

SHORTEST_HEARTBEAT_S = 1.0
"""No heartbeat follows another sooner, whatever interval the observer asks for."""

_HEARTBEAT = "Heartbeat"

_PARTS = msgspec.json.Decoder(list[msgspec.Raw])

_STORY = {"BootNotification", "StatusNotification"}
"""What the story tells: it does not wait for an observer that is away."""


class ObserverCopy(msgspec.Struct, frozen=True):
    """The station has said this, and has its answer (a SEND wants none): so each message is copied once.

    `taken`: when it came (POSIX s). `transaction`: in a 1.6 StartTransaction, the id that the station
    was given in that answer.
    """

    frame: Call | Send
    taken: float
    transaction: int | None = None


class AnswerToObserver(msgspec.Struct, frozen=True):
    """The answer to a `Command`, whoever gave it: a frame with the command's id."""

    text: str


class ObserverCommand(msgspec.Struct, frozen=True):
    """An observer's permitted CALL to the station; its answer returns as `AnswerToObserver`."""

    backend: str
    call: Call


ObserverEvent = ObserverUp | ObserverLost | FromObserver | ObserverCopy | AnswerToObserver | TimePassed
ObserverAction = ToObserver | Redial | Persist | ObserverCommand | LogEntry


class SecondaryBackend:
    """The conversation with one observer about one station, over all its links.

    `observe`: the actions that it sees. `courier` tells the story and what waits in `outbox`.
    """

    def __init__(
        self,
        station: str,
        version: Version,
        commands: CommandPermissions,
        observe: frozenset[str],
        courier: OutboxSender,
        outbox: Outbox,
        ids: TransactionIdMap,
        call_timeout_s: float,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._station = station
        self._backend = commands.backend
        self._version = version
        self._commands = commands
        self._observe = observe
        self._courier = courier
        self._outbox = outbox
        self._ids = ids
        self._timeout_s = call_timeout_s
        self._new_id = new_id
        self._is_up = False
        self._asked: OutboundCall | None = None
        self._asked_until: float | None = None
        self._interval_s = USUAL_HEARTBEAT_S
        self._outdated: OutboundCall | None = None
        """Outstanding of a story, but of the one before this: its answer says nothing of this one."""
        self._news_from: int | None = None
        """The first entry of the outbox that is newer than the story."""
        self._is_accepted = True
        self._heartbeat_at = math.inf
        self._commanded: dict[str, str] = {}
        """The observer's id of each command that waits for the station's answer, by ours."""
        self._is_full = False

    @property
    def deadline(self) -> float | None:
        """When a Tick is wanted (s, monotonic)."""
        if not self._is_up:
            return None
        if self._asked_until is not None:
            return self._asked_until
        return earliest(self._heartbeat_at if self._is_accepted else None, self._courier.deadline)

    @property
    def is_idle(self) -> bool:
        """Whether the link may be closed without loss: nothing is under way, and nothing waits."""
        return self._asked is None and not self._commanded and self._courier.is_done

    def awaits(self, message_id: str) -> bool:
        """Whether a command of the observer with this id has no answer yet."""
        return message_id in self._commanded.values()

    def handle(self, event: ObserverEvent, now: float) -> list[ObserverAction]:
        """Take in one event; what to do because of it, in this order."""
        actions: list[ObserverAction] = []
        match event:
            case ObserverUp():
                self._up(now)
            case ObserverLost():
                self._lost()
            case FromObserver(text=text):
                actions += self._heard(text, now)
            case ObserverCopy():
                actions += self._copy(event)
            case AnswerToObserver(text=text):
                actions += self._answer(text)
            case TimePassed():
                actions += self._tick(now)
        return actions + self._advance(now)

    # -- the link -----------------------------------------------------------------------------------

    def _up(self, now: float) -> None:
        self._is_up = self._is_accepted = True
        self._heartbeat_at = now + self._interval_s
        self._begin()

    def _begin(self) -> None:
        """The story begins anew."""
        self._courier.on_attached()
        asked = self._asked
        self._outdated = asked if asked is not None and asked.number is None else None
        self._news_from = None

    def _lost(self) -> None:
        self._is_up = False
        self._asked = self._asked_until = None
        self._commanded.clear()

    def _tick(self, now: float) -> list[ObserverAction]:
        if self._asked is None or self._asked_until is None or now < self._asked_until:
            return []
        late = self._asked.action
        self._lost()
        return [Redial(self._backend, f"it does not answer {late}")]

    # -- the station speaks ---------------------------------------------------------------------------

    def _copy(self, copy: ObserverCopy) -> list[ObserverAction]:
        frame = copy.frame
        action = plain(frame.action)
        if action == "BootNotification":
            if self._is_up:
                self._begin()
            return []
        if action not in self._observe or (action in _STORY and not self._is_up):
            return []
        if isinstance(frame, Send):
            return [ToObserver(self._backend, frame.text)] if self._is_up else []
        return self._queue(frame, copy)

    def _queue(self, frame: Call, copy: ObserverCopy) -> list[ObserverAction]:
        kind = kind_of(self._version, frame.action, frame.payload)
        try:
            words = self._outbox.queue_message(
                self._version, frame.action, frame.payload, kind, self._new_id(), copy.taken, copy.transaction
            )
        except OutboxFullError as full:
            return self._no_room(str(full))
        if not words:
            return []  # all that waits already is worth more
        self._is_full = False
        if self._news_from is None:
            self._news_from = next(word.entry.number for word in words if isinstance(word, EntryQueued))
        return [Persist(tuple(words))]

    def _no_room(self, why: str) -> list[ObserverAction]:
        """An observer that is away for so long must not stop what others live from: it is told loudly."""
        if self._is_full:
            return []
        self._is_full = True
        what = f"backend {self._backend} has been away for too long, and misses what {self._station} says"
        return [LogEntry(logging.ERROR, f"{what}: {why}")]

    def _answer(self, text: str) -> list[ObserverAction]:
        """The station's answer to a command, or ours in its place, under the observer's own id."""
        frame = parse(text)
        asked = self._commanded.pop(frame.id, None) if isinstance(frame, CallResult | CallError) else None
        if asked is None:
            what = f"an answer of {self._station} that {self._backend} does not wait for any more: dropped"
            return [LogEntry(logging.INFO, what)]
        return [ToObserver(self._backend, _with_id(text, asked))]

    # -- the observer speaks ------------------------------------------------------------------------

    def _heard(self, text: str, now: float) -> list[ObserverAction]:
        name = f"backend {self._backend}"
        frame = parse_text(self._version, text, name)
        match frame:
            case UnreadableText(note=note, answer=answer):
                owed = [] if answer is None else [ToObserver(self._backend, answer)]
                return [LogEntry(logging.WARNING, note), *owed]
            case Call():
                return self._command(frame)
            case CallResult() | CallError():
                return self._answered(frame, now)
            case Send():
                what = f"{name}: {frame.action} (SEND) to {self._station} dropped, it only observes"
                return [LogEntry(logging.WARNING, what)]
            case CallResultError():
                return []

    def _command(self, frame: Call) -> list[ObserverAction]:
        refusal = self._commands.refusal(self._station, frame.action)
        if refusal is not None:
            return [LogEntry(logging.WARNING, refusal), self._error(frame.id, DENIED, refusal)]
        if frame.id in self._commanded.values():
            what = (
                f"backend {self._backend} repeats {frame.action} {frame.id} to {self._station}: sent on once"
            )
            return [LogEntry(logging.INFO, what)]
        if len(self._commanded) >= MOST_COMMANDS:
            why = f"station {self._station} has {MOST_COMMANDS} calls waiting already"
            return [self._error(frame.id, "GenericError", why)]
        payload = self._ids.translate_for_station(frame.action, frame.payload)
        if isinstance(payload, IdRewriteError):
            return [self._error(frame.id, "GenericError", payload.reason)]
        ours = self._new_id()
        self._commanded[ours] = frame.id
        text = call(ours, frame.action, payload)
        return [ObserverCommand(self._backend, Call(text, ours, frame.action, payload))]

    def _error(self, message_id: str, code: str, why: str) -> ToObserver:
        return ToObserver(self._backend, call_error(message_id, code, why))

    def _answered(self, frame: Answer, now: float) -> list[ObserverAction]:
        """The observer has heard what it was told; its answer is of no use to the station."""
        asked = self._asked
        if asked is None or asked.id != frame.id:
            what = f"backend {self._backend}: answer to {frame.id} of {self._station} unasked for: dropped"
            return [LogEntry(logging.INFO, what)]
        self._asked = self._asked_until = None
        result = frame.payload if isinstance(frame, CallResult) else None
        if asked.action == "BootNotification" and result is not None:
            self._booted(result, now)
        if asked.action == _HEARTBEAT or asked is self._outdated:
            self._outdated = None
            return []
        return self._done(asked, result, frame.code if isinstance(frame, CallError) else None, now)

    def _done(
        self, told: OutboundCall, result: bytes | None, code: str | None, now: float
    ) -> list[ObserverAction]:
        words, notes = self._courier.on_answer(told, result, code, now)
        return [*_saved(words), *self._noted(notes)]

    def _booted(self, result: bytes, now: float) -> None:
        told = read_payload(BootAnswer, result)
        if told is None:
            return
        self._is_accepted = told.status == "Accepted"
        if self._is_accepted and told.interval > 0:
            self._interval_s = max(SHORTEST_HEARTBEAT_S, float(told.interval))
            self._heartbeat_at = now + self._interval_s

    # -- what the observer hears --------------------------------------------------------------------

    def _advance(self, now: float) -> list[ObserverAction]:
        """Tell it the next, if it has heard the last."""
        actions: list[ObserverAction] = []
        while self._is_up and self._asked is None:
            following = self._courier.next_call(now)
            if following is None and self._is_accepted and now >= self._heartbeat_at:
                following = OutboundCall(id=self._new_id(), action=_HEARTBEAT, payload=b"{}")
            if following is None:
                break
            actions += [*_saved(following.records), *self._noted(following.notes)]
            if self._is_skipped(following):
                actions += self._done(following, b"{}", None, now)
            else:
                actions.append(self._ask(following, now))
        return actions

    def _is_skipped(self, following: OutboundCall) -> bool:
        """Of the story: what it may not see. Of what waits: what the story has told already, and newer."""
        if following.number is None:
            return following.action == "StatusNotification" and following.action not in self._observe
        is_old = self._news_from is None or following.number < self._news_from
        return is_old and plain(following.action) in _STORY

    def _ask(self, following: OutboundCall, now: float) -> ToObserver:
        self._asked, self._asked_until = following, now + self._timeout_s
        self._heartbeat_at = now + self._interval_s  # whatever it hears is a sign of life
        return ToObserver(self._backend, call(following.id, following.action, following.payload))

    def _noted(self, notes: Iterable[str]) -> list[ObserverAction]:
        about = f"backend {self._backend}, station {self._station}"
        return [LogEntry(logging.WARNING, f"{about}: {note}") for note in notes]


def _with_id(text: str, message_id: str) -> str:
    """An answer under another id; all else stays as it came."""
    parts = _PARTS.decode(text)
    parts[1] = msgspec.Raw(msgspec.json.encode(message_id))
    return msgspec.json.encode(parts).decode()


def _saved(words: Sequence[Record]) -> list[ObserverAction]:
    return [Persist(tuple(words))] if words else []
