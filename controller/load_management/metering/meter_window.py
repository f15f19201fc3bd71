"""Recent readings of one meter, and what the EVSEs below it have changed meanwhile."""

from __future__ import annotations

from collections import deque
from itertools import pairwise

from controller.load_management.site_tree import PhaseAmps
from controller.model.observations import EvseRef


class MeterWindow:
    """Readings and changes of the last `memory_s` seconds. Times in s, monotonic; currents in A per phase."""

    def __init__(self, memory_s: float) -> None:
        self._memory_s = memory_s
        self._readings: deque[tuple[float, PhaseAmps]] = deque()
        self._changes: deque[tuple[float, EvseRef, PhaseAmps]] = deque()

    def add_reading(self, amps: PhaseAmps, now: float) -> None:
        """Add a reading, and drop what is too old."""
        oldest = now - self._memory_s
        self._readings.append((now, amps))
        for rows in (self._readings, self._changes):
            while rows and rows[0][0] < oldest:
                rows.popleft()

    def add_change(self, ref: EvseRef, delta_a: PhaseAmps, at: float) -> None:
        """Add a change of an EVSE's draw, reported or to be expected: it may hide a step of another one."""
        self._changes.append((at, ref, delta_a))

    def clear(self) -> None:
        """Drop everything: the meter shows other values from now on."""
        self._readings.clear()
        self._changes.clear()

    def readings(self, begin: float, end: float) -> list[PhaseAmps]:
        """Return the readings from one moment to another."""
        return [amps for at, amps in self._readings if begin <= at <= end]

    def reaches_back_to(self, moment: float) -> bool:
        """Return True if the oldest reading is from this moment or before."""
        return bool(self._readings) and self._readings[0][0] <= moment

    def has_gap(self, longest_s: float, begin: float, end: float) -> bool:
        """Return True if readings are missing for longer, as while the meter was not good."""
        pairs = pairwise(at for at, _ in self._readings)
        return any(later - earlier > longest_s and begin < later <= end for earlier, later in pairs)

    def moves_of(
        self, ref: EvseRef, phase: int, begin: float, end: float, *, others: bool = False
    ) -> tuple[float, float]:
        """Return how far an EVSE has raised and lowered a phase, each summed up (A).

        `others`: how far all the other EVSEs have.
        """
        deltas = [
            delta[phase]
            for at, changed, delta in self._changes
            if (changed != ref) is others and begin <= at <= end
        ]
        return sum(each for each in deltas if each > 0), -sum(each for each in deltas if each < 0)
