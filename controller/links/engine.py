"""The WebSocket engine, trio-websocket, behind the few things that a link needs of it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    ConnectionTimeout,
    HandshakeError,
    WebSocketConnection,
    open_websocket_url,
)

from controller.groups import leaves

CLOSE_S = 2.0
"""How long a peer may take for its part of the closing handshake."""

PROPER = (1000, 1001)
VANISHED = 1006
"""WebSocket close codes (RFC 6455, 7.4.1): normal and going away; no close frame came."""


class LinkLost(Exception):
    """The link is gone. Its text is a person's sentence; `clean` where the peer closed it properly."""

    def __init__(self, reason: str, *, clean: bool = False) -> None:
        super().__init__(reason)
        self.clean = clean


class LinkRefused(Exception):
    """The link could not be made. Its text is a person's sentence."""


class Link:
    """One open WebSocket. Any method but `close` raises LinkLost once it is gone."""

    def __init__(self, socket: WebSocketConnection) -> None:
        self._socket = socket

    async def receive(self) -> str | bytes:
        """The next message; waits for it until the link is lost."""
        try:
            return await self._socket.get_message()
        except ConnectionClosed as closed:
            raise _lost(closed) from None

    async def send(self, text: str) -> None:
        """Send a text message; waits while the peer does not read."""
        try:
            await self._socket.send_message(text)
        except ConnectionClosed as closed:
            raise _lost(closed) from None

    async def ping(self, timeout_s: float) -> None:
        """Ask for a sign of life; raises LinkLost where none comes in `timeout_s`."""
        try:
            with trio.fail_after(timeout_s):
                await self._socket.ping()
        except trio.TooSlowError:
            raise LinkLost(f"no answer to a ping for {timeout_s:g} s") from None
        except ConnectionClosed as closed:
            raise _lost(closed) from None

    async def close(self, code: int, reason: str) -> None:
        """Close, at the latest after CLOSE_S. Never raises for a link that is lost already."""
        with trio.move_on_after(CLOSE_S):
            await self._socket.aclose(code, _fits(reason))


@asynccontextmanager
async def open_link(
    url: str,
    version: str,
    tls: ssl.SSLContext | None,
    authorization: bytes | None,
    max_message_bytes: int,
    connect_timeout_s: float,
) -> AsyncIterator[Link]:
    """A link upwards, open inside the block. Raises LinkRefused where it cannot be made."""
    headers = [] if authorization is None else [(b"Authorization", authorization)]
    open_now = False
    try:
        async with open_websocket_url(
            url,
            tls,
            subprotocols=[version],
            extra_headers=headers,
            max_message_size=max_message_bytes,
            connect_timeout=connect_timeout_s,
            disconnect_timeout=CLOSE_S,
        ) as socket:
            if socket.subprotocol != version:
                raise LinkRefused(f"it does not speak {version}")
            open_now = True
            yield Link(socket)
    except HandshakeError as error:
        if open_now:  # the closing handshake took too long: the link is over all the same
            return
        raise LinkRefused(_refusal(error, connect_timeout_s)) from error
    except (OSError, trio.BrokenResourceError) as error:
        raise LinkRefused(_cause(error)) from error


def _refusal(error: HandshakeError, timeout_s: float) -> str:
    if isinstance(error, ConnectionRejected):
        return f"it refused the link with HTTP status {error.status_code}"
    if isinstance(error, ConnectionTimeout):
        return f"it did not answer within {timeout_s:g} s"
    return _cause(error.__cause__ or error)


def _cause(error: BaseException) -> str:
    root: BaseException = error
    while root.__cause__ is not None:
        root = root.__cause__
    if isinstance(root, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {root.verify_message}"
    if isinstance(root, BaseExceptionGroup):
        return "; ".join(sorted({_cause(each) for each in leaves(root)}))
    return str(root) or type(root).__name__


def _lost(closed: ConnectionClosed) -> LinkLost:
    if closed.reason is None:
        return LinkLost("closed", clean=True)
    if closed.reason.code == VANISHED:
        return LinkLost("it vanished without a close frame")
    said = f", {closed.reason.reason}" if closed.reason.reason else ""
    return LinkLost(f"closed with {closed.reason.code}{said}", clean=closed.reason.code in PROPER)


def _fits(reason: str) -> str:
    """A close frame has room for 123 bytes of reason (RFC 6455, 5.5)."""
    return reason.encode()[:123].decode(errors="ignore")
