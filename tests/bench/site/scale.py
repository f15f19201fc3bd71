"""Times of the control by the size of the site: a pass and its slices, readings, an overload of one row.

The cars of the site came over several passes, so that not all leases are renewed at once, and all stations
have reported since. Each pass is 5 s after the last one. Between two passes all meters are read, which show
what the cars draw and a little beside it. Before a busy pass one car in `REPORTING` draws another current and
reports it; before a quiet one none does, and what is sent then are renewals of leases and rises that waited.
"""

from __future__ import annotations

import gc
import math
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable

from controller.load_management.energy.energy_settings import EnergySettings
from controller.load_management.energy.price_series import make_series
from controller.load_management.energy.quarter_peak import QUARTER_S
from controller.load_management.events import (
    ControlTick,
    LimitAnswered,
    MeterUpdated,
    SetLimit,
    SiteEvent,
    StationUp,
)
from controller.load_management.sharing_settings import SiteSettings
from controller.load_management.site_control import SiteControl
from controller.services.machine.garbage_collection import ShortCollections, collect_all
from tests.bench.site.large_site import EVSES_PER_ROW, INTERVAL_S, REPORTING, SIZES, LargeSite

SETTLING = 40
"""Passes before the first one that is timed: until nearly each station has reported."""
PASSES = 9
"""Busy passes, and quiet ones."""
BUSY = f"whole busy pass, {100 / REPORTING:g} % of the EVSEs changed"
QUIET = "whole quiet pass, no EVSE changed"
BEGIN = 1_774_785_600.0
"""Time of day at the begin: that of a quarter hour (POSIX s)."""
UNBALANCE_A = 20.0
"""Limit of the unbalance at the grid connection, where it is limited (A)."""


def bench() -> list[dict[str, object]]:
    """Return the rows of each size in ms of CPU time: medians, and the longest slice of all passes."""
    with ShortCollections():  # as in the daemon
        return [row for size in SIZES for row in (*_rows(size), *_busy_rows(size), *_price_rows(size))]


def _busy_rows(size: int) -> list[dict[str, object]]:
    """Return the rows of busy passes over sites with a limited unbalance, or with departure goals."""
    rows: list[dict[str, object]] = []
    for what, site in (
        (f"{BUSY}; unbalance limited", LargeSite(size, unbalance_a=UNBALANCE_A)),
        (f"{BUSY}; departure goals", LargeSite(size, has_goals=True)),
    ):
        run = _ScaleRun(site)
        times: list[float] = []
        commands: list[float] = []
        for _ in range(PASSES):
            sent = run.sent
            times.append(sum(run.busy_pass()))
            commands.append(run.sent - sent)
        rows.append(_row(what, size, times, commands))
    return rows


def _price_rows(size: int) -> list[dict[str, object]]:
    """Return the rows of passes in which all cars with a goal choose their quarter hours, by new prices."""
    run = _ScaleRun(LargeSite(size, has_goals=True), has_prices=True)
    run.slices_ms.clear()
    times: list[float] = []
    for number in range(PASSES):
        run.set_prices(number)
        times.append(sum(run.busy_pass()))
    what = f"{BUSY}; departure goals, new prices"
    longest = {"what": "longest slice, new prices", "evses": size}
    return [_row(what, size, times, None), {**longest, "max_ms": round(max(run.slices_ms), 2)}]


def _row(what: str, size: int, times: list[float], commands: list[float] | None) -> dict[str, object]:
    return {
        "what": what,
        "evses": size,
        "median_ms": round(statistics.median(times), 2),
        "max_ms": round(max(times), 2),
        **({"median_commands": round(statistics.median(commands))} if commands else {}),
    }


def _rows(size: int) -> list[dict[str, object]]:
    run = _ScaleRun(LargeSite(size))
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
    rows = [_row(what, size, found, commands.get(what)) for what, found in times.items()]
    longest = {"what": "longest slice, first pass included", "evses": size}
    return [*rows, {**longest, "max_ms": round(max(run.slices_ms), 2)}]


class _ScaleRun:
    """A large site with all cars charging. `has_prices`: those with a goal wait for lower prices."""

    def __init__(self, site: LargeSite, *, has_prices: bool = False) -> None:
        self._site = site
        energy = EnergySettings(has_prices=has_prices)
        self._control = SiteControl(self._site.tree, SiteSettings(energy=energy), 0.0)
        self.now = 0.0
        self._control.energy.set_clock(BEGIN, self.now)
        self.slices_ms: list[float] = []
        """Times of the slices so far."""
        self.sent = 0
        """Commands so far."""
        self.metered = self._site.metered
        collect_all()
        self._take_in(StationUp(evse.ref.station) for evse in self._site.tree.evses)
        self.timed_pass()  # that which the first event has begun: the next ones begin when they are timed
        self.busy_pass()
        for events in self._site.arrivals():
            self._take_in(events)
            self.busy_pass()
        for _ in range(SETTLING):
            self.busy_pass()

    def busy_pass(self) -> list[float]:
        """Let some cars draw another current, and all meters show it; return the times of a pass (ms)."""
        self.report()
        self._take_in(self.reading(circuit) for circuit in self.metered)
        self.now += INTERVAL_S
        slices = self.timed_pass()
        self.slices_ms += slices
        return slices

    def set_prices(self, seed: int) -> None:
        """Set random prices for each quarter hour of a day."""
        rng = random.Random(seed)
        prices = make_series([(BEGIN + number * QUARTER_S, rng.uniform(0.1, 0.5)) for number in range(96)])
        self._control.energy.evses.prices.set_prices(prices)

    def _take_in(self, events: Iterable[SiteEvent]) -> None:
        for event in events:
            self._obey(self._control.handle(event, self.now))

    def timed(self, event: SiteEvent) -> float:
        """Return how long an event takes (ms); what the stations do is not in that time.

        After a slice of a pass comes a run of the garbage collector, as in the daemon.
        """
        begin = time.process_time()
        limits = self._control.handle(event, self.now)
        if isinstance(event, ControlTick):
            gc.collect(0)
        took_s = time.process_time() - begin
        self._obey(limits)
        self._control.take_log()
        return took_s * 1e3

    def timed_pass(self) -> list[float]:
        """Return how long each slice of a whole pass takes (ms)."""
        slices = [self.timed(ControlTick())]
        while self._control.due_at == -math.inf:
            slices.append(self.timed(ControlTick()))
        return slices

    def report(self) -> None:
        """Let some of the cars draw another current, and their stations report it."""
        self._take_in(self._site.report())

    def reading(self, circuit: str, over: float | None = None) -> MeterUpdated:
        """Return a reading of what flows; `over`: of so many times the limit of the circuit instead."""
        return self._site.reading(circuit, self.now, over)

    def _obey(self, limits: list[SetLimit]) -> None:
        self.sent += len(limits)
        for limit in limits:
            self._control.handle(LimitAnswered(limit.token, True), self.now)
            self._site.obey(limit)


if __name__ == "__main__":
    for row in bench():
        print("  ".join(f"{key} {value}" for key, value in row.items()))
