"""Buildings, cars and stations of a random site, one second a step. Currents in A."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Sequence

from controller.load_management.events import SetLimit
from controller.load_management.site_tree import EvseNode
from controller.model.observations import EvseState
from controller.profiles.limit_profiles import LimitKind

MIN_PILOT_A = 5.95
DRAWING_A = 0.3


class CyclicLoad:
    """A device that is on and off for random times, with an inrush at each start."""

    def __init__(
        self,
        rng: random.Random,
        phases: Sequence[int],
        amps: float,
        on_s: tuple[float, float],
        off_s: tuple[float, float],
        inrush: float = 1.0,
    ) -> None:
        self.amps = amps
        self._rng, self._phases, self._on_s, self._off_s, self._inrush = rng, phases, on_s, off_s, inrush
        self._is_on, self._until, self._since = False, rng.uniform(0, off_s[1]), 0.0

    def add(self, now: float, totals: list[float]) -> None:
        if now >= self._until:
            self._is_on, self._since = not self._is_on, now
            self._until = now + self._rng.uniform(*(self._on_s if self._is_on else self._off_s))
        if self._is_on:
            factor = self._inrush if now < self._since + 1 else 1.0
            for phase in self._phases:
                totals[phase] += self.amps * factor


class SimulatedBuilding:
    """A slow load, devices on one phase, compressors, a lift, a kitchen, and perhaps photovoltaics."""

    def __init__(self, rng: random.Random, limit_a: float, generation_a: float) -> None:
        self.kind = rng.choice(["calm", "normal", "lively"])
        self._rng, self._generation_a = rng, generation_a
        self._slow = [rng.uniform(0.05, 0.22) * limit_a for _ in range(3)]
        scale = limit_a / 100.0
        calm = self.kind == "calm"
        self.devices = [
            CyclicLoad(rng, [rng.randrange(3)], rng.uniform(6, 16), (20, 300), (30, 600))
            for _ in range(max(1, round((0.7 if calm else 2) * scale)))
        ]
        self.devices += [
            CyclicLoad(rng, range(3), rng.uniform(4, 14), (120, 420), (180, 900), rng.uniform(2, 3.5))
            for _ in range(0 if calm else max(1, round(1.2 * scale)))
        ]
        if self.kind == "lively" or (self.kind == "normal" and rng.random() < 0.4):
            self.devices.append(CyclicLoad(rng, range(3), rng.uniform(10, 24), (12, 40), (40, 400), 1.8))
        if self.kind == "lively" and rng.random() < 0.6:
            self.devices.append(CyclicLoad(rng, range(3), rng.uniform(8, 20), (8, 40), (10, 60)))
        self._sun, self._sun_until, self._sun_goal = 1.0, 0.0, 1.0
        self._walk = [0.0] * 3

    @property
    def largest_a(self) -> float:
        return max(device.amps for device in self.devices)

    @property
    def declared_a(self) -> float:
        return round(1.15 * max(self._slow) + 0.6 * sum(device.amps for device in self.devices))

    def step(self, now: float) -> list[float]:
        totals = [0.0] * 3
        for phase in range(3):
            self._walk[phase] = 0.98 * self._walk[phase] + self._rng.gauss(0, 0.25)
            wave = 1 + 0.15 * math.sin(now / 3000 + phase)
            totals[phase] = max(0.0, self._slow[phase] * wave + self._walk[phase])
        for device in self.devices:
            device.add(now, totals)
        if self._generation_a:
            if now > self._sun_until:
                self._sun_until = now + self._rng.uniform(20, 400)
                self._sun_goal = self._rng.choice([1, 1, 0.9, 0.5, 0.25])
            self._sun += (self._sun_goal - self._sun) * 0.08
            totals = [amps - self._generation_a * self._sun for amps in totals]
        return totals


class SimulatedBattery:
    """A car: it starts late, ramps, pauses, tapers, and some draw a little more than they may."""

    def __init__(self, rng: random.Random, wired: int) -> None:
        self.phases = min(rng.choices([1, 2, 3], [30, 10, 60])[0], wired)
        self._max_a = float(rng.choice([10, 16, 16, 16, 20, 32] if self.phases > 1 else [10, 16, 20, 32, 32]))
        self._need_as = rng.uniform(3, 35) * 1000 * 3600 / 230
        self._taper_at = rng.uniform(0.75, 0.97)
        self._ramp_a = rng.uniform(1, 5)
        self._start_s = rng.randint(3, 20)
        self.excess_a = rng.uniform(0.5, 1.0) if rng.random() < 0.05 else 0.0
        self._pause = (rng.uniform(600, 5000), rng.uniform(60, 900)) if rng.random() < 0.15 else None
        self._age_s = 0
        self._got_as = 0.0
        self._starts_in_s: int | None = None
        self.amps = 0.0

    @property
    def wanted_a(self) -> float:
        """Current that it would take of an unlimited offer now."""
        if self._got_as >= self._need_as:
            return 0.0
        if self._pause is not None and self._pause[0] <= self._age_s < sum(self._pause):
            return 0.0
        part = self._got_as / self._need_as
        if part <= self._taper_at:
            return self._max_a
        return max(3.0, self._max_a * (1 - 0.85 * (part - self._taper_at) / (1 - self._taper_at)))

    def step(self, pilot_a: float) -> None:
        self._age_s += 1
        wanted_a = self.wanted_a
        may = pilot_a >= MIN_PILOT_A and wanted_a > 0
        goal_a = min(pilot_a + self.excess_a, wanted_a) if may else 0.0
        if may and self.amps <= 0:
            self._starts_in_s = self._start_s if self._starts_in_s is None else self._starts_in_s - 1
            goal_a = 0.0 if self._starts_in_s > 0 else goal_a
        if not may:
            self._starts_in_s = None
        if goal_a > self.amps:
            self.amps = min(goal_a, max(self.amps, 2.0) + self._ramp_a if self.amps > 0 else 6.0)
        elif goal_a > 0:
            self.amps = max(goal_a, self.amps - 8.0)
        else:
            self.amps = 0.0 if self.amps < 9 else self.amps - 8.0
        self._got_as += self.amps * self.phases


class BenchStation:
    """A station with one EVSE: it answers, follows and reports with its own delays."""

    def __init__(self, rng: random.Random, evse: EvseNode) -> None:
        self.evse = evse
        self.answer_s = rng.choice([0, 0, 1, 1, 2, 3])
        delay_s = rng.choices([rng.randint(1, 4), rng.randint(5, 10), rng.randint(11, 30)], [75, 17, 8])[0]
        self._step_a = rng.choice([1.0, 0.1, 0.1])
        self.report_s = rng.choices([10, 15, 30, 60, 0], [30, 20, 25, 20, 5])[0]
        self.report_offset_s = rng.randrange(60)
        self._limits = deque([evse.max_a] * (delay_s + 1), maxlen=delay_s + 1)
        self._fallback_a: float | None = None
        self._lease: tuple[float, float] | None = None
        self.car: SimulatedBattery | None = None
        self.runs = False
        self.state = EvseState.AVAILABLE
        self.limit_a = evse.max_a
        self.writes = 0
        self._idle_s = 0

    def apply(self, limit: SetLimit, now: float) -> None:
        if limit.kind is LimitKind.FALLBACK:
            self._fallback_a = limit.limit_a
        else:
            self._lease = (limit.limit_a, now + (limit.duration_s or 0.0))

    def step(self, now: float) -> None:
        in_force = self.evse.max_a if self._fallback_a is None else self._fallback_a
        if self._lease is not None and now < self._lease[1]:
            in_force = self._lease[0]
        limit_a = math.floor(min(in_force, self.evse.max_a) / self._step_a + 1e-6) * self._step_a
        self.limit_a = limit_a if limit_a >= 6 - 1e-6 else 0.0
        self._limits.append(self.limit_a)
        if self.car is not None:
            self.car.step(self.pilot_a)

    @property
    def pilot_a(self) -> float:
        return self._limits[0] if self.runs else 0.0

    @property
    def used_phases(self) -> tuple[int, ...]:
        return self.evse.phases[: self.car.phases] if self.car else ()

    @property
    def report(self) -> tuple[float, float, float]:
        amps, phases = (self.car.amps, self.car.phases) if self.car else (0.0, 0)
        first, second, third = (round(amps, 1) if phase < phases else 0.0 for phase in range(3))
        return (first, second, third)

    def next_state(self) -> EvseState:
        if self.car is None:
            return EvseState.AVAILABLE
        if not self.runs:
            return EvseState.PREPARING
        if self.car.amps > DRAWING_A:
            self._idle_s = 0
            return EvseState.CHARGING
        self._idle_s += 1
        if self.pilot_a < MIN_PILOT_A:
            return EvseState.SUSPENDED_EVSE
        if self._idle_s > 40 or self.state in (EvseState.CHARGING, EvseState.SUSPENDED_EV):
            return EvseState.SUSPENDED_EV
        return self.state
