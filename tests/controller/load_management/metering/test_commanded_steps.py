"""Limits that stations have accepted, looked for in the readings of a meter above them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from controller.load_management.evse.consumption import CommandedStep
from controller.load_management.metering.commanded_steps import LEAST_MOVE_A, PROOF_S, CommandedSteps
from controller.load_management.metering.meter_window import MeterWindow
from controller.load_management.site_tree import PhaseAmps
from controller.model.observations import EvseRef

A, B = EvseRef("A", 1), EvseRef("B", 1)
FOLLOWS_S = 3.0
TAKES_S = 20.0
Meter = Callable[[PhaseAmps, PhaseAmps], PhaseAmps]
"""Shown currents of a building's and the cars' true ones."""


def right(building: PhaseAmps, cars: PhaseAmps) -> PhaseAmps:
    return building[0] + cars[0], building[1] + cars[1], building[2] + cars[2]


def backwards(building: PhaseAmps, cars: PhaseAmps) -> PhaseAmps:
    first, second, third = right(building, cars)
    return -first, -second, -third


def swapped(building: PhaseAmps, cars: PhaseAmps) -> PhaseAmps:
    first, second, third = right(building, cars)
    return second, first, third


def before_the_cars(building: PhaseAmps, cars: PhaseAmps) -> PhaseAmps:
    return building


def commanded(ref: EvseRef, delta_a: PhaseAmps, at: float, *, is_known: bool = True) -> CommandedStep:
    return CommandedStep(
        ref=ref,
        delta_a=delta_a,
        at=at,
        takes_s=TAKES_S,
        slowest_s=TAKES_S,
        report_s=300.0,
        is_known=is_known,
    )


class FollowingCar:
    """A building of 8 A and a car of 16 A on L1 that follows each limit `FOLLOWS_S` later, by the second."""

    def __init__(self, meter: Meter = right, phases: int = 1, read_each_s: int = 1) -> None:
        self.window = MeterWindow(600.0)
        self.steps = CommandedSteps(self.window)
        self.building: Callable[[float], PhaseAmps] = lambda now: (8.0, 5.0, 3.0)
        self.now = 0.0
        self.proven: set[int] = set()
        self._meter = meter
        self._phases = phases
        self._read_each_s = read_each_s
        self._drawn_a = 16.0
        self._follows: list[tuple[float, float]] = []
        self.wait(150)

    def wait(self, seconds: int) -> None:
        """Read the meter each `read_each_s`."""
        for _ in range(seconds):
            self.now += 1.0
            for at, amps in self._follows:
                if self.now >= at:
                    self._drawn_a = amps
            if self.now % self._read_each_s:
                continue
            shown = self._meter(self.building(self.now), self._on_phases(self._drawn_a))
            self.window.add_reading(shown, self.now)
            self.proven |= set(self.steps.on_reading(self.now))

    def _on_phases(self, amps: float) -> PhaseAmps:
        first, second, third = (amps if phase < self._phases else 0.0 for phase in range(3))
        return first, second, third

    def limit(self, limit_a: float, *, is_known: bool = True, follows: bool = True) -> None:
        """Let the station of the car accept a limit."""
        before_a = self._follows[-1][1] if self._follows else self._drawn_a
        self._follows.append((self.now + FOLLOWS_S, limit_a if follows else before_a))
        delta_a = self._on_phases(limit_a - before_a)
        self.steps.add(commanded(A, delta_a, self.now, is_known=is_known))


@pytest.mark.parametrize(("phases", "moves"), [(1, 3), (2, 3), (3, 2)])
def test_moves_that_are_seen_in_a_row_prove_their_phases(phases: int, moves: int) -> None:
    site = FollowingCar(phases=phases)
    begun_at = site.now
    for number in range(moves):
        assert site.proven == set()
        site.limit((10.0, 16.0)[number % 2])
        site.wait(60)
    assert site.proven == set(range(phases))
    assert site.steps.seen_from == [begun_at] * phases + [-math.inf] * (3 - phases)
    begun_at = site.now
    for number in range(moves, 2 * moves):
        site.limit((10.0, 16.0)[number % 2])
        site.wait(60)
    assert site.steps.seen_from[0] == begun_at


@pytest.mark.parametrize("read_each_s", [2, 5, 10])
def test_moves_prove_phase_of_meter_that_is_seldom_read(read_each_s: int) -> None:
    site = FollowingCar(read_each_s=read_each_s)
    for limit_a in (10.0, 16.0, 10.0):
        site.limit(limit_a)
        site.wait(60)
    assert site.proven == {0}


@pytest.mark.parametrize("read_each_s", [1, 10])
@pytest.mark.parametrize("meter", [backwards, swapped, before_the_cars])
def test_wrong_meter_is_not_proven(meter: Meter, read_each_s: int) -> None:
    site = FollowingCar(meter, read_each_s=read_each_s)
    for limit_a in (10.0, 16.0) * 3:
        site.limit(limit_a)
        site.wait(60)
    assert site.proven == set()


def test_two_loads_of_building_prove_no_meter_before_the_cars() -> None:
    # A load of 6 A goes off as the car is lowered by as much, and comes back as it rises.
    site = FollowingCar(before_the_cars)
    off_at = site.now + FOLLOWS_S
    site.building = lambda now: (2.0 if off_at <= now < off_at + 60 else 8.0, 5.0, 3.0)
    for limit_a in (10.0, 16.0) * 3:
        site.limit(limit_a)
        site.wait(60)
    assert site.proven == set()


def test_phase_that_shows_the_contrary_proves_none() -> None:
    site = FollowingCar(lambda building, cars: (building[0] - cars[0], building[1] + cars[1], 0.0), phases=2)
    for limit_a in (10.0, 16.0) * 3:
        site.limit(limit_a)
        site.wait(60)
    assert site.proven == set()


def test_restless_building_hides_moves() -> None:
    site = FollowingCar()
    site.building = lambda now: (8.0 + 2.0 * (now % 5 < 2), 5.0, 3.0)
    for limit_a in (10.0, 16.0, 10.0, 16.0):
        site.limit(limit_a)
        site.wait(60)
    assert site.proven == set()


def test_car_that_has_become_full_proves_nothing_and_is_no_fault() -> None:
    site = FollowingCar()
    site.limit(10.0, follows=False)
    site.wait(60)
    assert site.proven == set()
    site.wait(120)
    for limit_a in (6.0, 16.0, 10.0):
        site.limit(limit_a)
        site.wait(60)
    assert site.proven == {0}


def test_limit_of_car_whose_draw_is_unknown_hides_others() -> None:
    site = FollowingCar()
    for limit_a in (10.0, 16.0) * 2:
        site.limit(limit_a)
        site.steps.add(commanded(B, (6.0, 0.0, 0.0), site.now, is_known=False))
        site.wait(60)
    assert site.proven == set()


def test_limits_that_follow_each_other_are_one_move() -> None:
    site = FollowingCar()
    for limits in ((13.0, 10.0), (13.0, 16.0), (10.0,)):
        for limit_a in limits:
            site.limit(limit_a)
            site.wait(5)
        assert site.proven == set()
        site.wait(60)
    assert site.proven == {0}


def test_small_moves_and_moves_far_apart_prove_nothing() -> None:
    site = FollowingCar()
    for limit_a in (16.0 - LEAST_MOVE_A + 0.1, 16.0) * 3:
        site.limit(limit_a)
        site.wait(150)
    for limit_a in (10.0, 16.0, 10.0, 16.0):
        site.limit(limit_a)
        site.wait(int(PROOF_S) + 1)
    assert site.proven == set()


def test_car_may_return_once_its_move_was_seen_and_readings_were_at_rest() -> None:
    site = FollowingCar()
    begun_at = site.now
    site.limit(10.0)
    lasted = 0
    while not site.steps.may_return(begun_at, site.now):
        site.wait(1)
        lasted += 1
    assert 15 <= lasted <= 30
    for limit_a in (16.0, 10.0):
        site.limit(limit_a)
        site.wait(lasted)
    assert site.proven == {0}


def test_needed_move_stands_out_of_what_one_phase_has_moved_of_late() -> None:
    site = FollowingCar()
    site.building = lambda now: (8.0 + now % 2, 5.0 + 3.0 * (now % 2), 3.0)
    site.wait(150)
    assert site.steps.needed_move_a((0, 1), site.now) == pytest.approx(4.0)
    assert site.steps.needed_move_a((2,), site.now) == LEAST_MOVE_A
    assert site.steps.needed_move_a((2,), site.now + 1000.0) == math.inf
    site.window.drop_readings()
    site.wait(60)
    assert site.steps.needed_move_a((2,), site.now) == math.inf


def test_moves_from_before_readings_were_dropped_prove_nothing() -> None:
    site = FollowingCar()
    for limit_a in (10.0, 16.0):
        site.limit(limit_a)
        site.wait(60)
    site.steps.clear()
    site.wait(120)
    site.limit(10.0)
    site.wait(60)
    assert site.proven == set()
