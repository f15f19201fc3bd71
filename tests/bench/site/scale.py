"""Times of the control by the size of the site: a pass and its slices, readings, an overload of one row.

The cars of the site came over several passes, so that not all leases are renewed at once, and all stations
have reported since. Each pass is 5 s after the last one. Between two passes all meters are read, which show
what the cars draw and a little beside it. Before a busy pass one car in `REPORTING` draws another current and
reports it; before a quiet one none does, and what is sent then are renewals of leases and rises that waited.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections import defaultdict

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
from controller.services.garbage_collection import ShortCollections, collect_all
from drivers.reading import MeterState, Quality, Reading

SIZES = (1_000, 10_000)
EVSES_PER_ROW = 16
ROWS_PER_HALL = 8
AMPS_PER_EVSE = 8.0
INTERVAL_S = 5.0
"""Time between two passes (s)."""
ARRIVALS = 10
"""Passes in which all cars come."""
SETTLING = 40
"""Passes before the first one that is timed: until nearly each station has reported."""
PASSES = 9
"""Busy passes, and quiet ones."""
REPORTING = 20
"""One EVSE in so many reports between two passes."""
FLUTTER_A = 0.5
"""Change of what a car can take from one report to the next, but for one change in `CHANGING`."""
CHANGING = 10
BESIDE = 0.02
"""Part of a circuit's limit that flows beside the cars."""
ONE_PHASE = 0.3
"""Part of the cars that draw on one phase."""
BUSY = f"whole busy pass, {100 / REPORTING:g} % of the EVSEs changed"
QUIET = "whole quiet pass, no EVSE changed"


def bench() -> list[dict[str, object]]:
    """Return the rows of each size in ms of CPU time: medians, and the longest slice of all passes."""
    with ShortCollections():  # as in the daemon
        return [row for size in SIZES for row in _rows(size)]


def _rows(size: int) -> list[dict[str, object]]:
    run = _ScaleRun(size)
    times: defaultdict[str, list[float]] = defaultdict(list)
    commands: defaultdict[str, list[float]] = defaultdict(list)
    for kind in [BUSY] * PASSES + [QUIET] * PASSES:
        # At the time of the pass before, so that none begins with the events and all work is timed.
        if kind == BUSY:
            run.report()
        readings = [run.timed(run.reading(circuit)) for circuit in run.metered]
        times[f"readings of all {len(readings)} meters"].append(sum(readings))
        times["reading of the grid connection"].append(readings[0])
        run.now += INTERVAL_S
        sent = run.sent
        slices = run.timed_pass()
        times[kind].append(sum(slices))
        commands[kind].append(run.sent - sent)
        run.slices_ms += slices
        times[f"overload of a row of {EVSES_PER_ROW}"].append(run.timed(run.reading("row-0", over=1.1)))
        run.timed(run.reading("row-0"))
    found: list[dict[str, object]] = [
        {
            "what": what,
            "evses": size,
            "median_ms": round(statistics.median(found), 2),
            "max_ms": round(max(found), 2),
            **({"median_commands": round(statistics.median(commands[what]))} if what in commands else {}),
        }
        for what, found in times.items()
    ]
    longest = {"what": "longest slice, first pass included", "evses": size}
    return [*found, {**longest, "max_ms": round(max(run.slices_ms), 2)}]


