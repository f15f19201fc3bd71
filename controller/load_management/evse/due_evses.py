"""EVSEs that the next passes look at, after an event or from a moment on."""

from __future__ import annotations

import math
from collections.abc import Iterable
from heapq import heappop, heappush
from itertools import islice

from controller.model.observations import EvseRef


class DueEvses:
    """EVSEs that are due for one thing in the next pass, or from a moment on."""

    def __init__(self) -> None:
        self._due: dict[EvseRef, None] = {}
        self._due_at: dict[EvseRef, float] = {}
        self._moments: list[float] = []
        self._at: dict[float, list[EvseRef]] = {}
        """EVSEs due at each moment: those of a large site often share one."""

    def add(self, ref: EvseRef) -> None:
        """Have the next pass look at an EVSE."""
        self._due[ref] = None

    def add_all(self, refs: Iterable[EvseRef]) -> None:
        """Have the next pass look at several EVSEs."""
        self._due |= dict.fromkeys(refs)

    def set_due(self, ref: EvseRef, at: float) -> None:
        """Have the first pass from this moment on (s, monotonic) look at an EVSE; it replaces the last one.

        inf: no pass does.
        """
        if at == math.inf:
            self._due_at.pop(ref, None)
        elif self._due_at.get(ref) != at:
            self._due_at[ref] = at
            if at in self._at:
                self._at[at].append(ref)
            else:
                self._at[at] = [ref]
                heappush(self._moments, at)

    def is_due(self, ref: EvseRef, now: float) -> bool:
        """Return True if the next pass looks at an EVSE."""
        return ref in self._due or self._due_at.get(ref, math.inf) <= now

    def remove(self, ref: EvseRef) -> None:
        """Remove an EVSE that the site no longer has."""
        self._due.pop(ref, None)
        self._due_at.pop(ref, None)

    def take_due(self, now: float, most: int | None = None) -> list[EvseRef]:
        """Return the EVSEs to look at, each once: so many at most, the others are left to the next call."""
        while self._moments and self._moments[0] <= now:
            at = heappop(self._moments)
            for ref in self._at.pop(at):
                if self._due_at.get(ref) == at:
                    del self._due_at[ref]
                    self._due[ref] = None
        if most is None or len(self._due) <= most:
            found, self._due = list(self._due), {}
            return found
        found = list(islice(self._due, most))
        for ref in found:
            del self._due[ref]
        return found


class DueQueues:
    """EVSEs that are due for one thing each in the next passes. All others are as the last pass left them.

    `updates`: all that events and time change of it is found anew. `demands`: only what it asks for changes,
    as its turn or rest ends, or as it helps other phases. `renewals`: its lease is renewed, and nothing else
    of it changes. `rises`: a rise to its share is worth a write from some moment on. `tests`: one at each
    meter is tested next, and nothing else of it changes. `bookings`: only what is booked for it changes, as
    its station has answered, or has followed a cut by then. `credits`: what it draws is known less or better.
    """

    def __init__(self) -> None:
        self.updates = DueEvses()
        self.demands = DueEvses()
        self.renewals = DueEvses()
        self.rises = DueEvses()
        self.tests = DueEvses()
        self.bookings = DueEvses()
        self.credits = DueEvses()

    def have_changed(self, refs: Iterable[EvseRef], now: float) -> dict[EvseRef, None]:
        """Return those of some EVSEs that the last pass, or what it has booked for them, does not show."""
        updates, bookings = self.updates, self.bookings
        return {ref: None for ref in refs if updates.is_due(ref, now) or bookings.is_due(ref, now)}

    def remove(self, ref: EvseRef) -> None:
        """Remove an EVSE that the site no longer has."""
        for due in (
            *(self.updates, self.demands, self.renewals, self.rises),
            *(self.tests, self.bookings, self.credits),
        ):
            due.remove(ref)
