"""What a link in overlay mode costs beside plain links: CPU of the installed daemon for one round trip.

Stations call, the backend answers; in the one case each station has a link of its own to the backend, in the
other one link in overlay mode carries them all. The two cases take turns in one run, and count as their
ratio: the CPU time of the daemon alone, without its peers.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve

CONTROLLER = Path(sys.executable).parent / "local-controller"
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
STATIONS = 16
SECONDS = 4.0
WARM_S = 6.0
"""Until the stations have their first limits, which follow their first message."""
PAYLOAD = {
    "evseId": 1,
    "meterValue": [{"timestamp": "2026-11-21T14:00:00Z", "sampledValue": [{"value": 2417.5}]}],
}

Row = dict[str, object]


def bench(rounds: int = 3) -> list[Row]:
    """Return one row: microseconds of CPU for a round trip in both modes, and their ratio."""
    logging.getLogger("websockets").setLevel(logging.CRITICAL)  # the daemon is killed with open links
    costs: dict[str, list[float]] = {"standard": [], "overlay": []}
    for _ in range(rounds):
        for mode, found in costs.items():
            found.append(asyncio.run(_measure(mode)))
    plain, overlay = (statistics.median(costs[mode]) for mode in ("standard", "overlay"))
    return [
        {
            "what": f"round trip of {STATIONS} stations",
            "plain us": round(plain, 1),
            "overlay us": round(overlay, 1),
            "overlay / plain": round(overlay / plain, 2),
        }
    ]


async def _measure(mode: str) -> float:
    """Return the daemon's CPU time (us) for each round trip."""
    with tempfile.TemporaryDirectory() as folder:
        async with _backend() as backend, _daemon(Path(folder), mode, backend) as (pid, port):
            stations = [await _connect(port, number) for number in range(STATIONS)]
            counts = [0] * STATIONS
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(_exchange_messages(each, counts, number))
                    for number, each in enumerate(stations)
                ]
                await asyncio.sleep(WARM_S)
                before, spent = sum(counts), _cpu_s(pid)
                await asyncio.sleep(SECONDS)
                trips, spent = sum(counts) - before, _cpu_s(pid) - spent
                for task in tasks:
                    task.cancel()
            return spent / trips * 1e6


async def _connect(port: int, number: int) -> ClientConnection:
    url = f"ws://127.0.0.1:{port}/ocpp/CS{number:02}"
    return await connect(url, subprotocols=["ocpp2.1"], compression=None)  # type: ignore[list-item]


async def _exchange_messages(station: ClientConnection, counts: list[int], number: int) -> None:
    """Send one call after the other, and accept what the controller asks in between."""
    while True:
        await station.send(json.dumps([2, f"{counts[number]:09}", "MeterValues", PAYLOAD]))
        while (frame := json.loads(await station.recv()))[0] == 2:
            await station.send(json.dumps([3, frame[1], {"status": "Accepted"}]))
        counts[number] += 1


@asynccontextmanager
async def _backend() -> AsyncIterator[int]:
    """Serve a backend that answers every call, in both forms of frames; returns its port."""

    async def answer(link: ServerConnection) -> None:
        async for text in link:
            frame = json.loads(text)
            if frame[0] != 2:
                continue
            if len(frame) == 4:
                await link.send(json.dumps([3, frame[1], {}]))
            else:
                author = frame[2] if isinstance(frame[2], str) else frame[2][0]
                await link.send(json.dumps([3, author, "csms01", frame[3], {}]))

    protocols = ["ocpp2.1"]
    async with serve(answer, "127.0.0.1", 0, subprotocols=protocols, compression=None) as server:  # type: ignore[arg-type]
        yield next(iter(server.sockets)).getsockname()[1]


@asynccontextmanager
async def _daemon(folder: Path, mode: str, backend: int) -> AsyncIterator[tuple[int, int]]:
    """Run the installed daemon; returns its process id and the stations' port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    stations = "".join(
        f'[[station]]\nid = "CS{number:02}"\ncircuit = "grid"\nowner = "cpo"\n' for number in range(STATIONS)
    )
    path = "/{station}"
    file = folder / "controller.toml"
    file.write_text(
        f'[site]\nid = "LC01"\n[store]\ndirectory = "{folder}"\n[overlay]\n[listen]\nhost = "127.0.0.1"\n'
        f"port = {port}\nmessages_per_second = 0\ncompression = false\n"
        f'[[backend]]\nid = "cpo"\nurl = "ws://127.0.0.1:{backend}{path}"\nmode = "{mode}"\n'
        f'compression = false\n[[circuit]]\nid = "grid"\nlimit_a = 400\n{stations}'
    )
    process = subprocess.Popen(  # noqa: ASYNC220 it is over at once
        [str(CONTROLLER), "run", "-c", str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            await asyncio.sleep(0.1)
        yield process.pid, port
    finally:
        process.kill()
        process.wait()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S
