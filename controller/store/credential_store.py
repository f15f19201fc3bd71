"""Hashes of stations' passwords that their backends have accepted or set through the controller."""

from __future__ import annotations

import enum
from pathlib import Path

from controller.store.database import Database

FILE = "credentials.sqlite"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS credentials (
    station TEXT NOT NULL,
    origin TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (station, origin)
) STRICT
"""

_KEEPS = "hashes of passwords that backends accepted: stations are served again once their backend answers"


class CredentialOrigin(enum.StrEnum):
    """How a password became known: its backend accepted a link with it, or set it in the station."""

    ACCEPTED = "accepted"
    ROTATED = "rotated"


class CredentialStore:
    """File of hashes in the store's directory. Raises StoreError where it cannot be used."""

    def __init__(self, directory: Path) -> None:
        self._database = Database(directory / FILE, _SCHEMA, _KEEPS)

    def of(self, origin: CredentialOrigin) -> OriginHashes:
        """Return the hashes of one origin."""
        return OriginHashes(self._database, origin)

    def close(self) -> None:
        """Close the file."""
        self._database.close()


class OriginHashes:
    """Hash lines of one origin, by station; in memory as well, since each connection looks one up."""

    def __init__(self, database: Database, origin: CredentialOrigin) -> None:
        self._database = database
        self._origin = origin
        rows = database.rows("SELECT station, hash FROM credentials WHERE origin = ?", (origin.value,))
        self._lines: dict[str, str] = dict(rows)

    def find_hash(self, station: str) -> str | None:
        """Return the hash line of a station's password; None if there is none."""
        return self._lines.get(station)

    def save_hash(self, station: str, line: str) -> None:
        """Store a hash line; durable when it returns. Raises StoreError."""
        row = (station, self._origin.value, line)
        self._database.write(("INSERT OR REPLACE INTO credentials VALUES (?, ?, ?)", [row]))
        self._lines[station] = line
