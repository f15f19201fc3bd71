"""Simulation of a day: physics, meters and stations around the real SiteControl, on virtual time.

Every meter is good and every station obeys: the result is what the site and its limits yield, not what
faults cost. In each step cars come and go, stations obey what they were sent, current flows, meters and
stations report, and the control shares the current.
"""

from __future__ import annotations

from collections import deque

from controller.config import Config
from controller.load_management.events import (
    ControlTick,
    LimitAnswered,
    MeterUpdated,
    SetLimit,
    SiteEvent,
    StationObserved,
    StationUp,
)
from controller.load_management.site_builder import build_site, site_settings
from controller.load_management.site_control import SiteControl
from controller.load_management.site_tree import ZERO, PhaseAmps
from controller.model.observations import EvseState, StateSeen
from controller.simulate.day_file import DAY_S, Day
from controller.simulate.day_record import MINUTES, DayRecord, SimulatedCircuit, SimulatedEvseRecord
from controller.simulate.simulated_evse import SimulatedEvse
from drivers.reading import MeterState, Quality, Reading

STEP_S = 2.0
MINUTE_S = DAY_S / MINUTES


def simulate(config: Config, day: Day) -> DayRecord:
    """Simulate what the circuits and EVSEs of a configuration get on this day."""
    return _Simulation(config, day).run()


class _Simulation:
    def __init__(self, config: Config, day: Day) -> None:
        self._site = build_site(config)
        settings = site_settings(config)
        self._voltage_v, self._tick_s = settings.voltage_v, settings.tick_s
        self._day = day
        self._control = SiteControl(self._site, settings, 0.0)
        self._evses = {evse.ref: SimulatedEvse(evse) for evse in self._site.evses}
        self._coming = deque(day.stays)
        self._leaving = deque(sorted(day.stays, key=lambda stay: stay.end_s))
        self._sent: list[SetLimit] = []
        self._now = 0.0
        self._ticked_at = 0.0
        self._record = DayRecord(
            [SimulatedCircuit(circuit) for circuit in self._site.circuits],
            {evse.ref: SimulatedEvseRecord(evse.ref, evse.max_a) for evse in self._site.evses},
        )
        for stay in day.stays:
            self._record.evses[stay.ref].asked_wh += stay.need_wh

    def run(self) -> DayRecord:
        for station in dict.fromkeys(ref.station for ref in self._evses):
            self._tell(StationUp(station))
        for ref in self._evses:
            self._tell(StationObserved(ref.station, StateSeen(ref.evse, EvseState.AVAILABLE)))
        for step in range(1, int(DAY_S / STEP_S) + 1):
            self._now = step * STEP_S
            self._come_and_go()
            self._obey()
            self._charge()
            self._flow()
            self._report()
            if self._now - self._ticked_at >= self._tick_s:
                self._ticked_at = self._now
                self._tell(ControlTick())
            if self._now % MINUTE_S < STEP_S:
                self._look()
        return self._record

    def _tell(self, event: SiteEvent) -> None:
        limits = self._control.handle(event, self._now)
        self._sent += limits
        for limit in limits:
            self._record.evses[limit.ref].writes += self._evses[limit.ref].outlet.car is not None

    def _come_and_go(self) -> None:
        """Let cars leave before others come: the next may come to the same EVSE in the same moment."""
        while self._leaving and self._leaving[0].end_s <= self._now:
            ref = self._leaving.popleft().ref
            for observation in self._evses[ref].unplug():
                self._tell(StationObserved(ref.station, observation))
        while self._coming and self._coming[0].begin_s <= self._now:
            stay = self._coming.popleft()
            for observation in self._evses[stay.ref].plug(stay):
                self._tell(StationObserved(stay.ref.station, observation))

    def _obey(self) -> None:
        sent, self._sent = self._sent, []
        for limit in sent:
            self._record.evses[limit.ref].stops += self._evses[limit.ref].apply_limit(limit, self._now)
            self._tell(LimitAnswered(limit.token, True))

    def _charge(self) -> None:
        for ref, evse in self._evses.items():
            energy_wh = evse.advance(self._now, STEP_S, self._voltage_v)
            if evse.outlet.car is not None:
                self._record.evses[ref].add(evse.outlet.drawn_a, energy_wh, STEP_S)

    def _flow(self) -> None:
        flows = self._flows()
        minute = self._minute()
        for record in self._record.circuits:
            circuit = record.circuit
            record.add(flows[circuit.id], minute, STEP_S)
            if circuit.meter is not None:
                reading = Reading(time=self._now, current_a=flows[circuit.id])
                self._tell(
                    MeterUpdated(MeterState(meter=circuit.meter, quality=Quality.GOOD, reading=reading))
                )

    def _flows(self) -> dict[str, PhaseAmps]:
        """Return the A per phase through each circuit: its own loads, its EVSEs, and all below it."""
        loads = self._day.loads
        sums = {c.id: list(loads[c.id](self._now) if c.id in loads else ZERO) for c in self._site.circuits}
        for evse in self._evses.values():
            for phase in evse.outlet.used_phases:
                sums[evse.evse.circuit][phase] += evse.outlet.drawn_a
        for circuit in reversed(self._site.circuits):  # children first
            if circuit.parent is not None:
                for phase in range(3):
                    sums[circuit.parent][phase] += sums[circuit.id][phase]
        return {circuit: (a, b, c) for circuit, (a, b, c) in sums.items()}

    def _report(self) -> None:
        for ref, evse in self._evses.items():
            for observation in evse.report(self._now):
                self._tell(StationObserved(ref.station, observation))

    def _look(self) -> None:
        """Record at the end of a minute what each EVSE with a car draws, and the reason."""
        for view in self._control.snapshot(self._now).evses:
            evse = self._evses[view.ref]
            if (car := evse.outlet.car) is not None:
                reason = "" if car.full else view.reason
                self._record.evses[view.ref].minute(self._minute(), evse.outlet.drawn_a, reason)

    def _minute(self) -> int:
        return min(MINUTES - 1, int((self._now - STEP_S) / MINUTE_S))
