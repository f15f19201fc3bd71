"""Which limits the stations were left with: so that a restart need not take every one at its worst case.

A row is written before the limit that it tells of is sent, with the database's full care
(synchronous=FULL): after a crash the file may promise more current than a station takes, never less.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from controller.ocpp.observations import EvseRef
from controller.site.delivery import Memory

FILE = "limits.sqlite"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS limits (
    station TEXT NOT NULL,
    evse INTEGER NOT NULL,
    floor INTEGER NOT NULL,   -- 1: its permanent limit is confirmed
    floor_a REAL NOT NULL,    -- A per phase that it falls back to
    held_a REAL NOT NULL,     -- A per phase that it may be taking until `until`
    until TEXT NOT NULL,      -- UTC, ISO 8601
    saved TEXT NOT NULL,      -- UTC, ISO 8601
    PRIMARY KEY (station, evse)
) STRICT
"""


class StoreFailed(Exception):
    """The directory or the file cannot be used. Its text names it and the mend."""


class LimitStore:
    """The file of limits in the store's directory. Raises StoreFailed where it cannot be used."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self._path, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.execute(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise StoreFailed(self._complaint(error)) from error

    def load(self, wall: datetime, now: float) -> dict[EvseRef, Memory]:
        """What was saved; times on the monotonic clock, whose `now` (s) is `wall` (UTC) in the file.

        Where the wall clock stands before the time of saving it cannot be trusted: then all that was
        held is held for as long again as it was when it was saved.
        """
        memories: dict[EvseRef, Memory] = {}
        try:
            rows = self._database.execute(
                "SELECT station, evse, floor, floor_a, held_a, until, saved FROM limits"
            )
            for station, evse, floor, floor_a, held_a, until, saved in rows:
                ends, began = datetime.fromisoformat(until), datetime.fromisoformat(saved)
                left = ends - max(wall, began) if wall >= began else ends - began
                memories[EvseRef(station, evse)] = Memory(
                    floor=bool(floor), floor_a=floor_a, held_a=held_a, until=now + left.total_seconds()
                )
        except (sqlite3.Error, ValueError) as error:
            raise StoreFailed(self._complaint(error)) from error
        return memories

    def save(self, memories: Mapping[EvseRef, Memory], wall: datetime, now: float) -> None:
        """Keep these, in one transaction; durable when it returns."""
        rows = [
            (
                *ref,
                memory.floor,
                memory.floor_a,
                memory.held_a,
                _moment(wall, memory.until - now),
                _moment(wall, 0),
            )
            for ref, memory in memories.items()
        ]
        try:
            self._write(rows)
        except sqlite3.Error as error:
            raise StoreFailed(self._complaint(error)) from error

    def _write(self, rows: Iterable[tuple[object, ...]]) -> None:
        with self._database:
            self._database.execute("BEGIN")
            self._database.executemany("INSERT OR REPLACE INTO limits VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _complaint(self, error: Exception) -> str:
        return (
            f"store.directory: {self._path} cannot be used: {error}; "
            "let the controller's user write there, or move a damaged file away"
        )


def _moment(wall: datetime, later_s: float) -> str:
    return (wall.astimezone(UTC) + timedelta(seconds=later_s)).isoformat()
