"""How long a link waits for a peer, on a virtual clock."""

from __future__ import annotations

from typing import cast

import pytest
import trio
import trio.testing
from trio_websocket import WebSocketConnection

from controller.links.engine import SEND_S, Link, LinkLost


class DeafSocket:
    """Answers no ping and takes no message; what it says comes through `says`."""

    def __init__(self) -> None:
        self.says, self._heard = trio.open_memory_channel[str](10)

    async def get_message(self) -> str:
        return await self._heard.receive()

    async def send_message(self, text: str) -> None:
        await trio.sleep_forever()

    async def ping(self) -> None:
        await trio.sleep_forever()


async def reading(link: Link) -> None:
    while True:
        await link.receive()


@pytest.fixture
def deaf() -> DeafSocket:
    return DeafSocket()


@pytest.fixture
def link(deaf: DeafSocket) -> Link:
    return Link(cast(WebSocketConnection, deaf))


async def test_a_peer_that_is_silent_is_gone(link: Link, autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reading, link)
        await trio.sleep(1)
        with pytest.raises(LinkLost, match="no answer to a ping for 60 s"):
            await link.ping(60)
        nursery.cancel_scope.cancel()


async def test_a_peer_that_speaks_is_there_whatever_it_does_with_pings(
    deaf: DeafSocket, link: Link, autojump_clock: trio.testing.MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reading, link)

        async def speak() -> None:
            await trio.sleep(50)
            await deaf.says.send("hello")

        nursery.start_soon(speak)
        await link.ping(60)
        with pytest.raises(LinkLost):  # and when it falls silent, it is gone with the next
            await link.ping(60)
        nursery.cancel_scope.cancel()


async def test_a_peer_that_we_do_not_listen_to_is_not_called_silent(
    link: Link, autojump_clock: trio.testing.MockClock
) -> None:
    await link.ping(60)
    assert trio.current_time() >= 60


async def test_a_peer_that_does_not_read_is_given_up(
    link: Link, autojump_clock: trio.testing.MockClock
) -> None:
    started = trio.current_time()
    with pytest.raises(LinkLost, match="it has not read for 60 s"):
        await link.send("hello")
    assert trio.current_time() - started == pytest.approx(SEND_S)
