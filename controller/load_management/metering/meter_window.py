"""Recent readings of one meter, and what the EVSEs below it have changed meanwhile."""

from __future__ import annotations

from collections import deque
from itertools import pairwise

import msgspec

from controller.load_management.evse.consumption import ReportedStep
from controller.load_management.site_tree import PhaseAmps
from controller.model.observations import EvseRef

LATE_S = 5.0
"""Time (s) that readings may be behind the draw that they show."""
SETTLED_S = 10.0
"""Time (s) after which a car has followed its offer."""

Span = tuple[float, float]
"""Two moments (s, monotonic), and all readings between them."""


class _Offer(msgspec.Struct, frozen=True, gc=False):
    """Draw that an offer leads to (A on the site's phases), beyond the last report; from `at` on."""

    at: float
    draw_a: PhaseAmps


class MeterWindow:
    """Readings and changes of the last `memory_s` seconds. Times in s, monotonic; currents in A per phase."""

    def __init__(self, memory_s: float) -> None:
        self._memory_s = memory_s
        self._readings: deque[tuple[float, PhaseAmps]] = deque()
        self._changes: deque[tuple[float, EvseRef, PhaseAmps]] = deque()
        self._reported: deque[ReportedStep] = deque()
        self._offers: dict[EvseRef, list[_Offer]] = {}
        """Offers that no report has followed, of each EVSE; the first one of an EVSE may be old."""

    def add_reading(self, amps: PhaseAmps, now: float) -> None:
        """Add a reading, and drop what is too old."""
        oldest = now - self._memory_s
        self._readings.append((now, amps))
        for rows in (self._readings, self._changes):
            while rows and rows[0][0] < oldest:
                rows.popleft()
        while self._reported and self._reported[0].at < oldest:
            self._reported.popleft()

    def add_change(self, ref: EvseRef, delta_a: PhaseAmps, at: float) -> None:
        """Add a change of an EVSE's draw, reported or to be expected: it may hide a step of another one."""
        self._changes.append((at, ref, delta_a))

    def add_step(self, step: ReportedStep) -> None:
        """Add a step of an EVSE's draw that its station has reported."""
        self.add_change(step.ref, step.delta_a, step.at)
        self._reported.append(step)

    def add_offer(self, ref: EvseRef, draw_a: PhaseAmps, now: float) -> None:
        """Add an offer that leads an EVSE to this draw (A), beyond its last report; 0 is the last report.

        Where the station reports nothing, it is the draw as a whole.
        """
        offers = self._offers.setdefault(ref, [])
        while len(offers) > 1 and offers[1].at < now - self._memory_s:
            del offers[0]
        offers.append(_Offer(now, draw_a))

    def add_report(self, ref: EvseRef, now: float) -> None:
        """Drop the offers that an EVSE has followed by now, as it has reported its draw."""
        offers = self._offers.get(ref)
        if offers is None:
            return
        late = [each for each in offers if each.at > now - SETTLED_S]
        if late:
            self._offers[ref] = late
        else:
            del self._offers[ref]

    def clear(self) -> None:
        """Drop everything: the meter shows other values from now on."""
        self._readings.clear()
        self._changes.clear()
        self._reported.clear()
        self._offers.clear()

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

    def net_of_others(self, ref: EvseRef, phase: int, before: Span, after: Span) -> tuple[float, float]:
        """Return the least and the most (A) by which other EVSEs have changed a phase between two spans."""
        least = most = 0.0
        for step in self._reported:
            if step.ref == ref or step.at <= before[0] - LATE_S or step.since >= after[1]:
                continue
            move_a = step.delta_a[phase]
            is_whole = step.since >= before[1] and step.at <= after[0] - LATE_S
            least += move_a if is_whole else min(0.0, move_a)
            most += move_a if is_whole else max(0.0, move_a)
        for other, offers in self._offers.items():
            if other != ref:
                lower, upper = _draws(offers, phase, before), _draws(offers, phase, after)
                least += min(upper) - max(lower)
                most += max(upper) - min(lower)
        return least, most


def _draws(offers: list[_Offer], phase: int, span: Span) -> list[float]:
    """Return the draws (A) that offers may lead to during a span."""
    settled = 0.0
    moving: list[float] = []
    for each in offers:
        if each.at <= span[0] - LATE_S - SETTLED_S:
            settled = each.draw_a[phase]
        elif each.at < span[1]:
            moving.append(each.draw_a[phase])
    return [settled, *moving]
