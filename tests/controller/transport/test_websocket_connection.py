"""What a link does with a peer that closes, falls silent, does not read, or breaks the protocol."""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress

import pytest
import trio
import trio.testing
from websockets.extensions.permessage_deflate import PerMessageDeflate
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from controller.model.rate_limits import TokenBucket
from controller.transport import websocket_connection
from controller.transport.channel import MOST_WAITING_BYTES, MOST_WAITING_MESSAGES, Pause
from controller.transport.transport_errors import ConnectionLostError, SendQueueFullError
from controller.transport.websocket_connection import (
    FRAME_COST_BYTES,
    SEND_TIMEOUT_S,
    WebSocketConnection,
)
from tests.bounds import HANG_S
from tests.controller.transport.pairs import MOST, pair

MASK = bytes(4)  # a mask of zeros leaves the payload as it is


async def listen(link: WebSocketConnection) -> None:
    while True:
        await link.receive()


async def clog(link: WebSocketConnection) -> None:
    """Let so much be sent that something waits."""
    text = "x" * 500_000
    for _ in range(40):
        link.send_nowait(text)
        if link._waiting:
            return
    raise AssertionError("nothing waits")


def fill(link: WebSocketConnection, texts: list[str]) -> int:
    """Put until no more may wait; how many were taken."""
    for count, text in enumerate(texts):
        try:
            link.send_nowait(text)
        except SendQueueFullError:
            return count
    raise AssertionError("there is room for all")


# -- messages ----------------------------------------------------------------------------------------------


async def test_messages_go_both_ways_in_their_order() -> None:
    async with pair() as (link, peer):
        await peer.send_events(
            TextMessage("é", message_finished=False), TextMessage("t"), BytesMessage(b"\xff")
        )
        assert await link.receive() == "ét"
        assert await link.receive() == b"\xff"
        for text in ("", "a", "ü" * 70, "b" * 70_000):
            link.send_nowait(text)
            received = ""
            while received.encode() != text.encode() or not text:
                event = await peer.receive_one()
                assert isinstance(event, TextMessage)
                received += event.data
                if event.message_finished:
                    break
            assert received == text


async def test_websocket_connection_ping_is_answered_while_controller_listen() -> None:
    async with pair() as (link, peer), trio.open_nursery() as nursery:
        nursery.start_soon(listen, link)
        await peer.send_events(Ping(b"are you there"))
        event = await peer.receive_one()
        assert isinstance(event, Pong)
        assert event.payload == b"are you there"
        nursery.cancel_scope.cancel()


async def test_connection_message_with_the_handshake_is_received() -> None:
    async with pair(early=b"\x89\x81" + MASK + b"?" + b"\x81\x85" + MASK + b"hello") as (link, peer):
        assert await link.receive() == "hello"
        link.send_nowait("hello yourself")
        assert await peer.receive_one() == Pong(b"?")
    async with pair(early=b"\x88\x82" + MASK + struct.pack("!H", 1001)) as (link, peer):
        with pytest.raises(ConnectionLostError, match="closed with 1001"):
            link.send_nowait("hello")
        assert await peer.receive_all() == [CloseConnection(1001, "")]


@pytest.mark.parametrize("how", ["listen", "receive"])
async def test_peer_that_sends_endlessly_delays_no_other(how: str) -> None:
    async with pair() as (link, peer), trio.open_nursery() as nursery:

        async def exchange() -> None:
            while True:
                await peer.send_events(*[TextMessage("x" * 1000)] * 50)

        async def turn() -> None:
            nursery.cancel_scope.cancel()

        nursery.start_soon(exchange)
        await link.receive()
        nursery.start_soon(turn)
        await (link.read_messages(lambda _: None) if how == "listen" else listen(link))


async def test_connection_reader_gets_every_message_and_the_end() -> None:
    async with pair() as (link, peer):
        received: list[str | bytes] = []
        await peer.send_events(TextMessage("a"), BytesMessage(b"b"), TextMessage("c"), CloseConnection(1000))
        with pytest.raises(ConnectionLostError, match="closed with 1000"):
            await link.read_messages(received.append)
        assert received == ["a", b"b", "c"]


