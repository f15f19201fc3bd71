"""The stations' desk: who may connect, what serves each of them, and the ways to their backends."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec
import trio

from controller.backends.endpoint import Endpoint, dial_turns
from controller.backends.pool import BackendPool
from controller.config import BackendConfig, Config, ListenConfig, StationConfig
from controller.config.backend_rules import backend_names, endpoints_by_backend
from controller.config.password_files import StationSecret, parse_password_file
from controller.config.schema import OverlayConfig
from controller.model.observations import EvseRating
from controller.ocpp.frames import Version
from controller.ocpp.station_state import StationStateTracker
from controller.overlay.binary_messages import BinaryMessages
from controller.overlay.overlay_wire import MODE_HEADER, NetworkingMode
from controller.profiles.arbiter import ProfileArbiter
from controller.relay.station_relay import StationRelay
from controller.services.load_management_service import LoadManagementService, utc
from controller.services.overlay_service import OverlayService
from controller.services.overlay_settings import OverlayTrust
from controller.services.policy_service import PolicyService
from controller.services.relay_memory import RelayJournals
from controller.stations.admission import Admission, AdmissionRules, HandshakeQuirks, handshake_quirks
from controller.stations.connection_stats import ConnectionStats
from controller.stations.listener import ListenSettings, serve_stations
from controller.stations.registry import SessionRegistry
from controller.stations.session import SessionRules, StationSession
from controller.transport.channel import Channel
from controller.transport.file_descriptors import make_room
from controller.transport.tls import RenewedContext, TlsError, client_tls, server_tls
from controller.transport.token_bucket import TokenBucket
from controller.web.status_model import BackendStatus, OverlayStatus

log = logging.getLogger("controller")

BURST_S = 10
"""What a station may send at once, in seconds of its listen.messages_per_second: it has been offline."""

LEAST_PER_ADDRESS = 64
"""Connections that any address may hold by default."""


class StationService:
    """Serves the stations of a configuration. Raises TlsFailed for certificates that cannot be used."""

    def __init__(
        self,
        config: Config,
        limits: LoadManagementService,
        board: SessionRegistry,
        tally: ConnectionStats,
        keeper: PolicyService | None = None,
    ) -> None:
        self._config = config
        self._limits = limits
        self._board = board
        self._tally = tally
        self._stations = {station.id: station for station in config.station}
        self._names = backend_names(config)
        self._memory = RelayJournals(config, None if keeper is None else keeper.remember)
        self._gate = None if keeper is None else keeper.gate
        self._trackers: dict[str, tuple[Version, StationStateTracker]] = {}
        self._listening = _listening(config.listen, len(self._stations))
        self._uplinks = _uplinks(config)
        self._hub = None if config.overlay is None else self._overlaid(config.overlay)

    def uplinks(self, backend: str) -> BackendPool:
        """The ways to the backend that is meant with this word of the configuration."""
        return self._uplinks[self._names[backend]]

    @property
    def damaged(self) -> tuple[str, ...]:
        """Files that were found damaged at the start, where they are now."""
        return () if self._memory.moved_aside is None else (str(self._memory.moved_aside),)

    def overlay(self) -> OverlayStatus | None:
        """What people and monitoring are told of the overlay network."""
        return None if self._hub is None else self._hub.status()

    def backends(self) -> tuple[BackendStatus, ...]:
        """What people and monitoring are told of each backend."""
        now = datetime.now(UTC).timestamp()
        return tuple(
            BackendStatus(
                id=backend,
                links=self._uplinks[backend].links,
                waiting=queue.messages,
                oldest_s=0.0 if queue.oldest is None else max(0.0, round(now - queue.oldest, 1)),
                dropped_total=queue.dropped,
                set_aside=queue.set_aside,
            )
            for backend, queue in self._memory.queues().items()
        )

    async def run(self, *, task_status: trio.TaskStatus[int]) -> None:
        """Serve stations until cancelled. Starts with the bound port, or raises ListenFailed."""
        make_room(sum(2 + len(station.observers) for station in self._stations.values()))
        async with trio.open_nursery() as self._nursery:
            nursery = self._nursery
            nursery.start_soon(self._memory.run)
            for uplinks in self._uplinks.values():
                nursery.start_soon(uplinks.run)
            if self._hub is not None:
                nursery.start_soon(self._hub.run)
            for station in self._stations.values():
                nursery.start_soon(self._deliver, station)
            port = await nursery.start(
                partial(serve_stations, self._listening, self._door(), self._serve, self._tally)
            )
            task_status.started(port)

    def _door(self) -> AdmissionRules:
        passwords = {station.id: _secret(station.password_file) for station in self._stations.values()}
        protocols = [Version(name) for name in self._config.listen.protocols]
        return AdmissionRules(self._config.listen.path, passwords, protocols, self._habits)

    def _habits(self, station: str) -> HandshakeQuirks:
        asked, usual_s = self._stations[station], self._config.listen.ping_s
        known = handshake_quirks(asked.protocol, asked.ping_s, usual_s, self._limits.quirk(station))
        return msgspec.structs.replace(known, mode=_MODES[asked.mode])

    def _overlaid(self, overlay: OverlayConfig) -> OverlayService:
        """The overlay network's node; stations reach backends in overlay mode through it from now on."""
        modes = {backend.name: backend.mode for backend in self._config.backend}
        real = {name: each for name, each in self._uplinks.items() if modes[name] == "overlay"}
        hub = OverlayService(
            self._config, real, OverlayTrust(overlay, self._gate, _utc_now), self._memory.save
        )
        self._uplinks |= {name: hub.ways_to(name) for name in real}
        return hub

    async def _serve(self, admitted: Admission, link: Channel) -> None:
        """One accepted station, on a link of its own or of many."""
        if admitted.mode is NetworkingMode.OVERLAY and self._hub is not None:
            await self._hub.serve(admitted, link, self._serve_one)
        else:
            await self._serve_one(admitted, link)

    async def _serve_one(self, admitted: Admission, link: Channel) -> None:
        """What a station says for itself: its relay, its session, and the ways to its backends."""
        station = self._stations[admitted.station]
        observers = [self.uplinks(name) for name in station.observers]
        ownership = self._limits.ownership(station.id, admitted.version)
        make = partial(self._session, station, admitted, ownership, link)
        await self._board.run(station.id, make, self.uplinks(station.owner), observers)
        self._nursery.start_soon(self._deliver, station)

    async def _deliver(self, station: StationConfig) -> None:
        """Tell the backends what waits for them while the station is away; it may be so for long."""
        while (waiting := self._memory.waiting(station.id)) and not self._board.is_served(station.id):
            version = next(iter(waiting.values()))
            told = [self._uplinks[backend] for backend, first in waiting.items() if first is version]
            owner = next((each for each in told if each.backend == self._names[station.owner]), None)
            ownership = self._limits.spoken_for(station.id, version)
            make = partial(self._session, station, Admission(station.id, version), ownership, None)
            log.info("station %s is away: what waits is told to %s", station.id, ", ".join(sorted(waiting)))
            await self._board.run(station.id, make, owner, [each for each in told if each is not owner])

    def _state_tracker(self, station: StationConfig, version: Version) -> StationStateTracker:
        """Return the tracker of a station: it outlives the links, as transactions do."""
        known = self._trackers.get(station.id)
        if known is None or known[0] is not version:
            evses = {evse.id: EvseRating(len(evse.phases), evse.max_a) for evse in station.evse}
            known = version, StationStateTracker(version, self._config.site.voltage, evses)
            self._trackers[station.id] = known
        return known[1]

    def _session(
        self, station: StationConfig, admitted: Admission, ownership: ProfileArbiter, link: Channel | None
    ) -> StationSession:
        """`link` None: the station is not there, and only spoken for."""
        listen, memory = self._config.listen, self._memory
        relay = StationRelay(
            station.id,
            self._names[station.owner],
            admitted.version,
            self._state_tracker(station, admitted.version),
            ownership,
            listen.call_timeout_s,
            trio.current_time(),
            grace_s=station.grace_s if station.when_backend_away == "grace" else 0.0,
            stead=memory.stead(station, admitted.version, utc),
            observers=memory.observers(station.id, admitted.version),
            story=memory.story(station),
            commands=memory.commands(station.id),
            utc_of=utc,
            present=link is not None,
            gate=self._gate,
        )
        rules = SessionRules(
            pace=TokenBucket(
                listen.messages_per_second, burst=max(1, int(BURST_S * listen.messages_per_second))
            ),
            ping_s=self._habits(station.id).ping_s,
            backend_ping_s=listen.ping_s,
            sealed=BinaryMessages(self._gate, utc, admitted.version, station.id, self._names[station.owner]),
        )
        return StationSession(admitted, relay, link, self._limits, memory, self._tally, rules)


