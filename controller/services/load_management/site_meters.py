"""Meters of the site: their polling, those that stations make, their status, and whether all were read."""

from __future__ import annotations

from collections.abc import Iterable

import trio

from controller.config import Config
from controller.load_management.metering.station_meters import StationMeters
from controller.load_management.site_tree import SiteTree
from controller.web.status_model import BusStatus, MeterStatus, meter_statement
from drivers.bus_registry import BusRegistry
from drivers.meter_service import MeterFleet, MeterReport, Publish
from drivers.modbus.modbus_tls import FindObjection
from drivers.reading import MeterState

STATION_METER_S = 1.0
"""Interval of the states of meters that are made of the stations' reports."""
MAX_WAIT_S = 30.0
"""Longest wait for the first states of all meters (s); a bus with many dead meters takes longer."""


class MeterReadiness:
    """Tracks which of `meters` (ids) have had a first state, good or bad."""

    def __init__(self, meters: Iterable[str]) -> None:
        self._unread = set(meters)
        self._complete = trio.Event()
        self._set_if_complete()

    def on_meter_state(self, state: MeterState) -> None:
        """Take the state of a meter after one of its polls."""
        if state.meter in self._unread:
            self._unread.discard(state.meter)
            self._set_if_complete()

    def _set_if_complete(self) -> None:
        if not self._unread:
            self._complete.set()

    async def wait(self) -> tuple[str, ...]:
        """Wait until all meters have had a state, at most MAX_WAIT_S; return those that have not."""
        with trio.move_on_after(MAX_WAIT_S):
            await self._complete.wait()
        return tuple(sorted(self._unread))


class SiteMeters:
    """All meters of the site. `publish` gets each state; `buses` are shared with the digital inputs.

    `find_objection` returns why the certificate of a Modbus/TLS server is not accepted.
    """

    def __init__(
        self,
        config: Config,
        station_meters: StationMeters,
        publish: Publish,
        find_objection: FindObjection | None = None,
    ) -> None:
        self.buses = BusRegistry(find_objection)
        self._station_meters = station_meters
        self._fleet = MeterFleet([meter.settings() for meter in config.meter], publish, self.buses)

    async def run(self) -> None:
        """Read the meters until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._fleet.run)
            while True:
                for state in self._station_meters.states(trio.current_time()):
                    self._fleet.on_meter_state(state)
                await trio.sleep(STATION_METER_S)

    def find_changed_models(self, config: Config) -> list[str]:
        """Return the meters that are read by another model than the file of their driver has now."""
        return self._fleet.find_changed_models({meter.id: meter.driver for meter in config.meter})

    def find_other_meters(self, config: Config) -> set[str]:
        """Return the meters whose values mean something else in another configuration."""
        return self._fleet.find_other_meters([meter.settings() for meter in config.meter])

    def replace_meters(self, config: Config, site: SiteTree) -> None:
        """Read the meters of another configuration, and make those of its stations' reports.

        Raises ModelFileError.
        """
        settings = [meter.settings() for meter in config.meter]
        self._station_meters.replace_meters(settings, site)
        self._fleet.replace_meters(settings)

    def meter_statuses(self) -> tuple[MeterStatus, ...]:
        """Return the status of each meter."""
        now = trio.current_time()
        return tuple(_meter_status(report, now) for report in self._fleet.reports())

    def bus_statuses(self) -> tuple[BusStatus, ...]:
        """Return the status of each bus."""
        return tuple(
            BusStatus(name=name, events_total=dict(events))
            for name, events in sorted(self._fleet.bus_events().items())
        )


def _meter_status(report: MeterReport, now: float) -> MeterStatus:
    state, identity = report.state, report.identity
    reading = state.reading
    return MeterStatus(
        id=state.meter,
        driver=report.settings.driver,
        quality=state.quality,
        problem=str(state.problem or state.limitation),
        cause=state.cause,
        age_s=None if reading is None else round(max(0.0, now - reading.time), 1),
        current_a=(None, None, None) if reading is None else reading.current_a,
        voltage_v=(None, None, None) if reading is None else reading.voltage_v,
        power_w=(None, None, None) if reading is None else reading.power_w,
        power_total_w=None if reading is None else reading.power_total_w,
        energy_import_wh=None if reading is None else reading.energy_import_wh,
        energy_export_wh=None if reading is None else reading.energy_export_wh,
        frequency_hz=None if reading is None else reading.frequency_hz,
        manufacturer=identity.manufacturer,
        model=identity.model,
        serial_number=identity.serial_number,
        firmware=identity.firmware,
        events_total=dict(report.events),
        statement=meter_statement(state.cause, state.problem or state.limitation),
    )
