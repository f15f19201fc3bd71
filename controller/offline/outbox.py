"""The messages of one station that wait for one backend, in order, until it has answered them.

The outbox mirrors what is stored: every change comes back as records to be persisted. If it is full, the
entry of the least important kind is dropped (`RecordKind`), the oldest first, or the new message itself if
it is less important than all that wait. A transaction message is never dropped: if nothing else is left to
drop, there is no room for another one; the station is then not answered, and keeps its message itself.

A message that the backend rejects is set aside, so that the queue goes on: it stays stored until a person
sends it again or drops it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from controller.model.journal import Record
from controller.ocpp.frames import Version
from controller.ocpp.payloads import MAX_TRANSACTION_ID, MIN_TRANSACTION_ID
from controller.offline.dedup_key import dedup_key
from controller.offline.journal_records import (
    EntryQueued,
    EntryRemoved,
    EntryRequeued,
    EntrySent,
    EntrySetAside,
    OutboxEntry,
    RecordKind,
)
from controller.offline.offline_messages import ended_transaction

MOST_WAITING = 10_000
"""Entries of one station and backend: weeks of messages of a busy station, and some MB."""

_TRANSACTION_16 = {"StartTransaction", "StopTransaction"}
_TRANSACTION_2 = {"TransactionEvent", "NotifySettlement", "BatterySwap"}


class OutboxFullError(Exception):
    """The outbox is full of messages that must not be dropped. The text names station and backend."""


class _MeterValues(msgspec.Struct):
    transaction: int | None = msgspec.field(default=None, name="transactionId")


def kind_of(version: Version, action: str, payload: bytes) -> RecordKind:
    """Return the kind of a station's message, by which it may be dropped or not."""
    if action in (_TRANSACTION_16 if version is Version.V16 else _TRANSACTION_2):
        return RecordKind.TRANSACTION
    if action == "MeterValues":
        try:
            transaction = msgspec.json.decode(payload, type=_MeterValues).transaction
            tied = transaction is not None and MIN_TRANSACTION_ID <= transaction <= MAX_TRANSACTION_ID
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            tied = True  # what cannot be read may belong to a transaction
        return RecordKind.TRANSACTION if tied else RecordKind.METER
    return RecordKind.STATUS if action == "StatusNotification" else RecordKind.NOTICE


