"""Outbox of a simulated station: in order, and across lost links for transaction messages."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio

from controller.demo.demo_frames import Payload
from controller.demo.station_messages import StationMessage

CROWDED = 500
"""From this length of the queue on, a station stops sampling its meter."""

FULL = 1000
"""Most messages that a station can queue."""


class Outgoing:
    """A message that waits for its turn or its answer.

    It is built when it is first sent, as a 1.6 transaction has no number before. `result` is the
    answer's payload; None for an error, or where the message was dropped with its link.
    """

    def __init__(
        self, build: Callable[[], StationMessage], kept: bool, then: Callable[[Payload], None] | None
    ) -> None:
        self.kept = kept
        self.message_id = ""
        self.result: Payload | None = None
        self.done = trio.Event()
        self._build = build
        self._built: StationMessage | None = None
        self._then = then

    @property
    def message(self) -> StationMessage:
        """Return the message, the same each time that it is sent."""
        if self._built is None:
            self._built = self._build()
        return self._built

    def settle(self, result: Payload | None) -> None:
        """Finish the message with its answer; None if there is none."""
        self.result = result
        if result is not None and self._then:
            self._then(result)
        self.done.set()


class StationOutbox:
    """The queue of one station; only the first message is being sent."""

    def __init__(self) -> None:
        self.online = False
        self.closed = False
        """No new messages: the run is about to end."""
        self._queue: deque[Outgoing] = deque()
        self._changed = trio.Event()

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def is_crowded(self) -> bool:
        """Return whether optional messages should be left out."""
        return len(self._queue) >= CROWDED

    def post(
        self,
        build: Callable[[], StationMessage],
        *,
        kept: bool,
        then: Callable[[Payload], None] | None = None,
    ) -> Outgoing:
        """Queue a message.

        What belongs to a transaction must be `kept` (OCPP 1.6 ed. 2, 3.7; 2.0.1 Part 2, E04); anything
        else is dropped at once while there is no link.
        """
        outgoing = Outgoing(build, kept, then)
        if (kept or self.online) and not self.closed and len(self._queue) < FULL:
            self._queue.append(outgoing)
            self._change()
        else:
            outgoing.settle(None)
        return outgoing

    async def first(self) -> Outgoing:
        """Return the first message; waits until there is one."""
        while not self._queue:
            await self._changed.wait()
        return self._queue[0]

    def settle(self, outgoing: Outgoing, result: Payload | None) -> None:
        """Remove the first message with its answer."""
        self._queue.remove(outgoing)
        outgoing.settle(result)
        self._change()

    def link_lost(self) -> None:
        """Drop messages that need not be kept."""
        self.online = False
        for outgoing in [each for each in self._queue if not each.kept]:
            self.settle(outgoing, None)

    async def wait_empty(self) -> None:
        """Wait until the queue is empty."""
        while self._queue:
            await self._changed.wait()

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
