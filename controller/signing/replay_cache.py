"""Replay protection: a signed text is accepted once, within a window around its own time.

A text is stored as long as it could be accepted again: until its time has left the window. After that
nothing as old as the newest dropped text is accepted. So a clock that is set back, or forward and back,
does not open the window; a message of the meantime may be rejected, and its sender gets an error.

A clock that is ahead would drop texts of a time to come, and after it is set back all messages until that
time would be rejected. So nothing is dropped by a clock that is not trusted, unless the memory is full; and
after a loss of the texts nothing is accepted until the clock is trusted, which then finds the end of the
wait. What remains, a trusted clock that was wrong, is ended by a person: `end_wait`.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from controller.model.journal import Record
from controller.signing.payload_signatures import KeyId

CAPACITY = 100_000
"""About 20 MB. If it is full, messages are rejected: an id that is dropped could be replayed."""

_REMEDY = "the gateway's alarm signing-waits has the remedy"


class SeenText(Record, frozen=True):
    """A signed text. `token` stands for both; `made`: its time (POSIX s)."""

    token: bytes
    made: float


class ReplayRecord(Record, frozen=True):
    """Texts to store before the message is forwarded; all made until `forgotten_until` are dropped.

    `provisional`: other texts were lost, and no clock that is trusted has found until when.
    """

    seen: tuple[SeenText, ...]
    forgotten_until: float
    provisional: bool = False


NOTHING_FORGOTTEN = ReplayRecord((), -math.inf)


class ReplayWait(msgspec.Struct, frozen=True):
    """Wait in which nothing that is signed now is accepted.

    `end` in POSIX s; None: unknown until the clock is trusted. `can_shorten`: by `ReplayCache.end_wait`.
    """

    end: float | None
    can_shorten: bool

    def __str__(self) -> str:
        """Return its end in UTC (RFC 3339)."""
        if self.end is None:
            return "the clock is synchronised"
        return datetime.fromtimestamp(math.ceil(self.end), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class ReplayCache:
    """Texts that were seen. `window_s`: how far the time of a message may be from now.

    It may be changed: a wider window accepts nothing that is as old as what was dropped. `clock_trusted`:
    whether the clock is synchronised.
    """

    def __init__(self, window_s: float, capacity: int = CAPACITY) -> None:
        self.window_s = window_s
        self.clock_trusted = True
        self._capacity = capacity
        self._tokens: set[bytes] = set()
        self._by_age: list[tuple[float, bytes]] = []
        self._forgotten_until = -math.inf
        self._provisional = False

    def __len__(self) -> int:
        return len(self._tokens)

    def load(self, record: ReplayRecord) -> None:
        """Load what was on disk at the start."""
        self._tokens = {seen.token for seen in record.seen}
        self._by_age = [(seen.made, seen.token) for seen in record.seen]
        heapq.heapify(self._by_age)
        self._forgotten_until = record.forgotten_until
        self._provisional = record.provisional

    def find_wait(self, utc: float) -> ReplayWait | None:
        """Return until when all that is signed at `utc` (POSIX s) is rejected; None: it is not."""
        if self._provisional:
            return ReplayWait(None, can_shorten=True)
        if self._forgotten_until <= utc:
            return None
        return ReplayWait(self._forgotten_until, self._forgotten_until > utc + self.window_s)

    def end_wait(self, utc: float) -> ReplayRecord | None:
        """Shorten a wait to one window from `utc` (POSIX s); None if it is not longer.

        All that could be accepted at `utc` counts as seen. A text that is dropped and has a later time in it
        may be accepted once more when that time comes.
        """
        wait = self.find_wait(utc)
        if wait is None or not wait.can_shorten:
            return None
        self._forgotten_until, self._provisional = utc + self.window_s, False
        return ReplayRecord((), self._forgotten_until)

    def confirm_wait(self, utc: float) -> ReplayRecord | None:
        """Find the end of a wait after a loss of the texts, once the clock is trusted; None without one."""
        if not self._provisional or not self.clock_trusted:
            return None
        self._forgotten_until, self._provisional = max(self._forgotten_until, utc + self.window_s), False
        return ReplayRecord((), self._forgotten_until)

    def add(
        self, signers: Iterable[KeyId], digest: bytes, made: float | None, utc: float
    ) -> ReplayRecord | str:
        """Add a text that these keys have signed; returns the reason if it is not new at `utc` (POSIX s)."""
        if made is None:
            return "the signed part has no time"
        if abs(utc - made) > self.window_s:
            side = "before" if made < utc else "after"
            return f"it was made {abs(utc - made):.0f} s {side} now, at most {self.window_s:g} s are allowed"
        if self._provisional:
            return f"the memory of received messages was lost, and the clock is not trusted since; {_REMEDY}"
        if self.clock_trusted or len(self._tokens) >= self._capacity:
            self._drop_old(utc - self.window_s)
        if made <= self._forgotten_until:
            return self._explain_forgotten(utc)
        tokens = sorted({_token(signer, digest) for signer in signers})
        if not self._tokens.isdisjoint(tokens):
            return "it was received before"
        if len(self._tokens) + len(tokens) > self._capacity:
            return f"the replay memory is full: {self._capacity} messages within {2 * self.window_s:g} s"
        for token in tokens:
            self._tokens.add(token)
            heapq.heappush(self._by_age, (made, token))
        return ReplayRecord(tuple(SeenText(token, made) for token in tokens), self._forgotten_until)

    def _explain_forgotten(self, utc: float) -> str:
        if self._forgotten_until <= utc:
            return "it is older than the stored texts: the clock was set"
        return (
            f"all made until {self.find_wait(utc)} count as received: the clock was set back, "
            f"or the memory of received messages was lost; {_REMEDY}"
        )

    def _drop_old(self, oldest: float) -> None:
        while self._by_age and self._by_age[0][0] < oldest:
            made, token = heapq.heappop(self._by_age)
            self._tokens.discard(token)
            self._forgotten_until = max(self._forgotten_until, made)


def _token(signer: KeyId, digest: bytes) -> bytes:
    """Hash signer and text; not the signature, from which anybody can make another valid one."""
    return hashlib.sha256(b"%s %s %s" % (signer.curve.encode(), signer.point, digest)).digest()
