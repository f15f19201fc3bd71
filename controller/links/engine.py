"""The WebSocket engine, trio-websocket, behind the few things that a link needs of it."""

from __future__ import annotations

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

CLOSE_S = 2.0
"""How long a peer may take for its part of the closing handshake."""

SEND_S = 60.0
"""How long one message may wait for a peer that does not read."""

PROPER = (1000, 1001)
VANISHED = 1006
"""WebSocket close codes (RFC 6455, 7.4.1): normal and going away; no close frame came."""


class LinkLost(Exception):
    """The link is gone. Its text is a person's sentence; `clean` where the peer closed it properly."""

    def __init__(self, reason: str, *, clean: bool = False) -> None:
        super().__init__(reason)
        self.clean = clean


class Link:
    """One open WebSocket. Any method but `close` raises LinkLost once it is gone."""

    def __init__(self, socket: WebSocketConnection) -> None:
        self._socket = socket
        self._listening_since = float("inf")

    async def receive(self) -> str | bytes:
        """The next message; waits for it until the link is lost."""
        self._listening_since = trio.current_time()
        try:
            return await self._socket.get_message()
        except ConnectionClosed as closed:
            raise _lost(closed) from None
        finally:
            self._listening_since = float("inf")

    async def send(self, text: str) -> None:
        """Send a text message; waits while the peer does not read, and gives it up after SEND_S."""
        try:
            with trio.fail_after(SEND_S):
                await self._socket.send_message(text)
        except trio.TooSlowError:
            raise LinkLost(f"it has not read for {SEND_S:g} s") from None
        except ConnectionClosed as closed:
            raise _lost(closed) from None

    async def ping(self, timeout_s: float) -> None:
        """Ask for a sign of life; raises LinkLost where none comes in `timeout_s`.

        A message is one too; and while we do not read, a pong may stand behind what we have not read.
        """
        try:
            with trio.move_on_after(timeout_s) as waiting:
                await self._socket.ping()
            silent_s = trio.current_time() - self._listening_since
            if waiting.cancelled_caught and silent_s >= timeout_s:
                raise LinkLost(f"no answer to a ping for {timeout_s:g} s")
        except ConnectionClosed as closed:
            raise _lost(closed) from None

    async def close(self, code: int, reason: str) -> None:
        """Close, at the latest after CLOSE_S. Never raises for a link that is lost already."""
        with trio.move_on_after(CLOSE_S):
            await self._socket.aclose(code, _fits(reason))


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
