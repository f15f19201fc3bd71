"""Replay protection: a signed text is accepted once, within a window around its own time.

A text is stored as long as it could be accepted again: until its time has left the window. After that
nothing as old as the newest dropped text is accepted. So a clock that is set back, or forward and back,
does not open the window; a message of the meantime may be rejected, and its sender gets an error.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Iterable

from controller.model.journal import Record
from controller.signing.payload_signatures import KeyId

CAPACITY = 100_000
"""About 20 MB. If it is full, messages are rejected: forgetting would be worse."""


class SeenText(Record, frozen=True):
    """A signed text. `token` stands for both; `made`: its time (POSIX s)."""

    token: bytes
    made: float


class ReplayRecord(Record, frozen=True):
    """Texts to store before the message is forwarded; all made until `forgotten_until` are dropped."""

    seen: tuple[SeenText, ...]
    forgotten_until: float


class ReplayCache:
    """Texts that were seen. `window_s`: how far the time of a message may be from now.

    It may be changed: a wider window accepts nothing that is as old as what was dropped.
    """

    def __init__(self, window_s: float, capacity: int = CAPACITY) -> None:
        self.window_s = window_s
        self._capacity = capacity
        self._tokens: set[bytes] = set()
        self._by_age: list[tuple[float, bytes]] = []
        self._forgotten_until = -math.inf

    def __len__(self) -> int:
        return len(self._tokens)

    def load(self, record: ReplayRecord) -> None:
        """Load what was on disk at the start."""
        self._tokens = {seen.token for seen in record.seen}
        self._by_age = [(seen.made, seen.token) for seen in record.seen]
        heapq.heapify(self._by_age)
        self._forgotten_until = record.forgotten_until

    def add(
        self, signers: Iterable[KeyId], digest: bytes, made: float | None, utc: float
    ) -> ReplayRecord | str:
        """Add a text that these keys have signed; returns the reason if it is not new at `utc` (POSIX s)."""
        if made is None:
            return "the signed part has no time"
        if abs(utc - made) > self.window_s:
            side = "before" if made < utc else "after"
            return f"it was made {abs(utc - made):.0f} s {side} now, at most {self.window_s:g} s are allowed"
        self._drop_old(utc - self.window_s)
        if made <= self._forgotten_until:
            return "it is older than the stored texts: the clock was set"
        tokens = sorted({_token(signer, digest) for signer in signers})
        if not self._tokens.isdisjoint(tokens):
            return "it was received before"
        if len(self._tokens) + len(tokens) > self._capacity:
            return f"the replay memory is full: {self._capacity} messages within {2 * self.window_s:g} s"
        for token in tokens:
            self._tokens.add(token)
            heapq.heappush(self._by_age, (made, token))
        return ReplayRecord(tuple(SeenText(token, made) for token in tokens), self._forgotten_until)

    def _drop_old(self, oldest: float) -> None:
        while self._by_age and self._by_age[0][0] < oldest:
            made, token = heapq.heappop(self._by_age)
            self._tokens.discard(token)
            self._forgotten_until = max(self._forgotten_until, made)


def _token(signer: KeyId, digest: bytes) -> bytes:
    """Hash signer and text; not the signature, from which anybody can make another valid one."""
    return hashlib.sha256(b"%s %s %s" % (signer.curve.encode(), signer.point, digest)).digest()
