"""Times of day that a gateway's clock can show once it is set. Sans-IO."""

from __future__ import annotations

from datetime import UTC, datetime

EARLIEST = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
"""No time of day before this one is right (POSIX s): it is that of a machine whose clock has no battery."""


def has_ended(until: float | None, utc: float) -> bool:
    """Return True for what holds until a time (POSIX s; None: for ever) and has ended at `utc`.

    While the clock is not set, what ends at some time counts as ended: it cannot be known.
    """
    return until is not None and (utc >= until or utc < EARLIEST)
