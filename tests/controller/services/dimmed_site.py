"""A daemon that may be dimmed, a backend with a grid operator behind it, and stations: over real sockets."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trio
from trio_websocket import WebSocketConnection, open_websocket_url

from controller.config import Config
from controller.config.loader import check_config
from controller.dimming.evidence_audit import audit
from controller.services.app import App
from controller.signing.signing_keys import new_private_key, read_key_files
from controller.store.evidence_files import FOLDER, evidence_files
from controller.web.status_model import DimmingStatus
from tests.controller.services.test_app import limits
from tests.controller.signing.authors import Author
from tests.controller.transport.rig import Backend, heard

CONTEXT = "urn:local-controller:dim:command:1"
MINIMUM_W = 7560.0
"""What two devices keep."""
DSO, MALLORY = Author(), Author()


def configured(
    folder: Path, backend: Backend, source: str = "", more: str = "", protocol: str = "ocpp2.0.1"
) -> Config:
    (folder / "key.pem").write_bytes(new_private_key("secp256r1", "lc", 0, 4e9))
    (folder / "key.pem").chmod(0o600)
    (folder / "policy.toml").write_text(
        f"""
        version = 1
        [[key]]
        holder = "dso"
        public = "{base64.b64encode(DSO.point).decode()}"
        [[role]]
        id = "grid-operator"
        holders = ["dso"]
        """
    )
    config, mistakes, _ = check_config(
        f"""
        [site]
        id = "lc"
        backend = "cpo"
        protocol = "{protocol}"
        [store]
        directory = "{folder}"
        [listen]
        host = "127.0.0.1"
        port = 0
        [load_management]
        tick_s = 0.1
        [signing]
        key = "key.pem"
        policy = "policy.toml"
        [dimming]
        clock = "believed"
        {more}
        [[dimming.source]]
        id = "dso"
        {source or 'kind = "signed"'}
        {'role = "grid-operator"' if not source else ""}
        [[backend]]
        id = "cpo"
        url = "ws://127.0.0.1:{backend.port}/csms/{{station}}"
        [[circuit]]
        id = "grid"
        limit_a = 60
        [[station]]
        id = "CS01"
        circuit = "grid"
        owner = "cpo"
        [[station.evse]]
        id = 1
        steuve = true
        [[station]]
        id = "CS02"
        circuit = "grid"
        owner = "cpo"
        [[station.evse]]
        id = 1
        steuve = true
        """,
        "test.toml",
        folder,
    )
    assert mistakes == []
    assert config is not None
    return config


class Operator:
    """The backend's end of the site's own link, and the grid operator behind it."""

    def __init__(self, socket: WebSocketConnection) -> None:
        self._socket = socket
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self._ids = 0

    async def ask(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        """The answer to a CALL of ours."""
        self._ids += 1
        await self._socket.send_message(json.dumps([2, f"b{self._ids}", action, payload]))
        while True:
            frame = await self.next()
            if frame[0] == 3:
                assert frame[1] == f"b{self._ids}"
                answer: dict[str, Any] = frame[2]
                return answer

    async def next(self) -> list[Any]:
        """The next frame; a CALL is answered."""
        frame: list[Any] = json.loads(await heard(self._socket))
        if frame[0] == 2:
            self.heard.append((frame[2], frame[3]))
            answer: dict[str, Any] = {}
            if frame[2] == "BootNotification":
                now = datetime.now(UTC).isoformat()
                answer = {"status": "Accepted", "interval": 300, "currentTime": now}
            elif frame[2] == "DataTransfer":
                answer = {"status": "Accepted"}
            await self._socket.send_message(json.dumps([3, frame[1], answer]))
        return frame

    async def until(self, action: str) -> dict[str, Any]:
        """The payload of the first CALL of this action."""
        while True:
            for said, payload in self.heard:
                if said == action:
                    return payload
            await self.next()

    async def hangs_up(self) -> None:
        """The link is gone."""
        await self._socket.aclose()

    async def sends(self, command: bytes) -> dict[str, Any]:
        """The acknowledgement of a command."""
        payload = {"vendorId": "org.local-controller", "messageId": "dim", "data": json.loads(command)}
        answer = await self.ask("DataTransfer", payload)
        told: dict[str, Any] = answer["data"]
        assert answer["status"] == ("Rejected" if told["status"] == "refused" else "Accepted")
        assert told["signatures"]
        return told


async def attached(peer: Backend) -> Operator:
    """The site's own link, booted."""
    while True:
        socket = await peer.link()
        if socket.path == "/csms/lc":
            operator = Operator(socket)
            await operator.until("BootNotification")
            return operator


def now() -> str:
    return datetime.now(UTC).isoformat()


def command(sequence: int = 1, limit_w: float | None = MINIMUM_W, author: Author = DSO) -> bytes:
    now = datetime.now(UTC)
    return author.signed(
        {
            "commandId": f"command-{sequence}",
            "issuer": {"role": "grid-operator"},
            "scope": {"connectionPoint": "lc"},
            "limitW": limit_w,
            "notBefore": now.isoformat(),
            "notAfter": (now + timedelta(hours=1)).isoformat(),
            "sequence": sequence,
        },
        CONTEXT,
    )


@asynccontextmanager
async def station(controller: App, name: str, state: str = "Charging") -> AsyncIterator[WebSocketConnection]:
    async with open_websocket_url(
        f"ws://127.0.0.1:{controller.port}/ocpp/{name}", subprotocols=["ocpp1.6"], disconnect_timeout=2
    ) as socket:
        status = {"connectorId": 1, "errorCode": "NoError", "status": state}
        await socket.send_message(json.dumps([2, "s", "StatusNotification", status]))
        yield socket


async def lowered(socket: WebSocketConnection) -> float:
    """The next lease that is lower than 20 A."""
    while True:
        [(level, amps)] = await limits(socket, 1)
        if level == 1 and amps < 20:
            return amps


async def found(controller: App, good: Callable[[DimmingStatus], bool]) -> DimmingStatus:
    """Wait until the status is as it should be."""
    with trio.fail_after(5):
        while True:
            status = controller.status().dimming
            assert status is not None
            if good(status):
                return status
            await trio.sleep(0.02)


def evidence(folder: Path) -> list[dict[str, Any]]:
    """All records, after a look by somebody who trusts nothing."""
    [own] = read_key_files(folder / "key.pem").values()
    files = [(path.name, path.read_bytes()) for path in evidence_files(folder / FOLDER)]
    result = audit(files, [own.private.public_key()])
    assert result.findings == ()
    return [json.loads(line) for _, data in files for line in data.splitlines()]


async def transfer(socket: WebSocketConnection) -> dict[str, Any]:
    """The next DataTransfer that a station gets; limits are taken on the way."""
    while True:
        frame = json.loads(await heard(socket))
        if frame[0] != 2:
            continue
        if frame[2] == "DataTransfer":
            await socket.send_message(f'[3,"{frame[1]}",{{"status":"UnknownVendorId"}}]')
            payload: dict[str, Any] = frame[3]
            return payload
        await socket.send_message(f'[3,"{frame[1]}",{{"status":"Accepted"}}]')
