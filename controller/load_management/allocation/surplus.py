"""Charging from what the site would feed into the grid, and from nothing else.

The surplus is what the grid connection's meter would show as feed-in without our EVSEs, less what those
that do not wait for the sun were given. It is shared by the same allocator, as one more bound on all
phases of the grid connection together: that is how it is metered and paid.

A cloud does not switch a car off, nor a gap in the clouds switch it on again: who began keeps his minimum
for `DWELL_S`, from the grid if need be, and who stopped stays out as long. So does, while he makes up his
mind, whoever could go on with one phase.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from msgspec import structs

from controller.load_management.allocation.allocator import Allocation, Demand, allocate
from controller.load_management.allocation.constraints import JointConstraint
from controller.load_management.site_tree import PhaseAmps, SiteTree
from controller.model.observations import EvseRef

DWELL_S = 300.0
"""The least time on, and the least time off."""
NO_SUN = "exports no more"
CLOUDED = f"charges from the sun alone, which was gone: waits {DWELL_S:g} s at least"


def sunlit(
    site: SiteTree,
    demands: Sequence[Demand],
    capacity: Mapping[str, PhaseAmps],
    joint: Mapping[str, JointConstraint],
    sum_a: float,
) -> dict[EvseRef, Allocation]:
    """Shares of `sum_a` (A, all phases added up), whoever began, in the room that the other bounds leave."""
    root = site.circuits[0].id
    bound = joint.get(root, JointConstraint())
    if bound.sum_a is None or sum_a < bound.sum_a:
        bound = structs.replace(bound, sum_a=sum_a, sum_name=NO_SUN)
    return allocate(site, demands, capacity, {**joint, root: bound})


class Surplus:
    """Shares the surplus, and remembers since when each EVSE has had a part of it, or none."""

    def __init__(self) -> None:
        self._served: dict[EvseRef, tuple[bool, float]] = {}

    def share(
        self,
        site: SiteTree,
        demands: Sequence[Demand],
        capacity: Mapping[str, PhaseAmps],
        joint: Mapping[str, JointConstraint],
        surplus_a: float,
        now: float,
        held: Collection[EvseRef] = (),
    ) -> dict[EvseRef, Allocation]:
        """Shares of `surplus_a` (A, all phases added up), in the room that `capacity` and `joint` leave.

        `held`: who is to go on with another number of phases soon, if he charges.
        """
        self._served = {d.ref: self._served.get(d.ref, (False, now - DWELL_S)) for d in demands}
        began = [
            d for d in demands if self._dwells(d.ref, True, now) or (d.ref in held and self._served[d.ref][0])
        ]
        waits = {d.ref for d in demands if self._dwells(d.ref, False, now)}
        promised_a = sum(d.min_a * sum(d.phases) for d in began)
        first = {d.ref for d in began}
        ready = [
            structs.replace(d, rank=-1.0) if d.ref in first else d for d in demands if d.ref not in waits
        ]
        given = sunlit(site, ready, capacity, joint, max(surplus_a, promised_a))
        for ref, allocation in given.items():
            self._note(ref, allocation.limit_a > 0, now)
        return given | {ref: Allocation(ref, 0.0, CLOUDED) for ref in waits}

    def _dwells(self, ref: EvseRef, served: bool, now: float) -> bool:
        is_served, since = self._served[ref]
        return is_served is served and now < since + DWELL_S

    def _note(self, ref: EvseRef, served: bool, now: float) -> None:
        if served is not self._served[ref][0]:
            self._served[ref] = (served, now)
