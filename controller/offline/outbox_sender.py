"""Delivery of what one backend has missed of one station: its boot and states, then its queued messages.

On a new link the backend gets the station's last BootNotification, unless it has accepted that very boot
already, and then the last StatusNotification of each connector: a backend that has not accepted a boot
takes nothing else (OCPP 1.6 edition 2, 4.2; 2.x Part 2, B02). Then come the outbox's entries in the
station's own bytes, with the times that are in them. The holder of the link sends one CALL at a time and
reports its outcome.

An entry keeps its message id over all its tries, so that a backend that has booked it before can see that.
What was out when a link ended may be in the backend's books already, and a slow backend may answer it over
the next link. The answer to a transaction message is waited for, for `LATE_ANSWER_S`, before anything goes
again. Each is waited for once, from the first link on that follows, so that a backend gets what is queued
also if its links, or those of the station, end sooner than that.
An error or no answer is a failed try: the entry waits for its next one, and the others go on, but for those
of a transaction whose start waits. After the last try a transaction message is set aside for a person, and
anything else is dropped. A backend that has accepted no transaction message since the first of these tries is
itself at fault, a hung database for example: then a transaction message is tried further, for a day. What
belongs to a start that was set aside is not sent: in OCPP 1.6 the backend could take its id for that of
another transaction.

While the store cannot be written, no transaction message goes out: its removal would be in memory alone, and
after a crash it would be sent again. What is out when a commit fails first, and the next one, are not held.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator

import msgspec

from controller.model.deadlines import earliest
from controller.model.journal import Record, StoreState
from controller.model.peer_text import peer_word
from controller.ocpp.frames import Version
from controller.ocpp.payloads import read_payload
from controller.offline.journal_records import OutboxEntry, RecordKind, SnapshotDelivered
from controller.offline.offline_messages import BootAnswer, ended_transaction, named_transaction
from controller.offline.outbox import Outbox
from controller.offline.station_snapshot import StationSnapshot
from controller.offline.transaction_id_map import IdRewriteError, TransactionIdMap

BOOT_WAIT_S = 60.0
"""Time until a boot is sent again that the backend did not accept, if it names no interval."""

MOST_BOOT_WAIT_S = 86_400
"""The longest interval that a backend's answer to a boot may ask for."""

WAITS_S = (5.0, 30.0, 120.0)
"""Times between the tries of an entry that the backend answers with an error, or not at all."""

LONGEST_TRIES_S = 86_400.0
"""Time after which a transaction message is set aside though the backend accepts no others either."""

LATE_ANSWER_S = 3.0
"""Time on a new link for the answers to what was out when the last one ended."""

STORE_RETRY_S = 2.0
"""Interval at which entries look for a store that can be written again."""

NO_ANSWER = "no answer"
"""The reason of a failed try that has no error code."""

MOST_PASSED_OVER = 200
"""Entries that may be passed over because they wait; it bounds the search for the next one."""

_NEVER = {
    "FormationViolation",
    "FormatViolation",
    "PropertyConstraintViolation",
    "OccurenceConstraintViolation",
    "OccurrenceConstraintViolation",
    "TypeConstraintViolation",
    "NotImplemented",
    "NotSupported",
    "MessageTypeNotSupported",
}
"""Error codes (OCPP-J 1.6, 4.2.3; 2.x Part 4, 4.3) after which the same message fails again."""


class OutboundCall(msgspec.Struct, frozen=True, kw_only=True):
    """A CALL for the backend; `number` is its place in the outbox, None for a boot or state.

    `records` are to be persisted before it is sent.
    """

    id: str
    action: str
    payload: bytes
    number: int | None = None
    records: tuple[Record, ...] = ()
    notes: tuple[str, ...] = ()


class _FailedTries(msgspec.Struct):
    """Tries of one entry that have failed; it goes again at `due_at` (s, monotonic).

    `began`: time of the first; `accepted`: number of transaction messages that the backend had accepted then.
    """

    count: int
    due_at: float
    began: float
    accepted: int


