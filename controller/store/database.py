"""A small SQLite file in the store's directory, written with the database's full care (synchronous=FULL)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Row = tuple[Any, ...]


class StoreFailed(Exception):
    """The directory or the file cannot be used. Its text names it and the mend."""


class Database:
    """One file, with `schema` made sure of. Raises StoreFailed where it cannot be used."""

    def __init__(self, path: Path, schema: str) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.execute(schema)
        except (OSError, sqlite3.Error) as error:
            raise self.failed(error) from error

    def rows(self, query: str) -> list[Row]:
        """All rows of a query."""
        try:
            return self._connection.execute(query).fetchall()
        except sqlite3.Error as error:
            raise self.failed(error) from error

    def write(self, *statements: tuple[str, Iterable[Row]]) -> None:
        """Do each statement for its rows, all in one transaction; durable when it returns."""
        try:
            with self._connection:
                self._connection.execute("BEGIN")
                for statement, rows in statements:
                    self._connection.executemany(statement, rows)
        except sqlite3.Error as error:
            raise self.failed(error) from error

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def failed(self, error: Exception) -> StoreFailed:
        """What to raise for an error."""
        return StoreFailed(
            f"store.directory: {self._path} cannot be used: {error}; "
            "let the controller's user write there, or move a damaged file away"
        )
