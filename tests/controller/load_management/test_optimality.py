"""The allocator against a linear solver without levels, groups or conductors.

For those whom the allocator admits, the max-min fair shares are found the textbook way: raise the
least share as far as it goes, pin who cannot rise any further, and go on with the rest. Everything is
a thousand times larger than on a site, so that the allocator's tenths are no excuse.
"""

from __future__ import annotations

import numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from controller.load_management.allocation.allocator import Demand, allocate
from controller.load_management.allocation.constraints import JointConstraint
from controller.load_management.site_tree import CircuitNode, EvseNode, PhaseAmps, SiteTree
from tests.controller.load_management.allocation.test_allocator import SOME_PHASES, Case, EvseRef
from tests.examples import examples

SCALE = 1000
TENTH_A = 0.1


@st.composite
def small_cases(draw: st.DrawFn) -> tuple[Case, dict[str, JointConstraint]]:
    """A tree of up to four circuits with up to seven EVSEs, some circuits with limited power."""
    amps = st.integers(0, 60).map(lambda n: float(n * SCALE))
    count = draw(st.integers(1, 4))
    parents = [None, *(f"c{draw(st.integers(0, index - 1))}" for index in range(1, count))]
    circuits = tuple(
        CircuitNode(id=f"c{index}", parent=parent, limit_a=(0.0, 0.0, 0.0))
        for index, parent in enumerate(parents)
    )
    capacity: dict[str, PhaseAmps] = {c.id: (draw(amps), draw(amps), draw(amps)) for c in circuits}
    joint = {c.id: JointConstraint(sum_a=2 * draw(amps)) for c in circuits if draw(st.booleans())}
    evses, demands = [], []
    for index in range(draw(st.integers(1, 7))):
        ref = EvseRef(f"s{index}", 1)
        low, high = 6.0 * SCALE, float(draw(st.sampled_from([6, 10, 16, 20, 32])) * SCALE)
        home = draw(st.sampled_from(circuits)).id
        evses.append(EvseNode(ref=ref, circuit=home, phases=(0, 1, 2), min_a=low, max_a=high, fallback_a=0.0))
        demands.append(
            Demand(
                ref=ref,
                phases=draw(st.sampled_from(SOME_PHASES)),
                min_a=low,
                max_a=high,
                priority=draw(st.integers(0, 1)),
            )
        )
    return (SiteTree(circuits=circuits, evses=tuple(evses)), demands, capacity), joint


class Solver:
    """The polytope of the admitted: rows of what they load, and what each row holds."""

    def __init__(self, case: Case, joint: dict[str, JointConstraint], admitted: list[Demand]) -> None:
        site, _, capacity = case
        self.admitted = admitted
        rows, holds = [], []
        for circuit in site.circuits:
            below = [
                [
                    flag if circuit in site.path(site.evse_by_ref[d.ref].circuit) else False
                    for flag in d.phases
                ]
                for d in admitted
            ]
            for phase in range(3):
                rows.append([float(flags[phase]) for flags in below])
                holds.append(capacity[circuit.id][phase])
            if circuit.id in joint:
                rows.append([float(sum(flags)) for flags in below])
                holds.append(joint[circuit.id].sum_a)
        self.rows, self.holds = numpy.array(rows), numpy.array(holds)
        self.low = numpy.array([d.min_a for d in admitted])
        self.high = numpy.array([d.max_a for d in admitted])

    def fairest(self) -> list[float]:
        """The important first, the others at their minimum; then those, with what was left."""
        for priority in (1, 0):
            open_ = {i for i, d in enumerate(self.admitted) if d.priority == priority}
            later = [i for i, d in enumerate(self.admitted) if d.priority < priority]
            kept = self.high[later].copy()
            self.high[later] = self.low[later]
            self._raise_all(open_)
            self.high[later] = kept
        return list(self.low)

    def _raise_all(self, rising: set[int]) -> None:
        while rising:
            level = self._best(rising, None)
            at_level = {i: max(level, self.low[i]) for i in rising}
            stuck = {i for i in rising if self._best(rising, i) <= at_level[i] + 0.1}
            assert stuck
            for i in stuck:
                self.low[i] = self.high[i] = at_level[i]
            for i in rising - stuck:
                self.low[i] = at_level[i]
            rising = rising - stuck

    def _best(self, rising: set[int], one: int | None) -> float:
        """How far the least of the rising can get; or `one`, with the others where they stand at least."""
        n = len(self.low)
        goal = numpy.zeros(n + 1)
        goal[n if one is None else one] = -1.0
        rows = [[*row, 0.0] for row in self.rows]
        holds = list(self.holds)
        if one is None:
            for i in rising:  # level <= x_i, unless x_i stands at its minimum above it
                rows.append([-1.0 if k == i else 0.0 for k in range(n)] + [1.0])
                holds.append(0.0)
        else:
            level = self._best(rising, None)
        low = self.low.copy()
        if one is not None:
            for i in rising:
                low[i] = max(low[i], min(level, self.high[i]))
        bounds = [*zip(low - 0.02, self.high + 0.02, strict=True), (0.0, None)]
        found = linprog(goal, A_ub=rows, b_ub=numpy.array(holds), bounds=bounds)
        assert found.status == 0, found.message
        return float(-found.fun)


@settings(max_examples=examples(200), deadline=None, derandomize=True)
@given(small_cases())
def test_optimality_shares_of_admitted_are_solvers(drawn: tuple[Case, dict[str, JointConstraint]]) -> None:
    case, joint = drawn
    shares = {ref: each.limit_a for ref, each in allocate(*case, joint).items()}
    admitted = [demand for demand in case[1] if shares[demand.ref] > 0]
    if not admitted:
        return
    fairest = Solver(case, joint, admitted).fairest()
    for demand, best in zip(admitted, fairest, strict=True):
        assert abs(shares[demand.ref] - best) <= TENTH_A * 3 * len(admitted) + 0.1
