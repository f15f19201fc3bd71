"""A large site with a car at every EVSE: what its stations report, its cars draw and its meters show."""

from __future__ import annotations

import random
from collections.abc import Iterator

from msgspec.structs import replace

from controller.load_management.events import MeterUpdated, SetLimit, SiteEvent, StationObserved
from controller.load_management.site_tree import CircuitNode, EvseNode, SiteTree
from controller.model.observations import DrawSeen, EvseRef, EvseState, NeedsSeen, StateSeen, TransactionSeen
from drivers.reading import MeterState, Quality, Reading

SIZES = (1_000, 10_000)
INTERVAL_S = 5.0
"""Time between two passes (s)."""
ARRIVALS = 10
"""Passes in which all cars come."""
EVSES_PER_ROW = 16
ROWS_PER_HALL = 8
AMPS_PER_EVSE = 8.0
REPORTING = 20
"""One EVSE in so many reports between two passes."""
FLUTTER_A = 0.5
"""Change of what a car can take from one report to the next, but for one change in `CHANGING`."""
CHANGING = 10
BESIDE = 0.02
"""Part of a circuit's limit that flows beside the cars."""
ONE_PHASE = 0.3
"""Part of the cars that draw on one phase."""
WITH_GOAL = 3
"""One car in so many has a departure goal, where there are any."""
GOAL_WH = 20_000.0
LEAVES_IN_S = 3 * 3600.0


class LargeSite:
    """Cars and meters of a site of so many EVSEs; `metered`: its circuits with a meter.

    `unbalance_a`: limit of the unbalance at the grid connection (A). `has_goals`: some cars have a departure
    goal.
    """

    def __init__(self, size: int, *, unbalance_a: float | None = None, has_goals: bool = False) -> None:
        self._rng = random.Random(size)
        self._has_goals = has_goals
        self.tree = _tree(size, unbalance_a, self._rng)
        self.metered = [each.id for each in self.tree.circuits if each.meter is not None]
        self._limits = dict.fromkeys((evse.ref for evse in self.tree.evses), 0.0)
        self._drawn: dict[EvseRef, tuple[float, float, float]] = {}
        self._wanted = {evse.ref: self._rng.uniform(6.0, 32.0) for evse in self.tree.evses}
        self._one_phase = {evse.ref: self._rng.random() < ONE_PHASE for evse in self.tree.evses}
        self._flows = {circuit.id: [0.0, 0.0, 0.0] for circuit in self.tree.circuits}

    def arrivals(self) -> Iterator[Iterator[SiteEvent]]:
        """Let all cars come, a part of them before each pass; yield what the stations send before each."""
        for number in range(ARRIVALS):
            yield (event for evse in self.tree.evses[number::ARRIVALS] for event in self._start(evse))

    def _start(self, evse: EvseNode) -> Iterator[SiteEvent]:
        """Let a car begin at an EVSE; yield what its station sends then."""
        yield StationObserved(evse.ref.station, TransactionSeen(1, True))
        yield StationObserved(evse.ref.station, StateSeen(1, EvseState.CHARGING))
        if self._has_goals and len(self._drawn) % WITH_GOAL == 0:
            yield StationObserved(evse.ref.station, NeedsSeen(1, GOAL_WH, LEAVES_IN_S))
        self._drawn[evse.ref] = (0.0, 0.0, 0.0)
        self._draw(evse)

    def report(self) -> Iterator[SiteEvent]:
        """Let some of the cars draw another current; yield the reports of their stations."""
        started = [evse for evse in self.tree.evses if evse.ref in self._drawn]
        for evse in self._rng.sample(started, len(started) // REPORTING):
            change_a = self._rng.uniform(-FLUTTER_A, FLUTTER_A)
            is_other = self._rng.randrange(CHANGING) == 0
            wanted_a = self._rng.uniform(6.0, 32.0) if is_other else self._wanted[evse.ref] + change_a
            self._wanted[evse.ref] = min(32.0, max(6.0, wanted_a))
            self._draw(evse)
            drawn = self._drawn[evse.ref]
            own = (drawn[evse.phases[0]], drawn[evse.phases[1]], drawn[evse.phases[2]])
            yield StationObserved(evse.ref.station, DrawSeen(1, own))

    def obey(self, limit: SetLimit) -> None:
        """Let a station follow a limit: it holds its car to the lease."""
        if limit.duration_s is not None:
            self._limits[limit.ref] = limit.limit_a
            if limit.ref in self._drawn:
                self._draw(self.tree.evse_by_ref[limit.ref])

    def _draw(self, evse: EvseNode) -> None:
        """Let the car of an EVSE draw what its limit allows now."""
        amps = round(min(self._limits[evse.ref], self._wanted[evse.ref]), 1)
        drawn = [amps, amps, amps]
        if self._one_phase[evse.ref]:
            drawn = [0.0, 0.0, 0.0]
            drawn[evse.phases[0]] = amps
        before, self._drawn[evse.ref] = self._drawn[evse.ref], (drawn[0], drawn[1], drawn[2])
        for circuit in self.tree.path(evse.circuit):
            flow = self._flows[circuit.id]
            for phase in range(3):
                flow[phase] += drawn[phase] - before[phase]

    def reading(self, circuit: str, now: float, over: float | None = None) -> MeterUpdated:
        """Return a reading of what flows; `over`: of so many times the limit of the circuit instead."""
        node, flow = self.tree.circuit_by_id[circuit], self._flows[circuit]
        limit_a = node.limit_a[0]
        first, second, third = (
            (amps + BESIDE * limit_a if over is None else over * limit_a) + self._rng.random()
            for amps in flow
        )
        reading = Reading(time=now + self._rng.random() / 1000, current_a=(first, second, third))
        return MeterUpdated(MeterState(meter=str(node.meter), quality=Quality.GOOD, reading=reading))


def _tree(size: int, unbalance_a: float | None, rng: random.Random) -> SiteTree:
    rows = max(1, size // EVSES_PER_ROW)
    halls = max(1, rows // ROWS_PER_HALL)
    grid = _circuit("grid", None, size * AMPS_PER_EVSE, metered=True)
    circuits = [replace(grid, unbalance_a=unbalance_a)]
    circuits += [
        _circuit(f"hall-{h}", "grid", size / halls * AMPS_PER_EVSE * rng.uniform(0.9, 1.4), metered=False)
        for h in range(halls)
    ]
    circuits += [
        _circuit(
            f"row-{r}",
            f"hall-{r % halls}",
            EVSES_PER_ROW * AMPS_PER_EVSE * rng.uniform(0.7, 1.6),
            metered=r % 4 == 0,
        )
        for r in range(rows)
    ]
    evses = tuple(
        EvseNode(
            ref=EvseRef(f"S{index:05}", 1),
            circuit=f"row-{index % rows}",
            phases=[(0, 1, 2), (1, 2, 0), (2, 0, 1)][index % 3],
            min_a=6.0,
            max_a=32.0,
            fallback_a=0.0,
        )
        for index in range(size)
    )
    return SiteTree(circuits=tuple(circuits), evses=evses)


def _circuit(name: str, parent: str | None, limit_a: float, *, metered: bool) -> CircuitNode:
    return CircuitNode(id=name, parent=parent, limit_a=(limit_a,) * 3, meter=name if metered else None)
