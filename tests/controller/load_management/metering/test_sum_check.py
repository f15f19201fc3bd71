"""Moves of all EVSEs together, looked for in the readings of a meter above them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from controller.load_management.evse.consumption import OfferCredit
from controller.load_management.metering.sum_check import (
    BEFORE_S,
    FIRST_PROBE_S,
    MISSES,
    MISSES_S,
    PROBE_S,
    SumCheck,
)
from controller.load_management.site_tree import LEAST_CAR_A

BUILDING_A = 8.0
NEVER = [-math.inf] * 3
QUARTER_S = 900


class CarsOnOnePhase:
    """A building of 8 A and cars that draw `drawn_a`, all on L1, read each second.

    L3 moves by `lively_a` in turn, so that the readings are not quiet as a whole.
    """

    def __init__(self, slack_a: float = 0.0, lively_a: float = 2.0) -> None:
        self.check = SumCheck()
        self.drawn_a = 0.0
        self.building_a = BUILDING_A
        self.shown: Callable[[], float] = lambda: self.building_a + self.drawn_a
        self.seen_from = [*NEVER]
        self.now = 0.0
        self._slack_a = slack_a
        self._lively_a = lively_a

    def wait(self, seconds: int) -> list[list[int]]:
        """Return the phases that are wrong, of each reading that shows some."""
        found = []
        for _ in range(seconds):
            self.now += 1.0
            drawn = (self.drawn_a, 0.0, 0.0)
            most = (self.drawn_a + self._slack_a, 0.0, 0.0)
            noise_a = 0.1 * (self.now % 3)
            reading = (self.shown() + noise_a, 3.0 - noise_a, 3.0 + self._lively_a * (self.now % 2))
            draw = OfferCredit.within(drawn, most, drawn)
            if wrong := self.check.on_reading(reading, draw, self.seen_from, self.now):
                found.append(wrong)
        return found

    def charge_long(self, drawn_a: float) -> None:
        """Let the cars draw so much for a quarter of an hour."""
        self.drawn_a = drawn_a
        self.wait(QUARTER_S)

    def show_building_alone(self, seconds: int) -> None:
        """Let the meter not see the cars from now on, and wait."""
        self.shown = lambda: self.building_a
        self.wait(seconds)

    def move(self, times: int, by_a: float = 6.0) -> list[list[int]]:
        """Let the cars rise and fall in turn, and wait after each."""
        found = self.wait(40)
        for number in range(times):
            self.drawn_a += by_a if number % 2 == 0 else -by_a
            found += self.wait(40)
        return found


def test_meter_that_follows_cars_is_right() -> None:
    site = CarsOnOnePhase()
    assert site.move(20) == []


def test_meter_that_is_ahead_of_reports_is_right() -> None:
    # A report that was measured before its car followed a new offer is 8 s behind the readings.
    site = CarsOnOnePhase()
    flows_a = 0.0
    site.shown = lambda: BUILDING_A + flows_a
    site.wait(40)
    for number in range(10):
        flows_a = 6.0 if number % 2 == 0 else 0.0
        assert site.wait(8) == []
        site.drawn_a = flows_a
        assert site.wait(60) == []


def test_meter_that_holds_still_is_wrong_from_third_move_on() -> None:
    site = CarsOnOnePhase()
    site.shown = lambda: BUILDING_A
    assert site.move(MISSES - 1) == []
    assert site.move(2)[0] == [0]


def test_quiet_meter_is_wrong_from_second_small_move_on() -> None:
    site = CarsOnOnePhase(lively_a=0.5)
    site.shown = lambda: BUILDING_A
    site.wait(60)
    assert site.move(1, by_a=3.5) == []
    assert site.move(1, by_a=-3.5)[0] == [0]


def test_small_moves_show_nothing_where_building_moves() -> None:
    site = CarsOnOnePhase()
    site.shown = lambda: BUILDING_A
    site.wait(60)
    assert site.move(10, by_a=3.5) == []


def test_quiet_readings_that_have_moved_before_late_report_miss_nothing() -> None:
    # The stations report each rise 30 s after the meter has shown it: a miss, but not of a quiet meter.
    site = CarsOnOnePhase(lively_a=0.5)
    site.wait(60)
    for _ in range(MISSES - 1):
        site.building_a += 6.0
        assert site.wait(30) == []
        site.building_a -= 6.0
        site.drawn_a += 6.0
        assert site.wait(60) == []


def test_misses_that_are_far_apart_do_not_add_up() -> None:
    site = CarsOnOnePhase(lively_a=0.5)
    site.shown = lambda: BUILDING_A
    for _ in range(4):
        site.wait(int(MISSES_S))
        assert site.move(1) == []
        site.drawn_a = 0.0
        site.check.clear()


def test_small_rises_in_a_row_are_one_move() -> None:
    # Rises of 2 A each 10 s are no steps of their own: 6 A of them are a move.
    site = CarsOnOnePhase()
    site.show_building_alone(60)
    found = []
    for _ in range(12):
        site.drawn_a += 2.0
        found += site.wait(10)
    assert found[0] == [0]


def test_move_that_is_not_sure_shows_nothing() -> None:
    # The cars may draw 5 A more than they report: of a rise by 6 A only 1 A is sure.
    site = CarsOnOnePhase(slack_a=5.0)
    site.shown = lambda: BUILDING_A
    assert site.move(10) == []


def test_building_that_moves_hides_moves() -> None:
    # The building changes by 3 A each second: what a meter that does not see the cars shows, a right one may.
    site = CarsOnOnePhase()
    site.shown = lambda: BUILDING_A + 3.0 * (site.now % 2)
    assert site.move(10) == []


def test_move_that_is_seen_ends_misses() -> None:
    site = CarsOnOnePhase()
    for _ in range(6):
        site.shown = lambda: BUILDING_A
        site.move(MISSES - 1)
        site.shown = lambda: site.building_a + site.drawn_a
        assert site.move(1) == []


@pytest.mark.parametrize("drawn_a", [14.0, 32.0])
def test_load_from_before_fall_counts_until_step_is_seen(drawn_a: float) -> None:
    # The meter ceases to see the cars: 8 A of the building less their draw would be a feed-in.
    site = CarsOnOnePhase()
    site.charge_long(drawn_a)
    site.show_building_alone(20)
    assert site.check.before_fall_a[0] == pytest.approx(BUILDING_A, abs=0.3)
    assert site.check.before_fall_a[1:] == (-math.inf, -math.inf)
    site.seen_from = [site.now, -math.inf, -math.inf]
    site.wait(1)
    assert site.check.before_fall_a[0] == -math.inf


@pytest.mark.parametrize("ramp_s", [5, 20, 50])
def test_fall_of_meter_that_never_saw_cars_is_found_while_they_start(ramp_s: int) -> None:
    # Cars of 40 A start one after the other: the base load falls to a feed-in, though not in one reading.
    site = CarsOnOnePhase()
    site.show_building_alone(QUARTER_S)
    for _ in range(ramp_s):
        site.drawn_a += 40.0 / ramp_s
        site.wait(1)
    site.wait(15)
    assert site.check.before_fall_a[0] == pytest.approx(BUILDING_A, abs=0.3)


@pytest.mark.parametrize("fall_s", [1, 30, 120])
@pytest.mark.parametrize("drawn_a", [0.0, 3.0])
def test_sun_without_cars_that_draw_is_no_fall(drawn_a: float, fall_s: int) -> None:
    site = CarsOnOnePhase()
    site.charge_long(drawn_a)
    for _ in range(fall_s):
        site.building_a -= 28.0 / fall_s
        site.wait(1)
    site.wait(15)
    assert site.check.before_fall_a[0] == -math.inf
    # Nor is it one as a car starts with it.
    site.drawn_a += 16.0
    site.wait(60)
    assert site.check.before_fall_a[0] == -math.inf


def test_step_from_before_fall_confirms_nothing() -> None:
    site = CarsOnOnePhase()
    site.charge_long(32.0)
    site.seen_from = [site.now - 5.0, -math.inf, -math.inf]
    site.show_building_alone(20)
    assert site.check.before_fall_a[0] == pytest.approx(BUILDING_A, abs=0.3)


@pytest.mark.parametrize(
    ("building_a", "after_a"),
    [
        (20.0, 2.0),  # a load that goes off is no feed-in
        (2.0, -2.0),  # less than the step of a car
    ],
)
def test_load_that_goes_off_is_no_fall(building_a: float, after_a: float) -> None:
    site = CarsOnOnePhase()
    site.building_a = building_a
    site.charge_long(10.0)
    site.building_a = after_a
    site.wait(60)
    assert site.check.before_fall_a[0] == -math.inf


def test_sun_behind_cloud_is_no_fall() -> None:
    # 20 A of feed-in were there ten minutes ago.
    site = CarsOnOnePhase()
    site.drawn_a = 10.0
    site.building_a = -20.0
    site.wait(300)
    site.building_a = 4.0
    site.wait(600)
    site.building_a = -20.0
    site.wait(60)
    assert site.check.before_fall_a[0] == -math.inf


def test_car_that_stops_before_its_message_is_no_fall() -> None:
    # Its current ends 5 s before its station reports that.
    site = CarsOnOnePhase()
    site.charge_long(32.0)
    site.show_building_alone(5)
    site.drawn_a = 0.0
    site.wait(60)
    assert site.check.before_fall_a[0] == -math.inf


def test_load_from_before_first_fall_counts_after_further_falls() -> None:
    # Cars that rise, or another load that goes off, let the base load fall again: it was no base load then.
    site = CarsOnOnePhase()
    site.charge_long(14.0)
    site.show_building_alone(int(BEFORE_S))
    for _ in range(3):
        site.drawn_a += 6.0
        site.wait(int(2 * BEFORE_S))
        assert site.check.before_fall_a[0] == pytest.approx(BUILDING_A, abs=0.3)


def test_probe_leaves_cars_step_for_moment_soon_and_each_quarter_of_hour() -> None:
    site = CarsOnOnePhase()
    site.charge_long(32.0)
    site.show_building_alone(int(BEFORE_S))
    counted, ends = [], []
    for _ in range(int(FIRST_PROBE_S + PROBE_S + QUARTER_S + PROBE_S)):
        site.wait(1)
        counted.append(round(site.check.before_fall_a[0]))
        ends.append(site.check.ends_probe)
    assert set(counted) == {round(BUILDING_A), round(BUILDING_A - LEAST_CAR_A)}
    assert counted.count(round(BUILDING_A - LEAST_CAR_A)) == 2 * PROBE_S
    assert ends.count(True) == 2
    assert counted[ends.index(True)] == round(BUILDING_A)
