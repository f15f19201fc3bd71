"""When a machine next wants to be looked at, of which each part may want that at its own time."""

from __future__ import annotations


def earliest(*times: float | None) -> float | None:
    """The first of them (s); None where no part waits for anything. It is asked after each message."""
    first = None
    for time in times:
        if time is not None and (first is None or time < first):
            first = time
    return first
