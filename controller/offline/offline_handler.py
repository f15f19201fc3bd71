"""Service of one station while its owner is away, and delivery of what the owner has missed.

Composed of the part that answers in the owner's place (`OfflineResponder`), the queue of what the owner has
to get (`Outbox`, delivered by `OutboxSender`), and the results that were given (`ResponseCache`), so that a
message that the station repeats counts once. What has to outlive the process comes back as records, to
be persisted before the station is answered.

`owner` is the state of the connection (`owner_states`). In ATTACHED, a transaction message is stored in the
outbox before it passes to the owner, and removed once the owner has answered. In AWAY it is answered here
and stays in the outbox. In CATCHING_UP the outbox is delivered, and new transaction messages queue behind.
Entries that wait for another try after an error hold up only their own transaction.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable

import msgspec

from controller.model.effects import LogEntry, OwnCall
from controller.model.journal import Record
from controller.ocpp.frames import Answer, Call, CallError, CallResult, Version, call, call_result
from controller.offline.dedup_key import dedup_key
from controller.offline.journal_records import OutboxEntry, RecordKind
from controller.offline.offline_messages import ended_transaction, named_transaction
from controller.offline.offline_responder import OfflineResponder, OfflineRules
from controller.offline.outbox import OutboxFullError, kind_of
from controller.offline.outbox_sender import NO_ANSWER, OutboundCall, OutboxSender
from controller.offline.owner_states import AwayMode, OwnerConnection, OwnerEvent, OwnerState
from controller.offline.station_memory import OwnerMemory, StationMemory
from controller.offline.transaction_id_map import IdRewriteError


class OfflineJournal(msgspec.Struct, frozen=True, kw_only=True):
    """Records and text of a CALL while the owner is connected.

    `serve`: it is to be answered in the owner's place after all. Else `text` passes, and `number` is its
    place in the outbox, None if it has none.
    """

    text: str = ""
    number: int | None = None
    serve: bool = False
    records: tuple[Record, ...] = ()
    notes: tuple[LogEntry, ...] = ()


class OfflineServed(msgspec.Struct, frozen=True, kw_only=True):
    """The answer in the owner's place: its frame, and its payload if it is the first good one.

    `text` None: there is no answer, since its records could not be stored.
    """

    text: str | None = None
    result: bytes | None = None
    records: tuple[Record, ...] = ()
    notes: tuple[LogEntry, ...] = ()


class OwnerAnswered(msgspec.Struct, frozen=True, kw_only=True):
    """Consequences of the owner's answer; `before`: the payload that the station got in its place."""

    records: tuple[Record, ...] = ()
    before: bytes | None = None


class OwnerInformed(msgspec.Struct, frozen=True, kw_only=True):
    """Consequences of the owner's answer to a queued message; `calls` are for the station.

    `settled`: a CALL that the station has had no answer to, and the payload that it gets when it repeats it.
    """

    settled: tuple[Call, bytes] | None = None
    records: tuple[Record, ...] = ()
    notes: tuple[LogEntry, ...] = ()
    calls: tuple[OwnCall, ...] = ()


class OutboxFollowUp(msgspec.Struct, frozen=True, kw_only=True):
    """The next queued CALL for the owner."""

    id: str
    action: str
    payload: bytes
    records: tuple[Record, ...] = ()
    notes: tuple[LogEntry, ...] = ()


