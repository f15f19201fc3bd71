"""What has to be on disk: the relay's own words for it, which the store turns into rows.

A machine of this room that must not forget something gives back `Save(words)` among its actions. The
rule of the one who does the actions: everything after a Save, answers above all, waits until the Save
is durable. So a machine never waits itself, and an answer never promises what a crash would take away.

After a start the same words come back, as `RestoredRelay`, in the order in which they were saved.
"""

from __future__ import annotations

import enum

import msgspec

from controller.ocpp.frames import Version
from controller.signing.replay import RememberText


class RecordKind(enum.IntEnum):
    """What a message in an outbox is worth. Where room is short, the lowest goes first; the highest never."""

    METER = 0
    """Meter values outside a transaction: there will be others."""
    NOTICE = 1
    """Anything that reports: events, firmware and log states."""
    STATUS = 2
    """The state of a connector."""
    TRANSACTION = 3
    """What is billed by, or proves it: never dropped."""


class OutboxEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A CALL of a station that waits for one backend.

    `number` orders the entries of one station and backend, and is never used again. `id` is the message
    id with which it is sent, and sent again where its answer was never seen: `sent` says that it has
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


class EntryQueued(msgspec.Struct, frozen=True):
    """A message waits for a backend."""

    station: str
    backend: str
    entry: OutboxEntry


class EntrySent(msgspec.Struct, frozen=True):
    """The entry has been sent at least once; its answer has not been seen."""

    station: str
    backend: str
    number: int


class EntryRemoved(msgspec.Struct, frozen=True):
    """The entry waits no longer: it is answered, or had to be dropped."""

    station: str
    backend: str
    number: int


class EntrySetAside(msgspec.Struct, frozen=True):
    """The entry waits no longer, because the backend will never take it; it stays on disk for a person."""

    station: str
    backend: str
    number: int
    reason: str


class ResponseStored(msgspec.Struct, frozen=True):
    """The controller itself has answered this message of the station: the same again gets the same answer.

    `fingerprint` is that of what the message means (`fingerprints`), not of its id; `payload` the answer's.
    """

    station: str
    fingerprint: str
    payload: bytes


class TransactionMapped(msgspec.Struct, frozen=True):
    """A 1.6 transaction has one id at the station and another at a backend (None: not known yet)."""

    station: str
    backend: str
    own: int
    theirs: int | None


class TransactionUnmapped(msgspec.Struct, frozen=True):
    """The transaction is over, and nothing of it waits any more."""

    station: str
    backend: str
    own: int


class SnapshotDelivered(msgspec.Struct, frozen=True):
    """What the station last said of itself: its boot, or the state of one connector, by `topic`.

    A backend that attaches later is told the same. `payload` None: it is no longer true.
    """

    station: str
    topic: str
    version: Version
    action: str
    payload: bytes | None


class TokenAuthorized(msgspec.Struct, frozen=True):
    """What a backend has said of an idToken, known by its keyed hash alone.

    `source` is "list" (local authorisation list) or "cache". `status` None: forgotten. `until`: POSIX s,
    None for no end. `group` is the hash of the parent or group token, if any.
    """

    station: str
    source: str
    token: str
    status: str | None
    until: float | None = None
    group: str | None = None


class LocalListVersion(msgspec.Struct, frozen=True):
    """The version of the local authorisation list that a station has taken."""

    station: str
    version: int


RelayRecord = (
    EntryQueued
    | EntrySent
    | EntryRemoved
    | EntrySetAside
    | ResponseStored
    | TransactionMapped
    | TransactionUnmapped
    | SnapshotDelivered
    | TokenAuthorized
    | LocalListVersion
    | RememberText
)
"""`RememberText`: a signed message that must not be accepted again. Not restored with a station."""


class PersistRelay(msgspec.Struct, frozen=True):
    """All of these words or none; durable before whatever is done after it."""

    words: tuple[RelayRecord, ...]


class RestoredRelay(msgspec.Struct, frozen=True):
    """What was on disk at the start: of each thing the last word, in order."""

    words: tuple[RelayRecord, ...]
