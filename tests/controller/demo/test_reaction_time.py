from __future__ import annotations

import pytest

from controller.demo.reaction_watch import Reaction, ReactionWatch
from controller.demo.simulated_car import Car, CarSpec
from controller.demo.site_physics import CircuitPlan, PhysicalEvsePlan, SimulatedSite

SURGE_AT, SURGE_A = 20.0, 10.0


@pytest.fixture
def site() -> SimulatedSite:
    """A car with 16 A of 20 A; at 20 s the building takes 10 A, until 30 s."""
    site = SimulatedSite(
        [CircuitPlan(id="grid", parent=None, limit_a=20.0)],
        [PhysicalEvsePlan(key=("S", 1), circuit="grid", phases=(0,), max_a=32.0)],
        {"grid": lambda now: (SURGE_A if SURGE_AT <= now < SURGE_AT + 10 else 0.0, 0.0, 0.0)},
    )
    evse = site.evses["S", 1]
    evse.car = Car(CarSpec(phases=1, max_a=16.0, need_wh=1e6))
    evse.enabled = True
    return site


def run(site: SimulatedSite, watch: ReactionWatch, until: float) -> None:
    while site.now < until:
        site.advance(site.now + 0.1)
        watch.update()
        watch.on_meter_update("grid")


def test_reaction_time_clock_runs_from_overload_to_profile_not_to_car(site: SimulatedSite) -> None:
    watch = ReactionWatch(site)
    run(site, watch, 21.5)
    site.evses["S", 1].limit_a = 10.0
    run(site, watch, 29.0)
    assert watch.result().max == pytest.approx(1.5, abs=0.2)


def test_reaction_time_cut_that_is_not_enough_does_not_stop_clock(site: SimulatedSite) -> None:
    watch = ReactionWatch(site)
    run(site, watch, 21.0)
    site.evses["S", 1].limit_a = 12.0
    run(site, watch, 23.0)
    site.evses["S", 1].limit_a = 10.0
    run(site, watch, 29.0)
    assert watch.result() == Reaction(pytest.approx(3.0, abs=0.2), pytest.approx(3.0, abs=0.2))


def test_reaction_time_overload_that_ends_by_itself_is_no_reaction(site: SimulatedSite) -> None:
    watch = ReactionWatch(site)
    run(site, watch, 40.0)
    assert watch.result() == Reaction(None, None)


def test_reaction_time_overload_without_cut_counts_with_age(site: SimulatedSite) -> None:
    watch = ReactionWatch(site)
    run(site, watch, 28.0)
    assert watch.result().max == pytest.approx(8.0, abs=0.2)
