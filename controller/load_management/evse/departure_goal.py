"""Departure goal of a car: an energy until it leaves, and the current that this takes on average.

Where the calendar leaves the car less for some of the time, the rest of the time has to give more.
Only OCPP 2.x stations whose cars use ISO 15118 send it (NotifyEVChargingNeeds). What was drawn since
is added up from the station's own reports, each taken to hold until the next one: good to some percent,
and each shortfall raises what the rest of the time needs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import attrgetter

import msgspec

from controller.load_management.events import GoalBound
from controller.model.deadlines import first_after
from controller.model.observations import NeedsSeen
from controller.model.statements import Statement, StatementCode

LEAST_LEFT_S = 60.0
"""The last minute counts as a whole one (s)."""
EASE_A = 1.5
"""A need falls only when it is so much lower: otherwise it changes with each report's rounding."""
SHOWN_STEP_S = 600.0
"""Step of the time left in reasons (s)."""
AFTER_S = 0.001
"""Time (s) after a change of the need at which no rounding hides it."""


class EnergyNeed(msgspec.Struct, frozen=True, gc=False):
    """Average current (A per phase) that reaches the goal in time; `why` states it."""

    needs_a: float = 0.0
    why: Statement | None = None


NO_NEED = EnergyNeed()


class GoalMemory(msgspec.Struct, frozen=True):
    """Record of a goal for a restart: `energy_wh` by `leaves_at` (s, monotonic).

    Of that, `drawn_as` (A s, all phases) had flowed at `drawn_at`, and `current_a` flows since.
    """

    energy_wh: float
    leaves_at: float
    drawn_as: float
    current_a: float
    drawn_at: float


class DepartureGoal:
    """Goal of one car. It stays until the session's end, over a lost link, too: it is sent only once."""

    def __init__(self) -> None:
        self.changes_at = math.inf
        """Time (s, monotonic) at which the last answer of `need` changes without a report."""
        self.clear()

    def clear(self) -> None:
        """Remove the goal: the session is over."""
        self._goal: tuple[float, float] | None = None
        self._drawn_as = 0.0
        self._current_a = 0.0
        self._drawn_at: float | None = None
        self._needs_a = 0.0

    @property
    def is_set(self) -> bool:
        """Return True if the car has a goal."""
        return self._goal is not None

    @property
    def leaves_at(self) -> float:
        """Return when the car leaves (s, monotonic); -inf without a goal."""
        return -math.inf if self._goal is None else self._goal[1]

    def record(self) -> GoalMemory | None:
        """Return what must survive a restart; None without a goal."""
        if self._goal is None or self._drawn_at is None:
            return None
        return GoalMemory(*self._goal, self._drawn_as, self._current_a, self._drawn_at)

    def restore(self, memory: GoalMemory) -> None:
        """Take over what was recorded before a restart."""
        self._goal = memory.energy_wh, memory.leaves_at
        self._drawn_as, self._current_a = memory.drawn_as, memory.current_a
        self._drawn_at = memory.drawn_at

    def set_needs(self, needs: NeedsSeen, now: float) -> None:
        """Set the goal; without an energy or a time there is none."""
        if needs.energy_wh is None or needs.departs_in_s is None:
            self._goal = None
        else:
            self._goal = needs.energy_wh, now + needs.departs_in_s
        self._drawn_as = 0.0
        self._drawn_at = now
        self._needs_a = 0.0

    def left(self, voltage: float, now: float) -> tuple[float, float] | None:
        """Return the energy that is left (Wh), and the time until the departure (s); None without a goal."""
        if self._goal is None:
            return None
        energy_wh, leaves_at = self._goal
        return energy_wh - self._drawn_as * voltage / 3600, leaves_at - now

    def on_draw(self, current_a: float, now: float) -> None:
        """Take in one report: the draw from now on, its phases added up (A)."""
        if self._drawn_at is not None:
            self._drawn_as += self._current_a * (now - self._drawn_at)
        self._current_a, self._drawn_at = current_a, now

    def need(self, voltage: float, phases: int, now: float, bounds: Sequence[GoalBound] = ()) -> EnergyNeed:
        """Return what the rest takes on `phases` phases of `voltage` V; nothing once reached or too late.

        `bounds`: the most that it can expect in spans of time, in their order.
        """
        self.changes_at = math.inf
        if self._goal is None or phases == 0:
            return NO_NEED
        energy_wh, leaves_at = self._goal
        left_as = (energy_wh * 3600 / voltage - self._drawn_as) / phases
        left_s = leaves_at - now
        if left_as <= 0 or left_s <= 0:
            return NO_NEED
        spans = _find_spans(bounds, now, leaves_at)
        exact_a = _find_level_a(left_as, left_s, spans)
        if not self._needs_a - EASE_A <= exact_a <= self._needs_a:
            self._needs_a = float(math.ceil(exact_a))
        shown_s = math.ceil(left_s / SHOWN_STEP_S) * SHOWN_STEP_S
        grows_at = _find_growth(self._needs_a, left_as, spans, now, leaves_at)
        shows_less_at = leaves_at - shown_s + SHOWN_STEP_S
        self.changes_at = first_after(now, (grows_at + AFTER_S, shows_less_at + AFTER_S))
        why = Statement(code=StatementCode.LEAVES, duration_s=shown_s, current_a=self._needs_a)
        return EnergyNeed(self._needs_a, why)


def _find_spans(bounds: Sequence[GoalBound], now: float, leaves_at: float) -> list[GoalBound]:
    """Return the parts of bounds that lie between now and the departure."""
    found = (GoalBound(max(b.begins_at, now), min(b.ends_at, leaves_at), b.most_a) for b in bounds)
    return [bound for bound in found if bound.begins_at < bound.ends_at]


def _find_level_a(left_as: float, left_s: float, spans: Sequence[GoalBound]) -> float:
    """Return the current (A) that gives `left_as` in `left_s`, where each span gives no more than its bound.

    If all of the time is bounded too low, the spans with the highest bound are taken to give the rest.
    """
    rest_as, rest_s = left_as, max(left_s, LEAST_LEFT_S)
    for span in sorted(spans, key=attrgetter("most_a")):
        length_s = span.ends_at - span.begins_at
        if span.most_a * rest_s >= rest_as or rest_s - length_s < LEAST_LEFT_S:
            break
        rest_as -= span.most_a * length_s
        rest_s -= length_s
    return rest_as / rest_s


def _find_growth(
    needs_a: float, left_as: float, spans: Sequence[GoalBound], now: float, leaves_at: float
) -> float:
    """Return until when a current suffices (s, monotonic) while nothing is drawn."""
    steps: list[tuple[float, float]] = []
    at = now
    for span in spans:
        steps += [(span.begins_at - at, needs_a), (span.ends_at - span.begins_at, min(needs_a, span.most_a))]
        at = span.ends_at
    steps.append((leaves_at - at, needs_a))
    spare_as = sum(length_s * amps for length_s, amps in steps) - left_as
    at = now
    for length_s, amps in steps:
        if spare_as < length_s * amps:
            return at + spare_as / amps
        spare_as -= length_s * amps
        at += length_s
    return at
