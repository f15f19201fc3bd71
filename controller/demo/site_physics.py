"""Physics of the site: circuits, EVSEs, cars and loads, and the current in each at every moment.

It is independent of OCPP and of the controller: stations set the current that their profiles allow
(`PhysicalEvse.limit_a`), and the physics returns the current that flows. The report is made of its
records.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import msgspec

from controller.demo.simulated_car import Car

PhaseAmps = tuple[float, float, float]
"""A on the site's L1, L2, L3."""

EvseKey = tuple[str, int]
"""A station's id and the number of its EVSE (EVSE, connector)."""

VOLTAGE_V = 230.0
STEP_S = 0.1
"""The longest step of the integration."""

OVER_A = 0.01
"""Excess above a limit that is rounding, not load."""

Load = Callable[[float], PhaseAmps]
"""A load other than cars: A per phase at a time (s since the start)."""


class CircuitPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A fuse: `limit_a` per phase, below `parent` (None: the grid connection).

    `margin_a` is kept free by the controller for other loads that are switched on.
    """

    id: str
    parent: str | None
    limit_a: float
    margin_a: float = 0.0


class PhysicalEvsePlan(msgspec.Struct, frozen=True, kw_only=True):
    """An EVSE: `phases[k]` is the site's phase (0, 1, 2) that the station's phase k is wired to."""

    key: EvseKey
    circuit: str
    phases: tuple[int, ...]
    max_a: float


class PhysicalEvse:
    """An EVSE and the car that is plugged into it."""

    def __init__(self, plan: PhysicalEvsePlan) -> None:
        self.plan = plan
        self.car: Car | None = None
        self.enabled = False
        """The contactor is closed: a transaction runs."""
        self.limit_a = math.inf
        """Current that the station's profiles allow now, beside the EVSE's own maximum."""
        self.single_phase = False
        """The station has switched off all but its first phase."""
        self.energy_wh = 0.0
        """The EVSE's meter, which only rises."""

    @property
    def offered_a(self) -> float:
        """Return the current that the control pilot signals (A per phase)."""
        return min(self.limit_a, self.plan.max_a) if self.enabled else 0.0

    @property
    def used_phases(self) -> tuple[int, ...]:
        """Return the site's phases that the plugged car draws from."""
        connected = self.plan.phases[:1] if self.single_phase else self.plan.phases
        return connected[: self.car.spec.phases] if self.car else ()

    @property
    def drawn_a(self) -> float:
        """Return A on each of the used phases."""
        return self.car.current_a if self.car else 0.0

    @property
    def wanted_a(self) -> float:
        """Return A on each used phase if only car and EVSE limited it."""
        if self.car is None or not self.enabled:
            return 0.0
        return min(self.car.wanted_a, self.plan.max_a)

    def station_phases_a(self) -> PhaseAmps:
        """Return the currents of the station's own meter on its L1, L2, L3 (A)."""
        drawing = len(self.used_phases)
        return tuple(self.drawn_a if phase < drawing else 0.0 for phase in range(3))  # type: ignore[return-value]

    def advance(self, now: float, step_s: float) -> float:
        """Let the car react and charge for one step; returns the energy of the step (Wh)."""
        if self.car is None:
            return 0.0
        energy_wh = self.car.advance(self.offered_a, now, step_s, VOLTAGE_V, len(self.used_phases))
        self.energy_wh += energy_wh
        return energy_wh


class PhysicalCircuitRecord:
    """History of a circuit: the peak per phase (A), and seconds with any phase above the limit."""

    def __init__(self) -> None:
        self.peak_a: PhaseAmps = (0.0, 0.0, 0.0)
        self.seconds_over_limit = 0.0


