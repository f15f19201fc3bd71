"""A small SQLite file in the store's directory, written with the database's full care (synchronous=FULL).

A file that is damaged is never written over and never begun anew in silence. Where its keeper has said what
can be done without (`keeps`), it is moved aside, loudly, and the controller goes on with an empty one: the
site is better served so than not at all. Else it cannot be used.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from controller.model.journal import JournalError

Row = tuple[Any, ...]

log = logging.getLogger("controller.store")

_SIDES = ("", "-wal", "-shm")
"""What belongs to a database: itself, what it has not taken over yet, and the index of that."""

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class StoreError(JournalError):
    """The directory or the file cannot be used. Its text names it and the mend."""


class _DamagedError(Exception):
    """What is in the file is no sound database."""


class Database:
    """One file, with `schema` made sure of. Raises StoreFailed where it cannot be used.

    `keeps` says in words what is lost with a damaged file; with it, such a file is moved aside. Only its
    owner may read the file. `rows` and `write` may be called from several threads.
    """

    def __init__(self, path: Path, schema: str, keeps: str | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self.moved_aside: Path | None = None
        """Where a damaged file has gone that stood here when we began."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = self._opened(schema, keeps)
        except (OSError, sqlite3.Error) as error:
            raise self.failed(error) from error

    def rows(self, query: str, parameters: Row = ()) -> list[Row]:
        """All rows of a query."""
        try:
            with self._lock:
                return self._connection.execute(query, parameters).fetchall()
        except sqlite3.Error as error:
            raise self.failed(error) from error

    def write(self, *statements: tuple[str, Iterable[Row]]) -> None:
        """Do each statement for its rows, all in one transaction; durable when it returns."""
        try:
            with self._lock, self._connection:
                self._connection.execute("BEGIN")
                for statement, rows in statements:
                    self._connection.executemany(statement, rows)
        except sqlite3.Error as error:
            raise self.failed(error) from error

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def failed(self, error: Exception) -> StoreError:
        """What to raise for an error."""
        return StoreError(
            f"store.directory: {self._path} cannot be used: {error}; "
            "let the controller's user write there, or move a damaged file away"
        )

    def _opened(self, schema: str, keeps: str | None) -> sqlite3.Connection:
        try:
            return _open(self._path, schema)
        except _DamagedError as damage:
            if keeps is None:
                raise self.failed(damage) from damage
            self.moved_aside = _move_aside(self._path)
            log.error(
                "%s is damaged (%s): it is now %s, and a new one is begun. Lost with it: %s. If there is a "
                "backup, stop the controller and put it in place; look for the cause (a worn out card, a "
                "full disk, power lost)",
                self._path,
                damage,
                self.moved_aside.name,
                keeps,
            )
        try:
            return _open(self._path, schema)
        except _DamagedError as damage:  # the disk itself does not give back what it was given
            raise self.failed(damage) from damage


def _open(path: Path, schema: str) -> sqlite3.Connection:
    """Raises _Damaged, OSError, sqlite3.Error."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    path.chmod(0o600)  # SQLite gives its other files the same
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise _DamagedError(found)
        connection.executescript(schema)
    except sqlite3.DatabaseError as error:
        connection.close()
        if error.sqlite_errorcode & 0xFF in _DAMAGED:
            raise _DamagedError(str(error)) from error
        raise
    except _DamagedError:
        connection.close()
        raise
    return connection


def _move_aside(path: Path) -> Path:
    """Rename the file and what belongs to it; the file's new name."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    names = (f"{path.name}.corrupt-{stamp}{'' if n == 0 else f'-{n}'}" for n in count())
    aside = next(place for name in names if not (place := path.with_name(name)).exists())
    for side in _SIDES:
        if (part := Path(f"{path}{side}")).exists():
            part.rename(f"{aside}{side}")
    return aside