_MODES = {"standard": NetworkingMode.STANDARD, "overlay": NetworkingMode.OVERLAY}


def _utc_now() -> float:
    return utc(trio.current_time())


def unusable_certificates(config: Config) -> Iterator[str]:
    """Whose certificates cannot be used, and why: what a start would fail of."""
    makers = [partial(_tls_down, config.listen), *(partial(_tls_up, backend) for backend in config.backend)]
    for make in makers:
        try:
            make()
        except TlsError as failed:
            yield str(failed)


def _tls_down(listen: ListenConfig) -> RenewedContext | None:
    if not (listen.certificate and listen.key):
        return None
    return server_tls(listen.certificate, listen.key, listen.client_ca)


def _tls_up(backend: BackendConfig) -> RenewedContext | None:
    if not backend.url.startswith("wss://"):
        return None
    return client_tls(backend.id, backend.ca, backend.certificate, backend.key)


def _listening(listen: ListenConfig, stations: int) -> ListenSettings:
    """Behind a router all stations come from one address, each perhaps with an old link still half open."""
    held = listen.connections_per_address
    return ListenSettings(
        listen.host,
        listen.port,
        _tls_down(listen),
        listen.max_message_bytes,
        max(LEAST_PER_ADDRESS, 2 * stations) if held is None else held,
        listen.handshakes_per_second,
        listen.compression,
    )


def _uplinks(config: Config) -> dict[str, BackendPool]:
    return {
        name: BackendPool(
            name,
            {each.id: (each.priority, _uplink(each, config.listen)) for each in tables},
            random.Random(),
        )
        for name, tables in endpoints_by_backend(config).items()
    }


def _uplink(backend: BackendConfig, listen: ListenConfig) -> Endpoint:
    return Endpoint(
        backend.url,
        _tls_up(backend),
        _password(backend.password_file),
        listen.max_message_bytes,
        backend.connect_timeout_s,
        dial_turns(),
        backend.compression,
        ((MODE_HEADER, NetworkingMode.OVERLAY.value),) if backend.mode == "overlay" else (),
    )


def _password(file: str | None) -> bytes | None:
    """A password from its file, without the line's end that editors leave."""
    return None if file is None else Path(file).read_bytes().rstrip(b"\r\n")


def _secret(file: str | None) -> StationSecret | None:
    """What a station's password is held against."""
    return None if file is None else parse_password_file(Path(file).read_bytes())
