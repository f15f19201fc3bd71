"""Rate limits: token bucket, connections per address, repeated reports, back-off of retries. Sans-IO.

A storm (a switch restarts, and a thousand stations reconnect within one second) is smoothed, not
rejected: `TokenBucket.take` returns the time to wait. All times are s of any monotonic clock.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Hashable

import msgspec

LARGEST_EXPONENT = 16
"""Doublings after which a back-off no longer grows: 2.0 ** n overflows for large n."""


class TokenBucket:
    """Token bucket with `rate` tokens per second and at most `burst` in stock; a rate of 0 is no limit.

    Its state is one number, the time at which the tokens taken so far would be used up if they had been
    taken evenly (generic cell rate algorithm, ITU-T I.371 annex A).
    """

    __slots__ = ("_ahead_s", "_interval_s", "_rejected", "_spent_until")

    def __init__(self, rate: float, burst: float = 1) -> None:
        self._interval_s = 1 / rate if rate else 0.0
        self._ahead_s = (burst - 1) * self._interval_s
        self._spent_until = float("-inf")
        self._rejected = 0

    def wait_s(self, now: float) -> float:
        """Return the s that a token taken now would have to be waited for."""
        return max(0.0, self._spent_until - self._ahead_s - now)

    def take(self, now: float, tokens: float = 1) -> float:
        """Take tokens in advance and return the s to wait before they may be used."""
        spent_until = self._spent_until
        wait = spent_until - self._ahead_s - now
        self._spent_until = (spent_until if spent_until > now else now) + tokens * self._interval_s
        return wait if wait > 0 else 0.0

    def charge(self, now: float, tokens: float) -> float:
        """Take tokens that have been used already; return the s until a further one is there."""
        self._spent_until = max(self._spent_until, now) + tokens * self._interval_s
        wait = self._spent_until - self._ahead_s - now
        return wait if wait > 0 else 0.0

    def try_take(self, now: float) -> bool:
        """Take one token if there is one; count the attempt as rejected if not."""
        if self.wait_s(now) > 0:
            self._rejected += 1
            return False
        self.take(now)
        return True

    def pop_rejected(self) -> int:
        """Return the attempts that `try_take` rejected since the last call."""
        count, self._rejected = self._rejected, 0
        return count


class AddressCounter:
    """Open connections per address, at most `limit` each; 0 is no limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: Counter[str] = Counter()
        self._reported: set[str] = set()

    def enter(self, address: str) -> bool:
        """Count one more connection; return False without counting at the limit."""
        if self._limit and self._held[address] >= self._limit:
            return False
        self._held[address] += 1
        return True

    def leave(self, address: str) -> None:
        """Release a connection that was counted by `enter`."""
        self._held[address] -= 1
        self._reported.discard(address)
        if not self._held[address]:
            del self._held[address]

    def should_report(self, address: str) -> bool:
        """Return True for the first rejection of an address since one of its connections closed."""
        if address in self._reported:
            return False
        self._reported.add(address)
        return True


class RepeatFilter:
    """Filter of repeated reports: each key once in `period_s`, and at most `most` keys in that time."""

    def __init__(self, period_s: float, most: int) -> None:
        self._period_s = period_s
        self._most = most
        self._reported: dict[Hashable, tuple[float, int]] = {}
        """Time of the last report by key, and the repeats since; the oldest report first."""

    def count_repeats(self, key: Hashable, now: float) -> int | None:
        """Return the repeats since the key's last report; None if this is one, which is not reported."""
        reported_at, repeats = self._reported.get(key, (-math.inf, 0))
        if now < reported_at + self._period_s:
            self._reported[key] = reported_at, repeats + 1
            return None
        self._reported.pop(key, None)
        while len(self._reported) >= self._most:
            oldest = next(iter(self._reported))
            if now < self._reported[oldest][0] + self._period_s:
                return None
            del self._reported[oldest]
        self._reported[key] = now, 0
        return repeats


class Backoff(msgspec.Struct, frozen=True):
    """Exponential back-off between retries: `first_s`, doubled per failure up to `longest_s`.

    `jitter` is the part of each wait that is random: 0 is a fixed schedule, 1 is full jitter (anything
    from 0 to the whole wait), which spreads clients that failed at the same moment.
    """

    first_s: float
    longest_s: float
    jitter: float = 0.0

    def wait_s(self, failures: int, chance: random.Random | None = None) -> float:
        """Return the wait after so many failures in a row, at least one; `chance` draws the jitter."""
        exponent = min(max(failures, 1) - 1, LARGEST_EXPONENT)
        wait_s = min(self.longest_s, self.first_s * 2.0**exponent)
        if not self.jitter or chance is None:
            return wait_s
        return chance.uniform(wait_s * (1 - self.jitter), wait_s)
