"""Guaranteed currents of groups of EVSEs.

A guarantee is a current on each phase that the cars of a group receive together before anybody else rises, as
far as the circuits carry it. It is shared within the group by the same allocator as the site's current: as if
the group stood alone on a circuit of that size. Cars for which the guarantee has no minimum left compete for
the rest of the site like all others.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import structs

from controller.load_management.allocation.allocator import Demand, allocate
from controller.load_management.energy.energy_settings import GroupSettings
from controller.load_management.site_tree import CircuitNode, EvseNode, PhaseAmps, SiteTree
from controller.model.observations import EvseRef

_GROUP = "group"
"""Name of the circuit that stands for the guarantee."""


class GuaranteedGroup:
    """Group with a guaranteed current."""

    def __init__(self, site: SiteTree, settings: GroupSettings) -> None:
        amps: PhaseAmps = (settings.guaranteed_a,) * 3
        evses = [evse for evse in site.evses if evse.ref in settings.evses]
        self.refs = settings.evses
        self._capacity = {_GROUP: amps}
        self._site = SiteTree(
            circuits=(CircuitNode(id=_GROUP, parent=None, limit_a=amps),),
            evses=tuple(_moved(evse) for evse in evses),
        )

    def with_guarantees(self, demands: Mapping[EvseRef, Demand]) -> dict[EvseRef, Demand]:
        """Return those of the demands that belong to the group, each with its part of the guarantee."""
        own = [demands[ref] for ref in sorted(self.refs & demands.keys())]
        if not own:
            return {}
        shares = allocate(self._site, own, self._capacity)
        return {
            demand.ref: structs.replace(demand, guaranteed_a=shares[demand.ref].limit_a) for demand in own
        }


def _moved(evse: EvseNode) -> EvseNode:
    return structs.replace(evse, circuit=_GROUP)
