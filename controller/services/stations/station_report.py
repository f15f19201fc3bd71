"""Status of each station for people: its model, quirk, connection and overrides."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from controller.access.permissions import Actor
from controller.commands.site_command import DismissStation
from controller.config.schema import Config, StationConfig
from controller.model.observations import Booted, EvseRef
from controller.model.parts import Parts, cut_in_parts
from controller.ocpp.frames import Version
from controller.services.access.command_service import CommandService, TargetUnknownError
from controller.services.load_management.override_service import OverrideService
from controller.services.stations.station_capabilities import StationCapabilities
from controller.stations.registry import SessionRegistry
from controller.stations.unknown_stations import UnknownStations
from controller.web.status_model import (
    ChargingStationStatus,
    OverrideStatus,
    StationDeviceStatus,
    UnknownStationStatus,
    station_device_statuses,
)
from drivers.coded_text import coded


class StationReport:
    """The stations of one configuration."""

    def __init__(
        self,
        config: Config,
        registry: SessionRegistry,
        capabilities: StationCapabilities,
        overrides: OverrideService,
        unknown_stations: UnknownStations,
    ) -> None:
        self._config = config
        self._registry = registry
        self._capabilities = capabilities
        self._overrides = overrides
        self._unknown_stations = unknown_stations

    def replace_stations(self, config: Config) -> None:
        """Report the stations of another configuration; they are no longer unknown."""
        self._config = config
        for station in config.station:
            self._unknown_stations.remove(station.id)

    def register_handlers(self, commands: CommandService) -> None:
        """Register the handler of the command that removes an unknown station."""
        commands.add_handler(DismissStation, self._on_dismiss)

    def read_parts(self, versions: Mapping[str, Version]) -> Parts[tuple[ChargingStationStatus, ...]]:
        """Return the status of each station; `versions` has the OCPP version of each connected one."""
        found: list[ChargingStationStatus] = []
        for part in cut_in_parts(self._config.station):
            found += [self._status(station, versions.get(station.id)) for station in part]
            yield
        return tuple(found)

    def _status(self, station: StationConfig, version: Version | None) -> ChargingStationStatus:
        boot = self._capabilities.boots.get(station.id)
        return ChargingStationStatus(
            id=station.id,
            label=station.label,
            connected=version is not None,
            ocpp=None if version is None else version.value,
            owner=station.owner or "",
            observers=station.observers,
            when_backend_away=station.when_backend_away,
            vendor="" if boot is None else boot.vendor,
            model="" if boot is None else boot.model,
            firmware="" if boot is None else boot.firmware,
            quirk=self._capabilities.find_quirk(station.id).name,
            peer=self._registry.find_peer(station.id),
            overrides=tuple(
                status
                for evse in station.evse
                if (status := self._override(EvseRef(station.id, evse.id))) is not None
            ),
        )

    def unknown_stations(self) -> tuple[UnknownStationStatus, ...]:
        """Return the unknown stations that tried to connect, the latest first."""
        return report_unknown_stations(self._unknown_stations)

    def devices(self) -> tuple[StationDeviceStatus, ...]:
        """Return the device of each station that has booted, also of those not configured."""
        return station_device_statuses(self._capabilities.boots)

    async def _on_dismiss(self, command: DismissStation, _: Actor) -> object:
        if not self._unknown_stations.remove(command.station):
            raise TargetUnknownError(
                coded("station {station} has not tried to connect", station=repr(command.station))
            )
        return {}

    def _override(self, ref: EvseRef) -> OverrideStatus | None:
        stored = self._overrides.find(ref)
        if stored is None:
            return None
        return OverrideStatus(
            evse=ref.evse,
            kind=stored.kind.value,
            value=stored.value,
            until=_moment(stored.until),
            by=stored.by,
        )


def report_unknown_stations(unknown_stations: UnknownStations) -> tuple[UnknownStationStatus, ...]:
    """Return the unknown stations that tried to connect, the latest first."""
    found = []
    for unknown in unknown_stations.latest_first:
        boot = unknown.boot or Booted("", "")
        found.append(
            UnknownStationStatus(
                id=unknown.station,
                peer=unknown.peer,
                first_seen=_moment(unknown.first_seen),
                last_seen=_moment(unknown.last_seen),
                tries=unknown.tries,
                ocpp=unknown.protocols,
                vendor=boot.vendor,
                model=boot.model,
                serial_number=boot.serial_number,
                firmware=boot.firmware,
            )
        )
    return tuple(found)


def _moment(utc: float) -> str:
    return datetime.fromtimestamp(utc, UTC).isoformat(timespec="seconds")
