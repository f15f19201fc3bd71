"""Longest turn of the event loop in the load management service, on large sites.

The service runs as in the daemon, with its store on a disk and its log. Stations, cars and meters are in the
same process and send events instead of messages, each in a turn of its own of the loop: what it takes to read
their messages and to write the limits is no part of this. All cars have come before. Time runs as it does,
and goes on by `INTERVAL_S` between two passes.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import trio
import trio.testing
from msgspec.structs import replace

from controller.config import Config
from controller.config.loader import check_config
from controller.load_management.events import LimitAnswered, SetLimit, SiteEvent, StationUp
from controller.load_management.site_tree import SiteTree
from controller.services.load_management.load_management_service import LoadManagementService
from controller.services.machine.garbage_collection import ShortCollections, collect_all
from controller.store.state_store import StateStore
from tests.bench.site.large_site import INTERVAL_S, SIZES, LargeSite

SETTLING = 10
"""Passes before the first one that is measured."""
BUSY_PASSES = 10
MOST_A = 10_000.0
"""Highest limit that a configuration takes (A)."""
QUIET_S = 0.05
"""Time without a turn of the loop after which a pass is over, and all of its limits are answered (s)."""


class LoopWatch(trio.abc.Instrument):
    """Turns of the event loop: `held_ms`, and the CPU time of its thread in them, `used_ms`."""

    def __init__(self) -> None:
        self._began_at, self._used_before = time.perf_counter(), time.thread_time()
        self.held_ms: list[float] = []
        self.used_ms: list[float] = []

    def after_io_wait(self, timeout: float) -> None:
        """Note the begin of a turn."""
        self._began_at, self._used_before = time.perf_counter(), time.thread_time()

    def before_io_wait(self, timeout: float) -> None:
        """Note the end of a turn."""
        self.held_ms.append((time.perf_counter() - self._began_at) * 1e3)
        self.used_ms.append((time.thread_time() - self._used_before) * 1e3)


def bench() -> list[dict[str, object]]:
    """Return the longest turns of the loop for each size, while the site is busy."""
    rows: list[dict[str, object]] = []
    log = logging.getLogger("controller")
    level, handler = log.level, logging.StreamHandler(open(os.devnull, "w"))  # noqa: SIM115
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        for size in SIZES:
            with tempfile.TemporaryDirectory() as folder, ShortCollections():
                rows.append(trio.run(_run, size, Path(folder), clock=trio.testing.MockClock(rate=1.0)))
    finally:
        log.setLevel(level)
        log.removeHandler(handler)
        handler.stream.close()
    return rows


async def _run(size: int, folder: Path) -> dict[str, object]:
    site = LargeSite(size)
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, trio.testing.MockClock)
    store = StateStore(folder)
    service = LoadManagementService(_configure(site.tree, folder), store, {})
    collect_all()
    sent, answered = trio.open_memory_channel[SetLimit](10 * size)

    async def answer() -> None:
        async for limit in answered:
            site.obey(limit)
            service.handle_event(LimitAnswered(limit.token, True))

    def take_in(events: Iterable[SiteEvent]) -> None:
        for event in events:
            service.handle_event(event)

    async def make_pass() -> None:
        for event in site.report():
            service.handle_event(event)
            await trio.lowlevel.checkpoint()
        for circuit in site.metered:
            service.handle_event(site.reading(circuit, trio.current_time()))
            await trio.lowlevel.checkpoint()
        service.share_current()
        await trio.testing.wait_all_tasks_blocked(QUIET_S)
        clock.jump(INTERVAL_S)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(service.run, sent.send_nowait)
        nursery.start_soon(answer)
        take_in(StationUp(evse.ref.station) for evse in site.tree.evses)
        for events in site.arrivals():
            take_in(events)
            await make_pass()
        for _ in range(SETTLING):
            await make_pass()
        watch = LoopWatch()
        trio.lowlevel.add_instrument(watch)
        for _ in range(BUSY_PASSES):
            await make_pass()
        trio.lowlevel.remove_instrument(watch)
        nursery.cancel_scope.cancel()
    store.close()
    return {
        "what": "longest turn of the service's event loop, busy",
        "evses": size,
        "max_ms": round(max(watch.held_ms), 2),
        "max_cpu_ms": round(max(watch.used_ms), 2),
    }


def _configure(site: SiteTree, folder: Path) -> Config:
    """Return the configuration of a site.

    The grid connection of a very large one carries more than a configuration takes: its limit is set after
    the check.
    """
    config, errors, _ = check_config(_site_text(site, folder), "site.toml")
    assert config is not None, errors
    limits = {circuit.id: circuit.limit_a for circuit in site.circuits}
    return replace(config, circuit=tuple(replace(each, limit_a=limits[each.id]) for each in config.circuit))


def _site_text(site: SiteTree, folder: Path) -> str:
    """Return the file of a site."""
    lines = ['[site]\nid = "lc"', f'[store]\ndirectory = "{folder}"', "[load_management]\nfallback_a = 0"]
    for circuit in site.circuits:
        lines += ["[[circuit]]", f'id = "{circuit.id}"', f"limit_a = {min(circuit.limit_a[0], MOST_A):.1f}"]
        lines += [f'parent = "{circuit.parent}"'] if circuit.parent else []
        lines += [f'meter = "{circuit.meter}"'] if circuit.meter else []
    for number, meter in enumerate(circuit.meter for circuit in site.circuits if circuit.meter):
        lines += ["[[meter]]", f'id = "{meter}"', 'driver = "janitza-umg604"', 'transport = "tcp"']
        lines += [f'host = "192.0.2.{number % 250 + 1}"', f"port = {502 + number // 250}"]
    for evse in site.evses:
        phases = ", ".join(f'"L{phase + 1}"' for phase in evse.phases)
        lines += ["[[station]]", f'id = "{evse.ref.station}"', f'circuit = "{evse.circuit}"']
        lines += ["[[station.evse]]", f"phases = [{phases}]"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for row in bench():
        print("  ".join(f"{key} {value}" for key, value in row.items()))
