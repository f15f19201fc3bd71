"""In the owner's stead: what makes a station `autonomous`.

Composed of what answers (`autonomy`), what waits for the owner (`outbox`, told by its `courier`), and what
has been answered already (`answers`), so that a station which repeats itself is counted once. Whatever has
to outlive us comes back as records to save; who does the actions saves them before the station hears of it.

    live          a transaction message is in the outbox and in the line at the same time: written down
                  before it goes up, and crossed out when the owner has answered it
    away          it is answered here, and stays in the outbox
    catching up   the courier tells the owner what has waited; a new one queues behind, answered here
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable

import msgspec

from controller.model.effects import LogEntry, OwnCall
from controller.model.journal import Record
from controller.ocpp.frames import Answer, Call, CallError, CallResult, Version, call, call_result
from controller.offline.authorization_cache import AuthorizationCache
from controller.offline.dedup_key import dedup_key
from controller.offline.journal_records import OutboxEntry, RecordKind
from controller.offline.offline_messages import ended_transaction
from controller.offline.offline_responder import OfflineResponder
from controller.offline.outbox import Outbox, OutboxFullError, kind_of
from controller.offline.outbox_sender import OutboundCall, OutboxSender
from controller.offline.response_cache import ResponseCache
from controller.offline.station_snapshot import StationSnapshot
from controller.offline.transaction_id_map import IdRewriteError, TransactionIdMap


class OfflineJournal(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a CALL while the owner is there.

    `serve`: answer it in the owner's stead after all. Else `text` goes up, and `number` is its place in
    the outbox, if it has one.
    """

    text: str = ""
    number: int | None = None
    serve: bool = False
    records: tuple[Record, ...] = ()
    notes: tuple[LogEntry, ...] = ()


class OfflineServed(msgspec.Struct, frozen=True, kw_only=True):
    """The answer in the owner's stead: its frame, and its payload where it is a good one, and the first.

    No `text`: there is none, since what it would promise cannot be kept.
    """

    text: str | None = None
    result: bytes | None = None
    records: tuple[Record, ...] = ()
    notes: tuple[LogEntry, ...] = ()


class OwnerAnswered(msgspec.Struct, frozen=True, kw_only=True):
    """What follows from the owner's answer; `before`: the payload that the station has had in its place."""

    records: tuple[Record, ...] = ()
    before: bytes | None = None


class OwnerInformed(msgspec.Struct, frozen=True, kw_only=True):
    """What follows from the owner's answer to what was kept for it; `calls` are for the station.

    `settled`: the CALL, which the station has had no answer to, and the payload of the one that it gets when
    it asks again.
    """

    settled: tuple[Call, bytes] | None = None
    records: tuple[Record, ...] = ()
    notes: tuple[LogEntry, ...] = ()
    calls: tuple[OwnCall, ...] = ()


class OutboxFollowUp(msgspec.Struct, frozen=True, kw_only=True):
    """The next CALL for the owner of what is kept for it."""

    id: str
    action: str
    payload: bytes
    records: tuple[Record, ...] = ()
    notes: tuple[LogEntry, ...] = ()


