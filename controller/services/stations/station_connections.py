"""Connections of stations, from the port to their sessions; see `listener.StationHost`."""

from __future__ import annotations

from functools import partial

import trio

from controller.ocpp.payloads import StationTime
from controller.overlay.overlay_wire import NetworkingMode
from controller.services.overlay.overlay_service import OverlayService
from controller.services.stations.station_admission import StationAdmission
from controller.services.stations.station_sessions import StationSessions
from controller.stations.admission import Admission, Rejection
from controller.stations.connection_stats import ConnectionStats
from controller.stations.listener import ListenSettings, serve_stations
from controller.stations.session import POLICY_VIOLATION, REMOVED, SERVICE_RESTART
from controller.stations.unknown_station_host import UnknownStationHost
from controller.transport.channel import Channel


class StationConnections:
    """Accepts the connections of stations and passes each to what serves it."""

    def __init__(
        self,
        settings: ListenSettings,
        admission: StationAdmission,
        sessions: StationSessions,
        overlay: OverlayService | None,
        stats: ConnectionStats,
        station_time: StationTime,
    ) -> None:
        self._settings = settings
        self._admission = admission
        self._sessions = sessions
        self._overlay = overlay
        self._stats = stats
        self._unknown_station_host = UnknownStationHost(stats.unknown_stations, station_time=station_time)
        self._accepting = trio.CancelScope()
        """Cancelled once no more stations are accepted: the controller stops."""

    async def run(
        self, listeners: list[trio.SocketListener] | None = None, *, task_status: trio.TaskStatus[int]
    ) -> None:
        """Accept stations until cancelled, on `listeners` if there are open ones.

        Starts with the bound port; raises ListenError.
        """
        async with trio.open_nursery() as nursery:
            serve = partial(
                serve_stations,
                self._settings,
                self._admission.make_rules(),
                self,
                self._stats,
                sockets=listeners,
                accepting=self._accepting,
            )
            task_status.started(await nursery.start(serve))

    def stop(self) -> None:
        """Accept no more stations; those that are connected stay."""
        self._accepting.cancel()

    def disconnect_adopted(self) -> None:
        """Close the connections of unknown stations that may connect now."""
        for station in self._admission.passwords:
            self._unknown_station_host.disconnect_station(station)

    async def confirm_admission(self, admission: Admission) -> Admission | Rejection:
        """Ask the station's owner before its upgrade is answered."""
        return admission if admission.is_unknown else await self._admission.owners.confirm(admission)

    async def release_admission(self, admission: Admission) -> None:
        """Close the link to the owner if no session has used it."""
        if not admission.is_unknown:
            await self._admission.owners.release(admission)

    async def serve_station(self, admission: Admission, channel: Channel) -> None:
        """Serve an admitted station, on a connection of its own or one that carries many."""
        is_admitted = admission.station in self._admission.passwords  # by now, since its request was read
        if admission.is_unknown and is_admitted:
            await channel.close(SERVICE_RESTART, "adopted: connect again")
        elif not admission.is_unknown and not is_admitted:
            await channel.close(POLICY_VIOLATION, REMOVED)
        elif admission.is_unknown:
            await self._unknown_station_host.serve_station(admission, channel)
        elif admission.mode is NetworkingMode.OVERLAY and self._overlay is not None:
            await self._overlay.serve(admission, channel, self._sessions.serve_station)
        else:
            await self._sessions.serve_station(admission, channel)
