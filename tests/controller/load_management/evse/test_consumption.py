"""What an EVSE is credited with, between its reports and its offers."""

from __future__ import annotations

import pytest

from controller.load_management.evse.charger_response import REACTION_S
from controller.load_management.evse.consumption import (
    LONGEST_TRANSITION_S,
    TRANSITION_S,
    ConsumptionTracker,
    OfferCredit,
)
from controller.load_management.site_tree import ZERO, EvseNode, PhaseAmps
from controller.model.observations import EvseRef
from drivers.reading import PerPhase


def watch(phases: tuple[int, ...] = (0, 1, 2), offered_a: float = 16.0) -> ConsumptionTracker:
    """An EVSE that was offered something at the time 0 and may draw."""
    evse = EvseNode(ref=EvseRef("A", 1), circuit="grid", phases=phases, min_a=6, max_a=32, fallback_a=6)
    found = ConsumptionTracker(evse, -100.0)
    found.stop()
    found.offer(offered_a, -50.0)
    found.stop()
    found.start(0.0)
    return found


def credit(draw: ConsumptionTracker, now: float) -> OfferCredit:
    return draw.credit(now, has_car=True)


def flat(amps: float) -> PhaseAmps:
    return (amps, amps, amps)


def three(amps: float) -> PerPhase:
    return (amps, amps, amps)


def test_a_settled_report_is_known() -> None:
    draw = watch()
    assert draw.see(three(15), 10)
    assert credit(draw, 11) == OfferCredit(flat(15), flat(15), flat(15))


def test_what_is_drawn_above_the_offer_is_not_credited() -> None:
    draw = watch()
    draw.see(three(20), 10)
    assert credit(draw, 11).high == flat(16)


def test_after_a_cut_it_draws_between_the_new_offer_and_the_old() -> None:
    draw = watch()
    draw.see(three(15), 10)
    draw.offer(8, 20)
    assert credit(draw, 21) == OfferCredit(flat(8), flat(16), flat(15))
    assert credit(draw, 20 + REACTION_S).unreacted == flat(8)


def test_after_a_rise_it_draws_between_its_report_and_the_new_offer() -> None:
    draw = watch()
    draw.see(three(15), 10)
    draw.offer(20, 20)
    assert credit(draw, 21) == OfferCredit(flat(15), flat(20), flat(15))


def test_a_report_that_comes_before_the_car_could_react_settles_nothing() -> None:
    draw = watch()
    draw.see(three(15), 10)
    draw.offer(8, 20)
    assert not draw.see(three(15), 20 + REACTION_S - 1)
    assert credit(draw, 26).high == flat(16)
    assert draw.see(three(8), 20 + REACTION_S)
    assert credit(draw, 26) == OfferCredit(flat(8), flat(8), flat(8))


def test_without_a_report_a_transition_ends_in_blindness_until_the_next_report() -> None:
    draw = watch()
    draw.see(three(15), 10)
    draw.offer(8, 20)
    assert credit(draw, 20 + TRANSITION_S).low == flat(8)
    assert credit(draw, 20 + TRANSITION_S + 1) == OfferCredit(ZERO, ZERO, ZERO)
    draw.offer(6, 60)
    assert credit(draw, 61) == OfferCredit(ZERO, ZERO, ZERO)
    assert draw.blind
    draw.see(three(6), 70)
    assert credit(draw, 71).low == flat(6)


def test_who_reports_once_a_minute_is_waited_for() -> None:
    draw = watch()
    for now in (10, 70, 130):
        draw.see(three(15), now)
    assert credit(draw, 130 + 89).low == flat(15)
    assert credit(draw, 130 + 91).low == ZERO


def test_nobody_is_waited_for_longer_than_the_longest_transition() -> None:
    draw = watch()
    draw.see(three(15), 10)
    draw.see(three(15), 10 + 2 * LONGEST_TRANSITION_S)
    now = 10 + 2 * LONGEST_TRANSITION_S + LONGEST_TRANSITION_S
    assert credit(draw, now).low == flat(15)
    assert credit(draw, now + 1).low == ZERO


def test_who_gives_no_current_may_begin_if_there_is_a_car() -> None:
    draw = watch()
    draw.see(three(15), 10)
    draw.stop()
    assert draw.credit(1000, has_car=True) == OfferCredit(ZERO, flat(16), ZERO)
    assert draw.credit(1000, has_car=False) == OfferCredit(ZERO, ZERO, ZERO)
    assert not draw.blind


def test_a_report_of_current_outweighs_a_state_without() -> None:
    draw = watch()
    draw.stop()
    draw.see(three(10), 20)
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
def test_phases_of_the_station_are_put_on_those_of_the_site(
    phases: tuple[int, ...], report: PerPhase, low: PhaseAmps
) -> None:
    draw = watch(phases)
    draw.see(report, 10)
    assert credit(draw, 11).low == low
    assert draw.drawn == low


def test_phases_that_a_report_does_not_tell_carry_up_to_what_it_tells() -> None:
    draw = watch()
    draw.see((10.0, None, None), 10)
    assert credit(draw, 11) == OfferCredit((10, 0, 0), flat(10), (10, 0, 0))
