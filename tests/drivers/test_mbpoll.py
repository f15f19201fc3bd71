"""`mbpoll` (libmodbus) as a client of the simulated meters."""

from __future__ import annotations

import re
import shutil
from functools import partial

import pytest
import trio

from drivers.meter_model import load_model
from drivers.simulated import SimulatedMeter, serve_serial, serve_tcp
from tests.bounds import HANG_S
from tests.drivers.terminal import pseudo_terminal

VALUES = {"current_l1": 1.5, "current_l2": 20.25, "current_l3": -3.0}


async def mbpoll(*arguments: str) -> str:
    program = shutil.which("mbpoll")
    assert program is not None, "mbpoll is missing: apt install mbpoll"
    with trio.fail_after(HANG_S):
        done = await trio.run_process(
            [program, "-1", "-0", *arguments], capture_stdout=True, capture_stderr=True, check=False
        )
    return done.stdout.decode() + done.stderr.decode()


def values(printed: str) -> list[float]:
    return [float(value) for value in re.findall(r"^\[\d+\]:\s+(\S+)$", printed, re.MULTILINE)]


@pytest.fixture
def janitza() -> SimulatedMeter:
    meter = SimulatedMeter(load_model("janitza-umg604"), unit=3)
    meter.set_values(VALUES)
    return meter


async def test_mbpoll_reads_simulated_meter_over_tcp(janitza: SimulatedMeter, nursery: trio.Nursery) -> None:
    port = await nursery.start(serve_tcp, janitza)
    ask = partial(mbpoll, "-m", "tcp", "-p", str(port), "-a", "3")
    currents = await ask("-t", "4:float", "-B", "-r", "19012", "-c", "3", "127.0.0.1")
    assert values(currents) == list(VALUES.values())
    assert "Illegal data address" in await ask("-t", "4", "-r", "100", "-c", "1", "127.0.0.1")
    assert "Illegal function" in await ask("-t", "3", "-r", "19012", "-c", "1", "127.0.0.1")


async def test_mbpoll_reads_simulated_meter_on_serial_port() -> None:
    meter = SimulatedMeter(load_model("eastron-sdm630-v2"), unit=3)
    meter.set_values(VALUES)
    served = trio.CancelScope()
    with pseudo_terminal() as (near, device):

        async def serve() -> None:
            with served:
                await serve_serial(near, meter)

        async with trio.open_nursery() as serving:
            serving.start_soon(serve)
            ask = partial(mbpoll, "-m", "rtu", "-b", "9600", "-P", "none", "-a", "3")
            currents = await ask("-t", "3:float", "-B", "-r", "6", "-c", "3", device)
            refused = await ask("-t", "3", "-r", "9000", "-c", "1", device)
            served.cancel()
    assert values(currents) == list(VALUES.values())
    assert "Illegal data address" in refused
