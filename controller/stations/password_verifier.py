"""Verification of stations' passwords against slow hashes.

Hashes are computed in threads, a few at once, so that a storm of stations delays no open connection. A
header that was right is recognized again, until the controller ends, by a fast keyed hash.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets

import trio

from controller.config.password_files import HashedPassword, hash_password
from controller.stations.admission import Decision, PasswordUnverified, Rejection

VERIFY_TIMEOUT_S = 30.0
"""Time that a station may wait for its verification: stations give up after about that."""


class PasswordVerifier:
    """Verifications of all stations; one at a time per station, so that a guesser delays only that one."""

    def __init__(self, at_once: int | None = None) -> None:
        """Use `at_once` threads; by default one per processor, which they share with the connections."""
        self._threads = trio.CapacityLimiter(at_once or os.cpu_count() or 1)
        self._key = secrets.token_bytes(32)
        self._verified: dict[str, tuple[tuple[HashedPassword, ...], bytes]] = {}
        self._locks: dict[str, trio.Lock] = {}

    async def decide(self, unverified: PasswordUnverified) -> Decision:
        """Return the decision once the password is verified; a Rejection with 503 if that takes too long."""
        with trio.move_on_after(VERIFY_TIMEOUT_S):
            return unverified.decide(is_verified=await self.verify(unverified))
        return Rejection(
            503, "too many stations show their passwords at once; try again", unverified.station, 30.0
        )

    async def verify(self, unverified: PasswordUnverified) -> bool:
        """Verify a header against the hashes."""
        if self._is_known(unverified):
            return True
        lock = self._locks.setdefault(unverified.station, trio.Lock())
        try:
            async with lock:
                if self._is_known(unverified):
                    return True
                is_right = await trio.to_thread.run_sync(unverified.verify_password, limiter=self._threads)
        finally:
            if not lock.locked():  # else another task that waited has it now
                self._locks.pop(unverified.station, None)
        if is_right:
            self._verified[unverified.station] = (unverified.hashes, self._mark(unverified.authorization))
        return is_right

    async def make_hash(self, password: bytes) -> HashedPassword:
        """Compute the hash to store of a password."""
        salt = secrets.token_bytes(16)
        return await trio.to_thread.run_sync(hash_password, password, salt, limiter=self._threads)

    def _is_known(self, unverified: PasswordUnverified) -> bool:
        hashes, mark = self._verified.get(unverified.station, ((), b""))
        return hashes == unverified.hashes and hmac.compare_digest(mark, self._mark(unverified.authorization))

    def _mark(self, authorization: bytes) -> bytes:
        """Return a hash of a header that cannot be searched for without this process's key."""
        return hashlib.blake2b(authorization, key=self._key, digest_size=32).digest()
