"""The control box of eebus-go, an energy guard in Go, against the daemon: pairs, limits, goes and comes back.

The daemon's clock is trio's MockClock, which runs at the speed of the test; the box runs in real time.
"""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from cryptography import x509
from trio.testing import MockClock

from controller.services.app import App
from drivers.eebus.certificates import ski_of
from tests.bounds import HANG_S
from tests.controller.services.test_app import running
from tests.interop.go_toolchain import find_go
from tests.interop.programs import free_port
from tests.scenario.eebus_guard import configure

MODULE = Path(__file__).parent / "controlbox"
LIMIT_W = 7000.0
"""What the box writes, for two minutes, five seconds after it has found the use case."""


@pytest.fixture(scope="session")
def controlbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, built from the module that its go.sum pins."""
    program = tmp_path_factory.mktemp("controlbox") / "controlbox"
    package = "github.com/enbility/eebus-go/cmd/controlbox"
    go = find_go(tmp_path_factory.mktemp("go"))
    subprocess.run(
        [go, "build", "-mod=mod", "-o", program, package],
        cwd=MODULE,
        check=True,
        timeout=540,
    )
    return program


@pytest.fixture
def clock() -> MockClock:
    return MockClock(rate=1.0)


@pytest.fixture
def unused_port() -> int:
    return free_port()


class Box:
    """The program with its certificate, and what it has printed."""

    def __init__(self, program: Path, folder: Path, port: int) -> None:
        self._program = program
        self._folder = folder
        self._port = port
        printed = subprocess.run([program, str(port)], capture_output=True, text=True, timeout=20, check=True)
        for name, kind in (("crt", "CERTIFICATE"), ("key", "EC PRIVATE KEY")):
            found = re.search(rf"-----BEGIN {kind}-----.*?-----END {kind}-----\n", printed.stdout, re.S)
            assert found is not None
            (folder / f"box.{name}").write_text(found[0])
        self.ski = ski_of(x509.load_pem_x509_certificate((folder / "box.crt").read_bytes()))
        self.output = ""
        self.process: trio.Process | None = None

    @asynccontextmanager
    async def running(self, ski: str) -> AsyncIterator[Box]:
        """Run it, with the daemon's SKI as its partner."""
        files = [str(self._folder / f"box.{name}") for name in ("crt", "key")]
        async with trio.open_nursery() as nursery:
            process = await trio.lowlevel.open_process(
                [str(self._program), str(self._port), ski, *files],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            self.process = process
            nursery.start_soon(self._read, process)
            try:
                yield self
            finally:
                process.send_signal(signal.SIGCONT)
                process.kill()
                with trio.CancelScope(shield=True):
                    await process.wait()
                nursery.cancel_scope.cancel()

    async def _read(self, process: trio.Process) -> None:
        assert process.stdout is not None
        async for chunk in process.stdout:
            self.output += chunk.decode(errors="replace")


async def until(app: App, box: Box, state: str, real_s: float, clock: MockClock) -> float | None:
    """Wait for a state of LPC, at the clock's rate; return the limit that applies then."""
    with trio.move_on_after(real_s * clock.rate):
        while True:
            eebus = app.status().eebus
            assert eebus is not None
            if eebus.consumption.state == state:
                return eebus.consumption.limit_w
            await trio.sleep(0.05 * clock.rate)
    raise AssertionError(f"not {state}: {app.status().eebus}; output of the box: {box.output}")


async def test_controlbox_pairs_limits_and_reconnects(
    controlbox: Path, tmp_path: Path, clock: MockClock, unused_port: int
) -> None:
    box = Box(controlbox, tmp_path, unused_port)
    partner = f'[[eebus.partner]]\nski = "{box.ski}"\nhost = "127.0.0.1"\nport = {unused_port}'
    async with running(configure(tmp_path, eebus=partner)) as app:
        assert app.status().eebus is not None
        own_ski = app.status().eebus.ski  # type: ignore[union-attr]
        async with box.running(own_ski):
            assert await until(app, box, "limited", 30, clock) == LIMIT_W
            with trio.fail_after(HANG_S):
                while "Limit accepted." not in box.output:  # noqa: ASYNC110
                    await trio.sleep(0.05)
            dimming = app.status().dimming
            assert dimming is not None
            assert (dimming.limit_w, dimming.sources) == (LIMIT_W, ("box",))
            [status] = app.status().eebus.partners  # type: ignore[union-attr]
            assert (status.phase, status.guard) == ("data", True)
            # Its heartbeat stops: 60 s of ours are one of its own, so two minutes are over at once.
            assert box.process is not None
            box.process.send_signal(signal.SIGSTOP)
            clock.rate = 60.0
            assert await until(app, box, "failsafe", 10, clock) == 4200
            clock.rate = 1.0
        async with box.running(own_ski):
            assert await until(app, box, "limited", 40, clock) == LIMIT_W


async def test_controlbox_without_trust_changes_no_limit(
    controlbox: Path, tmp_path: Path, clock: MockClock, unused_port: int
) -> None:
    box = Box(controlbox, tmp_path, unused_port)
    other = f'[[eebus.partner]]\nski = "{"0" * 40}"\nhost = "127.0.0.1"\nport = {unused_port}'
    async with running(configure(tmp_path, eebus=other)) as app:
        assert app.status().eebus is not None
        async with box.running(app.status().eebus.ski):  # type: ignore[union-attr]
            await trio.sleep(8)
            eebus = app.status().eebus
            assert eebus is not None
            assert (eebus.consumption.state, eebus.accepted_total) == ("init", 0)
            assert [each.phase for each in eebus.partners if each.trusted] == ["away"]
    assert box.ski != "0" * 40
