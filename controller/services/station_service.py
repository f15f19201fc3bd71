"""Service of the stations: admission, one session per station, and the pools of their backends."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

import msgspec
import trio

from controller.config import Config, StationConfig
from controller.config.backend_rules import backend_names, endpoints_by_backend, owner_names
from controller.config.password_files import StationSecret
from controller.model.rate_limits import Backoff, TokenBucket
from controller.ocpp.frames import Version
from controller.overlay.binary_messages import BinaryMessages
from controller.overlay.overlay_wire import NetworkingMode
from controller.profiles.arbiter import ProfileArbiter
from controller.services.backend_pools import BackendPools
from controller.services.connection_settings import (
    Endpoints,
    evse_names,
    make_listen_settings,
    make_station_check,
    open_credentials,
    read_station_secrets,
)
from controller.services.local_csms_service import LocalCsmsService
from controller.services.overlay_service import OverlayService
from controller.services.policy_service import PolicyService
from controller.services.relay_factory import RelayFactory
from controller.services.relay_memory import RelayJournals
from controller.services.session_ledger_service import SessionLedger
from controller.services.station_certificates import open_station_certificates
from controller.services.station_limits import StationLimits
from controller.services.wall_clock import utc
from controller.stations.admission import (
    Admission,
    AdmissionRules,
    HandshakeQuirks,
    Rejection,
    handshake_quirks,
)
from controller.stations.connection_stats import ConnectionStats
from controller.stations.listener import serve_stations
from controller.stations.owner_confirmation import OwnerConfirmation, OwnerRules
from controller.stations.registry import SessionRegistry
from controller.stations.session import POLICY_VIOLATION, REMOVED, RENEWED, SessionRules, StationSession
from controller.stations.unregistered import UnregisteredStations
from controller.store.state_store import StateStore
from controller.transport.channel import Channel
from controller.transport.file_descriptors import raise_descriptor_limit
from controller.web.status_model import BackendStatus, OverlayStatus

log = logging.getLogger("controller")

BURST_S = 10
"""Messages that a station may send at once, in s of listen.messages_per_second: it has been offline."""

DELIVERY_BACKOFF = Backoff(first_s=60.0, longest_s=3600.0)
"""Waits before a delivery that an internal error has ended is tried again."""

STOP_WAIT_S = 5.0
"""Time that a stop waits for answers: what is sent and has none would be sent to its backend twice."""

SERVICE_RESTART = 1012
"""WebSocket close code (IANA registry of RFC 6455)."""

_MODES = {"standard": NetworkingMode.STANDARD, "overlay": NetworkingMode.OVERLAY}


class StationService:
    """Serves the stations of a configuration. Raises TlsError for certificates that cannot be used."""

    def __init__(
        self,
        config: Config,
        limits: StationLimits,
        registry: SessionRegistry,
        stats: ConnectionStats,
        store: StateStore,
        ledger: SessionLedger,
        local_csms: LocalCsmsService,
        policy: PolicyService | None = None,
    ) -> None:
        self._config = config
        self._limits = limits
        self._registry = registry
        self._stats = stats
        self._stations: dict[str, StationConfig] = {}
        self._passwords: dict[str, StationSecret | None] = {}
        """Of the stations that may connect; see `AdmissionRules`."""
        self._removed: frozenset[str] = frozenset()
        """Stations that may not connect any more; what waits for their backends is delivered."""
        self._owner_names = owner_names(config)
        self._ledger = ledger
        self._local_csms = local_csms
        self._journals = RelayJournals(config, store)
        self._journals.on_drop_station = ledger.drop_station
        self._accepting = trio.CancelScope()
        """Cancelled once no more stations are accepted: the controller stops."""
        self._enforcer = None if policy is None else policy.enforcer
        self._relays = RelayFactory(config, self._journals, ledger, self._enforcer, utc)
        self._peer_certificates = make_station_check(config)
        self._listen_settings = make_listen_settings(config, self._peer_certificates)
        self._certificates = open_station_certificates(config, evse_names(config), registry)
        self.backend_pools = BackendPools(config, 2 * STOP_WAIT_S)
        self._overlay = None if config.overlay is None else self._make_overlay()
        accepted, self._rotated = open_credentials(store)
        self._owners = OwnerConfirmation({}, registry, accepted)
        self._unregistered = UnregisteredStations(stats.unknown_stations)
        self._nursery: trio.Nursery | None = None
        """Tasks of the stations, once `run` has started."""
        self._use_stations(config, read_station_secrets(config))

    def replace_stations(
        self,
        config: Config,
        passwords: Mapping[str, StationSecret | None],
        endpoints: Endpoints,
        removed: Collection[str] = (),
    ) -> None:
        """Serve the stations of another configuration, with its backends.

        The sessions of stations whose backends stay are not touched; the others are closed (1012), and their
        stations connect again. `passwords`: of all its stations. `removed`: those of them whose sessions end,
        and that are not admitted any more, but for which messages may wait. Raises StoreError.
        """
        self._journals.replace_stations(config)
        before, after = _find_services(self._config), _find_services(config)
        self.backend_pools.replace_endpoints(config, endpoints)
        ending = set(removed) - self._removed
        self._removed = frozenset(removed)
        for station in self._removed:
            self._passwords.pop(station, None)
        self._relays.replace_stations(config)
        if self._peer_certificates is not None:
            self._peer_certificates.set_evses(evse_names(config))
        if self._certificates is not None:
            self._certificates.set_evses(evse_names(config))
        self._use_stations(config, passwords)
        self._raise_descriptor_limit()
        for station in sorted(ending):
            log.info("station removed station=%s", station)
            if self._nursery is not None:
                self._nursery.start_soon(self._registry.remove_session, station, STOP_WAIT_S)
        for station in sorted(before.keys() & after.keys() - self._removed):
            if before[station] != after[station] and self._nursery is not None:
                log.info("station served anew station=%s: its backends or their rules have changed", station)
                self._nursery.start_soon(self._registry.renew_session, station, STOP_WAIT_S)
                self._nursery.start_soon(self._deliver, station)

    def has_waiting_messages(self, station: str) -> bool:
        """Return True if messages of a station wait for a backend, or a session of it has not ended."""
        return self._registry.has_session(station) or bool(self._journals.backends_waited_for(station))

    def _use_stations(self, config: Config, passwords: Mapping[str, StationSecret | None]) -> None:
        """Use the stations of a configuration, with the stored states of new ones, and admit them last."""
        added = [station for station in config.station if station.id not in self._stations]
        self._config = config
        self._stations = {station.id: station for station in config.station}
        self._owner_names = owner_names(config)
        self._relays.restore_states(added, self._limits.on_observation)
        self._owners.set_owners(_make_owner_rules(config, self.backend_pools))
        if self._nursery is not None:
            for station in added:
                self._nursery.start_soon(self._deliver, station.id)
        self._passwords.update(
            {station: secret for station, secret in passwords.items() if station not in self._removed}
        )
        for admitted in passwords.keys() - self._removed:
            self._unregistered.disconnect_station(admitted)

    def stations(self) -> Sequence[str]:
        """Return the ids of the stations that are served."""
        return tuple(station for station in self._stations if station not in self._removed)

    def follow_requests(self) -> None:
        """Carry out what a person has requested about messages that were set aside."""
        self._journals.follow_requests()

    def find_transaction(self, station: str, evse: int) -> int | str | None:
        """Return the id of the transaction that runs at an EVSE, as the station has it; None without one."""
        return self._relays.find_transaction(station, evse)

    def find_busy_stations(self) -> set[str]:
        """Return the stations with a running transaction."""
        return {
            station.id
            for station in self._stations.values()
            if any(self.find_transaction(station.id, evse.id) is not None for evse in station.evse)
        }

    def overlay(self) -> OverlayStatus | None:
        """Return the state of the overlay network for people and monitoring; None without one."""
        return None if self._overlay is None else self._overlay.status()

    def backends(self) -> tuple[BackendStatus, ...]:
        """Return the state of each backend for people and monitoring."""
        now = datetime.now(UTC).timestamp()
        return tuple(
            BackendStatus(
                id=backend,
                links=self.backend_pools.by_name[backend].links,
                waiting=queue.messages,
                oldest_s=0.0 if queue.oldest is None else max(0.0, round(now - queue.oldest, 1)),
                dropped_total=queue.dropped,
                set_aside=queue.set_aside,
            )
            for backend, queue in self._journals.queue_statuses().items()
            if backend in self.backend_pools.by_name
        )

    async def run(
        self, listeners: list[trio.SocketListener] | None = None, *, task_status: trio.TaskStatus[int]
    ) -> None:
        """Serve stations until cancelled, on `listeners` if there are open ones.

        Starts with the bound port; raises ListenError.
        """
        self._raise_descriptor_limit()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await nursery.start(self.backend_pools.run)
            if self._overlay is not None:
                await nursery.start(self._overlay.run)
            if self._certificates is not None:
                nursery.start_soon(self._certificates.run)
            for station in self._stations:
                nursery.start_soon(self._deliver, station)
            port = await nursery.start(
                partial(
                    serve_stations,
                    self._listen_settings,
                    self._admission_rules(),
                    self,
                    self._stats,
                    sockets=listeners,
                    accepting=self._accepting,
                )
            )
            task_status.started(port)

    def _raise_descriptor_limit(self) -> None:
        raise_descriptor_limit(sum(2 + len(station.observers) for station in self._stations.values()))

    async def stop(self) -> None:
        """Accept no more stations, and wait STOP_WAIT_S at most for outstanding answers."""
        self._accepting.cancel()
        await self._registry.stop_sessions(STOP_WAIT_S)

    def _admission_rules(self) -> AdmissionRules:
        protocols = [Version(name) for name in self._config.listen.protocols]
        return AdmissionRules(
            self._config.listen.path,
            self._passwords,
            protocols,
            self._quirks_of,
            self._rotated.find,
            lambda: self._config.listen.unknown_stations == "pending",
        )

    def _quirks_of(self, station: str) -> HandshakeQuirks:
        configured, usual_s = self._stations[station], self._config.listen.ping_s
        quirks = handshake_quirks(
            configured.protocol, configured.ping_s, usual_s, self._limits.capabilities.find_quirk(station)
        )
        return msgspec.structs.replace(quirks, mode=_MODES[configured.mode])

    def _make_overlay(self) -> OverlayService:
        """Make the overlay node; stations reach backends in overlay mode through it from now on."""
        modes = {backend.name: backend.mode for backend in self._config.backend}
        carriers = {
            name: each for name, each in self.backend_pools.by_name.items() if modes[name] == "overlay"
        }
        service = OverlayService(self._config, carriers, self._enforcer, self._journals.save)
        self.backend_pools.take_over({name: service.make_pool(name) for name in carriers})
        return service

    # -- stations that connect: see `listener.StationHost` --------------------------------------------

    async def confirm_admission(self, admission: Admission) -> Admission | Rejection:
        """Ask the station's owner before its upgrade is answered."""
        return admission if admission.is_unknown else await self._owners.confirm(admission)

    async def release_admission(self, admission: Admission) -> None:
        """Close the link to the owner if no session has used it."""
        if not admission.is_unknown:
            await self._owners.release(admission)

    async def serve_station(self, admission: Admission, channel: Channel) -> None:
        """Serve an admitted station, on a connection of its own or one that carries many."""
        if admission.is_unknown and admission.station in self._passwords:
            await channel.close(SERVICE_RESTART, "adopted: connect again")  # since its request was read
        elif not admission.is_unknown and admission.station not in self._passwords:
            await channel.close(POLICY_VIOLATION, REMOVED)  # since its request was read
        elif admission.is_unknown:
            await self._unregistered.serve_station(admission, channel)
        elif admission.mode is NetworkingMode.OVERLAY and self._overlay is not None:
            await self._overlay.serve(admission, channel, self._serve_one)
        else:
            await self._serve_one(admission, channel)

    async def _serve_one(self, admission: Admission, channel: Channel) -> None:
        """Run the session of one station."""
        station = self._stations[admission.station]
        owner = (
            self._local_csms.make_owner(station.id, admission.version, utc)
            if station.owner is None
            else self.backend_pools.find(station.owner)
        )
        opened = admission.owner_link
        if opened is not None and opened.pool is not owner:  # the owner has changed since it was asked
            await self._owners.release(admission)
            await channel.close(SERVICE_RESTART, RENEWED)
            return
        observers = [self.backend_pools.by_name[name] for name in self._journals.find_observers(station.id)]
        sessions: list[StationSession] = []
        try:
            await self._registry.run_session(
                station.id,
                partial(self._open_session, station, admission, channel, sessions),
                owner,
                observers,
                admission.peer,
            )
        finally:
            for session in sessions:
                self._owners.on_session_ended(station.id, has_set_limits=session.has_set_limits)
        self._spawn(self._deliver, station.id)

    def _spawn(self, run: Callable[..., Awaitable[object]], *arguments: object) -> None:
        """Run a task beside the sessions."""
        assert self._nursery is not None, "a session runs while the service does"
        self._nursery.start_soon(run, *arguments)

    async def _deliver(self, name: str) -> None:
        """Deliver to backends what waits for them while a station is absent, which may be long."""
        failures = 0
        while (
            not self._accepting.cancel_called
            and (station := self._stations.get(name)) is not None
            and (waiting := self._journals.backends_waited_for(name))
            and not self._registry.has_session(name)
        ):
            version = next(iter(waiting.values()))
            pools = [
                self.backend_pools.by_name[backend] for backend, first in waiting.items() if first is version
            ]
            owner = next((each for each in pools if each.backend == self._owner_names[station.id]), None)
            arbiter = self._limits.profiles.make_absent_arbiter(station.id, version)
            make = partial(self._make_session, station, Admission(station.id, version), arbiter, None)
            log.info(
                "delivery for an absent station started station=%s backends=%s",
                station.id,
                ",".join(sorted(waiting)),
            )
            try:
                await self._registry.run_session(
                    station.id, make, owner, [each for each in pools if each is not owner]
                )
            except* Exception as error:  # of one station's messages: no other station's affair
                failures += 1
                log.exception(
                    "delivery ended by an internal error station=%s next_try=%gs",
                    station.id,
                    DELIVERY_BACKOFF.wait_s(failures),
                    exc_info=error,
                )
            if failures:
                await trio.sleep(DELIVERY_BACKOFF.wait_s(failures))

    def _open_session(
        self,
        station: StationConfig,
        admission: Admission,
        channel: Channel,
        opened: list[StationSession],
    ) -> StationSession:
        """Make the session of a connected station, and add it to `opened`."""
        arbiter = self._limits.profiles.make_arbiter(station.id, admission.version)
        session = self._make_session(station, admission, arbiter, channel)
        opened.append(session)
        if station.id in self._removed:  # while the session before this one ended
            session.remove()
        elif self._stations.get(station.id) is not station:
            session.renew()
        return session

    def _make_session(
        self, station: StationConfig, admission: Admission, arbiter: ProfileArbiter, channel: Channel | None
    ) -> StationSession:
        """Make a session; `channel` None: the station is absent, and only deliveries are made for it."""
        listen, journals = self._config.listen, self._journals
        relay = self._relays.make_relay(
            station,
            admission.version,
            arbiter,
            is_present=channel is not None,
            local=None if self._certificates is None else self._certificates.scope,
        )
        rules = SessionRules(
            utc_of=utc,
            pace=TokenBucket(
                listen.messages_per_second, burst=max(1, int(BURST_S * listen.messages_per_second))
            ),
            ping_s=self._quirks_of(station.id).ping_s,
            backend_ping_s=listen.ping_s,
            sealed=BinaryMessages(
                self._enforcer,
                utc,
                admission.version,
                station.id,
                self._owner_names[station.id],
            ),
            on_password_command=self._record_password,
            on_local_call=None if self._certificates is None else self._certificates.on_local_call,
        )
        return StationSession(admission, relay, channel, self._limits, journals, self._stats, rules)

    def _record_password(self, station: str, action: str, payload: bytes, result: bytes) -> None:
        self._spawn(self._rotated.record_rotated, station, action, payload, result)


def _find_services(config: Config) -> dict[str, tuple[object, ...]]:
    """Return what a session of each station is made for: another one is needed where this differs."""
    names = backend_names(config)
    rules = {
        name: (name, tables[0].observe, tables[0].commands)
        for name, tables in endpoints_by_backend(config).items()
    }
    return {
        station.id: (
            None if station.owner is None else rules[names[station.owner]],
            [rules[names[observer]] for observer in station.observers],
            station.when_backend_away,
            station.grace_s,
            station.authorise_when_away,
            station.stop_unauthorised,
            station.ping_s,
        )
        for station in config.station
    }


def _make_owner_rules(config: Config, pools: BackendPools) -> dict[str, OwnerRules]:
    """Return the owner of each station of a configuration."""
    return {
        station.id: OwnerRules(
            None if station.owner is None else pools.find(station.owner),
            station.when_backend_away == "strict",
        )
        for station in config.station
    }
