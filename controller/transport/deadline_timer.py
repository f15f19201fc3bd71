"""Wait for a state machine's deadline, which may move whenever an event is handled."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import trio


class DeadlineTimer:
    """Timer of one state machine; `deadline` returns its next deadline (s, trio's clock) or None."""

    def __init__(self, deadline: Callable[[], float | None]) -> None:
        self._deadline = deadline
        self._updated: trio.Event | None = None
        self._set_for = -inf
        self._moved_earlier = trio.Event()

    def update(self, deadline: float | None = None) -> None:
        """Report that the state machine has changed; `deadline`: its new one, where the caller has it.

        Most events put the deadline off. They wake no task: the timer fires at the old deadline, and is
        set again there.
        """
        if self._updated is not None:
            self._updated.set()
            self._updated = None
        if (self._next() if deadline is None else deadline) < self._set_for:
            self._moved_earlier.set()

    async def wait_updated(self) -> None:
        """Wait for the next `update`."""
        if self._updated is None:
            self._updated = trio.Event()
        await self._updated.wait()

    async def wait_due(self) -> None:
        """Wait until the deadline is over, wherever it moves meanwhile."""
        while (deadline := self._next()) > trio.current_time():
            self._set_for, self._moved_earlier = deadline, trio.Event()
            try:
                with trio.move_on_at(deadline):
                    await self._moved_earlier.wait()
            finally:
                self._set_for = -inf
        await trio.lowlevel.checkpoint()

    def _next(self) -> float:
        deadline = self._deadline()
        return inf if deadline is None else deadline
