"""How fast, and how many at once: a token bucket and a count per address, pure.

A storm (a switch restarts, and a thousand stations come back in one second) is smoothed, not refused:
who asks is told how long to wait for its turn.
"""

from __future__ import annotations

from collections import Counter


class TokenBucket:
    """`rate` turns a second, after a start of `burst` turns at once; a rate of 0 is no limit.

    It holds one number: when all turns given so far would be over had they come evenly (the generic
    cell rate algorithm, ITU-T I.371 annex A). Times in s of any clock that only goes forward.
    """

    def __init__(self, rate: float, burst: int = 1) -> None:
        self._interval_s = 1 / rate if rate else 0.0
        self._ahead_s = (burst - 1) * self._interval_s
        self._spent_until = 0.0

    def wait_s(self, now: float) -> float:
        """How long whoever came now would have to wait for its turn."""
        return max(0.0, self._spent_until - self._ahead_s - now)

    def take(self, now: float) -> float:
        """Take the next turn: how long to wait for it."""
        wait = self.wait_s(now)
        self._spent_until = max(self._spent_until, now) + self._interval_s
        return wait


class AddressCounter:
    """How many connections each address holds, `limit` at most; 0 is no limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: Counter[str] = Counter()
        self._complained: set[str] = set()

    def enter(self, address: str) -> bool:
        """Count one more connection; False, and not counted, where the address has all it may."""
        if self._limit and self._held[address] >= self._limit:
            return False
        self._held[address] += 1
        return True

    def leave(self, address: str) -> None:
        """A connection that had entered is over."""
        self._held[address] -= 1
        self._complained.discard(address)
        if not self._held[address]:
            del self._held[address]

    def worth_a_complaint(self, address: str) -> bool:
        """True at the first refusal of an address since one of its connections ended: not each is told."""
        if address in self._complained:
            return False
        self._complained.add(address)
        return True
