"""Ratio of a meter by the edges of its readings in the time of a car's moves."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import pytest

from controller.load_management.evse.consumption import ReportedStep
from controller.load_management.metering.meter_window import MeterWindow
from controller.load_management.metering.step_edges import (
    FEWEST_READINGS,
    LoneMove,
    StepEdges,
    find_lone_move,
)
from controller.load_management.site_tree import PhaseAmps
from controller.model.observations import EvseRef

A, B = EvseRef("A", 1), EvseRef("B", 1)
MEMORY_S = 150.0
STEADY_A = 40.0


def add_move(edges: StepEdges, step_a: float, *shown_a: tuple[float, ...], still: Sequence[int] = ()) -> None:
    """Add a move of a car on as many phases as edges of their readings are given, one tuple a moment.

    `still`: those of them on which it has not moved.
    """
    count = len(shown_a[0])
    columns = [accumulate((STEADY_A, *(moment[phase] for moment in shown_a))) for phase in range(count)]
    columns += [[STEADY_A] * (len(shown_a) + 1)] * (3 - count)
    rows = [(first, second, third) for first, second, third in zip(*columns, strict=True)]
    moved = dict.fromkeys((phase for phase in range(count) if phase not in still), step_a)
    edges.add_move(LoneMove(A, moved, still, (), rows, rows))


def rows_of(amps_of_l1: Sequence[float]) -> list[PhaseAmps]:
    """Return readings of L1 with the other phases steady."""
    return [(amps, STEADY_A, STEADY_A) for amps in amps_of_l1]


def parts_of(edges: StepEdges) -> list[float]:
    """Return the parts of the three phases that show another ratio."""
    return [phase.part for phase in edges.phases]


def test_edges_of_same_part_of_four_moves_show_ratio() -> None:
    edges = StepEdges()
    add_move(edges, 10.0, (5.1,), (-7.0,))
    add_move(edges, -8.0, (-3.9,), (2.0,))
    add_move(edges, 16.0, (8.6,), (-0.9,), (3.3,))
    assert parts_of(edges) == [0.0, 0.0, 0.0]
    add_move(edges, 6.0, (2.9,))
    assert parts_of(edges) == [pytest.approx(0.5, abs=0.02), 0.0, 0.0]


def test_edges_of_same_part_on_all_phases_count_twice() -> None:
    edges = StepEdges()
    add_move(edges, 10.0, (7.5, 7.5, 7.5))
    assert parts_of(edges) == [0.0, 0.0, 0.0]
    add_move(edges, -6.0, (-4.4, -4.4, -4.4))
    assert parts_of(edges) == pytest.approx([0.74, 0.74, 0.74], abs=0.01)


def test_part_counts_twice_where_other_phases_show_all_of_move() -> None:
    edges = StepEdges()
    add_move(edges, 10.0, (10.2, 5.0, 9.9))
    assert parts_of(edges) == [0.0, 0.0, 0.0]
    # A load of the building that is as large as the rest hides nothing: it comes at another moment.
    add_move(edges, 12.0, (12.1, 6.2, 11.8), (0.0, -3.0, 0.0), (0.0, 6.0, 0.0))
    assert parts_of(edges) == [0.0, pytest.approx(0.51, abs=0.01), 0.0]


def test_small_rest_of_small_move_counts_once() -> None:
    # A load of 2 A that goes off as the car starts looks the same.
    edges = StepEdges()
    for number in range(3):
        add_move(edges, 6.0, (4.0 + 0.1 * number, 6.1))
        assert parts_of(edges) == [0.0, 0.0, 0.0]
    add_move(edges, 6.0, (4.0, 5.9))
    assert parts_of(edges) == [pytest.approx(0.67, abs=0.02), 0.0, 0.0]


def test_edges_of_different_parts_show_nothing() -> None:
    edges = StepEdges()
    for part in (0.27, 0.4, 0.52, 0.64, 0.76, 0.87):
        add_move(edges, 10.0, (10.0 * part,))
    assert parts_of(edges) == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("step_a", "shown_a"),
    [
        pytest.param(10.0, (10.2, -1.0, 5.0), id="whole-move-beside-part"),
        pytest.param(10.0, (14.0, -1.0, 5.0), id="more-than-move-beside-part"),
        pytest.param(5.0, (2.4,), id="small-edge-beside-small-move"),
        pytest.param(32.0, (6.1, -1.0, 26.1), id="two-edges-that-are-the-move"),
    ],
)
def test_edges_that_may_be_others_show_nothing(step_a: float, shown_a: tuple[float, ...]) -> None:
    edges = StepEdges()
    for _ in range(9):
        add_move(edges, step_a, *((each,) for each in shown_a))
    assert parts_of(edges) == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    "shown_a",
    [
        pytest.param([5.0, 5.0, 5.0, 10.2, 5.0, 5.0, 5.0], id="one-right-move-drops-those-before"),
        pytest.param([10.0, 10.0, 5.0, 5.0, 5.0, 5.0, 5.0], id="six-after-two-right-moves"),
    ],
)
def test_edges_of_a_part_are_counted_anew_after_right_moves(shown_a: list[float]) -> None:
    edges = StepEdges()
    for edge_a in shown_a:
        add_move(edges, 10.0, (edge_a,))
    assert parts_of(edges) == [0.0, 0.0, 0.0]
    add_move(edges, 10.0, (5.0,))
    assert parts_of(edges) == [pytest.approx(0.5), 0.0, 0.0]


def test_two_moves_that_another_phase_shows_are_swapped_phases() -> None:
    edges = StepEdges()
    # A load of the building on L1 that goes off later hides nothing.
    add_move(edges, 8.0, (0.3, -0.2, 7.9), (-3.0, 0.0, 0.0), still=(1, 2))
    assert edges.swapped is None
    add_move(edges, -14.0, (0.0, 0.0, -13.5), still=(1, 2))
    assert edges.swapped is not None
    assert (edges.swapped.phase, edges.swapped.other) == (0, 2)


@pytest.mark.parametrize(
    ("shown_a", "moves"),
    [
        pytest.param(((8.1, 0.0, 0.0),), 1, id="move-on-its-phase-alone"),
        pytest.param(((8.1, 0.0, 0.0), (0.0, 0.0, 7.8)), 2, id="one-of-two-is-a-load-of-the-building"),
    ],
)
def test_right_moves_end_swapped_phases(shown_a: tuple[tuple[float, float, float], ...], moves: int) -> None:
    edges = StepEdges()
    for _ in range(2):
        add_move(edges, 8.0, (0.0, 0.0, 7.9), still=(1, 2))
    for _ in range(moves):
        assert edges.swapped is not None
        add_move(edges, 8.0, *shown_a, still=(1, 2))
    assert edges.swapped is None


@pytest.mark.parametrize(
    "shown_a",
    [
        pytest.param(((8.0, 0.0, 8.0),), id="load-of-the-building-on-both"),
        pytest.param(((0.0, 0.0, 8.0), (0.0, 0.0, 0.0), (8.0, 0.0, 0.0)), id="move-itself-at-another-moment"),
        pytest.param(((4.0, 0.0, 8.0),), id="half-of-the-move"),
        pytest.param(((0.0, 0.0, 4.0),), id="half-on-other-phase"),
        pytest.param(((0.0, 0.0, -8.0),), id="other-direction"),
    ],
)
def test_edges_of_other_phases_that_are_loads_of_building(
    shown_a: tuple[tuple[float, float, float], ...],
) -> None:
    edges = StepEdges()
    for _ in range(9):
        add_move(edges, 8.0, *shown_a, still=(1, 2))
    assert edges.swapped is None


@pytest.mark.parametrize(
    ("shown_a", "may_hide", "is_shown"),
    [
        ((9.3,), (), True),
        ((3.0, -1.0, 3.0), (), False),
        ((3.0, -1.0, 5.0), (), None),  # a part
        ((14.0,), (), None),  # a larger one may hide it
        ((3.0,), (0,), None),  # another car may hide it
        ((9.3,), (0,), True),
    ],
)
def test_move_is_shown_by_edge_of_its_size(
    shown_a: tuple[float, ...], may_hide: tuple[int, ...], is_shown: bool | None
) -> None:
    rows = rows_of([STEADY_A] * FEWEST_READINGS + [*accumulate((STEADY_A, *shown_a))])
    assert LoneMove(A, {0: 9.0}, (), may_hide, rows, rows).is_shown(0) is is_shown


@pytest.mark.parametrize(
    ("readings", "before_a", "is_shown"),
    [
        (FEWEST_READINGS, STEADY_A, False),
        (FEWEST_READINGS - 1, STEADY_A, None),  # a meter that is seldom read
        (FEWEST_READINGS, STEADY_A - 9.0, None),  # the station may have reported it late
    ],
)
def test_move_that_may_have_been_shown_is_not_missed(
    readings: int, before_a: float, is_shown: bool | None
) -> None:
    rows = rows_of([STEADY_A] * readings)
    assert LoneMove(A, {0: 9.0}, (), (), rows, rows_of([before_a]) + rows).is_shown(0) is is_shown


def reported_step(step_a: float, since: float, at: float, ref: EvseRef = A) -> ReportedStep:
    """A step of a car on L1 and L2."""
    return ReportedStep(ref=ref, delta_a=(step_a, step_a, 0.0), since=since, at=at, reported_at=at)


def find_move(step: ReportedStep, *others: ReportedStep) -> LoneMove | None:
    """Return the lone move that ends with a step, beside other ones."""
    window = MeterWindow(MEMORY_S)
    for now in range(200):
        window.add_reading((STEADY_A,) * 3, float(now))
        for each in (*others, step):
            if each.reported_at == now:
                window.add_step(each)
    return find_lone_move(window, step, 199.0)


@pytest.mark.parametrize(
    ("before", "moved_a"),
    [
        pytest.param([], 8.0, id="one-step"),
        pytest.param([(5.0, 110.0, 120.0)], 13.0, id="step-that-leads-to-it"),
        pytest.param([(2.0, 100.0, 110.0), (5.0, 110.0, 120.0)], 15.0, id="two-steps-that-lead-to-it"),
        pytest.param([(-5.0, 110.0, 120.0)], 8.0, id="step-the-other-way"),
        pytest.param([(5.0, 80.0, 90.0)], 8.0, id="step-long-before"),
    ],
)
def test_lone_move_is_that_of_all_reports(before: list[tuple[float, float, float]], moved_a: float) -> None:
    move = find_move(reported_step(8.0, 120.0, 130.0), *(reported_step(*each) for each in before))
    assert move is not None
    assert move.step_a == {0: moved_a, 1: moved_a}


@pytest.mark.parametrize(
    "others",
    [
        pytest.param([reported_step(4.0, 130.0, 140.0)], id="car-moves-on"),
        pytest.param([reported_step(4.0, 105.0, 119.0)], id="car-has-moved-just-before"),
        pytest.param([reported_step(5.0, 115.0, 125.0, B)], id="other-car-the-same-way"),
        pytest.param([reported_step(-6.0, 115.0, 125.0, B)], id="other-car-the-other-way"),
    ],
)
def test_move_beside_other_moves_is_not_alone(others: list[ReportedStep]) -> None:
    assert find_move(reported_step(8.0, 120.0, 130.0), *others) is None
