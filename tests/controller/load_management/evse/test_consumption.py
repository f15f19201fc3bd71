"""What an EVSE is credited with, between its reports and its offers."""

from __future__ import annotations

import math

import pytest

from controller.load_management.evse.consumption import (
    EPISODE_S,
    FOLLOWED_S,
    LONGEST_TRANSITION_S,
    TRANSITION_S,
    UNREPORTED_S,
    ConsumptionTracker,
    OfferCredit,
    is_possible,
)
from controller.load_management.evse.learned_values import REACTION_S, UNSHOWN_S
from controller.load_management.site_tree import ZERO, EvseNode, PhaseAmps
from controller.model.observations import EvseRef
from drivers.reading import PerPhase


def watch(phases: tuple[int, ...] = (0, 1, 2), offered_a: float = 16.0) -> ConsumptionTracker:
    """An EVSE that was offered something at the time 0 and may draw."""
    evse = EvseNode(ref=EvseRef("A", 1), circuit="grid", phases=phases, min_a=6, max_a=32, fallback_a=6)
    found = ConsumptionTracker(evse, -100.0)
    found.stop(-50.0)
    found.offer(offered_a, -50.0)
    found.stop(-50.0)
    found.start(0.0)
    return found


def credit(draw: ConsumptionTracker, now: float) -> OfferCredit:
    return draw.credit(now, has_car=True)


def flat(amps: float) -> PhaseAmps:
    return (amps, amps, amps)


def three(amps: float) -> PerPhase:
    return (amps, amps, amps)


def test_consumption_settled_report_is_known() -> None:
    draw = watch()
    assert draw.add_report(three(15), 10)
    assert credit(draw, 11) == OfferCredit.within(flat(15), flat(15), flat(15))


def test_consumption_total_of_unknown_phases_shows_equal_part_on_each() -> None:
    """11.04 kW of a station of 32 A: two phases may carry 24 A each, any of them; 16 A are shown."""
    draw = watch()
    draw.add_report(three(24), 10, first_a=16.0, total_a=48.0)
    assert (draw.drawn, draw.shown) == (flat(24), flat(16))
    draw.add_report((24.0, 24.0, 0.0), 20, total_a=48.0)  # known to use two
    assert draw.shown == draw.drawn == (24.0, 24.0, 0.0)


def test_consumption_draw_above_the_offer_is_not_credited() -> None:
    draw = watch()
    draw.add_report(three(20), 10)
    assert credit(draw, 11).high == flat(16)


def test_consumption_after_cut_it_draws_between_new_offer_and_old() -> None:
    draw = watch()
    draw.add_report(three(15), 10)
    draw.offer(8, 20)
    assert credit(draw, 21) == OfferCredit.within(flat(8), flat(16), flat(15), reacting=True)
    shown_at = 20 + REACTION_S + FOLLOWED_S
    assert credit(draw, shown_at - 1).unreacted == flat(15)
    assert draw.credit_changes_at(shown_at - 1) == shown_at
    assert credit(draw, shown_at).unreacted == flat(8)


def test_consumption_after_rise_it_draws_between_report_and_new_offer() -> None:
    draw = watch()
    draw.add_report(three(15), 10)
    draw.offer(20, 20)
    assert credit(draw, 21) == OfferCredit.within(flat(15), flat(20), flat(15))


def test_report_that_comes_before_car_could_react_settles_nothing() -> None:
    draw = watch()
    draw.add_report(three(15), 10)
    draw.offer(8, 20)
    assert not draw.add_report(three(15), 20 + REACTION_S - 1)
    assert credit(draw, 26).high == flat(16)
    assert draw.add_report(three(8), 20 + REACTION_S)
    assert credit(draw, 26) == OfferCredit.within(flat(8), flat(8), flat(8))


def test_consumption_overdue_report_leaves_offer_as_only_bound() -> None:
    draw = watch()
    draw.add_report(three(15), 10)
    draw.offer(8, 20)
    assert credit(draw, 10 + TRANSITION_S).low == flat(8)
    overdue = credit(draw, 10 + TRANSITION_S + 1)
    assert (overdue.low, overdue.high) == (ZERO, flat(16))
    assert draw.unknown(10 + TRANSITION_S + 1)
    draw.add_report(three(6), 70)
    assert credit(draw, 71).low == flat(6)