async def test_connection_reader_may_pause_after_a_message() -> None:
    async with pair() as (link, peer), trio.open_nursery() as nursery:
        received: list[str | bytes] = []
        go_on, paused = trio.Event(), trio.Event()

        async def pause() -> None:
            paused.set()
            await go_on.wait()

        def on_message(message: str | bytes) -> Pause | None:
            received.append(message)
            return pause if message == "b" else None

        async def listen_to_the_end() -> None:
            with pytest.raises(ConnectionLostError):
                await link.read_messages(on_message)

        nursery.start_soon(listen_to_the_end)
        await peer.send_events(TextMessage("a"), TextMessage("b"), TextMessage("c"))
        await paused.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert received == ["a", "b"]
        go_on.set()
        await peer.send_events(TextMessage("d"), CloseConnection(1000))
    assert received == ["a", "b", "c", "d"]


async def test_connection_error_of_the_reader_is_raised_there() -> None:
    async with pair() as (link, peer), pair() as (other, its_peer):

        def on_message(message: str | bytes) -> None:
            raise ZeroDivisionError

        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.send_events, TextMessage("a"))
            with pytest.raises(ZeroDivisionError):
                await link.read_messages(on_message)
        await its_peer.send_events(TextMessage("b"))
        assert await other.receive() == "b"


async def test_connection_cancelled_reader_loses_no_message() -> None:
    async with pair() as (link, peer):
        received: list[str | bytes] = []
        with trio.move_on_after(0.01):
            await link.read_messages(received.append)
        await peer.send_events(TextMessage("a"))
        assert await link.receive() == "a"
        assert received == []


# -- ends ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("close", "reason", "clean"),
    [
        (CloseConnection(1000), "closed with 1000", True),
        (CloseConnection(1001, "restart"), "closed with 1001, restart", True),
        (CloseConnection(1011, "oh"), "closed with 1011, oh", False),
    ],
)
async def test_websocket_connection_peer_that_closes_is_received_to_end(
    close: CloseConnection, reason: str, clean: bool
) -> None:
    async with pair() as (link, peer):
        await peer.send_events(TextMessage("last words"), close)
        assert await link.receive() == "last words"
        for _ in range(2):
            with pytest.raises(ConnectionLostError) as lost:
                await link.receive()
            assert (str(lost.value), lost.value.is_clean, lost.value.is_local) == (reason, clean, False)
        with pytest.raises(ConnectionLostError, match=reason):
            link.send_nowait("too late")
        with pytest.raises(ConnectionLostError, match=reason):
            await link.send("too late")
        with pytest.raises(ConnectionLostError, match=reason):
            await link.ping(60)
        assert [type(event) for event in await peer.receive_all()] == [CloseConnection]


async def test_websocket_connection_peer_that_vanishes_is_reported_as_such() -> None:
    async with pair() as (link, peer):
        await peer.send_events(TextMessage("last words"))
        await peer.stream.aclose()
        assert await link.receive() == "last words"
        with pytest.raises(ConnectionLostError, match="the connection ended without a close frame") as lost:
            await link.receive()
        assert not lost.value.is_clean


async def test_connection_last_messages_are_received_after_a_send_failure() -> None:
    async with pair() as (link, peer):
        await clog(link)  # what the peer has not read resets the connection when it goes
        await peer.send_events(TextMessage("last words"))
        await peer.stream.aclose()
        with pytest.raises(ConnectionLostError, match="ended without a close frame"):
            await link.send("x")
        assert await link.receive() == "last words"
        with pytest.raises(ConnectionLostError, match="ended without a close frame"):
            await link.receive()


BOMB = zlib.compressobj(wbits=-15)
BOMB_BYTES = (BOMB.compress(bytes(100 * MOST)) + BOMB.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\x81\x00", 1002),  # not masked
        (b"\x83\x80" + MASK, 1002),  # no such opcode
        (b"\xc1\x80" + MASK, 1002),  # compressed, and it was not agreed on
        (b"\x80\x80" + MASK, 1002),  # goes on with what was not begun
        (b"\x09\x80" + MASK, 1002),  # a ping in pieces
        (b"\x81\x82" + MASK + b"\xc3\x28", 1007),  # not UTF-8
        (b"\x81\xff" + struct.pack("!Q", 1 << 62) + MASK, 1009),  # longer than any machine's memory
        (b"\x01\xfe" + struct.pack("!H", MOST) + MASK + b"x" * MOST + b"\x80\x81" + MASK + b"x", 1009),
    ],
)
async def test_websocket_connection_peer_that_breaks_protocol_is_reported_how(sent: bytes, code: int) -> None:
    async with pair() as (link, peer):
        await peer.stream.send_all(sent)
        with pytest.raises(
            ConnectionLostError, match="max_message_bytes" if code == 1009 else f"closed with {code}"
        ) as lost:
            await link.receive()
        assert not lost.value.is_clean
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.close, 1000, "")
            (close,) = await peer.receive_all()
        assert isinstance(close, CloseConnection)
        assert close.code == code


