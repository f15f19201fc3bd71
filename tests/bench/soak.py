"""Soak: a busy site with a flapping backend and a failing meter; memory, tasks and descriptors stay flat."""

from __future__ import annotations

import random
import re
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import trio

from controller.services.machine.control_socket import ControlError, send_command
from drivers.meter_model import load_model
from drivers.simulated import SimulatedMeter, serve_tcp
from tests.interop.programs import free_port
from tests.scenario.busy_csms import BusyCsms
from tests.scenario.busy_station import BusyStation
from tests.scenario.controller_process import ControllerProcess
from tests.scenario.transaction_ledger import TransactionLedger

SAMPLES = 60
"""Samples of a run; the first quarter is warm-up."""
PAUSE_S = 2.0
"""Longest pause of a station between two messages."""
UP_S, AWAY_S = (20.0, 60.0), (2.0, 15.0)
"""Times for which the backend serves and is away: what has been queued meanwhile is delivered in between."""
START_S = 120.0
"""Time in which each station must have sent a message of a transaction."""
METER = "janitza-umg604"

GROWTH = 0.10
SLACK = {"rss_kb": 4096, "tasks": 12, "descriptors": 12}
"""What may be added from the second quarter to the last: so much, and a tenth."""


class Sample(NamedTuple):
    """The controller's resources at one moment."""

    rss_kb: int
    descriptors: int
    tasks: int


class SoakFailedError(AssertionError):
    """A resource of the controller grew over the run."""


def bench(stations: int, seconds: float, seed: int = 1) -> list[dict[str, object]]:
    """Run the site and return a row for each resource; fails where one has grown."""
    with tempfile.TemporaryDirectory() as folder:
        samples, figures = trio.run(_soak, Path(folder), stations, seconds, random.Random(seed))
    rows = [_row(name, [getattr(each, name) for each in samples]) for name in Sample._fields]
    rows += [{"what": name, "last quarter": value} for name, value in figures.items()]
    grown = [row["what"] for row in rows if row.get("flat") is False]
    if grown:
        raise SoakFailedError(f"grew over {seconds:g} s: {', '.join(map(str, grown))}: {rows}")
    return rows


def _row(name: str, values: list[int]) -> dict[str, object]:
    quarter = max(1, len(values) // 4)
    early, late = statistics.mean(values[quarter : 2 * quarter]), statistics.mean(values[-quarter:])
    return {
        "what": name,
        "second quarter": round(early, 1),
        "last quarter": round(late, 1),
        "highest": max(values),
        "flat": late <= early * (1 + GROWTH) + SLACK[name],
    }


async def _soak(
    folder: Path, count: int, seconds: float, chance: random.Random
) -> tuple[list[Sample], dict[str, object]]:
    port, backend_port, meter_port = free_port(), free_port(), free_port()
    names = {f"CS{each:03d}": ("ocpp1.6", "ocpp2.0.1")[each % 2] for each in range(count)}
    controller = ControllerProcess(folder, _configuration(folder, port, backend_port, meter_port, count))
    backend = BusyCsms("cpo", backend_port, TransactionLedger(1), chance, UP_S, AWAY_S)
    backend.steady = True
    stations = [
        BusyStation(name, protocol, f"ws://127.0.0.1:{port}/ocpp/{name}", chance, pause_s=PAUSE_S)
        for name, protocol in names.items()
    ]
    samples: list[Sample] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(backend.run)
        nursery.start_soon(_run_failing_meter, meter_port, chance)
        await controller.start()
        await controller.ready()
        for station in stations:
            nursery.start_soon(station.run)
        try:
            with trio.fail_after(START_S):
                while any(not station.journal for station in stations):
                    await backend.received.wait()
            backend.steady = False
            for number in range(1, SAMPLES + 1):
                await trio.sleep(seconds / SAMPLES)
                if not controller.is_running:
                    raise SoakFailedError(f"the controller ended: {controller.log[-3000:]}")
                samples.append(await _sample(controller.pid, folder))
                _print_progress(number, samples[-1], stations)
        finally:
            await controller.kill()
        nursery.cancel_scope.cancel()
    return samples, {
        "stations": count,
        "seconds": seconds,
        "transactions": sum(station.transactions for station in stations),
        "messages": sum(len(station.journal) for station in stations),
        "repeated by stations": sum(station.repeated for station in stations),
    }


def _print_progress(number: int, sample: Sample, stations: list[BusyStation]) -> None:
    """Print one line a sample, so that a run which is cut short has shown its figures."""
    figures = " ".join(f"{name}={value}" for name, value in sample._asdict().items())
    messages = sum(len(station.journal) for station in stations)
    print(f"soak sample={number}/{SAMPLES} {figures} messages={messages}", file=sys.stderr, flush=True)


async def _run_failing_meter(port: int, chance: random.Random) -> None:
    """Serve a meter at times, and refuse connections at others."""
    while True:
        meter = SimulatedMeter(load_model(METER))
        with trio.move_on_after(chance.uniform(2, 8)):
            await serve_tcp(meter, port=port)
        await trio.sleep(chance.uniform(1, 6))


async def _sample(pid: int, folder: Path) -> Sample:
    tasks = await _ask_tasks(folder)
    return await trio.to_thread.run_sync(_read_sample, pid, tasks)


def _read_sample(pid: int, tasks: int) -> Sample:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None, status
    return Sample(int(found[1]), len(list(Path(f"/proc/{pid}/fd").iterdir())), tasks)


async def _ask_tasks(folder: Path) -> int:
    """Ask the controller for the number of its tasks; a busy one may refuse a connection at a time."""
    began = time.monotonic()
    while True:
        try:
            answer = await trio.to_thread.run_sync(partial(send_command, folder, "runtime"))
            return int(answer["tasks"])
        except ControlError:
            if time.monotonic() - began > 30:
                raise
            await trio.sleep(0.5)


def _configuration(folder: Path, port: int, backend_port: int, meter_port: int, count: int) -> str:
    return f"""
[site]
id = "lc-soak"
[store]
directory = "{folder}"
[listen]
host = "127.0.0.1"
port = {port}
[load_management]
fallback_a = 0
[[backend]]
id = "cpo"
url = "ws://127.0.0.1:{backend_port}/csms/{{station}}"
[[circuit]]
id = "grid"
limit_a = 630
meter = "grid"
base_load_a = 100
[[meter]]
id = "grid"
driver = "{METER}"
transport = "tcp"
host = "127.0.0.1"
port = {meter_port}
[station_defaults]
circuit = "grid"
owner = "cpo"
when_backend_away = "autonomous"
authorise_when_away = "everyone"
[[station]]
id = "CS[000-{count - 1:03d}]"
"""
