"""Small sites in steady state, each with the draws (A per phase) that were computed by hand.

A share may be 0.35 A below the computed one: limits have one decimal, and are the same on all phases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from controller.load_management.events import SiteDimmed
from controller.load_management.site_tree import CircuitNode, PhaseAmps
from controller.model.observations import NeedsSeen
from tests.scenario.site_harness import Building, Car, SiteHarness, StationModel, make_grid, make_station

TOLERANCE_A = 0.35

Act = Callable[[SiteHarness], None]


@dataclass
class Scene:
    """A site, what happens after 200 s, and the draw of each station after `seconds` more."""

    circuit: CircuitNode
    stations: Callable[[], list[StationModel]]
    expected_a: Mapping[str, float]
    building: Building = lambda now: (0.0, 0.0, 0.0)
    acts: list[Act] = field(default_factory=list)
    seconds: int = 400
    circuits: tuple[CircuitNode, ...] = ()


def car(
    name: str, priority: int = 0, most_a: float = 32.0, fallback_a: float = 0.0, **how: object
) -> StationModel:
    """Return a station with a car; on a one-phase station the car uses that phase."""
    phases = how.get("phases", (0, 1, 2))
    used = tuple(range(len(phases))) if isinstance(phases, tuple) else (0, 1, 2)
    found = make_station(name, car=Car(most_a, used), **how)  # type: ignore[arg-type]
    found.evse = replace(found.evse, priority=priority, fallback_a=fallback_a)
    return found


def needs(name: str, energy_wh: float, departs_in_s: float) -> Act:
    return lambda site: site.report(name, NeedsSeen(1, energy_wh, departs_in_s))


def dims(total_w: float) -> Act:
    return lambda site: site.handle(SiteDimmed(total_w=total_w, why="section 14a"))


def steady(*amps: float) -> Building:
    load: PhaseAmps = (amps[0], amps[1], amps[2])
    return lambda now: load


SCENES = {
    "the more important car rises, the other keeps its minimum": Scene(
        make_grid(32.0), lambda: [car("p", 1), car("q")], {"p": 25.0, "q": 6.0}
    ),
    "two important cars share what three minima leave": Scene(
        make_grid(40.0),
        lambda: [car("p1", 1), car("p2", 1), car("q1"), car("q2"), car("q3")],
        {"p1": 10.5, "p2": 10.5, "q1": 6.0, "q2": 6.0, "q3": 6.0},
    ),
    "room for one minimum goes to the more important car": Scene(
        make_grid(11.0), lambda: [car("p", 1), car("q")], {"p": 10.0, "q": 0.0}
    ),
    "a car that must leave soon gets its need first": Scene(
        make_grid(32.0),
        lambda: [car("a"), car("b")],
        {"a": 20.8, "b": 10.2},
        acts=[needs("a", 14_000.0, 3600.0)],
    ),
    "a need beyond the room leaves others their minimum": Scene(
        make_grid(32.0),
        lambda: [car("a"), car("b")],
        {"a": 25.0, "b": 6.0},
        acts=[needs("a", 40_000.0, 3600.0)],
    ),
    "one phase alone leads by the unbalance": Scene(
        make_grid(63.0, unbalance_a=20.0), lambda: [car("a", phases=(0,))], {"a": 20.0}
    ),
    "a third phase that draws 10 A lets two draw 30 A": Scene(
        make_grid(63.0, unbalance_a=20.0),
        lambda: [car("a", phases=(0,)), car("b", phases=(1,)), car("c", most_a=10.0, phases=(2,))],
        {"a": 30.0, "b": 30.0, "c": 10.0},
        seconds=600,
    ),
    "the building's lead of 16 A leaves no minimum on its phase": Scene(
        make_grid(63.0, unbalance_a=20.0),
        lambda: [car("a", phases=(0,)), car("b", phases=(1,))],
        {"a": 0.0, "b": 20.0},
        building=steady(16.0, 0.0, 0.0),
        seconds=600,
    ),
    "a three-phase car does no harm to a building out of balance": Scene(
        make_grid(63.0, unbalance_a=20.0),
        lambda: [car("a"), car("b", phases=(0,)), car("c", phases=(1,))],
        {"a": 32.0, "b": 0.0, "c": 20.0},
        building=steady(25.0, 0.0, 0.0),
        seconds=600,
    ),
    "24 A of feed-in are 8 A on three phases": Scene(
        make_grid(63.0),
        lambda: [car("a", surplus=True)],
        {"a": 8.0},
        building=steady(-8.0, -8.0, -8.0),
        seconds=700,
    ),
    "12 A of feed-in are 12 A on one phase": Scene(
        make_grid(63.0),
        lambda: [car("a", surplus=True, phase_switching=True)],
        {"a": 12.0},
        building=steady(-4.0, -4.0, -4.0),
        seconds=900,
    ),
    "30 A of feed-in later are 10 A on three phases": Scene(
        make_grid(63.0),
        lambda: [car("a", surplus=True, phase_switching=True)],
        {"a": 10.0},
        building=lambda now: (-4.0, -4.0, -4.0) if now < 1100 else (-10.0, -10.0, -10.0),
        seconds=1800,
    ),
    "feed-in that another car takes is no surplus": Scene(
        make_grid(63.0),
        lambda: [car("a", surplus=True), car("b", most_a=16.0)],
        {"a": 0.0, "b": 16.0},
        building=steady(-10.0, -10.0, -10.0),
        seconds=900,
    ),
    "a narrow phase makes a car use one of the others": Scene(
        make_grid(63.0),
        lambda: [car("a", circuit="r", phase_switching=True)],
        {"a": 19.0},
        circuits=(CircuitNode(id="r", parent="grid", limit_a=(20.0, 5.0, 20.0)),),
    ),
    "4.2 kW are 6 A on three phases": Scene(
        make_grid(63.0), lambda: [car("a", steerable=True)], {"a": 6.0}, acts=[dims(4200.0)], seconds=60
    ),
    "15 A of own generation come on top of 4.2 kW": Scene(
        make_grid(63.0),
        lambda: [car("a", steerable=True), make_station("b")],
        {"a": 11.0},
        building=steady(-5.0, -5.0, -5.0),
        acts=[dims(4200.0)],
        seconds=120,
    ),
    "8 kW hold one three-phase minimum, others are untouched": Scene(
        make_grid(63.0),
        lambda: [car("s0", steerable=True), car("s1", steerable=True), car("x")],
        {"s0 + s1": 11.5, "x": 32.0},
        acts=[dims(8000.0)],
    ),
    "8.4 kW are shared by amperes, not by phases": Scene(
        make_grid(63.0),
        lambda: [car("a", steerable=True), car("b", steerable=True, phases=(1,))],
        {"a": 9.1, "b": 9.1},
        acts=[dims(8400.0)],
    ),
    "11 kW less the margin are 11.2 A on four phases": Scene(
        make_grid(63.0, limit_w=11_000.0), lambda: [car("a"), car("b", phases=(1,))], {"a": 11.2, "b": 11.2}
    ),
}


@pytest.mark.parametrize("name", SCENES)
def test_scenes_scene_ends_with_draws_computed_by_hand(name: str) -> None:
    scene = SCENES[name]
    site = SiteHarness((scene.circuit, *scene.circuits), scene.stations(), scene.building)
    site.connect()
    site.wait(200)
    for act in scene.acts:
        act(site)
    site.wait(scene.seconds)
    for names, amps in scene.expected_a.items():
        drawn_a = sum(site.station(each).draw_a for each in names.split(" + "))
        assert drawn_a == pytest.approx(amps, abs=TOLERANCE_A), (
            f"{names}: {site.view(names.split(' ')[0]).reason}"
        )


@pytest.mark.parametrize("report_s", [10, 240, 900, 0])
def test_scene_cars_start_once_with_any_interval_of_reports(report_s: int) -> None:
    site = SiteHarness((make_grid(63.0),), [car(name, report_s=report_s) for name in "ab"])
    site.connect()
    starts, drew = 0, False
    for _ in range(1800):
        site.step()
        draws = site.station("a").draw_a > 0
        starts, drew = starts + (draws and not drew), draws
    assert starts == 1
    assert site.station("a").draw_a == pytest.approx(31.0, abs=TOLERANCE_A)


@pytest.mark.parametrize(("on_s", "off_s"), [(15, 45), (60, 120), (5, 25)])
def test_scenes_scene_pulses_never_cost_more_than_leaving_gaps_unused(on_s: int, off_s: int) -> None:
    def building(now: float) -> PhaseAmps:
        return steady(*(28.0 if now % (on_s + off_s) < on_s else 20.0,) * 3)(now)

    site = SiteHarness((make_grid(40.0),), [car(name) for name in "abc"], building)
    site.connect()
    site.wait(1800)
    mean_a = sum(site.station(name).energy_as for name in "abc") / 1800
    assert mean_a >= 40.0 - 1.0 - 28.0
    assert max(site.limit_changes(name) for name in "abc") < 120