class MessageQueued(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one station beyond one link of it, as its owner has to know it."""

    story: StationSnapshot
    authorisations: AuthorizationCache
    answers: ResponseCache
    outbox: Outbox
    ids: TransactionIdMap


class OfflineHandler:
    """One station's, over one link of it. `utc_of` turns the callers' monotonic s into POSIX s."""

    def __init__(
        self,
        version: Version,
        autonomy: OfflineResponder,
        courier: OutboxSender,
        kept: MessageQueued,
        utc_of: Callable[[float], float],
    ) -> None:
        self._version = version
        self._autonomy = autonomy
        self._courier = courier
        self._kept = kept
        self._utc_of = utc_of
        self._untranslated = ""
        """Why the last message that went up with our transaction id did so: it is told once."""
        self._catching_up = len(kept.outbox) > 0
        self._telling: OutboundCall | None = None
        self._is_attached = False

    @property
    def deadline(self) -> float | None:
        """When the owner may be told more (s, monotonic)."""
        return self._courier.deadline if self._catching_up else None

    @property
    def has_backlog(self) -> bool:
        """Whether anything is still kept for the owner."""
        return self._catching_up

    # -- the station speaks ---------------------------------------------------------------------------

    def record_call(self, frame: Call, now: float) -> OfflineJournal:
        """A CALL while the owner is there, or may be."""
        text, notes = self._translated(frame)
        if kind_of(self._version, frame.action, frame.payload) is not RecordKind.TRANSACTION:
            return OfflineJournal(text=text, notes=notes)
        print_ = dedup_key(self._version, frame.action, frame.payload)
        outbox = self._kept.outbox
        if outbox.find_duplicate(print_) is not None:
            self._catching_up = True  # the owner has yet to answer it: what comes next waits behind it
        if self._catching_up or self._kept.answers.get_response(print_) is not None:
            return OfflineJournal(serve=True)
        try:
            records = self._queued(frame, None, now, answered=False)
        except OutboxFullError:
            return OfflineJournal(text=text, notes=notes)  # the owner itself answers it, or nobody does
        return OfflineJournal(text=text, number=outbox.newest_number, records=tuple(records), notes=notes)

    def answer_call(
        self, message_id: str, action: str, payload: bytes, number: int | None, now: float
    ) -> OfflineServed:
        """Answer a CALL; `number`: it is in the outbox already."""
        counts = kind_of(self._version, action, payload) is RecordKind.TRANSACTION
        print_ = dedup_key(self._version, action, payload) if counts else ""
        before = self._kept.answers.get_response(print_) if counts else None
        if before is not None:
            return OfflineServed(text=call_result(message_id, before))
        waiting = self._kept.outbox.find_duplicate(print_) if counts else None
        answer = self._autonomy.answer_call(message_id, action, payload, self._utc_of(now))
        notes = (LogEntry(logging.WARNING, answer.note),) if answer.note else ()
        if answer.text is None:
            return OfflineServed(notes=notes)
        records = list(answer.records)
        if answer.queue:
            try:
                said = Call("", message_id, action, payload)
                records += self._kept_for_later(said, number, print_, answer.transaction, now)
            except OutboxFullError as full:
                return OfflineServed(notes=(*notes, LogEntry(logging.ERROR, str(full))))
        if counts and answer.result is not None:
            records += self._kept.answers.add_response(print_, answer.result)
        is_repeated = waiting is not None and waiting.answered
        result = None if is_repeated else answer.result
        return OfflineServed(text=answer.text, result=result, records=tuple(records), notes=notes)

    def _kept_for_later(
        self, said: Call, number: int | None, print_: str, transaction: int | None, now: float
    ) -> list[Record]:
        """The message is in the outbox from here on, once."""
        if number is None and (waiting := self._kept.outbox.find_duplicate(print_)) is not None:
            number = waiting.number
        if number is None:
            return self._queued(said, transaction, now)
        return self._kept.outbox.mark_answered(number, transaction)

    def _queued(
        self, said: Call, transaction: int | None, now: float, *, answered: bool = True
    ) -> list[Record]:
        kind, utc = kind_of(self._version, said.action, said.payload), self._utc_of(now)
        outbox = self._kept.outbox
        return outbox.queue_message(
            self._version,
            said.action,
            said.payload,
            kind,
            said.id,
            utc,
            transaction,
            answered=answered,
            sent=not answered and self._is_attached,
        )

    def _translated(self, frame: Call) -> tuple[str, tuple[LogEntry, ...]]:
        """The frame with the owner's transaction ids in the place of ours."""
        payload = self._kept.ids.translate_for_backend(frame.action, frame.payload)
        if isinstance(payload, IdRewriteError):
            what = f"{frame.action} {frame.id} goes up with our transaction id: {payload.reason}"
            known, self._untranslated = self._untranslated == payload.reason, payload.reason
            return frame.text, () if known else (LogEntry(logging.WARNING, what),)
        if payload is frame.payload or payload == frame.payload:
            return frame.text, ()
        return call(frame.id, frame.action, payload), ()

    # -- the owner speaks -----------------------------------------------------------------------------

    def on_call_answer(
        self, action: str, payload: bytes, number: int | None, answer: Answer
    ) -> OwnerAnswered:
        """The owner has answered a CALL of the station itself."""
        records: list[Record] = []
        good = answer.payload if isinstance(answer, CallResult) else None
        if good is not None:
            if action == "BootNotification":
                records += self._kept.story.on_boot_answer(self._version, payload, good)
            records += self._kept.authorisations.on_call_result(self._version, action, payload, good)
        ended = ended_transaction(self._version, action, payload)
        if isinstance(ended, int) and good is not None:
            records += self._kept.ids.end_transaction(ended)
        entry = None if number is None else self._kept.outbox.get_entry(number)
        if entry is None:
            return OwnerAnswered(records=tuple(records))
        print_ = dedup_key(self._version, action, payload)
        if entry.answered:
            return self._heard_late(entry, print_, good, records)
        records += self._kept.outbox.remove_entry(entry.number)
        if good is not None:
            records += self._kept.answers.add_response(print_, good)
        return OwnerAnswered(records=tuple(records))

    def _heard_late(
        self, entry: OutboxEntry, print_: str, good: bytes | None, records: list[Record]
    ) -> OwnerAnswered:
        """The station has asked again meanwhile, under another id: both have the same answer."""
        if good is not None:
            records += self._kept.outbox.remove_entry(entry.number)
            if entry.transaction is not None:
                records += self._kept.ids.on_start_result(entry.transaction, good)
        return OwnerAnswered(records=tuple(records), before=self._kept.answers.get_response(print_))

    def translate_command(self, frame: Call) -> Call:
        """A command of the owner, with our transaction ids in the place of its own."""
        payload = self._kept.ids.translate_for_station(frame.action, frame.payload)
        if isinstance(payload, IdRewriteError) or payload == frame.payload:
            return frame  # a signed one stays as it is: the station will say that it knows no such id
        return Call(call(frame.id, frame.action, payload), frame.id, frame.action, payload)

    def on_command_result(self, action: str, payload: bytes, result: bytes, now: float) -> tuple[Record, ...]:
        """The station has done what the owner commanded."""
        utc = self._utc_of(now)
        return tuple(self._kept.authorisations.on_command_result(self._version, action, payload, result, utc))

    # -- catching up ----------------------------------------------------------------------------------

    def on_attached(self, *, was_away: bool) -> None:
        """The link to the owner stands."""
        self._catching_up = self._catching_up or was_away
        self._telling, self._is_attached = None, True
        if self._catching_up:
            self._courier.on_attached()

    def on_detached(self) -> None:
        """The link to the owner is gone."""
        self._telling, self._is_attached = None, False

    def next_outbox_call(self, now: float) -> OutboxFollowUp | None:
        """What the owner hears next of what is kept for it."""
        if not self._catching_up or self._telling is not None:
            return None
        outbound = self._courier.next_call(now)
        if outbound is None:
            self._catching_up = not self._courier.is_done
            return None
        self._telling = outbound
        return OutboxFollowUp(
            id=outbound.id,
            action=outbound.action,
            payload=outbound.payload,
            records=outbound.records,
            notes=tuple(LogEntry(logging.WARNING, note) for note in outbound.notes),
        )

    def on_outbox_answer(self, answer: Answer, now: float) -> OwnerInformed:
        """The owner has answered what `next` gave."""
        if self._telling is None:
            return OwnerInformed()
        outbound, self._telling = self._telling, None
        entry = None if outbound.number is None else self._kept.outbox.get_entry(outbound.number)
        good = answer.payload if isinstance(answer, CallResult) else None
        code = answer.code if isinstance(answer, CallError) else None
        records, notes = self._courier.on_answer(outbound, good, code, now)
        calls: tuple[OwnCall, ...] = ()
        settled: tuple[Call, bytes] | None = None
        if good is not None and entry is not None:
            records += self._kept.authorisations.on_call_result(
                self._version, entry.action, entry.payload, good
            )
            stop = self._autonomy.on_outbox_result(entry, good)
            if stop is not None:
                calls = (OwnCall(None, str(uuid.uuid4()), *stop),)
            if not entry.answered:  # we died before it was: the station asks again
                settled = (Call("", entry.id, entry.action, entry.payload), good)
                print_ = dedup_key(entry.version, entry.action, entry.payload)
                records += self._kept.answers.add_response(print_, good)
        told = tuple(LogEntry(logging.WARNING, note) for note in notes)
        return OwnerInformed(records=tuple(records), notes=told, calls=calls, settled=settled)
