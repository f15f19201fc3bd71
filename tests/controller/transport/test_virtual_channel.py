"""A leg is for who holds it a link like any other."""

from __future__ import annotations

import pytest
import trio

from controller.transport.channel import VirtualChannel
from controller.transport.transport_errors import ConnectionLostError, SendQueueFullError
from controller.transport.websocket_connection import MOST_WAITING_MESSAGES


async def test_what_is_passed_is_received_and_what_is_sent_is_heard() -> None:
    heard: list[str | bytes] = []
    leg = VirtualChannel(heard.append)
    leg.deliver("a")
    leg.deliver(b"b")
    leg.send_nowait("1")
    leg.send_nowait(b"2")
    await leg.ping(1.0)
    assert [await leg.receive(), await leg.receive()] == ["a", b"b"]
    assert heard == ["1", b"2"]


async def test_what_has_come_is_received_before_the_end_is_told() -> None:
    leg = VirtualChannel(lambda text: None)
    leg.deliver("a")
    leg.end("the cable was cut")
    leg.end("something else")
    assert await leg.receive() == "a"
    for talk in (leg.receive(), leg.ping(1.0)):
        with pytest.raises(ConnectionLostError, match="the cable was cut") as lost:
            await talk
        assert (lost.value.is_clean, lost.value.is_local) == (False, False)
    with pytest.raises(ConnectionLostError):
        leg.deliver("b")
    with pytest.raises(ConnectionLostError):
        leg.send_nowait("2")


async def test_who_closes_it_hears_that_it_was_of_our_own_making() -> None:
    leg = VirtualChannel(lambda text: None)
    await leg.close(1000, "")
    with pytest.raises(ConnectionLostError) as lost:
        await leg.receive()
    assert (lost.value.is_clean, lost.value.is_local) == (True, True)


async def test_who_waits_for_a_message_hears_of_the_end(autojump_clock: trio.testing.MockClock) -> None:
    leg = VirtualChannel(lambda text: None)
    async with trio.open_nursery() as nursery:

        async def listen() -> None:
            with pytest.raises(ConnectionLostError, match="gone"):
                await leg.receive()

        nursery.start_soon(listen)
        await trio.testing.wait_all_tasks_blocked()
        leg.end("gone")


async def test_so_many_messages_may_wait() -> None:
    leg = VirtualChannel(lambda text: None)
    for number in range(MOST_WAITING_MESSAGES):
        leg.deliver(str(number))
    with pytest.raises(SendQueueFullError, match=str(MOST_WAITING_MESSAGES)):
        leg.deliver("one more")
