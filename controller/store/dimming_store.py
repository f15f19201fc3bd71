"""What the dimming desk must know after a restart: which limits hold, and which commands were obeyed."""

from __future__ import annotations

from pathlib import Path

import msgspec

from controller.dimming.events import DimmingMemory
from controller.store.database import Database

FILE = "dimming.sqlite"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS desk (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    memory BLOB NOT NULL   -- JSON
) STRICT
"""


class DimmingStore:
    """The file of the desk in the store's directory. Raises StoreFailed where it cannot be used."""

    def __init__(self, directory: Path) -> None:
        self._database = Database(directory / FILE, _SCHEMA)

    def load(self) -> DimmingMemory | None:
        """What was saved last; None before anything was. Raises StoreFailed for what cannot be read.

        Nothing is assumed then: a desk that has forgotten would obey old commands again.
        """
        rows = self._database.rows("SELECT memory FROM desk")
        if not rows:
            return None
        try:
            return msgspec.json.decode(rows[0][0], type=DimmingMemory)
        except msgspec.DecodeError as error:
            raise self._database.failed(error) from error

    def save(self, memory: DimmingMemory) -> None:
        """Keep this; durable when it returns."""
        self._database.write(("INSERT OR REPLACE INTO desk VALUES (1, ?)", [(msgspec.json.encode(memory),)]))

    def close(self) -> None:
        """Close the file."""
        self._database.close()
