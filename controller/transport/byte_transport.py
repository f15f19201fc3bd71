"""A connected TCP socket, plain or with TLS, without a stream wrapper.

Each system call is tried first and waited for only if it would block. Trio's streams cost a task switch
for each call, and with TLS two more buffers for each byte: more than all else between two connections.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, TypeVar

import trio

from controller.transport.poller import watch_socket

T = TypeVar("T")

WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

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
        self._socket = socket.socket(fileno=connected.socket.detach())
        self._socket.setblocking(False)
        self.watcher = watch_socket(self._socket)
        """Readiness of the socket."""
        self._has_tls = False

    async def start_tls(
        self, context: ssl.SSLContext, *, server_side: bool = False, host: str | None = None
    ) -> None:
        """Run the TLS handshake; all later bytes are encrypted. `host`: name in the server's certificate."""
        self._has_tls = True
        self._socket = tls = context.wrap_socket(
            self._socket, server_side=server_side, server_hostname=host, do_handshake_on_connect=False
        )
        while True:
            try:
                return tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._wait_readable()
            except ssl.SSLWantWriteError:
                await self.watcher.wait_writable()

    @property
    def peer_certificate(self) -> dict[str, object]:
        """The peer's verified certificate as ssl.SSLSocket.getpeercert returns it; empty without one."""
        return dict((self._socket.getpeercert() if isinstance(self._socket, ssl.SSLSocket) else None) or {})

    @property
    def peer_certificate_der(self) -> bytes | None:
        """The peer's verified certificate in DER; None without one."""
        return self._socket.getpeercert(binary_form=True) if isinstance(self._socket, ssl.SSLSocket) else None

    def send(self, data: bytes | memoryview) -> int:
        """Send what goes without waiting; return the number of bytes sent.

        With TLS the same `data` must be passed again where none was sent.
        """
        try:
            return self._socket.send(data)
        except WOULD_BLOCK:
            return 0

    def receive(self, most: int) -> bytes | None:
        """Return up to `most` received bytes, b"" at the end of the stream, None if nothing is there yet."""
        watcher = self.watcher
        if not watcher.is_readable:
            return None
        try:
            data = self._socket.recv(most)
        except WOULD_BLOCK:
            watcher.is_readable = False
            return None
        # A short read has emptied the socket: epoll reports the next byte, so the recv() that would only
        # return EAGAIN is saved, once per message. With TLS a short read is one record of perhaps several;
        # and a stream that is ending gets no further event, so it is read to its end.
        watcher.is_readable = self._has_tls or watcher.is_ending or len(data) == most
        return data

    async def wait_received(self, receive: Callable[[], T | None]) -> T:
        """Call `receive` whenever data came, until it returns a value: see `FdWatcher.wait_read`."""
        return await self.watcher.wait_read(receive)

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
        # TLS has a close_notify of its own: without it the peer cannot distinguish the end from a cut by an
        # attacker. ValueError: both sides have exchanged it already.
        with suppress(OSError, ValueError):
            if isinstance(self._socket, ssl.SSLSocket):
                self._socket.unwrap()
        with suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_WR)

    def close(self) -> None:
        """Close the socket at once and wake the tasks that wait for it; repeated calls do nothing."""
        if self._socket.fileno() >= 0:
            self.watcher.close()
            self._socket.close()
