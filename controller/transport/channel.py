"""Messages to and from one peer: the interface, and a channel that is multiplexed over another one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NoReturn, Protocol

import msgspec
import trio

from controller.transport.transport_errors import ConnectionLostError, SendQueueFullError

MOST_WAITING_MESSAGES = 256
MOST_WAITING_BYTES = 4 << 20
"""Bounds on what waits for one peer; a single longer message may wait alone."""

Pause = Callable[[], Awaitable[object]]
MessageHandler = Callable[[str | bytes], Pause | None]
"""Takes a message; returns a Pause that is awaited before the next one, or None."""


class Channel(Protocol):
    """Messages to and from one peer; all methods but `close` raise ConnectionLostError once it is gone.

    Implemented by `WebSocketConnection` (a socket of its own) and `VirtualChannel` (a part of one).
    """

    async def receive(self) -> str | bytes:
        """Wait for the next message and return it."""

    async def read_messages(self, handle: MessageHandler) -> NoReturn:
        """Call `handle` with each message as it comes; a Pause that it returns is awaited first."""

    def send_nowait(self, message: str | bytes) -> None:
        """Send a message, text or binary, or queue it for the peer. Raises SendQueueFullError."""

    async def ping(self, timeout_s: float) -> None:
        """Send a ping; raises ConnectionLostError if nothing comes within `timeout_s`."""

    def keep_alive(self, silence_s: float) -> None:
        """Send a ping, or end the channel if nothing has come for `silence_s`; called at intervals."""

    async def close(self, code: int, reason: str) -> None:
        """Send what is queued, and close."""


async def send_pings(channel: Channel, interval_s: float) -> None:
    """Send a ping every `interval_s`, 0 for never, until the channel is lost.

    Many stations and routers drop a connection that is silent for 60 s. Raises ConnectionLostError.
    """
    while interval_s > 0:
        await trio.sleep(interval_s)
        await channel.ping(2 * interval_s)


class _Paused(msgspec.Struct, frozen=True):
    """Pause that a handler called by `deliver` has asked for; the reading task awaits it."""

    pause: Pause


class VirtualChannel:
    """A channel of one station over a connection that carries many.

    `handle_sent` takes what is sent over it. What comes out is what `deliver` was called with. While a task
    is in `read_messages` and nothing waits, `deliver` calls its handler at once, without a switch of tasks;
    what waits is bounded in messages and in bytes. `on_ended` is called once, when either side ends it.
    """

    def __init__(self, handle_sent: Callable[[str | bytes], object]) -> None:
        self.on_ended: Callable[[], None] | None = None
        self._handle_sent = handle_sent
        self._sender, self._receiver = trio.open_memory_channel[str | bytes | _Paused](MOST_WAITING_MESSAGES)
        self._handle: MessageHandler | None = None
        """Handler of the task that waits in `read_messages`."""
        self._failure: Exception | None = None
        """Error of the handler, to be raised in that task."""
        self._waiting_messages = 0
        """Messages and pauses that the reader has not taken yet, also one that it was woken for."""
        self._waiting_bytes = 0
        self._lost_by: ConnectionLostError | None = None

    def deliver(self, message: str | bytes) -> None:
        """Pass a message to the reader, or queue it. Raises SendQueueFullError and ConnectionLostError."""
        if self._lost_by is not None:
            raise ConnectionLostError(str(self._lost_by))
        if (handle := self._handle) is not None:
            self._pass_message(handle, message)
            return
        # As a WebSocketConnection does, it takes a message of any length while nothing else waits.
        if self._waiting_bytes and self._waiting_bytes + len(message) > MOST_WAITING_BYTES:
            raise SendQueueFullError(f"{self._waiting_bytes} bytes wait")
        self._queue(message)
        self._waiting_bytes += len(message)

    def _queue(self, message: str | bytes | _Paused) -> None:
        try:
            self._sender.send_nowait(message)
        except trio.WouldBlock:
            raise SendQueueFullError(f"{MOST_WAITING_MESSAGES} messages wait") from None
        self._waiting_messages += 1

    def _pass_message(self, handle: MessageHandler, message: str | bytes) -> None:
        """Call the handler; messages that come meanwhile, or until its pause is over, are queued."""
        self._handle = None
        try:
            pause = handle(message)
        except Exception as error:  # noqa: BLE001 raised in the reading task, whose error it is
            self._failure = error
            self._end(ConnectionLostError("internal error"))
            return
        if self._lost_by is not None:
            return
        if pause is not None:
            self._queue(_Paused(pause))
        elif self._waiting_messages == 0:
            self._handle = handle

    def end(self, reason: str) -> None:
        """End the channel because its carrier is gone; what was delivered can still be received."""
        self._end(ConnectionLostError(reason))

    async def receive(self) -> str | bytes:
        """Wait for the next message and return it."""
        message = await self._receive()
        assert not isinstance(message, _Paused)  # only `read_messages` has a handler
        return message

    async def _receive(self) -> str | bytes | _Paused:
        try:
            message = await self._receiver.receive()
        except trio.EndOfChannel:
            raise self._failure or self._lost() from None
        self._waiting_messages -= 1
        if not isinstance(message, _Paused):
            self._waiting_bytes -= len(message)
        return message

    async def read_messages(self, handle: MessageHandler) -> NoReturn:
        """Call `handle` with each message; see Channel."""
        try:
            while True:
                if self._waiting_messages == 0:
                    self._handle = handle
                message = await self._receive()
                self._handle = None
                pause = message.pause if isinstance(message, _Paused) else handle(message)
                if pause is not None:
                    await pause()
        finally:
            self._handle = None

    def send_nowait(self, message: str | bytes) -> None:
        """Pass a message to the carrier; see Channel."""
        if self._lost_by is not None:
            raise self._lost()
        self._handle_sent(message)

    async def ping(self, timeout_s: float) -> None:
        """Check that the channel is open; the connection that carries it is pinged for all."""
        await trio.lowlevel.checkpoint()
        if self._lost_by is not None:
            raise self._lost()

    def keep_alive(self, silence_s: float) -> None:
        """Do nothing: the connection that carries the channel is kept alive for all."""

    async def close(self, code: int, reason: str) -> None:
        """End the channel; see Channel."""
        self._end(ConnectionLostError("closed by this controller", is_clean=True, is_local=True))
        await trio.lowlevel.checkpoint()

    def _end(self, cause: ConnectionLostError) -> None:
        if self._lost_by is None:
            self._lost_by = cause
            self._sender.close()
            if self.on_ended is not None:
                self.on_ended()

    def _lost(self) -> ConnectionLostError:
        cause = self._lost_by or ConnectionLostError("the channel is closed")
        return ConnectionLostError(str(cause), is_clean=cause.is_clean, is_local=cause.is_local)
