"""What sharing the current costs: sites of 10 to 10 000 EVSEs, three levels of circuits, plain Python.

Two loads each: `plenty` (every minimum fits, the levels decide) and `scarce` (half of the cars wait).
Maxima are all different, which is the worst case: cars whose needs were learned. Two sorts of site each:
a plain one, and one with all that costs: unbalance is limited at the grid, and a third of the cars has to
leave at a time.
"""

from __future__ import annotations

import random
import statistics
import time

from msgspec import structs

from controller.load_management.allocation.allocator import Demand, allocate
from controller.load_management.allocation.constraints import JointConstraint
from controller.load_management.site_tree import CircuitNode, EvseNode, SiteTree
from controller.model.observations import EvseRef

SIZES = (10, 100, 1_000, 10_000)
EVSES_PER_ROW = 20
ROWS_PER_HALL = 10
A_PER_EVSE = {"plenty": 9.0, "scarce": 2.0}
UNBALANCE_A = 20.0
NEEDS_A = 10.0


def bench() -> list[dict[str, object]]:
    """One row a size and load: the median and the worst of several passes, in ms."""
    rows: list[dict[str, object]] = []
    for size in SIZES:
        for load, amps in A_PER_EVSE.items():
            site, demands = _depot(size, amps)
            hurried = [
                structs.replace(demand, needs_a=NEEDS_A if index % 3 == 0 else 0.0)
                for index, demand in enumerate(demands)
            ]
            leaning = {site.circuits[0].id: JointConstraint(unbalance_a=UNBALANCE_A)}
            rows.append(_row(f"allocate, {load}", site, demands, {}))
            rows.append(_row(f"allocate, {load}, unbalance and needs", site, hurried, leaning))
    return rows


def _row(
    name: str, site: SiteTree, demands: list[Demand], joint: dict[str, JointConstraint]
) -> dict[str, object]:
    capacity = {circuit.id: circuit.limit_a for circuit in site.circuits}
    times = [_timed(site, demands, capacity, joint) for _ in range(max(5, 200 // len(demands)))]
    return {
        "name": name,
        "evses": len(demands),
        "circuits": len(site.circuits),
        "median_ms": round(statistics.median(times), 2),
        "max_ms": round(max(times), 2),
    }


def _timed(
    site: SiteTree,
    demands: list[Demand],
    capacity: dict[str, tuple[float, float, float]],
    joint: dict[str, JointConstraint],
) -> float:
    begin = time.perf_counter()
    allocate(site, demands, capacity, joint)
    return (time.perf_counter() - begin) * 1e3


def _depot(size: int, amps_each: float) -> tuple[SiteTree, list[Demand]]:
    chance = random.Random(size)
    rows = -(-size // EVSES_PER_ROW)
    halls = -(-rows // ROWS_PER_HALL)
    circuits = [_circuit("grid", None, size * amps_each)]
    circuits += [_circuit(f"hall-{h}", "grid", size / halls * amps_each * 1.1) for h in range(halls)]
    circuits += [
        _circuit(
            f"row-{r}", f"hall-{r // ROWS_PER_HALL}", EVSES_PER_ROW * amps_each * chance.uniform(0.8, 1.5)
        )
        for r in range(rows)
    ]
    evses = tuple(
        EvseNode(
            ref=EvseRef(f"CS{i:05}", 1),
            circuit=f"row-{i % rows}",
            phases=chance.choice([(0, 1, 2), (1, 2, 0), (2, 0, 1)]),
            min_a=6.0,
            max_a=32.0,
            fallback_a=6.0,
        )
        for i in range(size)
    )
    demands = [
        Demand(
            ref=evse.ref,
            phases=chance.choice([(True, True, True), (True, False, False), (False, True, False)]),
            min_a=6.0,
            max_a=chance.uniform(7.0, 32.0),
            priority=chance.choice([0, 0, 0, 1]),
            rank=chance.random(),
        )
        for evse in evses
    ]
    return SiteTree(circuits=tuple(circuits), evses=evses), demands


def _circuit(name: str, parent: str | None, limit: float) -> CircuitNode:
    return CircuitNode(id=name, parent=parent, limit_a=(limit, limit, limit))


if __name__ == "__main__":
    for row in bench():
        print("  ".join(f"{key} {value}" for key, value in row.items()))
