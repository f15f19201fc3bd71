"""A site with several CSMSs in process, and a station that accepts its commands: for tests of the daemon."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

from controller.config import Config
from controller.services.app import App
from tests.scenario.configuration import read_valid_config
from tests.scenario.link_harness import CsmsServer, receive_text

LIMIT_PATIENCE_S = 20.0
"""Longest wait for a limit (s)."""

BOOT = {"chargePointVendor": "ACME", "chargePointModel": "One"}
ACCEPTED = {"status": "Accepted", "currentTime": "2026-03-29T12:00:00Z", "interval": 300}
STATUS = {"connectorId": 1, "errorCode": "NoError", "status": "Available"}
START = {"connectorId": 1, "idTag": "A", "meterStart": 0, "timestamp": "2026-03-29T12:00:01Z"}


def meter_values(transaction: int) -> dict[str, Any]:
    value = [{"timestamp": "2026-03-29T12:00:02Z", "sampledValue": [{"value": "1"}]}]
    return {"connectorId": 1, "transactionId": transaction, "meterValue": value}


def stop_transaction(transaction: int) -> dict[str, Any]:
    return {"transactionId": transaction, "meterStop": 9, "timestamp": "2026-03-29T12:00:03Z"}


def start_result(transaction: int) -> dict[str, Any]:
    return {"transactionId": transaction, "idTagInfo": {"status": "Accepted"}}


@asynccontextmanager
async def serve_csms_by_name(*names: str) -> AsyncIterator[dict[str, CsmsServer]]:
    """Run CSMSs with these names inside the block."""
    async with trio.open_nursery() as nursery:
        made = {name: CsmsServer() for name in names}
        for each in made.values():
            await nursery.start(each.run)
        yield made
        nursery.cancel_scope.cancel()


def configure(folder: Path, made: Mapping[str, CsmsServer], keys: Mapping[str, str], station: str) -> Config:
    """Return the configuration of CS01; `keys`: more lines by backend, `station`: those of the station."""
    tables = "".join(
        f"""
        [[backend]]
        id = "{name}"
        url = "ws://127.0.0.1:{backend.port}/{name}/{{station}}"
        {keys.get(name, "")}
        """
        for name, backend in made.items()
    )
    return read_valid_config(
        f"""
        [site]
        id = "lc"
        [store]
        directory = "{folder}"
        [listen]
        host = "127.0.0.1"
        port = 0
        call_timeout_s = 5
        [load_management]
        tick_s = 0.1
        {tables}
        [[circuit]]
        id = "grid"
        limit_a = 40
        [[station]]
        id = "CS01"
        circuit = "grid"
        {station}
        """,
        "test.toml",
    )


class SocketStation:
    """A station that accepts each command; `commands` has their actions in order."""

    def __init__(self, socket: WebSocketConnection) -> None:
        self.commands: list[str] = []
        self.payloads: dict[str, dict[str, Any]] = {}
        """The last payload of each command."""
        self._socket = socket
        self._ids = itertools.count(1)

    async def send_call(self, action: str, payload: dict[str, Any]) -> str:
        """Send a CALL; return its id."""
        message_id = f"s{next(self._ids)}"
        await self._socket.send_message(json.dumps([2, message_id, action, payload]))
        return message_id

    async def receive_result(self, message_id: str) -> dict[str, Any]:
        """Return the payload of the CALLRESULT; commands before it are accepted."""
        while True:
            frame = json.loads(await receive_text(self._socket))
            if frame[0] == 2:
                await self._accept(frame)
                continue
            assert frame[:2] == [3, message_id], frame
            answer: dict[str, Any] = frame[2]
            return answer

    async def receive_error(self) -> str:
        """Return the error code of the next CALLERROR; commands before it are accepted."""
        while True:
            frame = json.loads(await receive_text(self._socket))
            if frame[0] == 4:
                return str(frame[2])
            await self._accept(frame)

    async def wait_closed(self) -> None:
        """Wait until the controller has closed the connection; commands before are accepted."""
        with suppress(ConnectionClosed):
            while True:
                await self._accept(json.loads(await receive_text(self._socket)))

    async def wait_close_reason(self) -> tuple[int, str]:
        """Return code and reason with which the controller closes; commands before it are accepted."""
        await self.wait_closed()
        closed = self._socket.closed
        assert closed is not None
        return closed.code, closed.reason or ""

    async def accept_until(self, action: str) -> None:
        """Accept commands until one with this action has come."""
        while action not in self.commands:
            frame = json.loads(await receive_text(self._socket))
            if frame[0] == 2:
                await self._accept(frame)

    async def accept_commands(self) -> None:
        """Accept commands until cancelled; one that has been read is answered in any case."""
        while True:
            message = await self._socket.get_message()
            with trio.CancelScope(shield=True):
                if (frame := json.loads(message))[0] == 2:
                    await self._accept(frame)

    async def receive_limit(self, limit_a: float) -> None:
        """Accept commands until a limit of so many A has come: a rise rests for some seconds."""
        with trio.fail_after(LIMIT_PATIENCE_S):
            while await self._receive_limit() != [limit_a]:
                pass

    async def _receive_limit(self) -> list[float] | None:
        """Return the limits of the next message if it is a charging profile."""
        frame = json.loads(await self._socket.get_message())
        if frame[0] != 2:
            return None
        await self._accept(frame)
        profile = frame[3].get("csChargingProfiles") if frame[2] == "SetChargingProfile" else None
        if profile is None:
            return None
        return [each["limit"] for each in profile["chargingSchedule"]["chargingSchedulePeriod"]]

    async def _accept(self, frame: list[Any]) -> None:
        self.commands.append(frame[2])
        self.payloads[frame[2]] = frame[3]
        await self._socket.send_message(json.dumps([3, frame[1], {"status": "Accepted"}]))

    async def request(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Send a CALL and return the payload of its CALLRESULT."""
        return await self.receive_result(await self.send_call(action, payload))

    async def forward_call(
        self, link: WebSocketConnection, action: str, payload: dict[str, Any], answer: dict[str, Any]
    ) -> None:
        """Send a CALL that the CSMS at this link answers."""
        message_id = await self.send_call(action, payload)
        await answer_call(link, action, payload, answer)
        assert await self.receive_result(message_id) == answer


async def answer_call(
    link: WebSocketConnection, action: str, payload: dict[str, Any], answer: dict[str, Any]
) -> None:
    """Expect this CALL as the next text at the CSMS, and answer it."""
    frame = json.loads(await receive_text(link))
    assert (frame[0], frame[2], frame[3]) == (2, action, payload), frame
    await link.send_message(json.dumps([3, frame[1], answer]))


@asynccontextmanager
async def connect_station(
    controller: App, headers: list[tuple[bytes, bytes]] | None = None, name: str = "CS01"
) -> AsyncIterator[SocketStation]:
    """Connect a station."""
    async with open_websocket_url(
        f"ws://127.0.0.1:{controller.port}/ocpp/{name}",
        subprotocols=["ocpp1.6"],
        extra_headers=headers,
        disconnect_timeout=2,
    ) as socket:
        yield SocketStation(socket)
