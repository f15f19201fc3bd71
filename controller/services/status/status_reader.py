"""Status of the whole controller: read from the services that hold its parts, and sampled at intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import trio

from controller.config import Config
from controller.model.expiry import Expiry
from controller.services.dimming.dimming_service import DimmingService
from controller.services.eebus.eebus_service import EebusService
from controller.services.load_management.load_management_service import LoadManagementService
from controller.services.load_management.site_meters import SiteMeters
from controller.services.machine.time_service import TimeService
from controller.services.signing.policy_service import PolicyService
from controller.services.stations.station_report import StationReport
from controller.services.status.link_status import LinkStatusReader
from controller.store.state_store import StateStore
from controller.web.status_model import (
    MISSED_TICKS,
    AlarmStatus,
    ControllerStatus,
    RemovedEvseStatus,
    RevisionStatus,
    StatusParts,
    StoreHealth,
    circuit_statuses,
    energy_status,
    evse_statuses,
    unconfigured_statuses,
    verdict_statuses,
    without_stations,
)
from drivers.coded_text import parts_of

SAMPLE_S = 5.0
"""Interval (s) of the samples."""

OnStatus = Callable[[ControllerStatus], object]


@dataclass(kw_only=True)
class StatusReader:
    """Reader of the state of the controller; `ticked_at` is the time of the last control step, in s.

    `configuration_problem` is empty while the configuration of the file is in use. `policies`, `dimming` and
    `eebus` are None where the configuration has no such part.
    """

    config: Config
    version: str
    expiries: Sequence[Expiry]
    configuration_problem: str
    ticked_at: float
    load_management: LoadManagementService
    links: LinkStatusReader
    stations: StationReport
    meters: SiteMeters
    store: StateStore
    clock: TimeService
    policies: PolicyService | None
    dimming: DimmingService | None
    eebus: EebusService | None
    removed: frozenset[str] = frozenset()
    """Removed stations that are not gone yet: their EVSEs stay booked, and are shown apart."""

    def read_parts(self, alarms: tuple[AlarmStatus, ...], revisions: RevisionStatus) -> StatusParts:
        """Return the state of the controller with its present `alarms` and `revisions`, read in parts."""
        view = without_stations((yield from self.load_management.view_parts()), self.removed)
        site = self.load_management.site
        circuits = circuit_statuses(site, view)
        yield
        versions = self.links.registry.connected_versions()
        evses = yield from evse_statuses(site, view, versions)
        stations = yield from self.stations.read_parts(versions)
        backends = self.links.backends()
        yield
        clock_offsets = self.links.clock_offsets()
        yield
        tick_age_s = trio.current_time() - self.ticked_at
        return ControllerStatus(
            site=self.config.site.id,
            version=self.version,
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            healthy=tick_age_s < MISSED_TICKS * self.config.load_management.tick_s,
            tick_age_s=round(tick_age_s, 3),
            circuits=circuits,
            evses=evses,
            energy=energy_status(view.energy),
            unconfigured=unconfigured_statuses(view),
            links=self.links.counts(versions),
            backends=backends,
            damaged=self.store.status.damaged,
            store=self._store_health(),
            signatures=() if self.policies is None else verdict_statuses(self.policies.enforcer.verdicts),
            signing_wait=None if self.policies is None else self.policies.replays.wait_status(),
            dimming=None if self.dimming is None else self.dimming.status(),
            overlay=self.links.overlay_status(),
            eebus=None if self.eebus is None else self.eebus.status(),
            timezone=self.config.site.timezone,
            clock=self.clock.report(),
            expiries=tuple(end for end in self.expiries if math.isfinite(end.not_after)),
            configuration_problem=self.configuration_problem,
            meters=self.meters.meter_statuses(),
            buses=self.meters.bus_statuses(),
            stations=stations,
            alarms=alarms,
            clock_offsets=clock_offsets,
            unknown_stations=self.stations.unknown_stations(),
            station_devices=self.stations.devices(),
            removed=self._removed_evses(),
            revisions=revisions,
            voltage_v=self.config.site.voltage,
        )

    def _removed_evses(self) -> tuple[RemovedEvseStatus, ...]:
        return tuple(
            RemovedEvseStatus(
                station=evse.ref.station,
                evse=evse.ref.evse,
                circuit=evse.circuit,
                booked_a=round(self.load_management.booked_a(evse.ref), 2),
            )
            for evse in self.load_management.site.evses
            if evse.ref.station in self.removed
        )

    def _store_health(self) -> StoreHealth:
        status = self.store.status
        return StoreHealth(
            writable=not status.error,
            error=str(status.error),
            kept=status.kept,
            error_parts=parts_of(status.error),
            free_mb=None if status.space is None else status.space.free_mb,
            size_mb=None if status.space is None else status.space.size_mb,
            low=status.is_low,
        )


async def sample_status(read_parts: Callable[[], StatusParts], receivers: Sequence[OnStatus]) -> None:
    """Read the status every SAMPLE_S and pass it to each receiver, until cancelled.

    With hundreds of stations that takes as long as hundreds of messages: other tasks run between its parts.
    """
    while True:
        status = await _read(read_parts())
        for receive in receivers:
            receive(status)
            await trio.lowlevel.checkpoint()
        await trio.sleep(SAMPLE_S)


async def _read(parts: StatusParts) -> ControllerStatus:
    try:
        next(parts)
        while True:
            await trio.lowlevel.checkpoint()
            parts.send(trio.current_time())
    except StopIteration as ended:
        status: ControllerStatus = ended.value
        return status
