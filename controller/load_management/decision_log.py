"""Decisions and faults in words for people: each change once, a fall at once, small changes seldom."""

from __future__ import annotations

import msgspec

from controller.load_management.evse.limit_delivery import NOISE_A
from controller.model.observations import EvseRef
from controller.model.statements import Statement

QUIET_S = 10.0
"""At most one line an EVSE in this time, unless its limit falls."""


class LoggedDecision(msgspec.Struct, frozen=True, gc=False):
    """Limit of an EVSE (A per phase), and why it is not higher."""

    ref: EvseRef
    limit_a: float
    statement: Statement

    @property
    def reason(self) -> str:
        """Return the reason in English."""
        return str(self.statement)

    def __str__(self) -> str:
        station, evse = self.ref
        return f"limit decided station={station} evse={evse} limit={self.limit_a:g}A reason={self.reason}"


class SiteNotice(msgspec.Struct, frozen=True, kw_only=True):
    """Line for the log: a fault that began (`warning`) or ended."""

    text: str
    warning: bool


class DecisionLog:
    """Last logged decision of one EVSE."""

    def __init__(self) -> None:
        self._last: LoggedDecision | None = None
        self.is_waiting = False
        """Return True if a change is to be logged later."""
        self._at = 0.0

    def is_due(self, decision: LoggedDecision, now: float) -> bool:
        """Return True if this is to be logged now; it then counts as logged."""
        last = self._last
        self.is_waiting = False
        if last is not None:
            fallen = decision.limit_a < last.limit_a - NOISE_A
            if decision == last:
                return False
            if not (fallen or now >= self._at + QUIET_S):
                self.is_waiting = True
                return False
        self._last, self._at = decision, now
        return True