def test_consumption_overdue_draw_counts_as_offer_until_cut_had_chance() -> None:
    draw = watch()
    assert credit(draw, 100.0).unreacted == flat(16)
    draw.offer(10, 100.0)
    assert credit(draw, 100.0 + REACTION_S - 1).unreacted == flat(16)
    assert credit(draw, 135.0).unreacted == ZERO
    assert credit(draw, 100.0 + EPISODE_S).unreacted == flat(10)


def test_consumption_end_of_reports_is_a_moment_at_which_the_draw_changes() -> None:
    draw = watch()
    draw.add_report(three(15), 10)
    unreported_at = 10 + UNREPORTED_S
    assert draw.credit_changes_at(unreported_at - 1) == pytest.approx(unreported_at, abs=0.01)
    assert not draw.reports_none(unreported_at)
    assert draw.reports_none(draw.credit_changes_at(unreported_at - 1))
    assert draw.credit_changes_at(unreported_at + 1) == math.inf


def test_consumption_unreported_car_draws_offer_once_it_has_followed() -> None:
    draw = watch(offered_a=16)
    followed = REACTION_S + FOLLOWED_S
    assert draw.likely_a(followed - 1) is None
    assert draw.credit_changes_at(followed - 1) == followed
    assert draw.likely_a(followed) == (16, 16)
    draw.offer(8, 100)
    assert draw.likely_a(101) is None
    assert draw.likely_a(100 + followed) == (8, 8)


def test_consumption_settled_report_outweighs_what_is_likely() -> None:
    draw = watch(offered_a=16)
    draw.add_report(three(12), 20)
    assert draw.likely_a(21) is None
    overdue = 20 + TRANSITION_S + 1
    assert draw.likely_a(overdue) == (12, 16), "a car that drew less than its offer may go on so"
    draw.offer(20, overdue)
    assert draw.likely_a(overdue + REACTION_S + FOLLOWED_S) == (12, 20)
    draw.stop(100)
    draw.start(110)
    assert draw.likely_a(150) == (20, 20)


def test_consumption_likely_draw_is_within_what_is_sure() -> None:
    sure = OfferCredit.within(flat(6), flat(16), ZERO)
    assert sure.expecting(flat(8), flat(10)) == OfferCredit(
        flat(6), flat(16), ZERO, flat(6), flat(8), flat(10)
    )
    found = sure.expecting((0.0, 8.0, 20.0), (0.0, 20.0, 20.0))
    assert found.likely_low == (6.0, 8.0, 16.0)
    assert found.likely_high == (6.0, 16.0, 16.0)


def test_consumption_small_excess_counts_from_second_settled_report_on() -> None:
    draw = watch()
    draw.add_report(three(16.8), 10)
    draw.check_obedience(16.0)
    assert draw.overdraw_a == 0
    draw.add_report(three(16.7), 20)
    draw.check_obedience(16.0)
    assert draw.overdraw_a == pytest.approx(0.7)
    draw.add_report(three(16.0), 30)
    draw.check_obedience(16.0)
    assert draw.overdraw_a == 0


@pytest.mark.parametrize(
    ("report", "possible"),
    [
        ((32.0, 32.0, 32.0), True),
        ((36.0, None, None), True),
        ((3200.0, 0.0, 0.0), False),
        ((-0.4, 0.0, 0.0), True),
        ((-2.0, 0.0, 0.0), False),
        ((float("inf"),) * 3, False),
    ],
)
def test_consumption_report_far_above_maximum_is_impossible(report: PerPhase, possible: bool) -> None:
    evse = EvseNode(ref=EvseRef("A", 1), circuit="grid", phases=(0, 1, 2), min_a=6, max_a=32, fallback_a=6)
    assert is_possible(evse, report) is possible


def test_report_on_grid_phases_is_not_rotated() -> None:
    evse = EvseNode(
        ref=EvseRef("A", 1),
        circuit="grid",
        phases=(1, 2, 0),
        min_a=6,
        max_a=32,
        fallback_a=6,
        reports_on_grid=True,
    )
    draw = ConsumptionTracker(evse, 0.0)
    draw.add_report((10.0, 9.0, 8.0), 10)
    assert draw.drawn == (10.0, 9.0, 8.0)


def test_consumption_report_once_a_minute_is_waited_for() -> None:
    draw = watch()
    for now in (10, 70, 130):
        draw.add_report(three(15), now)
    assert credit(draw, 130 + 89).low == flat(15)
    assert credit(draw, 130 + 91).low == ZERO


