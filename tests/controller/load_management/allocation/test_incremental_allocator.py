"""An allocator that stays from pass to pass shares like a new one for each pass."""

from __future__ import annotations

import itertools
import random

import pytest
from msgspec import structs

from controller.load_management.allocation.allocator import Allocation, Allocator, Demand, allocate
from controller.load_management.allocation.constraints import AdmissionRooms, DimmedGroup, JointConstraint
from controller.load_management.site_tree import CircuitNode, EvseNode, PhaseAmps, SiteTree
from controller.model.observations import EvseRef
from controller.model.statements import Statement, StatementCode

SOME_PHASES = [flags for flags in itertools.product([True, False], repeat=3) if any(flags)]
PASSES = 8

Rooms = tuple[dict[str, PhaseAmps], dict[str, JointConstraint], AdmissionRooms | None]


def random_site(rng: random.Random) -> SiteTree:
    count = rng.randint(1, 6)
    circuits = tuple(
        CircuitNode(
            id=f"c{k}", parent=None if k == 0 else f"c{rng.randint(0, k - 1)}", limit_a=(0.0, 0.0, 0.0)
        )
        for k in range(count)
    )
    evses = tuple(
        EvseNode(
            ref=EvseRef(f"s{k}", 1),
            circuit=f"c{rng.randint(0, count - 1)}",
            phases=(0, 1, 2),
            min_a=6.0,
            max_a=32.0,
            fallback_a=0.0,
            is_controllable=rng.random() < 0.5,
        )
        for k in range(rng.randint(1, 24))
    )
    return SiteTree(circuits=circuits, evses=evses)


def random_demand(rng: random.Random, ref: EvseRef) -> Demand:
    return Demand(
        ref=ref,
        phases=rng.choice(SOME_PHASES),
        min_a=rng.choice([0.0, 6.0, 6.0, 6.0, rng.randint(10, 130) / 10]),
        max_a=rng.choice([5.0, 16.0, 32.0, 32.0, rng.randint(0, 400) / 10]),
        priority=rng.randint(0, 2),
        rank=float(rng.randint(0, 1)),
        place=(rng.randint(0, 1), rng.randint(1, 4), float(rng.randint(0, 5))),
        needs_a=rng.choice([0.0, 0.0, rng.randint(0, 400) / 10]),
        why=Statement(code=StatementCode.LEAVES),
        guaranteed_a=rng.choice([0.0, 0.0, 0.0, 6.0, rng.randint(0, 200) / 10]),
        is_served=rng.random() < 0.5,
        help_a=rng.choice([None, 0.0, rng.randint(0, 300) / 10]),
        is_due=rng.random() < 0.2,
    )


def random_rooms(rng: random.Random, site: SiteTree, *, with_joint: bool) -> Rooms:
    def amps(low: int, high: int) -> PhaseAmps:
        return (rng.randint(low, high) / 10, rng.randint(low, high) / 10, rng.randint(low, high) / 10)

    def more(than: PhaseAmps, sign: int) -> PhaseAmps:
        return (
            than[0] + sign * rng.randint(0, 30) / 10,
            than[1] + sign * rng.randint(0, 30) / 10,
            than[2] + sign * rng.randint(0, 30) / 10,
        )

    capacity = {circuit.id: amps(-50, 900) for circuit in site.circuits}
    joint = {
        circuit: JointConstraint(
            sum_a=rng.choice([None, rng.randint(0, 1500) / 10]),
            unbalance_a=rng.choice([None, None, 20.0]),
            base_a=amps(-50, 50),
            dimmed=rng.choice(
                [
                    None,
                    DimmedGroup(
                        amps(0, 400), rng.randint(0, 900) / 10, Statement(code=StatementCode.DIMMED_EACH)
                    ),
                ]
            ),
        )
        for circuit in capacity
        if with_joint and rng.random() < 0.4
    }
    admission = None
    if rng.random() < 0.6:
        admission = AdmissionRooms(
            {circuit: more(room, 1) for circuit, room in capacity.items()},
            {circuit: more(room, -1) for circuit, room in capacity.items()},
            {circuit: rng.randint(0, 30) / 10 for circuit in capacity if rng.random() < 0.3},
        )
    return capacity, joint, admission


