"""Link status: the connections to stations and backends, as people and monitoring see them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from controller.ocpp.frames import Version
from controller.services.station_clocks import StationClocks
from controller.services.station_limits import StationLimits
from controller.services.station_service import StationService
from controller.stations.connection_stats import ConnectionStats
from controller.stations.registry import SessionRegistry
from controller.web.status_model import (
    ClockOffsetStatus,
    LinkCounts,
    clock_offset_statuses,
)


@dataclass(frozen=True)
class LinkStatusReader:
    """Reader of the state of all links."""

    registry: SessionRegistry
    stats: ConnectionStats
    limits: StationLimits
    clocks: StationClocks
    stations: StationService

    def counts(self, versions: Mapping[str, Version]) -> LinkCounts:
        """Return the counts of links and messages; `versions` has that of each connected station."""
        connected = Counter(versions.values())
        return LinkCounts(
            connected={version.value: connected[version] for version in Version},
            accepted_total=self.stats.accepted,
            refused_total=self.stats.refused,
            from_stations_total=self.stats.from_stations,
            from_backends_total=self.stats.from_backends,
            limits_total=self.limits.sent,
            limits_failed_total=self.limits.failed,
        )

    def clock_offsets(self) -> tuple[ClockOffsetStatus, ...]:
        """Return the clocks of stations and backends that differ from the controller's."""
        return clock_offset_statuses(self.clocks.offsets())
