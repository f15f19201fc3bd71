"""Telling people what an EVSE got and why: each change once, a fall at once, chatter seldom."""

from __future__ import annotations

import msgspec

from controller.load_management.evse.limit_delivery import NOISE_A
from controller.model.observations import EvseRef

QUIET_S = 10.0
"""At most one line an EVSE in this time, unless its limit falls."""


class LoggedDecision(msgspec.Struct, frozen=True):
    """What an EVSE may take now (A per phase), and why not more."""

    ref: EvseRef
    limit_a: float
    reason: str

    def __str__(self) -> str:
        return f"EVSE {self.ref}: {self.limit_a:g} A: {self.reason}"


class DecisionLog:
    """What was last told of one EVSE."""

    def __init__(self) -> None:
        self._last: LoggedDecision | None = None
        self._at = 0.0

    def worth_telling(self, told: LoggedDecision, now: float) -> bool:
        """Whether to tell this now; it then counts as told."""
        last = self._last
        if last is not None:
            fallen = told.limit_a < last.limit_a - NOISE_A
            if told == last or not (fallen or now >= self._at + QUIET_S):
                return False
        self._last, self._at = told, now
        return True
