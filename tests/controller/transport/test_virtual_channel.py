"""A channel that is multiplexed over another connection."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from controller.transport.channel import MOST_WAITING_BYTES, MOST_WAITING_MESSAGES, Pause, VirtualChannel
from controller.transport.transport_errors import ConnectionLostError, SendQueueFullError
from tests.bounds import HANG_S


async def test_channel_passes_messages_both_ways() -> None:
    received: list[str | bytes] = []
    leg = VirtualChannel(received.append)
    leg.deliver("a")
    leg.deliver(b"b")
    leg.send_nowait("1")
    leg.send_nowait(b"2")
    await leg.ping(1.0)
    assert [await leg.receive(), await leg.receive()] == ["a", b"b"]
    assert received == ["1", b"2"]


async def test_ended_channel_gives_delivered_messages_first() -> None:
    leg = VirtualChannel(lambda text: None)
    leg.deliver("a")
    leg.end("the cable was cut")
    leg.end("something else")
    assert await leg.receive() == "a"
    for call in (leg.receive(), leg.ping(1.0)):
        with pytest.raises(ConnectionLostError, match="the cable was cut") as lost:
            await call
        assert (lost.value.is_clean, lost.value.is_local) == (False, False)
    with pytest.raises(ConnectionLostError):
        leg.deliver("b")
    with pytest.raises(ConnectionLostError):
        leg.send_nowait("2")


async def test_closed_channel_reports_local_end() -> None:
    leg = VirtualChannel(lambda text: None)
    await leg.close(1000, "")
    with pytest.raises(ConnectionLostError) as lost:
        await leg.receive()
    assert (lost.value.is_clean, lost.value.is_local) == (True, True)


async def test_virtual_channel_waiting_reader_gets_end(autojump_clock: trio.testing.MockClock) -> None:
    leg = VirtualChannel(lambda text: None)
    async with trio.open_nursery() as nursery:

        async def listen() -> None:
            with pytest.raises(ConnectionLostError, match="gone"):
                await leg.receive()

        nursery.start_soon(listen)
        await trio.testing.wait_all_tasks_blocked()
        leg.end("gone")


async def test_channel_with_too_many_messages_is_full() -> None:
    leg = VirtualChannel(lambda text: None)
    for number in range(MOST_WAITING_MESSAGES):
        leg.deliver(str(number))
    with pytest.raises(SendQueueFullError, match=str(MOST_WAITING_MESSAGES)):
        leg.deliver("one more")


async def test_channel_with_too_many_bytes_is_full() -> None:
    channel = VirtualChannel(lambda text: None)
    channel.deliver("x" * (2 * MOST_WAITING_BYTES))  # a long message may wait alone
    with pytest.raises(SendQueueFullError, match="bytes wait"):
        channel.deliver("one more")
    await channel.receive()
    channel.deliver("one more")
    assert await channel.receive() == "one more"


async def test_channel_calls_on_ended_once() -> None:
    ended: list[str] = []
    channel = VirtualChannel(lambda text: None)
    channel.on_ended = lambda: ended.append("ended")
    channel.end("the carrier is gone")
    await channel.close(1000, "")
    assert ended == ["ended"]


async def test_reading_channel_handles_message_at_once(nursery: trio.Nursery) -> None:
    channel, handled = VirtualChannel(lambda text: None), []

    def handle(message: str | bytes) -> None:
        handled.append(message)

    channel.deliver("1")
    nursery.start_soon(channel.read_messages, handle)
    await trio.testing.wait_all_tasks_blocked()
    channel.deliver("2")
    assert handled == ["1", "2"]
    nursery.cancel_scope.cancel()


async def test_reading_channel_keeps_order_over_pause(nursery: trio.Nursery) -> None:
    channel, handled, over = VirtualChannel(lambda text: None), [], trio.Event()

    def handle(message: str | bytes) -> Pause | None:
        handled.append(message)
        return over.wait if message == "1" else None

    nursery.start_soon(channel.read_messages, handle)
    await trio.testing.wait_all_tasks_blocked()
    for message in ("1", "2", "3"):
        channel.deliver(message)
    await trio.testing.wait_all_tasks_blocked()
    assert handled == ["1"]
    over.set()
    await trio.testing.wait_all_tasks_blocked()
    channel.deliver("4")
    assert handled == ["1", "2", "3", "4"]
    nursery.cancel_scope.cancel()


async def test_reading_channel_queues_what_handler_causes(nursery: trio.Nursery) -> None:
    channel, handled = VirtualChannel(lambda text: None), []

    def handle(message: str | bytes) -> None:
        handled.append(message)
        if message == "1":
            channel.deliver("2")
            assert handled == ["1"]

    nursery.start_soon(channel.read_messages, handle)
    await trio.testing.wait_all_tasks_blocked()
    channel.deliver("1")
    await trio.testing.wait_all_tasks_blocked()
    channel.deliver("3")
    assert handled == ["1", "2", "3"]
    nursery.cancel_scope.cancel()


async def test_virtual_channel_error_of_handler_is_raised_in_reading_task() -> None:
    channel = VirtualChannel(lambda text: None)

    def handle(message: str | bytes) -> None:
        raise ValueError(message)

    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="1")):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(channel.read_messages, handle)
            await trio.testing.wait_all_tasks_blocked()
            channel.deliver("1")
    with pytest.raises(ConnectionLostError):
        channel.deliver("2")


async def test_virtual_channel_message_from_handler_keeps_its_place() -> None:
    """The reader has been woken for it: nothing that comes later may be handled before it."""
    channel = VirtualChannel(lambda text: None)
    handled: list[str | bytes] = []
    has_three = trio.Event()

    def handle(message: str | bytes) -> Pause | None:
        handled.append(message)
        if message == "a":
            channel.deliver("b")
        if len(handled) == 3:
            has_three.set()
        return None

    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.read_messages, handle)
        await trio.testing.wait_all_tasks_blocked()
        channel.deliver("a")
        channel.deliver("c")
        with trio.fail_after(HANG_S):
            await has_three.wait()
        nursery.cancel_scope.cancel()
    assert handled == ["a", "b", "c"]
