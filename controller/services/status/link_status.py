"""Link status: the connections to stations and backends, as people and monitoring see them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import trio

from controller.model.plausible_time import EARLIEST
from controller.ocpp.frames import Version
from controller.offline.station_memory import QueueStatus
from controller.services.backends.backend_pools import BackendPools
from controller.services.machine.wall_clock import utc_now
from controller.services.overlay.overlay_service import OverlayService
from controller.services.stations.relay_memory import RelayJournals
from controller.services.stations.station_capabilities import StationClocks
from controller.services.stations.station_limits import StationLimits
from controller.stations.connection_stats import ConnectionStats
from controller.stations.registry import SessionRegistry
from controller.web.status_model import (
    BackendStatus,
    ClockOffsetStatus,
    LinkCounts,
    OverlayStatus,
    clock_offset_statuses,
)


class QueueAges:
    """Ages of the oldest message of each backend's queue, which a step of the clock does not change.

    A message is stored with the time of day at which it came. Its age is taken from that once, when it is
    first seen as the oldest one, and is then measured; a time that cannot be right gives the age 0.
    """

    def __init__(self) -> None:
        self._began: dict[str, tuple[float, float]] = {}
        """By backend: when its oldest message came, as stored (POSIX s), and on the monotonic clock (s)."""

    def measure(self, backend: str, came_at: float | None, utc: float, now: float) -> float:
        """Return the age (s) of what came at `came_at` (POSIX s; None: nothing waits)."""
        if came_at is None:
            self._began.pop(backend, None)
            return 0.0
        stored, began = self._began.get(backend, (None, now))
        if stored != came_at:
            began = now - (utc - came_at) if EARLIEST <= came_at <= utc else now
            self._began[backend] = (came_at, began)
        return now - began


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
    ages: QueueAges = field(default_factory=QueueAges)

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
        now = trio.current_time()
        age_s = self.ages.measure(backend, queue.oldest, utc_now().timestamp(), now)
        unanswered = self.stats.unanswered.get(backend)
        return BackendStatus(
            id=backend,
            links=self.pools.by_name[backend].links,
            waiting=queue.messages,
            oldest_s=round(age_s, 1),
            dropped_total=queue.dropped,
            set_aside=queue.set_aside,
            unanswered=0 if unanswered is None else unanswered.count(now),
            unanswered_action="" if unanswered is None else unanswered.action,
        )

    def overlay_status(self) -> OverlayStatus | None:
        """Return the state of the overlay network; None without one."""
        return None if self.overlay is None else self.overlay.status()

    def clock_offsets(self) -> tuple[ClockOffsetStatus, ...]:
        """Return the clocks of stations and backends that differ from the controller's."""
        return clock_offset_statuses(self.clocks.offsets())
