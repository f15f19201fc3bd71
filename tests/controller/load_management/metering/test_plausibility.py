"""Readings that cannot be."""

from __future__ import annotations

import pytest

from controller.load_management.evse.consumption import OfferCredit
from controller.load_management.metering.plausibility import STILL_S, SignWatch, StillWatch, contradiction
from controller.load_management.site_tree import PhaseAmps
from drivers.reading import NO_VALUES, PerPhase, Reading

CARS = OfferCredit((0.0, 30.0, 0.0), (0.0, 30.0, 0.0), (0.0, 30.0, 0.0))


def verdicts(*amps: PhaseAmps) -> list[bool]:
    watch = SignWatch()
    return [bool(watch.see(each, [CARS])) for each in amps]


@pytest.mark.parametrize(
    ("l2", "believed"),
    [
        (-50.0, False),  # the same current the other way round: the cars' 30 A explain no 100 A
        (-40.0, False),
        (-20.0, True),  # another current: a cloud has gone, and a car
        (0.0, True),
        (-4.9, True),
        (49.0, True),
    ],
)
def test_a_phase_that_turns_its_sign_and_keeps_its_size_is_not_believed(l2: float, believed: bool) -> None:
    assert verdicts((20.0, 50.0, 20.0), (20.0, l2, 20.0))[1] is not believed


def test_cars_that_stop_may_leave_as_much_feed_in() -> None:
    assert verdicts((20.0, 16.0, 20.0), (20.0, -16.0, 20.0)) == [False, False]


def test_it_is_believed_again_once_it_shows_a_load_or_nothing() -> None:
    assert verdicts((0, 50, 0), (0, -50, 0), (0, -70, 0), (0, -20, 0), (0, -1, 0), (0, -30, 0)) == [
        False,
        True,
        True,
        True,
        False,
        False,
    ]


def test_the_words_name_the_phase() -> None:
    watch = SignWatch()
    watch.see((20.0, 50.0, 20.0), [])
    assert watch.see((20.0, -50.0, -20.0), []).startswith("L2 and L3 turned its sign under load")


@pytest.mark.parametrize(
    ("phases", "total", "words"),
    [
        ((5000.0, 5000.0, 5000.0), 15_000.0, ""),
        ((5000.0, 5000.0, 5000.0), 13_400.0, ""),
        ((5000.0, 5000.0, 5000.0), 5000.0, "its phases add up to 15000 W, its total says 5000 W"),
        ((5000.0, -5000.0, 5000.0), 15_000.0, "its phases add up to 5000 W, its total says 15000 W"),
        ((50.0, 0.0, 0.0), 200.0, ""),
        ((5000.0, None, 5000.0), 15_000.0, ""),
        (NO_VALUES, 15_000.0, ""),
        ((5000.0, 5000.0, 5000.0), None, ""),
    ],
)
def test_powers_that_do_not_add_up_contradict_each_other(
    phases: PerPhase, total: float | None, words: str
) -> None:
    assert contradiction(Reading(time=0, power_w=phases, power_total_w=total)) == words


def test_a_meter_is_doubted_when_it_repeats_itself_for_longer_than_is_its_habit() -> None:
    watch = StillWatch()
    for still_s in (0.0, 3.0, STILL_S):
        watch.see(still_s)
        assert not watch.doubted
    watch.see(STILL_S + 1)
    assert watch.doubted
    watch.see(0.0)  # it was its habit
    watch.see(2 * STILL_S + 2)
    assert not watch.doubted
    watch.see(2 * STILL_S + 3)
    assert watch.doubted
