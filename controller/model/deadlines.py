"""Deadline of a state machine whose parts have deadlines of their own."""

from __future__ import annotations


def earliest(*times: float | None) -> float | None:
    """Return the first of these times (s); None if there is none."""
    first = None
    for time in times:
        if time is not None and (first is None or time < first):
            first = time
    return first