class _ScaleRun:
    """A large site with all cars charging."""

    def __init__(self, size: int) -> None:
        self._rng = random.Random(size)
        self._site = _tree(size, self._rng)
        self._control = SiteControl(self._site, SiteSettings(), 0.0)
        self.now = 0.0
        self.slices_ms: list[float] = []
        """Times of the slices so far."""
        self.sent = 0
        """Commands so far."""
        self.metered = [each.id for each in self._site.circuits if each.meter is not None]
        self._limits = dict.fromkeys((evse.ref for evse in self._site.evses), 0.0)
        self._drawn: dict[EvseRef, tuple[float, float, float]] = {}
        self._wanted = {evse.ref: self._rng.uniform(6.0, 32.0) for evse in self._site.evses}
        self._one_phase = {evse.ref: self._rng.random() < ONE_PHASE for evse in self._site.evses}
        self._flows = {circuit.id: [0.0, 0.0, 0.0] for circuit in self._site.circuits}
        collect_all()
        for evse in self._site.evses:
            self.pass_event(StationUp(evse.ref.station))
        self._step()
        for number in range(ARRIVALS):
            for evse in self._site.evses[number::ARRIVALS]:
                self._start(evse)
            self._step()
        for _ in range(SETTLING):
            self._step()

    def _start(self, evse: EvseNode) -> None:
        self.pass_event(StationObserved(evse.ref.station, TransactionSeen(1, True)))
        self.pass_event(StationObserved(evse.ref.station, StateSeen(1, EvseState.CHARGING)))
        self._drawn[evse.ref] = (0.0, 0.0, 0.0)
        self._draw(evse)

    def _step(self) -> None:
        self.report()
        for circuit in self.metered:
            self.pass_event(self.reading(circuit))
        self.now += INTERVAL_S
        self.slices_ms += self.timed_pass()

    def pass_event(self, event: SiteEvent) -> None:
        self._obey(self._control.handle(event, self.now))

    def timed(self, event: SiteEvent) -> float:
        """Return how long an event takes (ms); what the stations do is not in that time."""
        begin = time.process_time()
        limits = self._control.handle(event, self.now)
        took_s = time.process_time() - begin
        self._obey(limits)
        self._control.take_decisions()
        return took_s * 1e3

    def timed_pass(self) -> list[float]:
        """Return how long each slice of a whole pass takes (ms)."""
        slices = [self.timed(ControlTick())]
        while self._control.due_at == -math.inf:
            slices.append(self.timed(ControlTick()))
        return slices

    def report(self) -> None:
        """Let some of the cars draw another current, and their stations report it."""
        started = [evse for evse in self._site.evses if evse.ref in self._drawn]
        for evse in self._rng.sample(started, len(started) // REPORTING):
            change_a = self._rng.uniform(-FLUTTER_A, FLUTTER_A)
            is_other = self._rng.randrange(CHANGING) == 0
            wanted_a = self._rng.uniform(6.0, 32.0) if is_other else self._wanted[evse.ref] + change_a
            self._wanted[evse.ref] = min(32.0, max(6.0, wanted_a))
            self._draw(evse)
            drawn = self._drawn[evse.ref]
            own = (drawn[evse.phases[0]], drawn[evse.phases[1]], drawn[evse.phases[2]])
            self.pass_event(StationObserved(evse.ref.station, DrawSeen(1, own)))

    def _obey(self, limits: list[SetLimit]) -> None:
        self.sent += len(limits)
        for limit in limits:
            self._control.handle(LimitAnswered(limit.token, True), self.now)
            if limit.duration_s is not None:
                self._limits[limit.ref] = limit.limit_a
                if limit.ref in self._drawn:
                    self._draw(self._site.evse_by_ref[limit.ref])

    def _draw(self, evse: EvseNode) -> None:
        """Let the car of an EVSE draw what its limit allows now."""
        amps = round(min(self._limits[evse.ref], self._wanted[evse.ref]), 1)
        drawn = [amps, amps, amps]
        if self._one_phase[evse.ref]:
            drawn = [0.0, 0.0, 0.0]
            drawn[evse.phases[0]] = amps
        before, self._drawn[evse.ref] = self._drawn[evse.ref], (drawn[0], drawn[1], drawn[2])
        for circuit in self._site.path(evse.circuit):
            flow = self._flows[circuit.id]
            for phase in range(3):
                flow[phase] += drawn[phase] - before[phase]

    def reading(self, circuit: str, over: float | None = None) -> MeterUpdated:
        """Return a reading of what flows; `over`: of so many times the limit of the circuit instead."""
        node, flow = self._site.circuit_by_id[circuit], self._flows[circuit]
        limit_a = node.limit_a[0]
        first, second, third = (
            (amps + BESIDE * limit_a if over is None else over * limit_a) + self._rng.random()
            for amps in flow
        )
        reading = Reading(time=self.now + self._rng.random() / 1000, current_a=(first, second, third))
        return MeterUpdated(MeterState(meter=str(node.meter), quality=Quality.GOOD, reading=reading))


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
