"""How far one phase may lead another: found in rounds, because who draws on the lower one helps.

The first round looks at no lead. Where its shares leave one too great, the next round bounds what
loads it by what is allowed plus the help that was just seen. Bounds only fall, so the rounds end; if
they take too long, the last bounds count no help at all, which is right whatever the others get.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from controller.load_management.allocation.constraints import (
    NO_BOUND,
    PAIRS,
    JointConstraint,
    PhaseFlags,
    leading,
    tenths_down,
)
from controller.load_management.site_tree import SiteTree

ROUNDS = 4
"""After as many the shares are near enough; each costs a pass of the allocator."""
OPPOSITE = [PAIRS.index((low, high)) for high, low in PAIRS]


class PhaseLeads:
    """The bound of each lead on the circuits where unbalance is limited: `rooms`, in tenths."""

    def __init__(self, site: SiteTree, joint: Mapping[str, JointConstraint]) -> None:
        self._site = site
        self._allowed = {
            circuit: [
                tenths_down(bound.unbalance_a - bound.base_a[high] + bound.base_a[low]) for high, low in PAIRS
            ]
            for circuit, bound in joint.items()
            if bound.unbalance_a is not None
        }
        self.rooms = {circuit: [NO_BOUND] * len(PAIRS) for circuit in self._allowed}

    def tighten(self, shares: Mapping[tuple[str, PhaseFlags], int]) -> bool:
        """Take in what was shared (tenths, by home circuit and phases); whether a lead is too great."""
        too_great = False
        for circuit, taken in self._taken(shares).items():
            for pair, allowed in enumerate(self._allowed[circuit]):
                room = max(0, allowed + taken[OPPOSITE[pair]])
                if taken[pair] > room:
                    too_great = True
                    self.rooms[circuit][pair] = min(self.rooms[circuit][pair], room)
        return too_great

    def count_no_help(self) -> None:
        """Bound every lead so that it is small enough whatever is shared."""
        self.rooms = {
            circuit: [max(0, allowed) for allowed in pairs] for circuit, pairs in self._allowed.items()
        }

    def _taken(self, shares: Mapping[tuple[str, PhaseFlags], int]) -> dict[str, Counter[int]]:
        """What loads each lead, per circuit."""
        taken: dict[str, Counter[int]] = {circuit: Counter() for circuit in self._allowed}
        for (home, phases), share in shares.items():
            pairs = leading(phases)
            for circuit in self._site.path(home) if pairs else ():
                if circuit.id in taken:
                    taken[circuit.id].update(dict.fromkeys(pairs, share))
        return taken
