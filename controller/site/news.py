"""Telling people what an EVSE got and why: each change once, a fall at once, chatter seldom."""

from __future__ import annotations

import msgspec

from controller.ocpp.observations import EvseRef
from controller.site.delivery import NOISE_A

QUIET_S = 10.0
"""At most one line an EVSE in this time, unless its limit falls."""


class Told(msgspec.Struct, frozen=True):
    """What an EVSE may take now (A per phase), and why not more."""

    ref: EvseRef
    limit_a: float
    reason: str

    def __str__(self) -> str:
        return f"EVSE {self.ref}: {self.limit_a:g} A: {self.reason}"


class News:
    """What was last told of one EVSE."""

    def __init__(self) -> None:
        self._last: Told | None = None
        self._at = 0.0

    def worth_telling(self, told: Told, now: float) -> bool:
        """Whether to tell this now; it then counts as told."""
        last = self._last
        if last is not None:
            fallen = told.limit_a < last.limit_a - NOISE_A
            if told == last or not (fallen or now >= self._at + QUIET_S):
                return False
        self._last, self._at = told, now
        return True
