"""Whether a station's password is right, where only its hash is kept: that costs time, on purpose.

Hashes are computed in a thread, a few at once, so that a storm of stations holds up no link that is there;
and a header that was right is known again, until the controller ends, by a hash that costs nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets

import trio

from controller.config.password_files import HashedPassword
from controller.stations.admission import PasswordUnverified, Rejection, Verdict

PATIENCE_S = 30.0
"""How long a station may wait for its check: it gives up by itself after about that."""


class PasswordVerifier:
    """The checks of all stations. A station has one at a time: whoever guesses holds up itself."""

    def __init__(self, at_once: int | None = None) -> None:
        """`at_once`: threads; default as many as there are processors, which they share with the links."""
        self._threads = trio.CapacityLimiter(at_once or os.cpu_count() or 1)
        self._key = secrets.token_bytes(32)
        self._right: dict[str, tuple[HashedPassword, bytes]] = {}
        self._checking: dict[str, trio.Lock] = {}

    async def settle(self, unproven: PasswordUnverified) -> Verdict:
        """The verdict once its password is checked; Refused with 503 where that takes too long."""
        with trio.move_on_after(PATIENCE_S):
            return unproven.settled(right=await self._is_right(unproven))
        return Rejection(503, "too many stations show their passwords at once; try again", unproven.station)

    async def _is_right(self, unproven: PasswordUnverified) -> bool:
        if self._knows(unproven):
            return True
        lock = self._checking.setdefault(unproven.station, trio.Lock())
        try:
            async with lock:
                if self._knows(unproven):
                    return True
                right = await trio.to_thread.run_sync(unproven.is_right, limiter=self._threads)
        finally:
            if not lock.locked():  # else it was handed to one who waited
                self._checking.pop(unproven.station, None)
        if right:
            self._right[unproven.station] = (unproven.hashed, self._mark(unproven))
        return right

    def _knows(self, unproven: PasswordUnverified) -> bool:
        known = self._right.get(unproven.station)
        if known is None:
            return False
        hashed, mark = known
        return hashed == unproven.hashed and hmac.compare_digest(mark, self._mark(unproven))

    def _mark(self, unproven: PasswordUnverified) -> bytes:
        """What stays of a header: nothing that leads back to it without this process's own key."""
        return hashlib.blake2b(unproven.authorization, key=self._key, digest_size=32).digest()
