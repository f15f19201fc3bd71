"""Which limits the stations were left with: so that a restart need not take every one at its worst case.

A row is written before the limit that it tells of is sent, with the database's full care
(synchronous=FULL): after a crash the file may promise more current than a station takes, never less.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from controller.ocpp.observations import EvseRef
from controller.site.delivery import Memory
from controller.store.database import Database

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


class LimitStore:
    """The file of limits in the store's directory. Raises StoreFailed where it cannot be used."""

    def __init__(self, directory: Path) -> None:
        self._database = Database(directory / FILE, _SCHEMA)

    def load(self, wall: datetime, now: float) -> dict[EvseRef, Memory]:
        """What was saved; times on the monotonic clock, whose `now` (s) is `wall` (UTC) in the file.

        Where the wall clock stands before the time of saving it cannot be trusted: then all that was
        held is held for as long again as it was when it was saved.
        """
        memories: dict[EvseRef, Memory] = {}
        for station, evse, floor, floor_a, held_a, until, saved in self._database.rows(
            "SELECT station, evse, floor, floor_a, held_a, until, saved FROM limits"
        ):
            try:
                ends, began = datetime.fromisoformat(until), datetime.fromisoformat(saved)
            except ValueError as error:
                raise self._database.failed(error) from error
            left = ends - max(wall, began) if wall >= began else ends - began
            memories[EvseRef(station, evse)] = Memory(
                floor=bool(floor), floor_a=floor_a, held_a=held_a, until=now + left.total_seconds()
            )
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
        self._database.write(("INSERT OR REPLACE INTO limits VALUES (?, ?, ?, ?, ?, ?, ?)", rows))

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _moment(wall: datetime, later_s: float) -> str:
    return (wall.astimezone(UTC) + timedelta(seconds=later_s)).isoformat()
