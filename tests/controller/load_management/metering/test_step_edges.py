"""Ratio of a meter by the edges of its readings in the time of a car's moves."""

from __future__ import annotations

from itertools import accumulate

import pytest

from controller.load_management.evse.consumption import ReportedStep
from controller.load_management.metering.meter_window import MeterWindow
from controller.load_management.metering.step_edges import LoneMove, StepEdges, find_lone_move
from controller.model.observations import EvseRef

A, B = EvseRef("A", 1), EvseRef("B", 1)
MEMORY_S = 150.0
STEADY_A = 40.0


def add_move(edges: StepEdges, step_a: float, *shown_a: tuple[float, ...]) -> None:
    """Add a move of a car on as many phases as edges of their readings are given, one tuple a moment."""
    phases = range(len(shown_a[0]))
    columns = [accumulate((STEADY_A, *(moment[phase] for moment in shown_a))) for phase in phases]
    columns += [[STEADY_A] * (len(shown_a) + 1)] * (3 - len(columns))
    rows = [(first, second, third) for first, second, third in zip(*columns, strict=True)]
    edges.add_move(LoneMove(dict.fromkeys(phases, step_a), rows))


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
