"""Sessions of the stations: one for each that is connected, and deliveries while a station is absent."""

from __future__ import annotations

import logging
from collections.abc import Collection
from functools import partial

import trio

from controller.backends.backend_link import LinkMaker
from controller.backends.pool import BackendPool
from controller.config import Config, StationConfig
from controller.model.rate_limits import Backoff
from controller.services.backends.backend_pools import BackendPools
from controller.services.stations.relay_memory import RelayJournals
from controller.services.stations.session_factory import SessionFactory
from controller.stations.admission import Admission
from controller.stations.registry import SessionRegistry
from controller.stations.session import RENEWED, SERVICE_RESTART, StationSession
from controller.stations.session_links import SessionLinks
from controller.transport.channel import Channel

log = logging.getLogger("controller")

DELIVERY_BACKOFF = Backoff(first_s=60.0, longest_s=3600.0)
"""Waits before a delivery that an internal error has ended is tried again."""

STOP_WAIT_S = 5.0
"""Time that a stop waits for answers: what is sent and has none would be sent to its backend twice."""


class StationSessions:
    """Runs the sessions of the stations of a configuration."""

    def __init__(
        self,
        factory: SessionFactory,
        registry: SessionRegistry,
        journals: RelayJournals,
        pools: BackendPools,
    ) -> None:
        self._factory = factory
        self._registry = registry
        self._journals = journals
        self._pools = pools
        self._stations: dict[str, StationConfig] = {}
        self._removed: Collection[str] = ()
        """Stations that may not connect any more; what waits for their backends is delivered."""
        self._is_stopping = False
        self._nursery: trio.Nursery | None = None
        """Tasks of the stations, once `run` has started."""

    def set_stations(self, config: Config, removed: Collection[str]) -> None:
        """Serve the stations of a configuration; the sessions that run are not touched."""
        added = [station.id for station in config.station if station.id not in self._stations]
        self._stations = {station.id: station for station in config.station}
        self._removed = removed
        self._factory.set_config(config)
        for station in added:
            self._start_delivery(station)

    def end_sessions(self, removed: Collection[str], renewed: Collection[str]) -> None:
        """End the sessions of removed stations, and of those whose next ones have other backends or rules."""
        for station in sorted(removed):
            log.info("station removed station=%s", station)
            if self._nursery is not None:
                self._nursery.start_soon(self._registry.remove_session, station, STOP_WAIT_S)
        for station in sorted(renewed):
            if self._nursery is not None:
                log.info("station served anew station=%s: its backends or their rules have changed", station)
                self._nursery.start_soon(self._registry.renew_session, station, STOP_WAIT_S)
                self._start_delivery(station)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Deliver what waits for backends, until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            for station in self._stations:
                self._start_delivery(station)
            await trio.sleep_forever()

    async def stop(self) -> None:
        """Start no more deliveries, and wait STOP_WAIT_S at most for outstanding answers."""
        self._is_stopping = True
        await self._registry.stop_sessions(STOP_WAIT_S)

    async def serve_station(self, admission: Admission, channel: Channel) -> None:
        """Run the session of one station, until it is disconnected; deliver what waits then."""
        station = self._stations[admission.station]
        owner = self._pools.find_owner(station, admission.version)
        opened = admission.owner_link
        if opened is not None and opened.pool is not owner:  # the owner has changed since it was asked
            await self._factory.admission.owners.release(admission)
            await channel.close(SERVICE_RESTART, RENEWED)
            return
        sessions: list[StationSession] = []
        try:
            await self._registry.run_session(
                station.id,
                partial(self._open_session, station, admission, owner, channel, sessions),
                admission.peer,
            )
        finally:
            for session in sessions:
                self._factory.admission.owners.on_session_ended(
                    station.id, has_set_limits=session.has_set_limits
                )
        self._start_delivery(station.id)

    def _open_session(
        self,
        station: StationConfig,
        admission: Admission,
        owner: BackendPool | LinkMaker,
        channel: Channel,
        opened: list[StationSession],
    ) -> StationSession:
        """Make the session of a connected station, and add it to `opened`."""
        observers = [self._pools.by_name[name] for name in self._journals.find_observers(station.id)]
        links = SessionLinks(admission, owner, observers)
        session = self._factory.make_session(station, links, channel)
        opened.append(session)
        if station.id in self._removed:  # while the session before this one ended
            session.remove()
        elif self._stations.get(station.id) is not station:
            session.renew()
        return session

    def _start_delivery(self, station: str) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._deliver, station)

    async def _deliver(self, name: str) -> None:
        """Deliver to backends what waits for them while a station is absent, which may be long."""
        failures = 0
        while (
            not self._is_stopping
            and (station := self._stations.get(name)) is not None
            and (waiting := self._journals.backends_waited_for(name))
            and not self._registry.has_session(name)
        ):
            version = next(iter(waiting.values()))
            pools = [self._pools.by_name[backend] for backend, first in waiting.items() if first is version]
            owner_name = self._journals.find_memory(name).owner
            owner = next((each for each in pools if each.backend == owner_name), None)
            observers = [each for each in pools if each is not owner]
            links = SessionLinks(Admission(name, version), owner, observers)
            log.info(
                "delivery for an absent station started station=%s backends=%s",
                name,
                ",".join(sorted(waiting)),
            )
            try:
                await self._registry.run_session(
                    name, partial(self._factory.make_session, station, links, None)
                )
            except* Exception as error:  # of one station's messages: no other station's affair
                failures += 1
                log.exception(
                    "delivery ended by an internal error station=%s next_try=%gs",
                    name,
                    DELIVERY_BACKOFF.wait_s(failures),
                    exc_info=error,
                )
            if failures:
                await trio.sleep(DELIVERY_BACKOFF.wait_s(failures))
