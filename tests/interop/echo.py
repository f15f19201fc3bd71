"""Our links as echoes, for a judge of WebSockets: on a server's side, and on a client's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from websockets.frames import BINARY, Frame
from websockets.uri import parse_uri

from controller.transport.byte_transport import ByteTransport
from controller.transport.http_upgrade import ClientUpgrade, CompressionOffer, UpgradeRequest
from controller.transport.transport_errors import ConnectionLostError
from controller.transport.websocket_connection import READ_BYTES, WebSocketConnection
from controller.transport.websocket_protocol import WebSocketProtocol

MOST = 32 << 20
"""The judge's longest message is of 16 MiB."""


async def echo(link: WebSocketConnection, wire: WebSocketProtocol) -> None:
    """Send back what comes; what is not text too, which the product never sends."""
    try:
        while True:
            message = await link.receive()
            if isinstance(message, str):
                await link.send(message)
            else:
                protocol = wire._protocol
                frame = Frame(BINARY, message).serialize(
                    mask=wire._masks, extensions=protocol.extensions if wire.uses_deflate else ()
                )
                link._send_now(frame)
                await link._wait_flushed()
    except ConnectionLostError:
        await link.close(1000, "")


async def serve(stream: trio.SocketStream) -> None:
    """One connection of the judge."""
    transport = ByteTransport(stream)
    asked = UpgradeRequest(MOST, compression=True)
    try:
        while not asked.is_complete:
            asked.receive_data(await transport.receive_some(READ_BYTES))
        asked.accept(None)
        await transport.send_all(asked.protocol.take_output())
        async with trio.open_nursery() as nursery:
            await echo(WebSocketConnection(nursery, transport, asked.protocol), asked.protocol)
    finally:
        transport.close()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[WebSocketConnection, WebSocketProtocol]]:
    """Open a link to the test server, which has no subprotocol."""
    uri = parse_uri(url)
    protocol = ClientUpgrade(uri, max_size=MOST, extensions=CompressionOffer.BEST.value)
    protocol.send_request(protocol.connect())
    wire = WebSocketProtocol(protocol)
    transport = ByteTransport(await trio.open_tcp_stream(uri.host, uri.port))
    await transport.send_all(wire.take_output())
    while wire.head is None:
        wire.receive_data(await transport.receive_some(READ_BYTES))
    async with trio.open_nursery() as nursery:
        link = WebSocketConnection(nursery, transport, wire)
        try:
            yield link, wire
        finally:
            await link.close(1000, "")


async def run_cases(url: str) -> None:
    """Be judged as a client, in all cases that the server has."""
    async with opened(f"{url}/getCaseCount") as (link, _):
        count = int(await link.receive())
    for case in range(1, count + 1):
        async with opened(f"{url}/runCase?case={case}&agent=links") as (link, wire):
            await echo(link, wire)
    async with opened(f"{url}/updateReports?agent=links"):
        pass
