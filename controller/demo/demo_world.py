"""Simulated surroundings of the controller: physics, stations, backend, grid operator and observers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import trio

from controller.demo import demo_site as demo_site
from controller.demo.demo_report import DemoReport, SiteReport, complete_report
from controller.demo.grid_operator import GridOperator
from controller.demo.message_ledger import FLIGHT_S, MessageLedger
from controller.demo.reaction_watch import ReactionWatch
from controller.demo.simulated_csms import SimulatedCsms
from controller.demo.simulated_station import SimulatedStation
from controller.demo.site_physics import STEP_S, VOLTAGE_V, PhaseAmps, SimulatedSite

METERS_S = 0.25
"""Interval of the updates of the meters' registers."""

SILENCE_S = 10.0
"""The longest wait for the last answers of a run."""


class MeterConnection(Protocol):
    """A simulated meter, whose registers take its values."""

    def set_values(self, values: Mapping[str, float | None]) -> None:
        """Set the values, by quantity."""


class DemoWorld:
    """The running site of the demo; `meters` measure the circuits that they are named after."""

    def __init__(self, seed: int, meters: Mapping[str, MeterConnection]) -> None:
        self.plans = demo_site.station_plans(seed)
        evses = [evse for plan in self.plans for evse in plan.evses]
        self.site = SimulatedSite(demo_site.CIRCUITS, evses, demo_site.building_loads(seed))
        self.ledger = MessageLedger()
        self.backend = SimulatedCsms(self.ledger, seed, demo_site.ID)
        self.grid_operator = GridOperator(demo_site.ID, self.site, self.backend)
        self._stations = [SimulatedStation(plan, self.site, self.ledger, seed) for plan in self.plans]
        self._watch = ReactionWatch(self.site)
        self._meters = meters
        self._show_meters()

    async def run(self, url: str) -> None:
        """Run until cancelled; stations connect below `url`."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_physics)
            nursery.start_soon(self.grid_operator.run)
            for station in self._stations:
                nursery.start_soon(station.run, url)

    async def drain(self) -> None:
        """Let all peers send what is queued and nothing new, then let the last frames arrive."""
        self.backend.sends_no_commands = True
        for station in self._stations:
            station.outbox.closed = True
        with trio.move_on_after(SILENCE_S):
            for station in self._stations:
                await station.outbox.wait_empty()
            await self.backend.idle()
        # A frame that has not arrived after the longest flight counts as lost.
        await trio.sleep(FLIGHT_S)

    def report(self, site: SiteReport) -> DemoReport:
        """Return the report after all links have ended; `site` as it was at the end of the run."""
        booted = [station.plan.version for station in self._stations if station.booted]
        dimming = self.grid_operator.report()
        return complete_report(site, booted, self.ledger.count(), self._watch.result(), dimming)

    async def _run_physics(self) -> None:
        begin = trio.current_time()
        shown_at = 0.0
        while True:
            for station in self._stations:
                station.apply_limits()
            self.site.advance(trio.current_time() - begin)
            self._watch.update()
            if self.site.now - shown_at >= METERS_S:
                shown_at = self.site.now
                self._show_meters()
            await trio.sleep(STEP_S)

    def _show_meters(self) -> None:
        currents = self.site.currents_a()
        for circuit, meter in self._meters.items():
            meter.set_values(_quantities(currents[circuit]))
            self._watch.on_meter_update(circuit)


def _quantities(amps: PhaseAmps) -> dict[str, float | None]:
    """Return a meter's quantities at the nominal voltage and a power factor of 1."""
    quantities: dict[str, float | None] = {"power_active_total": sum(amps) * VOLTAGE_V}
    for phase, current in enumerate(amps, start=1):
        quantities[f"voltage_l{phase}"] = VOLTAGE_V
        quantities[f"current_l{phase}"] = current
        quantities[f"power_active_l{phase}"] = current * VOLTAGE_V
    return quantities
