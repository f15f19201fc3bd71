"""A connected TCP socket, plain or with TLS: each system call is tried first, and waited for if it must be.

The socket is used as the system gives it, and trio only waits. Trio's streams take a task switch for each
call, and with TLS two more buffers for each byte: that costs more than all else between two links.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress

import trio
from trio.lowlevel import notify_closing, wait_readable, wait_writable

from controller.groups import leaves
from controller.links.keepalive import keep_alive
from controller.links.tls import in_words

NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Transport:
    """One connection. What the system has against it is raised as OSError; ssl.SSLError is one."""

    def __init__(self, connected: trio.SocketStream) -> None:
        """Take the stream's socket over: the stream is of no use afterwards. Raises OSError."""
        keep_alive(connected)
        self._socket = socket.socket(fileno=connected.socket.detach())
        self._socket.setblocking(False)

    async def secure(
        self, context: ssl.SSLContext, *, server_side: bool = False, host: str | None = None
    ) -> None:
        """The TLS handshake; after it all goes through TLS. `host`: whose certificate a server must have."""
        self._socket = tls = context.wrap_socket(
            self._socket, server_side=server_side, server_hostname=host, do_handshake_on_connect=False
        )
        while True:
            try:
                return tls.do_handshake()
            except ssl.SSLWantReadError:
                await wait_readable(tls)
            except ssl.SSLWantWriteError:
                await wait_writable(tls)

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
        try:
            return self._socket.recv(most)
        except NOT_NOW:
            return None

    async def send_all(self, data: bytes) -> None:
        """Send it, however long that takes."""
        rest = memoryview(data)
        while rest:
            sent = self.send(rest)
            rest = rest[sent:]
            if not sent:
                await self.writable()

    async def receive_some(self, most: int) -> bytes:
        """What comes next, `most` bytes of it; b"" is the end."""
        while (data := self.receive(most)) is None:
            await self.readable()
        return data

    async def readable(self) -> None:
        """Wait until it is worth while to receive. Raises trio.ClosedResourceError after `close`."""
        await wait_readable(self._open())

    async def writable(self) -> None:
        """Wait until it is worth while to send. Raises trio.ClosedResourceError after `close`."""
        await wait_writable(self._open())

    def _open(self) -> socket.socket:
        if self._socket.fileno() < 0:
            raise trio.ClosedResourceError
        return self._socket

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
            notify_closing(self._socket)
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
