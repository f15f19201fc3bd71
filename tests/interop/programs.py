"""Third-party programs that run beside the daemon, and the daemon as installed."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio

HERE = Path(__file__).parent
CONTROLLER = Path(sys.executable).with_name("local-controller")
VERSIONS = ("ocpp1.6", "ocpp2.0.1", "ocpp2.1")
PATIENCE_S = 300.0
"""Time after which a test is given up as hanging: a loaded machine starts a program in a minute."""

Event = dict[str, Any]


class Program:
    """A third-party program and the JSON lines that it prints."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdin is not None
        self.events: list[Event] = []
        self._process = process
        self._stdin = process.stdin
        self._came = trio.Event()
        self._has_ended = False

    async def finish(self) -> None:
        """End its input: a station closes its connection then."""
        await self._stdin.aclose()

    def kill(self) -> None:
        """End it without notice (SIGKILL)."""
        self._process.kill()

    async def read(self, stream: trio.abc.ReceiveStream) -> None:
        rest = b""
        async for chunk in stream:
            *lines, rest = (rest + chunk).split(b"\n")
            self.events += [json.loads(line) for line in lines if line.startswith(b"{")]
            self._came.set()
            self._came = trio.Event()
        self._has_ended = True
        self._came.set()

    async def until(self, wanted: Callable[[Event], bool]) -> Event:
        with trio.move_on_after(PATIENCE_S):
            while True:
                for event in self.events:
                    if wanted(event):
                        return event
                if self._has_ended:
                    raise AssertionError(f"the program has ended; what came: {self.events}")
                await self._came.wait()
        raise AssertionError(f"it never came; what came: {self.events}")

    def reports(self, key: str) -> list[Any]:
        return [event[key] for event in self.events if key in event]


@asynccontextmanager
async def started(*command: str | Path) -> AsyncIterator[Program]:
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            partial(
                trio.run_process,
                [*map(str, command)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                check=False,
            )
        )
        program = Program(process)
        nursery.start_soon(program.read, process.stdout)
        yield program
        nursery.cancel_scope.cancel()


def free_port() -> int:
    """Return a port outside the range from which the system takes ports of outgoing connections.

    One of that range may be taken by anybody before it is used, or between two starts of a program.
    """
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in random.SystemRandom().sample(range(10_000, first), 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError(f"no free port from 10000 to {first}")


def configuration(folder: Path, port: int, backend_port: int) -> Path:
    path = folder / "controller.toml"
    path.write_text(f"""
[site]
id = "lc-test"
[store]
directory = "{folder}"
[listen]
host = "127.0.0.1"
port = {port}
path = "/ocpp"
[[backend]]
id = "cpo"
url = "ws://127.0.0.1:{backend_port}/csms/{{station}}"
[[circuit]]
id = "grid"
limit_a = 63
[[station]]
id = "CS01"
circuit = "grid"
owner = "cpo"
[[station.evse]]
id = 1
max_a = 32
[load_management]
tick_s = 0.5
""")
    return path


async def listening(port: int) -> None:
    with trio.fail_after(PATIENCE_S):
        while True:
            try:
                await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
            except OSError:
                await trio.sleep(0.1)
            else:
                return
