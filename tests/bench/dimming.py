"""A grid operator's command until the last station's profile is on the wire: one command, all stations cut.

The controller is the installed program, with its files on disk; stations, backend and grid operator are in
this process, which shares the machine with it.
"""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import trio
from trio_websocket import (
    ConnectionClosed,
    HandshakeError,
    WebSocketConnection,
    WebSocketRequest,
    open_websocket_url,
    serve_websocket,
)

from controller.signing.signing_keys import new_private_key
from tests.controller.dimming.commands import signed_command
from tests.controller.signing.authors import Author
from tests.interop.programs import CONTROLLER, free_port

COUNTS = (100, 500)
LONGEST_S = 120.0
FULL_A = 16
BOOT = '[2,"1","BootNotification",{"chargePointVendor":"V","chargePointModel":"M"}]'
CHARGES = '[2,"2","StatusNotification",{"connectorId":1,"errorCode":"NoError","status":"Charging"}]'


def bench(counts: Sequence[int] = COUNTS) -> list[dict[str, object]]:
    """One row a site."""
    return [trio.run(_dimmed, count) for count in counts]


class DimmedStations:
    """The stations of a site and its backend; each limit that a station gets is noted."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.limits: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        """When (s, trio's clock) each lease came, and its A."""
        self.backend_port = 0
        self.acknowledged: float | None = None
        self._own: WebSocketConnection | None = None
        self._changed = trio.Event()

    async def run(self, port: int) -> None:
        """Have all stations connect, and stay."""
        async with trio.open_nursery() as nursery:
            for name in self.names:
                nursery.start_soon(self._station, name, f"ws://127.0.0.1:{port}/ocpp/{name}")

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Be the backend of all of them, and of the controller itself."""
        async with trio.open_nursery() as nursery:
            server = await nursery.start(partial(serve_websocket, self._backend, "127.0.0.1", 0, None))
            self.backend_port = server.port
            task_status.started()

    async def all_charge(self, *, own_link: bool = True) -> None:
        """Wait until each station has its full current, and the controller its own link."""
        while (own_link and self._own is None) or not all(
            offers and offers[-1][1] >= FULL_A for offers in self.limits.values()
        ):
            await self._changed.wait()

    async def dim(self, command: bytes) -> list[float]:
        """Send a command; when the first lower limit came to each station (s after it was sent)."""
        sent = trio.current_time()
        await self.send_command(command)
        lower = await self.all_lower(sent)
        while self.acknowledged is None:
            await self._changed.wait()
        self.acknowledged -= sent
        return lower

    async def send_command(self, command: bytes) -> None:
        """Send a command to the controller itself."""
        assert self._own is not None
        payload = {"vendorId": "org.local-controller", "messageId": "dim", "data": json.loads(command)}
        await self._own.send_message(json.dumps([2, "dim", "DataTransfer", payload]))

    async def all_lower(self, since: float) -> list[float]:
        """Wait until each station has a lower limit; when its first came (s after `since`)."""
        while True:
            lower = [
                next((at for at, amps in offers if at > since and amps < FULL_A), None)
                for offers in self.limits.values()
            ]
            if None not in lower:
                return [at - since for at in lower if at is not None]
            await self._changed.wait()

    async def lower_limit_since(self, sent: float) -> None:
        """Wait until a station has got a limit below its full current after this moment."""
        while not any(at > sent and amps < FULL_A for offers in self.limits.values() for at, amps in offers):
            await self._changed.wait()

    async def all_charge_again(self) -> None:
        """Wait until each station has its full current again."""
        while not all(offers and offers[-1][1] >= FULL_A for offers in self.limits.values()):
            await self._changed.wait()

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def _station(self, name: str, url: str) -> None:
        while True:
            try:
                async with open_websocket_url(url, subprotocols=["ocpp1.6"], connect_timeout=60) as socket:
                    await socket.send_message(BOOT)
                    while True:
                        await self._obey(name, socket, json.loads(await socket.get_message()))
            except* (OSError, HandshakeError, ConnectionClosed):
                await trio.sleep(0.2)

    async def _obey(self, name: str, socket: WebSocketConnection, frame: list[Any]) -> None:
        if frame[:2] == [3, "1"]:
            await socket.send_message(CHARGES)
        if frame[0] != 2:
            return
        if frame[2] == "SetChargingProfile" and frame[3]["csChargingProfiles"]["stackLevel"]:
            schedule = frame[3]["csChargingProfiles"]["chargingSchedule"]
            amps = schedule["chargingSchedulePeriod"][0]["limit"]
            self.limits[name].append((trio.current_time(), amps))
            self._change()
        await socket.send_message(f'[3,"{frame[1]}",{{"status":"Accepted"}}]')

    async def _backend(self, request: WebSocketRequest) -> None:
        socket = await request.accept(subprotocol=request.proposed_subprotocols[0])
        own = request.path.endswith("/lc")
        try:
            while True:
                frame = json.loads(await socket.get_message())
                if frame[0] == 2:
                    answer = {"status": "Accepted", "currentTime": "2026-01-01T00:00:00Z", "interval": 300}
                    boots = frame[2] == "BootNotification"
                    await socket.send_message(json.dumps([3, frame[1], answer if boots else {}]))
                    if own:
                        self._own = socket
                elif frame[:2] == [3, "dim"]:
                    assert frame[2]["status"] == "Accepted", frame[2]
                    self.acknowledged = trio.current_time()
                self._change()
        except ConnectionClosed:
            pass


async def _dimmed(count: int) -> dict[str, object]:
    site, dso, port = DimmedStations([f"CS{number:04}" for number in range(count)]), Author(), free_port()
    with tempfile.TemporaryDirectory() as directory, trio.fail_after(LONGEST_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(site.serve)
            config = site_config(Path(directory), site, port, base64.b64encode(dso.point).decode())
            async with controller(config):
                nursery.start_soon(site.run, port)
                await site.all_charge()
                took = sorted(await site.dim(signed_command(dso, 1, 4200.0, datetime.now(UTC))))
            nursery.cancel_scope.cancel()
    return {
        "what": f"{count} stations",
        "first profile s": round(took[0], 3),
        "last profile s": round(took[-1], 3),
        "acknowledged s": round(site.acknowledged or 0.0, 3),
    }


@asynccontextmanager
async def controller(config: Path) -> AsyncIterator[trio.Process]:
    async with trio.open_nursery() as nursery:
        command = [str(CONTROLLER), "run", "-c", str(config)]
        run = partial(trio.run_process, command, stderr=subprocess.DEVNULL, check=False)
        process: trio.Process = await nursery.start(run)
        yield process
        process.send_signal(signal.SIGTERM)


def site_config(folder: Path, site: DimmedStations, port: int, key: str) -> Path:
    own = folder / "key.pem"
    own.touch(0o600)
    own.write_bytes(new_private_key("secp256r1", "lc", 0, 4e9))
    (folder / "signing.toml").write_text(
        f'version = 1\n[[key]]\nholder = "dso"\npublic = "{key}"\n'
        '[[role]]\nid = "grid-operator"\nholders = ["dso"]\n'
    )
    station = f'circuit = "grid"\nowner = "cpo"\n[[station.evse]]\nmax_a = {FULL_A}\nsteuve = true\n'
    stations = "".join(f'[[station]]\nid = "{name}"\n{station}' for name in site.names)
    path = folder / "controller.toml"
    path.write_text(
        f'[site]\nid = "lc"\nbackend = "cpo"\n[store]\ndirectory = "{folder}"\n'
        f'[listen]\nhost = "127.0.0.1"\nport = {port}\n'
        f'[[backend]]\nid = "cpo"\nurl = "ws://127.0.0.1:{site.backend_port}/csms/{{station}}"\n'
        f'[[circuit]]\nid = "grid"\nlimit_a = {FULL_A * len(site.names) + 100}\n{stations}'
        '[signing]\nkey = "key.pem"\npolicy = "signing.toml"\n'
        '[dimming]\nclock = "believed"\n'
        '[[dimming.source]]\nid = "dso"\nkind = "signed"\nrole = "grid-operator"\n'
    )
    return path
