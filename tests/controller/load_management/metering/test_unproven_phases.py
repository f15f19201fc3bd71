"""Phases of a meter that have shown no current yet."""

from __future__ import annotations

import math

from controller.load_management.evse.consumption import NOTHING, OfferCredit
from controller.load_management.metering.base_load import START_S
from controller.load_management.metering.unproven_phases import NAMED_S, PAUSE_S, HiddenLoad, UnseenPhases
from controller.load_management.site_tree import NOWHERE, ZERO

CHARGING = OfferCredit.within((6.0, 0.0, 0.0), (6.0, 0.0, 0.0), (6.0, 0.0, 0.0))


def test_unseen_phase_is_named_until_it_shows_a_current() -> None:
    unseen = UnseenPhases((0,), 0.0)
    for now in (1.0, 2.0 + NAMED_S):
        unseen.on_reading(ZERO, CHARGING, now)
    assert "no current has shown yet on L1" in unseen.missing_current(2.0 + NAMED_S)
    unseen.on_reading((6.0, 0.0, 0.0), CHARGING, 3.0 + NAMED_S)
    assert unseen.missing_current(3.0 + NAMED_S) == ""


def test_hidden_load_counts_while_a_car_only_seems_to_draw_nothing() -> None:
    # A silent car on unknown phases follows one offer after the other: between two of them it is not seen.
    hidden = HiddenLoad("grid")
    unproven, load_a = (True, True, True), (22.0, 22.0, 22.0)
    following = OfferCredit.within(ZERO, (30.0, 30.0, 30.0), (26.0, 26.0, 26.0), reacting=True)
    followed = OfferCredit.within(ZERO, (26.0, 26.0, 26.0), ZERO)
    hidden.on_reading(unproven, following, load_a, load_a, 40.0, 0.0)
    shown = []
    for now in (1.0, PAUSE_S, PAUSE_S + 1):
        hidden.on_reading(unproven, followed, load_a, load_a, 40.0, now)
        shown.append(hidden.load_a)
    assert shown == [load_a, load_a, NOWHERE]
    hidden.on_reading(unproven, NOTHING, load_a, load_a, 40.0, PAUSE_S)
    assert hidden.load_a == NOWHERE


def test_no_phase_hides_more_than_another_one_shows() -> None:
    hidden = HiddenLoad("grid")
    unproven, load_a = (True, True, True), (22.0, 9.0, 30.0)
    drawing = OfferCredit.within((6.0, 6.0, 0.0), (6.0, 6.0, 0.0), (6.0, 6.0, 0.0))
    shown = []
    for now, shown_a in ((0.0, 40.0), (60.0, 15.0), (START_S + 1, 15.0)):
        hidden.on_reading(unproven, drawing, load_a, load_a, shown_a, now)
        shown.append(hidden.load_a)
    assert shown == [(22.0, 9.0, -math.inf)] * 2 + [(15.0, 9.0, -math.inf)]
