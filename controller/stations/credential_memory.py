"""Passwords of stations that the controller has none of: what their backends have accepted.

A station whose password is only passed through is verified by its backend. While the backend is away, only
a station that shows the password which the backend accepted last is served; a slow hash of it is kept.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from typing import Protocol

from controller.config.password_files import (
    HashedPassword,
    PasswordFileError,
    hash_password,
    parse_password_file,
)
from controller.model.journal import JournalError
from controller.ocpp.password_rotation import read_rotated_passwords
from controller.stations.admission import Admission, PasswordUnverified, Rejection, parse_basic_authorization
from controller.stations.password_verifier import PasswordVerifier

log = logging.getLogger("controller.transport")


PENDING_LOG_N = 4
"""Cost of a hash that is never stored: 0.1 ms."""


class HashJournal(Protocol):
    """Durable hash lines of one origin, by station."""

    def find_hash(self, station: str) -> str | None:
        """Return the hash line of a station's password; None if there is none."""

    async def save_hash(self, station: str, line: str) -> None:
        """Store a hash line; durable when it returns. Raises JournalError."""


class CredentialMemory:
    """Hashes of one origin (accepted or rotated passwords) of all stations."""

    def __init__(self, journal: HashJournal) -> None:
        self._journal = journal
        self._verifier = PasswordVerifier()
        self._pending: dict[str, tuple[HashedPassword, ...]] = {}

    def find(self, station: str) -> tuple[HashedPassword, ...]:
        """Return the hashes of a station's password; several where it may be shown in several ways."""
        found = list(self._pending.get(station, ()))
        for line in (self._journal.find_hash(station) or "").splitlines():
            try:
                parsed = parse_password_file(line.encode())
            except PasswordFileError as failed:
                log.error("stored password hash unusable station=%s reason=%s", station, failed)
                continue
            if isinstance(parsed, HashedPassword):
                found.append(parsed)
        return tuple(found)

    async def record(self, station: str, passwords: Sequence[bytes]) -> None:
        """Store hashes of a station's password, in place of those that were stored before."""
        # The station may show it before its slow hash is there: until then a fast one is in memory alone.
        self._pending[station] = tuple(
            hash_password(password, secrets.token_bytes(16), PENDING_LOG_N) for password in passwords
        )
        lines = [(await self._verifier.make_hash(password)).line() for password in passwords]
        try:
            await self._journal.save_hash(station, "\n".join(lines))
        except JournalError as failed:
            log.error("password hash not stored station=%s reason=%s", station, failed)
        else:
            self._pending.pop(station, None)

    async def record_accepted(self, admission: Admission) -> None:
        """Store a hash of the password with which a backend has just accepted a station."""
        credentials = parse_basic_authorization(admission.authorization)
        if credentials is None or await self.verify(admission) is True:
            return
        await self.record(admission.station, [credentials[1]])

    async def record_rotated(self, station: str, action: str, payload: bytes, result: bytes) -> None:
        """Store hashes of the password that an accepted command has set in a station, if it has."""
        passwords = read_rotated_passwords(action, payload, result)
        if passwords:
            await self.record(station, passwords)
            log.info("password rotated by backend station=%s", station)

    async def verify(self, admission: Admission) -> bool | None:
        """Verify what a station shows against the stored hashes; None if there is none."""
        hashes = self.find(admission.station)
        if not hashes:
            return None
        if admission.authorization is None:
            return False
        undecided = Rejection(401, "", admission.station)
        return await self._verifier.verify(
            PasswordUnverified(admission.station, admission.authorization, hashes, undecided)
        )