class OfflineHandler:
    """The owner's absences over one link of a station. `utc_of` turns monotonic s into POSIX s."""

    def __init__(
        self,
        version: Version,
        responder: OfflineResponder,
        sender: OutboxSender,
        memory: OwnerMemory,
        utc_of: Callable[[float], float],
        *,
        is_new_owner: bool = False,
    ) -> None:
        self._is_new_owner = is_new_owner
        """True until the first link to an owner that has not got the station's boot and states."""
        self.owner = OwnerConnection(AwayMode.AUTONOMOUS)
        self._version = version
        self._responder = responder
        self._sender = sender
        self._memory = memory
        self._utc_of = utc_of
        self._untranslated = ""
        """Reason why the last message passed with our transaction id: each reason is logged once."""
        self._outstanding: OutboundCall | None = None
        self._passing: dict[int, None] = {}
        """Numbers of entries that have passed to the owner, which has not answered yet."""
        self._reused_ids: set[str] = set()
        """Ids of sent entries that another CALL of the station has as well over this link."""

    @property
    def deadline(self) -> float | None:
        """Return when the owner may get the next queued message (s, monotonic)."""
        return self._sender.deadline if self.owner.is_up else None

    @property
    def has_backlog(self) -> bool:
        """Return whether messages are queued for the owner."""
        if self.owner.state is OwnerState.CATCHING_UP:
            return True
        return len(self._memory.outbox) > len(self._passing)

    @property
    def is_quiet(self) -> bool:
        """Return whether the owner is attached, and nothing is queued for it or awaited from it."""
        return (
            self.owner.state is OwnerState.ATTACHED
            and not self._memory.outbox
            and self._outstanding is None
            and self._sender.is_idle
        )

    def passes_call(self, frame: Call) -> bool:
        """Return whether `record_call` would pass a CALL as it is, without a record. Requires `is_quiet`."""
        return (
            self._kind_of(frame.action, frame.payload) is not RecordKind.TRANSACTION
            and self._memory.ids.translate_for_backend(frame.action, frame.payload) is frame.payload
        )

    def passes_result(self, action: str, number: int | None) -> bool:
        """Return whether nothing would follow in `on_call_answer` from the owner's result for a CALL."""
        return number is None and self.is_quiet and not self._memory.authorizations.reads_result_of(action)

    # -- messages of the station ----------------------------------------------------------------------

    def record_call(self, frame: Call, now: float) -> OfflineJournal:
        """Take a CALL while the owner is there, or may be; store a transaction message before it passes."""
        text, notes = self._translate_call(frame)
        if self._kind_of(frame.action, frame.payload) is not RecordKind.TRANSACTION:
            return OfflineJournal(text=text, records=tuple(self._release_id(frame.id)), notes=notes)
        key = dedup_key(self._version, frame.action, frame.payload)
        if self._must_queue(frame, key):
            return OfflineJournal(serve=True)
        try:
            records = self._queue_call(frame, key, None, now, answered=False)
        except OutboxFullError:
            return OfflineJournal(text=text, notes=notes)  # only the owner itself may answer it
        number = self._memory.outbox.newest_number
        self._passing[number] = None
        return OfflineJournal(text=text, number=number, records=tuple(records), notes=notes)

    def _must_queue(self, frame: Call, key: str) -> bool:
        """Return whether a transaction message is answered here although the owner may be there.

        It is a repeated one, or waits behind others: all that are queued, or those of its transaction.
        """
        outbox = self._memory.outbox
        if outbox.find_duplicate(key) is not None:
            self.owner.on_event(OwnerEvent.BACKLOG_FOUND)
            return True
        if self._memory.answers.get_response(key) is not None:
            return True
        if self.owner.state is OwnerState.CATCHING_UP:
            return True
        if self.owner.state is OwnerState.CONNECTING:
            return len(outbox) > len(self._passing)
        transaction = named_transaction(self._version, frame.action, frame.payload)
        return transaction is not None and self._is_start_queued(transaction)

    def _is_start_queued(self, transaction: int | str) -> bool:
        if isinstance(transaction, int):
            return self._memory.outbox.has_start_of(transaction)
        queued = (entry for entry in self._memory.outbox.entries if entry.number not in self._passing)
        return any(
            named_transaction(each.version, each.action, each.payload) == transaction for each in queued
        )

    def answer_call(
        self, message_id: str, action: str, payload: bytes, number: int | None, now: float
    ) -> OfflineServed:
        """Answer a CALL in the owner's place; `number`: its place in the outbox, if it has one already."""
        kind = self._kind_of(action, payload)
        counts = kind is RecordKind.TRANSACTION
        key = dedup_key(self._version, action, payload) if counts else ""
        before = self._memory.answers.get_response(key) if counts else None
        if before is not None:
            return OfflineServed(text=call_result(message_id, before))
        queued = None if number is None else self._memory.outbox.get_entry(number)
        if queued is not None and queued.answered:
            # The station has repeated it under another id, and has the answer to that: this is the same one.
            text = self._responder.answer_repeated(
                message_id, action, payload, queued.transaction, self._utc_of(now)
            )
            return OfflineServed(text=text)
        waiting = self._memory.outbox.find_duplicate(key) if counts else None
        answer = self._responder.answer_call(message_id, action, payload, self._utc_of(now))
        notes = (LogEntry(logging.WARNING, answer.note),) if answer.note else ()
        if answer.text is None:
            return OfflineServed(notes=notes)
        records = list(answer.records)
        if answer.queue:
            try:
                frame = Call("", message_id, action, payload)
                records += self._keep_call(frame, number, key, answer.transaction, now)
            except OutboxFullError as full:
                return OfflineServed(notes=(*notes, LogEntry(logging.ERROR, str(full))))
            self.owner.on_event(OwnerEvent.BACKLOG_FOUND)
        if counts and answer.result is not None:
            records += self._memory.answers.add_response(key, answer.result)
        is_repeated = waiting is not None and waiting.answered
        result = None if is_repeated else answer.result
        return OfflineServed(text=answer.text, result=result, records=tuple(records), notes=notes)

    def _kind_of(self, action: str, payload: bytes) -> RecordKind:
        """Return a message's kind; meter values count as a transaction's only if it runs or is queued."""
        kind = kind_of(self._version, action, payload)
        if action != "MeterValues" or kind is not RecordKind.TRANSACTION:
            return kind
        transaction = named_transaction(self._version, action, payload)
        if not isinstance(transaction, int):
            return kind  # it cannot be read, and may belong to one
        memory = self._memory
        is_known = (
            memory.answers.has_transaction(transaction)
            or memory.outbox.has_start_of(transaction)
            or memory.ids.is_known(transaction)
        )
        return kind if is_known else RecordKind.METER

    def _keep_call(
        self, frame: Call, number: int | None, key: str, transaction: int | None, now: float
    ) -> list[Record]:
        """Queue a message that is answered here, once."""
        if number is None and (waiting := self._memory.outbox.find_duplicate(key)) is not None:
            number = waiting.number
        if number is None or self._memory.outbox.get_entry(number) is None:
            return self._queue_call(frame, key, transaction, now)
        self._passing.pop(number, None)
        return self._memory.outbox.mark_answered(number, transaction)

    def _queue_call(
        self, frame: Call, key: str, transaction: int | None, now: float, *, answered: bool = True
    ) -> list[Record]:
        kind, utc = self._kind_of(frame.action, frame.payload), self._utc_of(now)
        renamed = self._release_id(frame.id)
        records = renamed + self._memory.outbox.queue_message(
            self._version,
            frame.action,
            frame.payload,
            kind,
            frame.id,
            utc,
            transaction,
            key=key,
            answered=answered,
            sent=not answered and self.owner.is_up,
        )
        ended = ended_transaction(self._version, frame.action, frame.payload)
        if isinstance(ended, int):
            records += self._memory.answers.end_transaction(ended)
        return records

    def _release_id(self, message_id: str) -> list[Record]:
        """Keep a CALL apart from a queued message with its id; return what to persist before it is sent.

        A station that counts its ids anew after each start uses those of queued messages again. An answer
        under that id would end the queued message, though it never arrived, and the backend could take one
        for the repetition of the other. So a message that was not sent yet gets an id of ours. One that was
        keeps its id, by which the backend recognizes it, but is not ended by late answers over this link.
        """
        entry = self._memory.outbox.find_id(message_id)
        if entry is None:
            return []
        if entry.sent:
            self._reused_ids.add(message_id)
            return []
        return self._memory.outbox.rename_entry(entry.number, str(uuid.uuid4()))

    def _translate_call(self, frame: Call) -> tuple[str, tuple[LogEntry, ...]]:
        """Return the frame's text with the owner's transaction ids in the place of ours."""
        payload = self._memory.ids.translate_for_backend(frame.action, frame.payload)
        if isinstance(payload, IdRewriteError):
            what = f"{frame.action} passes with our transaction id: {payload.reason}"
            is_known, self._untranslated = self._untranslated == payload.reason, payload.reason
            return frame.text, () if is_known else (LogEntry(logging.WARNING, what),)
        if payload is frame.payload or payload == frame.payload:
            return frame.text, ()
        return call(frame.id, frame.action, payload), ()

    # -- messages of the owner ------------------------------------------------------------------------

    def on_call_answer(
        self, action: str, payload: bytes, number: int | None, answer: Answer
    ) -> OwnerAnswered:
        """Take the owner's answer to a CALL of the station itself."""
        records: list[Record] = []
        good = answer.payload if isinstance(answer, CallResult) else None
        if good is not None:
            if action == "BootNotification":
                records += self._memory.snapshot.on_boot_answer(self._version, payload, good)
            records += self._memory.authorizations.on_call_result(self._version, action, payload, good)
        ended = ended_transaction(self._version, action, payload)
        if isinstance(ended, int) and good is not None:
            records += self._sender.end_transaction(ended)
        entry = None if number is None else self._memory.outbox.get_entry(number)
        if entry is None:
            return OwnerAnswered(records=tuple(records))
        self._passing.pop(entry.number, None)
        key = self._memory.outbox.key_of(entry)
        if good is not None and entry.kind is RecordKind.TRANSACTION:
            self._sender.on_transaction_accepted()
        if entry.answered:
            return self._on_late_answer(entry, key, good, records)
        records += self._memory.outbox.remove_entry(entry.number)
        if good is not None:
            records += self._memory.answers.add_response(key, good)
        return OwnerAnswered(records=tuple(records))

    def _on_late_answer(
        self, entry: OutboxEntry, key: str, good: bytes | None, records: list[Record]
    ) -> OwnerAnswered:
        """Take an answer to what the station has repeated under another id: both get the same answer."""
        if good is not None:
            records += self._memory.outbox.remove_entry(entry.number)
            if entry.transaction is not None:
                records += self._memory.ids.on_start_result(entry.transaction, good)
        return OwnerAnswered(records=tuple(records), before=self._memory.answers.get_response(key))

    def translate_command(self, frame: Call) -> Call:
        """Return a command of the owner with our transaction ids in the place of its own."""
        payload = self._memory.ids.translate_for_station(frame.action, frame.payload)
        if isinstance(payload, IdRewriteError) or payload == frame.payload:
            return frame  # a signed one stays as it is: the station rejects it, its id is unknown there
        return Call(call(frame.id, frame.action, payload), frame.id, frame.action, payload)

    def on_command_result(self, action: str, payload: bytes, result: bytes, now: float) -> tuple[Record, ...]:
        """Take the station's result for a command of the owner."""
        utc = self._utc_of(now)
        return tuple(
            self._memory.authorizations.on_command_result(self._version, action, payload, result, utc)
        )

    # -- delivery of what is queued -------------------------------------------------------------------

    def on_attached(self, *, was_away: bool) -> None:
        """Take the event that the link to the owner stands."""
        has_missed = was_away or self.has_backlog or self._is_new_owner
        self._is_new_owner = False
        self._outstanding = None
        self._passing.clear()
        self._reused_ids.clear()
        self.owner.on_event(OwnerEvent.LINK_UP)
        if has_missed:
            self._sender.on_attached()
        else:
            self.owner.on_event(OwnerEvent.BACKLOG_SENT)

    def on_detached(self) -> None:
        """Take the event that the link to the owner is gone."""
        self._outstanding = None
        self._passing.clear()
        self.owner.on_event(OwnerEvent.LINK_LOST)

    def next_outbox_call(self, now: float) -> OutboxFollowUp | None:
        """Return the next queued CALL for the owner; None if none is due."""
        if not self.owner.is_up or self._outstanding is not None:
            return None
        if self.owner.state is OwnerState.ATTACHED and not self.has_backlog:
            return None
        outbound = self._sender.next_call(now, self._passing)
        if outbound is None:
            if not self._sender.has_due(now, self._passing):
                self.owner.on_event(OwnerEvent.BACKLOG_SENT)
            return None
        self._outstanding = outbound
        return OutboxFollowUp(
            id=outbound.id,
            action=outbound.action,
            payload=outbound.payload,
            records=outbound.records,
            notes=tuple(LogEntry(logging.WARNING, note) for note in outbound.notes),
        )

    def on_outbox_answer(self, answer: Answer, now: float) -> OwnerInformed:
        """Take the owner's answer to what `next_outbox_call` returned."""
        if self._outstanding is None:
            return OwnerInformed()
        outbound, self._outstanding = self._outstanding, None
        entry = None if outbound.number is None else self._memory.outbox.get_entry(outbound.number)
        good = answer.payload if isinstance(answer, CallResult) else None
        code = answer.code if isinstance(answer, CallError) else None
        records, notes = self._sender.on_answer(outbound, good, code, now)
        calls: tuple[OwnCall, ...] = ()
        settled: tuple[Call, bytes] | None = None
        if good is not None and entry is not None:
            records += self._memory.authorizations.on_call_result(
                self._version, entry.action, entry.payload, good
            )
            stop = self._responder.on_outbox_result(entry, good)
            if stop is not None:
                calls = (OwnCall(None, str(uuid.uuid4()), *stop),)
            if not entry.answered:  # the process ended before it was: the station repeats it
                settled = (Call("", entry.id, entry.action, entry.payload), good)
                records += self._memory.answers.add_response(self._memory.outbox.key_of(entry), good)
        logged = tuple(LogEntry(logging.WARNING, note) for note in notes)
        return OwnerInformed(records=tuple(records), notes=logged, calls=calls, settled=settled)

    def on_late_answer(self, answer: Answer, now: float) -> OwnerInformed | None:
        """Take an answer that comes after its CALL has counted as unanswered; None: it belongs to none.

        What it answers is not sent again.
        """
        if not isinstance(answer, CallResult) or answer.id in self._reused_ids:
            return None
        entry = self._memory.outbox.find_id(answer.id)
        if entry is None or not entry.sent or entry.version is not self._version:
            return None
        outbound = OutboundCall(id=entry.id, action=entry.action, payload=b"", number=entry.number)
        records, notes = self._sender.on_answer(outbound, answer.payload, None, now)
        if self._outstanding is not None and self._outstanding.number == entry.number:
            self._outstanding = None
        records += self._memory.authorizations.on_call_result(
            self._version, entry.action, entry.payload, answer.payload
        )
        line = f"answer came late {entry.log_pairs}"
        logged = (LogEntry(logging.INFO, line), *(LogEntry(logging.WARNING, note) for note in notes))
        return OwnerInformed(records=tuple(records), notes=logged)

    def on_outbox_timeout(self, now: float) -> OwnerInformed:
        """Count a failed try of what `next_outbox_call` returned: the owner has not answered it in time."""
        if self._outstanding is None:
            return OwnerInformed()
        outbound, self._outstanding = self._outstanding, None
        records, notes = self._sender.on_answer(outbound, None, None, now)
        logged = tuple(LogEntry(logging.WARNING, note) for note in notes)
        return OwnerInformed(records=tuple(records), notes=logged)

    def on_call_timeout(self, number: int | None, now: float) -> OwnerInformed:
        """Count a failed try of a CALL of the station that the owner has not answered in time."""
        if number is None:
            return OwnerInformed()
        self._passing.pop(number, None)
        records, notes = self._sender.on_failed_try(number, NO_ANSWER, now)
        logged = tuple(LogEntry(logging.WARNING, note) for note in notes)
        return OwnerInformed(records=tuple(records), notes=logged)


def make_offline_handler(
    memory: StationMemory, version: Version, rules: OfflineRules, utc_of: Callable[[float], float]
) -> OfflineHandler:
    """Return the handler of the owner's absences, for a link of the station that begins now."""
    kept, is_new_owner = memory.take_owner()
    responder = OfflineResponder(memory.station, version, kept.authorizations, kept.ids, kept.snapshot, rules)
    sender = memory.make_sender(memory.owner, version)
    return OfflineHandler(version, responder, sender, kept, utc_of, is_new_owner=is_new_owner)
