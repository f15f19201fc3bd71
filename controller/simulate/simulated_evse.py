"""EVSE of a simulated day: its station's limits, a simulated car, and the station's reports."""

from __future__ import annotations

import math
from collections.abc import Iterator

from controller.demo.simulated_car import PAUSE_BELOW_A, Car, CarSpec
from controller.demo.site_physics import PhysicalEvse, PhysicalEvsePlan
from controller.load_management.events import SetLimit
from controller.load_management.site_tree import EvseNode
from controller.model.observations import (
    DrawSeen,
    EvseState,
    Observation,
    PerPhase,
    StateSeen,
    TransactionSeen,
)
from controller.profiles.limit_profiles import LimitKind
from controller.simulate.day_file import Stay

REPORT_S = 10.0
"""Time between two meter values of a station while a car is there (s)."""


class SimulatedEvse:
    """EVSE that obeys: it accepts every limit, and its car follows within seconds."""

    def __init__(self, evse: EvseNode) -> None:
        self.evse = evse
        self.physical = PhysicalEvse(
            PhysicalEvsePlan(key=(*evse.ref,), circuit=evse.circuit, phases=evse.phases, max_a=evse.max_a)
        )
        self._fallback_a = math.inf
        self._lease: SetLimit | None = None
        self._lease_until = 0.0
        self._state = EvseState.AVAILABLE
        self._reported_at = 0.0

    def report_state(self) -> Observation:
        """Return the report of the present state."""
        return StateSeen(self.evse.ref.evse, self._state)

    def apply_limit(self, limit: SetLimit, now: float) -> bool:
        """Obey a limit from now on; return True if it stops a car that would go on."""
        leased = self._lease is not None and now < self._lease_until
        before_a = self._lease.limit_a if leased and self._lease else self._fallback_a
        if limit.kind is LimitKind.FALLBACK:
            self._fallback_a = limit.limit_a
        else:
            self._lease = limit
            self._lease_until = math.inf if limit.duration_s is None else now + limit.duration_s
        car = self.physical.car
        return car is not None and not car.full and limit.limit_a == 0 < before_a < math.inf

    def plug(self, stay: Stay) -> Iterator[Observation]:
        """Connect a car; yield what the station reports of it."""
        self.physical.car = Car(CarSpec(phases=stay.phases, max_a=stay.max_a, need_wh=stay.need_wh))
        self.physical.enabled = True
        self._state = EvseState.PREPARING
        yield StateSeen(self.evse.ref.evse, self._state)
        yield TransactionSeen(self.evse.ref.evse, True)

    def unplug(self) -> Iterator[Observation]:
        """Disconnect the car; yield what the station reports of it."""
        self.physical.car = None
        self.physical.enabled = False
        self._state = EvseState.AVAILABLE
        yield TransactionSeen(self.evse.ref.evse, False)
        yield StateSeen(self.evse.ref.evse, self._state)

    def advance(self, now: float, step_s: float, voltage_v: float) -> float:
        """Let the car charge for one step that ends at `now`; return the energy that it took (Wh)."""
        physical = self.physical
        if physical.car is None:
            return 0.0
        leased = self._lease is not None and now < self._lease_until
        physical.limit_a = self._lease.limit_a if leased and self._lease else self._fallback_a
        physical.single_phase = leased and self._lease is not None and self._lease.number_phases == 1
        return physical.car.advance(physical.offered_a, now, step_s, voltage_v, len(physical.used_phases))

    def report(self, now: float) -> Iterator[Observation]:
        """Yield what its station reports now: a new state at once, the current each `REPORT_S`."""
        car = self.physical.car
        if car is None:
            return
        state = EvseState.CHARGING if self.physical.offered_a >= PAUSE_BELOW_A else EvseState.SUSPENDED_EVSE
        state = EvseState.SUSPENDED_EV if car.full else state
        if state is not self._state:
            self._state = state
            yield StateSeen(self.evse.ref.evse, state)
        if now - self._reported_at >= REPORT_S:
            self._reported_at = now
            yield DrawSeen(self.evse.ref.evse, self._reported_a())

    def _reported_a(self) -> PerPhase:
        """Return what its station reports (A): on its own phases, or on those of the site."""
        own_a = self.physical.station_phases_a()
        if not self.evse.reports_on_grid:
            return own_a
        site_a: list[float | None] = [None, None, None]
        for phase, amps in zip(self.evse.phases, own_a, strict=False):  # one-phase stations
            site_a[phase] = amps
        return (site_a[0], site_a[1], site_a[2])
