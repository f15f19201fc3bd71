"""Bytes over TCP and TLS on loopback: split records, full sockets, key updates, ends of the stream."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from controller.transport.byte_transport import ENCRYPTED_BYTES, ByteTransport
from controller.transport.tls_engine import TlsEngine
from tests.bounds import HANG_S
from tests.controller.transport.certificates import Authority

HOST = "localhost"
MOST = 4096


class Contexts:
    """TLS contexts of both sides."""

    def __init__(self, folder: Path) -> None:
        authority = Authority(folder)
        pair = authority.server()
        self.server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.server.load_cert_chain(pair.certificate, pair.key)
        self.client = authority.client()


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> Contexts:
    return Contexts(tmp_path_factory.mktemp("tls"))


def connect_engines(contexts: Contexts) -> tuple[TlsEngine, TlsEngine]:
    """Return client and server after their handshake."""
    client = TlsEngine(contexts.client, server_side=False, host=HOST)
    server = TlsEngine(contexts.server, server_side=True, host=None)
    are_done = [False, False]
    while not all(are_done):
        for at, (engine, peer) in enumerate(((client, server), (server, client))):
            are_done[at] = are_done[at] or engine.advance_handshake()
            if output := engine.take_output():
                peer.receive_records(output)
    return client, server


@asynccontextmanager
async def connect_transports(contexts: Contexts) -> AsyncIterator[tuple[ByteTransport, ByteTransport]]:
    """Connect a client and a server over loopback, and close them at the end."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        client = ByteTransport(await trio.open_tcp_stream(*listener.socket.getsockname()))
        server = ByteTransport(await listener.accept())
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(client.start_tls, contexts.client, host=HOST))
                nursery.start_soon(partial(server.start_tls, contexts.server, server_side=True))
            yield client, server
        finally:
            client.close()
            server.close()


async def receive_exactly(transport: ByteTransport, length: int, most: int = MOST) -> bytes:
    data = b""
    while len(data) < length:
        part = await transport.receive_some(most)
        assert 0 < len(part) <= most
        data += part
    return data


@given(parts=st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=6), cut=st.integers(1, 40))
def test_tls_engine_records_split_anywhere_same_data(
    contexts: Contexts, parts: list[bytes], cut: int
) -> None:
    client, server = connect_engines(contexts)
    records = b"".join(map(client.encrypt, parts))
    found = b""
    for start in range(0, len(records), cut):
        server.receive_records(records[start : start + cut])
        while server.has_records and (data := server.decrypt(7)) is not None:
            assert len(data) <= 7
            found += data
    assert found == b"".join(parts)
    assert not server.has_records


def test_tls_engine_close_of_peer_ends_the_data(contexts: Contexts) -> None:
    client, server = connect_engines(contexts)
    records = client.encrypt(b"last")
    client.send_close()
    server.receive_records(records + client.take_output())
    assert server.decrypt(MOST) == b"last"
    assert server.decrypt(MOST) == b""


def test_tls_engine_stream_cut_without_close_notify_ends(contexts: Contexts) -> None:
    _, server = connect_engines(contexts)
    server.receive_records(b"")
    assert server.decrypt(MOST) == b""


def test_tls_engine_invalid_record_raises_with_alert(contexts: Contexts) -> None:
    client, server = connect_engines(contexts)
    records = client.encrypt(b"data")
    server.receive_records(records[:-1] + bytes([records[-1] ^ 1]))
    with pytest.raises(ssl.SSLError):
        server.decrypt(MOST)
    assert server.take_output()


async def test_byte_transport_many_records_in_one_read_all_arrive(contexts: Contexts) -> None:
    """What one read took is returned in parts, without another event of the socket."""
    async with connect_transports(contexts) as (client, server):
        parts = [b"%02d" % number * 50 for number in range(40)]
        for part in parts:
            await client.send_all(part)
        with trio.fail_after(HANG_S):
            assert await receive_exactly(server, 4000, 64) == b"".join(parts)
        assert server.receive(MOST) is None


async def test_byte_transport_full_socket_sends_each_byte_once(contexts: Contexts) -> None:
    async with connect_transports(contexts) as (client, server):
        block = bytes(range(251)) * (ENCRYPTED_BYTES // 100)
        blocks = 0
        while (sent := client.send(block)) == len(block):
            blocks += 1  # the peer reads nothing, until the socket takes no more
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.send_all, block[sent:])
                received = await receive_exactly(server, len(block) * (blocks + 1), 65_536)
        assert received == block * (blocks + 1)


async def test_byte_transport_records_without_data_end_the_reading(contexts: Contexts) -> None:
    contexts.server.num_tickets = 40  # sent behind the handshake, about 250 B each
    try:
        async with connect_transports(contexts) as (client, server):
            await server.send_all(b"data")
            with trio.fail_after(HANG_S), pytest.raises(ConnectionError, match="no data"):
                await client.receive_some(64)
        async with connect_transports(contexts) as (client, server):
            await server.send_all(b"data")
            with trio.fail_after(HANG_S):
                assert await client.receive_some(MOST) == b"data"
    finally:
        contexts.server.num_tickets = 2


async def test_byte_transport_closed_peer_ends_the_data(contexts: Contexts) -> None:
    async with connect_transports(contexts) as (client, server):
        await client.send_all(b"last")
        client.shutdown_send()
        with trio.fail_after(HANG_S):
            assert await server.receive_some(MOST) == b"last"
            assert await server.receive_some(MOST) == b""
            await server.send_all(b"answer")  # the other direction is open
            assert await client.receive_some(MOST) == b"answer"


async def test_byte_transport_failed_handshake_sends_alert(contexts: Contexts) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener, trio.open_nursery() as nursery:
        stream = await trio.open_tcp_stream(*listener.socket.getsockname())
        client = ByteTransport(stream)
        server = ByteTransport(await listener.accept())

        async def fail_server() -> None:
            with pytest.raises(ssl.SSLError, match="ALERT"):
                await server.start_tls(contexts.server, server_side=True)
            server.close()

        nursery.start_soon(fail_server)
        with trio.fail_after(HANG_S), pytest.raises(ssl.SSLCertVerificationError):
            await client.start_tls(ssl.create_default_context(), host=HOST)
        client.close()


async def test_byte_transport_acknowledges_at_once_when_asked() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        stream = await trio.open_tcp_stream(*listener.socket.getsockname())
        peer = await listener.accept()
        file = stream.socket.fileno()
        client = ByteTransport(stream)
        await client.send_all(b"request")
        await peer.receive_some()
        await peer.send_all(b"ticket")
        await client.receive_some(MOST)
        await client.send_all(b"request")  # data flows both ways: acknowledgements are delayed
        with socket.socket(fileno=os.dup(file)) as same:
            assert same.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK) == 0
            client.acknowledge_at_once()
            assert same.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK) == 1
        client.close()
        await peer.aclose()
