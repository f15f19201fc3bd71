"""Who may take how much: the minima first, then everybody rises together until a wire is full.

The problem, in the words of this module:

- A *conductor* is one phase of one circuit. An EVSE loads, on every circuit from its own up to the
  grid connection, each phase that it may draw on with its whole current (A per phase).
- An EVSE is *semi-continuous*: it takes nothing, or at least its minimum (6 A by IEC 61851-1).
- *Admission*: in the order of priority, then rank, each EVSE whose minimum still fits on all of its
  conductors gets that minimum. A minimum once given is never taken back by somebody who comes later
  in that order, so one who is left out really does not fit.
- *Filling*: inside one priority all admitted EVSEs rise with one common level over the whole tree at
  once, `x = clamp(level, minimum, maximum)`. When a conductor is full, everybody on it stays where he
  is and the others rise on. The result is max-min fair: nobody could get more but at the cost of one
  who has no more than he. The most important priority is filled first; the rest keep their minima.

All currents are whole tenths of an ampere inside (OCPP 1.6 allows a limit one decimal), so sums are
exact and the same demands in any order give the same answer. EVSEs of the same circuit on the same
phases see the same conductors and move as one group: the work grows with the groups and the distinct
minima and maxima in them, not with EVSEs times wires.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

import msgspec

from controller.ocpp.observations import EvseRef
from controller.site.filling import Claim, Group, fill
from controller.site.tree import PhaseAmps, Site

PhaseFlags = tuple[bool, bool, bool]
"""One yes or no for each of the site's L1, L2, L3."""

TENTHS = 10
"""Parts of an ampere that a limit is made of."""


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """What one EVSE could take now. Currents in A per phase.

    `phases` are the site's phases on which it may draw: every wired one while that is unknown.
    `max_a` holds everything that caps it (its rating, its cable, what its car was seen to need);
    `cap` says so in words. HIGHER `priority` is more important. Among equals the LOWER `rank` gets
    its minimum first when there is not room for all of them.
    """

    ref: EvseRef
    phases: PhaseFlags
    min_a: float
    max_a: float
    priority: int = 0
    rank: float = 0.0
    cap: str = "all it can take"


class Allocation(msgspec.Struct, frozen=True):
    """What one EVSE may take: 0, or `min_a` to `max_a` in steps of 0.1 A, and why not more."""

    ref: EvseRef
    limit_a: float
    reason: str


def allocate(
    site: Site, demands: Sequence[Demand], capacity: Mapping[str, PhaseAmps]
) -> dict[EvseRef, Allocation]:
    """Share the capacity among the demands.

    `capacity` is, for every circuit of the site, the A per phase that the EVSEs below it may take
    together; zero or less means nothing. Each EVSE may appear once in `demands`.

    Raises KeyError for an EVSE or a circuit that the site or `capacity` does not have.
    """
    conductors = _Conductors(site, capacity)
    ordered = sorted(demands, key=lambda demand: (-demand.priority, demand.rank, demand.ref))
    claims = [_claim(demand, conductors.group(site, demand)) for demand in ordered]
    _admit([claim for claim in claims if claim.minimum <= claim.maximum], conductors)
    served = [pair for pair in zip(ordered, claims, strict=True) if pair[1].admitted]
    for _, same_priority in groupby(served, key=lambda pair: pair[0].priority):
        fill([claim for _, claim in same_priority], conductors.room)
    return {
        demand.ref: Allocation(demand.ref, claim.share / TENTHS, _reason(demand, claim, conductors))
        for demand, claim in zip(ordered, claims, strict=True)
    }


class _Conductors:
    """Every phase of every circuit by a number: what room it has, and which of them a demand loads."""

    def __init__(self, site: Site, capacity: Mapping[str, PhaseAmps]) -> None:
        self.room = [_tenths_down(amps) for circuit in site.circuits for amps in capacity[circuit.id]]
        self._names = [circuit.id for circuit in site.circuits]
        self._paths: dict[str, tuple[int, ...]] = {}
        for index, circuit in enumerate(site.circuits):
            above = self._paths[circuit.parent] if circuit.parent is not None else ()
            self._paths[circuit.id] = (index, *above)
        self._groups: dict[tuple[str, PhaseFlags], Group] = {}

    def group(self, site: Site, demand: Demand) -> Group:
        key = (site.evse_by_ref[demand.ref].circuit, demand.phases)
        group = self._groups.get(key)
        if group is None:
            phases = [phase for phase in range(3) if demand.phases[phase]]
            group = Group([3 * index + phase for index in self._paths[key[0]] for phase in phases])
            self._groups[key] = group
        return group

    def forget_the_roomy(self, claims: Iterable[Claim]) -> None:
        """Drop from every group the conductors that even everybody's maximum cannot fill."""
        wanted = [0] * len(self.room)
        for group in self._groups.values():
            group.wanted = 0
        for claim in claims:
            claim.group.wanted += claim.maximum
        for group in self._groups.values():
            for conductor in group.conductors:
                wanted[conductor] += group.wanted
        for group in self._groups.values():
            group.conductors = [c for c in group.conductors if wanted[c] > self.room[c]]

    def name(self, conductor: int) -> str:
        return f"{self._names[conductor // 3]} L{conductor % 3 + 1}"


def _claim(demand: Demand, group: Group) -> Claim:
    return Claim(group, _tenths_up(demand.min_a), _tenths_down(demand.max_a))


def _admit(claims: Sequence[Claim], conductors: _Conductors) -> None:
    """Give minima in the order of the claims, each where it fits on all of its conductors."""
    conductors.forget_the_roomy(claims)
    room = conductors.room
    for claim in claims:
        minimum, loaded = claim.minimum, claim.group.conductors
        for conductor in loaded:
            if room[conductor] < minimum:
                claim.bound_by = conductor
                break
        else:
            for conductor in loaded:
                room[conductor] -= minimum
            claim.admitted = True
            claim.share = minimum


def _reason(demand: Demand, claim: Claim, conductors: _Conductors) -> str:
    if claim.minimum > claim.maximum:
        return f"{demand.cap}: {demand.max_a:g} A, less than its minimum of {demand.min_a:g} A"
    if claim.bound_by is None:
        return demand.cap
    name = conductors.name(claim.bound_by)
    if claim.admitted:
        return f"{name} full"
    return f"no room for its minimum of {demand.min_a:g} A on {name}: waiting"


def _tenths_down(amps: float) -> int:
    """Whole tenths, rounded down but for the dust of binary fractions (0.3 is three tenths)."""
    return math.floor(amps * TENTHS + 1e-6)


def _tenths_up(amps: float) -> int:
    return math.ceil(amps * TENTHS - 1e-6)
