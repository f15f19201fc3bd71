"""Parts of the moves of the EVSEs' draw that a meter above them shows."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from controller.load_management.evse.consumption import OfferCredit
from controller.load_management.metering.sum_check import SumCheck
from controller.load_management.site_tree import PhaseAmps

BUILDING_A = 8.0
NEVER = [0.0] * 3
EARLY_S = 1000.0


class PartlyShownCar:
    """A building and a car on `phases`, read each second. `part`: what the meter shows of each phase."""

    def __init__(self, part: float | PhaseAmps, phases: tuple[int, ...] = (0, 1, 2)) -> None:
        self.check = SumCheck()
        self.parts = part if isinstance(part, tuple) else (part, part, part)
        self.building: Callable[[float], PhaseAmps] = lambda now: (BUILDING_A,) * 3
        self.silent_a = 0.0
        """Offer of another car, whose station reports nothing and which draws half of it."""
        self.now = EARLY_S
        self._phases = phases
        self._least_a = self._most_a = self._drawn_a = 0.0
        self.wait(20)

    def wait(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1.0
            flow_a = [
                load_a + self._on(phase, self._drawn_a) + self.silent_a / 2
                for phase, load_a in enumerate(self.building(self.now))
            ]
            first, second, third = (part * amps for part, amps in zip(self.parts, flow_a, strict=True))
            least_a = tuple(self._on(phase, self._least_a) for phase in range(3))
            most_a = tuple(self._on(phase, self._most_a) + self.silent_a for phase in range(3))
            draw = OfferCredit.within(least_a, most_a, least_a)  # type: ignore[arg-type]
            self.check.on_reading((first, second, third), draw, NEVER, self.now)

    def _on(self, phase: int, amps: float) -> float:
        return amps if phase in self._phases else 0.0

    def move(self, to_a: float, *, reported_a: float | None = None) -> None:
        """Let the car follow an offer of `to_a` within 5 s, and report that 10 s later."""
        reported_a = to_a if reported_a is None else reported_a
        before_a = self._drawn_a
        self._least_a, self._most_a = min(before_a, to_a), max(before_a, to_a)
        self.wait(5)
        self._drawn_a = to_a
        self.wait(10)
        self._least_a = self._most_a = to_a
        step_a = reported_a - before_a
        first, second, third = (self._on(phase, step_a) for phase in range(3))
        self.check.ratios.add_step((first, second, third))
        self.wait(15)

    @property
    def small(self) -> list[int]:
        return [*self.check.ratios.small_parts()]


@pytest.mark.parametrize("part", [0.33, 0.5, 0.67, 0.7, 0.75, 0.8, 0.85])
def test_part_that_all_phases_show_is_small_after_one_move(part: float) -> None:
    site = PartlyShownCar(part)
    site.move(16.0)
    assert site.small == [0, 1, 2]
    assert site.check.ratios.small_parts()[0] == pytest.approx(part)


@pytest.mark.parametrize("part", [0.9, 0.95, 1.0, 1.1, 2.0])
def test_part_that_right_meter_may_show_is_not_small(part: float) -> None:
    site = PartlyShownCar(part)
    for _ in range(10):
        site.move(16.0)
        site.move(6.0)
    assert site.small == []


@pytest.mark.parametrize("part", [0.5, 0.7, 0.8])
def test_part_of_one_phase_is_small_after_two_moves(part: float) -> None:
    site = PartlyShownCar((part, 1.0, 1.0))
    site.move(16.0)
    assert site.small == []
    site.move(6.0)
    assert site.small == [0]


def test_small_moves_are_judged_where_building_is_at_rest() -> None:
    site = PartlyShownCar(0.75, phases=(1,))
    site.move(16.0)
    site.move(13.0)
    assert site.small == [1]


def test_ratio_that_was_right_needs_more_small_moves() -> None:
    site = PartlyShownCar(1.0, phases=(0,))
    for _ in range(3):
        site.move(16.0)
        site.move(6.0)
    site.parts = (0.7, 0.7, 0.7)
    site.wait(100)
    for number in range(3):
        site.move(16.0 if number % 2 == 0 else 6.0)
        assert site.small == []
    site.move(6.0)
    assert site.small == [0]


def test_right_moves_after_small_ones_clear_ratio() -> None:
    site = PartlyShownCar(0.7)
    site.move(16.0)
    site.parts = (1.0, 1.0, 1.0)
    site.wait(100)
    site.move(6.0)
    assert site.small == [0, 1, 2]
    site.move(16.0)
    assert site.small == []


def test_part_that_is_missed_is_no_ratio() -> None:
    site = PartlyShownCar(0.2)
    for _ in range(3):
        site.move(16.0)
        site.move(6.0)
    assert site.small == []


def test_car_that_moves_before_its_station_reports_it_shows_no_ratio() -> None:
    # The readings move 40 s before the report, while no offer changes: its late report is no missing part.
    site = PartlyShownCar(1.0)
    site.move(16.0)
    for drawn_a in (10.0, 16.0) * 3:
        site.building = lambda now, rest_a=drawn_a - site._least_a: (BUILDING_A + rest_a,) * 3  # type: ignore[misc]
        site.wait(40)
        step_a = drawn_a - site._least_a
        site.building = lambda now: (BUILDING_A,) * 3
        site._least_a = site._most_a = site._drawn_a = drawn_a
        site.check.ratios.add_step((step_a, step_a, step_a))
        site.wait(30)
    assert site.small == []


def test_car_that_draws_more_than_its_offer_shows_no_ratio() -> None:
    # It draws 0.7 A beyond each offer: its fall from its own limit of 16 A is smaller than that of the offer.
    site = PartlyShownCar(1.0)
    site.move(16.0)
    for to_a in (13.0, 16.0) * 4:
        shown_a = 16.0 if to_a == 16.0 else 13.7
        site.building = lambda now, more_a=shown_a - to_a: (BUILDING_A + more_a,) * 3  # type: ignore[misc]
        before_a = 13.7 if to_a == 16.0 else 16.0
        site.move(to_a, reported_a=site._drawn_a + shown_a - before_a)
    assert site.small == []


def test_car_without_reports_does_not_hide_ratio_while_its_offer_stays() -> None:
    site = PartlyShownCar(0.7)
    site.silent_a = 12.0
    site.wait(200)
    site.move(16.0)
    assert site.small == [0, 1, 2]


def test_busy_building_makes_no_ratio_small() -> None:
    # It reduces cars whenever a load comes: each cut follows a rise of the readings by as much.
    for seed in range(20):
        site, rng = PartlyShownCar(1.0), random.Random(seed)
        loads: list[float] = [0.0, 0.0, 0.0]
        site.building = lambda now, loads=loads: (BUILDING_A + loads[0], BUILDING_A + loads[1], BUILDING_A)  # type: ignore[misc]
        for _ in range(40):
            loads[rng.randrange(3)] = rng.choice([0.0, 5.0, 10.0])
            site.wait(rng.randint(1, 20))
            site.move(rng.choice([6.0, 11.0, 16.0]))
        assert site.small == []
