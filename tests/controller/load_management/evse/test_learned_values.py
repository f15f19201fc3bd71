"""What a session teaches about its car."""

from __future__ import annotations

import pytest

from controller.load_management.evse.learned_values import (
    LearnedMinimum,
    LearnedNeed,
    LearnedPhases,
)

Report = tuple[float | None, float | None, float | None]


def seen(*reports: Report) -> tuple[bool, ...]:
    phases = LearnedPhases(3)
    for report in reports:
        phases.on_report(report)
    return phases.used


@pytest.mark.parametrize(
    ("reports", "used"),
    [
        ([], (True, True, True)),
        ([(16.0, 0.1, 0.0)], (True, True, True)),
        ([(16.0, 0.1, 0.0)] * 2, (True, False, False)),
        ([(16.0, 16.0, 0.0)] * 2, (True, True, False)),
        ([(16.0, 0.1, 0.0), (16.0, 16.0, 0.0), (16.0, 0.1, 0.0)], (True, True, True)),
        ([(16.0, None, None)] * 3, (True, True, True)),  # silence proves nothing
        ([(16.0, 1.0, 0.0)] * 3, (True, True, True)),  # neither loaded nor idle
        ([(0.0, 0.0, 0.0)] * 3, (True, True, True)),
        ([(16.0, 0.0, 0.0)] * 2 + [(16.0, 3.0, 0.0)], (True, True, False)),
    ],
)
def test_phases_go_after_two_agreeing_reports_and_come_back_at_once(
    reports: list[Report], used: tuple[bool, ...]
) -> None:
    assert seen(*reports) == used


def test_learned_values_growth_is_reported_and_decrease_is_not() -> None:
    phases = LearnedPhases(3)
    assert [phases.on_report(r) for r in [(9.0, 0.0, 0.0), (9.0, 0.0, 0.0), (9.0, 9.0, 0.0)]] == [
        False,
        False,
        True,
    ]


def test_another_car_may_use_all_phases() -> None:
    phases = LearnedPhases(3)
    phases.on_report((16.0, 0.0, 0.0))
    phases.on_report((16.0, 0.0, 0.0))
    phases.reset()
    assert phases.used == (True, True, True)


def need(*reports: tuple[float, float]) -> LearnedNeed:
    """A car that draws (A) under an offer (A), reported every 10 s."""
    learned = LearnedNeed(6.0, 32.0)
    for index, (draw_a, offered_a) in enumerate(reports):
        learned.on_settled_draw(draw_a, offered_a, 10.0 * index)
    return learned


def test_learned_values_need_is_accepted_after_45_s_of_drawing_less() -> None:
    assert need(*[(10.0, 20.0)] * 5).cap_a is None
    assert need(*[(10.0, 20.0)] * 6).cap_a == 12.0


def test_learned_values_highest_draw_counts() -> None:
    assert need((10.0, 20.0), (11.5, 20.0), *[(10.0, 20.0)] * 4).cap_a == 13.5


def test_learned_values_moment_of_full_draw_begins_watch_anew() -> None:
    assert need(*[(10.0, 20.0)] * 4, (19.5, 20.0), *[(10.0, 20.0)] * 4).cap_a is None


def test_learned_values_need_is_never_below_minimum() -> None:
    assert need(*[(1.0, 20.0)] * 6).cap_a == 6.0


def test_learned_values_car_at_cap_gets_more_until_there_is_none() -> None:
    learned = need(*[(10.0, 20.0)] * 6)
    learned.on_settled_draw(11.5, 12.0, 70.0)
    assert learned.cap_a == 18.0
    learned.on_settled_draw(17.5, 18.0, 80.0)
    assert learned.cap_a == 27.0
    learned.on_settled_draw(26.5, 27.0, 90.0)
    assert learned.cap_a is None


def test_learned_values_car_that_is_held_below_cap_by_others_keeps_it() -> None:
    learned = need(*[(10.0, 20.0)] * 6)
    learned.on_settled_draw(8.0, 8.0, 70.0)
    assert learned.cap_a == 12.0


def test_learned_phases_set_to_one_stay_until_others_follow() -> None:
    phases = LearnedPhases(3)
    phases.reset(single=True)
    assert not phases.needs_test
    assert not phases.on_step((-4.0, 0.0, 0.0))
    assert phases.used == (True, False, False)
    assert phases.on_step((-4.0, -4.0, -4.0)), "the station has not switched"
    assert phases.used == (True, True, True)


def test_minimum_falls_again_when_car_charges_under_less() -> None:
    # A car that was paused and takes some seconds to start again under 8 A had not stopped for want of 10 A.
    minimum = LearnedMinimum(6.0, 32.0)
    minimum.on_draw(10.0)
    minimum.on_stop(8.0)
    assert minimum.least_a == 10.0
    minimum.on_draw(8.0)
    assert minimum.least_a == 8.0
    minimum.on_draw(10.0)
    assert minimum.least_a == 8.0
