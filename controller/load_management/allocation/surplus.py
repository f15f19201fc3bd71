"""Shares of what the site would feed into the grid, for EVSEs that charge from nothing else.

The surplus is what the grid connection's meter would show as feed-in without our EVSEs, less what those
that do not wait for it were given. It is shared by the same allocator, as one more bound on all
phases of the grid connection together: that is how it is metered and paid.

A cloud or a kettle does not switch a car off, nor a gap in the clouds switch it on again: an EVSE that
charges keeps its minimum, from the grid if need be, until the surplus has been too small for `DWELL_S`
without a break, and one that stopped waits as long. So does one that could continue with one phase, until
that is decided.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from msgspec import structs

from controller.load_management.allocation.allocator import Allocation, Demand, allocate
from controller.load_management.allocation.constraints import JointConstraint
from controller.load_management.site_tree import PhaseAmps, SiteTree
from controller.model.observations import EvseRef
from controller.model.statements import Statement, StatementCode

DWELL_S = 300.0
"""Longest time without enough surplus that is bridged, and shortest time off (s)."""
NO_SURPLUS = Statement(code=StatementCode.SURPLUS_GONE, duration_s=DWELL_S)


def share_surplus(
    site: SiteTree,
    demands: Sequence[Demand],
    capacity: Mapping[str, PhaseAmps],
    joint: Mapping[str, JointConstraint],
    sum_a: float,
) -> dict[EvseRef, Allocation]:
    """Return shares of `sum_a` (A, all phases added up), in the room that the other bounds leave."""
    root = site.circuits[0].id
    bound = joint.get(root, JointConstraint())
    if bound.sum_a is None or sum_a < bound.sum_a:
        bound = structs.replace(bound, sum_a=sum_a, sum_why=_exhausted(site))
    return allocate(site, demands, capacity, {**joint, root: bound})


class Surplus:
    """Surplus shares; stores since when each EVSE charges, waits, or charges without enough surplus."""

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
        """Return shares of `surplus_a` (A, all phases added up), in the room of `capacity` and `joint`.

        `held`: EVSEs that will continue with another number of phases soon, if they charge.
        """
        self._served = {d.ref: self._served.get(d.ref, (False, now - DWELL_S)) for d in demands}
        waits = {d.ref for d in demands if self._dwells(d.ref, False, now)}
        ready = [d for d in demands if d.ref not in waits]
        # What the surplus alone would give renews the dwell; who charges within it keeps the minimum.
        began = [d for d in ready if self._keeps(d.ref, d.ref in held, now)]
        first = {d.ref for d in began}
        ordered = [structs.replace(d, rank=-1.0) if d.ref in first else d for d in ready]
        by_surplus = share_surplus(site, ordered, capacity, joint, surplus_a)
        for ref, allocation in by_surplus.items():
            if allocation.limit_a > 0 and self._served[ref][0]:
                self._served[ref] = (True, now)
        promised_a = sum(d.min_a * sum(d.phases) for d in began)
        given = by_surplus
        if promised_a > surplus_a:
            given = share_surplus(site, ordered, capacity, joint, promised_a)
        for ref, allocation in given.items():
            self._note(ref, allocation.limit_a > 0, now)
        without = {
            d.ref: Allocation(d.ref, 0.0, _too_little(site, d))
            for d in ready
            if given[d.ref].statement.code is StatementCode.NO_ROOM and surplus_a < d.min_a * sum(d.phases)
        }
        return given | without | {ref: Allocation(ref, 0.0, NO_SURPLUS) for ref in waits}

    def end_dwell(self, ref: EvseRef, now: float) -> None:
        """Have an EVSE charge on from now on only where the surplus supplies it, without a dwell."""
        is_served, since = self._served.get(ref, (False, now))
        if is_served:
            self._served[ref] = (True, min(since, now - DWELL_S))

    def _keeps(self, ref: EvseRef, is_held: bool, now: float) -> bool:
        return self._dwells(ref, True, now) or (is_held and self._served[ref][0])

    def _dwells(self, ref: EvseRef, served: bool, now: float) -> bool:
        is_served, since = self._served[ref]
        return is_served is served and now < since + DWELL_S

    def _note(self, ref: EvseRef, served: bool, now: float) -> None:
        if served is not self._served[ref][0]:
            self._served[ref] = (served, now)


def _exhausted(site: SiteTree) -> Statement:
    return Statement(code=StatementCode.EXPORT_USED, circuit=site.circuits[0].id)


def _too_little(site: SiteTree, demand: Demand) -> Statement:
    """State that the surplus does not supply a minimum, which comes before a full circuit: that may end."""
    return Statement(code=StatementCode.NO_ROOM, cause=_exhausted(site), minimum_a=demand.min_a)
