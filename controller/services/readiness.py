"""Readiness of the meters: each has been read, or declared missing, since the controller started."""

from __future__ import annotations

from collections.abc import Iterable

import trio

from drivers.reading import MeterState

MAX_WAIT_S = 30.0
"""Longest wait for the first states of all meters (s); a bus with many dead meters takes longer."""


class MeterReadiness:
    """Tracks which of `meters` (ids) have had a first state, good or bad."""

    def __init__(self, meters: Iterable[str]) -> None:
        self._unread = set(meters)
        self._complete = trio.Event()
        self._set_if_complete()

    def on_meter_state(self, state: MeterState) -> None:
        """Take the state of a meter after one of its polls."""
        if state.meter in self._unread:
            self._unread.discard(state.meter)
            self._set_if_complete()

    def _set_if_complete(self) -> None:
        if not self._unread:
            self._complete.set()

    async def wait(self) -> tuple[str, ...]:
        """Wait until all meters have had a state, at most MAX_WAIT_S; return those that have not."""
        with trio.move_on_after(MAX_WAIT_S):
            await self._complete.wait()
        return tuple(sorted(self._unread))
