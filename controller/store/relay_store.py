"""What the relay must not forget, as rows of relay.sqlite: the words of `relay.saving`, of each the last.

A list of words is one transaction: after a crash, all of it or nothing is there. Numbers that a station or
a backend has chosen are text here, since nothing holds them to the 64 bits of SQLite's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from controller.model.journal import Record
from controller.ocpp.frames import Version
from controller.offline.journal_records import (
    EntryQueued,
    EntryRemoved,
    EntrySent,
    EntrySetAside,
    LocalListVersion,
    OutboxEntry,
    RecordKind,
    ResponseStored,
    RestoredRelay,
    SnapshotDelivered,
    TokenAuthorized,
    TransactionMapped,
    TransactionUnmapped,
)
from controller.offline.response_cache import MOST_REMEMBERED
from controller.store.database import Database, Row

FILE = "relay.sqlite"

_KEEPS = (
    "messages of stations that waited for a backend, transactions among them; ids of running transactions; "
    "what is known of drivers while a backend is away"
)

_ENTRY = """
    station TEXT NOT NULL,
    backend TEXT NOT NULL,
    number INTEGER NOT NULL,      -- the order in which they came
    id TEXT NOT NULL,             -- the message id with which it is sent
    version TEXT NOT NULL,        -- of OCPP, in which it is written
    action TEXT NOT NULL,
    payload BLOB NOT NULL,        -- JSON, as the station sent it
    kind INTEGER NOT NULL,        -- 0 meter, 1 notice, 2 status, 3 transaction
    taken REAL NOT NULL,          -- when it came, POSIX s
    sent INTEGER NOT NULL,        -- 1: it has been sent, and its answer was not seen
    own_transaction TEXT,         -- 1.6 StartTransaction: the id that the station was given
    answered INTEGER NOT NULL,    -- 1: the station has had an answer
"""

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS outbox ({_ENTRY} PRIMARY KEY (station, backend, number)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS set_aside (   -- what a backend would not take: for a person to look at
    place INTEGER PRIMARY KEY AUTOINCREMENT, {_ENTRY} reason TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS answers (     -- of ours, to messages that a station may repeat
    station TEXT NOT NULL, fingerprint TEXT NOT NULL, payload BLOB NOT NULL,
    PRIMARY KEY (station, fingerprint)
) STRICT;
CREATE TABLE IF NOT EXISTS transaction_ids (
    station TEXT NOT NULL, backend TEXT NOT NULL,
    own TEXT NOT NULL,                   -- the station's id
    theirs TEXT,                         -- the backend's; NULL: not known yet
    PRIMARY KEY (station, backend, own)
) STRICT;
CREATE TABLE IF NOT EXISTS told (        -- what a station last said of itself
    station TEXT NOT NULL, topic TEXT NOT NULL, version TEXT NOT NULL, action TEXT NOT NULL,
    payload BLOB NOT NULL, PRIMARY KEY (station, topic)
) STRICT;
CREATE TABLE IF NOT EXISTS authorisations (
    station TEXT NOT NULL, source TEXT NOT NULL,
    token TEXT NOT NULL,                 -- the keyed hash of it
    status TEXT NOT NULL, until REAL, token_group TEXT,
    PRIMARY KEY (station, source, token)
) STRICT;
CREATE TABLE IF NOT EXISTS list_versions (station TEXT NOT NULL PRIMARY KEY, version TEXT NOT NULL) STRICT;
"""

_TRIM_ANSWERS = """
DELETE FROM answers WHERE station = ?1 AND rowid <= (
    SELECT rowid FROM answers WHERE station = ?1 ORDER BY rowid DESC LIMIT 1 OFFSET ?2
)
"""
_IS_ENTRY = "WHERE station = ? AND backend = ? AND number = ?"


class RelayStore:
    """The file in the store's directory. Raises StoreFailed where it cannot be used.

    A damaged one is moved aside: `moved_aside` says where it has gone.
    """

    def __init__(self, directory: Path) -> None:
        self._database = Database(directory / FILE, _SCHEMA, _KEEPS)

    @property
    def moved_aside(self) -> Path | None:
        """Where a damaged file has gone that was there when we began."""
        return self._database.moved_aside

    def write(self, words: Sequence[Record]) -> None:
        """All of these or none; durable when it returns. May be called in a thread. Raises StoreFailed."""
        self._database.write(*((statement, [row]) for word in words for statement, row in _statements(word)))

    def load(self, station: str) -> RestoredRelay:
        """What was saved of a station: of each thing the last word, in the order of saving."""
        words: list[Record] = []
        for query, word_of in _LOADING.items():
            words += (word_of(row) for row in self._database.rows(query, (station,)))
        return RestoredRelay(tuple(words))

    def waiting(self) -> Mapping[tuple[str, str], int]:
        """How many messages wait, by station and backend; where none do, nothing."""
        rows = self._database.rows("SELECT station, backend, count(*) FROM outbox GROUP BY station, backend")
        return {(station, backend): number for station, backend, number in rows}

    def set_aside(self) -> list[tuple[EntryQueued, str]]:
        """The messages that their backends would not take, and why, in the order in which that was found."""
        rows = self._database.rows("SELECT * FROM set_aside ORDER BY place")
        return [(_queued(row[1:-1]), row[-1]) for row in rows]

    def close(self) -> None:
        """Close the file."""
        self._database.close()


