"""Measured outcome of a limit: when it was reached, and which devices did not obey.

A watch begins with each limit that is new, and compares every measurement with it. Reached is reached when
the measured draw is not above the limit: what is not measured is not claimed.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import msgspec

from controller.dimming.dimming_limits import EffectiveLimit
from controller.dimming.pmin import grid_draw_w
from controller.model.observations import EvseRef

PATIENCE_S = 60.0
"""Time (s) after which a limit that is not reached has failed; it may still be reached."""
EXCEEDED_S = 10.0
"""Longest time (s) of a draw above a limit that was reached."""
VOLTAGE_BAND = 1.1
"""A limit is turned into A by the nominal voltage; the draw may be higher by the voltage (EN 50160)."""
APART_S = 300.0
"""Interval (s) of records of the draw under a limit."""


class Measurement(msgspec.Struct, frozen=True, dict=True):
    """Draw at a moment (s, monotonic): of each device, and of the site from the grid (W)."""

    at: float
    devices_w: Mapping[EvseRef, float | None]
    grid_w: float | None

    @cached_property
    def drawn_w(self) -> float | None:
        """Draw of the devices from the grid (W); None where it is unknown."""
        known = [each for each in self.devices_w.values() if each is not None]
        return grid_draw_w(sum(known) if len(known) == len(self.devices_w) else None, self.grid_w)

    def record_body(self) -> dict[str, Any]:
        """Return the body of its record."""
        return {
            "devicesW": {str(ref): watts for ref, watts in sorted(self.devices_w.items())},
            "gridW": self.grid_w,
            "drawnW": self.drawn_w,
        }


class LimitOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """Outcome of a limit to record: `phase` is reached, failed, exceeded, kept or during."""

    phase: str
    measurement: Measurement | None
    took_s: float
    most_w: float | None = None
    disobedient: tuple[EvseRef, ...] = ()


class EffectWatch:
    """Outcome of one limit from `since` on; `before`: the last measurement before it."""

    def __init__(self, effective: EffectiveLimit, before: Measurement | None, since: float) -> None:
        self.effective = effective
        self.before = before
        self._since = since
        self._newest: Measurement | None = None
        self._reached = self._failed = self._exceeded = False
        self._over_since: float | None = None
        self._most_w: float | None = None
        self._recorded_at = since

    @property
    def reached(self) -> bool:
        """True if the limit was reached."""
        return self._reached

    @property
    def deadline(self) -> float | None:
        """Time at which the limit fails; None: not without a measurement."""
        return None if self._reached or self._failed else self._since + PATIENCE_S

    def pass_time(self, now: float) -> list[LimitOutcome]:
        """Return the failure if the limit was not reached in time."""
        if self.deadline is None or now < self.deadline:
            return []
        self._failed = True
        return [self._outcome("failed", now)]

    def on_measurement(self, measurement: Measurement) -> list[LimitOutcome]:
        """Return the outcomes that follow from a measurement."""
        self._newest = measurement
        at = measurement.at
        outcomes = self.pass_time(at)
        drawn_w = measurement.drawn_w
        if drawn_w is not None:
            self._most_w = max(drawn_w, self._most_w or 0.0)
        if self._kept(measurement):
            outcomes += self._under(at)
        elif self._reached:
            outcomes += self._over(at)
        if self._reached and at - self._recorded_at >= APART_S:
            outcomes.append(self._outcome("during", at))
            self._recorded_at, self._most_w = at, drawn_w
        return outcomes

    def _under(self, at: float) -> list[LimitOutcome]:
        outcomes: list[LimitOutcome] = []
        if not self._reached:
            self._reached, self._recorded_at, self._most_w = True, at, None
            outcomes.append(self._outcome("reached", at))
        elif self._exceeded:
            outcomes.append(self._outcome("kept", at))
        self._exceeded, self._over_since = False, None
        return outcomes

    def _over(self, at: float) -> list[LimitOutcome]:
        if self._over_since is None:
            self._over_since = at
        if self._exceeded or at - self._over_since < EXCEEDED_S:
            return []
        self._exceeded = True
        return [self._outcome("exceeded", at)]

    def _kept(self, measurement: Measurement) -> bool:
        """Return True if the draw is measured, and not above any limit."""
        total, drawn_w = self.effective.total, measurement.drawn_w
        if total is not None and (drawn_w is None or drawn_w > total.watts * VOLTAGE_BAND):
            return False
        return not self._above(measurement, unknown=True)

    def _above(self, measurement: Measurement, *, unknown: bool) -> tuple[EvseRef, ...]:
        """Return the devices above their own limit; `unknown`: those of unknown draw, too."""
        draws = measurement.devices_w
        return tuple(
            ref
            for ref, bound in sorted(self.effective.evses.items())
            if (unknown if (watts := draws.get(ref)) is None else watts > bound.watts * VOLTAGE_BAND)
        )

    def _outcome(self, phase: str, at: float) -> LimitOutcome:
        newest = self._newest
        return LimitOutcome(
            phase=phase,
            measurement=newest,
            took_s=round(at - self._since, 3),
            most_w=self._most_w,
            disobedient=() if newest is None else self._above(newest, unknown=False),
        )
