"""What waits for one backend, in order, until it has answered.

A mirror of what is on disk: every change comes back as records to be saved. Where room is short, the least
worth goes first (`Kind`), the oldest of it, or the new message itself where it is worth less than all that
waits. A transaction message never goes: where nothing else is left to go there is no room for another, then
the station is not answered, and keeps its message itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from controller.model.journal import Record
from controller.ocpp.frames import Version
from controller.offline.dedup_key import dedup_key
from controller.offline.journal_records import (
    EntryQueued,
    EntryRemoved,
    EntrySent,
    EntrySetAside,
    OutboxEntry,
    RecordKind,
)

MOST_WAITING = 10_000
"""Entries of one station and backend: weeks of a busy station's messages, and some MB."""

_TRANSACTION_16 = {"StartTransaction", "StopTransaction"}
_TRANSACTION_2 = {"TransactionEvent", "NotifySettlement", "BatterySwap"}


class OutboxFullError(Exception):
    """The outbox is full of what must not be dropped. Its text says whose."""


class _MeterValues(msgspec.Struct):
    transaction: int | None = msgspec.field(default=None, name="transactionId")


def kind_of(version: Version, action: str, payload: bytes) -> RecordKind:
    """What a message of a station is worth."""
    if action in (_TRANSACTION_16 if version is Version.V16 else _TRANSACTION_2):
        return RecordKind.TRANSACTION
    if action == "MeterValues":
        try:
            tied = msgspec.json.decode(payload, type=_MeterValues).transaction is not None
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            tied = True  # what cannot be read may be worth the most
        return RecordKind.TRANSACTION if tied else RecordKind.METER
    return RecordKind.STATUS if action == "StatusNotification" else RecordKind.NOTICE


class Outbox:
    """One station's, for one backend. `capacity` bounds the entries."""

    def __init__(self, station: str, backend: str, capacity: int = MOST_WAITING) -> None:
        self._station = station
        self._backend = backend
        self._capacity = capacity
        self._entries: dict[int, OutboxEntry] = {}
        self._kinds: dict[RecordKind, dict[int, None]] = {kind: {} for kind in RecordKind}
        """The numbers of each kind, the oldest first."""
        self._prints: dict[str, int] = {}
        self._last = 0
        self.dropped: Counter[RecordKind] = Counter()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def head(self) -> OutboxEntry | None:
        """What goes next."""
        return next(iter(self._entries.values()), None)

    @property
    def newest_number(self) -> int:
        """The number of the entry that was queued last."""
        return self._last

    @property
    def oldest_at(self) -> float | None:
        """When the oldest that waits came (POSIX s)."""
        return None if self.head is None else self.head.taken

    def restore(self, records: Iterable[Record]) -> None:
        """Take over what was saved before a restart; records about others are left alone."""
        for word in records:
            if isinstance(word, EntryQueued) and (word.station, word.backend) == (
                self._station,
                self._backend,
            ):
                self._put(word.entry)

    def get_entry(self, number: int) -> OutboxEntry | None:
        """The entry with this number, if it still waits."""
        return self._entries.get(number)

    def find_duplicate(self, print_: str) -> OutboxEntry | None:
        """The transaction message with this fingerprint that waits already."""
        number = self._prints.get(print_)
        return None if number is None else self._entries[number]

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
        answered: bool = True,
        sent: bool = False,
    ) -> list[Record]:
        """Let a message wait; no records where it had to go at once. Raises NoRoom, for transactions only."""
        records = self._room_for(kind)
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
        self._put(entry)
        return [*records, EntryQueued(self._station, self._backend, entry)]

    def mark_answered(self, number: int, transaction: int | None = None) -> list[Record]:
        """The station has its answer; in a 1.6 StartTransaction's it was given this id."""
        before = self._entries[number]
        entry = msgspec.structs.replace(before, transaction=transaction, answered=True)
        if entry == before:
            return []
        self._entries[number] = entry
        return [EntryQueued(self._station, self._backend, entry)]

    def mark_sent(self, number: int) -> list[Record]:
        """The entry is about to be sent, if it has not been sent before."""
        entry = self._entries[number]
        if entry.sent:
            return []
        self._entries[number] = msgspec.structs.replace(entry, sent=True)
        return [EntrySent(self._station, self._backend, number)]

    def remove_entry(self, number: int) -> list[Record]:
        """The entry waits no longer: it has been answered."""
        return [EntryRemoved(self._station, self._backend, number)] if self._take_out(number) else []

    def set_entry_aside(self, number: int, reason: str) -> list[Record]:
        """The backend will not take the entry: it waits no longer, and is kept for a person to look at."""
        return [EntrySetAside(self._station, self._backend, number, reason)] if self._take_out(number) else []

    def _take_out(self, number: int) -> bool:
        entry = self._entries.pop(number, None)
        if entry is None:
            return False
        del self._kinds[entry.kind][number]
        if entry.kind is RecordKind.TRANSACTION:
            print_ = dedup_key(entry.version, entry.action, entry.payload)
            if self._prints.get(print_) == number:
                del self._prints[print_]
        return True

    def _put(self, entry: OutboxEntry) -> None:
        self._entries[entry.number] = entry
        self._kinds[entry.kind][entry.number] = None
        self._last = max(self._last, entry.number)
        if entry.kind is RecordKind.TRANSACTION:
            self._prints[dedup_key(entry.version, entry.action, entry.payload)] = entry.number

    def _room_for(self, kind: RecordKind) -> list[Record] | None:
        """Words for what had to go; None: the newcomer itself had to. Raises NoRoom."""
        if len(self._entries) < self._capacity:
            return []
        least = self._least()
        if least is not None and least.kind <= kind:
            self.dropped[least.kind] += 1
            return self.remove_entry(least.number)
        if kind is RecordKind.TRANSACTION:
            waiting = f"{len(self._entries)} messages of station {self._station} wait for {self._backend}"
            raise OutboxFullError(f"{waiting}: there is no room for more")
        self.dropped[kind] += 1
        return None

    def _least(self) -> OutboxEntry | None:
        """What goes first. The entry that is being sent stays: its answer may be on the way."""
        for kind in (RecordKind.METER, RecordKind.NOTICE, RecordKind.STATUS):
            for number in self._kinds[kind]:
                if not self._entries[number].sent:
                    return self._entries[number]
        return None
