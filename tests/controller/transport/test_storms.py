"""Peers in masses, and peers that stop: over loopback, with raw TCP where no library would do it."""

from __future__ import annotations

import base64
import hashlib
import json
from contextlib import suppress

import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from controller.model.rate_limits import TokenBucket
from controller.transport import websocket_connection
from tests.bounds import HANG_S
from tests.scenario.link_harness import link_harness, receive_text

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
UPGRADE = (
    "GET /ocpp/CS01 HTTP/1.1\r\nHost: lc\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: ocpp1.6\r\n\r\n"
).encode()


@pytest.fixture(autouse=True)
def _no_long_goodbyes(monkeypatch: pytest.MonkeyPatch) -> None:
    """These peers do not take part in a closing handshake: a moment for it is enough."""
    monkeypatch.setattr(websocket_connection, "CLOSE_TIMEOUT_S", 0.1)


async def until_closed(stream: trio.abc.Stream) -> None:
    """Discard everything until the peer ends the connection."""
    with trio.fail_after(HANG_S), suppress(trio.BrokenResourceError):
        while await stream.receive_some():
            pass


# -- masses --------------------------------------------------------------------------------------------


async def test_storms_all_stations_of_storm_are_accepted() -> None:
    names = [f"ST{number}" for number in range(60)]
    async with link_harness(limits=(len(names), 40.0), **dict.fromkeys(names)) as site:

        async def station(name: str) -> None:
            async with site.connect_station(name):
                await all_are_in.wait()

        all_are_in = trio.Event()
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(station, name)
            for _ in names:
                await site.csms.accept()
            all_are_in.set()
        assert site.stats.accepted == len(names)
        assert site.stats.refused == 0


async def test_storms_connections_per_address_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    async with link_harness(limits=(2, 0)) as site:
        first, _second = [await trio.open_tcp_stream("127.0.0.1", site.port) for _ in range(2)]
        for _ in range(2):
            await until_closed(await trio.open_tcp_stream("127.0.0.1", site.port))
        assert caplog.text.count("2 connections from this address are open") == 1
        elsewhere = await trio.open_tcp_stream("127.0.0.1", site.port, local_address="127.0.0.2")
        await elsewhere.send_all(UPGRADE)
        with trio.fail_after(HANG_S):
            assert (await elsewhere.receive_some()).startswith(b"HTTP/1.1 101")
        await first.send_all(b"nonsense\r\n\r\n")
        await until_closed(first)
        async with site.connect_station():
            await site.csms.accept()
        assert site.stats.refused == 2


async def test_storms_handshake_waits_for_turn() -> None:
    async with link_harness(limits=(0, 0.1)) as site, site.connect_station():
        second = await trio.open_tcp_stream("127.0.0.1", site.port)
        await second.send_all(UPGRADE)
        with trio.move_on_after(0.1) as waiting:
            await second.receive_some()
        assert waiting.cancelled_caught
        assert (site.stats.accepted, site.stats.refused) == (1, 0)


async def test_storm_connection_beyond_the_queue_is_refused_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with link_harness(limits=(0, 0.01)) as site, site.connect_station():
        await until_closed(await trio.open_tcp_stream("127.0.0.1", site.port))
    assert "more than 30 s of handshakes wait" in caplog.text


async def test_storms_peer_gone_before_upgrade_frees_its_place() -> None:
    async with link_harness(limits=(1, 0)) as site:
        for _ in range(3):
            stream = await trio.open_tcp_stream("127.0.0.1", site.port)
            await stream.send_all(UPGRADE[:40])
            await stream.send_eof()
            await until_closed(stream)
        assert site.stats.refused == 0


class CountedPace(TokenBucket):
    """Writes down how long its station had to wait."""

    def __init__(self, rate: float, burst: int) -> None:
        super().__init__(rate, burst)
        self.waits: list[float] = []

    def take(self, now: float, tokens: float = 1) -> float:
        self.waits.append(super().take(now, tokens))
        return self.waits[-1]


async def test_storms_station_that_floods_is_read_slowly_and_loses_nothing() -> None:
    calls = [f'[2,"{number}","Heartbeat",{{}}]' for number in range(30)]
    async with link_harness() as site:
        site.rate_limit = pace = CountedPace(rate=100, burst=5)
        async with site.connect_station() as station, trio.open_nursery() as nursery:
            backend = await site.csms.accept()

            async def flood() -> None:
                for call in calls:
                    await station.send_message(call)

            nursery.start_soon(flood)
            for call in calls:
                assert await receive_text(backend) == call
                await backend.send_message(f'[3,"{json.loads(call)[1]}",{{}}]')
                assert json.loads(await receive_text(station))[1] == json.loads(call)[1]
    assert len(pace.waits) == len(calls)
    assert pace.waits[:5] == [0.0] * 5


# -- peers that stop -----------------------------------------------------------------------------------


async def test_storms_station_that_does_not_answer_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    async with link_harness() as site:
        site.ping_s = 0.2
        stream = await trio.open_tcp_stream("127.0.0.1", site.port)
        await stream.send_all(UPGRADE)
        backend = await site.csms.accept()
        await until_closed(stream)
        with pytest.raises(ConnectionClosed):
            await receive_text(backend)
        await site.site.wait_for("down")
    assert "station disconnected station=CS01 reason=no answer to a ping" in caplog.text


async def test_storms_backend_that_does_not_answer_closes_station(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def discard(stream: trio.SocketStream) -> None:
        request = await stream.receive_some()
        key = request.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
        accepted = base64.b64encode(hashlib.sha1(key + MAGIC).digest())
        await stream.send_all(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Protocol: ocpp1.6\r\nSec-WebSocket-Accept: " + accepted + b"\r\n\r\n"
        )
        await until_closed(stream)

    async with link_harness() as site:
        site.ping_s = 0.2
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await site.nursery.start(trio.serve_listeners, discard, listeners)
        site.csms.port = listeners[0].socket.getsockname()[1]
        async with site.connect_station() as station:
            with pytest.raises(ConnectionClosed):
                await receive_text(station)
    assert "backend lost backend=cpo station=CS01" in caplog.text


async def test_storms_station_that_does_not_read_costs_link_and_no_memory(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with link_harness() as site, site.connect_station() as station, trio.open_nursery() as nursery:
        backend = await site.csms.accept()
        nursery.start_soon(_ask_and_never_listen, station)
        nursery.start_soon(_answer_at_length, backend)
        await site.site.wait_for("down")
        nursery.cancel_scope.cancel()
    assert "peer=station CS01 reason=" in caplog.text


async def _ask_and_never_listen(station: WebSocketConnection) -> None:
    number = 0
    with suppress(ConnectionClosed):
        while True:
            number += 1
            await station.send_message(f'[2,"{number}","DataTransfer",{{}}]')


async def _answer_at_length(backend: WebSocketConnection) -> None:
    with suppress(ConnectionClosed):
        while True:
            number = json.loads(await backend.get_message())[1]
            await backend.send_message(f'[3,"{number}",{{"data":"{"x" * 500_000}"}}]')
