"""Passwords of stations that the controller has none of: what their backends have accepted.

A station whose password is only passed through is verified by its backend. While the backend is away, only
a station that shows the password which the backend accepted last is served; a slow hash of it is kept.
"""

from __future__ import annotations

import logging
from typing import Protocol

from controller.config.password_files import HashedPassword, PasswordFileError, parse_password_file
from controller.model.journal import JournalError
from controller.stations.admission import Admission, PasswordUnverified, Rejection, parse_basic_authorization
from controller.stations.password_verifier import PasswordVerifier

log = logging.getLogger("controller.transport")


class HashJournal(Protocol):
    """Durable hash lines of one origin, by station."""

    def find_hash(self, station: str) -> str | None:
        """Return the hash line of a station's password; None if there is none."""

    def save_hash(self, station: str, line: str) -> None:
        """Store a hash line; durable when it returns. Raises JournalError."""


class CredentialMemory:
    """Hashes of one origin (accepted or rotated passwords) of all stations."""

    def __init__(self, journal: HashJournal) -> None:
        self._journal = journal
        self._verifier = PasswordVerifier()

    def find(self, station: str) -> HashedPassword | None:
        """Return the hash of a station's password; None if there is none."""
        line = self._journal.find_hash(station)
        if line is None:
            return None
        try:
            parsed = parse_password_file(line.encode())
        except PasswordFileError:
            return None
        return parsed if isinstance(parsed, HashedPassword) else None

    async def remember(self, station: str, password: bytes) -> None:
        """Store a hash of a password, unless the stored one is of it already."""
        line = (await self._verifier.make_hash(password)).line()
        try:
            self._journal.save_hash(station, line)
        except JournalError as failed:
            log.error("password hash not stored station=%s reason=%s", station, failed)

    async def remember_accepted(self, admission: Admission) -> None:
        """Store a hash of the password with which a backend has just accepted a station."""
        credentials = parse_basic_authorization(admission.authorization)
        if credentials is None or await self.verify(admission) is True:
            return
        await self.remember(admission.station, credentials[1])

    async def verify(self, admission: Admission) -> bool | None:
        """Verify what a station shows against the stored hash; None if there is no hash."""
        hashed = self.find(admission.station)
        if hashed is None:
            return None
        if admission.authorization is None:
            return False
        undecided = Rejection(401, "", admission.station)
        return await self._verifier.verify(
            PasswordUnverified(admission.station, admission.authorization, (hashed,), undecided)
        )