def test_consumption_wait_ends_after_the_longest_transition() -> None:
    draw = watch()
    draw.add_report(three(15), 10)
    draw.add_report(three(15), 10 + 2 * LONGEST_TRANSITION_S)
    now = 10 + 2 * LONGEST_TRANSITION_S + LONGEST_TRANSITION_S
    assert credit(draw, now).low == flat(15)
    assert credit(draw, now + 1).low == ZERO


def test_consumption_suspended_evse_with_a_car_may_begin() -> None:
    draw = watch()
    draw.add_report(three(15), 10)
    draw.stop(15.0)
    assert draw.credit(1000, has_car=True) == OfferCredit.within(ZERO, flat(16), ZERO)
    assert draw.credit(1000, has_car=False) == OfferCredit.within(ZERO, ZERO, ZERO)
    assert not draw.unknown(1000)


def test_consumption_report_of_current_outweighs_state_without() -> None:
    draw = watch()
    draw.stop(15.0)
    draw.add_report(three(10), 20)
    assert credit(draw, 21).low == flat(10)


@pytest.mark.parametrize(
    ("phases", "report", "low"),
    [
        ((1, 2, 0), (10.0, 9.0, 8.0), (8.0, 10.0, 9.0)),
        ((2,), (10.0, None, None), (0.0, 0.0, 10.0)),
        ((2,), (0.0, 0.0, 10.0), (0.0, 0.0, 10.0)),
        ((0, 1), (10.0, 9.0, None), (10.0, 9.0, 0.0)),
    ],
)
def test_consumption_phases_of_station_are_put_on_those_of_site(
    phases: tuple[int, ...], report: PerPhase, low: PhaseAmps
) -> None:
    draw = watch(phases)
    draw.add_report(report, 10)
    assert credit(draw, 11).low == low
    assert draw.drawn == low


def test_unreported_phases_count_up_to_reported_maximum() -> None:
    draw = watch()
    draw.add_report((10.0, None, None), 10)
    assert credit(draw, 11) == OfferCredit.within((10, 0, 0), flat(10), (10, 0, 0))


def test_consumption_car_may_not_have_followed_a_rise_yet() -> None:
    draw = watch(offered_a=16)
    draw.offer(20, 100.0)
    draw.offer(24, 103.0)
    assert credit(draw, 104.0).unreacted == flat(16)
    draw.offer(10, 105.0)
    assert credit(draw, 106.0).unreacted == flat(24)


def test_report_of_more_than_a_step_has_shown_is_right() -> None:
    # The step was mixed with others: the car draws 16 A, not 7.
    draw = watch()
    draw.shown_a = (7.0, 7.0)
    draw.add_report(three(16), 10)
    assert draw.likely_a(10 + LONGEST_TRANSITION_S) == (16.0, 16.0)


def test_consumption_car_at_its_offer_has_followed_as_that_changed() -> None:
    draw = watch()
    draw.add_report(three(16), 60)
    draw.offer(10, 100)
    draw.offer(9, 105)
    draw.add_report(three(9), 120)
    assert draw.followed_within == (100, 100 + UNSHOWN_S)
    draw.add_report(three(9), 180)
    assert draw.followed_within == (-math.inf, math.inf)


@pytest.mark.parametrize(("before_a", "after_a"), [(16.0, 6.0), (13.0, 10.0), (0.0, 10.0)])
def test_consumption_car_below_its_offer_may_have_moved_at_any_time(before_a: float, after_a: float) -> None:
    draw = watch()
    draw.add_report(three(before_a), 60)
    draw.offer(10, 100)
    draw.add_report(three(after_a), 120)
    assert draw.followed_within == (-math.inf, math.inf)


@pytest.mark.parametrize(
    ("reports", "has_followed"),
    [
        ((16.0, 16.0), True),
        ((12.0, 12.0), True),
        ((16.0, 14.0), False),
        ((0.0, 16.0), False),
        ((16.0, 0.0), False),
    ],
)
def test_consumption_two_reports_of_what_car_takes_show_all_limits_between(
    reports: tuple[float, float], has_followed: bool
) -> None:
    draw = watch()
    draw.add_report(three(reports[0]), 300)
    draw.offer(8, 400)
    draw.offer(16, 450)
    draw.add_report(three(reports[1]), 600)
    assert draw.has_followed is has_followed
