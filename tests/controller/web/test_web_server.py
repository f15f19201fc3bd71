"""The server, over loopback and by the byte."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from msgspec.structs import replace
from trio.testing import memory_stream_pair

from controller.web import web_server
from controller.web.status_model import ControllerStatus
from controller.web.web_routes import ReadStatus, WebRoutes
from controller.web.web_server import WebServerError, WebSettings, serve_web
from tests.bounds import HANG_S
from tests.controller.web.examples import STATUS
from tests.controller.web.fake_site import FakeAccess, FakeSite

HOST = "127.0.0.1"
GET = b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n"


def status() -> ControllerStatus:
    return STATUS


def routes(read: ReadStatus = status) -> WebRoutes:
    return WebRoutes(FakeSite(read), FakeAccess(), open_status=True)


@asynccontextmanager
async def serving() -> AsyncIterator[int]:
    async with trio.open_nursery() as nursery:
        yield await nursery.start(serve_web, WebSettings(HOST, 0), routes())
        nursery.cancel_scope.cancel()


def connection(stream: trio.abc.Stream, read: ReadStatus = status) -> web_server._Connection:
    return web_server._Connection(stream, routes(read), lambda _: None)


async def all_of(stream: trio.abc.ReceiveStream) -> bytes:
    """What comes until the other side closes."""
    with trio.fail_after(HANG_S):
        return b"".join([chunk async for chunk in stream])


async def conversation(sent: bytes, read: ReadStatus = status) -> bytes:
    """What a connection answers to all this until it closes, where the peer sends no more."""
    ours, theirs = memory_stream_pair()
    await ours.send_all(sent)
    await ours.send_eof()
    async with theirs:
        await connection(theirs, read).serve()
    return await all_of(ours)


async def test_two_requests_on_one_connection() -> None:
    async with serving() as port, await trio.open_tcp_stream(HOST, port) as stream:
        await stream.send_all(
            GET % b"/healthz" + GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") % b"/"
        )
        answers = await all_of(stream)
    assert answers.count(b"HTTP/1.1 200 ") == 2
    assert answers.count(b"Content-Security-Policy: default-src 'none'") == 1
    assert answers.count(b"X-Content-Type-Options: nosniff") == 2
    assert answers.endswith(b"</html>\n")


async def test_http_head_request_has_length_and_no_body() -> None:
    answer = await conversation(b"HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    body = (await conversation(GET % b"/healthz")).partition(b"\r\n\r\n")[2]
    assert b"Content-Length: %d\r\n" % len(body) in answer
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("cut", range(1, len(GET % b"/healthz"), 7))
async def test_web_server_request_in_two_pieces(cut: int) -> None:
    request = GET % b"/healthz"
    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection(theirs).serve)
        await ours.send_all(request[:cut])
        await trio.testing.wait_all_tasks_blocked()
        await ours.send_all(request[cut:])
        with trio.fail_after(HANG_S):
            assert (await ours.receive_some()).startswith(b"HTTP/1.1 200 ")
        await ours.aclose()


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\x16\x03\x01 this is TLS\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (GET.replace(b"Host", b"X: " + b"x" * 40_000 + b"\r\nHost") % b"/", b"431"),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70_000, b"413"),
        (b"GET /%ff HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b"400"),
    ],
)
async def test_web_server_wrong_request_is_answered_and_ends_connection(sent: bytes, code: bytes) -> None:
    answer = await conversation(sent + GET % b"/")
    assert answer.startswith(b"HTTP/1.1 " + code)
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_web_server_body_is_read_before_next_request() -> None:
    post = b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"
    answer = await conversation(post + GET % b"/healthz")
    assert answer.startswith(b"HTTP/1.1 405")
    assert answer.count(b"HTTP/1.1 200") == 1


async def test_web_server_client_that_waits_for_100_continue_gets_it() -> None:
    ours, theirs = memory_stream_pair()
    head = b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection(theirs).serve)
        await ours.send_all(head)
        with trio.fail_after(HANG_S):
            assert (await ours.receive_some()).startswith(b"HTTP/1.1 100 ")
            await ours.send_all(b"hello")
            assert (await ours.receive_some()).startswith(b"HTTP/1.1 405 ")
        await ours.aclose()


async def test_web_server_live_stream_sends_status_then_changes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    shown = STATUS
    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection(theirs, lambda: shown).serve)
        await ours.send_all(GET % b"/api/v1/live")
        first = b""
        while b"event: status" not in first or b"\n\n" not in first.partition(b"event: status")[2]:
            first += await ours.receive_some()
        assert b"text/event-stream" in first
        shown = replace(STATUS, healthy=False)
        assert b"event: change" in await ours.receive_some()
        await ours.aclose()


async def test_live_streams_are_bounded(autojump_clock: trio.testing.MockClock) -> None:
    streams = trio.CapacityLimiter(1)
    pairs = [memory_stream_pair() for _ in range(2)]
    async with trio.open_nursery() as nursery:
        for (ours, theirs), expected in zip(pairs, (b"200", b"503"), strict=True):
            made = web_server._Connection(theirs, routes(), lambda _: None, streams=streams)
            nursery.start_soon(made.serve)
            await ours.send_all(GET % b"/api/v1/live")
            assert (await ours.receive_some()).startswith(b"HTTP/1.1 " + expected)
        for ours, _ in pairs:
            await ours.aclose()


async def test_error_in_response_is_logged_and_answered(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> ControllerStatus:
        raise RuntimeError("status unavailable")

    answer = await conversation(GET % b"/metrics", broken)
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert "status unavailable" not in answer.decode()
    assert "status unavailable" in caplog.text


async def test_silent_connection_is_closed(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = memory_stream_pair()
    await connection(theirs).serve()
    assert trio.current_time() == web_server.TIMEOUT_S
    await ours.aclose()


async def test_client_that_leaves_early_disturbs_no_other() -> None:
    async with serving() as port:
        for sent in (b"", b"GET / HT", GET % b"/"):
            stream = await trio.open_tcp_stream(HOST, port)
            await stream.send_all(sent)
            await stream.aclose()
        async with await trio.open_tcp_stream(HOST, port) as stream:
            await stream.send_all(GET % b"/healthz")
            with trio.fail_after(HANG_S):
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("bound", ["MOST_CONNECTIONS", "MOST_PER_ADDRESS"])
async def test_silent_connections_do_not_lock_visitors_out(
    bound: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(web_server, bound, 4)
    async with serving() as port:
        silent = [await trio.open_tcp_stream(HOST, port) for _ in range(20)]
        for _ in range(3):
            async with await trio.open_tcp_stream(HOST, port) as visitor:
                await visitor.send_all(GET % b"/healthz")
                with trio.fail_after(HANG_S):
                    assert (await visitor.receive_some()).startswith(b"HTTP/1.1 200 ")
        assert await all_of(silent[0]) == b""
        for stream in silent:
            await stream.aclose()
    assert len([each for each in caplog.records if each.name == "controller.web"]) <= 1


async def test_active_visitor_stays_connected_among_silent_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(web_server, "MOST_CONNECTIONS", 3)
    async with serving() as port, await trio.open_tcp_stream(HOST, port) as visitor:
        for _ in range(10):
            await visitor.send_all(GET % b"/healthz")
            with trio.fail_after(HANG_S):
                assert (await visitor.receive_some()).startswith(b"HTTP/1.1 200 ")
            await trio.open_tcp_stream(HOST, port)


async def test_web_server_port_in_use_is_error_with_remedy() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.RaisesGroup(WebServerError, allow_unwrapped=True, flatten_subgroups=True) as raised:
            async with trio.open_nursery() as nursery:
                await nursery.start(partial(serve_web, WebSettings(HOST, port), routes()))
    failed = raised.value
    while isinstance(failed, BaseExceptionGroup):
        failed = failed.exceptions[0]
    assert f"web: {HOST}:{port} cannot be opened" in str(failed)
    assert "web.port" in str(failed)
