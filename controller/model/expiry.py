"""Ends of certificates and keys, and how urgent it is to renew them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from enum import IntEnum

import msgspec

from controller.model.statements import Statement, StatementCode

HOUR_S = 3600.0
DAY_S = 86_400.0
FIRST_WARNING_S = 30 * DAY_S
SECOND_WARNING_S = 14 * DAY_S
LAST_WARNING_S = 7 * DAY_S
BEGIN_REMEDY = "check the clock here, or provide one that is valid now"
"""Remedy for a certificate that is not valid yet."""


class ExpiryLevel(IntEnum):
    """Urgency of a renewal, rising from 30, 14 and 7 days before the end."""

    NONE = 0
    SOON = 1
    URGENT = 2
    CRITICAL = 3
    EXPIRED = 4


class Expiry(msgspec.Struct, frozen=True, kw_only=True):
    """End of a certificate or key (POSIX s). `name`: place in the configuration, or its holder.

    `warn_before_s`: first warning before the end (s); less than 30 days for short certificates that are
    renewed by themselves. The second one is at most half as long before the end, the last one a quarter.
    `not_before`: begin of a certificate (POSIX s).
    """

    name: str
    not_after: float
    not_before: float = -math.inf
    warn_before_s: float = FIRST_WARNING_S

    def level(self, utc: float) -> ExpiryLevel:
        """Return the urgency at `utc`."""
        left_s = self.not_after - utc
        if left_s <= 0:
            return ExpiryLevel.EXPIRED
        if left_s <= min(LAST_WARNING_S, self.warn_before_s / 4):
            return ExpiryLevel.CRITICAL
        if left_s <= min(SECOND_WARNING_S, self.warn_before_s / 2):
            return ExpiryLevel.URGENT
        return ExpiryLevel.SOON if left_s <= self.warn_before_s else ExpiryLevel.NONE

    def describe_begin(self, utc: float) -> str:
        """Describe a begin that is still ahead at `utc`; empty where it is past."""
        if self.not_before <= utc:
            return ""
        begin = datetime.fromtimestamp(self.not_before, UTC).isoformat(timespec="seconds")
        return f"{self.name} is not valid before {begin}: peers reject it until then"

    def describe(self, utc: float) -> str:
        """Describe the end as seen at `utc`."""
        return str(self.statement(utc))

    def statement(self, utc: float) -> Statement:
        """Return the end as seen at `utc`: in days, in h from two days before it."""
        left_s = self.not_after - utc
        if left_s <= 0:
            return Statement(code=StatementCode.CERTIFICATE_EXPIRED, name=self.name)
        if left_s < 2 * DAY_S:
            left_s = round(left_s / HOUR_S) * HOUR_S
            return Statement(code=StatementCode.CERTIFICATE_ENDS_SOON, name=self.name, duration_s=left_s)
        days = round(left_s / DAY_S)
        return Statement(code=StatementCode.CERTIFICATE_ENDS, name=self.name, count=days)


def warn_before(validity_s: float) -> float:
    """Return when to warn of the end of a certificate that renews itself after two thirds of its validity."""
    return min(FIRST_WARNING_S, validity_s / 3)
