"""Waiting for a state machine's deadline, which may move whenever something happens to it."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import trio


class DeadlineTimer:
    """`deadline` tells when the machine next wants to be looked at (s, trio's clock); None: not by itself."""

    def __init__(self, deadline: Callable[[], float | None]) -> None:
        self._deadline = deadline
        self._stirred: trio.Event | None = None
        self._set_for = -inf
        self._earlier = trio.Event()

    def stir(self) -> None:
        """Something happened: all who wait look anew.

        Most that happens puts the deadline off. That wakes nobody: the alarm rings for itself then, and sets
        itself anew.
        """
        if self._stirred is not None:
            self._stirred.set()
            self._stirred = None
        if self._next() < self._set_for:
            self._earlier.set()

    async def stirred(self) -> None:
        """Wait until something happens."""
        if self._stirred is None:
            self._stirred = trio.Event()
        await self._stirred.wait()

    async def ring(self) -> None:
        """Wait until the deadline is over, wherever it moves meanwhile."""
        while (deadline := self._next()) > trio.current_time():
            self._set_for, self._earlier = deadline, trio.Event()
            try:
                with trio.move_on_at(deadline):
                    await self._earlier.wait()
            finally:
                self._set_for = -inf
        await trio.lowlevel.checkpoint()

    def _next(self) -> float:
        deadline = self._deadline()
        return inf if deadline is None else deadline
