"""A connected TCP socket, plain or with TLS: each system call is tried first, and waited for if it must be.

The socket is used as the system gives it. Trio's streams take a task switch for each call, and with TLS two
more buffers for each byte: that costs more than all else between two links.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import trio

from controller.model.exception_groups import leaves
from controller.transport.poller import watch_socket
from controller.transport.tcp_keepalive import keep_alive
from controller.transport.tls import in_words

T = TypeVar("T")

NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class ByteTransport:
    """One connection. What the system has against it is raised as OSError; ssl.SSLError is one."""

    def __init__(self, connected: trio.SocketStream) -> None:
        """Take the stream's socket over: the stream is of no use afterwards. Raises OSError."""
        keep_alive(connected)
        self._socket = socket.socket(fileno=connected.socket.detach())
        self._socket.setblocking(False)
        self._watch = watch_socket(self._socket)
        self._has_tls = False

    async def secure(
        self, context: ssl.SSLContext, *, server_side: bool = False, host: str | None = None
    ) -> None:
        """The TLS handshake; after it all goes through TLS. `host`: whose certificate a server must have."""
        self._has_tls = True
        self._socket = tls = context.wrap_socket(
            self._socket, server_side=server_side, server_hostname=host, do_handshake_on_connect=False
        )
        while True:
            try:
                return tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._readable()
            except ssl.SSLWantWriteError:
                await self._watch.has_room()

    @property
    def certificate(self) -> dict[str, object]:
        """What the peer has shown and OpenSSL has verified, as ssl.SSLSocket.getpeercert gives it."""
        return dict((self._socket.getpeercert() if isinstance(self._socket, ssl.SSLSocket) else None) or {})

    def send(self, data: bytes | memoryview) -> int:
        """Send what goes at once: so many bytes. With TLS, `data` must come again where nothing went."""
        try:
            return self._socket.send(data)
        except NOT_NOW:
            return 0

    def receive(self, most: int) -> bytes | None:
        """What has come, `most` bytes of it; b"" is the end, None is nothing yet."""
        watch_socket = self._watch
        if not watch_socket.is_readable:
            return None
        try:
            data = self._socket.recv(most)
        except NOT_NOW:
            watch_socket.is_readable = False
            return None
        # Who was given less than asked for has emptied the socket: that is one system call less for each
        # message. With TLS it was given one record; and what ends is read to its end.
        watch_socket.is_readable = self._has_tls or watch_socket.is_ending or len(data) == most
        return data

    async def until_received(self, receive: Callable[[], T | None]) -> T:
        """Call `receive` each time something has come, until it gives something: see `Watch.until_read`."""
        return await self._watch.until_read(receive)

    async def has_room(self) -> None:
        """Wait until it is worth while to send. Raises trio.ClosedResourceError after `close`."""
        await self._watch.has_room()

    async def send_all(self, data: bytes) -> None:
        """Send it, however long that takes."""
        rest = memoryview(data)
        while rest:
            sent = self.send(rest)
            rest = rest[sent:]
            if not sent:
                await self.has_room()

    async def receive_some(self, most: int) -> bytes:
        """What comes next, `most` bytes of it; b"" is the end."""
        data = self.receive(most)
        if data is None:
            data = await self.until_received(lambda: self.receive(most))
        return data

    async def _readable(self) -> None:
        self._watch.is_readable = False
        await self._watch.until_read(lambda: True)

    def end(self) -> None:
        """Tell the peer that nothing more will be sent; what it still sends may be received."""
        # TLS is told by its own goodbye too: without it, what came before might be a forger's cut.
        with suppress(OSError, ValueError):  # ValueError: the peer's goodbye has come, and ours is said
            if isinstance(self._socket, ssl.SSLSocket):
                self._socket.unwrap()
        with suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_WR)

    def close(self) -> None:
        """Let go of it at once; whoever waits is woken. Once is enough."""
        if self._socket.fileno() >= 0:
            self._watch.close()
            self._socket.close()


def cause(error: BaseException) -> str:
    """The root of an error in a person's words."""
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
    if isinstance(root, BaseExceptionGroup):
        return "; ".join(sorted({cause(each) for each in leaves(root)}))
    if isinstance(root, OSError):
        return in_words(root)
    return str(root) or type(root).__name__
