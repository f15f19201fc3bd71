"""Bounds on how far one phase may lead another, found in rounds, as draw on the lower one helps.

The first round has no bound. Where its shares leave a lead that is too great, the next round bounds what
loads it by what is allowed plus the help that the other phase gives. Help is the lower of a share and of
what its EVSE draws by its reports: a car that is full, or not there yet, helps no EVSE. Bounds only fall, so
the rounds end; if they take too long, the last bounds count no help at all, which always holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from controller.load_management.allocation.constraints import (
    NO_BOUND,
    PAIRS,
    JointConstraint,
    leading,
    tenths_down,
)
from controller.load_management.site_tree import PhaseFlags, SiteTree

ROUNDS = 4
"""Number of rounds after which the shares are near enough; each costs a pass of the allocator."""
OPPOSITE = [PAIRS.index((low, high)) for high, low in PAIRS]

Shares = Mapping[tuple[str, PhaseFlags], int]
"""Tenths of an ampere by home circuit and phases."""


class PhaseLeads:
    """Bound of each lead on the circuits where unbalance is limited: `rooms`, in tenths."""

    def __init__(self, site: SiteTree, joint: Mapping[str, JointConstraint]) -> None:
        self._site = site
        self._allowed = {
            circuit: [self._allowed_tenths(bound, high, low) for high, low in PAIRS]
            for circuit, bound in joint.items()
            if bound.unbalance_a is not None
        }
        self.rooms = {circuit: [NO_BOUND] * len(PAIRS) for circuit in self._allowed}

    @staticmethod
    def _allowed_tenths(bound: JointConstraint, high: int, low: int) -> int:
        """Return the lead that the base load leaves: its highest here, its lowest there."""
        low_a = bound.base_a if bound.low_a is None else bound.low_a
        return tenths_down(
            (bound.unbalance_a or 0.0) - bound.base_a[high] + min(low_a[low], bound.base_a[low])
        )

    def tighten(self, shares: Shares, helping: Shares) -> bool:
        """Lower the bounds for what was shared; return True if a lead is too great."""
        too_great = False
        helps = self._taken(helping)
        for circuit, taken in self._taken(shares).items():
            for pair, allowed in enumerate(self._allowed[circuit]):
                room = max(0, allowed + helps[circuit][OPPOSITE[pair]])
                if taken[pair] > room:
                    too_great = True
                    self.rooms[circuit][pair] = min(self.rooms[circuit][pair], room)
        return too_great

    def count_no_help(self) -> None:
        """Bound every lead so that it is small enough for any shares."""
        self.rooms = {
            circuit: [max(0, allowed) for allowed in pairs] for circuit, pairs in self._allowed.items()
        }

    def _taken(self, shares: Shares) -> dict[str, Counter[int]]:
        """Return what loads each lead, per circuit."""
        taken: dict[str, Counter[int]] = {circuit: Counter() for circuit in self._allowed}
        for (home, phases), share in shares.items():
            pairs = leading(phases)
            for circuit in self._site.path(home) if pairs else ():
                if circuit.id in taken:
                    taken[circuit.id].update(dict.fromkeys(pairs, share))
        return taken
