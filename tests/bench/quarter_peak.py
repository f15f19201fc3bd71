"""Energy that a quarter-hour budget gives cars, against an instantaneous limit of the same power."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from itertools import pairwise

from controller.load_management.energy.energy_settings import EnergySettings, PeakSettings
from controller.load_management.sharing_settings import SiteSettings
from controller.load_management.site_tree import PhaseAmps
from tests.bench.site.simulated_cars import SimulatedBuilding
from tests.scenario.site_harness import Building, CarModel, SiteHarness, make_grid, make_station

BEGIN = datetime(2026, 11, 27, 12, tzinfo=UTC).timestamp()
LIMIT_A = 100.0
VOLTS = 230.0
TARGET_W = 0.6 * 3 * LIMIT_A * VOLTS
"""A target of 60 % of the grid connection."""
QUARTER_S = 900
SITES = 3
QUARTERS = 5


def _building(kind: str, seed: int) -> Building:
    rng = random.Random(seed)
    made = SimulatedBuilding(rng, LIMIT_A, 0.0)
    while made.kind != kind:
        made = SimulatedBuilding(rng, LIMIT_A, 0.0)

    def load(now: float) -> PhaseAmps:
        first, second, third = made.step(now)
        return (first, second, third)

    return load


def _run(kind: str, seed: int, *, by_peak: bool) -> SiteHarness:
    energy = EnergySettings(peaks={"grid": PeakSettings(target_w=TARGET_W)}) if by_peak else EnergySettings()
    circuit = make_grid(LIMIT_A, base_load_a=40.0, limit_w=None if by_peak else TARGET_W)
    cars = [make_station(name, car=CarModel()) for name in ("A", "B", "C")]
    site = SiteHarness((circuit,), cars, _building(kind, seed), SiteSettings(energy=energy), utc=BEGIN)
    site.connect()
    site.wait(QUARTERS * QUARTER_S)
    return site


def bench() -> list[dict[str, object]]:
    """Return one row for each kind of building."""
    rows: list[dict[str, object]] = []
    for kind in ("calm", "normal", "lively"):
        energies, highest_w, stops = [0.0, 0.0], 0.0, [0, 0]
        for seed in range(SITES):
            for index, by_peak in enumerate((False, True)):
                site = _run(kind, seed, by_peak=by_peak)
                energies[index] += sum(each.energy_as for each in site.stations.values())
                offered_a = [[limit for _, limit in each.leases] for each in site.stations.values()]
                stops[index] += sum(b == 0 < a for each in offered_a for a, b in pairwise(each))
                if by_peak:
                    powers = [VOLTS * sum(amps) for amps in site.flowed]
                    means = [
                        sum(powers[k : k + QUARTER_S]) / QUARTER_S for k in range(0, len(powers), QUARTER_S)
                    ]
                    highest_w = max(highest_w, *means)
        rows.append(
            {
                "what": f"{kind} building, {SITES} sites, {QUARTERS} quarter hours",
                "energy_by_budget_of_that_by_limit": round(energies[1] / energies[0], 3),
                "highest_quarter_of_target": round(highest_w / TARGET_W, 4),
                "stops_by_limit": stops[0],
                "stops_by_budget": stops[1],
            }
        )
    return rows
