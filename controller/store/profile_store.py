"""The charging profiles that backends have set and that are kept here: a restart does not lose them.

A station would not lose them either, and its backend has been told that they are accepted. They are
written before that answer is sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from controller.store.database import Database

FILE = "profiles.sqlite"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS profiles (
    station TEXT NOT NULL,
    version TEXT NOT NULL,    -- of OCPP, in which the profile is written
    evse INTEGER NOT NULL,    -- 0: the whole station
    profile BLOB NOT NULL     -- JSON, as the backend sent it
) STRICT
"""


_KEEPS = "charging profiles that backends have set: they hold no longer, and must be set again"


class AbsorbedProfile(msgspec.Struct, frozen=True):
    """One profile of one station, as its backend sent it."""

    station: str
    version: str
    evse: int
    profile: bytes


class ProfileStore:
    """The file of kept profiles in the store's directory. Raises StoreFailed where it cannot be used."""

    def __init__(self, directory: Path) -> None:
        self._database = Database(directory / FILE, _SCHEMA, _KEEPS)

    def load(self) -> list[AbsorbedProfile]:
        """All that was saved."""
        rows = self._database.rows("SELECT station, version, evse, profile FROM profiles ORDER BY rowid")
        return [AbsorbedProfile(*row) for row in rows]

    def save(self, station: str, profiles: Iterable[AbsorbedProfile]) -> None:
        """Keep these of a station, and no others of it; durable when it returns."""
        rows = [(each.station, each.version, each.evse, each.profile) for each in profiles]
        self._database.write(
            ("DELETE FROM profiles WHERE station = ?", [(station,)]),
            ("INSERT INTO profiles VALUES (?, ?, ?, ?)", rows),
        )

    def close(self) -> None:
        """Close the file."""
        self._database.close()
