"""The poller's batches: what their callbacks send goes together, and errors stay with their socket."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import trio
import trio.testing
from wsproto.events import Ping, Pong, TextMessage

from controller.transport import websocket_connection
from controller.transport.byte_transport import ByteTransport
from controller.transport.channel import Pause
from controller.transport.poller import FdWatcher, call_after_sends, watch_socket
from controller.transport.transport_errors import ConnectionLostError
from controller.transport.websocket_connection import WebSocketConnection
from tests.bounds import HANG_S
from tests.controller.transport.pairs import pair


@contextmanager
def socket_pair() -> Iterator[tuple[socket.socket, FdWatcher, socket.socket]]:
    """A watched socket, its watcher and its peer."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    watcher = watch_socket(ours)
    try:
        yield ours, watcher, theirs
    finally:
        watcher.close()
        ours.close()
        theirs.close()


async def relay_messages(source: WebSocketConnection, target: WebSocketConnection) -> None:
    """Send each message of one connection on over the other, twice."""

    def handle(message: str | bytes) -> Pause | None:
        target.send_nowait(message)
        target.send_nowait(message)
        return None

    await source.read_messages(handle)


async def test_poller_deferred_calls_follow_all_reads_of_the_batch() -> None:
    done: list[str] = []
    with socket_pair() as (first, first_watcher, one), socket_pair() as (second, second_watcher, two):
        is_done = trio.Event()

        def send(name: str) -> None:
            done.append(f"send {name}")
            if len(done) == 4:
                is_done.set()

        def read(name: str, sock: socket.socket, watcher: FdWatcher) -> bool | None:
            sock.recv(100)
            done.append(f"read {name}")
            assert watcher.defer(lambda: send(name))
            return None

        async def wait(name: str, sock: socket.socket, watcher: FdWatcher) -> None:
            await watcher.wait_read(lambda: read(name, sock, watcher))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, "first", first, first_watcher)
            nursery.start_soon(wait, "second", second, second_watcher)
            await trio.testing.wait_all_tasks_blocked()
            one.send(b"x")
            two.send(b"x")
            with trio.fail_after(HANG_S):
                await is_done.wait()
            nursery.cancel_scope.cancel()
    assert [each.split()[0] for each in done] == ["read", "read", "send", "send"]


async def test_poller_without_batch_defers_nothing() -> None:
    with socket_pair() as (_, watcher, _theirs):
        assert not watcher.defer(lambda: pytest.fail("it is not called"))
        await trio.testing.wait_all_tasks_blocked()


async def read_beside_failure(schedule: Callable[[FdWatcher, Callable[[], None]], None]) -> None:
    """Let a call that a reader schedules fail, and read at another socket afterwards."""
    with socket_pair() as (first, first_watcher, one), socket_pair() as (second, second_watcher, two):

        def fail() -> None:
            raise ValueError("it fails")

        def read_first() -> bool | None:
            first.recv(100)
            schedule(first_watcher, fail)
            return None

        async def wait_first() -> None:
            with pytest.raises(ValueError, match="it fails"):
                await first_watcher.wait_read(read_first)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_first)
            await trio.testing.wait_all_tasks_blocked()
            one.send(b"x")
        two.send(b"x")
        with trio.fail_after(HANG_S):
            assert await second_watcher.wait_read(lambda: second.recv(100)) == b"x"


async def test_poller_error_of_deferred_call_ends_its_reader_alone() -> None:
    def defer(watcher: FdWatcher, fail: Callable[[], None]) -> None:
        assert watcher.defer(fail)

    await read_beside_failure(defer)


async def test_poller_error_of_deferred_call_waits_for_next_reader() -> None:
    with socket_pair() as (ours, watcher, theirs):

        def fail() -> None:
            raise ValueError("it cannot be sent")

        def read() -> bytes:
            assert watcher.defer(fail)
            return ours.recv(100)

        theirs.send(b"x")
        with trio.fail_after(HANG_S):
            assert await watcher.wait_read(read) == b"x"
            with pytest.raises(ValueError, match="cannot be sent"):
                await watcher.wait_read(lambda: None)
            theirs.send(b"y")
            assert await watcher.wait_read(lambda: ours.recv(100)) == b"y"


async def test_poller_calls_after_sends_follow_all_sends_in_order() -> None:
    done: list[str] = []
    with socket_pair() as (ours, watcher, theirs):

        def read() -> bytes:
            call_after_sends(lambda: done.append("first"))
            assert watcher.defer(lambda: done.append("send"))
            call_after_sends(lambda: done.append("second"))
            done.append("read")
            return ours.recv(100)

        theirs.send(b"x")
        with trio.fail_after(HANG_S):
            await watcher.wait_read(read)
        assert done == ["read", "send", "first", "second"]
        call_after_sends(lambda: done.append("at once"))
        assert done[-1] == "at once"


