"""Allocator: minima first, then all rise together until a conductor is full.

The problem:

- A *conductor* is one phase of one circuit. An EVSE loads, on every circuit from its own up to the
  grid connection, each phase that it may draw on with its whole current (A per phase). Limits of
  power and of unbalance are conductors too, see `conductors.py`.
- An EVSE is *semi-continuous*: it takes nothing, or at least its minimum (6 A by IEC 61851-1).
- *Admission*: in the order of priority, then rank, each EVSE whose minimum still fits on all of its
  conductors gets that minimum. A minimum once given is never taken back by an EVSE that comes later
  in that order, so one who is left out really does not fit.
- *Filling*: inside one priority all admitted EVSEs rise with one common level over the whole tree at
  once, `x = clamp(level, minimum, maximum)`. When a conductor is full, everybody on it stays where he
  is and the others rise on. The result is max-min fair: no EVSE could get more but at the cost of one
  who has no more than he. The most important priority is filled first; the rest keep their minima.
- *Guarantees*: who is guaranteed a current rises to it before anybody else rises, whatever the priority, and
  is admitted before all others.
- *Needs*: who must have so much to leave in time rises before the others of his priority, max-min fairly
  among those who need, up to his need and no higher; then all rise together from where they stand.

All currents are whole tenths of an ampere inside (OCPP 1.6 allows a limit one decimal), so sums are
exact and the same demands in any order give the same answer. EVSEs of the same circuit on the same
phases see the same conductors and move as one group: the work grows with the groups and the distinct
minima and maxima in them, not with EVSEs times wires.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import msgspec

from controller.load_management.allocation.constraints import (
    TENTHS,
    AdmissionRooms,
    Constraints,
    JointConstraint,
    PhaseFlags,
    tenths_down,
    tenths_up,
)
from controller.load_management.allocation.unbalance import ROUNDS, PhaseLeads
from controller.load_management.allocation.water_filling import (
    Claim,
    ClaimGroup,
    fill,
    fill_guarantees,
    fill_needs,
)
from controller.load_management.site_tree import PhaseAmps, SiteTree
from controller.model.observations import EvseRef

NO_JOINT: Mapping[str, JointConstraint] = {}


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """Demand of one EVSE. Currents in A per phase.

    `phases` are the site's phases on which it may draw: every wired one while that is unknown.
    `max_a` holds everything that caps it (its rating, its cable, what its car was seen to need);
    `cap` states it in words. HIGHER `priority` is more important. Among equals the LOWER `rank` gets
    its minimum first when there is not room for all of them. `needs_a` is what it must have on average
    (0: nothing special), and `why` states it: inside its priority all needs come before anybody's wishes.
    `guaranteed_a` comes before all needs and wishes of every priority (0: nothing guaranteed).
    `is_served`: it charges, so its minimum is kept where another one would not start. `help_a`: the least
    that it draws, which is what it can help other phases with; None: all of its share.
    """

    ref: EvseRef
    phases: PhaseFlags
    min_a: float
    max_a: float
    priority: int = 0
    rank: float = 0.0
    needs_a: float = 0.0
    why: str = ""
    guaranteed_a: float = 0.0
    cap: str = "all it can take"
    is_served: bool = False
    help_a: float | None = None


class Allocation(msgspec.Struct, frozen=True):
    """Share of one EVSE: 0, or `min_a` to `max_a` in steps of 0.1 A, and the reason."""

    ref: EvseRef
    limit_a: float
    reason: str


Ranks = Callable[[Sequence[EvseRef]], Mapping[EvseRef, float]]
"""Function that returns the ranks of some EVSEs."""


def allocate(
    site: SiteTree,
    demands: Sequence[Demand],
    capacity: Mapping[str, PhaseAmps],
    joint: Mapping[str, JointConstraint] = NO_JOINT,
    admission: AdmissionRooms | None = None,
) -> dict[EvseRef, Allocation]:
    """Share the capacity among the demands, once; see `Allocator.share`."""
    return Allocator(site).share(demands, capacity, joint, admission)


class Allocator:
    """Allocator of one site. It keeps what two calls have in common, so that only changes cost time."""

    def __init__(self, site: SiteTree) -> None:
        self._site = site
        self._constraints: Constraints | None = None
        self._claims: dict[EvseRef, tuple[Demand, Claim]] = {}
        self._last: dict[EvseRef, Allocation] = {}

    def share(
        self,
        demands: Sequence[Demand],
        capacity: Mapping[str, PhaseAmps],
        joint: Mapping[str, JointConstraint] = NO_JOINT,
        admission: AdmissionRooms | None = None,
        ranks: Ranks | None = None,
    ) -> dict[EvseRef, Allocation]:
        """Share the capacity among the demands.

        `capacity` is, for every circuit of the site, the A per phase that the EVSEs below it may take
        together; zero or less means nothing. `joint` holds what else bounds a circuit, if anything does:
        power, unbalance. `admission`: the room for minima where it is another than `capacity`. Each EVSE may
        appear once in `demands`. `ranks` decides among demands of the same `rank`; it is called for those
        only whose minima do not all fit.

        Raises KeyError for an EVSE or a circuit that the site or `capacity` does not have.
        """
        leads = PhaseLeads(self._site, joint)
        constraints = self._prepare(capacity, joint, leads, admission)
        asking = [(demand, self._claim(demand, constraints)) for demand in demands]
        for _ in range(ROUNDS):
            _share(asking, constraints, ranks)
            if not leads.rooms or not _tighten(leads, constraints, [claim for _, claim in asking]):
                break
            _begin_anew(asking, constraints, leads)
        else:
            leads.count_no_help()
            _begin_anew(asking, constraints, leads)
            _share(asking, constraints, ranks)
        return {demand.ref: self._allocation(demand, claim, constraints) for demand, claim in asking}

    def _prepare(
        self,
        capacity: Mapping[str, PhaseAmps],
        joint: Mapping[str, JointConstraint],
        leads: PhaseLeads,
        admission: AdmissionRooms | None,
    ) -> Constraints:
        """Return the constraints with these rooms; new ones where their rows are others."""
        found = self._constraints
        if found is None or not found.has_rows_for(joint, leads.rooms):
            found = self._constraints = Constraints(self._site, capacity, joint, leads.rooms, admission)
            self._claims.clear()
        else:
            found.set_rooms(capacity, joint, leads.rooms, admission)
        return found

    def _claim(self, demand: Demand, constraints: Constraints) -> Claim:
        """Return the claim of a demand; that of the last call where the demand is the same one."""
        known = self._claims.get(demand.ref)
        if known is not None and known[0] is demand:
            known[1].clear()
            return known[1]
        evse = self._site.evse_by_ref[demand.ref]
        claim = Claim(
            constraints.group(evse.circuit, demand.phases, steerable=evse.steerable),
            tenths_up(demand.min_a),
            tenths_down(demand.max_a),
            tenths_up(demand.needs_a),
            guaranteed=tenths_down(demand.guaranteed_a),
            is_served=demand.is_served,
            drawn=None if demand.help_a is None else tenths_down(demand.help_a),
        )
        self._claims[demand.ref] = (demand, claim)
        return claim

    def _allocation(self, demand: Demand, claim: Claim, constraints: Constraints) -> Allocation:
        """Return the result for one demand; the object of the last call if it is the same."""
        limit_a, reason = claim.share / TENTHS, _reason(demand, claim, constraints)
        last = self._last.get(demand.ref)
        if last is not None and last.limit_a == limit_a and last.reason == reason:
            return last
        found = self._last[demand.ref] = Allocation(demand.ref, limit_a, reason)
        return found


Asking = Sequence[tuple[Demand, Claim]]
"""Demands and their claims."""


def _tighten(leads: PhaseLeads, conductors: Constraints, claims: Sequence[Claim]) -> bool:
    return leads.tighten(conductors.shared(claims), conductors.shared(claims, helping=True))


def _begin_anew(asking: Asking, constraints: Constraints, leads: PhaseLeads) -> None:
    """Take all shares back, and apply other bounds on the leads."""
    constraints.clear(leads.rooms)
    for _, claim in asking:
        claim.clear()


def _share(asking: Asking, constraints: Constraints, ranks: Ranks | None) -> None:
    """Make one pass: minima in order, then all rise, one priority after the other."""
    able = [pair for pair in asking if pair[1].minimum <= pair[1].maximum]
    constraints.find_tight(claim for _, claim in able)
    _admit(able, constraints, ranks)
    room = constraints.room
    by_priority: defaultdict[int, list[Claim]] = defaultdict(list)
    for demand, claim in able:
        if claim.admitted:
            by_priority[demand.priority].append(claim)
    fill_guarantees([claim for peers in by_priority.values() for claim in peers], room)
    for priority in sorted(by_priority, reverse=True):
        fill_needs(by_priority[priority], room)
        fill(by_priority[priority], room)


def _admit(asking: Asking, constraints: Constraints, ranks: Ranks | None) -> None:
    """Give minima: all at once where all fit, else in order, each where it fits on all of its conductors.

    Who charges fits into the room to keep, who would begin into the room to start; both count all minima
    given before. What is left to rise in is the room of the plan, which kept minima may exceed.
    """
    keep, start = constraints.keep_room, constraints.start_room
    taken = [0] * len(keep)  # by minima, of the conductors that have not room for all of them
    given: dict[ClaimGroup, int] = {}
    contested: list[tuple[Demand, Claim]] = []
    for pair in asking:
        claim = pair[1]
        if claim.group.contested:
            contested.append(pair)
        else:
            claim.admitted = True
            claim.share = claim.minimum
            given[claim.group] = given.get(claim.group, 0) + claim.minimum
    for _, claim in _in_order(contested, ranks):
        minimum, group = claim.minimum, claim.group
        free = keep if claim.is_served else start
        for conductor, times in group.contested:
            if free[conductor] - taken[conductor] < times * minimum:
                claim.bound_by = conductor
                break
        else:
            for conductor, times in group.contested:
                taken[conductor] += times * minimum
            claim.admitted = True
            claim.share = minimum
            given[group] = given.get(group, 0) + minimum
    room = constraints.room
    for group, minima in given.items():
        for conductor, times in group.loads:
            room[conductor] -= times * minima


def _in_order(asking: Asking, ranks: Ranks | None) -> Asking:
    """Return the demands in the order of their admission."""
    places = {} if ranks is None or not asking else ranks([demand.ref for demand, _ in asking])
    return sorted(
        asking,
        key=lambda pair: (
            pair[0].guaranteed_a < pair[0].min_a,
            -pair[0].priority,
            pair[0].rank,
            places.get(pair[0].ref, 0.0),
            pair[0].ref,
        ),
    )


def _reason(demand: Demand, claim: Claim, conductors: Constraints) -> str:
    if claim.minimum > claim.maximum:
        return f"{demand.cap}: {demand.max_a:g} A, less than its minimum of {demand.min_a:g} A"
    if claim.bound_by is None:
        return demand.cap
    name = conductors.name(claim.bound_by)
    if claim.admitted:
        return f"{demand.why}: {name}" if claim.is_by_need else name
    return f"no room for its minimum of {demand.min_a:g} A, {name}: waiting"
