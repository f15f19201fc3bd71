"""Identity of the EEBUS node, its trusted partners, and failsafe values of production."""

from __future__ import annotations

from pathlib import Path

from controller.store.database import Database

FILE = "eebus.sqlite"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS identity (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    key BLOB NOT NULL,          -- PEM
    certificate BLOB NOT NULL   -- PEM
) STRICT;
CREATE TABLE IF NOT EXISTS partners (
    ski TEXT NOT NULL PRIMARY KEY,
    ship_id TEXT NOT NULL       -- empty: not known yet
) STRICT;
CREATE TABLE IF NOT EXISTS production_failsafe (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    watts REAL NOT NULL,
    duration_s REAL NOT NULL
) STRICT
"""


class EebusStore:
    """File of the EEBUS node in the store's directory. Raises StoreError where it cannot be used.

    A damaged file is not replaced: with a new key, all partners would have to be paired again.
    """

    def __init__(self, directory: Path) -> None:
        self._database = Database(directory / FILE, _SCHEMA)

    def load_identity(self) -> tuple[bytes, bytes] | None:
        """Return key and certificate (PEM); None before the first start."""
        rows = self._database.rows("SELECT key, certificate FROM identity")
        return (rows[0][0], rows[0][1]) if rows else None

    def save_identity(self, key: bytes, certificate: bytes) -> None:
        """Store key and certificate (PEM)."""
        self._database.write(("INSERT OR REPLACE INTO identity VALUES (1, ?, ?)", [(key, certificate)]))

    def load_partners(self) -> dict[str, str]:
        """Return the SHIP id of each trusted SKI; empty where it is not known yet."""
        return dict(self._database.rows("SELECT ski, ship_id FROM partners ORDER BY ski"))

    def save_partner(self, ski: str, ship_id: str) -> None:
        """Store a trusted partner."""
        self._database.write(("INSERT OR REPLACE INTO partners VALUES (?, ?)", [(ski, ship_id)]))

    def remove_partner(self, ski: str) -> None:
        """Remove a partner."""
        self._database.write(("DELETE FROM partners WHERE ski = ?", [(ski,)]))

    def load_production_failsafe(self) -> tuple[float, float] | None:
        """Return failsafe value (W) and duration (s) of production; None: never written."""
        rows = self._database.rows("SELECT watts, duration_s FROM production_failsafe")
        return (rows[0][0], rows[0][1]) if rows else None

    def save_production_failsafe(self, watts: float, duration_s: float) -> None:
        """Store failsafe value (W) and duration (s) of production."""
        row = (watts, duration_s)
        self._database.write(("INSERT OR REPLACE INTO production_failsafe VALUES (1, ?, ?)", [row]))

    def close(self) -> None:
        """Close the file."""
        self._database.close()
