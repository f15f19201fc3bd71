"""What a session needs of a link, whatever is under it: a WebSocket (`engine`), or a part of one (`leg`)."""

from __future__ import annotations

from typing import NoReturn, Protocol

from controller.transport.websocket_connection import Hear


class Channel(Protocol):
    """Messages to and from one peer. Any method but `close` raises LinkLost once it is gone."""

    async def receive(self) -> str | bytes:
        """The next message; waits for it until the link is lost."""

    async def listen(self, hear: Hear) -> NoReturn:
        """Call `hear` with each message as it comes; where it gives a Pause, that is awaited first."""

    def put(self, message: str | bytes) -> None:
        """Send a message, text or binary, or let it wait for the peer. Raises Full."""

    async def ping(self, timeout_s: float) -> None:
        """Ask for a sign of life; raises LinkLost where none comes in `timeout_s`."""

    async def close(self, code: int, reason: str) -> None:
        """Send what waits, and close."""
