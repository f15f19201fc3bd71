"""Status of each station for people: its model, quirk, connection and overrides."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from controller.config.schema import Config
from controller.model.observations import EvseRef
from controller.ocpp.frames import Version
from controller.services.load_management_service import LoadManagementService
from controller.services.override_service import OverrideService
from controller.stations.registry import SessionRegistry
from controller.web.status_model import ChargingStationStatus, OverrideStatus


class StationReport:
    """The stations of one configuration."""

    def __init__(
        self,
        config: Config,
        registry: SessionRegistry,
        load_management: LoadManagementService,
        overrides: OverrideService,
    ) -> None:
        self._config = config
        self._registry = registry
        self._load_management = load_management
        self._overrides = overrides

    def statuses(self, versions: Mapping[str, Version]) -> tuple[ChargingStationStatus, ...]:
        """Return the status of each station; `versions` has the OCPP version of each connected one."""
        found = []
        for station in self._config.station:
            boot = self._load_management.find_boot(station.id)
            version = versions.get(station.id)
            found.append(
                ChargingStationStatus(
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
                    quirk=self._load_management.find_quirk(station.id).name,
                    peer=self._registry.find_peer(station.id),
                    overrides=tuple(
                        status
                        for evse in station.evse
                        if (status := self._override(EvseRef(station.id, evse.id))) is not None
                    ),
                )
            )
        return tuple(found)

    def _override(self, ref: EvseRef) -> OverrideStatus | None:
        stored = self._overrides.find(ref)
        if stored is None:
            return None
        return OverrideStatus(
            evse=ref.evse,
            kind=stored.kind.value,
            value=stored.value,
            until=datetime.fromtimestamp(stored.until, UTC).isoformat(timespec="seconds"),
            by=stored.by,
        )