async def test_poller_message_waits_for_one_call_after_sends() -> None:
    """A message that comes while calls are made is sent on before the rest of them."""
    done: list[str] = []
    with socket_pair() as (first, first_watcher, first_peer), socket_pair() as (second, watcher, peer):

        def read_first() -> bytes:
            for number in range(3):
                call_after_sends(partial(follow, number))
            return first.recv(100)

        def follow(number: int) -> None:
            done.append(f"call {number}")
            if number == 0:
                peer.send(b"x")

        def read_second() -> bytes:
            assert watcher.defer(lambda: done.append("send"))
            return second.recv(100)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watcher.wait_read, read_second)
            nursery.start_soon(first_watcher.wait_read, read_first)
            await trio.testing.wait_all_tasks_blocked()
            first_peer.send(b"x")
            nursery.cancel_scope.deadline = trio.current_time() + 5
    assert done == ["call 0", "send", "call 1", "call 2"]


async def test_poller_calls_at_once_before_any_socket_is_watched() -> None:
    done: list[str] = []
    call_after_sends(lambda: done.append("at once"))
    assert done == ["at once"]


async def test_poller_error_of_call_after_sends_ends_its_reader_alone() -> None:
    done: list[str] = []

    def call(_: FdWatcher, fail: Callable[[], None]) -> None:
        call_after_sends(fail)
        call_after_sends(lambda: done.append("follows"))

    await read_beside_failure(call)
    assert done == ["follows"]


async def test_websocket_connection_frames_of_one_batch_are_one_send(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[int] = []
    real = ByteTransport.send

    def count_send(transport: ByteTransport, data: bytes | memoryview) -> int:
        sent.append(len(data))
        return real(transport, data)

    async with pair() as (source, station), pair() as (target, backend), trio.open_nursery() as nursery:
        nursery.start_soon(relay_messages, source, target)
        await trio.testing.wait_all_tasks_blocked()
        monkeypatch.setattr(ByteTransport, "send", count_send)
        await station.send_events(TextMessage("a"), TextMessage("b"))
        with trio.fail_after(HANG_S):
            texts = [await backend.receive_one() for _ in range(4)]
        nursery.cancel_scope.cancel()
    assert [each.data for each in texts if isinstance(each, TextMessage)] == ["a", "a", "b", "b"]
    assert sent == [4 * 3]


async def test_websocket_connection_pong_keeps_its_place_in_a_batch() -> None:
    """The answer to a ping goes behind what was sent before it."""
    async with pair() as (link, peer), trio.open_nursery() as nursery:
        nursery.start_soon(relay_messages, link, link)
        await trio.testing.wait_all_tasks_blocked()
        await peer.send_events(TextMessage("a"), Ping(b"p"), TextMessage("b"))
        with trio.fail_after(HANG_S):
            events = [await peer.receive_one() for _ in range(5)]
        nursery.cancel_scope.cancel()
    texts = [each.data for each in events if isinstance(each, TextMessage)]
    assert texts == ["a", "a", "b", "b"]
    assert sum(isinstance(each, Pong) for each in events) == 1


async def test_websocket_connection_long_batch_is_sent_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket_connection, "MOST_BATCHED_BYTES", 100)
    async with pair() as (source, station), pair() as (target, backend), trio.open_nursery() as nursery:
        nursery.start_soon(relay_messages, source, target)
        await trio.testing.wait_all_tasks_blocked()
        await station.send_events(*(TextMessage(f"{number:060}") for number in range(5)))
        with trio.fail_after(HANG_S):
            texts = [await backend.receive_one() for _ in range(10)]
        nursery.cancel_scope.cancel()
    assert [int(each.data) for each in texts if isinstance(each, TextMessage)] == [
        number // 2 for number in range(10)
    ]


async def test_websocket_connection_dropped_in_batch_sends_nothing_more() -> None:
    async with pair() as (source, station), pair() as (target, backend), trio.open_nursery() as nursery:

        def handle(message: str | bytes) -> Pause | None:
            target.send_nowait(message)
            target._drop(websocket_connection.CLOSED_LOCALLY)
            with pytest.raises(ConnectionLostError):
                target.send_nowait(message)
            return None

        nursery.start_soon(source.read_messages, handle)
        await trio.testing.wait_all_tasks_blocked()
        await station.send_events(TextMessage("a"))
        with trio.fail_after(HANG_S):
            assert await backend.receive_all() == []
        nursery.cancel_scope.cancel()
