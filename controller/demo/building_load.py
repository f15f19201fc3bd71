"""Loads other than cars: seeded, a pure function of time."""

from __future__ import annotations

import math
import random

import msgspec

from controller.demo.site_physics import PhaseAmps

SWITCH_S = 7.0
"""In each window of this length one small load is switched on one phase."""

SURGE_S = 60.0
"""In each window of this length one large load (lift, kitchen, heat pump) runs for a while."""


class BuildingLoad(msgspec.Struct, frozen=True):
    """A building: a base per phase that swings slowly, small switchings, now and then a surge.

    `base_a` is the mean of the quiet load, `surge_a` the size of a surge on all phases (A).
    """

    seed: int
    base_a: PhaseAmps
    surge_a: float

    def __call__(self, now: float) -> PhaseAmps:
        """Return A per phase at `now` (s since the start)."""
        swing = [
            base * (1 + 0.1 * math.sin(now / 17 + 2 * phase + self.seed))
            for phase, base in enumerate(self.base_a)
        ]
        self._add_switching(swing, now)
        self._add_surge(swing, now)
        return swing[0], swing[1], swing[2]

    def _add_switching(self, amps: list[float], now: float) -> None:
        dice = random.Random(f"{self.seed}/switch/{int(now // SWITCH_S)}")
        phase, begins, size_a = dice.randrange(3), dice.uniform(0, SWITCH_S / 2), dice.uniform(0.5, 2.5)
        if now % SWITCH_S >= begins:
            amps[phase] += min(size_a, self.base_a[phase] / 4)

    def _add_surge(self, amps: list[float], now: float) -> None:
        dice = random.Random(f"{self.seed}/surge/{int(now // SURGE_S)}")
        begins, lasts = dice.uniform(22, 32), dice.uniform(10, 16)
        if begins <= now % SURGE_S < begins + lasts:
            for phase in range(3):
                amps[phase] += self.surge_a * dice.uniform(0.7, 1.0)
