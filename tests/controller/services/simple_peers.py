"""A site with several backends in process, and a station that answers what it is asked: for daemon tests."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from trio_websocket import WebSocketConnection, open_websocket_url

from controller.config import Config
from controller.config.loader import check_config
from controller.services.app import App
from tests.controller.transport.rig import Backend, heard

BOOT = {"chargePointVendor": "ACME", "chargePointModel": "One"}
ACCEPTED = {"status": "Accepted", "currentTime": "2026-03-29T12:00:00Z", "interval": 300}
STATUS = {"connectorId": 1, "errorCode": "NoError", "status": "Available"}
START = {"connectorId": 1, "idTag": "A", "meterStart": 0, "timestamp": "2026-03-29T12:00:01Z"}


def meter(transaction: int) -> dict[str, Any]:
    value = [{"timestamp": "2026-03-29T12:00:02Z", "sampledValue": [{"value": "1"}]}]
    return {"connectorId": 1, "transactionId": transaction, "meterValue": value}


def stop(transaction: int) -> dict[str, Any]:
    return {"transactionId": transaction, "meterStop": 9, "timestamp": "2026-03-29T12:00:03Z"}


def started(transaction: int) -> dict[str, Any]:
    return {"transactionId": transaction, "idTagInfo": {"status": "Accepted"}}


@asynccontextmanager
async def backends(*names: str) -> AsyncIterator[dict[str, Backend]]:
    """Backends with these names."""
    async with trio.open_nursery() as nursery:
        made = {name: Backend() for name in names}
        for each in made.values():
            await nursery.start(each.run)
        yield made
        nursery.cancel_scope.cancel()


def a_site(folder: Path, made: Mapping[str, Backend], keys: Mapping[str, str], station: str) -> Config:
    """One station CS01; `keys` are more lines of each backend, `station` those of the station."""
    tables = "".join(
        f"""
        [[backend]]
        id = "{name}"
        url = "ws://127.0.0.1:{backend.port}/{name}/{{station}}"
        {keys.get(name, "")}
        """
        for name, backend in made.items()
    )
    config, mistakes, _ = check_config(
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
    assert mistakes == []
    assert config is not None
    return config


class Station:
    """What it is commanded it takes, and writes down in `commanded`."""

    def __init__(self, socket: WebSocketConnection) -> None:
        self.commanded: list[str] = []
        self.payloads: dict[str, dict[str, Any]] = {}
        """The last payload of each command."""
        self._socket = socket
        self._ids = itertools.count(1)

    async def says(self, action: str, payload: dict[str, Any]) -> str:
        """Send a CALL; its id."""
        message_id = f"s{next(self._ids)}"
        await self._socket.send_message(json.dumps([2, message_id, action, payload]))
        return message_id

    async def hears(self, message_id: str) -> dict[str, Any]:
        """The good answer to it."""
        while True:
            frame = json.loads(await heard(self._socket))
            if frame[0] == 2:
                await self._obey(frame)
                continue
            assert frame[:2] == [3, message_id], frame
            answer: dict[str, Any] = frame[2]
            return answer

    async def obeys(self, action: str) -> None:
        """Answer what it is asked until it is asked this."""
        while action not in self.commanded:
            frame = json.loads(await heard(self._socket))
            if frame[0] == 2:
                await self._obey(frame)

    async def until_limited_to(self, limit_a: float) -> None:
        """Answer what it is asked until it gets a limit of so many A."""
        while True:
            frame = json.loads(await heard(self._socket))
            if frame[0] != 2:
                continue
            await self._obey(frame)
            profile = frame[3].get("csChargingProfiles") if frame[2] == "SetChargingProfile" else None
            if profile is not None:
                periods = profile["chargingSchedule"]["chargingSchedulePeriod"]
                if [each["limit"] for each in periods] == [limit_a]:
                    return

    async def _obey(self, frame: list[Any]) -> None:
        self.commanded.append(frame[2])
        self.payloads[frame[2]] = frame[3]
        await self._socket.send_message(json.dumps([3, frame[1], {"status": "Accepted"}]))

    async def asks(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        """A CALL, and its answer, of whomever."""
        return await self.hears(await self.says(action, payload))

    async def told(
        self, link: WebSocketConnection, action: str, payload: dict[str, Any], answer: dict[str, Any]
    ) -> None:
        """A CALL that this link's backend answers."""
        message_id = await self.says(action, payload)
        await hears(link, action, payload, answer)
        assert await self.hears(message_id) == answer


async def hears(
    link: WebSocketConnection, action: str, payload: dict[str, Any], answer: dict[str, Any]
) -> None:
    """The next that a backend hears is this CALL, which it answers so."""
    frame = json.loads(await heard(link))
    assert (frame[0], frame[2], frame[3]) == (2, action, payload), frame
    await link.send_message(json.dumps([3, frame[1], answer]))


@asynccontextmanager
async def connected(
    controller: App, headers: list[tuple[bytes, bytes]] | None = None
) -> AsyncIterator[Station]:
    """CS01 connects."""
    async with open_websocket_url(
        f"ws://127.0.0.1:{controller.port}/ocpp/CS01",
        subprotocols=["ocpp1.6"],
        extra_headers=headers,
        disconnect_timeout=2,
    ) as socket:
        yield Station(socket)
