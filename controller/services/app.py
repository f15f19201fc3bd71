"""The whole controller in one nursery: listeners, sessions, meters and the control loop around the site."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping
from functools import partial
from importlib import metadata
from pathlib import Path

import trio

from controller.backends.pool import BackendPool, Endpoints
from controller.commands.site_command import ReloadConfiguration, ResumeSigning
from controller.config import Config
from controller.config.live_keys import remove_stations
from controller.config.password_files import StationSecret
from controller.config.schema import DimmingConfig
from controller.dimming.dimming_builder import (
    find_controllable_evses,
    make_dimming_settings,
    module_settings,
)
from controller.load_management.events import MeterUpdated
from controller.load_management.site_builder import build_station_meters
from controller.load_management.site_view import SiteView
from controller.model.expiry import DAY_S, ExpiryLevel
from controller.model.parts import finish_parts
from controller.services import ServiceError
from controller.services.backends.backend_pools import BackendPools
from controller.services.backends.backend_renames import rename_backends
from controller.services.backends.connection_settings import (
    evse_names,
    make_listen_settings,
    make_station_check,
    open_credentials,
    read_station_secrets,
)
from controller.services.backends.local_csms_service import (
    LocalCsmsService,
    load_cards_or_report,
)
from controller.services.backends.transaction_handover import hand_over_transactions
from controller.services.certificates.certificate_service import (
    due_expiries,
    find_expiries,
    make_server_check,
)
from controller.services.certificates.own_certificates import OwnCertificateService
from controller.services.certificates.station_certificates import open_station_certificates
from controller.services.configuration.configuration import ActiveConfiguration
from controller.services.configuration.reload_service import FileChanges, ReloadService
from controller.services.dimming.dimming_backend import DimmingBackend
from controller.services.dimming.dimming_factory import make_dimming_service
from controller.services.dimming.dimming_notifier import DimmingNotifier
from controller.services.dimming.dimming_service import DimmingService
from controller.services.eebus.eebus_identity import load_identity
from controller.services.eebus.eebus_limits import EebusLimits
from controller.services.eebus.eebus_partners import EebusPartners
from controller.services.eebus.eebus_service import EebusService
from controller.services.load_management.energy_service import EnergyService
from controller.services.load_management.load_management_service import LoadManagementService
from controller.services.load_management.meter_values_service import MeterValuesService, meter_values_modes
from controller.services.load_management.site_meters import MeterReadiness, SiteMeters
from controller.services.machine.clock_state import is_synchronised
from controller.services.machine.journal_log import set_log_level
from controller.services.machine.systemd import notify, notify_ready, select_listeners, take_listening_sockets
from controller.services.machine.time_service import make_time_service
from controller.services.machine.wall_clock import find_last_write, find_station_time, utc
from controller.services.overlay.overlay_service import OverlayService
from controller.services.publishing.publishing_service import PublishingService
from controller.services.session_ledger.session_ledger_service import SessionLedger
from controller.services.session_ledger.session_reader import make_session_reader
from controller.services.signing.policy_service import SigningSetupError, open_policy_service
from controller.services.signing.trust_evidence import TrustEvidence
from controller.services.site_identity.site_identity_service import SiteIdentityService, SiteReceivers
from controller.services.site_identity.site_link import SiteLink
from controller.services.site_identity.site_mailbox import SiteMailbox
from controller.services.stations.relay_backends import RelayBackends
from controller.services.stations.relay_factory import RelayFactory
from controller.services.stations.relay_memory import RelayJournals, open_token_key
from controller.services.stations.session_factory import SessionFactory
from controller.services.stations.station_admission import StationAdmission
from controller.services.stations.station_capabilities import StationCapabilities, StationClocks
from controller.services.stations.station_connections import StationConnections
from controller.services.stations.station_limits import LimitEncoder, StationLimits
from controller.services.stations.station_profiles import StationProfiles
from controller.services.stations.station_report import StationReport
from controller.services.stations.station_service import StationService
from controller.services.stations.station_sessions import STOP_WAIT_S, StationSessions
from controller.services.stations.station_states import StationStates
from controller.services.status.link_status import LinkStatusReader
from controller.services.status.status_reader import StatusReader, sample_status
from controller.services.web.message_reader import make_message_reader
from controller.services.web.record_readers import read_revisions, read_set_aside
from controller.services.web.site_operations import SiteOperations
from controller.services.web.web_adapters import SiteReaders
from controller.services.web.web_service import WebService
from controller.session_ledger.session_export import make_rows
from controller.signing.policy_enforcer import PolicyEnforcer
from controller.site_identity.identity import SiteIdentitySettings, SiteLimited
from controller.stations.connection_stats import ConnectionStats
from controller.stations.listener import ListenError
from controller.stations.owner_confirmation import OwnerConfirmation
from controller.stations.registry import SessionRegistry
from controller.stations.session_host import SessionHost
from controller.store.eebus_store import EebusStore
from controller.store.sqlite_journal import state_files
from controller.store.state_journal import StoreError
from controller.store.state_store import StateStore
from controller.store.store_files import KEY_FILE
from controller.store.store_lock import hold_store
from controller.transport.tls import TlsError
from controller.web.status_model import ControllerStatus, StatusParts
from controller.web.web_server import WebServerError
from drivers.input_service import run_digital_inputs
from drivers.reading import MeterState

log = logging.getLogger("controller")

EXPIRY_CHECK_S = 86_400.0
"""Interval of the warnings about certificates and keys that end soon."""
LOG_LEVELS = {
    ExpiryLevel.SOON: logging.WARNING,
    ExpiryLevel.URGENT: logging.ERROR,
    ExpiryLevel.CRITICAL: logging.CRITICAL,
    ExpiryLevel.EXPIRED: logging.CRITICAL,
}

UNKNOWN_VENDOR = b'{"status":"UnknownVendorId"}'
"""Response to a DataTransfer of the site's backend without dimming."""