def plain(shares: dict[EvseRef, Allocation]) -> dict[EvseRef, tuple[float, str]]:
    return {ref: (each.limit_a, each.reason) for ref, each in shares.items()}


@pytest.mark.parametrize("with_joint", [False, True])
@pytest.mark.parametrize("seed", range(30))
def test_allocator_after_changes_shares_like_a_new_one(seed: int, *, with_joint: bool) -> None:
    rng = random.Random(seed)
    site = random_site(rng)
    kept, demands = Allocator(site), dict[EvseRef, Demand]()
    capacity, joint, admission = random_rooms(rng, site, with_joint=with_joint)
    for number in range(PASSES):
        for evse in site.evses:
            if number == 0 or rng.random() < 0.2:
                demands[evse.ref] = random_demand(rng, evse.ref)
                if rng.random() < 0.2:
                    del demands[evse.ref]
                kept.set_demand(evse.ref, demands.get(evse.ref))
        if rng.random() < 0.6:
            capacity, joint, admission = random_rooms(rng, site, with_joint=with_joint)
        list(itertools.islice(kept.steps(capacity, joint, admission), rng.randint(0, 6)))  # given up
        list(kept.steps(capacity, joint, admission))
        complete = allocate(site, list(demands.values()), capacity, joint, admission)
        assert plain(kept.allocations) == plain(complete), number


@pytest.mark.parametrize("is_due", [False, True])
def test_allocator_keeps_minimum_beyond_plan_unless_one_before_is_due(*, is_due: bool) -> None:
    """A charges and B would begin, both in their turn; that of C is over. 12.5 A are left, 18 may be kept."""
    circuit = CircuitNode(id="grid", parent=None, limit_a=(0.0, 0.0, 0.0))
    evses = tuple(
        EvseNode(
            ref=EvseRef(name, 1), circuit="grid", phases=(0, 1, 2), min_a=6.0, max_a=32.0, fallback_a=0.0
        )
        for name in "ABC"
    )
    site = SiteTree(circuits=(circuit,), evses=evses)
    every = (True, True, True)
    demands = [
        Demand(ref=evse.ref, phases=every, min_a=6.0, max_a=32.0, place=(1, turn, 0.0), is_served=served)
        for evse, turn, served in zip(evses, (1, 3, 4), (True, False, True), strict=True)
    ]
    demands[1] = structs.replace(demands[1], is_due=is_due)
    plan, keep = {"grid": (12.5, 12.5, 12.5)}, {"grid": (18.0, 18.0, 18.0)}
    shares = allocate(site, demands, plan, admission=AdmissionRooms(keep, plan))
    given = [shares[evse.ref].limit_a for evse in evses]
    assert given == ([6.2, 6.2, 0.0] if is_due else [6.0, 6.0, 6.0])


def test_allocator_reports_changed_allocations_only() -> None:
    site = random_site(random.Random(1))
    first, second = site.evses[:2]
    room = {circuit.id: (200.0, 200.0, 200.0) for circuit in site.circuits}
    kept = Allocator(site)
    for evse in site.evses:
        kept.set_demand(evse.ref, Demand(ref=evse.ref, phases=(True, True, True), min_a=6.0, max_a=6.0))
    list(kept.steps(room))
    assert set(kept.take_changed()) == {evse.ref for evse in site.evses}
    kept.set_demand(first.ref, None)
    kept.set_demand(second.ref, Demand(ref=second.ref, phases=(True, True, True), min_a=6.0, max_a=7.0))
    list(kept.steps(room))
    assert set(kept.take_changed()) == {first.ref, second.ref}
    list(kept.steps(room))
    assert kept.take_changed() == []
