"""The stations' port without a configuration: stations that connect are listed, and not served."""

from __future__ import annotations

import time
from collections.abc import Sequence

import trio

from controller.config.schema import ListenConfig
from controller.ocpp.frames import Version
from controller.services import ServiceError
from controller.services.machine.wall_clock import find_station_time
from controller.services.stations.station_report import report_unknown_stations
from controller.site_setup.setup_questions import UnknownStation
from controller.stations.admission import AdmissionRules
from controller.stations.connection_stats import ConnectionStats
from controller.stations.listener import ListenError, ListenSettings, serve_stations
from controller.stations.unknown_station_host import AnyStation, UnknownStationHost
from controller.web.setup_interface import list_unknown_stations

MOST_LINKS = 64
"""Connections of stations that are open at a time."""


class CollectorError(ServiceError):
    """The stations' port cannot be opened. Its text names the address and the remedy."""


class StationCollector:
    """Port where stations connect before there is a site. Once it runs, `port` is the bound one."""

    def __init__(self, host: str = ListenConfig().host, port: int = ListenConfig().port) -> None:
        self.host, self.port = host, port
        self._stats = ConnectionStats()

    async def read_unknown_stations(self) -> Sequence[UnknownStation]:
        """Return the stations that have connected, the first one first."""
        return list_unknown_stations(report_unknown_stations(self._stats.unknown_stations))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """List stations that connect until cancelled. Raises CollectorError."""
        listen = ListenConfig()
        settings = ListenSettings(
            self.host,
            self.port,
            None,
            65_536,
            connections_per_address=64,
            handshakes_per_second=20,
            messages_per_second=10,
        )
        rules = AdmissionRules(listen.path, AnyStation(), [Version(name) for name in listen.protocols])
        host = UnknownStationHost(
            self._stats.unknown_stations,
            most_links=MOST_LINKS,
            station_time=find_station_time(None, time.time()),
        )
        async with trio.open_nursery() as nursery:
            try:
                self.port = await nursery.start(serve_stations, settings, rules, host, self._stats)
            except ListenError as error:
                raise CollectorError(str(error)) from error
            task_status.started()