VERSION = metadata.version("ocpp-local-controller")

START_ERRORS = (ListenError, SigningSetupError, StoreError, TlsError, WebServerError)
"""Errors with which a part that cannot start ends the process; their texts are for a person."""


class App:
    """The running controller. Once it runs, `port` is the stations' bound port, `web_port` the page's.

    `web_port` stays None where no page is wanted, `eebus_port` without [eebus].
    """

    def __init__(
        self,
        config: Config,
        active: ActiveConfiguration | None = None,
    ) -> None:
        self.port = 0
        self._reloads = None if active is None else ReloadService(active, self)
        self.web_port: int | None = None
        self._config = config
        self._stats = ConnectionStats()
        self._registry = SessionRegistry()
        self._meter_readiness = MeterReadiness(meter.id for meter in config.meter)
        self._last_write = find_last_write(state_files(Path(config.store.directory)))
        self._station_time = find_station_time(self._last_write, time.time())
        self._store = StateStore(Path(config.store.directory))
        self._capabilities = StationCapabilities(config, self._store)
        quirks = {station: self._capabilities.find_quirk(station) for station in self._capabilities.boots}
        self._load_management = LoadManagementService(config, self._store, quirks)
        self._station_clocks = StationClocks(config)
        self._station_profiles = StationProfiles(
            config, self._capabilities, self._station_clocks, self._store
        )
        find_objection = make_server_check(config)
        self._station_meters = build_station_meters(config, self._load_management.site)
        self._station_limits = StationLimits(
            self._load_management,
            self._capabilities,
            self._station_profiles,
            self._station_meters,
            LimitEncoder(self._capabilities, self._station_profiles, self._station_clocks),
            self._registry,
        )
        self._meters = SiteMeters(config, self._station_meters, self._on_meter_state, find_objection)
        self._meter_values = MeterValuesService(
            meter_values_modes(config),
            self._registry,
            self._load_management.find_silent_evses,
            self._load_management.find_seldom_evses,
        )
        self._policy_service = open_policy_service(config, self._store)
        self._mailbox = SiteMailbox()
        self._own_certificates = OwnCertificateService(config, self._mailbox.post, find_objection)
        self._dimming: DimmingService | None = None
        if config.dimming is not None:  # before the stations: what held before a restart holds from the start
            self._dimming = self._make_dimming(config, config.dimming)
        record = None if self._dimming is None else self._dimming.evidence.append
        self._trust_evidence = TrustEvidence(config, self._store, self._policy_service, record)
        self._clock = make_time_service(config.time, self._trust_evidence.on_clock_event)
        self._eebus = (
            None if self._dimming is None else _open_eebus_service(config, self._dimming, self._store)
        )
        cards = load_cards_or_report(config)
        key = open_token_key(Path(config.store.directory) / KEY_FILE)
        self.sessions = SessionLedger(config, cards, self._store, key)
        self._local_csms = LocalCsmsService(config, cards, self._store, self._station_time)
        rename_backends(config, self._store)
        hand_over_transactions(config, self._store)
        self._journals = RelayJournals(config, self._store, key)
        self._journals.on_drop_station = self.sessions.drop_station
        self._pools = BackendPools(config, self._local_csms, 2 * STOP_WAIT_S)
        enforcer = None if self._policy_service is None else self._policy_service.enforcer
        self._overlay = _open_overlay(config, self._pools, enforcer, self._journals)
        self._certificate_check = make_station_check(config)
        self._certificates = open_station_certificates(config, evse_names(config), self._registry)
        self._states = StationStates(config, self._store)
        self._station_service = self._make_station_service(config, enforcer)
        self._operations = SiteOperations(
            config,
            self._store,
            self._registry,
            self._load_management,
            self._states.find_transaction,
            self._local_csms.choose_token,
        )
        self._operations.queries |= {
            "status": lambda _: self.status(),
            "runtime": lambda _: {"tasks": trio.lowlevel.current_statistics().tasks_living},
            "sessions.latest": lambda _: self.sessions.running(),
            "sessions.running": lambda _: make_rows(self.sessions.running(), self.sessions.zone),
        }
        self._energy = EnergyService(
            config, self._load_management, self.sessions, self._store, self._operations.commands
        )
        if self._eebus is not None:
            self._operations.add_eebus(self._eebus)
        self._station_report = StationReport(
            config,
            self._registry,
            self._capabilities,
            self._operations.overrides,
            self._stats.unknown_stations,
        )
        self._station_report.register_handlers(self._operations.commands)
        if self._policy_service is not None:
            self._operations.commands.add_handler(ResumeSigning, self._policy_service.replays.on_resume)
        self._status = StatusReader(
            config=config,
            version=VERSION,
            expiries=find_expiries(config),
            configuration_problem="" if active is None else active.problem,
            ticked_at=trio.current_time(),
            load_management=self._load_management,
            links=LinkStatusReader(
                self._registry,
                self._stats,
                self._station_limits,
                self._station_clocks,
                self._journals,
                self._pools,
                self._overlay,
            ),
            stations=self._station_report,
            meters=self._meters,
            store=self._store,
            clock=self._clock,
            policies=self._policy_service,
            dimming=self._dimming,
            eebus=self._eebus,
        )
        self._web = WebService(
            config,
            self._store,
            self._operations,
            self.status,
            SiteReaders(
                sessions=make_session_reader(self.sessions),
                set_aside=partial(read_set_aside, self._store),
                messages=make_message_reader(self._station_service.stations, self._stats),
                evidence=None if self._dimming is None else self._dimming.evidence.make_reader(),
            ),
            None if active is None else active.path,
            self._reloads,
        )
        self._publishing = PublishingService(
            config, self.status, self._operations.commands, self._web.alarms, find_objection
        )
        if self._reloads is not None:
            self._operations.commands.add_handler(ReloadConfiguration, self._reloads.on_command)

    def _make_station_service(self, config: Config, enforcer: PolicyEnforcer | None) -> StationService:
        """Make the service of the stations of its parts."""
        accepted, rotated = open_credentials(self._store)
        admission = StationAdmission(
            config,
            self._pools,
            self._capabilities,
            OwnerConfirmation({}, self._registry, accepted),
            rotated,
        )
        backends = RelayBackends(config, self._journals, utc, self._station_time)
        relays = RelayFactory(
            self._states,
            backends,
            self._station_profiles,
            self.sessions,
            enforcer,
            None if self._certificates is None else self._certificates.scope,
        )
        host = SessionHost(self._station_limits, self._journals, self._stats)
        factory = SessionFactory(config, relays, host, admission, enforcer, self._certificates)
        sessions = StationSessions(factory, self._registry, self._journals, self._pools)
        settings = make_listen_settings(config, self._certificate_check)
        return StationService(
            config,
            read_station_secrets(config),
            journals=self._journals,
            states=self._states,
            backends=backends,
            pools=self._pools,
            admission=admission,
            sessions=sessions,
            connections=StationConnections(
                settings, admission, sessions, self._overlay, self._stats, self._station_time
            ),
            on_observation=self._station_limits.on_observation,
        )

    async def stop(self) -> None:
        """Take nothing new, and return once the answers that are out have arrived, or some seconds later."""
        await self._station_service.stop()

    async def run(self, *, task_status: trio.TaskStatus[App] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled. Started once stations can connect.

        Raises ListenError or WebServerError where a port cannot be opened.
        """
        # The store outlives all others: what they persist while they end is still written.
        async with trio.open_nursery() as outer:
            storing = trio.CancelScope(shield=True)
            outer.start_soon(self._run_store, storing)
            try:
                await self._run_services(task_status)
            finally:
                storing.cancel()

    async def _run_store(self, scope: trio.CancelScope) -> None:
        with scope:
            await self._store.run(self._journals.follow_requests)

    async def _run_services(self, task_status: trio.TaskStatus[App]) -> None:
        config = self._config
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._meters.run)
            inherited = take_listening_sockets()
            listeners = select_listeners(inherited, "stations", config.listen.host, config.listen.port)
            if self._overlay is not None:
                await nursery.start(self._overlay.run)
            if self._certificates is not None:
                nursery.start_soon(self._certificates.run)
            self.port = await nursery.start(partial(self._station_service.run, listeners))
            page = (
                None
                if config.web is None
                else select_listeners(inherited, "web", config.web.host, config.web.port)
            )
            self.web_port = await nursery.start(self._web.run, VERSION, page)
            receivers = (self._web.alarms.on_status, self._web.history.on_status)
            nursery.start_soon(sample_status, self._read_status_parts, receivers)
            if (web := config.web) is not None:
                scheme = "https" if web.certificate else "http"
                log.info("page served url=%s://%s:%s/", scheme, web.host, self.web_port)
            await nursery.start(self._operations.run)
            nursery.start_soon(self._publishing.run)
            nursery.start_soon(self._clock.run)
            nursery.start_soon(self._trust_evidence.run)
            nursery.start_soon(self._own_certificates.run)
            nursery.start_soon(self.sessions.run)
            nursery.start_soon(self._energy.run)
            nursery.start_soon(self._watch_expiries)
            nursery.start_soon(self._load_management.run, self._station_limits.send_limit)
            nursery.start_soon(self._meter_values.run)
            nursery.start_soon(self._run_control)
            if self._policy_service is not None:
                nursery.start_soon(self._policy_service.run)
            if config.site.backend is not None:
                pool = self._pools.find(config.site.backend)
                nursery.start_soon(self._make_site_identity(pool).run)
            if self._dimming is not None:
                nursery.start_soon(self._dimming.run)
            if self._eebus is not None:
                await nursery.start(self._eebus.run)
            if self._reloads is not None:
                nursery.start_soon(self._reloads.run)
            nursery.start_soon(self._report_ready)
            task_status.started(self)

    def _make_site_identity(self, pool: BackendPool) -> SiteIdentityService:
        """Make the site's own identity; it passes limits and commands on, and imports no receiver of them."""
        site, dimming = self._config.site, self._make_dimming_backend()
        root = next(circuit for circuit in self._config.circuit if circuit.parent is None)
        settings = SiteIdentitySettings(
            id=site.id,
            version=site.protocol,
            firmware=VERSION,
            voltage=site.voltage,
            connection_a=min(root.limits_a),
        )

        def on_limit(limited: SiteLimited) -> None:
            """Limit the grid connection, and the controllable EVSEs where the backend may dim them."""
            whole_a = limited.lowest_a if dimming is None else dimming.on_limit(limited)
            self._load_management.set_site_limit(whole_a)

        async def answer_request(action: str, payload: bytes) -> bytes:
            if action != "DataTransfer":
                return self._own_certificates.answer_command(action, payload)
            return UNKNOWN_VENDOR if dimming is None else await dimming.answer_data_transfer(payload)

        receivers = SiteReceivers(
            on_limit=on_limit,
            on_reached=lambda there: None if dimming is None else dimming.on_reached(there),
            answer_request=answer_request,
        )
        link = SiteLink(pool, site.id, site.protocol.value)
        return SiteIdentityService(
            settings,
            link,
            self._store,
            self._mailbox,
            receivers,
            self._policy_service,
            is_synchronised,
            self._last_write,
        )

    def _make_dimming(self, config: Config, dimming: DimmingConfig) -> DimmingService:
        settings = make_dimming_settings(config, dimming)
        modules = list(module_settings(dimming).values())
        return make_dimming_service(
            config,
            dimming,
            settings,
            DimmingNotifier(config, dimming, settings, self._registry, self._mailbox),
            self._load_management,
            self._station_profiles,
            self._store,
            self._policy_service,
            partial(run_digital_inputs, modules, registry=self._meters.buses),
        )

    def _make_dimming_backend(self) -> DimmingBackend | None:
        """Make the site's backend a source of limits; None without dimming."""
        config = self._config
        if self._dimming is None or config.dimming is None:
            return None
        settings = make_dimming_settings(config, config.dimming)
        return DimmingBackend(
            self._dimming, settings, config.site.backend or "", config.site.protocol, config.site.voltage
        )

    async def _report_ready(self) -> None:
        """Report that the controller works, once each meter has been read or declared missing."""
        unread = await self._meter_readiness.wait()
        if unread:
            log.warning(
                "meters not read yet meters=%s remedy=see 'local-controller status'", ",".join(unread)
            )
        stations, meters = len(self._config.station), len(self._config.meter)
        log.info(
            "ready stations=%d meters=%d host=%s port=%d",
            stations,
            meters,
            self._config.listen.host,
            self.port,
        )
        notify_ready(f"listening on port {self.port}: stations {stations}, meters {meters}")

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    @property
    def eebus_port(self) -> int | None:
        """Bound port of the EEBUS node; None without [eebus], 0 while it could not be opened."""
        return None if self._eebus is None else self._eebus.port

    def view(self) -> SiteView:
        """Return the state of the site for people and monitoring."""
        return self._load_management.view()

    def status(self) -> ControllerStatus:
        """Return the state of the controller for people and monitoring."""
        return finish_parts(self._read_status_parts(), trio.current_time())

    def _read_status_parts(self) -> StatusParts:
        return self._status.read_parts(self._web.alarms.present, read_revisions(self._store, self._web))

    async def _watch_expiries(self) -> None:
        """Read the ends of certificates and keys again, and warn once a day of near ones."""
        while True:
            self._status.expiries = await trio.to_thread.run_sync(find_expiries, self._config)
            now = time.time()
            for end in due_expiries(self._status.expiries, now):
                event = "has ended" if end.not_after <= now else "ends soon"
                days = max(0.0, end.not_after - now) / DAY_S
                log.log(
                    LOG_LEVELS[end.level(now)],
                    "certificate or key %s name=%s days=%.1f remedy=renew it",
                    event,
                    end.name,
                    days,
                )
            await trio.sleep(EXPIRY_CHECK_S)

    # -- reload ---------------------------------------------------------------------------------------

    async def reload(self) -> None:
        """Read the configuration again, and apply what can be applied. Raises ReloadRejectedError."""
        if self._reloads is not None:
            await self._reloads.reload()

    def apply_configuration(self, config: Config, removed: Collection[str] = ()) -> None:
        """Make all services use the live keys and the stations of another configuration.

        A new EVSE is booked at its maximum before its station may connect. `removed`: stations of it that
        are not served any more; they stay booked, and their messages are delivered. Where ServiceError is
        raised, no station was added; another reload does the rest.
        """
        try:
            passwords = read_station_secrets(config)
            endpoints = self._pools.make_endpoints(config)
            page_tls = self._web.load_tls(config)
        except OSError as error:
            file, reason = error.filename or "a password file", error.strerror or error
            raise ServiceError(f"{file} cannot be read: {reason}") from error
        except TlsError as error:
            raise ServiceError(str(error)) from error
        self._config = self._status.config = config
        self._status.removed = frozenset(removed)
        self._status.configuration_problem = ""
        set_log_level(config.log.level)
        self._web.set_config(config, page_tls)
        self._own_certificates.set_config(config)
        cards = load_cards_or_report(config)
        self._local_csms.set_cards(config.local_csms, cards)
        self.sessions.set_cards(cards)
        self.sessions.set_retention(config.sessions.retention_months)
        try:
            self._replace_stations(config, passwords, endpoints, removed)
        except StoreError as error:
            raise ServiceError(str(error)) from error

    def _replace_stations(
        self,
        config: Config,
        passwords: Mapping[str, StationSecret | None],
        endpoints: Endpoints,
        removed: Collection[str],
    ) -> None:
        """Use the stations of another configuration, last in the service that admits them."""
        served = remove_stations(config, removed)
        renewed = self._capabilities.replace_stations(config, self.find_busy_stations())
        quirks = {station: self._capabilities.find_quirk(station) for station in self._capabilities.boots}
        self._load_management.replace_site(config, quirks, self._meters.find_other_meters(config))
        self._meters.replace_meters(config, self._load_management.site)
        self._station_clocks.replace_stations(config)
        self._station_profiles.replace_stations(config)
        if self._dimming is not None:
            self._dimming.set_devices(find_controllable_evses(config))
        self._meter_values.set_modes(meter_values_modes(served))
        self._energy.set_config(config)
        self.sessions.replace_stations(served)
        self._operations.replace_stations(served)
        self._station_report.replace_stations(served)
        hand_over_transactions(config, self._store)
        self._local_csms.replace_stations(config)
        for certificates in (self._certificate_check, self._certificates):
            if certificates is not None:
                certificates.set_evses(evse_names(config))
        if self._overlay is not None:
            endpoints = self._overlay.replace_backends(config, endpoints)
        self._station_service.replace_stations(config, passwords, endpoints, removed, renewed)

    def count_tries(self, station: str) -> int:
        """Return how often a station has tried to connect that is not admitted."""
        return self._stats.unknown_stations.count_tries(station)

    def has_waiting_messages(self, station: str) -> bool:
        """Return True while messages of a station wait for its backends."""
        return self._registry.has_session(station) or bool(self._journals.backends_waited_for(station))

    def find_changed_files(self, config: Config) -> FileChanges:
        """Return what changes by files that a configuration names, where it names the same as before.

        These are the models of meters, and the rows of quirks of stations.
        """
        named = {station.id: station.quirk for station in self._config.station}
        same = {station.id for station in config.station if named.get(station.id, "") == station.quirk}
        changed, busy = self._capabilities.find_changed_rows(config) & same, set(self.find_busy_stations())
        meters = self._meters.find_changed_models(config)
        return FileChanges(
            applied=(
                *(f"meter {each} driver (its file)" for each in meters),
                *(f"station {each} quirk (by its file)" for each in sorted(changed - busy)),
            ),
            waiting=tuple(f"station {each} quirk (by its file)" for each in sorted(changed & busy)),
        )

    def find_queued_backends(self) -> Collection[str]:
        """Return the backends for which messages wait."""
        return [name for name, queue in self._journals.queue_statuses().items() if queue.messages]

    def find_busy_stations(self) -> Collection[str]:
        """Return the stations with a running transaction."""
        return self._station_service.find_busy_stations()

    # -- the site -----------------------------------------------------------------------------------

    def _on_meter_state(self, state: MeterState) -> None:
        self._meter_readiness.on_meter_state(state)
        self._load_management.handle_event(MeterUpdated(state))
        if self._dimming is not None:
            self._dimming.on_meter_state(state)
        if self._eebus is not None:
            self._eebus.on_metered(state)

    async def _run_control(self) -> None:
        while True:
            self._load_management.share_current()
            if self._dimming is not None:
                self._dimming.update_measurement()
            self._status.ticked_at = trio.current_time()
            notify("WATCHDOG=1")
            await trio.sleep(self._config.load_management.tick_s)


def _open_overlay(
    config: Config, pools: BackendPools, enforcer: PolicyEnforcer | None, journals: RelayJournals
) -> OverlayService | None:
    """Return the overlay node, through which stations reach backends in overlay mode; None without one."""
    if config.overlay is None:
        return None
    service = OverlayService(config, enforcer, journals.save)
    pools.replace_endpoints(config, service.replace_backends(config, pools.endpoints))
    return service


def _open_eebus_service(config: Config, dimming: DimmingService, state: StateStore) -> EebusService | None:
    """Return the EEBUS node; None without [eebus]. Raises StoreError."""
    if config.eebus is None:
        return None
    store = EebusStore(state)
    assert config.dimming is not None  # the check has made sure of it, and of its one energy guard
    [source] = [each.id for each in config.dimming.source if each.kind == "eebus"]
    limits = EebusLimits(source, dimming, store, config.eebus.production_w)
    identity = load_identity(config, config.eebus, store, utc(trio.current_time()))
    partners = EebusPartners(config.eebus, store)
    return EebusService(config, config.eebus, identity, partners, limits, VERSION, utc)


async def run(
    config: Config,
    *,
    active: ActiveConfiguration | None = None,
    stopping: trio.Event | None = None,
    task_status: trio.TaskStatus[App] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a controller until cancelled, or stop it properly once `stopping` is set; starts with the App.

    `active`: where `config` comes from; it can then be reloaded, and changed on the page.

    Raises ListenError, SigningSetupError, TlsError, WebServerError or StoreError where a part cannot start.
    """
    with hold_store(Path(config.store.directory)):
        try:
            controller = App(config, active)
            try:
                async with trio.open_nursery() as nursery:
                    if stopping is not None:
                        nursery.start_soon(_stop_after, stopping, controller, nursery.cancel_scope)
                    await controller.run(task_status=task_status)
            finally:
                controller.close()
        finally:
            notify("STOPPING=1")


async def _stop_after(stopping: trio.Event, controller: App, scope: trio.CancelScope) -> None:
    await stopping.wait()
    notify("STOPPING=1")
    await controller.stop()
    scope.cancel()
