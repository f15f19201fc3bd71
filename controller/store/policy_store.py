"""The policies and roles that were received over the wire, in the order in which they came."""

from __future__ import annotations

from pathlib import Path

from controller.signing.policy_messages import ReceivedPolicy
from controller.store.database import Database

FILE = "policies.sqlite"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS policies (
    number INTEGER NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    content BLOB NOT NULL,
    UNIQUE (kind, id)
) STRICT
"""


class PolicyStore:
    """The file of policies in the store's directory. Raises StoreFailed where it cannot be used."""

    def __init__(self, directory: Path) -> None:
        self._database = Database(directory / FILE, _SCHEMA)

    def load(self) -> list[ReceivedPolicy]:
        """All that is in force."""
        return [
            ReceivedPolicy(*row)
            for row in self._database.rows("SELECT kind, id, content FROM policies ORDER BY number")
        ]

    def save(self, changed: ReceivedPolicy) -> None:
        """Keep or delete one; durable when it returns."""
        row = (changed.kind, changed.id)
        forget = ("DELETE FROM policies WHERE kind = ? AND id = ?", [row])
        if changed.content is None:
            self._database.write(forget)
        else:
            keep = ("INSERT INTO policies (kind, id, content) VALUES (?, ?, ?)", [(*row, changed.content)])
            self._database.write(forget, keep)

    def close(self) -> None:
        """Close the file."""
        self._database.close()
