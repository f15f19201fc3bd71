"""How much is done of what strangers can cause at will: so many a minute, and the rest is counted."""

from __future__ import annotations

WINDOW_S = 60.0


class RateLimit:
    """`most` in each minute. Times are s, monotonic."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._began = -WINDOW_S
        self._taken = 0
        self._left_out = 0

    def take(self, now: float) -> bool:
        """Whether one more may be done; one that may not is counted."""
        if now - self._began >= WINDOW_S:
            self._began, self._taken = now, 0
        if self._taken >= self._most:
            self._left_out += 1
            return False
        self._taken += 1
        return True

    def left_out(self) -> int:
        """How many were not done since this was asked last."""
        count, self._left_out = self._left_out, 0
        return count
