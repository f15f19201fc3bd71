"""A site whose controller has a policy of signatures, between strangers, over real sockets."""

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
from controller.config.loader import check_config
from controller.services.app import App
from tests.controller.signing.house import limit
from tests.controller.transport.rig import Backend, heard

OBSERVED = """
[[backend]]
id = "fleet"
url = "ws://127.0.0.1:{fleet}/csms/{{station}}"
commands = ["profiles"]
"""


def configured(
    folder: Path,
    backend: Backend,
    fleet: Backend | None = None,
    site: str = "",
    station: str = "",
    key: Path | None = None,
) -> Config:
    """With a fleet that may set profiles, the owner may not: profiles have one author."""
    commands = "" if fleet is None else 'commands = ["reset", "configuration"]'
    config, mistakes, _ = check_config(
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
    assert mistakes == []
    assert config is not None
    return config


@asynccontextmanager
async def backends(count: int) -> AsyncIterator[list[Backend]]:
    async with trio.open_nursery() as nursery:
        made = [Backend() for _ in range(count)]
        for backend in made:
            await nursery.start(backend.run)
        yield made
        nursery.cancel_scope.cancel()


class Station:
    """It obeys what the controller says by itself, and writes down what it is told else."""

    def __init__(self, socket: WebSocketConnection) -> None:
        self._socket = socket
        self._told, self._hears = trio.open_memory_channel[str](100)
        self._answered, self._answers = trio.open_memory_channel[list[Any]](100)
        self._to_say, self._says = trio.open_memory_channel[str](100)

    async def run(self) -> None:
        while True:
            text = await heard_for_long(self._socket)
            frame = json.loads(text)
            if frame[0] == 2:
                await self._socket.send_message(json.dumps([3, frame[1], {"status": "Accepted"}]))
                if not is_ours(frame):
                    self._told.send_nowait(text)
            else:
                self._answered.send_nowait(frame)

    async def say(self) -> None:
        while True:
            await self._socket.send_message(await self._says.receive())

    def says(self, text: str) -> None:
        self._to_say.send_nowait(text)

    async def answer(self, number: str) -> list[Any]:
        """The answer to what it has said last."""
        with trio.fail_after(5):
            frame = await self._answers.receive()
        assert frame[1] == number
        return frame

    async def hears(self) -> str:
        with trio.fail_after(5):
            return await self._hears.receive()

    def heard_no_more(self) -> bool:
        return self._hears.statistics().current_buffer_used == 0


async def heard_for_long(socket: WebSocketConnection) -> str:
    message = await socket.get_message()
    assert isinstance(message, str)
    return message


def is_ours(frame: list[Any]) -> bool:
    """The controller's own CALLs have UUIDs, as those of observers get; but those here are dated."""
    return len(frame[1]) == 36 and "customData" not in frame[3]


@asynccontextmanager
async def station(controller: App) -> AsyncIterator[Station]:
    url = f"ws://127.0.0.1:{controller.port}/ocpp/CS01"
    async with (
        open_websocket_url(url, subprotocols=["ocpp2.0.1"], disconnect_timeout=2) as socket,
        trio.open_nursery() as nursery,
    ):
        made = Station(socket)
        nursery.start_soon(made.run)
        nursery.start_soon(made.say)
        yield made
        nursery.cancel_scope.cancel()


def a_limit(amps: float = 16.0) -> dict[str, Any]:
    payload = limit(amps, made=time.time())
    payload["chargingProfile"] |= {
        "chargingProfilePurpose": "TxDefaultProfile",
        "chargingProfileKind": "Absolute",
    }
    return payload


def text_of(number: str, payload: bytes, action: str = "SetChargingProfile") -> str:
    return f'[2,"{number}","{action}",{payload.decode()}]'


async def answer_to(link: WebSocketConnection, number: str) -> list[Any]:
    while True:
        frame: list[Any] = json.loads(await heard(link))
        if frame[1] == number:
            return frame


async def is_refused(link: WebSocketConnection, text: str, words: str) -> None:
    number = json.loads(text)[1]
    await link.send_message(text)
    kind, _, code, description, _ = await answer_to(link, number)
    assert (kind, code) == (4, "SecurityError")
    assert words in description


async def passes(link: WebSocketConnection, served: Station, text: str) -> None:
    """It arrives byte for byte, and is answered."""
    await link.send_message(text)
    assert await served.hears() == text
    assert (await answer_to(link, json.loads(text)[1]))[0] == 3
