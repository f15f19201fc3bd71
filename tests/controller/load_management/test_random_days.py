"""Half an hour of cars that come and go, links that break, and a building that jumps."""

from __future__ import annotations

import random

import pytest

from controller.load_management.site_tree import PhaseAmps
from tests.scenario.site_harness import CarModel, SiteHarness, StationModel, make_grid, make_row, make_station

CONNECTING_S = 40
"""At first the stations have no limit in them."""
SEEDS = (*range(8), 11, 19, 21, 26, 34, 46, 166, 202)
CUT_S = 2 + 2 + 5 + 1
"""A step shows in the meter, the slowest station answers, the slowest car obeys, and one reading more."""


def some_car(chance: random.Random) -> CarModel:
    phases = chance.choice([(0,), (0, 1), (0, 1, 2), (0, 1, 2)])
    return CarModel(chance.choice([10.0, 16.0, 20.0, 32.0]), phases)


def some_station(chance: random.Random, name: str, *, sun: bool) -> StationModel:
    return make_station(
        name,
        chance.choice(["grid", "a", "b"]),
        phases=chance.choice([(0, 1, 2), (1, 2, 0), (2, 0, 1)]),
        car=some_car(chance) if chance.random() < 0.7 else None,
        answer_s=chance.choice([0.2, 1.0, 2.0]),
        reaction_s=chance.choice([1, 2, 3, 5]),
        report_s=chance.choice([10, 15, 30, 60, 0]),
        phase_switching=True,
        surplus=sun and chance.random() < 0.5,
    )


class JumpingBuilding:
    """A load that jumps every few minutes, with a little noise on it; with feed-in of up to `sun_a`."""

    def __init__(self, chance: random.Random, highest_a: float, sun_a: float = 0.0) -> None:
        self._chance = chance
        self._sun_a = sun_a
        self._highest_a = highest_a
        self._load = (10.0, 10.0, 10.0)
        self._until = 200.0

    def __call__(self, now: float) -> PhaseAmps:
        chance = self._chance
        if now >= self._until:
            first, second, third = (chance.uniform(-self._sun_a, self._highest_a) for _ in range(3))
            self._load = (first, second, third)
            self._until = now + chance.randint(30, 400)
        noise = chance.uniform(0.0, 0.5)
        return (self._load[0] + noise, self._load[1] + noise, self._load[2] + noise)


def something_happens(site: SiteHarness, chance: random.Random, away: dict[str, float]) -> None:
    """A car comes or goes, or a link breaks; broken links come back within 20 s."""
    name = chance.choice(list(site.stations)).station
    if name in away:
        return
    if chance.random() < 0.6:
        site.plug_in(name, None if site.station(name).car else some_car(chance))
    else:
        site.disconnect(name)
        away[name] = site.now + chance.randint(1, 20)


@pytest.mark.parametrize(("seed", "sun_a"), [*((seed, 0.0) for seed in SEEDS), (8, 60.0), (9, 60.0)])
def test_every_overload_ends_as_soon_as_stations_can_obey(seed: int, sun_a: float) -> None:
    chance = random.Random(seed)
    limit_a = chance.uniform(70.0, 130.0)
    stations = [some_station(chance, f"S{i}", sun=sun_a > 0) for i in range(chance.randint(2, 8))]
    circuits = (make_grid(limit_a), make_row("a", 63.0), make_row("b", 63.0))
    site = SiteHarness(circuits, stations, JumpingBuilding(chance, limit_a - 40.0, sun_a))
    site.connect()
    away: dict[str, float] = {}
    for _ in range(1800):
        site.step()
        for name in [name for name, until in away.items() if until <= site.now]:
            del away[name]
            site.connect(name)
        if chance.random() < 0.01:
            something_happens(site, chance, away)
    for flowed in site.row_flowed.values():
        del flowed[:CONNECTING_S]
    assert site.longest_over("grid", limit_a) <= CUT_S
    assert site.longest_over("a", 63.0) == site.longest_over("b", 63.0) == 0
    assert max(site.limit_changes(ref.station) for ref in site.stations) < 100
