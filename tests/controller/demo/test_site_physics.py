from __future__ import annotations

import itertools

import pytest

from controller.demo import demo_site as demo_site
from controller.demo.simulated_car import Car, CarSpec
from controller.demo.site_physics import CircuitPlan, PhysicalEvsePlan, SimulatedSite

CIRCUITS = (
    CircuitPlan(id="grid", parent=None, limit_a=20.0),
    CircuitPlan(id="row", parent="grid", limit_a=100.0),
)


def a_site(*phases: tuple[int, ...], load: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> SimulatedSite:
    """EVSEs ("S", 1), ("S", 2)... on the row, each with a quick car for 16 A that takes every phase."""
    plans = [
        PhysicalEvsePlan(key=("S", number), circuit="row", phases=wiring, max_a=32.0)
        for number, wiring in enumerate(phases, start=1)
    ]
    site = SimulatedSite(CIRCUITS, plans, {"grid": lambda _: load})
    for evse in site.evses.values():
        evse.car = Car(CarSpec(phases=3, max_a=16.0, need_wh=1e6, ramp_s=0.1, reaction_s=0.0, resume_s=0.0))
        evse.enabled = True
    return site


def test_site_physics_rotation_puts_stations_phases_on_sites() -> None:
    site = a_site((2, 0, 1), (1,))
    site.evses["S", 2].limit_a = 10.0
    site.advance(5.0)
    assert site.currents_a()["grid"] == pytest.approx((16.0, 26.0, 16.0))
    assert site.evses["S", 2].station_phases_a() == (10.0, 0.0, 0.0)


def test_site_physics_peak_seconds_over_and_energy_are_what_flowed() -> None:
    site = a_site((0,), (0,))
    site.advance(3.0)
    site.evses["S", 1].limit_a = 0.0
    site.advance(5.0)
    record = site.records["grid"]
    assert record.peak_a == pytest.approx((32.0, 0.0, 0.0))
    assert record.seconds_over_limit == pytest.approx(3.0, abs=0.15)
    assert site.records["row"].seconds_over_limit == 0.0
    assert site.energy_wh == pytest.approx((32 * 3 + 16 * 2) * 230 / 3600, rel=0.05)


def test_possible_draw_is_bounded_by_each_circuit_less_its_load() -> None:
    site = a_site((0, 1, 2), (0,), load=(5.0, 0.0, 19.0))
    assert site.possible_a() == pytest.approx((15.0, 16.0, 1.0))


def test_site_physics_no_car_can_beat_possible() -> None:
    site = a_site((0, 1, 2), (1,))
    for evse, limit_a in zip(site.evses.values(), (12.0, 8.0), strict=True):
        evse.limit_a = limit_a
    site.advance(60.0)
    assert 0 < site.energy_wh <= site.possible_wh


def test_loads_are_seeded_and_change_in_small_steps_but_for_surges() -> None:
    load, again = demo_site.building_loads(3)["grid"], demo_site.building_loads(3)["grid"]
    trace = [load(step / 10) for step in range(3000)]
    assert trace == [again(step / 10) for step in range(3000)]
    jumps = [b - a for before, after in itertools.pairwise(trace) for a, b in zip(before, after, strict=True)]
    assert max(jumps) < 18.0
    assert sum(abs(jump) > 6.0 for jump in jumps) <= 6 * (300 // 60 + 1)
    assert min(min(amps) for amps in trace) > 0
