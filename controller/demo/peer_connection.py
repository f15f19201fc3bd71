"""One WebSocket of a simulated peer: every frame in both directions goes through the ledger."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from controller.demo.demo_frames import (
    CALL,
    CALL_RESULT,
    DemoError,
    FrameStyle,
    Payload,
    PeerFrame,
    not_implemented,
    read_frame,
)
from controller.demo.message_ledger import End, MessageLedger

ANSWER_S = 30.0
"""Timeout of a CALL of a peer."""


class NoAnswerError(DemoError):
    """A CALL was not answered in time."""


class PeerConnection:
    """The link of one end for one station. `counts` makes it number its CALLs from 1, as some do."""

    def __init__(
        self,
        end: End,
        station: str,
        socket: WebSocketConnection,
        ledger: MessageLedger,
        style: FrameStyle,
        counts: bool,
    ) -> None:
        self.style = style
        self.link = ledger.new_link()
        self._end, self._station = end, station
        self._socket = socket
        self._ledger = ledger
        self._counts = counts
        self._count = 0
        self._turn = trio.Lock()
        self._asked = ""
        self._answer: PeerFrame | None = None
        self._answered = trio.Event()

    async def idle(self) -> None:
        """Wait until every CALL of this end has its answer."""
        async with self._turn:
            pass

    async def send(self, text: str) -> None:
        """Send a frame. Raises ConnectionClosed."""
        self._ledger.sent(self._end, self._station, self.link, text, trio.current_time())
        await self._socket.send_message(text)

    async def ask(self, action: str, payload: Payload, message_id: str | None = None) -> Payload | None:
        """Send a CALL in its turn and wait for its answer: the result, or None for an error.

        Raises NoAnswerError if none comes within ANSWER_S, and ConnectionClosed.
        """
        async with self._turn:
            self._asked, self._answer = message_id or self.new_id(), None
            self._answered = trio.Event()
            await self.send(self.style.write(CALL, self._asked, action, payload))
            with trio.move_on_after(ANSWER_S):
                await self._answered.wait()
            answer: PeerFrame | None = self._answer
        if answer is None:
            raise NoAnswerError(self._asked)
        return answer.payload if answer.kind == CALL_RESULT else None

    def new_id(self) -> str:
        """Return a new message id, unique on this link."""
        self._count += 1
        return str(self._count) if self._counts else str(uuid.uuid4())

    async def listen(self, serve: Callable[[PeerFrame], Awaitable[Payload | None]]) -> None:
        """Read until the link is lost: `serve` answers each CALL, None for an unknown action."""
        while True:
            text = await self._socket.get_message()
            if isinstance(text, bytes):
                continue  # the peers exchange no binary frames
            self._ledger.got(self._end, self._station, self.link, text, trio.current_time())
            frame = read_frame(text)
            if frame.kind == CALL:
                result = await serve(frame)
                if result is None:
                    await self.send(not_implemented(self.style, frame.id, frame.action))
                else:
                    await self.send(self.style.write(CALL_RESULT, frame.id, result))
            elif frame.id == self._asked:
                self._answer = frame
                self._answered.set()


@asynccontextmanager
async def closed_on_loss(connection: PeerConnection, ledger: MessageLedger) -> AsyncIterator[trio.Nursery]:
    """Open a nursery for the tasks of a link; all end when it is lost, and so does the block."""
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
    except* (ConnectionClosed, NoAnswerError):
        pass
    finally:
        ledger.link_ended(connection.link, trio.current_time())
