"""Current that the grid operator leaves the controllable EVSEs (section 14a EnWG).

What is limited is their draw from the grid: what the site's own generation supplies at the same moment comes
on top, as far as the meter of the grid connection proves it and no other EVSE draws it. A limit in W is
turned into A with the nominal voltage: 4.2 kW are 6 A on three phases of 230 V, and no car can use less,
however high the voltage is at the moment.
"""

from __future__ import annotations

import math

from controller.load_management.allocation.constraints import TENTHS, DimmedGroup, tenths_down
from controller.load_management.events import SiteDimmed
from controller.load_management.site_tree import EvseNode, PhaseFlags
from controller.model.statements import Statement, StatementCode

HOLD_S = 2 * 3600.0
"""Time that a station keeps to a limit without a message from us where its end is unknown: the least time
that a failsafe value holds by EEBUS LPC (s)."""
NOMINAL_V = 230.0
"""Highest voltage to turn W into A with (IEC 60038, line to neutral)."""

DIMMED = Statement(code=StatementCode.DIMMED_EACH, name="the grid operator")
NO_CAR = Statement(code=StatementCode.NO_CAR)


class DimmingCap:
    """Limit of the grid operator that holds now, if one does. `voltage_v`: of the site, line to neutral."""

    def __init__(self, voltage_v: float) -> None:
        self._dimmed = SiteDimmed()
        self._voltage_v = min(voltage_v, NOMINAL_V)
        self.lifted_at = -math.inf
        """Time at which all limits ended last (s, monotonic)."""

    def dim(self, dimmed: SiteDimmed, now: float) -> bool:
        """Set the limit that holds from now on; return True if anything is lower than before."""
        was_dimmed = self.bounds_all or self.has_caps
        before, self._dimmed = self._dimmed, dimmed
        if was_dimmed and not self.bounds_all and not self.has_caps:
            self.lifted_at = now
        pairs = [(before.total_w, dimmed.total_w), *zip(before.phases_w, dimmed.phases_w, strict=True)]
        pairs += [(before.evses_w.get(ref), watts) for ref, watts in dimmed.evses_w.items()]
        return any(_watts(new) < _watts(old) for old, new in pairs)

    @property
    def bounds_all(self) -> bool:
        """Return True if the controllable EVSEs are limited together."""
        return self._dimmed.total_w is not None or self._dimmed.phases_w != (None, None, None)

    @property
    def has_caps(self) -> bool:
        """Return True if single EVSEs are limited."""
        return bool(self._dimmed.evses_w)

    def steered(self, own_a: float) -> DimmedGroup | None:
        """Return the bound on all of them together; None: there is none.

        `own_a`: own generation that they may use on top (A, all phases).
        """
        dimmed = self._dimmed
        if not self.bounds_all:
            return None
        first, second, third = (_watts(watts) / self._voltage_v for watts in dimmed.phases_w)
        sum_a = _watts(dimmed.total_w) / self._voltage_v
        return DimmedGroup(phases_a=(first, second, third), sum_a=sum_a + own_a, why=dimmed.why or DIMMED)

    def hold_s(self, evse: EvseNode, now: float) -> float:
        """Return how long the station keeps to its limit without a message from us (s); 0: as ever."""
        dimmed = self._dimmed
        if not evse.steerable or not (self.bounds_all or evse.ref in dimmed.evses_w):
            return 0.0
        return HOLD_S if dimmed.until is None else max(0.0, dimmed.until - now)

    def idle(self, evse: EvseNode) -> Statement | None:
        """Return why an EVSE without a car gives no current to one that comes; None: it may."""
        return self.explain(evse, NO_CAR) if evse.steerable and self.bounds_all else None

    def explain(self, evse: EvseNode, reason: Statement) -> Statement:
        """Return the reason why an EVSE has no current, with the limit that is behind it."""
        why = self._dimmed.why
        if not evse.steerable or why is None:
            return reason
        return Statement(code=StatementCode.UNDER, context=why, cause=reason)

    def cap(self, evse: EvseNode, phases: PhaseFlags) -> tuple[float, Statement] | None:
        """Return the most that one EVSE may take (A per phase), and why; None: it has no limit of its own."""
        watts = self._dimmed.evses_w.get(evse.ref) if evse.steerable else None
        if watts is None:
            return None
        amps = tenths_down(watts / (self._voltage_v * sum(phases))) / TENTHS
        return amps, self._dimmed.whys.get(evse.ref) or self._dimmed.why or DIMMED


def _watts(limit: float | None) -> float:
    return math.inf if limit is None else limit
