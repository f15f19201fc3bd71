"""One open WebSocket, between its transport and those who talk over it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import NoReturn

import trio

from controller.transport.byte_transport import ByteTransport, cause
from controller.transport.websocket_protocol import VANISHED, CloseCause, WebSocketProtocol

CLOSE_S = 2.0
"""How long a peer may take for its part of the closing handshake."""

SEND_S = 60.0
"""How long a peer may read nothing of what waits for it."""

MESSAGES = 256
BYTES = 4 << 20
"""How much may wait for one peer; a single message may be longer, if it waits alone."""

READ = 16_384
READ_DEFLATED = 2_048
"""Bytes read at once. Deflate makes up to a thousand of one: so few never become more than 2 MiB."""

READS_IN_A_ROW = 8
"""After so many, a peer that always has more to say lets others have their turn."""
Pause = Callable[[], Awaitable[object]]
LET_OTHERS: Pause = trio.lowlevel.checkpoint
Hear = Callable[[str | bytes], Pause | None]

CLOSED = CloseCause("we have closed it", clean=True)


class ConnectionLostError(Exception):
    """The link is gone. Its text is a sentence; `clean`: it was closed properly, `ours`: and by us."""

    def __init__(self, reason: str, *, clean: bool = False, ours: bool = False) -> None:
        super().__init__(reason)
        self.clean = clean
        self.ours = ours


class SendQueueFullError(Exception):
    """More would have to wait for the peer than may. Its text says what waits already."""


class WebSocketConnection:
    """One open WebSocket. Any method but `close` raises LinkLost once it is gone.

    One task receives, or listens; all may send. What a peer does not take at once waits, and is sent by a
    task in the nursery that the link was given, which there is only while something waits.
    """

    def __init__(self, nursery: trio.Nursery, transport: ByteTransport, wire: WebSocketProtocol) -> None:
        self._nursery = nursery
        self._transport = transport
        self._wire = wire
        wire.head = None  # its headers are read, and would stay as long as the link does
        self._gone: CloseCause | None = None
        self._most = READ_DEFLATED if wire.deflates else READ
        self._reading = False
        self._silent_since = float("inf")
        self._heard: trio.Event | None = None
        self._waiting: list[bytes | memoryview] = []
        self._waiting_bytes = 0
        self._flushed: trio.Event | None = None
        self._follow()  # more may have come with the end of the handshake

    # -- in -----------------------------------------------------------------------------------------

    async def listen(self, hear: Hear) -> NoReturn:
        """Call `hear` with each message as it comes, until the link is lost: raises LinkLost then.

        It is called from another task, so that a message wakes none. What it raises ends the listening, and
        is raised here. Where it gives a Pause, that is awaited here before the next message.
        """
        pass_on = partial(self._pass_on, hear)
        while True:
            await trio.lowlevel.checkpoint_if_cancelled()
            pause = pass_on() or await self._until_read(pass_on)
            await pause()

    def _pass_on(self, hear: Hear) -> Pause | None:
        """Pass on what has come: None where that is all, else what to await before there is more."""
        messages = self._wire.messages
        for _ in range(READS_IN_A_ROW):
            while messages:
                if (pause := hear(messages.pop(0))) is not None:
                    return pause
            if self._wire.gone is not None:
                raise self._lost()
            if not self._read():
                self._silent_since = trio.current_time()
                return None
        return LET_OTHERS

    async def receive(self) -> str | bytes:
        """The next message; waits for it until the link is lost."""
        await trio.lowlevel.checkpoint_if_cancelled()
        messages = self._wire.messages
        while not messages:
            if self._wire.gone is not None:
                raise self._lost()
            await self._read_more()
        return messages.pop(0)

    async def _read_more(self) -> None:
        """Take in what has come, or what comes next."""
        if not self._reading and self._read():
            await trio.lowlevel.checkpoint()
        else:
            await self._until_read(self._read)

    def _read(self) -> Pause | None:
        """Take in what has come; None where nothing has."""
        try:
            data = self._transport.receive(self._most)
        except OSError as error:
            self._is_gone(_in_words(error))
            data = b""
        if data is None:
            return None
        self._take_in(data)
        return LET_OTHERS

    async def _until_read(self, read: Callable[[], Pause | None]) -> Pause:
        """What `read` gives, once something has come; where another task reads, that is waited for."""
        if self._reading:
            await self._next_heard()
            return LET_OTHERS
        self._reading, self._silent_since = True, trio.current_time()
        try:
            return await self._transport.until_received(read)
        except trio.ClosedResourceError:
            self._is_gone(CloseCause(VANISHED))
            self._take_in(b"")
            return LET_OTHERS
        finally:
            self._reading, self._silent_since = False, float("inf")

    def _take_in(self, data: bytes) -> None:
        self._wire.feed(data)
        if len(self._waiting) > 2 * MESSAGES:
            self._drop(CloseCause("it sends, and does not read"))
        else:
            self._follow()
        if self._heard is not None:
            self._heard.set()
            self._heard = None

    def _follow(self) -> None:
        """Do what the protocol wants after what has come: answer pings, close."""
        self._put_out(self._wire.take())
        if self._wire.gone is not None:
            self._is_gone(self._wire.gone)
            self._end_if_due()

    async def _next_heard(self) -> None:
        if self._heard is None:
            self._heard = trio.Event()
        await self._heard.wait()

    # -- out ----------------------------------------------------------------------------------------

    def put(self, message: str | bytes) -> None:
        """Send a message, text or binary, or let it wait for the peer; does not wait itself. Raises Full."""
        if self._gone is not None:
            raise self._lost()
        data = message if isinstance(message, bytes) else message.encode()
        waiting = len(self._waiting)
        if waiting and (waiting >= MESSAGES or self._waiting_bytes + len(data) > BYTES):
            raise SendQueueFullError(f"{waiting} messages of {self._waiting_bytes} bytes wait")
        self._put_out(self._wire.binary(data) if data is message else self._wire.text(data))

    async def send(self, text: str) -> None:
        """Send a text message; waits while the peer does not read, and gives it up after SEND_S."""
        await self._all_sent()
        self.put(text)
        await self._all_sent()
        if self._gone is not None:
            raise self._lost()

    def _put_out(self, data: bytes) -> None:
        if not data:
            return
        if not self._waiting:
            sent = self._try_to_send(data)
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
        """So many bytes went, or need not go any more."""
        try:
            return self._transport.send(data)
        except OSError as error:
            self._is_gone(_in_words(error))  # what it has sent before may still be received
            return len(data)

    async def _flush(self, flushed: trio.Event) -> None:
        """Send what waits, as the peer reads it."""
        try:
            while self._waiting:
                with trio.move_on_after(SEND_S) as patience:
                    await self._transport.has_room()
                if patience.cancelled_caught:
                    self._drop(CloseCause(f"it has not read for {SEND_S:g} s"))
                else:
                    self._send_waiting()
        except trio.ClosedResourceError:
            self._waiting.clear()
        finally:
            self._flushed = None
            flushed.set()
        self._end_if_due()

    def _send_waiting(self) -> None:
        while self._waiting:
            first = self._waiting[0]
            sent = self._try_to_send(first)
            self._waiting_bytes -= sent
            if sent < len(first):
                self._waiting[0] = memoryview(first)[sent:]
                return
            self._waiting.pop(0)

    async def _all_sent(self) -> None:
        while self._waiting:
            if self._flushed is None:  # its task was cancelled
                self._flushed = trio.Event()
                await self._flush(self._flushed)
            else:
                await self._flushed.wait()

    # -- life and end -------------------------------------------------------------------------------

    async def ping(self, timeout_s: float) -> None:
        """Ask for a sign of life; raises LinkLost where none comes in `timeout_s`.

        A message is one too; and while we do not read, a pong may stand behind what we have not read.
        """
        if self._gone is not None:
            raise self._lost()
        self._wire.ping()
        self._put_out(self._wire.take())
        with trio.move_on_after(timeout_s) as waiting:
            await self._next_heard()
        if self._gone is not None:
            raise self._lost()
        if waiting.cancelled_caught and trio.current_time() - self._silent_since >= timeout_s:
            raise ConnectionLostError(f"no answer to a ping for {timeout_s:g} s")

    async def close(self, code: int, reason: str) -> None:
        """Send what waits, and close, at the latest after CLOSE_S. Never raises for a link that is lost."""
        self._is_gone(CLOSED)
        try:
            with trio.move_on_after(CLOSE_S):
                self._wire.close(code, reason)
                self._put_out(self._wire.take())
                await self._all_sent()
                # What is not read to its end is reset, and might take our last words along.
                while not self._wire.over:
                    await self._read_more()
                    self._wire.messages.clear()
            self._transport.end()
        finally:
            self._transport.close()

    def _end_if_due(self) -> None:
        if self._wire.ended and not self._waiting:
            self._transport.end()

    def _drop(self, gone: CloseCause) -> None:
        """Give the peer up, without a word that it would not hear."""
        self._is_gone(gone)
        self._waiting.clear()
        self._transport.close()

    def _is_gone(self, gone: CloseCause) -> None:
        """The first reason is the reason."""
        if self._gone is None:
            self._gone = gone

    def _lost(self) -> ConnectionLostError:
        gone = self._gone or CloseCause(VANISHED)
        return ConnectionLostError(gone.reason, clean=gone.clean, ours=gone is CLOSED)


def _in_words(error: BaseException) -> CloseCause:
    return CloseCause(VANISHED if isinstance(error, ConnectionError) else cause(error))
