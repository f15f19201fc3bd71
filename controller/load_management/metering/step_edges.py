"""Ratio of a meter's current transformers by the edges of its readings, beside a lively building.

An *edge* is a run of readings that move in one direction. A move that a car makes while other cars hardly
move is an edge of its size somewhere in that time, and with another ratio one of a part of it. The building
makes edges, too, but not again and again of the same part of the moves.

    small     an edge is a part of the move, and none is all of it, or more: the same part of so many moves
              that they count `EQUAL_PARTS` shows another ratio
    right     an edge is all of the move, and none a part of it: that drops the parts from before

Each part counts once. It counts twice where several phases show the same part of one move, and where another
phase shows all of it, and this one a part in the same readings.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise

import msgspec

from controller.load_management.evse.consumption import ReportedStep
from controller.load_management.metering.meter_window import MeterWindow
from controller.load_management.site_tree import PhaseAmps

LEAST_MOVE_A = 5.0
"""Smallest move of a phase that is looked for (A)."""
LEAD_S = 2.0
LATE_S = 8.0
LONGEST_S = 60.0
"""Edges from so long before a move may have begun until so long after it may have ended show it, if that is
no longer than this (s)."""
FOLLOWED_S = 8.0
"""Time (s) before these edges from which on other cars may move: they may follow their offers late."""
OTHERS = 0.5
AGAINST = 0.5
OWN = 0.1
"""Parts of a move by which other cars may move the same way, may have moved the other way, and by which the
car itself may move on: such edges look like a part of the move, or leave a part of it."""
PIECES = (0.1, 0.8)
"""Parts of a move that one offer of several leads to: they show as edges of their own."""
LEAST_SLOPE_A = 0.5
"""Least move (A) from one reading to the next that belongs to an edge."""
ERROR_A = 1.0
ERROR = 0.12
"""Errors of an edge: the building moves as well. The greater one of A and part of the move counts."""
SMALL = 0.88
"""Least part of a move that a meter with the right ratio shows: stations measure a little otherwise."""
LEAST_PART = 0.2
LEAST_PART_A = 2.5
"""Smallest edge that is taken for a part of a move, as a part of it and in A: the building makes many small
ones."""
LEAST_PIECE_A = 1.0
PIECES_DIFFER = 0.08
"""Smallest of two edges (A) that are a move together, and by what part of it they may differ from it."""
COMPARED = 0.75
LEAST_COMPARED_A = 1.5
"""Part of a move up to which, and A from which on, it is taken from the readings of another phase's edge."""
SAME_PART = 0.05
"""Difference of the parts that phases show of one move, by which no load of a building explains them."""
PARTS_DIFFER = 0.1
"""Largest difference of parts of several moves that are the same."""
EQUAL_PARTS = 4
SURE_PARTS = 6
"""Least count of the same part that shows another ratio: at first, and after `RIGHT_MOVES` that have shown
the right one."""
RIGHT_MOVES = 2
MOVES_KEPT = 8
"""Moves of a part that are remembered of each phase."""

Parts = Mapping[float, int]
"""Parts of one move, at most one of which is its own, with what each counts."""


class LoneMove(msgspec.Struct, frozen=True, gc=False):
    """Move of one car while others have hardly moved, on each of its phases (0 to 2; A).

    `readings`: those of the meter in that time (A per phase).
    """

    step_a: Mapping[int, float]
    readings: Sequence[PhaseAmps]


class Edge(msgspec.Struct, frozen=True, gc=False):
    """Run of readings that move in one direction by `size_a` (A; negative: a fall).

    `first`, `last`: places of the readings at its begin and at its end.
    """

    first: int
    last: int
    size_a: float


class PhaseEdges:
    """Parts that edges of one phase have shown of the moves of cars, since they have shown all of one.

    `part`: the part that so many of them have shown that the ratio is another one; 0: none.
    """

    def __init__(self) -> None:
        self.part = 0.0
        self._moves: deque[Parts] = deque(maxlen=MOVES_KEPT)
        self._right = 0

    def add_parts(self, parts: Parts) -> None:
        """Add a move of which edges have shown parts."""
        self._moves.append(parts)
        needed = SURE_PARTS if self._right >= RIGHT_MOVES else EQUAL_PARTS
        found: list[tuple[float, int]] = []
        for least in (part for move in self._moves for part in move):
            near = [
                [(part, count) for part, count in move.items() if 0 <= part - least <= PARTS_DIFFER]
                for move in self._moves
            ]
            found = max(found, [min(each) for each in near if each], key=_count)
        self.part = sum(part for part, _ in found) / len(found) if _count(found) >= needed else 0.0

    def add_right_move(self) -> None:
        """Note that a move has shown the right ratio: that drops those before it."""
        self._right += 1
        self._moves.clear()
        self.part = 0.0


def _count(parts: Sequence[tuple[float, int]]) -> int:
    """Return what parts of several moves count together."""
    return sum(count for _, count in parts)


