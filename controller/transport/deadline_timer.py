"""Wait for a state machine's deadline, which may move whenever an event is handled."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import trio


def _abort(_: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.SUCCEEDED


class DeadlineTimer:
    """Timer of one state machine; `deadline` returns its next deadline (s, trio's clock) or None."""

    def __init__(self, deadline: Callable[[], float | None]) -> None:
        self._deadline = deadline
        self._updated: trio.Event | None = None
        self._waiting: trio.CancelScope | None = None
        """Scope in which a task waits until the scope's deadline."""
        self._waits_until = inf
        """Deadline of that scope: to read it from the scope takes longer than all of `update`."""

    def update(self, deadline: float | None = None) -> None:
        """Report that the state machine has changed; `deadline`: its new one, where the caller has it.

        Most events put the deadline off. They change nothing: the timer fires at the old deadline, and is
        set again there.
        """
        if self._updated is not None:
            self._updated.set()
            self._updated = None
        if self._waiting is not None:
            due_at = self._next() if deadline is None else deadline
            if due_at < self._waits_until:
                self._waiting.deadline = self._waits_until = due_at

    async def wait_updated(self) -> None:
        """Wait for the next `update`."""
        if self._updated is None:
            self._updated = trio.Event()
        await self._updated.wait()

    async def wait_due(self) -> None:
        """Wait until the deadline is over, wherever it moves meanwhile."""
        has_waited = False
        while (deadline := self._next()) > trio.current_time():
            # A scope with a moving deadline alone: an event to wait for takes 300 bytes a station.
            self._waits_until = deadline
            with trio.CancelScope(deadline=deadline) as self._waiting:
                try:
                    await trio.lowlevel.wait_task_rescheduled(_abort)
                finally:
                    self._waiting = None
            has_waited = True
        if not has_waited:
            await trio.lowlevel.checkpoint()

    def _next(self) -> float:
        deadline = self._deadline()
        return inf if deadline is None else deadline
