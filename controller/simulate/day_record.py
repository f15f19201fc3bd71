"""Record of a simulated day, from which the summary and the plot are made."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from controller.load_management.site_tree import ZERO, CircuitNode, PhaseAmps
from controller.model.observations import EvseRef

NEAR = 0.9
"""Part of its limit from which on a circuit is near it."""

MINUTES = 1440
_AMOUNT = re.compile(r"\d+(?:\.\d+)?(?= (?:A|s)\b)")


class SimulatedCircuit:
    """Record of one circuit, from its steps in order.

    `peak_a` per phase, and the minute of the highest; seconds near its limit and over it. `minutes` holds
    for each minute of the day its highest current on each phase.
    """

    def __init__(self, circuit: CircuitNode) -> None:
        self.circuit = circuit
        self.peak_a: PhaseAmps = (-math.inf,) * 3
        self.peak_minute = 0
        self.near_s = 0.0
        self.over_s = 0.0
        self.minutes: list[PhaseAmps] = [ZERO] * MINUTES
        self._minute = -1

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

    def __init__(self, ref: EvseRef, max_a: float) -> None:
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
        self.minutes: list[float] = [0.0] * MINUTES
        self.here: set[int] = set()

    @property
    def mean_a(self) -> float:
        """Return the mean current per phase while it charged (A)."""
        return self.charge_as / self.charging_s if self.charging_s else 0.0

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
            self.reasons[_AMOUNT.sub("...", reason)] += 1


class DayRecord:
    """Record of the whole day."""

    def __init__(
        self, circuits: Sequence[SimulatedCircuit], evses: Mapping[EvseRef, SimulatedEvseRecord]
    ) -> None:
        self.circuits = tuple(circuits)
        self.evses = evses


def _higher(one: PhaseAmps, other: PhaseAmps) -> PhaseAmps:
    return (max(one[0], other[0]), max(one[1], other[1]), max(one[2], other[2]))
