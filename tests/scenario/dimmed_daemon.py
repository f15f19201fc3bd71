"""A daemon with controllable EVSEs, a grid operator behind its CSMS, and stations: over loopback sockets."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import trio
from trio_websocket import WebSocketConnection, open_websocket_url

from controller.config import Config
from controller.dimming.evidence_audit import audit
from controller.services.app import App
from controller.signing.signing_keys import new_private_key, read_key_files
from controller.store.evidence_files import evidence_files
from controller.store.store_files import FOLDER
from controller.web.status_model import DimmingStatus
from tests.bounds import HANG_S
from tests.controller.dimming.commands import signed_command
from tests.controller.services.test_app import limits
from tests.controller.signing.authors import Author
from tests.scenario.configuration import read_valid_config
from tests.scenario.link_harness import CsmsServer, receive_text

MINIMUM_W = 7560.0
"""Least power of two controllable EVSEs (W)."""
DSO, MALLORY = Author(), Author()


def configure(
    folder: Path, backend: CsmsServer, source: str = "", more: str = "", protocol: str = "ocpp2.0.1"
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
    return read_valid_config(
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


class GridOperatorLink:
    """The CSMS's end of the site's own link, and the grid operator behind it; `calls`: those received."""

    def __init__(self, socket: WebSocketConnection) -> None:
        self._socket = socket
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self._ids = 0

    async def request(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Send a CALL and return the payload of its CALLRESULT."""
        self._ids += 1
        await self._socket.send_message(json.dumps([2, f"b{self._ids}", action, payload]))
        while True:
            frame = await self.receive_frame()
            if frame[0] == 3:
                assert frame[1] == f"b{self._ids}"
                answer: dict[str, Any] = frame[2]
                return answer

    async def receive_frame(self) -> list[Any]:
        """Return the next frame; a CALL is answered."""
        frame: list[Any] = json.loads(await receive_text(self._socket))
        if frame[0] == 2:
            self.calls.append((frame[2], frame[3]))
            answer: dict[str, Any] = {}
            if frame[2] == "BootNotification":
                now = datetime.now(UTC).isoformat()
                answer = {"status": "Accepted", "interval": 300, "currentTime": now}
            elif frame[2] == "DataTransfer":
                answer = {"status": "Accepted"}
            await self._socket.send_message(json.dumps([3, frame[1], answer]))
        return frame

    async def receive_call(self, action: str) -> dict[str, Any]:
        """Return the payload of the first CALL with this action."""
        while True:
            for received, payload in self.calls:
                if received == action:
                    return payload
            await self.receive_frame()

    async def disconnect(self) -> None:
        """Close the link."""
        await self._socket.aclose()

    async def send_command(self, command: bytes) -> dict[str, Any]:
        """Send a dimming command and return its acknowledgement."""
        payload = {"vendorId": "org.local-controller", "messageId": "dim", "data": json.loads(command)}
        answer = await self.request("DataTransfer", payload)
        acknowledged: dict[str, Any] = answer["data"]
        assert answer["status"] == ("Rejected" if acknowledged["status"] == "refused" else "Accepted")
        assert acknowledged["signatures"]
        return acknowledged


async def connect_grid_operator(csms: CsmsServer) -> GridOperatorLink:
    """Accept the site's own link and its boot."""
    while True:
        socket = await csms.accept()
        if socket.path == "/csms/lc":
            operator = GridOperatorLink(socket)
            await operator.receive_call("BootNotification")
            return operator


def utc_text() -> str:
    return datetime.now(UTC).isoformat()


def make_command(sequence: int = 1, limit_w: float | None = MINIMUM_W, author: Author = DSO) -> bytes:
    return signed_command(author, sequence, limit_w, datetime.now(UTC))


@asynccontextmanager
async def connect_charging_station(
    controller: App, name: str, state: str = "Charging"
) -> AsyncIterator[WebSocketConnection]:
    async with open_websocket_url(
        f"ws://127.0.0.1:{controller.port}/ocpp/{name}", subprotocols=["ocpp1.6"], disconnect_timeout=2
    ) as socket:
        status = {"connectorId": 1, "errorCode": "NoError", "status": state}
        await socket.send_message(json.dumps([2, "s", "StatusNotification", status]))
        yield socket


async def receive_lower_limit(socket: WebSocketConnection) -> float:
    """Return the next lease that is below 20 A."""
    while True:
        [(level, amps)] = await limits(socket, 1)
        if level == 1 and amps < 20:
            return amps


async def wait_status(controller: App, is_reached: Callable[[DimmingStatus], bool]) -> DimmingStatus:
    """Wait for a status of dimming that fulfils the condition."""
    with trio.fail_after(HANG_S):
        while True:
            status = controller.status().dimming
            assert status is not None
            if is_reached(status):
                return status
            await trio.sleep(0.02)


def read_evidence(folder: Path) -> list[dict[str, Any]]:
    """Return all evidence records, after an audit without findings.

    A file that has been created for its first line, which is not written yet, is left out.
    """
    [own] = read_key_files(folder / "key.pem").values()
    files = [(path.name, path.read_bytes()) for path in evidence_files(folder / FOLDER)]
    files = [(name, data) for name, data in files if data]
    result = audit(files, [own.private.public_key()])
    assert result.findings == ()
    return [json.loads(line) for _, data in files for line in data.splitlines()]


async def receive_data_transfer(socket: WebSocketConnection) -> dict[str, Any]:
    """Return the next DataTransfer to a station; limits before it are accepted."""
    while True:
        frame = json.loads(await receive_text(socket))
        if frame[0] != 2:
            continue
        if frame[2] == "DataTransfer":
            await socket.send_message(f'[3,"{frame[1]}",{{"status":"UnknownVendorId"}}]')
            payload: dict[str, Any] = frame[3]
            return payload
        await socket.send_message(f'[3,"{frame[1]}",{{"status":"Accepted"}}]')
