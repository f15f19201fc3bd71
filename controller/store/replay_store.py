"""The signed messages that have been seen: a restart makes none of them new again."""

from __future__ import annotations

import math
from pathlib import Path

from controller.signing.replay_cache import ReplayRecord, SeenText
from controller.store.database import Database

FILE = "replay.sqlite"

_SEEN = "CREATE TABLE IF NOT EXISTS seen (token BLOB NOT NULL PRIMARY KEY, made REAL NOT NULL) STRICT"
_BY_AGE = "CREATE INDEX IF NOT EXISTS by_age ON seen (made)"
_FORGOTTEN = """
CREATE TABLE IF NOT EXISTS forgotten (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    until REAL NOT NULL
) STRICT
"""


class ReplayStore:
    """The file of seen messages in the store's directory. Raises StoreFailed where it cannot be used."""

    def __init__(self, directory: Path) -> None:
        self._database = Database(directory / FILE, _SEEN)
        self._database.write((_BY_AGE, [()]), (_FORGOTTEN, [()]))

    def load(self) -> ReplayRecord:
        """All that is remembered."""
        seen = self._database.rows("SELECT token, made FROM seen")
        until = self._database.rows("SELECT until FROM forgotten")
        return ReplayRecord(tuple(SeenText(*row) for row in seen), until[0][0] if until else -math.inf)

    def save(self, remember: ReplayRecord) -> None:
        """Keep what is new and drop what is forgotten; durable when it returns."""
        until = remember.forgotten_until
        forget = (
            ("INSERT OR REPLACE INTO forgotten VALUES (1, ?)", [(until,)]),
            ("DELETE FROM seen WHERE made <= ?", [(until,)]),
        )
        self._database.write(
            *(forget if math.isfinite(until) else ()),
            ("INSERT INTO seen VALUES (?, ?)", [(seen.token, seen.made) for seen in remember.seen]),
        )

    def close(self) -> None:
        """Close the file."""
        self._database.close()
