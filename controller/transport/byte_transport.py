"""A connected TCP socket, plain or with TLS, without a stream wrapper.

Each system call is tried first and waited for only if it would block. Trio's streams cost a task switch
for each call: more than all else between two connections.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, TypeVar

import trio

from controller.transport.poller import watch_socket
from controller.transport.tls_engine import TlsEngine

T = TypeVar("T")

HANDSHAKE_BYTES = 16_384
"""Bytes read at once in a TLS handshake."""

ENCRYPTED_BYTES = 65_536
"""Bytes that are encrypted at once: they wait as records where the socket does not take them."""

READS_WITHOUT_DATA = 32
"""Reads in a row that may bring no data but records of TLS itself, or parts of a record of 16 KiB."""

KEEPALIVE_IDLE_S = 50
"""Silence after which TCP sends a probe: shorter than the idle minute after which many routers drop it."""

KEEPALIVE_INTERVAL_S = 15
"""Time between two probes that have no answer."""

UNACKNOWLEDGED_S = 120
"""Data unacknowledged for so long ends the connection (RFC 5482)."""


class TcpOptions(Protocol):
    """A TCP socket, or a stream over one."""

    def setsockopt(self, level: int, option: int, value: int, /) -> None:
        """Set an option; see socket.socket.setsockopt."""


def enable_keepalive(tcp: TcpOptions) -> None:
    """Let TCP probe an open connection, also of stations that answer no WebSocket pings.

    Raises OSError where the connection is gone already. Costs 100 bytes per minute of silence.
    """
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
    probes = (UNACKNOWLEDGED_S - KEEPALIVE_IDLE_S) // KEEPALIVE_INTERVAL_S
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, probes)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_S * 1000)


class ByteTransport:
    """Bytes to and from one peer; errors of the system and of TLS are raised as OSError."""

    def __init__(self, connected: trio.SocketStream) -> None:
        """Take over the stream's socket; the stream is unusable afterwards. Raises OSError."""
        enable_keepalive(connected)
        sock = connected.socket
        self._socket = socket.socket(sock.family, sock.type, sock.proto, sock.detach())
        self._socket.setblocking(False)
        self.watcher = watch_socket(self._socket)
        """Readiness of the socket."""
        self._engine: TlsEngine | None = None
        self._unsent: bytes | memoryview = b""
        self._unsent_length = 0
        """Records that the socket did not take, and the length of the data in them."""

    async def start_tls(
        self, context: ssl.SSLContext, *, server_side: bool = False, host: str | None = None
    ) -> None:
        """Run the TLS handshake; all later bytes are encrypted. `host`: name in the server's certificate."""
        engine = TlsEngine(context, server_side=server_side, host=host)
        is_done = False
        while not is_done:
            try:
                is_done = engine.advance_handshake()
            except ssl.SSLError:
                with suppress(OSError):
                    self.send(engine.take_output())  # the alert, which names the cause to the peer
                raise
            await self.send_all(engine.take_output())
            if not is_done:
                engine.receive_records(await self.receive_some(HANDSHAKE_BYTES))
        self._engine = engine
        # Records that came with the end of the handshake are in the engine already.
        self.watcher.is_readable |= engine.has_records

    @property
    def peer_certificate(self) -> dict[str, object]:
        """The peer's verified certificate as ssl.SSLObject.getpeercert returns it; empty without one."""
        return {} if self._engine is None else self._engine.peer_certificate

    @property
    def peer_certificate_der(self) -> bytes | None:
        """The peer's verified certificate in DER; None without one."""
        return None if self._engine is None else self._engine.peer_certificate_der

    def send(self, data: bytes | memoryview) -> int:
        """Send what goes without waiting; return the number of bytes sent.

        With TLS the same `data` must be passed again where none was sent.
        """
        if self._engine is None:
            try:
                return self._socket.send(data)
            except BlockingIOError:
                return 0
        sent = 0
        while sent < len(data):
            if not self._unsent:
                part = data if len(data) <= ENCRYPTED_BYTES else data[sent : sent + ENCRYPTED_BYTES]
                self._unsent, self._unsent_length = self._engine.encrypt(part), len(part)
            if not self._send_records():
                break  # these records go first at the next call, which passes their data again
            sent += self._unsent_length
        return sent

    def _send_records(self) -> bool:
        """Send the records that wait; return True if all are sent."""
        taken = self._send_bytes(self._unsent)
        self._unsent = b"" if taken == len(self._unsent) else memoryview(self._unsent)[taken:]
        return not self._unsent

    def _send_bytes(self, data: bytes | memoryview) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    def receive(self, most: int) -> bytes | None:
        """Return up to `most` received bytes, b"" at the end of the stream, None if nothing is there yet."""
        if self._engine is None:
            return self._receive_bytes(most)
        return self._receive_data(self._engine, most) if self.watcher.is_readable else None

    def _receive_bytes(self, most: int) -> bytes | None:
        watcher = self.watcher
        if not watcher.is_readable:
            return None
        try:
            data = self._socket.recv(most)
        except BlockingIOError:
            watcher.is_readable = False
            return None
        # A short read has emptied the socket: epoll reports the next byte, so the recv() that would only
        # return EAGAIN is saved, once per message. A stream that is ending gets no further event, so it is
        # read to its end.
        watcher.is_readable = watcher.is_ending or len(data) == most
        return data

    def _receive_data(self, engine: TlsEngine, most: int) -> bytes | None:
        """Receive records until there is data in them, or none is there."""
        data = self._decrypt(engine, most) if engine.has_records else None
        reads = 0
        while data is None:
            if (records := self._receive_bytes(most)) is None:
                return None
            engine.receive_records(records)
            data = self._decrypt(engine, most)
            reads += 1
            if reads > READS_WITHOUT_DATA:
                raise ConnectionError("its TLS records have no data")
        if engine.has_records:
            self.watcher.is_readable = True  # the rest came with the same event: no other one reports it
        return data

    def _decrypt(self, engine: TlsEngine, most: int) -> bytes | None:
        try:
            return engine.decrypt(most)
        finally:
            if output := engine.take_output():  # an alert, or the answer to a key update
                if not self._unsent:
                    self._unsent_length = 0
                self._unsent = bytes(self._unsent) + output
                with suppress(OSError):
                    self._send_records()

    async def wait_received(self, receive: Callable[[], T | None]) -> T:
        """Call `receive` whenever data came, until it returns a value: see `FdWatcher.wait_read`."""
        return await self.watcher.wait_read(receive)

    def acknowledge_at_once(self) -> None:
        """Let TCP acknowledge what comes next without the usual delay of 40 ms. Raises OSError.

        A TLS server without TCP_NODELAY sends nothing more until its first session ticket is acknowledged
        (RFC 896). The system turns it off again when data flows both ways.
        """
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    async def wait_writable(self) -> None:
        """Wait until sending may succeed. Raises trio.ClosedResourceError after `close`."""
        await self.watcher.wait_writable()

    async def send_all(self, data: bytes) -> None:
        """Send all of `data`, without a time limit of its own."""
        rest = memoryview(data)
        while rest:
            sent = self.send(rest)
            rest = rest[sent:]
            if not sent:
                await self.wait_writable()

    async def receive_some(self, most: int) -> bytes:
        """Wait for data and return up to `most` bytes; b"" at the end of the stream."""
        data = self.receive(most)
        if data is None:
            data = await self.wait_received(lambda: self.receive(most))
        return data

    async def _wait_readable(self) -> None:
        self.watcher.is_readable = False
        await self.watcher.wait_read(lambda: True)

    def shutdown_send(self) -> None:
        """Close the sending direction; what the peer still sends can be received."""
        with suppress(OSError):
            if self._engine is not None and not self._unsent:
                self._engine.send_close()
                self._send_bytes(self._engine.take_output())
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the socket at once and wake the tasks that wait for it; repeated calls do nothing."""
        if self._socket.fileno() >= 0:
            self.watcher.close()
            self._socket.close()
