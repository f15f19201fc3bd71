"""Deadlines of a state machine: of parts that have their own, and of what it waits for."""

from __future__ import annotations

import math
from collections.abc import Iterable

RENEW_AT = 2 / 3
"""Part of a lease after which it is renewed."""


def earliest(*times: float | None) -> float | None:
    """Return the first of these times (s); None if there is none."""
    first = None
    for time in times:
        if time is not None and (first is None or time < first):
            first = time
    return first


def first_after(now: float, moments: Iterable[float]) -> float:
    """Return the first of these moments (s) that is still to come; inf: none is."""
    first = math.inf
    for moment in moments:
        if now < moment < first:
            first = moment
    return first