async def test_connection_inflated_message_above_the_limit_is_refused() -> None:
    async with pair(PerMessageDeflate(True, True, 15, 15)) as (link, peer):
        header = b"\xc1\xfe" + struct.pack("!H", len(BOMB_BYTES))
        await peer.stream.send_all(header + MASK + BOMB_BYTES)
        with pytest.raises(ConnectionLostError, match="max_message_bytes"):
            await link.receive()


async def test_empty_fragments_use_no_memory_until_final() -> None:
    nothing = (b"\x00\x80" + MASK) * 20_000
    async with pair() as (link, peer), trio.open_nursery() as nursery:
        nursery.start_soon(peer.stream.send_all, b"\x01\x80" + MASK + nothing + b"\x80\x81" + MASK + b"x")
        assert await link.receive() == "x"
        assert not link._protocol.messages


async def test_one_task_closes_while_another_listens() -> None:
    async with pair() as (link, peer), trio.open_nursery() as nursery:
        nursery.start_soon(peer.receive_all)
        nursery.start_soon(link.close, 1001, "r" * 200)
        with pytest.raises(ConnectionLostError, match="closed by this controller") as lost:
            await link.receive()
        assert (lost.value.is_clean, lost.value.is_local) == (True, True)


async def test_peer_without_close_answer_is_abandoned_soon(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with pair() as (link, peer):
        started = trio.current_time()
        await link.close(1000, "")
        assert trio.current_time() - started == pytest.approx(websocket_connection.CLOSE_TIMEOUT_S)
        assert [type(event) for event in await peer.receive_all()] == [CloseConnection]


# -- silence -------------------------------------------------------------------------------------------


async def test_websocket_connection_peer_that_is_silent_is_gone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with pair() as (link, _), trio.open_nursery() as nursery:
        nursery.start_soon(listen, link)
        await trio.sleep(1)
        with pytest.raises(ConnectionLostError, match="no answer to a ping for 60 s"):
            await link.ping(60)
        nursery.cancel_scope.cancel()


async def test_peer_that_sends_is_alive_without_answering_pings(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with pair() as (link, peer), trio.open_nursery() as nursery:
        nursery.start_soon(listen, link)

        async def send_everything() -> None:
            await trio.sleep(50)
            await peer.send_events(TextMessage("hello"))

        nursery.start_soon(send_everything)
        await link.ping(60)
        with pytest.raises(ConnectionLostError):  # and when it falls silent, it is gone with the next
            await link.ping(60)
        nursery.cancel_scope.cancel()


async def test_peer_is_not_silent_while_controller_does_not_read(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with pair() as (link, _):
        started = trio.current_time()
        await link.ping(60)
        assert trio.current_time() - started >= 60


async def test_connection_ping_raises_when_the_link_closes() -> None:
    async with pair() as (link, peer), trio.open_nursery() as nursery:

        async def listen_to_the_end() -> None:
            with pytest.raises(ConnectionLostError):
                await listen(link)

        nursery.start_soon(listen_to_the_end)
        nursery.start_soon(peer.send_events, CloseConnection(1000))
        with pytest.raises(ConnectionLostError, match="closed with 1000"):
            await link.ping(60)


# -- what waits ----------------------------------------------------------------------------------------


async def test_websocket_connection_peer_that_does_not_read_is_abandoned(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with pair() as (link, _), trio.open_nursery() as nursery:
        await clog(link)
        started = trio.current_time()
        with pytest.raises(ConnectionLostError, match="it has not read for 60 s"):
            await link.receive()  # the reader gets it without sending anything
        assert trio.current_time() - started == pytest.approx(SEND_TIMEOUT_S)
        with pytest.raises(ConnectionLostError, match="it has not read for 60 s"):
            link.send_nowait("x")
        nursery.cancel_scope.cancel()


async def test_connection_send_raises_when_it_was_not_sent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with pair() as (link, _):
        with pytest.raises(ConnectionLostError, match="it has not read for 60 s"):
            await link.send("x" * 20_000_000)


async def test_queued_messages_are_bounded() -> None:
    async with pair() as (link, _):
        await clog(link)
        for _ in range(MOST_WAITING_MESSAGES - 1):
            link.send_nowait("x")
        with pytest.raises(
            SendQueueFullError, match=rf"^{MOST_WAITING_MESSAGES} messages of \d+ bytes wait$"
        ):
            link.send_nowait("x")


async def test_queued_bytes_are_bounded_and_arrive_in_order() -> None:
    async with pair() as (link, peer), trio.open_nursery() as nursery:
        sent = [str(number) + "é" * (MOST_WAITING_BYTES // 8) for number in range(100)]
        count = fill(link, sent)
        assert link._waiting_bytes <= MOST_WAITING_BYTES
        nursery.start_soon(link.send, "the last")  # waits for room
        received = [""]
        while received[-1] != "the last":
            event = await peer.receive_one()
            assert isinstance(event, TextMessage)
            received[-1] += event.data
            if event.message_finished and received[-1] != "the last":
                received.append("")
        assert received == [*sent[:count], "the last"]
        link.send_nowait(sent[-1])  # there is room again


async def test_websocket_connection_message_that_is_longer_may_wait_alone() -> None:
    async with pair() as (link, _):
        link.send_nowait("x" * (2 * MOST_WAITING_BYTES))
        assert link._waiting_bytes > MOST_WAITING_BYTES // 2
        for more in ("x" * (2 * MOST_WAITING_BYTES), b"x" * (2 * MOST_WAITING_BYTES)):
            with pytest.raises(SendQueueFullError, match=r"^1 messages of"):
                link.send_nowait(more)


async def test_connection_queue_is_sent_before_it_closes() -> None:
    async with pair() as (link, peer), trio.open_nursery() as nursery:
        await clog(link)
        link.send_nowait("last words")
        nursery.start_soon(link.close, 1000, "")
        *_, words, close = await peer.receive_all()
        assert isinstance(words, TextMessage)
        assert words.data == "last words"
        assert isinstance(close, CloseConnection)


async def test_websocket_connection_peer_that_asks_and_does_not_read_costs_link() -> None:
    async with pair() as (link, peer), trio.open_nursery() as nursery:

        async def ask() -> None:
            pings = b"".join([b"\x89\xfd" + MASK + b"x" * 125] * 10)
            with suppress(trio.BrokenResourceError):
                while True:
                    await peer.stream.send_all(pings)

        nursery.start_soon(ask)
        with pytest.raises(ConnectionLostError, match="it sends, but does not read"), trio.fail_after(HANG_S):
            await link.receive()


# -- pace ----------------------------------------------------------------------------------------------


async def read_all(link: WebSocketConnection, messages: list[str | bytes]) -> None:
    with suppress(ConnectionLostError):
        await link.read_messages(messages.append)


@pytest.mark.parametrize(
    "frame",
    [Pong(b""), TextMessage("", message_finished=False)],
    ids=["pongs", "empty fragments"],
)
async def test_connection_counts_frames_without_message_in_pace(frame: Pong | TextMessage) -> None:
    pace = TokenBucket(rate=1000, burst=10 * FRAME_COST_BYTES)
    async with pair(pace=pace) as (link, peer), trio.open_nursery() as nursery:
        nursery.start_soon(read_all, link, [])
        await peer.send_events(*[frame] * 100)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert pace.wait_s(trio.current_time()) > 10
        assert link._protocol.frames == 100
        await peer.send_events(Pong(b""))  # is left in the socket
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert link._protocol.frames == 100
        nursery.cancel_scope.cancel()


async def test_connection_within_pace_is_read_at_once() -> None:
    messages: list[str | bytes] = []
    pace = TokenBucket(rate=1000, burst=100_000)
    async with pair(pace=pace) as (link, peer), trio.open_nursery() as nursery:
        nursery.start_soon(read_all, link, messages)
        await peer.send_events(*[TextMessage("x" * 100)] * 50)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert messages == ["x" * 100] * 50
        nursery.cancel_scope.cancel()


async def test_websocket_connection_keep_alive_ends_silent_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with pair() as (link, _), trio.open_nursery() as nursery:
        lost: list[ConnectionLostError] = []

        async def read() -> None:
            with pytest.raises(ConnectionLostError, match="no answer to a ping for 30 s") as raised:
                await link.read_messages(lambda _: None)
            lost.append(raised.value)

        nursery.start_soon(read)
        for _ in range(3):
            await trio.testing.wait_all_tasks_blocked()
            link.keep_alive(30)
            assert lost == []
            await trio.sleep(10)
        link.keep_alive(30)
        await trio.testing.wait_all_tasks_blocked()
    assert len(lost) == 1
    assert not lost[0].is_local
