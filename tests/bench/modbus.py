"""Reading of meters against pymodbus' asyncio client, and the delay of a change.

Each client is a process of its own that reads 76 registers of one unit after the other through the same
simulated gateway, in another process; both run in turns, and the best run of each counts.
The delays are from a change in the meter's registers to the state that the load management gets, at a reading
a second, and in the running daemon from an overload to the lower limit that the station gets.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import trio
from pymodbus.client import AsyncModbusTcpClient

from drivers.meter_model import load_model
from drivers.meter_service import run_meters
from drivers.modbus.tcp_bus import TcpBus
from drivers.read_plan import ReadRange
from drivers.reading import MeterState
from drivers.settings import MeterSettings
from drivers.simulated import SimulatedMeter, serve_tcp
from tests.bench.path import INTERVAL_S, decision_delays

UNITS = (1, 8, 32)
READ_S = 1.0
RUNS = 5
REGISTERS = ReadRange(3, 19000, 76)
DRIVER = "janitza-umg96"
CHANGES = 20
DECISIONS = 3


def bench() -> list[dict[str, object]]:
    """One row for each number of units, and one for the delay of a change."""
    rows = [_compare(units) for units in UNITS]
    delays = sorted(trio.run(_delays))
    rows.append(
        {
            "what": "change to state, 1 s interval",
            "median ms": round(1000 * delays[len(delays) // 2]),
            "longest ms": round(1000 * delays[-1]),
        }
    )
    decided = sorted(trio.run(decision_delays, DECISIONS))
    rows.append(
        {
            "what": f"change to the station's limit, {INTERVAL_S:g} s interval",
            "median ms": round(1000 * decided[len(decided) // 2]),
            "longest ms": round(1000 * decided[-1]),
        }
    )
    return rows


def _compare(units: int) -> dict[str, object]:
    with _process("serve", str(units)) as server:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        runs = [(_run("ours", port, units), _run("pymodbus", port, units)) for _ in range(RUNS)]
        ours, theirs = (_best(each) for each in zip(*runs, strict=True))
    return {
        "what": f"76 registers, {units} units",
        "reads/s": round(ours["rate"]),
        "pymodbus reads/s": round(theirs["rate"]),
        "rate ratio": round(ours["rate"] / theirs["rate"], 2),
        "CPU us/read": round(ours["cpu_us"]),
        "pymodbus CPU us/read": round(theirs["cpu_us"]),
        "CPU ratio": round(ours["cpu_us"] / theirs["cpu_us"], 2),
    }


@contextmanager
def _process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.bench.modbus", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.terminate()


def _best(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the highest rate and the least CPU: what other programs on the machine took counts least."""
    return {"rate": max(run["rate"] for run in runs), "cpu_us": min(run["cpu_us"] for run in runs)}


def _run(client: str, port: str, units: int) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.modbus", client, port, str(units)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    result: dict[str, float] = json.loads(done.stdout)
    return result


async def _serve(units: int) -> None:
    meters = [SimulatedMeter(load_model(DRIVER), unit) for unit in range(1, units + 1)]
    async with trio.open_nursery() as nursery:
        print(await nursery.start(serve_tcp, *meters), flush=True)


async def _read_ours(port: int, units: int) -> int:
    bus = TcpBus("127.0.0.1", port)
    await bus.read(1, REGISTERS, 3.0)
    count, end = 0, time.perf_counter() + READ_S
    while time.perf_counter() < end:
        await bus.read(1 + count % units, REGISTERS, 3.0)
        count += 1
    await bus.close()
    return count


async def _read_pymodbus(port: int, units: int) -> int:
    client = AsyncModbusTcpClient("127.0.0.1", port=port)
    await client.connect()
    await client.read_holding_registers(19000, count=76, device_id=1)
    count, end = 0, time.perf_counter() + READ_S
    while time.perf_counter() < end:
        answer = await client.read_holding_registers(19000, count=76, device_id=1 + count % units)
        assert not answer.isError()
        count += 1
    client.close()
    return count


async def _delays() -> list[float]:
    meter = SimulatedMeter(load_model(DRIVER))
    delays: list[float] = []
    changed_at = 0.0
    amps = 0.0
    seen = trio.Event()

    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve_tcp, meter)
        settings = MeterSettings(id="grid", driver=DRIVER, transport="tcp", host="127.0.0.1", port=port)

        def on_state(state: MeterState) -> None:
            if state.reading is None or changed_at == 0.0 or state.reading.current_a[0] != amps:
                return
            if len(delays) < round(amps):
                delays.append(trio.current_time() - changed_at)
                seen.set()

        nursery.start_soon(partial(run_meters, [settings], on_state))
        for change in range(1, CHANGES + 1):
            await trio.sleep(1.0 + 0.07 * (change % 13))
            amps, changed_at = float(change), trio.current_time()
            meter.set_values({"current_l1": amps})
            await seen.wait()
            seen = trio.Event()
        nursery.cancel_scope.cancel()
    return delays


def main() -> None:
    """Run one of the processes of the bench."""
    role, *arguments = sys.argv[1:]
    if role == "serve":
        trio.run(_serve, int(arguments[0]))
        return
    port, units = int(arguments[0]), int(arguments[1])
    before, began = time.process_time(), time.perf_counter()
    ours = role == "ours"
    count = trio.run(_read_ours, port, units) if ours else asyncio.run(_read_pymodbus(port, units))
    cpu_s = time.process_time() - before
    print(json.dumps({"rate": count / (time.perf_counter() - began), "cpu_us": 1e6 * cpu_s / count}))


if __name__ == "__main__":
    main()
