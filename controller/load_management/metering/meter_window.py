"""Recent readings of one meter, and what the EVSEs below it have changed meanwhile."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable
from itertools import pairwise
from operator import sub

import msgspec

from controller.load_management.evse.consumption import ReportedStep
from controller.load_management.site_tree import PhaseAmps, PhaseFlags
from controller.model.observations import EvseRef

LATE_S = 5.0
"""Time (s) that readings may be behind the draw that they show."""
SETTLED_S = 10.0
"""Time (s) after which a car has followed its offer."""

GOES_ON = 0.05
"""Part of a step by which the car has at least moved the same way in another one that leads to it, or on from
it."""
LATE_READINGS = 6
"""Readings whose intervals count as those of late."""
MOST_OTHERS = 300
"""Offers and reported steps among which the step of one EVSE is looked for: more of them hide it."""

Sums = tuple[float, float, float, float, float, float]
"""Rises of the three phases, each summed up, then their falls (A)."""
NO_SUMS: Sums = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)

Span = tuple[float, float]
"""Two moments (s, monotonic), and all readings between them."""


class _Offer(msgspec.Struct, frozen=True, gc=False):
    """Draw that an offer leads to (A on the site's phases), beyond the last report; from `at` on.

    `sure`: the phases on which the car draws in any case.
    """

    at: float
    draw_a: PhaseAmps
    sure: PhaseFlags


class _ChangeSums:
    """Changes of all EVSEs below a meter, as running sums: those of a span are one difference."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._sums: list[Sums] = []
        """All changes up to each of the times; of those that were dropped `_dropped`."""
        self._dropped = NO_SUMS
        self._own: dict[EvseRef, list[tuple[float, PhaseAmps, bool]]] = {}
        """Changes of each EVSE, with their times (s), and whether they are to be expected."""

    def add(self, ref: EvseRef, delta_a: PhaseAmps, at: float, oldest: float, *, is_expected: bool) -> None:
        """Add a change, not before the last one; drop what is older than `oldest`."""
        self._drop(oldest)
        sums = list(self._sums[-1] if self._sums else self._dropped)
        for phase, change_a in enumerate(delta_a):
            if change_a > 0:
                sums[phase] += change_a
            else:
                sums[3 + phase] -= change_a
        a, b, c, d, e, f = sums
        self._sums.append((a, b, c, d, e, f))
        self._times.append(at)
        own = [each for each in self._own.get(ref, ()) if each[0] >= oldest]
        self._own[ref] = [*own, (at, delta_a, is_expected)]

    def _drop(self, oldest: float) -> None:
        """Drop what is older, once that is half of all."""
        count = bisect_left(self._times, oldest)
        if count * 2 > len(self._times):
            self._dropped = self._sums[count - 1] if count < len(self._times) else NO_SUMS
            del self._times[:count], self._sums[:count]

    def clear(self) -> None:
        """Drop everything."""
        self._times.clear()
        self._sums.clear()
        self._own.clear()
        self._dropped = NO_SUMS

    def own(self, ref: EvseRef, phase: int, begin: float, end: float) -> tuple[float, float]:
        """Return how far an EVSE has raised and lowered a phase from one moment to another (A)."""
        deltas = [delta[phase] for at, delta, _ in self._own.get(ref, ()) if begin <= at <= end]
        return sum(each for each in deltas if each > 0), -sum(each for each in deltas if each < 0)

    def expected(self, ref: EvseRef, phase: int, begin: float, end: float) -> list[float]:
        """Return each change of a phase by an EVSE that is to be expected (A)."""
        own = self._own.get(ref, ())
        return [delta[phase] for at, delta, is_expected in own if is_expected and begin <= at <= end]

    def all(self, phase: int, begin: float, end: float) -> tuple[float, float]:
        """Return how far all EVSEs together have raised and lowered a phase (A)."""
        first = self._until(bisect_left(self._times, begin))
        last = self._until(bisect_right(self._times, end))
        return last[phase] - first[phase], last[3 + phase] - first[3 + phase]

    def _until(self, count: int) -> Sums:
        return self._sums[count - 1] if count else self._dropped


class MeterWindow:
    """Readings and changes of the last `memory_s` seconds. Times in s, monotonic; currents in A per phase."""

    def __init__(self, memory_s: float) -> None:
        self._memory_s = memory_s
        self._times: list[float] = []
        self._readings: list[PhaseAmps] = []
        self._changes = _ChangeSums()
        self._reported: deque[ReportedStep] = deque()
        self._reported_of: dict[EvseRef, list[ReportedStep]] = {}
        """The same of each EVSE; the first ones of an EVSE may be old."""
        self._offers: dict[EvseRef, list[_Offer]] = {}
        """Offers that no report has followed, of each EVSE; the first one of an EVSE may be old."""

    def add_reading(self, amps: PhaseAmps, now: float) -> None:
        """Add a reading, and drop what is too old."""
        oldest = now - self._memory_s
        self._times.append(now)
        self._readings.append(amps)
        count = bisect_left(self._times, oldest)
        if count * 2 > len(self._times):
            del self._times[:count], self._readings[:count]
        self._drop_steps(oldest)

    def _drop_steps(self, oldest: float) -> None:
        while self._reported and self._reported[0].reported_at < oldest:
            self._reported.popleft()

    def add_change(self, ref: EvseRef, delta_a: PhaseAmps, at: float) -> None:
        """Add a change of an EVSE's draw that is to be expected: it may hide a step of another one."""
        self._changes.add(ref, delta_a, at, at - self._memory_s, is_expected=True)

    def add_step(self, step: ReportedStep) -> None:
        """Add a step of an EVSE's draw that its station has reported."""
        oldest = step.reported_at - self._memory_s
        self._changes.add(step.ref, step.delta_a, step.reported_at, oldest, is_expected=False)
        # A dead meter gives no readings that would drop them.
        self._drop_steps(oldest)
        self._reported.append(step)
        own = [each for each in self._reported_of.get(step.ref, ()) if each.reported_at >= oldest]
        self._reported_of[step.ref] = [*own, step]

    def add_offer(self, ref: EvseRef, draw_a: PhaseAmps, now: float, sure: PhaseFlags) -> None:
        """Add an offer that leads an EVSE to this draw (A), beyond its last report; 0 is the last report.

        Where the station reports nothing, it is the draw as a whole. `sure`: the phases on which its car
        draws in any case.
        """
        offers = self._offers.setdefault(ref, [])
        while len(offers) > 1 and offers[1].at < now - self._memory_s:
            del offers[0]
        offers.append(_Offer(now, draw_a, sure))

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

    def drop_readings(self) -> None:
        """Drop the readings: those that come cannot be compared with them."""
        self._times.clear()
        self._readings.clear()

    def clear(self) -> None:
        """Drop everything: the meter shows other values from now on."""
        self.drop_readings()
        self._changes.clear()
        self._reported.clear()
        self._reported_of.clear()
        self._offers.clear()

    def readings(self, begin: float, end: float) -> list[PhaseAmps]:
        """Return the readings from one moment to another."""
        return self._readings[bisect_left(self._times, begin) : bisect_right(self._times, end)]

    def first_after(self, moment: float) -> float:
        """Return the time of the first reading from this moment on; infinity: there is none yet."""
        place = bisect_left(self._times, moment)
        return self._times[place] if place < len(self._times) else math.inf

    def last_until(self, moment: float, longest_s: float) -> float:
        """Return the time of the last reading up to a moment; the moment, if none came for so long (s)."""
        place = bisect_right(self._times, moment)
        found = self._times[place - 1] if place else -math.inf
        return found if found >= moment - longest_s else moment

    def span_of(self, count: int, least_s: float) -> float:
        """Return a time (s), at least `least_s`, in which so many readings come, by their last intervals."""
        times = self._times[-LATE_READINGS:]
        longest_s = max(map(sub, times[1:], times), default=0.0)
        return max(least_s, count * longest_s)

    def reaches_back_to(self, moment: float) -> bool:
        """Return True if the oldest reading is from this moment or before."""
        return bool(self._times) and self._times[0] <= moment

    def has_gap(self, longest_s: float, begin: float, end: float) -> bool:
        """Return True if readings are missing for longer, as while the meter was not good."""
        first, last = bisect_right(self._times, begin), bisect_left(self._times, end)
        pairs = pairwise(self._times[max(0, first - 1) : last + 1])
        return any(later - earlier > longest_s for earlier, later in pairs)

    def moves_of(
        self, ref: EvseRef, phase: int, begin: float, end: float, *, others: bool = False
    ) -> tuple[float, float]:
        """Return how far an EVSE has raised and lowered a phase, each summed up (A).

        `others`: how far all the other EVSEs have.
        """
        own_raised_a, own_lowered_a = self._changes.own(ref, phase, begin, end)
        if not others:
            return own_raised_a, own_lowered_a
        raised_a, lowered_a = self._changes.all(phase, begin, end)
        return max(0.0, raised_a - own_raised_a), max(0.0, lowered_a - own_lowered_a)

    def expected_of(self, ref: EvseRef, phase: int, begin: float, end: float) -> list[float]:
        """Return each change of a phase by an EVSE that is to be expected, as its offer has changed (A)."""
        return self._changes.expected(ref, phase, begin, end)

    def reported_by(self, ref: EvseRef, phase: int, begin: float, end: float) -> tuple[float, float]:
        """Return how far an EVSE may have raised and lowered a phase by its reports, each summed up (A)."""
        return _sum_moves(self._reported_of.get(ref, ()), phase, begin, end)

    def reported_by_others(self, ref: EvseRef, phase: int, begin: float, end: float) -> tuple[float, float]:
        """Return how far all the other EVSEs may have raised and lowered a phase by their reports (A)."""
        return _sum_moves((step for step in self._reported if step.ref != ref), phase, begin, end)

    def find_whole_step(self, step: ReportedStep) -> ReportedStep | None:
        """Return a reported step with those before it that lead to it; None: others lead on from it.

        A car that takes its time shows one move in several reports.
        """
        phase = max(range(3), key=lambda each: abs(step.delta_a[each]))
        size_a = step.delta_a[phase]
        own = self._reported_of.get(step.ref, ())
        along = [each for each in own if each.delta_a[phase] / size_a > GOES_ON]
        if any(each.since == step.at for each in along):
            return None
        whole = step
        for each in reversed(along):
            if each.at == whole.since:
                first, second, third = each.delta_a
                delta_a = (first + whole.delta_a[0], second + whole.delta_a[1], third + whole.delta_a[2])
                whole = msgspec.structs.replace(whole, delta_a=delta_a, since=each.since)
        return whole

    @property
    def is_crowded(self) -> bool:
        """Return True if so many EVSEs change their draw that the step of one cannot be seen."""
        return len(self._reported) + len(self._offers) > MOST_OTHERS

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
                fall_a, rise_a = min(upper) - max(lower), max(upper) - min(lower)
                # A phase that the car may not use has not moved then.
                least += fall_a if offers[-1].sure[phase] else min(0.0, fall_a)
                most += rise_a if offers[-1].sure[phase] else max(0.0, rise_a)
        return least, most


def _sum_moves(steps: Iterable[ReportedStep], phase: int, begin: float, end: float) -> tuple[float, float]:
    """Return how far steps may have raised and lowered a phase from one moment to another (A)."""
    moves_a = [step.delta_a[phase] for step in steps if step.since <= end and step.at >= begin]
    return sum(each for each in moves_a if each > 0), -sum(each for each in moves_a if each < 0)


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
