"""The journal in one SQLite file, each commit flushed to the disk (`synchronous=FULL`).

A damaged file is never written over: it is moved aside, loudly, and a new one is begun. A file that is
removed or replaced while it is open is written anew from the open database.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path

from controller.store.state_journal import (
    Change,
    Delete,
    DeleteBelow,
    JournalEntry,
    KeepLast,
    Put,
    StaleTokenError,
    StoreError,
)
from drivers.coded_text import coded

log = logging.getLogger("controller.store")

FILE = "state.sqlite"

MIGRATIONS = (
    """
    CREATE TABLE entries (
        place INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        key TEXT NOT NULL,       -- JSON array
        value BLOB NOT NULL,     -- JSON
        UNIQUE (kind, key)
    ) STRICT;
    CREATE TABLE writers (token INTEGER NOT NULL) STRICT;
    INSERT INTO writers VALUES (0);
    """,
)
"""SQL that leads from each schema version to the next; the version is the file's `user_version`."""

READABLE_FROM: Mapping[int, int] = {}
"""By schema version the oldest one whose controller can use the file; without an entry the version itself.

It is written into the file (`application_id`), where the older controller reads it: a package is taken back
by one release without a change of the file.
"""

SCHEMA_VERSION = len(MIGRATIONS)

MOST_ASIDE = 3
"""Files moved aside for one reason that are kept: a worn disk damages one at each start."""
MOST_WAL_BYTES = 16 << 20
"""Size to which the write-ahead log is cut after a checkpoint; a long reader lets it grow beyond."""

WAIT_S = 2.0
"""Time that a commit waits for another process that writes to the same file."""

_SIDE_FILES = ("", "-wal", "-shm")
"""Suffixes of the files that make up one database."""

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_LAST = "\U0010ffff"
"""Sorts behind every character of a key."""


class DamagedFileError(StoreError):
    """The content of a file is not a sound database."""


class SqliteJournal:
    """The journal in the file `path`, which is created if it is missing and readable by its owner alone.

    `migrates`: a file of an earlier version is converted. Only the controller does that when it starts: a
    subcommand of a new version runs also beside the controller of the version before, as while a package is
    upgraded. Raises DamagedFileError and StoreError.
    """

    def __init__(self, path: Path, *, migrates: bool = False) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._read_lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = open_database(path)
            self._migrate(convert=migrates)
            self._reader = _open_reader(path)
        except (OSError, sqlite3.Error) as error:
            raise unusable(path, error) from error
        self._inode = path.stat().st_ino

    @property
    def token(self) -> int:
        """The highest token of any commit; 0 before the first."""
        with self._lock, self._errors():
            (token,) = self._connection.execute("SELECT token FROM writers").fetchone()
        return int(token)

    def commit(self, changes: Sequence[Change], token: int) -> None:
        """Make all changes durable, or none. Raises StaleTokenError for a token below the highest."""
        with self._lock, self._errors():
            self._restore_file()
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                self._require_token(token)
                for change in changes:
                    self._apply(change)

    def load(self, kind: str, *prefixes: str) -> list[JournalEntry]:
        """Return the entries whose keys begin with one of `prefixes`, in the order of their last Put.

        Without a prefix, all entries of the kind.
        """
        ranges = [(prefix, prefix + _LAST) for prefix in prefixes or ("",)]
        within = " OR ".join(["key >= ? AND key < ?"] * len(ranges))
        query = f"SELECT place, kind, key, value FROM entries WHERE kind = ? AND ({within}) ORDER BY place"
        return self._entries(query, (kind, *chain.from_iterable(ranges)))

    def follow(self, kind: str, after: int) -> list[JournalEntry]:
        """Return the entries of a kind that anybody has put since `place` was `after`."""
        query = "SELECT place, kind, key, value FROM entries WHERE kind = ? AND place > ? ORDER BY place"
        return self._entries(query, (kind, after))

    def close(self) -> None:
        """Close the file."""
        with self._lock, self._read_lock:
            self._reader.close()
            self._connection.close()

    def _entries(self, query: str, parameters: tuple[object, ...]) -> list[JournalEntry]:
        # By a connection of its own: a commit holds the other one until the disk has it.
        with self._read_lock, self._errors():
            rows = self._reader.execute(query, parameters).fetchall()
        return [JournalEntry(*row) for row in rows]

    def _require_token(self, token: int) -> None:
        (seen,) = self._connection.execute("SELECT token FROM writers").fetchone()
        if token < seen:
            raise StaleTokenError(
                f"store.directory: another controller writes to {self._path}; stop one of the two, "
                "and start this one again"
            )
        if token > seen:
            self._connection.execute("UPDATE writers SET token = ?", (token,))

    def _apply(self, change: Change) -> None:
        match change:
            case Put(kind, key, value):
                self._connection.execute(
                    "INSERT OR REPLACE INTO entries (kind, key, value) VALUES (?, ?, ?)", (kind, key, value)
                )
            case Delete(kind, key):
                self._connection.execute("DELETE FROM entries WHERE kind = ? AND key = ?", (kind, key))
            case DeleteBelow(kind, key):
                self._connection.execute("DELETE FROM entries WHERE kind = ? AND key < ?", (kind, key))
            case KeepLast(kind, count):
                first_kept = "SELECT key FROM entries WHERE kind = ? ORDER BY key DESC LIMIT 1 OFFSET ?"
                self._connection.execute(
                    f"DELETE FROM entries WHERE kind = ? AND key < ({first_kept})", (kind, kind, count - 1)
                )

    def _migrate(self, *, convert: bool) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        (readable_from,) = self._connection.execute("PRAGMA application_id").fetchone()
        if version > len(MIGRATIONS) >= readable_from > 0:
            log.info("state of a newer version in use file=%s version=%d", self._path, version)
            return
        if version > len(MIGRATIONS):
            self._connection.close()
            raise StoreError(
                f"store.directory: {self._path} has schema version {version}, and this controller reads up "
                f"to {len(MIGRATIONS)}; install the newer version again"
            )
        if 0 < version < len(MIGRATIONS) and not convert:  # 0: a new file
            self._connection.close()
            raise StoreError(
                f"store.directory: {self._path} is of an earlier version; restart the controller, which "
                "converts it"
            )
        for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
            readable_from = READABLE_FROM.get(number, number)
            self._connection.executescript(
                f"BEGIN; {script} PRAGMA user_version = {number}; "
                f"PRAGMA application_id = {readable_from}; COMMIT;"
            )

    def _restore_file(self) -> None:
        """Copy the open database to its path if another file, or none, is there now.

        SQLite keeps working on a removed file: all that is committed there is lost with the process.
        """
        try:
            if self._path.stat().st_ino == self._inode:
                return
        except FileNotFoundError:
            pass
        log.error(
            "store file removed or replaced while in use path=%s: it is written anew from the open database",
            self._path,
        )
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            move_aside(self._path, "replaced")
        for side in _SIDE_FILES:
            Path(f"{self._path}{side}").unlink(missing_ok=True)
        fresh = open_database(self._path)
        try:
            self._connection.backup(fresh)
            reader = _open_reader(self._path)
        except sqlite3.Error:
            fresh.close()
            self._path.unlink(missing_ok=True)
            raise
        self._connection.close()
        self._connection, self._inode = fresh, self._path.stat().st_ino
        with self._read_lock:
            self._reader.close()
            self._reader = reader

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise unusable(self._path, error) from error


