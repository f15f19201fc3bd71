"""Record of a simulated day, from which the summary and the plot are made."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from controller.load_management.site_tree import ZERO, CircuitNode, PhaseAmps
from controller.model.observations import EvseRef
from controller.simulate.day_clock import QUARTER_S, DayClock
from controller.simulate.overload_causes import OverloadCauses

NEAR = 0.9
"""Part of its limit from which on a circuit is near it."""


class SimulatedCircuit:
    """Record of one circuit, from its steps in order.

    `peak_a` per phase, and the minute of the highest; seconds near its limit and over it. `minutes` holds
    for each minute of the day its highest current on each phase. `quarters_w`: mean import of each quarter
    hour, `targets_w` its target, None without one; `causes`: of the current above its limit.
    """

    def __init__(self, circuit: CircuitNode, clock: DayClock) -> None:
        self.circuit = circuit
        self.peak_a: PhaseAmps = (-math.inf,) * 3
        self.peak_minute = 0
        self.near_s = 0.0
        self.over_s = 0.0
        self.minutes: list[PhaseAmps] = [ZERO] * clock.minutes
        self.quarters_w = [0.0] * clock.quarters
        self.targets_w: list[float | None] = [None] * clock.quarters
        self.causes = OverloadCauses()
        self._minute = -1

    def add_power(self, import_w: float, minute: int, step_s: float) -> None:
        """Add one step's import (W) to the mean of its quarter hour."""
        self.quarters_w[minute // 15] += max(0.0, import_w) * step_s / QUARTER_S

    @property
    def has_target(self) -> bool:
        """Return True if any quarter hour had a target."""
        return any(target_w is not None for target_w in self.targets_w)

    @property
    def peak_quarter(self) -> int:
        """Return the number of the quarter hour with the highest mean."""
        return max(range(len(self.quarters_w)), key=self.quarters_w.__getitem__)

    def add(self, amps: PhaseAmps, minute: int, step_s: float) -> None:
        """Add one step's currents."""
        if max(amps) > max(self.peak_a):
            self.peak_minute = minute
        self.peak_a = _higher(self.peak_a, amps)
        self.minutes[minute] = _higher(self.minutes[minute], amps) if minute == self._minute else amps
        self._minute = minute
        share = max(now / limit for now, limit in zip(amps, self.circuit.limit_a, strict=True))
        self.near_s += step_s if share >= NEAR else 0.0
        self.over_s += step_s if share > 1 + 1e-9 else 0.0


class SimulatedEvseRecord:
    """Record of one EVSE: energy, seconds with a car and of charging, stops, writes, reasons by minutes.

    `charge_as` is the charge in ampere seconds of one phase; `minutes` holds the current on each used
    phase at each minute's end, `here` the minutes with a car.
    """

    def __init__(self, ref: EvseRef, max_a: float, clock: DayClock) -> None:
        self.ref = ref
        self.max_a = max_a
        self.got_wh = 0.0
        self.asked_wh = 0.0
        self.plugged_s = 0.0
        self.charging_s = 0.0
        self.charge_as = 0.0
        self.stops = 0
        self.writes = 0
        self.reasons: Counter[str] = Counter()
        self.minutes: list[float] = [0.0] * clock.minutes
        self.here: set[int] = set()

    @property
    def mean_a(self) -> float:
        """Return the mean current per phase while it charged (A)."""
        return self.charge_as / self.charging_s if self.charging_s else 0.0

    @property
    def stops_per_hour(self) -> float:
        """Return the commanded stops in an hour with a car; 0 for less than half an hour."""
        return 3600 * self.stops / self.plugged_s if self.plugged_s >= 1800 else 0.0

    def add(self, amps: float, energy_wh: float, step_s: float) -> None:
        """Add one step with a car."""
        self.plugged_s += step_s
        self.got_wh += energy_wh
        if amps > 0:
            self.charging_s += step_s
            self.charge_as += amps * step_s

    def minute(self, minute: int, amps: float, reason: str) -> None:
        """Add the end of a minute with a car; `reason` states why it got no more, empty once it had all.

        Reasons that differ in an amount alone are one.
        """
        self.minutes[minute] = amps
        self.here.add(minute)
        if reason:
            self.reasons[reason] += 1


class DayRecord:
    """Record of the whole day; minutes and quarter hours count from its begin.

    `charged_as` and `possible_as`: ampere seconds of all cars on all phases, and what an omniscient allocator
    would give them; `charged_w` and `possible_w` the same as mean power of each minute. `has_prices`: some
    price of energy held on the day. `uncounted`: settings that bound the cars, but not that allocator.
    """

    def __init__(
        self,
        circuits: Sequence[SimulatedCircuit],
        evses: Mapping[EvseRef, SimulatedEvseRecord],
        clock: DayClock,
    ) -> None:
        self.clock = clock
        self.has_prices = False
        self.uncounted: tuple[str, ...] = ()
        self.circuits = tuple(circuits)
        self.evses = evses
        self.charged_as = 0.0
        self.possible_as = 0.0
        self.charged_w = [0.0] * clock.minutes
        self.possible_w = [0.0] * clock.minutes

    def add_sample(
        self, charged_a: float, possible_a: float, minute: int, step_s: float, volts: float
    ) -> None:
        """Add the currents of all cars and what was possible, over all phases (A), for a time (s)."""
        self.charged_as += charged_a * step_s
        self.possible_as += possible_a * step_s
        self.charged_w[minute] += charged_a * volts * step_s / 60
        self.possible_w[minute] += possible_a * volts * step_s / 60

    @property
    def utilisation(self) -> float | None:
        """Return the part of the possible charge that the cars received; None if nothing was possible."""
        return self.charged_as / self.possible_as if self.possible_as else None

    @property
    def car_hours(self) -> float:
        """Return the hours with a car, all EVSEs added up."""
        return sum(evse.plugged_s for evse in self.evses.values()) / 3600

    def reasons(self) -> Counter[str]:
        """Return the minutes in which cars waited for more, by reason."""
        return sum((evse.reasons for evse in self.evses.values()), Counter())

    def overload_as(self) -> Counter[str]:
        """Return the ampere seconds above limits of all circuits, by cause."""
        return sum((circuit.causes.ampere_s for circuit in self.circuits), Counter())


def _higher(one: PhaseAmps, other: PhaseAmps) -> PhaseAmps:
    return (max(one[0], other[0]), max(one[1], other[1]), max(one[2], other[2]))
