"""What we knew of each EVSE: the limits that its station was left with, and what its car and it have shown.

So a restart need not take every one at its worst case, nor forget what a car has asked for.

A row is written before the limit that it tells of is sent, with the database's full care
(synchronous=FULL): after a crash the file may promise more current than a station takes, never less.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from controller.load_management.evse.charger_response import ResponseHabits
from controller.load_management.evse.departure_goal import GoalMemory
from controller.load_management.evse.limit_delivery import DeliveryMemory
from controller.model.observations import EvseRef
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
) STRICT;
CREATE TABLE IF NOT EXISTS knowledge (
    station TEXT NOT NULL,
    evse INTEGER NOT NULL,
    words TEXT NOT NULL,      -- JSON; times in s before the moment of `limits.saved`
    PRIMARY KEY (station, evse)
) STRICT
"""


class _Goal(msgspec.Struct, frozen=True):
    energy_wh: float
    leaves_in_s: float
    drawn_as: float
    current_a: float
    drawn_ago_s: float


class _Words(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a row of `knowledge` says."""

    written_ago_s: tuple[float, ...] = ()
    goal: _Goal | None = None
    habits: ResponseHabits = ResponseHabits()


_ALL = """
SELECT station, evse, floor, floor_a, held_a, until, saved, words
FROM limits LEFT JOIN knowledge USING (station, evse)
"""


_KEEPS = "what the stations are limited to: each is taken at its worst case until it has confirmed a limit"


class LimitStore:
    """The file of limits in the store's directory. Raises StoreFailed where it cannot be used."""

    def __init__(self, directory: Path) -> None:
        self._database = Database(directory / FILE, _SCHEMA, _KEEPS)

    def load(self, wall: datetime, now: float) -> dict[EvseRef, DeliveryMemory]:
        """What was saved; times on the monotonic clock, whose `now` (s) is `wall` (UTC) in the file.

        Where the wall clock stands before the time of saving it cannot be trusted: then all that was
        held is held for as long again as it was when it was saved.
        """
        memories: dict[EvseRef, DeliveryMemory] = {}
        for station, evse, floor, floor_a, held_a, until, saved, words in self._database.rows(_ALL):
            try:
                ends, began = datetime.fromisoformat(until), datetime.fromisoformat(saved)
                said = msgspec.json.decode(words or b"{}", type=_Words)
            except ValueError as error:
                raise self._database.failed(error) from error
            saved_at = now - max(0.0, (wall - began).total_seconds())
            memories[EvseRef(station, evse)] = DeliveryMemory(
                floor=bool(floor),
                floor_a=floor_a,
                held_a=held_a,
                until=saved_at + (ends - began).total_seconds(),
                written=tuple(saved_at - ago_s for ago_s in said.written_ago_s),
                goal=_goal(said.goal, saved_at),
                habits=said.habits,
            )
        return memories

    def save(self, memories: Mapping[EvseRef, DeliveryMemory], wall: datetime, now: float) -> None:
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
        words = [(*ref, _words(memory, now)) for ref, memory in memories.items()]
        self._database.write(
            ("INSERT OR REPLACE INTO limits VALUES (?, ?, ?, ?, ?, ?, ?)", rows),
            ("INSERT OR REPLACE INTO knowledge VALUES (?, ?, ?)", words),
        )

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _words(memory: DeliveryMemory, now: float) -> str:
    goal = memory.goal
    words = _Words(
        written_ago_s=tuple(now - at for at in memory.written),
        goal=None
        if goal is None
        else _Goal(
            energy_wh=goal.energy_wh,
            leaves_in_s=goal.leaves_at - now,
            drawn_as=goal.drawn_as,
            current_a=goal.current_a,
            drawn_ago_s=now - goal.drawn_at,
        ),
        habits=memory.habits,
    )
    return msgspec.json.encode(words).decode()


def _goal(said: _Goal | None, saved_at: float) -> GoalMemory | None:
    if said is None:
        return None
    return GoalMemory(
        energy_wh=said.energy_wh,
        leaves_at=saved_at + said.leaves_in_s,
        drawn_as=said.drawn_as,
        current_a=said.current_a,
        drawn_at=saved_at - said.drawn_ago_s,
    )


def _moment(wall: datetime, later_s: float) -> str:
    return (wall.astimezone(UTC) + timedelta(seconds=later_s)).isoformat()
