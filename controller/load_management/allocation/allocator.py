"""Allocator: minima first, then all rise together until a conductor is full.

The problem:

- A *conductor* is one phase of one circuit. An EVSE loads, on every circuit from its own up to the
  grid connection, each phase that it may draw on with its whole current (A per phase). Limits of
  power and of unbalance are conductors too, see `conductors.py`.
- An EVSE is *semi-continuous*: it takes nothing, or at least its minimum (6 A by IEC 61851-1).
- *Admission*: in the order of priority, then rank, each EVSE whose minimum still fits on all of its
  conductors gets that minimum. A minimum once given is never taken back by somebody who comes later
  in that order, so one who is left out really does not fit.
- *Filling*: inside one priority all admitted EVSEs rise with one common level over the whole tree at
  once, `x = clamp(level, minimum, maximum)`. When a conductor is full, everybody on it stays where he
  is and the others rise on. The result is max-min fair: nobody could get more but at the cost of one
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

from collections.abc import Mapping, Sequence
from itertools import groupby

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
from controller.load_management.allocation.water_filling import Claim, fill, fill_guarantees, fill_needs
from controller.load_management.site_tree import PhaseAmps, SiteTree
from controller.model.observations import EvseRef

NO_JOINT: Mapping[str, JointConstraint] = {}


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """Demand of one EVSE. Currents in A per phase.

    `phases` are the site's phases on which it may draw: every wired one while that is unknown.
    `max_a` holds everything that caps it (its rating, its cable, what its car was seen to need);
    `cap` says so in words. HIGHER `priority` is more important. Among equals the LOWER `rank` gets
    its minimum first when there is not room for all of them. `needs_a` is what it must have on average
    (0: nothing special), and `why` says so: inside its priority all needs come before anybody's wishes.
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


def allocate(
    site: SiteTree,
    demands: Sequence[Demand],
    capacity: Mapping[str, PhaseAmps],
    joint: Mapping[str, JointConstraint] = NO_JOINT,
    admission: AdmissionRooms | None = None,
) -> dict[EvseRef, Allocation]:
    """Share the capacity among the demands.

    `capacity` is, for every circuit of the site, the A per phase that the EVSEs below it may take
    together; zero or less means nothing. `joint` holds what else bounds a circuit, if anything does:
    power, unbalance. `admission`: the room for minima where it is another than `capacity`. Each EVSE may
    appear once in `demands`.

    Raises KeyError for an EVSE or a circuit that the site or `capacity` does not have.
    """
    ordered = sorted(
        demands,
        key=lambda demand: (demand.guaranteed_a < demand.min_a, -demand.priority, demand.rank, demand.ref),
    )
    leads = PhaseLeads(site, joint)
    conductors = Constraints(site, capacity, joint, leads.rooms, admission)
    claims = [_claim(site, demand, conductors) for demand in ordered]
    for _ in range(ROUNDS):
        _share(ordered, claims, conductors)
        if not leads.rooms or not _tighten(leads, conductors, claims):
            break
        _begin_anew(claims, conductors, leads)
    else:
        leads.count_no_help()
        _begin_anew(claims, conductors, leads)
        _share(ordered, claims, conductors)
    return {
        demand.ref: Allocation(demand.ref, claim.share / TENTHS, _reason(demand, claim, conductors))
        for demand, claim in zip(ordered, claims, strict=True)
    }


def _tighten(leads: PhaseLeads, conductors: Constraints, claims: Sequence[Claim]) -> bool:
    return leads.tighten(conductors.shared(claims), conductors.shared(claims, helping=True))


def _begin_anew(claims: Sequence[Claim], conductors: Constraints, leads: PhaseLeads) -> None:
    """Take all shares back, and apply other bounds on the leads."""
    conductors.clear(leads.rooms)
    for claim in claims:
        claim.clear()


def _share(ordered: Sequence[Demand], claims: Sequence[Claim], conductors: Constraints) -> None:
    """Make one pass: minima in order, then all rise, one priority after the other."""
    _admit([claim for claim in claims if claim.minimum <= claim.maximum], conductors)
    served = [pair for pair in zip(ordered, claims, strict=True) if pair[1].admitted]
    fill_guarantees([claim for _, claim in served], conductors.room)
    served.sort(key=lambda pair: -pair[0].priority)
    for _, same_priority in groupby(served, key=lambda pair: pair[0].priority):
        peers = [claim for _, claim in same_priority]
        fill_needs(peers, conductors.room)
        fill(peers, conductors.room)


def _claim(site: SiteTree, demand: Demand, conductors: Constraints) -> Claim:
    evse = site.evse_by_ref[demand.ref]
    group = conductors.group(evse.circuit, demand.phases, steerable=evse.steerable)
    return Claim(
        group,
        tenths_up(demand.min_a),
        tenths_down(demand.max_a),
        tenths_up(demand.needs_a),
        guaranteed=tenths_down(demand.guaranteed_a),
        is_served=demand.is_served,
        drawn=None if demand.help_a is None else tenths_down(demand.help_a),
    )


def _admit(claims: Sequence[Claim], conductors: Constraints) -> None:
    """Give minima in the order of the claims, each where it fits on all of its conductors.

    Who charges fits into the room to keep, who would begin into the room to start; both count all minima
    given before. What is left to rise in is the room of the plan, which kept minima may exceed.
    """
    conductors.forget_the_roomy(claims)
    keep, start = list(conductors.keep_room), list(conductors.start_room)
    room = conductors.room
    for claim in claims:
        minimum, loads = claim.minimum, claim.group.loads
        free = keep if claim.is_served else start
        for conductor, times in loads:
            if free[conductor] < times * minimum:
                claim.bound_by = conductor
                break
        else:
            for conductor, times in loads:
                taken = times * minimum
                room[conductor] -= taken
                keep[conductor] -= taken
                start[conductor] -= taken
            claim.admitted = True
            claim.share = minimum


def _reason(demand: Demand, claim: Claim, conductors: Constraints) -> str:
    if claim.minimum > claim.maximum:
        return f"{demand.cap}: {demand.max_a:g} A, less than its minimum of {demand.min_a:g} A"
    if claim.bound_by is None:
        return demand.cap
    name = conductors.name(claim.bound_by)
    if claim.admitted:
        return f"{demand.why}: {name}" if claim.is_by_need else name
    return f"no room for its minimum of {demand.min_a:g} A, {name}: waiting"
