"""Durable records of the relay; the store writes them as rows.

A state machine with something durable returns `Persist(records)` among its actions. The
rule of the one who does the actions: everything after a Save, answers above all, waits until the Save
is durable. So a machine never waits itself, and an answer states only what survives a crash.

After a start the same records come back, as `RestoredRelay`, in the order in which they were saved.
"""

from __future__ import annotations

import enum

import msgspec

from controller.model.journal import Record
from controller.model.peer_text import peer_word
from controller.ocpp.frames import Version


class RecordKind(enum.IntEnum):
    """Priority of a message in an outbox: with little room the lowest is dropped first, the highest never."""

    METER = 0
    """Meter values outside a transaction: there will be others."""
    NOTICE = 1
    """Anything that reports: events, firmware and log states."""
    STATUS = 2
    """The state of a connector."""
    TRANSACTION = 3
    """Messages that are billed by, or prove it: never dropped."""


class OutboxEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A CALL of a station that waits for one backend.

    `number` orders the entries of one station and backend, and is never used again. `id` is the message
    id with which it is sent, and sent again where its answer was never seen: `sent`: it has
    been sent at least once. `payload` is the station's own bytes. `taken` is when it came (POSIX s).
    `transaction`: in a 1.6 StartTransaction, the transaction id that the controller itself gave the
    station in the backend's place. `answered`: the station has had an answer to it; not yet, while the
    backend itself is asked.
    """

    number: int
    id: str
    version: Version
    action: str
    payload: bytes
    kind: RecordKind
    taken: float
    sent: bool = False
    transaction: int | None = None
    answered: bool = True

    @property
    def log_pairs(self) -> str:
        """Action and message id as pairs of a log line."""
        return f"action={peer_word(self.action)} id={peer_word(self.id)}"


class EntryQueued(Record, frozen=True):
    """A message waits for a backend."""

    station: str
    backend: str
    entry: OutboxEntry


class EntrySent(Record, frozen=True):
    """The entry has been sent at least once; its answer has not been seen."""

    station: str
    backend: str
    number: int


class EntryRemoved(Record, frozen=True):
    """The entry waits no longer: it is answered, or had to be dropped."""

    station: str
    backend: str
    number: int


class EntrySetAside(Record, frozen=True):
    """The entry waits no longer, because the backend will never take it; it stays on disk for a person."""

    station: str
    backend: str
    number: int
    reason: str


class EntryRequeued(Record, frozen=True):
    """An entry that was set aside waits for its backend again."""

    station: str
    backend: str
    number: int


class OutboxRequest(Record, frozen=True):
    """A person's request about a message that was set aside: send it again, or `drop` it."""

    station: str
    backend: str
    number: int
    drop: bool


class OutboxRequestDone(Record, frozen=True):
    """The request about this message has been carried out."""

    station: str
    backend: str
    number: int


class ResponseStored(Record, frozen=True):
    """The controller itself has answered this message of the station: the same again gets the same answer.

    `fingerprint` is that of what the message means (`fingerprints`), not of its id; `payload` the answer's.
    """

    station: str
    fingerprint: str
    payload: bytes


class ResponseDropped(Record, frozen=True):
    """The answer to this message is dropped: newer ones have taken its place."""

    station: str
    fingerprint: str


class TransactionMapped(Record, frozen=True):
    """A 1.6 transaction has one id at the station and another at a backend (None: not known yet).

    `is_over`: the backend has its end, but not yet every message of it.
    """

    station: str
    backend: str
    own: int
    theirs: int | None
    is_over: bool = False


class NewestTransactionId(Record, frozen=True):
    """The newest id that a 1.6 transaction was given in the backend's place; it replaces the one before."""

    station: str
    backend: str
    number: int


class TransactionUnmapped(Record, frozen=True):
    """The transaction is over, and no message of it is queued."""

    station: str
    backend: str
    own: int


class SnapshotDelivered(Record, frozen=True):
    """Last boot of a station, or last state of one connector, by `topic`.

    A backend that attaches later gets the same. `payload` None: it is no longer true.
    """

    station: str
    topic: str
    version: Version
    action: str
    payload: bytes | None


class TokenAuthorized(Record, frozen=True):
    """Authorization of an idToken by a backend; the token is stored as its keyed hash alone.

    `source` is "list" (local authorization list) or "cache". `status` None: removed. `until`: POSIX s,
    None for no end; `since`: when a remote start was accepted, POSIX s. `group` is the hash of the parent or
    group token, if any.
    """

    station: str
    source: str
    token: str
    status: str | None
    until: float | None = None
    group: str | None = None
    since: float | None = None


class LocalListVersion(Record, frozen=True):
    """The version of the local authorization list that a station has taken."""

    station: str
    version: int
