"""Meters by other programs: a server of libmodbus over TCP and on a serial port, pymodbus' simulator."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from drivers.meter_service import run_meters
from drivers.reading import MeterState, Quality
from drivers.settings import MeterSettings
from tests.interop.programs import free_port

FOLDER = Path(__file__).parent
DRIVER = "eastron-sdm630-v2"


@pytest.fixture(scope="module")
def libmodbus_server(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Compile the server; return its path."""
    program = str(tmp_path_factory.mktemp("libmodbus") / "server")
    source = str(FOLDER / "libmodbus_server.c")
    compiler = shutil.which("cc")
    assert compiler is not None, "a C compiler is missing: apt install gcc libmodbus-dev"
    command = [compiler, "-O1", "-I/usr/include/modbus", "-o", program, source, "-lmodbus"]
    subprocess.run(command, check=True, timeout=60)
    return program


@contextmanager
def running(*command: str) -> Iterator[None]:
    """Run a server until the end of the block; it prints a line when it is ready."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield
        finally:
            process.kill()


@contextmanager
def serial_pair(one: str, other: str) -> Iterator[None]:
    """Connect two pseudo-terminals by `socat` until the end of the block."""
    program = shutil.which("socat")
    assert program is not None, "socat is missing: apt install socat"
    command = [program, "-d", "-d", f"pty,raw,echo=0,link={one}", f"pty,raw,echo=0,link={other}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            assert any("starting data transfer loop" in line for line in process.stderr)
            yield
        finally:
            process.kill()


async def read_some(meter: MeterSettings, polls: int = 3) -> list[MeterState]:
    """Poll a meter so many times; return the states."""
    states: list[MeterState] = []
    enough = trio.Event()

    def on_state(state: MeterState) -> None:
        states.append(state)
        if len(states) >= polls:
            enough.set()

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_meters, [meter], on_state)
            await enough.wait()
            nursery.cancel_scope.cancel()
    return states


def check(states: list[MeterState]) -> None:
    assert {state.quality for state in states} == {Quality.GOOD}
    reading = states[-1].reading
    assert reading is not None
    assert reading.voltage_v == (230.5, 229.0, 231.5)
    assert reading.current_a == (12.5, -8.25, 4.0)
    assert reading.power_total_w == 1910.0
    assert (reading.energy_import_wh, reading.frequency_hz) == (1_234_000.0, 50.0)


async def test_libmodbus_server_is_read_over_tcp(libmodbus_server: str) -> None:
    port = free_port()
    with running(libmodbus_server, "tcp", str(port)):
        meter = MeterSettings(
            id="m", driver=DRIVER, transport="tcp", host="127.0.0.1", port=port, interval_s=0.1
        )
        check(await read_some(meter))


async def test_servers_libmodbus_server_is_read_on_serial_port(libmodbus_server: str, tmp_path: Path) -> None:
    ours, theirs = str(tmp_path / "ours"), str(tmp_path / "theirs")
    with serial_pair(ours, theirs), running(libmodbus_server, "rtu", theirs):
        meter = MeterSettings(id="m", driver=DRIVER, transport="rtu", device=ours, interval_s=0.1)
        check(await read_some(meter))


async def test_simulator_of_pymodbus_is_read() -> None:
    port = free_port()
    with running(sys.executable, str(FOLDER / "pymodbus_server.py"), str(port)):
        meter = MeterSettings(
            id="m", driver=DRIVER, transport="tcp", host="127.0.0.1", port=port, interval_s=0.1
        )
        check(await read_some(meter))
