"""The allocator's invariants, as properties over random trees, and its reasons, as examples."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from controller.load_management.allocation.allocator import Allocation, Demand, allocate
from controller.load_management.site_tree import CircuitNode, EvseNode, PhaseAmps, PhaseFlags, SiteTree
from controller.model.observations import EvseRef
from controller.model.statements import Statement, StatementCode
from tests.examples import examples

ALL: PhaseFlags = (True, True, True)
SOME_PHASES = [flags for flags in itertools.product([True, False], repeat=3) if any(flags)]

Case = tuple[SiteTree, list[Demand], dict[str, PhaseAmps]]


def tenths(low: int, high: int) -> st.SearchStrategy[float]:
    return st.integers(low, high).map(lambda n: n / 10)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    count = draw(st.integers(1, 6))
    circuits = tuple(
        CircuitNode(
            id=f"c{index}",
            parent=None if index == 0 else f"c{draw(st.integers(0, index - 1))}",
            limit_a=(0.0, 0.0, 0.0),
        )
        for index in range(count)
    )
    amps = tenths(-50, 900)
    capacity = {circuit.id: (draw(amps), draw(amps), draw(amps)) for circuit in circuits}
    evses, demands = [], []
    for index in range(draw(st.integers(0, 14))):
        ref = EvseRef(f"s{index // 2}", index % 2)
        low = draw(st.sampled_from([0.0, 6.0, 8.0]) | tenths(10, 130))
        high = draw(st.sampled_from([5.0, 16.0, 32.0]) | tenths(0, 400))
        circuit = f"c{draw(st.integers(0, count - 1))}"
        evses.append(
            EvseNode(ref=ref, circuit=circuit, phases=(0, 1, 2), min_a=low, max_a=high, fallback_a=0.0)
        )
        demands.append(
            Demand(
                ref=ref,
                phases=draw(st.sampled_from(SOME_PHASES)),
                min_a=low,
                max_a=high,
                priority=draw(st.integers(0, 2)),
                rank=draw(st.integers(0, 3)),
            )
        )
    return SiteTree(circuits=circuits, evses=tuple(evses)), demands, capacity


@st.composite
def pressing(draw: st.DrawFn) -> Case:
    """The same with cars that must leave in time."""
    site, demands, capacity = draw(cases())
    needs = st.just(0.0) | tenths(0, 400)
    return (
        site,
        [structs.replace(d, needs_a=draw(needs), why=Statement(code=StatementCode.LEAVES)) for d in demands],
        capacity,
    )


class Sums:
    """What the EVSEs take together on each (circuit, phase), in whole tenths, counted naively."""

    def __init__(self, case: Case, shares: dict[EvseRef, int]) -> None:
        self.site, self.demands, self.capacity = case
        self.on: dict[tuple[str, int], int] = {
            (circuit.id, phase): 0 for circuit in self.site.circuits for phase in range(3)
        }
        for demand in self.demands:
            for conductor in self.path(demand):
                self.on[conductor] += shares[demand.ref]

    def path(self, demand: Demand) -> list[tuple[str, int]]:
        home = self.site.evse_by_ref[demand.ref].circuit
        return [
            (circuit.id, phase)
            for circuit in self.site.path(home)
            for phase in range(3)
            if demand.phases[phase]
        ]

    def room(self, conductor: tuple[str, int]) -> int:
        circuit, phase = conductor
        return round(self.capacity[circuit][phase] * 10) - self.on[conductor]


def in_tenths(allocations: dict[EvseRef, Allocation]) -> dict[EvseRef, int]:
    return {ref: round(allocation.limit_a * 10) for ref, allocation in allocations.items()}


def bounds(demand: Demand) -> tuple[int, int]:
    return round(demand.min_a * 10), round(demand.max_a * 10)


@settings(max_examples=examples(300), deadline=None, derandomize=True)
@given(cases())
def test_constraints_hold_and_shares_are_zero_or_at_least_minimum(case: Case) -> None:
    shares = in_tenths(allocate(*case))
    sums = Sums(case, shares)
    for demand in case[1]:
        low, high = bounds(demand)
        share = shares[demand.ref]
        assert share == 0 or low <= share <= high
        if share:
            assert all(sums.room(conductor) >= 0 for conductor in sums.path(demand))


@settings(max_examples=examples(300), deadline=None, derandomize=True)
@given(cases())
def test_allocator_share_below_maximum_is_largest_on_full_constraint(case: Case) -> None:
    """The certificate of max-min fairness: raising one needs taking from one of its rank with no more.

    Full: if all of its priority that stand no higher (and could rise) took a tenth more, it would be
    over, even if those of lower priority gave back everything above their minima.
    """
    shares = in_tenths(allocate(*case))
    sums = Sums(case, shares)
    admitted = [demand for demand in case[1] if shares[demand.ref] or bounds(demand)[0] == 0]
    served = [demand for demand in admitted if bounds(demand)[0] <= bounds(demand)[1]]
    for demand in served:
        share = shares[demand.ref]
        if share == bounds(demand)[1]:
            continue
        certificates = []
        for conductor in sums.path(demand):
            peers = [other for other in served if conductor in sums.path(other)]
            stuck_with_it = [
                other
                for other in peers
                if other.priority == demand.priority
                and bounds(other)[0] <= shares[other.ref] < bounds(other)[1]
                and shares[other.ref] <= share
            ]
            larger = [
                other
                for other in peers
                if other.priority == demand.priority and shares[other.ref] > max(share, bounds(other)[0])
            ]
            below = [other for other in peers if other.priority < demand.priority]
            above_minima = sum(shares[other.ref] - bounds(other)[0] for other in below)
            certificates.append(sums.room(conductor) + above_minima < len(stuck_with_it) and not larger)
        assert any(certificates), demand


@settings(max_examples=examples(300), deadline=None, derandomize=True)
@given(cases())
def test_allocator_waiting_evse_does_not_fit_beside_those_before_it(case: Case) -> None:
    shares = in_tenths(allocate(*case))

    def order(demand: Demand) -> tuple[float, float, EvseRef]:
        return -demand.priority, demand.rank, demand.ref

    for demand in case[1]:
        low, high = bounds(demand)
        if shares[demand.ref] or low > high or low == 0:
            continue
        minima = {
            other.ref: bounds(other)[0] if shares[other.ref] and order(other) < order(demand) else 0
            for other in case[1]
        }
        sums = Sums(case, minima)
        assert any(sums.room(conductor) < low for conductor in sums.path(demand))


@settings(max_examples=examples(150), deadline=None, derandomize=True)
@given(cases(), st.randoms(use_true_random=False))
def test_allocator_order_of_demands_changes_no_share(case: Case, chance: random.Random) -> None:
    site, demands, capacity = case
    shuffled = list(demands)
    chance.shuffle(shuffled)
    first = allocate(site, demands, capacity)
    assert allocate(site, shuffled, capacity) == first
    assert allocate(site, demands, capacity) == first


@settings(max_examples=examples(150), deadline=None, derandomize=True)
@given(cases())
def test_allocator_each_demand_gets_share_with_reason(case: Case) -> None:
    allocations = allocate(*case)
    assert set(allocations) == {demand.ref for demand in case[1]}
    assert all(allocation.reason for allocation in allocations.values())


@settings(max_examples=examples(300), deadline=None, derandomize=True)
@given(pressing())
def test_needs_first_then_all_rise_from_there(case: Case) -> None:
    """Both steps are sharings without needs, whose certificate is above: up to the needs, then on."""
    site, pressed, capacity = case
    pressed = [structs.replace(each, priority=0) for each in pressed]
    demands = [structs.replace(each, needs_a=0.0) for each in pressed]
    only_needs = [
        structs.replace(d, max_a=max(d.min_a, min(p.needs_a, d.max_a))) if d.min_a <= d.max_a else d
        for d, p in zip(demands, pressed, strict=True)
    ]
    first = allocate(site, only_needs, capacity)
    admitted = [d for d in demands if first[d.ref].limit_a or d.min_a == 0]
    from_there = [structs.replace(d, min_a=first[d.ref].limit_a) for d in admitted]
    expected = {d.ref: 0 for d in demands} | in_tenths(allocate(site, from_there, capacity))
    assert in_tenths(allocate(site, pressed, capacity)) == expected


@settings(max_examples=examples(200), deadline=None, derandomize=True)
@given(pressing(), st.randoms(use_true_random=False))
def test_allocator_needs_overload_no_conductor_in_any_order(case: Case, chance: random.Random) -> None:
    site, demands, capacity = case
    given = allocate(site, demands, capacity)
    shares = in_tenths(given)
    sums = Sums(case, shares)
    for demand in demands:
        low, high = bounds(demand)
        share = shares[demand.ref]
        assert share == 0 or low <= share <= high
        assert not share or all(sums.room(conductor) >= 0 for conductor in sums.path(demand))
    without = in_tenths(allocate(site, [structs.replace(d, needs_a=0.0) for d in demands], capacity))
    assert [bool(shares[d.ref]) for d in demands if d.min_a] == [
        bool(without[d.ref]) for d in demands if d.min_a
    ]
    chance.shuffle(demands)
    assert allocate(site, demands, capacity) == given


def depot(**limits: float) -> tuple[SiteTree, dict[str, PhaseAmps]]:
    """A grid connection with rows of two EVSEs each: `depot(grid=40, a=20)`."""
    circuits = tuple(
        CircuitNode(id=name, parent=None if name == "grid" else "grid", limit_a=(amps, amps, amps))
        for name, amps in limits.items()
    )
    evses = tuple(
        EvseNode(
            ref=EvseRef(f"{circuit.id}{i}", 1),
            circuit=circuit.id,
            phases=(0, 1, 2),
            min_a=6.0,
            max_a=32.0,
            fallback_a=6.0,
        )
        for circuit in circuits
        for i in (1, 2)
    )
    site = SiteTree(circuits=circuits, evses=evses)
    return site, {circuit.id: circuit.limit_a for circuit in circuits}


def demand(
    name: str, *, phases: PhaseFlags = ALL, max_a: float = 32.0, priority: int = 0, rank: float = 0.0
) -> Demand:
    return Demand(ref=EvseRef(name, 1), phases=phases, min_a=6.0, max_a=max_a, priority=priority, rank=rank)


def shares_of(allocations: dict[EvseRef, Allocation]) -> dict[str, float]:
    return {ref.station: allocation.limit_a for ref, allocation in allocations.items()}


def test_allocator_rest_of_a_full_row_goes_to_the_other_row() -> None:
    site, capacity = depot(grid=60, a=16, b=60)
    got = shares_of(allocate(site, [demand("a1"), demand("a2"), demand("b1"), demand("b2")], capacity))
    assert got == {"a1": 8.0, "a2": 8.0, "b1": 22.0, "b2": 22.0}


def test_one_phase_cars_on_different_phases_do_not_share() -> None:
    site, capacity = depot(grid=20)
    on_l1, on_l2 = (True, False, False), (False, True, False)
    got = shares_of(allocate(site, [demand("grid1", phases=on_l1), demand("grid2", phases=on_l2)], capacity))
    assert got == {"grid1": 20.0, "grid2": 20.0}


def test_allocator_fills_higher_priority_first_keeps_minimum() -> None:
    site, capacity = depot(grid=30)
    got = allocate(site, [demand("grid1"), demand("grid2", priority=1)], capacity)
    assert shares_of(got) == {"grid1": 6.0, "grid2": 24.0}


def test_allocator_lower_rank_gets_only_minimum() -> None:
    site, capacity = depot(grid=11.9)
    got = allocate(site, [demand("grid1", rank=2), demand("grid2", rank=1)], capacity)
    assert shares_of(got) == {"grid1": 0.0, "grid2": 11.9}


def test_allocator_minimum_that_a_row_refuses_takes_no_room_above_it() -> None:
    site, capacity = depot(grid=12, a=6)
    wishes = [demand("a1", priority=1), demand("a2", priority=1), demand("grid1")]
    assert shares_of(allocate(site, wishes, capacity)) == {"a1": 6.0, "a2": 0.0, "grid1": 6.0}


def test_allocator_share_is_rounded_down_to_tenth() -> None:
    site, capacity = depot(grid=20.15)
    got = allocate(site, [demand("grid1"), demand("grid2")], capacity)
    assert shares_of(got) == {"grid1": 10.0, "grid2": 10.0}


@pytest.mark.parametrize(
    ("grid", "shares"),
    [
        (60.0, {"grid1": 30.0, "grid2": 30.0}),
        (24.0, {"grid1": 14.0, "grid2": 10.0}),
        (20.0, {"grid1": 14.0, "grid2": 6.0}),
        (16.0, {"grid1": 10.0, "grid2": 6.0}),
    ],
)
def test_need_is_met_before_demand_but_after_minimums(grid: float, shares: dict[str, float]) -> None:
    site, capacity = depot(grid=grid)
    leaves = structs.replace(
        demand("grid1"),
        needs_a=14.0,
        why=Statement(code=StatementCode.LEAVES, duration_s=7200.0, current_a=14.0),
    )
    got = allocate(site, [leaves, demand("grid2")], capacity)
    assert shares_of(got) == shares
    why = "leaves in 2 h, needs 14 A on average: grid L1 full" if grid < 60 else "grid L1 full"
    assert got[EvseRef("grid1", 1)].reason == why
    assert got[EvseRef("grid2", 1)].reason == "grid L1 full"


def test_allocator_need_does_not_pass_higher_priority() -> None:
    site, capacity = depot(grid=30)
    leaves = structs.replace(
        demand("grid1"),
        needs_a=14.0,
        why=Statement(code=StatementCode.LEAVES, duration_s=7200.0, current_a=14.0),
    )
    assert shares_of(allocate(site, [leaves, demand("grid2", priority=1)], capacity))["grid1"] == 6.0


@pytest.mark.parametrize(
    ("grid", "name", "words"),
    [
        (40.0, "grid1", "all it can take"),
        (20.0, "grid2", "grid L1 full"),
        (10.0, "grid2", "no room for its minimum of 6 A, grid L1 full: waiting"),
    ],
)
def test_allocator_reason_names_what_binds(grid: float, name: str, words: str) -> None:
    site, capacity = depot(grid=grid)
    got = allocate(site, [demand("grid1", max_a=16), demand("grid2", rank=1)], capacity)
    assert got[EvseRef(name, 1)].reason == words


def test_allocator_reason_names_phase_that_binds() -> None:
    site, _ = depot(grid=40, a=40)
    capacity = {"grid": (40.0, 40.0, 40.0), "a": (40.0, 10.0, 40.0)}
    assert allocate(site, [demand("a1")], capacity)[EvseRef("a1", 1)].reason == "a L2 full"


def test_allocator_cap_below_minimum_gives_nothing_and_states_it() -> None:
    site, capacity = depot(grid=40)
    allocation = allocate(site, [demand("grid1", max_a=4.0)], capacity)[EvseRef("grid1", 1)]
    assert allocation.limit_a == 0.0
    assert allocation.reason == "all it can take: 4 A, less than its minimum of 6 A"


def test_allocator_evse_that_site_does_not_have_is_error() -> None:
    site, capacity = depot(grid=40)
    with pytest.raises(KeyError):
        allocate(site, [demand("nobody")], capacity)


def test_allocator_guaranteed_current_comes_before_higher_priority() -> None:
    site = SiteTree(
        circuits=(CircuitNode(id="grid", parent=None, limit_a=(40.0,) * 3),),
        evses=tuple(
            EvseNode(ref=EvseRef(name, 1), circuit="grid", phases=(0, 1, 2), min_a=6, max_a=32, fallback_a=0)
            for name in ("tenant", "vip", "guest")
        ),
    )
    every = (True, True, True)
    demands = [
        Demand(ref=EvseRef("tenant", 1), phases=every, min_a=6, max_a=32, guaranteed_a=16),
        Demand(ref=EvseRef("vip", 1), phases=every, min_a=6, max_a=32, priority=9),
        Demand(ref=EvseRef("guest", 1), phases=every, min_a=6, max_a=32),
    ]
    shares = {
        ref.station: each.limit_a for ref, each in allocate(site, demands, {"grid": (40.0,) * 3}).items()
    }
    assert shares == {"tenant": 16.0, "vip": 18.0, "guest": 6.0}
    scarce = {
        ref.station: each.limit_a for ref, each in allocate(site, demands, {"grid": (7.0,) * 3}).items()
    }
    assert scarce == {"tenant": 7.0, "vip": 0.0, "guest": 0.0}
