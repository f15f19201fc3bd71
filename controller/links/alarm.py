"""Waiting for a state machine's deadline, which may move whenever something happens to it."""

from __future__ import annotations

from collections.abc import Callable

import trio


class Alarm:
    """`deadline` tells when the machine next wants to be looked at (s, trio's clock); None: not by itself."""

    def __init__(self, deadline: Callable[[], float | None]) -> None:
        self._deadline = deadline
        self._stirred = trio.Event()

    def stir(self) -> None:
        """Something happened: all who wait look anew."""
        self._stirred.set()
        self._stirred = trio.Event()

    async def stirred(self) -> None:
        """Wait until something happens."""
        await self._stirred.wait()

    async def ring(self) -> None:
        """Wait until the deadline is over, wherever it moves meanwhile."""
        while True:
            deadline = self._deadline()
            with trio.move_on_at(float("inf") if deadline is None else deadline) as waiting:
                await self._stirred.wait()
            if waiting.cancelled_caught:
                return
