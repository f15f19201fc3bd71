"""Hashes of stations' passwords that their backends have accepted or set through the controller."""

from __future__ import annotations

import enum

from controller.store.credential_records import CredentialStored
from controller.store.state_store import StateStore


class CredentialOrigin(enum.StrEnum):
    """Origin of a password: its backend accepted a link with it, or set it in the station."""

    ACCEPTED = "accepted"
    ROTATED = "rotated"


class OriginHashes:
    """Hash lines of one origin, by station; in memory as well, since each connection looks one up."""

    def __init__(self, store: StateStore, origin: CredentialOrigin) -> None:
        self._store = store
        self._origin = origin
        self._lines = {
            each.station: each.hash for each in store.load(CredentialStored) if each.origin == origin.value
        }

    def find_hash(self, station: str) -> str | None:
        """Return the hash line of a station's password; None if there is none."""
        return self._lines.get(station)

    async def save_hash(self, station: str, line: str) -> None:
        """Store a hash line; durable when it returns. Raises StoreError."""
        await self._store.persist([CredentialStored(station, self._origin.value, line)])
        self._lines[station] = line
