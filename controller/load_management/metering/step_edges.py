"""Ratio and order of a meter's phases by the edges of its readings, beside a lively building.

An *edge* is a run of readings that move in one direction. A move that a car makes while other cars hardly
move is an edge of its size somewhere in that time, and with another ratio one of a part of it. The building
makes edges, too, but not again and again of the same part of the moves.

    small     an edge is a part of the move, and none is all of it, or more: the same part of so many moves
              that they count `EQUAL_PARTS` shows another ratio
    right     an edge is all of the move, and none a part of it: that drops the parts from before

Each part counts once. It counts twice where several phases show the same part of one move, and where another
phase shows all of it, and this one a part in the same readings that lacks more than a small load draws.

Where phases are swapped, the move of a car is an edge of another phase, on which no car has moved. Its own
phase shows hardly anything of it in the same readings, and no edge of its size at another moment. More such
moves than right ones by `SWAPPED_MOVES` between two phases show that. As many right ones show the opposite,
or one that the other phase does not show.
"""

from __future__ import annotations

import statistics
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise

import msgspec

from controller.load_management.evse.consumption import ReportedStep
from controller.load_management.metering.meter_window import MeterWindow
from controller.load_management.site_tree import PhaseAmps
from controller.model.observations import EvseRef

LEAST_MOVE_A = 5.0
"""Smallest move of a phase that is looked for (A)."""
LEAD_S = 2.0
LATE_S = 8.0
LONGEST_S = 60.0
"""Edges from so long before a move may have begun until so long after it may have ended show it, if that is
no longer than this (s)."""
EARLY_S = 20.0
"""Time (s) before a move from which on an edge may be a part of it: stations report late what cars do."""
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
ones. It is also the least that a part lacks which counts twice."""
LEAST_PIECE_A = 1.0
PIECES_DIFFER = 0.08
"""Smallest of two edges (A) that are a move together, and by what part of it they may differ from it."""
COMPARED = 0.75
LEAST_COMPARED_A = 1.5
"""Part of a move up to which, and A from which on, it is taken from the readings of another phase's edge."""
SAME_PART = 0.05
"""Difference of the parts that phases show of one move, by which no load of a building explains them."""
ELSEWHERE = 0.3
"""Part of a move up to which its own phase shows hardly anything of an edge of another phase."""
STILL = 0.25
"""Part of a move by which other cars may move the same way on a phase on which its car has not moved."""
SWAPPED_MOVES = 2
"""Moves that only the other phase of two has shown: so many show that these are swapped."""
FEWEST_READINGS = 10
"""Readings in the time of a move that show it for sure."""
HIDDEN = 0.4
"""Part of a move from which on an edge may be what a phase shows of it."""
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


class Edge(msgspec.Struct, frozen=True, gc=False):
    """Run of readings that move in one direction by `size_a` (A; negative: a fall).

    `first`, `last`: places of the readings at its begin and at its end.
    """

    first: int
    last: int
    size_a: float


class LoneMove:
    """Move of the car at one EVSE while others have hardly moved, on each of its phases (0 to 2; A).

    `still`: the phases on which no car has moved meanwhile. `may_hide`: those on which other cars may have
    moved the other way. `readings`: those of the meter in that time (A per phase), with their `edges` on the
    phases that have moved or are still. `around`: those from `EARLY_S` before the move until now.
    """

    def __init__(
        self,
        ref: EvseRef,
        step_a: Mapping[int, float],
        still: Sequence[int],
        may_hide: Sequence[int],
        readings: Sequence[PhaseAmps],
        around: Sequence[PhaseAmps],
    ) -> None:
        self.ref = ref
        self.step_a = step_a
        self.still = still
        self.readings = readings
        self.edges = {phase: find_edges([amps[phase] for amps in readings]) for phase in (*step_a, *still)}
        self._may_hide = may_hide
        self._around = around

    def is_shown(self, phase: int) -> bool | None:
        """Return whether an edge of a phase shows its move; None: one may be a part, or it may be hidden."""
        step_a = self.step_a[phase]
        if any(_is_move(edge, step_a) for edge in self.edges[phase]):
            return True
        if phase in self._may_hide or len(self.readings) < FEWEST_READINGS:
            return None
        around = find_edges([amps[phase] for amps in self._around])
        return None if any(edge.size_a / step_a >= HIDDEN for edge in around) else False


