from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.demo.simulated_car import Car, CarSpec

STEP_S = 0.1


def drive(car: Car, offered_a: float, since: float, seconds: float) -> float:
    """Let the car live with one offer; the time afterwards."""
    steps = round(seconds / STEP_S)
    for step in range(1, steps + 1):
        car.advance(offered_a, since + step * STEP_S, STEP_S, 230.0, 1)
    return since + steps * STEP_S


def a_car(**changes: float) -> Car:
    spec = {"phases": 1, "max_a": 16.0, "need_wh": 1e6, "ramp_s": 4.0, "reaction_s": 2.0, "resume_s": 3.0}
    return Car(CarSpec(**(spec | changes)))  # type: ignore[arg-type]


def test_car_starts_after_reaction_and_rises_with_its_ramp() -> None:
    car = a_car()
    now = drive(car, 16.0, 0.0, 4.9)
    assert car.current_a == 0.0
    now = drive(car, 16.0, now, 2.2)
    assert car.current_a == pytest.approx(8.0, abs=1.0)
    drive(car, 16.0, now, 3.0)
    assert car.current_a == 16.0


def test_car_obeys_a_cut_after_its_reaction_time() -> None:
    car = a_car()
    now = drive(car, 16.0, 0.0, 20.0)
    now = drive(car, 8.0, now, 1.9)
    assert car.current_a == 16.0
    drive(car, 8.0, now, 0.4)
    assert car.current_a == 8.0


def test_simulated_car_less_than_six_amperes_is_pause() -> None:
    car = a_car()
    now = drive(car, 16.0, 0.0, 20.0)
    drive(car, 5.9, now, 3.0)
    assert car.current_a == 0.0


def test_car_tapers_and_stops_at_its_energy_need() -> None:
    car = a_car(need_wh=20.0)
    seen = []
    for step in range(1, 1200):
        car.advance(16.0, step * STEP_S, STEP_S, 230.0, 1)
        seen.append(car.current_a)
    assert car.full
    assert seen[-1] == 0.0
    assert any(6.0 < amps < 16.0 for amps in seen[seen.index(16.0) :])
    assert car.charged_wh == pytest.approx(20.0, abs=0.5)


@given(
    offers=st.lists(st.floats(0, 40), min_size=1, max_size=20),
    reaction_s=st.floats(1, 5),
    ramp_s=st.floats(2, 6),
)
def test_car_draws_at_most_the_highest_offer_of_its_reaction_time(
    offers: list[float], reaction_s: float, ramp_s: float
) -> None:
    car = a_car(reaction_s=reaction_s, ramp_s=ramp_s)
    now, history = 0.0, [0.0]
    for offer in offers:
        for _ in range(10):
            now += STEP_S
            history.append(offer)
            car.advance(offer, now, STEP_S, 230.0, 1)
            window = history[-(math.ceil(reaction_s / STEP_S) + 2) :]
            assert car.current_a <= min(16.0, max(window)) + 1e-9
            assert car.current_a == 0.0 or car.current_a > 0.0
