"""Phases of a meter that have shown no current yet."""

from __future__ import annotations

from controller.load_management.evse.consumption import OfferCredit
from controller.load_management.metering.unproven_phases import NAMED_S, UnseenPhases
from controller.load_management.site_tree import ZERO

CHARGING = OfferCredit.within((6.0, 0.0, 0.0), (6.0, 0.0, 0.0), (6.0, 0.0, 0.0))


def test_unseen_phase_is_named_until_it_shows_a_current() -> None:
    unseen = UnseenPhases((0,), 0.0)
    for now in (1.0, 2.0 + NAMED_S):
        unseen.on_reading(ZERO, CHARGING, now)
    assert "no current has shown yet on L1" in unseen.missing_current(2.0 + NAMED_S)
    unseen.on_reading((6.0, 0.0, 0.0), CHARGING, 3.0 + NAMED_S)
    assert unseen.missing_current(3.0 + NAMED_S) == ""
