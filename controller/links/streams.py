"""Streams under the engine: it waits for ever where a peer goes in the middle of a WebSocket handshake."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

import trio

from controller.groups import leaves
from controller.links.tls import in_words

T = TypeVar("T")


class StreamEnded(Exception):
    """The peer has ended the stream too early. Its text says how."""


class WatchedStream(trio.abc.Stream):
    """A stream that knows when it has come to its end."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._ended = trio.Event()
        self._how = "the peer closed the connection during the handshake"

    async def unless_it_ends(self, handshake: Awaitable[T]) -> T:
        """What the handshake gives. Raises StreamEnded where the stream ends before that."""
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._cancel_at_end, scope)
                result = await handshake
                nursery.cancel_scope.cancel()
        if scope.cancelled_caught:
            raise StreamEnded(self._how)
        return result

    async def _cancel_at_end(self, scope: trio.CancelScope) -> None:
        await self._ended.wait()
        scope.cancel()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """See trio.abc.ReceiveStream."""
        try:
            data = await self._stream.receive_some(max_bytes)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._end(error)
            raise
        if not data:
            self._ended.set()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See trio.abc.SendStream."""
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._end(error)
            raise

    async def wait_send_all_might_not_block(self) -> None:
        """See trio.abc.SendStream."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """See trio.abc.AsyncResource."""
        self._ended.set()
        await self._stream.aclose()

    def _end(self, error: Exception) -> None:
        if not self._ended.is_set():
            self._how = cause(error)
            self._ended.set()


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
