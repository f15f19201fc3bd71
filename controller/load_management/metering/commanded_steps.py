"""Check of a meter against the limits that stations have accepted: cars that follow them move its readings.

Reports show a step too late for the readings around it where stations report each 5 or 15 minutes. When a
station has accepted another limit is known at once, and what its car draws is known from its last report: as
much of the limit as it drew then. So the limits that are accepted within `takes_s` of each other are one
*move*, which is looked for in the readings around it, phase by phase:

    before    readings from `CALM_S` before the first limit, less `LEAD_S`
    after     readings of `AFTER_S`, longer where they are seldom, until the last car has followed
    clear     both are at rest: neither spans more than `RESTLESS` of the move
    seen      a clear move of which the readings show between `SEEN` parts, and so they do on all phases on
              which it is clear

A car may have become full since its last report, and a load of the building may move by as much in that
moment. So a move that does not show is no fault, and one that does is no proof. Three that are seen in a row
prove the phase, or two if these show on all three phases: no load on one phase looks so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from controller.load_management.evse.consumption import CommandedStep
from controller.load_management.metering.meter_window import MeterWindow
from controller.load_management.site_tree import PhaseAmps

LEAST_MOVE_A = 1.5
"""Smallest move of a phase that is looked for."""
CALM_S = 120.0
"""Time (s) before a move for which the readings have to be at rest."""
LEAST_CALM_S = 8.0
"""The same after a move that was seen: a car that has just come down rises again."""
LEAD_S = 5.0
"""Time (s) that a car may follow a limit before the answer of its station."""
AFTER_S = 5.0
SOONEST_S = 7.0
"""Time (s) after the last limit before which no move is seen: all cars have followed as a rule."""
RESTLESS = 0.25
SEEN = (0.8, 1.2)
LONGEST_MOVE_S = 120.0
"""Time (s) after which limits that follow each other are no move: the building does not rest for so long."""
PROOF = 3
ON_ALL_PHASES = 2
"""Moves for which one on all three phases counts."""
PROOF_S = 1800.0
"""Longest time (s) between two moves that prove a phase."""
FEWEST_READINGS = 2


class _Move:
    """Limits that were accepted one after the other, as one move. Times in s, monotonic."""

    def __init__(self, step: CommandedStep, calm_from: float) -> None:
        self.calm_from = calm_from
        self.begun_at = self.last_at = self.ends_at = step.at
        self.delta_a = [0.0] * 3
        self.unknown_a = [0.0] * 3
        """Sum of the steps that are only known at most (A per phase)."""
        self.add(step)

    def add(self, step: CommandedStep) -> None:
        """Add a step."""
        self.last_at = step.at
        self.ends_at = max(self.ends_at, step.at + step.takes_s)
        for phase, change_a in enumerate(step.delta_a):
            if step.is_known:
                self.delta_a[phase] += change_a
            else:
                self.unknown_a[phase] += abs(change_a)


class CommandedSteps:
    """Limits accepted below one meter. `seen_from`: begin of the moves that have proven each phase last (s).

    Negative infinity: there were none.
    """

    def __init__(self, window: MeterWindow) -> None:
        self.seen_from = [-math.inf] * 3
        self._window = window
        self._move: _Move | None = None
        self._moved_until = -math.inf
        self._seen_at = [-math.inf] * 3
        """Begin of the last move of each phase if that was seen (s); else negative infinity."""
        self._first_at = [-math.inf] * 3
        """Begin of the first of those that were seen in a row (s)."""
        self._seen = [0] * 3
        """Number of moves of each phase that were seen in a row; one on all phases counts as several."""

    def add(self, step: CommandedStep) -> None:
        """Look for a step in the readings, once they are there."""
        if self._move is None:
            self._move = _Move(step, max(step.at - CALM_S, self._moved_until))
        else:
            self._move.add(step)

    def needed_move_a(self, phases: Sequence[int], now: float) -> float:
        """Return the least move (A) that is clear on one of these phases, as they have moved of late.

        inf: it is not known for how long the readings have been at rest.
        """
        rows = self._window.readings(now - CALM_S, now)
        if not rows or not self._window.reaches_back_to(now - CALM_S):
            return math.inf
        columns = [[amps[phase] for amps in rows] for phase in phases]
        return max(LEAST_MOVE_A, min(max(column) - min(column) for column in columns) / RESTLESS)

    def on_reading(self, now: float) -> list[int]:
        """Process the last reading of the window; return the phases (0 to 2) that it proves."""
        move = self._move
        if move is None:
            return []
        after_s = self._window.span_of(FEWEST_READINGS, AFTER_S)
        if now - after_s < move.last_at + SOONEST_S - AFTER_S:
            return []
        is_last = now - after_s >= move.ends_at
        phases = self._find_phases(move)
        seen = self._find_seen(phases, move, now - after_s, now)
        if len(seen) < max(1, len(phases)) and not is_last:
            return []
        self._move, self._moved_until = None, now
        proven = []
        for phase in phases:
            if phase not in seen or move.begun_at > self._seen_at[phase] + PROOF_S:
                self._seen[phase] = 0
            self._seen_at[phase] = move.begun_at if phase in seen else -math.inf
            if phase not in seen:
                continue
            if not self._seen[phase]:
                self._first_at[phase] = move.begun_at
            self._seen[phase] += ON_ALL_PHASES if len(seen) == 3 else 1
            if self._seen[phase] >= PROOF:
                self.seen_from[phase], self._seen[phase] = self._first_at[phase], 0
                proven.append(phase)
        return proven

    def may_return(self, since: float, now: float) -> bool:
        """Return True if a move from this moment on was seen (s), and the next one can be seen by now."""
        is_seen = max(self._seen_at) >= since and self._move is None
        return is_seen and now >= self._moved_until + self._least_calm_s + LEAD_S

    @property
    def _least_calm_s(self) -> float:
        """Return the time (s) for which the readings have to be at rest after a move that was seen."""
        return self._window.span_of(FEWEST_READINGS, LEAST_CALM_S)

    def _find_phases(self, move: _Move) -> list[int]:
        """Return the phases on which it is known how far they move."""
        return [
            phase
            for phase, delta_a in enumerate(move.delta_a)
            if abs(delta_a) >= LEAST_MOVE_A and move.unknown_a[phase] <= RESTLESS * abs(delta_a)
        ]

    def _find_seen(self, phases: Sequence[int], move: _Move, after: float, now: float) -> list[int]:
        """Return those of the phases on which the readings from `after` (s) until now show a move."""
        calm_s = move.begun_at - LEAD_S - move.calm_from
        least_s = self._least_calm_s if max(self._seen_at) > -math.inf else CALM_S - LEAD_S
        if calm_s < least_s or now > move.begun_at + LONGEST_MOVE_S:
            return []
        rows_before = self._window.readings(move.calm_from, move.begun_at - LEAD_S)
        rows_after = self._window.readings(after, now)
        if min(len(rows_before), len(rows_after)) < FEWEST_READINGS:
            return []
        parts = [_find_part(move.delta_a[phase], phase, rows_before, rows_after) for phase in phases]
        if any(part is not None and not SEEN[0] <= part <= SEEN[1] for part in parts):
            return []
        return [phase for phase, part in zip(phases, parts, strict=True) if part is not None]

    def clear(self) -> None:
        """Drop what no reading will show."""
        self._move = None
        self._seen_at, self._seen = [-math.inf] * 3, [0] * 3


def _find_part(
    delta_a: float, phase: int, before: Sequence[PhaseAmps], after: Sequence[PhaseAmps]
) -> float | None:
    """Return the part of a move by so much (A) that readings of a phase show; None: they are not at rest."""
    columns = [amps[phase] for amps in before], [amps[phase] for amps in after]
    if max(max(column) - min(column) for column in columns) > RESTLESS * abs(delta_a):
        return None
    mean_before_a, mean_after_a = (sum(column) / len(column) for column in columns)
    return (mean_after_a - mean_before_a) / delta_a
