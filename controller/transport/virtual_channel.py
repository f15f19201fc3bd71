"""A link of one station through a link of many: for who holds it a link like any other, and no socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import trio

from controller.transport.websocket_connection import MESSAGES, ConnectionLostError, Hear, SendQueueFullError


class VirtualChannel:
    """A `Channel`. `hear` takes what is put into it; what comes out is what the other side has passed on."""

    def __init__(self, hear: Callable[[str | bytes], object]) -> None:
        self._hear = hear
        self._passing, self._passed = trio.open_memory_channel[str | bytes](MESSAGES)
        self._lost_by: ConnectionLostError | None = None

    def pass_on(self, message: str | bytes) -> None:
        """A message for whoever holds the leg. Raises Full, and LinkLost once it is over."""
        if self._lost_by is not None:
            raise ConnectionLostError(str(self._lost_by))
        try:
            self._passing.send_nowait(message)
        except trio.WouldBlock:
            raise SendQueueFullError(f"{MESSAGES} messages wait") from None

    def end(self, reason: str) -> None:
        """The link that carries it is gone: so is the leg, once what has come is received."""
        self._over(ConnectionLostError(reason))

    async def receive(self) -> str | bytes:
        """See Channel."""
        try:
            return await self._passed.receive()
        except trio.EndOfChannel:
            raise self._why() from None

    async def listen(self, hear: Hear) -> NoReturn:
        """See Channel."""
        while True:
            if (pause := hear(await self.receive())) is not None:
                await pause()

    def put(self, message: str | bytes) -> None:
        """See Channel."""
        if self._lost_by is not None:
            raise self._why()
        self._hear(message)

    async def ping(self, timeout_s: float) -> None:
        """The link that carries it is pinged for all."""
        await trio.lowlevel.checkpoint()
        if self._lost_by is not None:
            raise self._why()

    async def close(self, code: int, reason: str) -> None:
        """See Channel."""
        self._over(ConnectionLostError("we have closed it", clean=True, ours=True))
        await trio.lowlevel.checkpoint()

    def _over(self, why: ConnectionLostError) -> None:
        if self._lost_by is None:
            self._lost_by = why
            self._passing.close()

    def _why(self) -> ConnectionLostError:
        lost = self._lost_by or ConnectionLostError("it is over")
        return ConnectionLostError(str(lost), clean=lost.clean, ours=lost.ours)
