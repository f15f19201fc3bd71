"""Link status: the connections to stations and backends, as people and monitoring see them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import trio

from controller.ocpp.frames import Version
from controller.offline.station_memory import QueueStatus
from controller.services.backend_pools import BackendPools
from controller.services.overlay_service import OverlayService
from controller.services.relay_memory import RelayJournals
from controller.services.station_clocks import StationClocks
from controller.services.station_limits import StationLimits
from controller.services.wall_clock import utc_now
from controller.stations.connection_stats import ConnectionStats
from controller.stations.registry import SessionRegistry
from controller.web.status_model import (
    BackendStatus,
    ClockOffsetStatus,
    LinkCounts,
    OverlayStatus,
    clock_offset_statuses,
)


@dataclass(frozen=True)
class LinkStatusReader:
    """Reader of the state of all links."""

    registry: SessionRegistry
    stats: ConnectionStats
    limits: StationLimits
    clocks: StationClocks
    journals: RelayJournals
    pools: BackendPools
    overlay: OverlayService | None

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

    def backends(self) -> tuple[BackendStatus, ...]:
        """Return the state of each backend."""
        return tuple(
            self._backend(backend, queue)
            for backend, queue in self.journals.queue_statuses().items()
            if backend in self.pools.by_name
        )

    def _backend(self, backend: str, queue: QueueStatus) -> BackendStatus:
        age_s = 0.0 if queue.oldest is None else utc_now().timestamp() - queue.oldest
        unanswered = self.stats.unanswered.get(backend)
        return BackendStatus(
            id=backend,
            links=self.pools.by_name[backend].links,
            waiting=queue.messages,
            oldest_s=max(0.0, round(age_s, 1)),
            dropped_total=queue.dropped,
            set_aside=queue.set_aside,
            unanswered=0 if unanswered is None else unanswered.count(trio.current_time()),
            unanswered_action="" if unanswered is None else unanswered.action,
        )

    def overlay_status(self) -> OverlayStatus | None:
        """Return the state of the overlay network; None without one."""
        return None if self.overlay is None else self.overlay.status()

    def clock_offsets(self) -> tuple[ClockOffsetStatus, ...]:
        """Return the clocks of stations and backends that differ from the controller's."""
        return clock_offset_statuses(self.clocks.offsets())
