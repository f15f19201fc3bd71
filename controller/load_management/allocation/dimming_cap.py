"""What the grid operator leaves the steerable EVSEs (section 14a EnWG), in amperes.

What is limited is their draw from the grid: what the site's own generation supplies at the same moment comes
on top, as far as the meter of the grid connection proves it. A limit in W is turned into A by the nominal
voltage at most: 4.2 kW are 6 A on three phases then, and no pause, at any voltage that a grid has.
"""

from __future__ import annotations

import math

from controller.load_management.allocation.constraints import TENTHS, DimmedGroup, PhaseFlags, tenths_down
from controller.load_management.events import SiteDimmed
from controller.load_management.site_tree import EvseNode

NOMINAL_V = 230.0
"""Line to neutral (EN 50160). 4.2 kW on three phases are 6.09 A."""
HOLD_S = 2 * 3600.0
"""How long a station keeps to a limit without a word from us, where nobody knows its end: the least time that
a failsafe value holds by EEBUS LPC."""


class DimmingCap:
    """The limit that holds now, if one does."""

    def __init__(self) -> None:
        self._dimmed = SiteDimmed()

    def dim(self, dimmed: SiteDimmed) -> bool:
        """This holds from now on; whether anything is lower than before."""
        before, self._dimmed = self._dimmed, dimmed
        pairs = [(before.total_w, dimmed.total_w), *zip(before.phases_w, dimmed.phases_w, strict=True)]
        pairs += [(before.evses_w.get(ref), watts) for ref, watts in dimmed.evses_w.items()]
        return any(_watts(new) < _watts(old) for old, new in pairs)

    @property
    def _bounds_all(self) -> bool:
        return self._dimmed.total_w is not None or self._dimmed.phases_w != (None, None, None)

    def steered(self, highest_v: float, own_a: float) -> DimmedGroup | None:
        """The bound on all of them together; None: there is none. `own_a`: own generation, all phases (A)."""
        dimmed = self._dimmed
        if not self._bounds_all:
            return None
        volts = min(highest_v, NOMINAL_V)
        first, second, third = (_watts(watts) / volts for watts in dimmed.phases_w)
        return DimmedGroup(
            phases_a=(first, second, third),
            sum_a=_watts(dimmed.total_w) / volts + own_a,
            name=dimmed.why,
        )

    def hold_s(self, evse: EvseNode, now: float) -> float:
        """How long the station shall keep to its limit if it hears nothing more of us; 0: as ever."""
        dimmed = self._dimmed
        if not evse.steerable or not (self._bounds_all or evse.ref in dimmed.evses_w):
            return 0.0
        return HOLD_S if dimmed.until is None else max(0.0, dimmed.until - now)

    def idle(self, evse: EvseNode) -> str:
        """Why an EVSE without a car shall give no current to one that comes; empty: it may."""
        return self.explained(evse, "no car") if evse.steerable and self._bounds_all else ""

    def explained(self, evse: EvseNode, reason: str) -> str:
        """The reason why an EVSE has no current, with the limit that is behind it."""
        return f"{self._dimmed.why}: {reason}" if evse.steerable and self._dimmed.why else reason

    def cap(self, evse: EvseNode, phases: PhaseFlags, highest_v: float) -> tuple[float, str] | None:
        """The most that one EVSE may take (A per phase), and why; None: it has no limit of its own."""
        watts = self._dimmed.evses_w.get(evse.ref) if evse.steerable else None
        if watts is None:
            return None
        amps = tenths_down(watts / (min(highest_v, NOMINAL_V) * sum(phases))) / TENTHS
        return amps, self._dimmed.whys.get(evse.ref, self._dimmed.why)


def _watts(limit: float | None) -> float:
    return math.inf if limit is None else limit