class OutboxSender:
    """Delivers to one backend over links of one OCPP version; entries in another version wait."""

    def __init__(
        self,
        outbox: Outbox,
        snapshot: StationSnapshot,
        ids: TransactionIdMap,
        version: Version,
        backend: str = "",
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
        *,
        store: StoreState | None = None,
    ) -> None:
        self._store = store or StoreState()
        self._store_due_at: float | None = None
        """Time of the next try, while an entry waits for the store."""
        self._version = version
        self._outbox = outbox
        self._snapshot = snapshot
        self._ids = ids
        self._backend = backend
        self._new_id = new_id
        self._snapshot_calls: deque[SnapshotDelivered] = deque()
        self._boot_due_at: float | None = None
        self._failed: dict[int, _FailedTries] = {}
        """Failed tries by the entry's number."""
        self._accepted = 0
        """Number of transaction messages that the backend has accepted."""
        self._awaited: set[int] = set()
        """Numbers of the entries whose answers may come late over this link."""
        self._dropped_records: list[Record] = []
        self._dropped_notes: list[str] = []

    @property
    def deadline(self) -> float | None:
        """Return when there is something to send, if not now (s, monotonic)."""
        due = (each.due_at for number, each in self._failed.items() if self._outbox.get_entry(number))
        late = (self._outbox.late_answers_until.get(number) for number in self._awaited)
        return earliest(
            self._boot_due_at,
            self._store_due_at,
            max((each for each in late if each is not None), default=None),
            *due,
        )

    @property
    def is_idle(self) -> bool:
        """Return whether nothing waits for its time, for the store, or for an answer that comes late."""
        waits = self._boot_due_at is not None or self._store_due_at is not None
        return not (waits or self._failed or self._awaited)

    @property
    def is_done(self) -> bool:
        """Return whether the backend has everything that can be sent over this link."""
        head = self._outbox.head
        return not self._snapshot_calls and (head is None or head.version is not self._version)

    def on_attached(self) -> None:
        """Begin with boot and states: a link stands, or the station has booted."""
        boot = self._snapshot.boot
        boot_due = not self._snapshot.is_boot_accepted_by(self._backend)
        calls = [] if boot is None else [*([boot] if boot_due else []), *self._snapshot.statuses]
        self._snapshot_calls = deque(each for each in calls if each.version is self._version)
        self._boot_due_at = None
        self._dropped_records += self._end_over()
        self._awaited = {
            each.number
            for each in self._entries()
            if each.sent and each.kind is RecordKind.TRANSACTION and each.number not in self._failed
        }

    def next_call(self, now: float, passing: Collection[int] = ()) -> OutboundCall | None:
        """Return the next CALL; None if nothing is left, or nothing is due yet.

        `passing` are the numbers of entries that are on their way to the backend already.
        """
        if self._boot_due_at is not None and now < self._boot_due_at:
            return None
        self._boot_due_at = None
        if self._snapshot_calls:
            call = self._snapshot_calls[0]
            return OutboundCall(id=self._new_id(), action=call.action, payload=call.payload or b"{}")
        if self._waits_for_answers(now):
            return None
        while (entry := self._find_due(now, passing)) is not None:
            if not self._drop_refused(entry):
                return self._prepare_entry(entry)
        self._store_due_at = now + STORE_RETRY_S if self._waits_for_store() else None
        return None

    def has_due(self, now: float, passing: Collection[int] = ()) -> bool:
        """Return whether something is to be sent now, or once the boot is accepted, or the store written."""
        if self._snapshot_calls or self._waits_for_answers(now) or self._waits_for_store():
            return True
        return self._find_due(now, passing) is not None

    def _waits_for_answers(self, now: float) -> bool:
        """Return whether answers to what was out when the last link ended may still come."""
        until = self._outbox.late_answers_until
        self._awaited = {
            number
            for number in self._awaited
            if self._outbox.get_entry(number) is not None
            and now < until.setdefault(number, now + LATE_ANSWER_S)
        }
        return bool(self._awaited)

    def _waits_for_store(self) -> bool:
        return any(map(self._is_held, self._entries()))

    def _is_held(self, entry: OutboxEntry) -> bool:
        """Return whether an entry must not be sent before its removal can be stored."""
        return entry.kind is RecordKind.TRANSACTION and not self._store.is_writable

    def _find_due(self, now: float, passing: Collection[int]) -> OutboxEntry | None:
        """Return the first entry that may be sent.

        An entry that waits for its next try, or for the store, is passed over. If it is a start, so is all of
        its transaction.
        """
        blocked: set[int | str] = set()
        for place, entry in enumerate(self._entries()):
            if place >= MOST_PASSED_OVER:
                break
            failed = self._failed.get(entry.number)
            is_early = failed is not None and now < failed.due_at
            if is_early or entry.number in passing or self._is_held(entry):
                blocked |= _opened_by(entry)
            elif not blocked or named_transaction(entry.version, entry.action, entry.payload) not in blocked:
                return entry
        return None

    def _entries(self) -> Iterator[OutboxEntry]:
        return (entry for entry in self._outbox.entries if entry.version is self._version)

    def _drop_refused(self, entry: OutboxEntry) -> bool:
        """Take an entry out of the queue if its transaction's start was set aside; return whether it was.

        After a restart that is done again: so its records may wait for those that come next.
        """
        transaction = named_transaction(entry.version, entry.action, entry.payload)
        if transaction not in self._outbox.refused_transactions:
            return False
        what = f"{entry.action} {peer_word(entry.id)} belongs to a transaction whose start was rejected"
        if entry.action == "MeterValues":
            self._dropped_records += self._outbox.remove_entry(entry.number)
            self._dropped_notes.append(f"{what}: dropped")
        else:
            self._dropped_records += self._outbox.set_entry_aside(entry.number, "its start was rejected")
            self._dropped_notes.append(f"{what}: set aside")
        return True

    def _take_dropped(self) -> tuple[list[Record], list[str]]:
        records, self._dropped_records = self._dropped_records, []
        notes, self._dropped_notes = self._dropped_notes, []
        return records, notes

    def _prepare_entry(self, entry: OutboxEntry) -> OutboundCall:
        records, notes = self._take_dropped()
        if entry.sent and entry.number not in self._failed:
            notes.append(f"{entry.action} {peer_word(entry.id)} goes again: its answer was never seen")
        payload = self._ids.translate_for_backend(entry.action, entry.payload)
        if isinstance(payload, IdRewriteError):
            notes.append(
                f"{entry.action} {peer_word(entry.id)} goes with our transaction id: {payload.reason}"
            )
            payload = entry.payload
        return OutboundCall(
            id=entry.id,
            action=entry.action,
            payload=payload,
            number=entry.number,
            records=(*records, *self._outbox.mark_sent(entry.number)),
            notes=tuple(notes),
        )

    # -- outcomes -----------------------------------------------------------------------------------

    def on_answer(
        self, outbound: OutboundCall, result: bytes | None, code: str | None, now: float
    ) -> tuple[list[Record], list[str]]:
        """Take the outcome of a CALL; return what to persist, and notes for the log.

        `result` is the payload of a CALLRESULT, `code` that of a CALLERROR; both None: no answer in time.
        """
        code = None if code is None else peer_word(code)
        records, notes = self._on_outcome(outbound, result, code, now)
        records += self._end_over()
        dropped, dropped_notes = self._take_dropped()
        return [*dropped, *records], [*dropped_notes, *notes]

    def _on_outcome(
        self, outbound: OutboundCall, result: bytes | None, code: str | None, now: float
    ) -> tuple[list[Record], list[str]]:
        if outbound.number is not None:
            return self._on_entry_answer(outbound.number, result, code, now)
        if outbound.action == "BootNotification":
            return self._on_boot_answer(result, code, now)
        self._finish_snapshot(outbound.action)
        return [], []

    def on_late_result(
        self, message_id: str, result: bytes, now: float
    ) -> tuple[list[Record], list[str]] | None:
        """Take the CALLRESULT for an entry that is not out any more; None: there is no such entry."""
        entry = next((each for each in self._entries() if each.sent and each.id == message_id), None)
        if entry is None:
            return None
        outbound = OutboundCall(id=entry.id, action=entry.action, payload=b"", number=entry.number)
        return self.on_answer(outbound, result, None, now)

    def on_failed_try(self, number: int, code: str, now: float) -> tuple[list[Record], list[str]]:
        """Count a failed try of an entry that was sent by another part."""
        entry = self._outbox.get_entry(number)
        return ([], []) if entry is None else self._on_failure(entry, code, now)

    def on_transaction_accepted(self) -> None:
        """Count a transaction message that the backend has accepted."""
        self._accepted += 1

    def _finish_snapshot(self, action: str) -> None:
        if self._snapshot_calls and self._snapshot_calls[0].action == action:
            self._snapshot_calls.popleft()

    def _on_boot_answer(
        self, result: bytes | None, code: str | None, now: float
    ) -> tuple[list[Record], list[str]]:
        answer = None if result is None else read_payload(BootAnswer, result)
        if answer is not None and answer.status == "Accepted":
            self._finish_snapshot("BootNotification")
            return self._snapshot.on_boot_accepted_by(self._backend), []
        if code in _NEVER:
            self._finish_snapshot("BootNotification")
            note = f"BootNotification is answered with {code}: the rest is sent all the same"
            return self._snapshot.on_boot_accepted_by(self._backend), [note]
        named = 0 if answer is None else answer.interval_s
        wait_s = float(min(named, MOST_BOOT_WAIT_S)) if named > 0 else BOOT_WAIT_S
        self._boot_due_at = now + wait_s
        status = (code or NO_ANSWER) if answer is None else peer_word(answer.status)
        return [], [f"BootNotification is answered with {status}: it is sent again in {wait_s:g} s"]

    def _on_entry_answer(
        self, number: int, result: bytes | None, code: str | None, now: float
    ) -> tuple[list[Record], list[str]]:
        entry = self._outbox.get_entry(number)
        if entry is None:
            return [], []
        if result is None:
            return self._on_failure(entry, code or NO_ANSWER, now)
        self._failed.pop(number, None)
        if entry.kind is RecordKind.TRANSACTION:
            self.on_transaction_accepted()
        records = self._outbox.remove_entry(number)
        if entry.transaction is not None:
            records += self._ids.on_start_result(entry.transaction, result)
        ended = ended_transaction(entry.version, entry.action, entry.payload)
        if isinstance(ended, int):
            records += self.end_transaction(ended)
        return records, []

    def end_transaction(self, own: int) -> list[Record]:
        """Remove the ids of a 1.6 transaction whose end the backend has.

        MeterValues that wait for their next try, or were set aside, may follow after the end: until they have
        left, the ids are kept, also over a restart. Under the station's own id the backend could take them
        for those of another transaction.
        """
        failed = (self._outbox.get_entry(number) for number in self._failed)
        if _is_named(own, (*(each for each in failed if each is not None), *self._outbox.set_aside)):
            return self._ids.mark_over(own)
        return self._ids.end_transaction(own)

    def _end_over(self) -> list[Record]:
        """Remove the ids of ended transactions of which no message is left."""
        records: list[Record] = []
        for own in self._ids.over:
            if not _is_named(own, (*self._outbox.entries, *self._outbox.set_aside)):
                records += self._ids.end_transaction(own)
        return records

    def _on_failure(self, entry: OutboxEntry, code: str, now: float) -> tuple[list[Record], list[str]]:
        what = f"{entry.action} {peer_word(entry.id)} is answered with {code}"
        failed = self._failed.pop(entry.number, None) or _FailedTries(0, now, now, self._accepted)
        if code not in _NEVER and (
            failed.count < len(WAITS_S) or self._is_backend_at_fault(entry, failed, now)
        ):
            wait_s = WAITS_S[min(failed.count, len(WAITS_S) - 1)]
            failed.count += 1
            failed.due_at = now + wait_s
            self._failed[entry.number] = failed
            return [], [f"{what}: it goes again in {wait_s:g} s"]
        if entry.kind is not RecordKind.TRANSACTION:
            return self._outbox.remove_entry(entry.number), [f"{what}: it is dropped"]
        records = self._outbox.set_entry_aside(entry.number, code)
        if entry.transaction is not None:
            records += self._ids.end_transaction(entry.transaction)
        note = f"{what}: it is set aside, `local-controller outbox list` shows it"
        return records, [note]

    def _is_backend_at_fault(self, entry: OutboxEntry, failed: _FailedTries, now: float) -> bool:
        """Return whether the tries say nothing about a transaction message: the backend accepts none."""
        is_transaction = entry.kind is RecordKind.TRANSACTION
        return is_transaction and failed.accepted == self._accepted and now - failed.began < LONGEST_TRIES_S


def _is_named(transaction: int, entries: Iterable[OutboxEntry]) -> bool:
    """Return whether one of these entries belongs to a 1.6 transaction."""
    return any(named_transaction(each.version, each.action, each.payload) == transaction for each in entries)


def _opened_by(entry: OutboxEntry) -> set[int | str]:
    """Return the transaction whose messages must not overtake this entry, if it is a start."""
    if entry.action == "StartTransaction":
        return set() if entry.transaction is None else {entry.transaction}
    if entry.action == "TransactionEvent":
        transaction = named_transaction(entry.version, entry.action, entry.payload)
        return set() if transaction is None else {transaction}
    return set()