class SwappedPhases(msgspec.Struct, frozen=True, gc=False):
    """Two phases (0 to 2) that are swapped: the move (A) of a car on `phase` was last seen on the `other`."""

    ref: EvseRef
    phase: int
    other: int
    step_a: float

    @property
    def pair(self) -> frozenset[int]:
        """Return both phases."""
        return frozenset((self.phase, self.other))


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
    """Edges of the three phases of one meter in the time of its cars' moves.

    `swapped`: phases that they show to be swapped; None: none.
    """

    def __init__(self) -> None:
        self.phases = (PhaseEdges(), PhaseEdges(), PhaseEdges())
        self.swapped: SwappedPhases | None = None
        self._elsewhere: Counter[frozenset[int]] = Counter()
        """Moves that only the other phase of two has shown, less those that their own has."""

    @property
    def doubts(self) -> int:
        """Return how many moves have to show their own phases until none are swapped."""
        return 0 if self.swapped is None else self._elsewhere[self.swapped.pair]

    def add_move(self, move: LoneMove) -> None:
        """Add the edges that the readings of a move show."""
        self._compare_still(move)
        self._add_parts(move)

    def _compare_still(self, move: LoneMove) -> None:
        """Count the moves that phases show on which no car has moved, and their own do not."""
        for phase in move.step_a:
            for other in move.still:
                self._count_elsewhere(move, phase, other)
        if self.swapped is not None and not self._elsewhere[self.swapped.pair]:
            self.swapped = None

    def _count_elsewhere(self, move: LoneMove, phase: int, other: int) -> None:
        """Count the move of a phase if only the other one shows it; take it off if its own does."""
        step_a = move.step_a[phase]
        swapped = SwappedPhases(move.ref, phase, other, step_a)
        moves = self._elsewhere[swapped.pair]
        parts = [_part_of(move, phase, edge) for edge in move.edges[other] if _is_move(edge, step_a)]
        if move.is_shown(phase):
            self._elsewhere[swapped.pair] = max(0, moves - 1) if parts else 0
        elif any(abs(part) <= ELSEWHERE for part in parts):
            self._elsewhere[swapped.pair] = min(moves + 1, SWAPPED_MOVES)
            if moves + 1 >= SWAPPED_MOVES:
                self.swapped = swapped

    def _add_parts(self, move: LoneMove) -> None:
        """Add the parts of a move that edges of its phases show."""
        parts = {phase: _find_parts(step_a, move.edges[phase]) for phase, step_a in move.step_a.items()}
        for phase, found in parts.items():
            compared, size_a = _compare_phase(move, phase), abs(move.step_a[phase])
            if max(LEAST_PART, LEAST_COMPARED_A / size_a) <= compared <= COMPARED:
                lacks_a = (1 - compared) * size_a
                self.phases[phase].add_parts({compared: 2 if lacks_a >= LEAST_PART_A else 1})
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
    if not step_a:
        return None
    smallest_a = min(step_a.values(), key=abs)
    others_a = [window.moves_of(whole.ref, phase, begin - FOLLOWED_S, now, others=True) for phase in range(3)]
    along = 0 if smallest_a > 0 else 1
    still = [
        phase
        for phase, delta in enumerate(whole.delta_a)
        if abs(delta) < LEAST_SLOPE_A and others_a[phase][along] <= STILL * abs(smallest_a)
    ]
    may_hide = [phase for phase, delta in step_a.items() if others_a[phase][1 - along] > AGAINST * abs(delta)]
    around = window.readings(whole.since - EARLY_S, now)
    return LoneMove(whole.ref, step_a, still, may_hide, window.readings(begin, end), around)


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


def _compare_phase(move: LoneMove, phase: int) -> float:
    """Return the part of a move that a phase shows where other phases show all of it; 0: none does."""
    parts = [
        _part_of(move, phase, edge)
        for other, step_a in move.step_a.items()
        if other != phase
        for edge in move.edges[other]
        if _is_move(edge, step_a)
    ]
    return statistics.median_low(parts) if parts else 0.0


def _part_of(move: LoneMove, phase: int, edge: Edge) -> float:
    """Return the part of a move that its phase shows in the readings of an edge of another phase."""
    shown_a = move.readings[edge.last][phase] - move.readings[edge.first][phase]
    return shown_a / move.step_a[phase]


def _is_move(edge: Edge, step_a: float) -> bool:
    """Return True if an edge shows all of a move (A), and no more."""
    return abs(edge.size_a / step_a - 1) <= _error(step_a)


def _error(step_a: float) -> float:
    """Return the error of an edge as a part of a move (A)."""
    return max(ERROR, ERROR_A / abs(step_a))
