"""What the grid operator leaves the steerable EVSEs (section 14a EnWG), in amperes.

What is limited is their draw from the grid: what the site's own generation supplies at the same moment comes
on top, as far as the meter of the grid connection proves it. A limit in W is turned into A with the highest
voltage that is measured there, so that the power is kept whatever the voltage does.
"""

from __future__ import annotations

import math

from controller.site.conductors import TENTHS, PhaseFlags, Steered, tenths_down
from controller.site.events import Dimmed
from controller.site.tree import Evse


class Steering:
    """The limit that holds now, if one does."""

    def __init__(self) -> None:
        self._dimmed = Dimmed()

    def dim(self, dimmed: Dimmed) -> bool:
        """This holds from now on; whether anything is lower than before."""
        before, self._dimmed = self._dimmed, dimmed
        pairs = [(before.total_w, dimmed.total_w), *zip(before.phases_w, dimmed.phases_w, strict=True)]
        pairs += [(before.evses_w.get(ref), watts) for ref, watts in dimmed.evses_w.items()]
        return any(_watts(new) < _watts(old) for old, new in pairs)

    def steered(self, highest_v: float, own_a: float) -> Steered | None:
        """The bound on all of them together; None: there is none. `own_a`: own generation, all phases (A)."""
        dimmed = self._dimmed
        if dimmed.total_w is None and dimmed.phases_w == (None, None, None):
            return None
        first, second, third = (_watts(watts) / highest_v for watts in dimmed.phases_w)
        return Steered(
            phases_a=(first, second, third),
            sum_a=_watts(dimmed.total_w) / highest_v + own_a,
            name=dimmed.why,
        )

    def explained(self, evse: Evse, reason: str) -> str:
        """The reason why an EVSE has no current, with the limit that is behind it."""
        return f"{self._dimmed.why}: {reason}" if evse.steerable and self._dimmed.why else reason

    def cap(self, evse: Evse, phases: PhaseFlags, highest_v: float) -> tuple[float, str] | None:
        """The most that one EVSE may take (A per phase), and why; None: it has no limit of its own."""
        watts = self._dimmed.evses_w.get(evse.ref) if evse.steerable else None
        if watts is None:
            return None
        amps = tenths_down(watts / (highest_v * sum(phases))) / TENTHS
        return amps, self._dimmed.whys.get(evse.ref, self._dimmed.why)


def _watts(limit: float | None) -> float:
    return math.inf if limit is None else limit
