"""A `WebSocketConnection`, and the socket of a peer on wsproto, another implementation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import trio
from websockets.extensions import Extension
from websockets.protocol import OPEN, SERVER, Protocol
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Event

from controller.model.rate_limits import TokenBucket
from controller.transport.byte_transport import ByteTransport
from controller.transport.websocket_connection import WebSocketConnection
from controller.transport.websocket_protocol import WebSocketProtocol
from tests.bounds import HANG_S

MOST = 10_000
"""Bytes of a message that the link takes."""


class RawPeer:
    """A peer that sends events and any bytes, and receives events."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._protocol = Connection(ConnectionType.CLIENT)
        self._events: list[Event] = []

    async def send_events(self, *events: Event) -> None:
        await self.stream.send_all(b"".join(self._protocol.send(event) for event in events))

    async def receive_one(self) -> Event:
        """Return the next event of the link."""
        while not self._events:
            if not await self._read_more():
                raise AssertionError("it has ended")
        return self._events.pop(0)

    async def receive_all(self) -> list[Event]:
        """Return all events of the link until it closes, and close the peer."""
        while not any(isinstance(event, CloseConnection) for event in self._events):
            if not await self._read_more():
                break
        await self.stream.aclose()
        return self._events

    async def _read_more(self) -> bool:
        with trio.fail_after(HANG_S), suppress(trio.BrokenResourceError):
            if data := await self.stream.receive_some():
                self._protocol.receive_data(data)
                self._events += self._protocol.events()
                return True
        return False


@asynccontextmanager
async def pair(
    *extensions: Extension, early: bytes = b"", pace: TokenBucket | None = None
) -> AsyncIterator[tuple[WebSocketConnection, RawPeer]]:
    """An open link on the server's side of a TCP connection, and its peer, who has sent `early` before."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listeners[0] as listener, trio.open_nursery() as nursery:
        async with await trio.open_tcp_stream(*listener.socket.getsockname()) as theirs:
            transport = ByteTransport(await listener.accept())
            protocol = Protocol(SERVER, state=OPEN, max_size=MOST)
            protocol.extensions = list(extensions)
            wire = WebSocketProtocol(protocol)
            if early:
                wire.receive_data(early)
            try:
                yield WebSocketConnection(nursery, transport, wire, pace), RawPeer(theirs)
            finally:
                transport.close()
        nursery.cancel_scope.cancel()
