"""Peers that the relay bench compares with, each a process of its own.

    python -m tests.bench.relay_others websockets|splice|accept '{"port": 8887, "backend": 9000}'

`websockets`: a relay on that library, as its users write one. `splice`: bytes between two TCP sockets, and
nothing else. `accept`: TLS handshakes, one after the other, and nothing else.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from contextlib import suppress

import msgspec
import trio
from websockets.asyncio.client import connect
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.tls_clients import make_test_client


class Place(msgspec.Struct):
    """Where it listens, and where it relays to."""

    port: int
    backend: int
    deflate: bool = False
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None

    def server(self) -> ssl.SSLContext | None:
        if not (self.certificate and self.key):
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate, self.key)
        return context

    def client(self) -> ssl.SSLContext | None:
        return make_test_client(self.ca) if self.ca else None


async def websockets(place: Place) -> None:
    client, compression = place.client(), "deflate" if place.deflate else None
    scheme = "wss" if client else "ws"
    ocpp = [Subprotocol("ocpp1.6")]

    async def copy(source: Connection, target: Connection) -> None:
        try:
            async for message in source:
                await target.send(message)
        except ConnectionClosed:
            pass
        await target.close()

    async def relay(station: ServerConnection) -> None:
        assert station.request is not None
        url = f"{scheme}://localhost:{place.backend}{station.request.path}"
        async with connect(url, ssl=client, subprotocols=ocpp, compression=compression) as backend:
            await asyncio.gather(copy(station, backend), copy(backend, station))

    async with serve(
        relay,
        "127.0.0.1",
        place.port,
        ssl=place.server(),
        subprotocols=ocpp,
        compression=compression,
        backlog=1024,
    ) as server:
        await server.serve_forever()


async def splice(place: Place) -> None:
    async def copy(source: trio.SocketStream, target: trio.SocketStream) -> None:
        async for data in source:
            await target.send_all(data)
        await target.send_eof()

    async def relay(station: trio.SocketStream) -> None:
        try:
            backend = await trio.open_tcp_stream("127.0.0.1", place.backend)
        except OSError:
            return  # it was only asked whether it listens
        async with backend, trio.open_nursery() as nursery:
            nursery.start_soon(copy, station, backend)
            nursery.start_soon(copy, backend, station)

    await trio.serve_tcp(relay, place.port, host="127.0.0.1")


def accept(place: Place) -> None:
    context = place.server()
    kept = []
    with socket.create_server(("127.0.0.1", place.port), backlog=4096) as listener:
        while True:
            station, _ = listener.accept()
            with suppress(OSError):  # it was only asked whether it listens
                kept.append(station if context is None else context.wrap_socket(station, server_side=True))


def main() -> None:
    kind, place = sys.argv[1], msgspec.json.decode(sys.argv[2], type=Place)
    if kind == "websockets":
        asyncio.run(websockets(place))
    elif kind == "splice":
        trio.run(splice, place)
    else:
        accept(place)


if __name__ == "__main__":
    main()
