"""EVSEs that the next pass has to update: after an event, or from a moment of their own on."""

from __future__ import annotations

from heapq import heappop, heappush

from controller.model.observations import EvseRef


class DueEvses:
    """EVSEs that a pass updates. All others are as the pass before left them."""

    def __init__(self) -> None:
        self._due: dict[EvseRef, None] = {}
        self._due_at: dict[EvseRef, float] = {}
        self._moments: list[float] = []
        self._at: dict[float, list[EvseRef]] = {}
        """EVSEs due at each moment: those of a large site often share one."""

    def add(self, ref: EvseRef) -> None:
        """Have the next pass update an EVSE."""
        self._due[ref] = None

    def set_due(self, ref: EvseRef, at: float) -> None:
        """Have the first pass from this moment on (s, monotonic) update an EVSE; it replaces the last one."""
        if self._due_at.get(ref) != at:
            self._due_at[ref] = at
            if at in self._at:
                self._at[at].append(ref)
            else:
                self._at[at] = [ref]
                heappush(self._moments, at)

    def remove(self, ref: EvseRef) -> None:
        """Remove an EVSE that the site no longer has."""
        self._due.pop(ref, None)
        self._due_at.pop(ref, None)

    def take(self, now: float) -> list[EvseRef]:
        """Return the EVSEs to update, each once."""
        while self._moments and self._moments[0] <= now:
            at = heappop(self._moments)
            for ref in self._at.pop(at):
                if self._due_at.get(ref) == at:
                    del self._due_at[ref]
                    self._due[ref] = None
        found, self._due = list(self._due), {}
        return found
