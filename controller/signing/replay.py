"""Whether a signed text is new: made within a window around now, and never seen before.

What has been seen is kept as long as it could come again: until the time that it says of itself has left
the window. What is forgotten then is not lost: nothing that is as old as the newest of it is ever taken
again. So a clock that is set back, or forward and back, opens the window for nobody; a message of the
meantime may be refused, which its sender hears.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Iterable

import msgspec

from controller.model.journal import Record
from controller.signing.signatures import KeyId

CAPACITY = 100_000
"""About 20 MB. Were it full, no more would be taken: forgetting would be worse."""


class SeenText(msgspec.Struct, frozen=True):
    """A text that somebody has signed: `token` names both, `made` is when it says it was made (POSIX s)."""

    token: bytes
    made: float


class RememberText(Record, frozen=True):
    """To be on disk before the message goes on: what is new, and up to when all is forgotten (POSIX s)."""

    seen: tuple[SeenText, ...]
    forgotten_until: float


class ReplayCache:
    """What has been seen; `window_s` is how far from now a message may say that it was made.

    It may be changed: a wider one takes nothing that is as old as what is forgotten.
    """

    def __init__(self, window_s: float, capacity: int = CAPACITY) -> None:
        self.window_s = window_s
        self._capacity = capacity
        self._tokens: set[bytes] = set()
        self._by_age: list[tuple[float, bytes]] = []
        self._forgotten_until = -math.inf

    def __len__(self) -> int:
        return len(self._tokens)

    def recall(self, remembered: RememberText) -> None:
        """What was on disk at the start."""
        self._tokens = {seen.token for seen in remembered.seen}
        self._by_age = [(seen.made, seen.token) for seen in remembered.seen]
        heapq.heapify(self._by_age)
        self._forgotten_until = remembered.forgotten_until

    def take(
        self, signers: Iterable[KeyId], digest: bytes, made: float | None, utc: float
    ) -> RememberText | str:
        """Take a text that these have signed, at `utc` (POSIX s), as seen; or why it is not new."""
        if made is None:
            return "the signed part does not say when it was made"
        if abs(utc - made) > self.window_s:
            side = "before" if made < utc else "after"
            return f"it was made {abs(utc - made):.0f} s {side} now, {self.window_s:g} s at most"
        self._forget(utc - self.window_s)
        if made <= self._forgotten_until:
            return "it is older than what is remembered: the clock has been set"
        tokens = sorted({_token(signer, digest) for signer in signers})
        if not self._tokens.isdisjoint(tokens):
            return "it has been here before"
        if len(self._tokens) + len(tokens) > self._capacity:
            return f"{self._capacity} messages were taken within {2 * self.window_s:g} s, and no more are"
        for token in tokens:
            self._tokens.add(token)
            heapq.heappush(self._by_age, (made, token))
        return RememberText(tuple(SeenText(token, made) for token in tokens), self._forgotten_until)

    def _forget(self, oldest: float) -> None:
        while self._by_age and self._by_age[0][0] < oldest:
            made, token = heapq.heappop(self._by_age)
            self._tokens.discard(token)
            self._forgotten_until = max(self._forgotten_until, made)


def _token(signer: KeyId, digest: bytes) -> bytes:
    """Signer and text as one: not the signature, of which anybody can make another valid one."""
    return hashlib.sha256(b"%s %s %s" % (signer.curve.encode(), signer.point, digest)).digest()
