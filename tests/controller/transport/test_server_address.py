"""The address of a backend's name: the resolver is asked once for many connections."""

from __future__ import annotations

import socket
from functools import partial
from typing import Any

import pytest
import trio

from controller.transport import dial
from controller.transport.dial import ServerAddress


class Resolver(trio.abc.HostnameResolver):
    """A resolver with one name, whose address can move; it counts the questions."""

    def __init__(self) -> None:
        self.address = "127.0.0.1"
        self.questions = 0

    async def getaddrinfo(self, host: Any, port: Any, *_: Any, **__: Any) -> Any:
        self.questions += 1
        assert host == b"csms.example"
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (self.address, port))]

    async def getnameinfo(self, *_: Any) -> Any:
        raise AssertionError("no name is asked for")


@pytest.fixture
async def resolver() -> Resolver:
    made = Resolver()
    trio.socket.set_custom_hostname_resolver(made)
    return made


async def listen(nursery: trio.Nursery, host: str) -> int:
    """Accept connections on a free port, and close them."""

    async def close(stream: trio.SocketStream) -> None:
        await stream.aclose()

    listeners = await nursery.start(partial(trio.serve_tcp, close, 0, host=host))
    port: int = listeners[0].socket.getsockname()[1]
    return port


async def test_server_address_many_connections_resolve_name_once(resolver: Resolver) -> None:
    async with trio.open_nursery() as nursery:
        port, server = await listen(nursery, "127.0.0.1"), ServerAddress()
        for _ in range(3):
            await (await server.connect("csms.example", port)).aclose()
        assert resolver.questions == 1
        nursery.cancel_scope.cancel()


async def test_server_address_that_moved_is_resolved_again(resolver: Resolver) -> None:
    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as first:
            port, server = await listen(first, "127.0.0.1"), ServerAddress()
            await (await server.connect("csms.example", port)).aclose()
            first.cancel_scope.cancel()
        moved = await listen(nursery, "127.0.0.2")
        resolver.address = "127.0.0.2"
        await (await server.connect("csms.example", moved)).aclose()
        assert resolver.questions == 2
        nursery.cancel_scope.cancel()


async def test_server_address_is_resolved_again_after_its_time(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dial, "ADDRESS_S", 0.0)
    async with trio.open_nursery() as nursery:
        port, server = await listen(nursery, "127.0.0.1"), ServerAddress()
        for _ in range(2):
            await (await server.connect("csms.example", port)).aclose()
        assert resolver.questions == 2
        nursery.cancel_scope.cancel()