class Outbox:
    """The outbox of one station for one backend, of at most `capacity` entries with those set aside."""

    def __init__(self, station: str, backend: str, capacity: int = MOST_WAITING) -> None:
        self._station = station
        self._backend = backend
        self._capacity = capacity
        self._entries: dict[int, OutboxEntry] = {}
        self._kinds: dict[RecordKind, dict[int, None]] = {kind: {} for kind in RecordKind}
        """The numbers of each kind, the oldest first."""
        self._numbers: dict[str, int] = {}
        """Numbers of transaction messages, by their deduplication key."""
        self._keys: dict[int, str] = {}
        """Deduplication keys of transaction messages that wait, by number."""
        self._starts: dict[int, int] = {}
        """Numbers of waiting 1.6 starts, by the id that the station was given."""
        self._rejected: dict[int, OutboxEntry] = {}
        """Entries that were set aside, by number."""
        self.late_answers_until: dict[int, float] = {}
        """Until when the late answer of an entry is waited for, by number (s, monotonic): over all links."""
        self._last = 0
        self.dropped: Counter[RecordKind] = Counter()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def head(self) -> OutboxEntry | None:
        """Return the entry that is sent next, or None."""
        return next(iter(self._entries.values()), None)

    @property
    def entries(self) -> Iterable[OutboxEntry]:
        """Return all entries that wait, in their order."""
        return self._entries.values()

    @property
    def set_aside(self) -> Iterable[OutboxEntry]:
        """Return all entries that were set aside."""
        return self._rejected.values()

    @property
    def refused_transactions(self) -> set[int]:
        """Return the 1.6 transactions, by the station's id, whose starts were set aside."""
        return {entry.transaction for entry in self._rejected.values() if entry.transaction is not None}

    def has_start_of(self, transaction: int) -> bool:
        """Return whether the start of a 1.6 transaction waits."""
        return transaction in self._starts

    @property
    def newest_number(self) -> int:
        """Return the number of the entry that was queued last."""
        return self._last

    @property
    def oldest_at(self) -> float | None:
        """Return when the oldest entry was received (POSIX s), or None."""
        return None if self.head is None else self.head.taken

    @property
    def set_aside_count(self) -> int:
        """Return how many messages the backend has rejected for good."""
        return len(self._rejected)

    def restore(self, records: Iterable[Record]) -> None:
        """Take over what was stored before a restart; records of other outboxes are ignored."""
        mine = [each for each in records if isinstance(each, EntryQueued | EntrySent | EntrySetAside)]
        mine = [each for each in mine if (each.station, each.backend) == (self._station, self._backend)]
        for entry in sorted((each.entry for each in mine if isinstance(each, EntryQueued)), key=_number):
            self._put(entry)
        for record in mine:
            if isinstance(record, EntrySent):
                self.mark_sent(record.number)
            elif isinstance(record, EntrySetAside):
                self.set_entry_aside(record.number, record.reason)

    def get_entry(self, number: int) -> OutboxEntry | None:
        """Return the entry with this number if it still waits, or None."""
        return self._entries.get(number)

    def find_duplicate(self, key: str) -> OutboxEntry | None:
        """Return the transaction message with this deduplication key that waits already, or None."""
        number = self._numbers.get(key)
        return None if number is None else self._entries[number]

    def key_of(self, entry: OutboxEntry) -> str:
        """Return the deduplication key of an entry; of a transaction message that waits, it is kept."""
        known = self._keys.get(entry.number)
        return dedup_key(entry.version, entry.action, entry.payload) if known is None else known

    def find_id(self, message_id: str) -> OutboxEntry | None:
        """Return the message with this id that waits, or None."""
        return next((entry for entry in self._entries.values() if entry.id == message_id), None)

    def rename_entry(self, number: int, message_id: str) -> list[Record]:
        """Give a message that was not sent yet another id."""
        entry = msgspec.structs.replace(self._entries[number], id=message_id)
        self._entries[number] = entry
        return [EntryQueued(self._station, self._backend, entry)]

    def queue_message(
        self,
        version: Version,
        action: str,
        payload: bytes,
        kind: RecordKind,
        message_id: str,
        taken: float,
        transaction: int | None = None,
        *,
        key: str = "",
        answered: bool = True,
        sent: bool = False,
    ) -> list[Record]:
        """Add a message; return no records if it was dropped at once.

        `key`: the deduplication key of a transaction message, where the caller has it. Raises
        OutboxFullError, for transaction messages only.
        """
        records = self._make_room(kind, action)
        if records is None:
            return []
        entry = OutboxEntry(
            number=self._last + 1,
            id=message_id,
            version=version,
            action=action,
            payload=payload,
            kind=kind,
            taken=taken,
            transaction=transaction,
            answered=answered,
            sent=sent,
        )
        self._put(entry, key)
        return [*records, EntryQueued(self._station, self._backend, entry)]

    def mark_answered(self, number: int, transaction: int | None = None) -> list[Record]:
        """Note that the station has its answer; in that of a 1.6 StartTransaction it was given this id."""
        before = self._entries[number]
        entry = msgspec.structs.replace(before, transaction=transaction, answered=True)
        if entry == before:
            return []
        self._put(entry)
        return [EntryQueued(self._station, self._backend, entry)]

    def mark_sent(self, number: int) -> list[Record]:
        """Note that the entry is about to be sent."""
        entry = self._entries.get(number)
        if entry is None or entry.sent:
            return []
        self._entries[number] = msgspec.structs.replace(entry, sent=True)
        return [EntrySent(self._station, self._backend, number)]

    def remove_entry(self, number: int) -> list[Record]:
        """Remove an entry that has been answered."""
        return [EntryRemoved(self._station, self._backend, number)] if self._take_out(number) else []

    def set_entry_aside(self, number: int, reason: str) -> list[Record]:
        """Take an entry that the backend rejects out of the queue; it stays stored for a person."""
        entry = self._entries.get(number)
        if entry is None:
            return []
        self._take_out(number)
        record = EntrySetAside(self._station, self._backend, number, reason)
        self._rejected[number] = entry
        return [record]

    def requeue_entry(self, number: int) -> list[Record]:
        """Let an entry that was set aside wait again, at its old place in the order."""
        entry = self._rejected.pop(number, None)
        if entry is None:
            return []
        self._put(entry)
        self._entries = {each.number: each for each in sorted(self._entries.values(), key=_number)}
        return [EntryRequeued(self._station, self._backend, number)]

    def drop_set_aside(self, number: int) -> list[Record]:
        """Delete an entry that was set aside."""
        if self._rejected.pop(number, None) is None:
            return []
        return [EntryRemoved(self._station, self._backend, number)]

    def _take_out(self, number: int) -> bool:
        entry = self._entries.pop(number, None)
        if entry is None:
            return False
        self._kinds[entry.kind].pop(number, None)
        self.late_answers_until.pop(number, None)
        key = self._keys.pop(number, None)
        if key is not None and self._numbers.get(key) == number:
            del self._numbers[key]
        if entry.transaction is not None and self._starts.get(entry.transaction) == number:
            del self._starts[entry.transaction]
        return True

    def _put(self, entry: OutboxEntry, key: str = "") -> None:
        self._entries[entry.number] = entry
        self._kinds[entry.kind][entry.number] = None
        self._last = max(self._last, entry.number)
        if entry.kind is RecordKind.TRANSACTION:
            self._keys[entry.number] = key = key or self.key_of(entry)
            self._numbers[key] = entry.number
        if entry.transaction is not None:
            self._starts[entry.transaction] = entry.number
        if entry.action == "StopTransaction":
            self._release_start(entry)

    def _release_start(self, stop: OutboxEntry) -> None:
        """Take an equal start for a new one from now on: the stop of the first has been received."""
        transaction = ended_transaction(stop.version, stop.action, stop.payload)
        number = self._starts.get(transaction) if isinstance(transaction, int) else None
        if number is not None:
            start = self._entries[number]
            self._numbers.pop(self.key_of(start), None)

    def _make_room(self, kind: RecordKind, action: str) -> list[Record] | None:
        """Return records of what was dropped; None: the new message itself is. Raises OutboxFullError."""
        if len(self._entries) + len(self._rejected) < self._capacity:
            return []
        least = self._least(kind, action)
        if least is not None and least.kind <= kind:
            self.dropped[least.kind] += 1
            return self.remove_entry(least.number)
        if kind is RecordKind.TRANSACTION:
            waiting = f"{len(self._entries)} messages of station {self._station} wait for {self._backend}"
            if self._rejected:
                waiting += f", {len(self._rejected)} are set aside"
            raise OutboxFullError(f"{waiting}: no room for another transaction message")
        self.dropped[kind] += 1
        return None

    def _least(self, kind: RecordKind, action: str) -> OutboxEntry | None:
        """Return what is dropped first; an entry that has been sent stays, its answer may be on the way.

        Starts and stops find room as long as there are meter values, also those of transactions.
        """
        for least in (RecordKind.METER, RecordKind.NOTICE, RecordKind.STATUS):
            for number in self._kinds[least]:
                if not self._entries[number].sent:
                    return self._entries[number]
        if kind is RecordKind.TRANSACTION and action != "MeterValues":
            for number in self._kinds[RecordKind.TRANSACTION]:
                entry = self._entries[number]
                if entry.action == "MeterValues" and not entry.sent:
                    return entry
        return None


def _number(entry: OutboxEntry) -> int:
    return entry.number
