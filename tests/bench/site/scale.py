"""Times of the control by the size of the site: a pass and its slices, a reading, an overload of one row."""

from __future__ import annotations

import gc
import math
import random
import statistics
import time

from controller.cli.run import GC_THRESHOLD
from controller.load_management.events import (
    ControlTick,
    LimitAnswered,
    MeterUpdated,
    SetLimit,
    SiteEvent,
    StationObserved,
    StationUp,
)
from controller.load_management.sharing_settings import SiteSettings
from controller.load_management.site_control import SiteControl
from controller.load_management.site_tree import CircuitNode, EvseNode, SiteTree
from controller.model.observations import DrawSeen, EvseRef, EvseState, StateSeen, TransactionSeen
from drivers.reading import MeterState, Quality, Reading

SIZES = (1_000, 10_000)
EVSES_PER_ROW = 16
ROWS_PER_HALL = 8
AMPS_PER_EVSE = 8.0
PASSES = 5
REPORTING = 20
"""One EVSE in so many reports between two passes."""


def bench() -> list[dict[str, object]]:
    """Return the rows of each size in ms of CPU time: medians, and the longest slice of all passes."""
    return [row for size in SIZES for row in _rows(size)]


def _rows(size: int) -> list[dict[str, object]]:
    run = _ScaleRun(size)
    passes, readings, overloads = [], [], []
    longest_ms = run.longest_ms
    for _ in range(PASSES):
        run.now += 5
        run.report()
        readings.append(run.timed(run.reading("grid", 0.5)))
        slices = run.timed_pass()
        passes.append(sum(slices))
        longest_ms = max(longest_ms, *slices)
        run.now += 1
        overloads.append(run.timed(run.reading("row-0", 1.1)))
        run.pass_event(run.reading("row-0", 0.5))
    found: list[dict[str, object]] = [
        {"what": what, "evses": size, "median_ms": round(statistics.median(times), 2)}
        for what, times in (
            ("whole pass, 5 % of the EVSEs changed", passes),
            ("reading of the grid connection", readings),
            (f"overload of a row of {EVSES_PER_ROW}", overloads),
        )
    ]
    return [*found, {"what": "longest slice, first pass included", "evses": size, "ms": round(longest_ms, 2)}]


class _ScaleRun:
    """A large site with all cars charging."""

    def __init__(self, size: int) -> None:
        self._rng = random.Random(size)
        self._site = _tree(size, self._rng)
        self._control = SiteControl(self._site, SiteSettings(), 0.0)
        self.now = 0.0
        self.longest_ms = 0.0
        gc.set_threshold(GC_THRESHOLD)  # as in the daemon
        gc.freeze()
        for evse in self._site.evses:
            self.pass_event(StationUp(evse.ref.station))
        self._read_all()
        self.longest_ms = max(self.timed_pass())
        self._one_phase = {evse.ref: self._rng.random() < 0.3 for evse in self._site.evses}
        for evse in self._site.evses:
            self.pass_event(StationObserved(evse.ref.station, TransactionSeen(1, True)))
            self.pass_event(StationObserved(evse.ref.station, StateSeen(1, EvseState.CHARGING)))
        for _ in range(4):
            self.now += 5
            self._read_all()
            self.longest_ms = max(self.longest_ms, *self.timed_pass())

    def pass_event(self, event: SiteEvent) -> list[SetLimit]:
        limits = self._control.handle(event, self.now)
        for limit in limits:
            self._control.handle(LimitAnswered(limit.token, True), self.now)
        return limits

    def timed(self, event: SiteEvent) -> float:
        """Return how long an event takes (ms); the answers to its limits follow outside of that time."""
        begin = time.process_time()
        limits = self._control.handle(event, self.now)
        took_s = time.process_time() - begin
        for limit in limits:
            self._control.handle(LimitAnswered(limit.token, True), self.now)
        self._control.take_decisions()
        return took_s * 1e3

    def timed_pass(self) -> list[float]:
        """Return how long each slice of a whole pass takes (ms)."""
        slices = [self.timed(ControlTick())]
        while self._control.due_at == -math.inf:
            slices.append(self.timed(ControlTick()))
        return slices

    def report(self) -> None:
        offers = {view.ref: view.offered_a for view in self._control.snapshot(self.now).evses}
        for evse in self._rng.sample(self._site.evses, max(1, len(self._site.evses) // REPORTING)):
            amps = round(min(offers[evse.ref], self._rng.uniform(6, 32)), 1)
            rest = 0.0 if self._one_phase[evse.ref] else amps
            self.pass_event(StationObserved(evse.ref.station, DrawSeen(1, (amps, rest, rest))))

    def reading(self, circuit: str, part: float) -> MeterUpdated:
        node = self._site.circuit_by_id[circuit]
        amps = part * node.limit_a[0]
        shown = (amps + self._rng.random(), amps + self._rng.random(), amps)
        reading = Reading(time=self.now + self._rng.random() / 1000, current_a=shown)
        return MeterUpdated(MeterState(meter=str(node.meter), quality=Quality.GOOD, reading=reading))

    def _read_all(self) -> None:
        for circuit in self._site.circuits:
            if circuit.meter is not None:
                self.pass_event(self.reading(circuit.id, 0.5))


def _tree(size: int, rng: random.Random) -> SiteTree:
    rows = max(1, size // EVSES_PER_ROW)
    halls = max(1, rows // ROWS_PER_HALL)
    circuits = [_circuit("grid", None, size * AMPS_PER_EVSE, metered=True)]
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


if __name__ == "__main__":
    for row in bench():
        print("  ".join(f"{key} {value}" for key, value in row.items()))
