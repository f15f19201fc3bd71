"""One open WebSocket between its transport and the tasks that use it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import NoReturn

import trio

from controller.model.rate_limits import TokenBucket
from controller.transport.byte_transport import ByteTransport
from controller.transport.channel import (
    MOST_WAITING_BYTES,
    MOST_WAITING_MESSAGES,
    MessageHandler,
    Pause,
)
from controller.transport.transport_errors import (
    ConnectionLostError,
    SendQueueFullError,
    describe_error,
)
from controller.transport.websocket_protocol import VANISHED, CloseCause, WebSocketProtocol

log = logging.getLogger("controller.transport")

CLOSE_TIMEOUT_S = 2.0
"""Time that a peer has for its part of the closing handshake."""

SEND_TIMEOUT_S = 60.0
"""Time after which a peer that reads nothing of what waits for it is disconnected."""

READ_BYTES = 16_384
READ_BYTES_SMALL = 2_048
"""Bytes read at once; few where they may be deflated (up to a thousandfold) or the peer is too fast."""

MOST_BATCHED_BYTES = 65_536
"""Bytes that are sent together, at the end of a batch of the poller."""

READS_IN_A_ROW = 8
"""Reads in a row of one connection before other tasks run."""

FRAME_COST_BYTES = 256
"""Bytes for which a frame counts that is no whole text message: pings, pongs and fragments cost time."""

LET_OTHERS_RUN: Pause = trio.lowlevel.checkpoint

CLOSED_LOCALLY = CloseCause("closed by this controller", is_clean=True)


class WebSocketConnection:
    """One open WebSocket; all methods but `close` raise ConnectionLostError once it is gone.

    One task receives messages; all may send. What the peer does not take at once is queued and sent by a
    task in `nursery`, which exists only while something waits. `pace` bounds what is received, in bytes
    per s; more of it waits in the peer's socket.
    """

    __slots__ = (
        "__weakref__",
        "_batched",
        "_batched_bytes",
        "_clock",
        "_closed",
        "_flushed",
        "_handle",
        "_is_reading",
        "_most",
        "_nursery",
        "_pace",
        "_protocol",
        "_received",
        "_silent_since",
        "_transport",
        "_wait_s",
        "_waiting",
        "_waiting_bytes",
    )

    def __init__(
        self,
        nursery: trio.Nursery,
        transport: ByteTransport,
        protocol: WebSocketProtocol,
        pace: TokenBucket | None = None,
    ) -> None:
        self._nursery = nursery
        self._clock = trio.lowlevel.current_clock()
        self._transport = transport
        self._protocol = protocol
        self._pace = pace
        self._wait_s = 0.0
        if protocol.head is not None:
            # The library's parser keeps the head as long as the connection is open: 3 KiB of headers.
            protocol.head.headers.clear()
            protocol.head = None
        self._closed: CloseCause | None = None
        self._most = READ_BYTES_SMALL if protocol.uses_deflate else READ_BYTES
        self._handle: MessageHandler | None = None
        """Handler of the task in `read_messages`."""
        self._is_reading = False
        self._silent_since = float("inf")
        self._received: trio.Event | None = None
        self._batched: list[bytes] | None = None
        """Frames that wait for the end of the poller's batch."""
        self._batched_bytes = 0
        self._waiting: list[bytes | memoryview] = []
        self._waiting_bytes = 0
        self._flushed: trio.Event | None = None
        self._advance_protocol()  # more may have come with the end of the handshake

    # -- receiving ------------------------------------------------------------------------------------

    async def read_messages(self, handle: MessageHandler) -> NoReturn:
        """Call `handle` with each message as it comes, until the connection is lost.

        `handle` runs in the poller's task, so that a message wakes no other. What it raises ends the
        reading and is raised here. A Pause that it returns is awaited here before the next message.
        """
        self._handle, read = handle, self._pass_messages
        try:
            while True:
                await trio.lowlevel.checkpoint_if_cancelled()
                pause = read() or await self._wait_read(read)
                await pause()
        finally:
            self._handle = None

    def _pass_messages(self) -> Pause | None:
        """Pass on what has come; return what to await before more is read, None if nothing is there."""
        handle, protocol, watcher = self._handle, self._protocol, self._transport.watcher
        assert handle is not None  # a task is in `read_messages`
        messages = protocol.messages
        for _ in range(READS_IN_A_ROW):
            while messages:
                if (pause := handle(messages.pop(0))) is not None:
                    return pause
            if protocol.close_cause is not None:
                raise self._lost()
            if self._wait_s:
                wait_s, self._wait_s = self._wait_s, 0.0
                return partial(trio.sleep, wait_s)
            # A short read has emptied the socket: most messages end here, without another one.
            if not (watcher.is_readable and self._read()):
                return None
        return LET_OTHERS_RUN

    @property
    def peer_certificate_der(self) -> bytes | None:
        """The peer's verified certificate in DER; None without one."""
        return self._transport.peer_certificate_der

    async def receive(self) -> str | bytes:
        """Wait for the next message and return it."""
        await trio.lowlevel.checkpoint_if_cancelled()
        messages = self._protocol.messages
        while not messages:
            if self._protocol.close_cause is not None:
                raise self._lost()
            if self._wait_s:
                wait_s, self._wait_s = self._wait_s, 0.0
                await trio.sleep(wait_s)
            await self._read_more()
        return messages.pop(0)

    async def _read_more(self) -> None:
        """Read what has come, or wait for it."""
        if not self._is_reading and self._read():
            await trio.lowlevel.checkpoint()
        else:
            await self._wait_read(self._read)

    def _read(self, *, is_gone: bool = False) -> Pause | None:
        """Read what has come, or the end of a connection that `is_gone`; return None if nothing has."""
        data = b""
        if not is_gone:
            try:
                received = self._transport.receive(self._most if not self._wait_s else READ_BYTES_SMALL)
            except OSError as error:
                self._set_closed(_close_cause(error))
            else:
                if received is None:
                    return None
                data = received
        protocol = self._protocol
        frames = protocol.frames
        protocol.receive_data(data)
        now = self._clock.current_time()
        if self._is_reading:
            self._silent_since = now
        if self._pace is not None:
            # All that costs time is counted, also what never becomes a message: pongs, empty fragments.
            self._wait_s = self._pace.charge(now, len(data) + FRAME_COST_BYTES * (protocol.frames - frames))
        if self._waiting and len(self._waiting) > 2 * MOST_WAITING_MESSAGES:
            self._drop(CloseCause("it sends, but does not read"))
        elif protocol.frames != frames or protocol.close_cause is not None:
            self._advance_protocol()  # whole text messages alone need no answer of the protocol
        if self._received is not None:
            self._received.set()
            self._received = None
        return LET_OTHERS_RUN

    async def _wait_read(self, read: Callable[[], Pause | None]) -> Pause:
        """Return what `read` returns once data has come; if another task reads, wait for that."""
        if self._is_reading:
            await self._wait_data()
            return LET_OTHERS_RUN
        self._is_reading, self._silent_since = True, trio.current_time()
        try:
            return await self._transport.wait_received(read)
        except trio.ClosedResourceError:
            self._set_closed(CloseCause(VANISHED))
            self._read(is_gone=True)
            return LET_OTHERS_RUN
        finally:
            self._is_reading, self._silent_since = False, float("inf")

    def _advance_protocol(self) -> None:
        """Send what the protocol answers (pongs, close frames), and follow its end."""
        self._send_now(self._protocol.take_output())
        if self._protocol.close_cause is not None:
            self._set_closed(self._protocol.close_cause)
            self._shutdown_if_due()

    async def _wait_data(self) -> None:
        if self._received is None:
            self._received = trio.Event()
        await self._received.wait()

    # -- sending --------------------------------------------------------------------------------------

    def send_nowait(self, message: str | bytes) -> None:
        """Send a message, text or binary, or queue it. Raises SendQueueFullError."""
        if self._closed is not None:
            raise self._lost()
        data = message if isinstance(message, bytes) else message.encode()
        if self._waiting:
            waiting = len(self._waiting)
            if waiting >= MOST_WAITING_MESSAGES or self._waiting_bytes + len(data) > MOST_WAITING_BYTES:
                raise SendQueueFullError(f"{waiting} messages of {self._waiting_bytes} bytes wait")
        protocol, batched = self._protocol, self._batched
        frame = protocol.encode_binary(data) if data is message else protocol.encode_text(data)
        if batched is None:
            # What is sent within a batch of the poller goes at its end, together with other frames.
            if self._waiting or not self._transport.watcher.defer(self._send_now):
                self._send_now(frame)
            else:
                self._batched, self._batched_bytes = [frame], len(frame)
        elif self._batched_bytes + len(frame) > MOST_BATCHED_BYTES:
            self._send_now()
            self._batched, self._batched_bytes = [frame], len(frame)  # the deferred call is still to come
        else:
            batched.append(frame)
            self._batched_bytes += len(frame)

    async def send(self, text: str) -> None:
        """Send a text message; wait while the peer does not read, at most SEND_TIMEOUT_S."""
        await self._wait_flushed()
        self.send_nowait(text)
        await self._wait_flushed()
        if self._closed is not None:
            raise self._lost()

    def _send_now(self, data: bytes = b"") -> None:
        """Send the frames that wait for the end of a batch, and `data` behind them, or queue both."""
        if (frames := self._batched) is not None:
            self._batched = None
            data = frames[0] if len(frames) == 1 and not data else b"".join((*frames, data))
        if not data:
            return
        if not self._waiting:
            try:
                sent = self._transport.send(data)
            except OSError as error:
                self._set_closed(_close_cause(error))  # what the peer sent before can still be received
                return
            if sent == len(data):
                return
            self._waiting.append(memoryview(data)[sent:])
            self._waiting_bytes = len(data) - sent
        else:
            self._waiting.append(data)
            self._waiting_bytes += len(data)
        if self._flushed is None:
            self._flushed = trio.Event()
            self._nursery.start_soon(self._flush, self._flushed)

    def _try_to_send(self, data: bytes | memoryview) -> int:
        """Return the number of bytes that were sent, or that need not be sent any more."""
        try:
            return self._transport.send(data)
        except OSError as error:
            self._set_closed(_close_cause(error))  # what the peer sent before can still be received
            return len(data)

    async def _flush(self, flushed: trio.Event) -> None:
        """Send what waits, as the peer reads it."""
        try:
            while self._waiting:
                with trio.move_on_after(SEND_TIMEOUT_S) as timeout:
                    await self._transport.wait_writable()
                if timeout.cancelled_caught:
                    self._drop(CloseCause(f"it has not read for {SEND_TIMEOUT_S:g} s"))
                else:
                    self._send_waiting()
        except trio.ClosedResourceError:
            self._waiting.clear()
        finally:
            self._flushed = None
            flushed.set()
        self._shutdown_if_due()

    def _send_waiting(self) -> None:
        while self._waiting:
            first = self._waiting[0]
            sent = self._try_to_send(first)
            self._waiting_bytes -= sent
            if sent < len(first):
                self._waiting[0] = memoryview(first)[sent:]
                return
            self._waiting.pop(0)

    async def _wait_flushed(self) -> None:
        while self._waiting:
            if self._flushed is None:  # its task was cancelled
                self._flushed = trio.Event()
                await self._flush(self._flushed)
            else:
                await self._flushed.wait()

    # -- liveness and end -----------------------------------------------------------------------------

    async def ping(self, timeout_s: float) -> None:
        """Send a ping; raises ConnectionLostError if nothing comes within `timeout_s`.

        Any data is an answer. While nothing is read, the pong may be behind unread data: no loss then.
        """
        if self._closed is not None:
            raise self._lost()
        self._protocol.send_ping()
        self._send_now(self._protocol.take_output())
        with trio.move_on_after(timeout_s) as timeout:
            await self._wait_data()
        if self._closed is not None:
            raise self._lost()
        if timeout.cancelled_caught and trio.current_time() - self._silent_since >= timeout_s:
            raise ConnectionLostError(f"no answer to a ping for {timeout_s:g} s")

    def keep_alive(self, silence_s: float) -> None:
        """Send a ping, or end the connection if nothing has come for `silence_s`; called at intervals.

        The reading task raises ConnectionLostError then. While nothing is read, silence is not counted.
        """
        if self._closed is not None:
            return
        if trio.current_time() - self._silent_since >= silence_s:
            self._drop(CloseCause(f"no answer to a ping for {silence_s:g} s"))
            return
        self._protocol.send_ping()
        self._send_now(self._protocol.take_output())

    async def close(self, code: int, reason: str) -> None:
        """Send what is queued and close, within CLOSE_TIMEOUT_S; never raises for a lost connection."""
        self._set_closed(CLOSED_LOCALLY)
        try:
            with trio.move_on_after(CLOSE_TIMEOUT_S):
                self._protocol.send_close(code, reason)
                self._send_now(self._protocol.take_output())
                await self._wait_flushed()
                # A socket that is closed with unread data is reset, and our close frame may be lost: read on.
                while not self._protocol.is_finished:
                    await self._read_more()
                    self._protocol.messages.clear()
            self._transport.shutdown_send()
        finally:
            self._transport.close()

    def _shutdown_if_due(self) -> None:
        if self._protocol.is_send_closed and not self._waiting:
            self._transport.shutdown_send()

    def _drop(self, cause: CloseCause) -> None:
        """Give the peer up without a close frame, which it would not read."""
        self._set_closed(cause)
        self._batched = None
        self._waiting.clear()
        self._transport.close()

    def _set_closed(self, cause: CloseCause) -> None:
        """Keep the first cause."""
        if self._closed is None:
            self._closed = cause

    def _lost(self) -> ConnectionLostError:
        cause = self._closed or CloseCause(VANISHED)
        return ConnectionLostError(cause.reason, is_clean=cause.is_clean, is_local=cause is CLOSED_LOCALLY)


def _close_cause(error: BaseException) -> CloseCause:
    return CloseCause(VANISHED if isinstance(error, ConnectionError) else describe_error(error))