# -- words to rows ----------------------------------------------------------------------------------


def _statements(word: Record) -> Iterator[tuple[str, Row]]:
    match word:
        case EntryQueued(station, backend, entry):
            row = (station, backend, *_entry_row(entry))
            yield "INSERT OR REPLACE INTO outbox VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row
        case EntrySent(station, backend, number):
            yield f"UPDATE outbox SET sent = 1 {_IS_ENTRY}", (station, backend, number)
        case EntryRemoved(station, backend, number):
            yield f"DELETE FROM outbox {_IS_ENTRY}", (station, backend, number)
        case EntrySetAside(station, backend, number, reason):
            key = (station, backend, number)
            yield f"INSERT INTO set_aside SELECT NULL, *, ? FROM outbox {_IS_ENTRY}", (reason, *key)
            yield f"DELETE FROM outbox {_IS_ENTRY}", key
        case ResponseStored(station, fingerprint, payload):
            yield "INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", (station, fingerprint, payload)
            yield _TRIM_ANSWERS, (station, MOST_REMEMBERED)
        case SnapshotDelivered(station, topic, version, action, payload):
            if payload is None:
                yield "DELETE FROM told WHERE station = ? AND topic = ?", (station, topic)
            else:
                row = (station, topic, version.value, action, payload)
                yield "INSERT OR REPLACE INTO told VALUES (?, ?, ?, ?, ?)", row
        case TransactionMapped() | TransactionUnmapped():
            yield _of_ids(word)
        case TokenAuthorized() | LocalListVersion():
            yield _of_drivers(word)


def _of_ids(word: TransactionMapped | TransactionUnmapped) -> tuple[str, Row]:
    key = (word.station, word.backend, str(word.own))
    if isinstance(word, TransactionUnmapped):
        return "DELETE FROM transaction_ids WHERE station = ? AND backend = ? AND own = ?", key
    theirs = None if word.theirs is None else str(word.theirs)
    return "INSERT OR REPLACE INTO transaction_ids VALUES (?, ?, ?, ?)", (*key, theirs)


def _of_drivers(word: TokenAuthorized | LocalListVersion) -> tuple[str, Row]:
    if isinstance(word, LocalListVersion):
        row: Row = (word.station, str(word.version))
        return "INSERT OR REPLACE INTO list_versions VALUES (?, ?)", row
    key = (word.station, word.source, word.token)
    if word.status is None:
        return "DELETE FROM authorisations WHERE station = ? AND source = ? AND token = ?", key
    row = (*key, word.status, word.until, word.group)
    return "INSERT OR REPLACE INTO authorisations VALUES (?, ?, ?, ?, ?, ?)", row


def _entry_row(entry: OutboxEntry) -> Row:
    own = None if entry.transaction is None else str(entry.transaction)
    return (
        entry.number,
        entry.id,
        entry.version.value,
        entry.action,
        entry.payload,
        entry.kind.value,
        entry.taken,
        int(entry.sent),
        own,
        int(entry.answered),
    )


# -- rows to words ----------------------------------------------------------------------------------


def _queued(row: Row) -> EntryQueued:
    station, backend, number, id, version, action, payload, kind, taken, sent, own, answered = row
    entry = OutboxEntry(
        number=number,
        id=id,
        version=Version(version),
        action=action,
        payload=payload,
        kind=RecordKind(kind),
        taken=taken,
        sent=bool(sent),
        transaction=None if own is None else int(own),
        answered=bool(answered),
    )
    return EntryQueued(station, backend, entry)


def _told(row: Row) -> SnapshotDelivered:
    return msgspec.structs.replace(SnapshotDelivered(*row), version=Version(row[2]))


def _mapped(row: Row) -> TransactionMapped:
    station, backend, own, theirs = row
    return TransactionMapped(station, backend, int(own), None if theirs is None else int(theirs))


_LOADING: Mapping[str, Callable[[Row], Record]] = {
    "SELECT * FROM outbox WHERE station = ? ORDER BY backend, number": _queued,
    "SELECT * FROM answers WHERE station = ? ORDER BY rowid": lambda row: ResponseStored(*row),
    "SELECT * FROM transaction_ids WHERE station = ? ORDER BY rowid": _mapped,
    "SELECT * FROM told WHERE station = ? ORDER BY rowid": _told,
    "SELECT * FROM authorisations WHERE station = ? ORDER BY rowid": lambda row: TokenAuthorized(*row),
    "SELECT * FROM list_versions WHERE station = ?": lambda row: LocalListVersion(row[0], int(row[1])),
}
"""What is asked of each table for a station, and the words that its rows are."""