def open_database(path: Path) -> sqlite3.Connection:
    """Open a database for its owner alone. Raises DamagedFileError, OSError, sqlite3.Error."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    path.chmod(0o600)  # SQLite gives its side files the same
    connection = _connect(path)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA journal_size_limit={MOST_WAL_BYTES}")
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        connection.close()
        if error.sqlite_errorcode & 0xFF in _DAMAGED:
            raise DamagedFileError(str(error)) from error
        raise
    if found != "ok":
        connection.close()
        raise DamagedFileError(found)
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=WAIT_S)
    connection.text_factory = _decode_text
    return connection


def _open_reader(path: Path) -> sqlite3.Connection:
    """Open a sound database to read from it. SQLite opens the side files with the first query."""
    reader = _connect(path)
    reader.execute("SELECT token FROM writers").fetchone()
    return reader


def state_files(directory: Path) -> list[Path]:
    """Return the files of the database in a directory, whether they are there or not."""
    return [directory / f"{FILE}{side}" for side in _SIDE_FILES]


def move_aside(path: Path, why: str) -> Path:
    """Rename a database and its side files to `<name>.<why>-<time>`; return the new path.

    Of those moved aside before, the newest remain, MOST_ASIDE with this one.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    names = (f"{path.name}.{why}-{stamp}{'' if n == 0 else f'-{n}'}" for n in count())
    aside = next(place for name in names if not (place := path.with_name(name)).exists())
    for side in _SIDE_FILES:
        if (part := Path(f"{path}{side}")).exists():
            part.rename(f"{aside}{side}")
    found = sorted(each for each in path.parent.glob(f"{path.name}.{why}-*Z*") if not _is_side_file(each))
    for old in [each for each in found if each != aside][: 1 - MOST_ASIDE]:
        for side in _SIDE_FILES:
            Path(f"{old}{side}").unlink(missing_ok=True)
    return aside


def _is_side_file(path: Path) -> bool:
    return path.name.endswith(_SIDE_FILES[1:])


def unusable(path: Path, error: Exception) -> StoreError:
    """Return the error for a file that cannot be read or written."""
    return StoreError(
        coded(
            "store.directory: {path} cannot be used: {reason}; let the controller's user write there, make "
            "room on the disk, or move a damaged file away",
            path=path,
            reason=error,
        )
    )


def _decode_text(text: bytes) -> str:
    """Decode a text of the database; bytes that are not UTF-8 show as escapes and match no key."""
    return text.decode(errors="backslashreplace")
