"""Overrides of a person for EVSEs: pauses, manual limits, priorities and boosts, each with an end.

An EVSE has one override at a time; a newer one replaces it. Overrides are durable, so a paused EVSE is still
paused after a restart. An override lasts for a span, which is measured by the uptime of the machine: a wall
clock that is set, by NTP say, ends none. After a restart of the machine the wall clock decides, and the
override ends once the machine has been up for its span at the latest. Times are POSIX s.
"""

from __future__ import annotations

import enum

from controller.model.journal import Record
from controller.model.observations import EvseRef


class OverrideKind(enum.StrEnum):
    """Kind of an override."""

    PAUSE = "pause"
    LIMIT = "limit"
    PRIORITY = "priority"
    BOOST = "boost"


class OverrideStored(Record, frozen=True):
    """Override of one EVSE until a time: `value` is the limit (A per phase) or the priority; `by`: whose.

    One whose time is over, or with `until` 0, is none. `made_at` (POSIX s) and `made_uptime_s`, the uptime of
    the machine, are those when it was made; None in records of versions before.
    """

    station: str
    evse: int
    kind: OverrideKind
    value: float
    until: float
    by: str
    made_at: float = 0.0
    made_uptime_s: float | None = None

    def measure_left(self, utc: float, uptime: float) -> float:
        """Return the s until its end, not above 0 once it is over; `uptime` of the machine (s)."""
        if self.made_uptime_s is None:
            return self.until - utc
        span_s = self.until - self.made_at
        if uptime >= self.made_uptime_s:
            return span_s - (uptime - self.made_uptime_s)
        return min(self.until - utc, span_s - uptime)

    @property
    def ref(self) -> EvseRef:
        """Return the EVSE."""
        return EvseRef(self.station, self.evse)


class OverrideRemoved(Record, frozen=True):
    """The override of an EVSE is over."""

    station: str
    evse: int


class OverrideBook:
    """The overrides in force."""

    def __init__(self) -> None:
        self._overrides: dict[EvseRef, OverrideStored] = {}

    def set(self, override: OverrideStored) -> None:
        """Put an override in force, in place of the one before."""
        self._overrides[override.ref] = override

    def remove(self, ref: EvseRef) -> bool:
        """End the override of an EVSE; return False if there is none."""
        return self._overrides.pop(ref, None) is not None

    def take_ended(self, utc: float, uptime: float) -> list[EvseRef]:
        """Remove and return the EVSEs whose overrides have ended by now."""
        ended = [ref for ref, each in self._overrides.items() if each.measure_left(utc, uptime) <= 0]
        for ref in ended:
            del self._overrides[ref]
        return ended

    def measure_next_end(self, utc: float, uptime: float) -> float | None:
        """Return the s until the next override ends; None without any."""
        return min((each.measure_left(utc, uptime) for each in self._overrides.values()), default=None)

    def find(self, ref: EvseRef) -> OverrideStored | None:
        """Return the override of an EVSE; None if it has none."""
        return self._overrides.get(ref)
