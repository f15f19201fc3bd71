"""Overdraw: a station that accepts our limits and draws more than they allow.

Another profile in the purpose of our limits prevails over them then: it was set before the controller was
there, or past it. It is cleared with all of its purpose, and our limits are set anew.
"""

from __future__ import annotations

from collections.abc import Iterable

OVERDRAW_S = 30.0
"""Time that the draw has to be too high: a car follows its limit within some seconds."""
TOLERANCE_A = 1.0
TOLERANCE = 0.1
"""Both are allowed above a limit: chargers and their meters are no more exact."""
RETRY_S = 3600.0
"""The shortest time between two clearings of a station."""


class OverdrawWatch:
    """The draw of one station's EVSEs beside the limits that it has accepted."""

    def __init__(self) -> None:
        self._since: dict[int, float] = {}
        self._cleared_at: float | None = None

    def on_draw(
        self, evse: int, current_a: Iterable[float | None], limit_a: float | None, now: float
    ) -> float | None:
        """Take a reading (A per phase) and the limit in force, None where there is none.

        Return the highest current if profiles have to be cleared because of it, else None.
        """
        drawn = max((each for each in current_a if each is not None), default=0.0)
        if limit_a is None or drawn <= limit_a + max(TOLERANCE_A, TOLERANCE * limit_a):
            self._since.pop(evse, None)
            return None
        since = self._since.setdefault(evse, now)
        if now - since < OVERDRAW_S:
            return None
        if self._cleared_at is not None and now - self._cleared_at < RETRY_S:
            return None
        self._cleared_at = now
        self._since.clear()
        return drawn
