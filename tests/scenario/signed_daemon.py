"""A daemon with a signature policy between its CSMSs and a station, over loopback sockets."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from trio_websocket import WebSocketConnection, open_websocket_url

from controller.config import Config
from controller.services.app import App
from tests.bounds import HANG_S
from tests.controller.signing.policy_examples import limit
from tests.scenario.configuration import read_valid_config
from tests.scenario.link_harness import CsmsServer, receive_text

OBSERVED = """
[[backend]]
id = "fleet"
url = "ws://127.0.0.1:{fleet}/csms/{{station}}"
commands = ["profiles"]
"""


def configure(
    folder: Path,
    backend: CsmsServer,
    fleet: CsmsServer | None = None,
    site: str = "",
    station: str = "",
    key: Path | None = None,
) -> Config:
    """Return the configuration; with an observer that may set profiles, the owner may not."""
    commands = "" if fleet is None else 'commands = ["reset", "configuration"]'
    return read_valid_config(
        f"""
        [site]
        id = "lc"
        {site}
        [store]
        directory = "{folder}"
        [listen]
        host = "127.0.0.1"
        port = 0
        [signing]
        policy = "{folder / "signing.toml"}"
        {"" if key is None else f'key = "{key}"'}
        [[backend]]
        id = "cpo"
        url = "ws://127.0.0.1:{backend.port}/csms/{{station}}"
        {commands}
        [[circuit]]
        id = "grid"
        limit_a = 40
        [[station]]
        id = "CS01"
        circuit = "grid"
        owner = "cpo"
        {station}
        {"" if fleet is None else 'observers = ["fleet"]'}
        {"" if fleet is None else OBSERVED.format(fleet=fleet.port)}
        """,
        "test.toml",
    )


@asynccontextmanager
async def serve_csms_servers(count: int) -> AsyncIterator[list[CsmsServer]]:
    async with trio.open_nursery() as nursery:
        made = [CsmsServer() for _ in range(count)]
        for backend in made:
            await nursery.start(backend.run)
        yield made
        nursery.cancel_scope.cancel()


class ObedientStation:
    """A station that accepts each command; those of its CSMSs can be received."""

    def __init__(self, socket: WebSocketConnection) -> None:
        self._socket = socket
        self._commanded, self._commands = trio.open_memory_channel[str](100)
        self._answered, self._answers = trio.open_memory_channel[list[Any]](100)
        self._queued, self._queue = trio.open_memory_channel[str](100)

    async def run(self) -> None:
        while True:
            text = await receive_slow_text(self._socket)
            frame = json.loads(text)
            if frame[0] == 2:
                await self._socket.send_message(json.dumps([3, frame[1], {"status": "Accepted"}]))
                if not is_of_controller(frame):
                    self._commanded.send_nowait(text)
            else:
                self._answered.send_nowait(frame)

    async def run_sender(self) -> None:
        while True:
            await self._socket.send_message(await self._queue.receive())

    def send(self, text: str) -> None:
        self._queued.send_nowait(text)

    async def receive_answer(self, number: str) -> list[Any]:
        """Return the answer to the CALL with this id, which is the next one."""
        with trio.fail_after(HANG_S):
            frame = await self._answers.receive()
        assert frame[1] == number
        return frame

    async def receive_text(self) -> str:
        with trio.fail_after(HANG_S):
            return await self._commands.receive()

    def has_no_text(self) -> bool:
        return self._commands.statistics().current_buffer_used == 0


async def receive_slow_text(socket: WebSocketConnection) -> str:
    message = await socket.get_message()
    assert isinstance(message, str)
    return message


def is_of_controller(frame: list[Any]) -> bool:
    """Return True for a CALL of the controller: its id is a UUID, and it has no customData."""
    return len(frame[1]) == 36 and "customData" not in frame[3]


@asynccontextmanager
async def connect_station(controller: App) -> AsyncIterator[ObedientStation]:
    url = f"ws://127.0.0.1:{controller.port}/ocpp/CS01"
    async with (
        open_websocket_url(url, subprotocols=["ocpp2.0.1"], disconnect_timeout=2) as socket,
        trio.open_nursery() as nursery,
    ):
        made = ObedientStation(socket)
        nursery.start_soon(made.run)
        nursery.start_soon(made.run_sender)
        yield made
        nursery.cancel_scope.cancel()


def limit_payload(amps: float = 16.0) -> dict[str, Any]:
    payload = limit(amps, made=time.time())
    payload["chargingProfile"] |= {
        "chargingProfilePurpose": "TxDefaultProfile",
        "chargingProfileKind": "Absolute",
    }
    return payload


def call_text(number: str, payload: bytes, action: str = "SetChargingProfile") -> str:
    return f'[2,"{number}","{action}",{payload.decode()}]'


async def receive_answer(link: WebSocketConnection, number: str) -> list[Any]:
    while True:
        frame: list[Any] = json.loads(await receive_text(link))
        if frame[1] == number:
            return frame


async def expect_refusal(link: WebSocketConnection, text: str, words: str) -> None:
    number = json.loads(text)[1]
    await link.send_message(text)
    kind, _, code, description, _ = await receive_answer(link, number)
    assert (kind, code) == (4, "SecurityError")
    assert words in description


async def expect_forwarded(link: WebSocketConnection, served: ObedientStation, text: str) -> None:
    """Send a CALL of the CSMS that the station receives byte for byte and answers."""
    await link.send_message(text)
    assert await served.receive_text() == text
    assert (await receive_answer(link, json.loads(text)[1]))[0] == 3