class SimulatedSite:
    """Circuits (parents first), the EVSEs and other loads on them, and their history."""

    def __init__(
        self, circuits: Sequence[CircuitPlan], evses: Sequence[PhysicalEvsePlan], loads: Mapping[str, Load]
    ) -> None:
        self.circuits = {circuit.id: circuit for circuit in circuits}
        self.evses = {plan.key: PhysicalEvse(plan) for plan in evses}
        self.records = {circuit.id: PhysicalCircuitRecord() for circuit in circuits}
        self.energy_wh = 0.0
        """Delivered to cars."""
        self.possible_wh = 0.0
        """Energy that the limits would have allowed the same cars; see `possible_a`."""
        self.now = 0.0
        self.dimmed_to_w: float | None = None
        """The grid operator's limit for all EVSEs together now; None: no limit."""
        self._loads = loads

    def advance(self, until: float) -> None:
        """Advance to the time `until` (s since the start), in steps of at most STEP_S."""
        while until - self.now > 1e-9:
            step_s = min(STEP_S, until - self.now)
            self.now += step_s
            self.energy_wh += sum(evse.advance(self.now, step_s) for evse in self.evses.values())
            possible_w = sum(self.possible_a()) * VOLTAGE_V
            if self.dimmed_to_w is not None:
                possible_w = min(possible_w, self.dimmed_to_w)
            self.possible_wh += possible_w * step_s / 3600
            self._record(step_s)

    def currents_a(self) -> dict[str, PhaseAmps]:
        """Return the current of each circuit now (A per phase)."""
        return self._sums(lambda evse: evse.drawn_a)

    def granted_a(self) -> dict[str, PhaseAmps]:
        """Return the current of each circuit once all cars have followed the present limits."""
        return self._sums(lambda evse: min(evse.drawn_a, evse.offered_a))

    def possible_a(self) -> PhaseAmps:
        """Return what the limits would allow the cars now, per phase of the grid connection.

        For each phase by itself the largest flow through the tree: a circuit passes what the cars
        below it take, up to its limit less its margin and its other loads. As three-phase cars need
        the same current on each of their phases, this is a bound that no controller can beat;
        semi-continuous currents, ramps and reaction times lower what it can reach further.
        """
        demand = {circuit: [0.0, 0.0, 0.0] for circuit in self.circuits}
        for evse in self.evses.values():
            for phase in evse.used_phases:
                demand[evse.plan.circuit][phase] += evse.wanted_a
        flow = [0.0, 0.0, 0.0]
        for circuit in reversed(self.circuits.values()):
            load = self._load_of(circuit.id)
            flow = [
                max(0.0, min(wanted_a, circuit.limit_a - circuit.margin_a - other))
                for wanted_a, other in zip(demand[circuit.id], load, strict=True)
            ]
            if circuit.parent is not None:
                parent_demand = demand[circuit.parent]
                for phase in range(3):
                    parent_demand[phase] += flow[phase]
        return flow[0], flow[1], flow[2]

    def _load_of(self, circuit: str) -> PhaseAmps:
        load = self._loads.get(circuit)
        return load(self.now) if load else (0.0, 0.0, 0.0)

    def _sums(self, current_of: Callable[[PhysicalEvse], float]) -> dict[str, PhaseAmps]:
        sums = {circuit: list(self._load_of(circuit)) for circuit in self.circuits}
        for evse in self.evses.values():
            for phase in evse.used_phases:
                sums[evse.plan.circuit][phase] += current_of(evse)
        for circuit in reversed(self.circuits.values()):
            if circuit.parent is not None:
                for phase in range(3):
                    sums[circuit.parent][phase] += sums[circuit.id][phase]
        return {circuit: (a, b, c) for circuit, (a, b, c) in sums.items()}

    def _record(self, step_s: float) -> None:
        for circuit, current_a in self.currents_a().items():
            record = self.records[circuit]
            a, b, c = (max(pair) for pair in zip(record.peak_a, current_a, strict=True))
            record.peak_a = (a, b, c)
            if max(current_a) > self.circuits[circuit].limit_a + OVER_A:
                record.seconds_over_limit += step_s