class StepEdges:
    """Edges of the three phases of one meter in the time of its cars' moves."""

    def __init__(self) -> None:
        self.phases = (PhaseEdges(), PhaseEdges(), PhaseEdges())

    def add_move(self, move: LoneMove) -> None:
        """Add the edges that the readings of a move show."""
        edges = {phase: find_edges([amps[phase] for amps in move.readings]) for phase in move.step_a}
        parts = {phase: _find_parts(move.step_a[phase], edges[phase]) for phase in edges}
        for phase, found in parts.items():
            compared = _compare_phase(move, phase, edges)
            if max(LEAST_PART, LEAST_COMPARED_A / abs(move.step_a[phase])) <= compared <= COMPARED:
                self.phases[phase].add_parts({compared: 2})
            elif found is None:
                self.phases[phase].add_right_move()
            elif found:
                others = [part for other, each in parts.items() if other != phase for part in each or ()]
                counts = {part: 1 + any(abs(part - other) <= SAME_PART for other in others) for part in found}
                self.phases[phase].add_parts(counts)


def find_lone_move(window: MeterWindow, step: ReportedStep, now: float) -> LoneMove | None:
    """Return the move that ends with a reported step, on the phases where no others hide it; None: on none.

    None, too, where the car moves on, or its station's reports are too far apart.
    """
    whole = window.find_whole_step(step)
    if whole is None:
        return None
    begin, end = whole.since - LEAD_S, whole.at + LATE_S
    if end - begin > LONGEST_S or not window.reaches_back_to(begin - FOLLOWED_S):
        return None
    step_a = {
        phase: delta
        for phase, delta in enumerate(whole.delta_a)
        if abs(delta) >= LEAST_MOVE_A and _is_alone(window, whole, phase, now)
    }
    return LoneMove(step_a, window.readings(begin, end)) if step_a else None


def _is_alone(window: MeterWindow, whole: ReportedStep, phase: int, now: float) -> bool:
    """Return True if a car has made no other move, and other cars have hardly moved meanwhile."""
    delta, begin, end = whole.delta_a[phase], whole.since - LEAD_S, whole.at + LATE_S
    size, along = abs(delta), 0 if delta > 0 else 1
    others_a = window.moves_of(whole.ref, phase, begin - FOLLOWED_S, now, others=True)
    if others_a[along] > OTHERS * size:
        return False
    if window.reported_by(whole.ref, phase, begin, end)[along] > (1 + OWN) * size:
        return False
    expected_a = window.expected_of(whole.ref, phase, begin - FOLLOWED_S, now)
    if any(PIECES[0] < piece_a / delta < PIECES[1] for piece_a in expected_a):
        return False
    reported_a = window.reported_by_others(whole.ref, phase, begin - FOLLOWED_S, end)
    return reported_a[1 - along] <= AGAINST * size


def find_edges(values: Sequence[float]) -> list[Edge]:
    """Return the edges of the readings of one phase (A)."""
    edges: list[Edge] = []
    first, run_a = 0, 0.0
    for place, (before, after) in enumerate(pairwise(values)):
        move_a = after - before if abs(after - before) >= LEAST_SLOPE_A else 0.0
        if move_a * run_a <= 0:
            if run_a:
                edges.append(Edge(first, place, run_a))
            first, run_a = place, 0.0
        run_a += move_a
    return [*edges, Edge(first, len(values) - 1, run_a)] if run_a else edges


def _find_parts(step_a: float, edges: Sequence[Edge]) -> Sequence[float] | None:
    """Return the parts of a move (A) that edges show; None: one of them is the move, and none a part.

    None of them may be one where another edge is the move, or hides it, or where two edges are the move
    together: a car starts with a small current.
    """
    parts = [edge.size_a / step_a for edge in edges]
    error = _error(step_a)
    least = max(LEAST_PART, LEAST_PART_A / abs(step_a))
    small = [part for part in parts if least <= part < SMALL]
    if max(parts, default=0.0) < 1 - error:
        pieces = [part for part in parts if part >= LEAST_PIECE_A / abs(step_a)]
        is_split = any(abs(one + other - 1) <= PIECES_DIFFER for one, other in combinations(pieces, 2))
        return () if is_split else small
    return () if small or max(parts) > 1 + error else None


def _compare_phase(move: LoneMove, phase: int, edges: Mapping[int, Sequence[Edge]]) -> float:
    """Return the part of a move that a phase shows where other phases show all of it; 0: none does."""
    parts = [
        (move.readings[edge.last][phase] - move.readings[edge.first][phase]) / move.step_a[phase]
        for other, step_a in move.step_a.items()
        if other != phase
        for edge in edges[other]
        if abs(edge.size_a / step_a - 1) <= _error(step_a)
    ]
    return statistics.median_low(parts) if parts else 0.0


def _error(step_a: float) -> float:
    """Return the error of an edge as a part of a move (A)."""
    return max(ERROR, ERROR_A / abs(step_a))
