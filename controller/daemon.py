"""The whole controller in one nursery: listeners, sessions, meters and the control loop around the site.

The site's logic (`SiteControl`) is pure: here its events are gathered from the links and the meters,
and the limits that it wants set are turned into SetChargingProfile CALLs of the stations' sessions.
"""

from __future__ import annotations

import logging
import uuid
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path

import trio

from controller.config import Backend, Config, Listen, Station
from controller.links.engine import Link
from controller.links.handshake import Admitted, Door
from controller.links.pacing import Bucket
from controller.links.server import Listening, serve_stations
from controller.links.session import StationSession
from controller.links.switchboard import Switchboard
from controller.links.tally import Tally
from controller.links.tls import client_tls, server_tls
from controller.links.uplink import Uplink, dial_turns
from controller.notify import notify
from controller.ocpp.acquaintance import Acquaintance
from controller.ocpp.frames import Version
from controller.ocpp.observations import Booted, EvseRef, Observation
from controller.ocpp.observer import Observer, accepted
from controller.ocpp.profile_messages import Held, as_held
from controller.ocpp.profiles import LimitKind, Scope, Terms, scope_of, set_limit
from controller.own_identity import OwnLink
from controller.relay.events import OwnCall
from controller.relay.kept_profiles import KeptProfiles, Wired
from controller.relay.ownership import Ownership
from controller.relay.station import StationRelay
from controller.site.build import build_site, site_settings
from controller.site.control import SiteControl
from controller.site.events import (
    Adapted,
    GroupLimit,
    LimitAnswered,
    Metered,
    Observed,
    SetLimit,
    SiteEvent,
    StationDown,
    StationUp,
    Tick,
)
from controller.site.view import SiteView
from controller.store.boots import BootStore
from controller.store.limits import LimitStore
from controller.store.profiles import KeptProfile, ProfileStore
from controller.web.server import Serving, serve_web
from controller.web.status import MISSED_TICKS, Links, Status, circuits_of, evses_of
from drivers.meter import run_meters
from drivers.reading import MeterState

log = logging.getLogger("controller")

VERSION = metadata.version("ocpp-local-controller")

BURST_S = 10
"""What a station may send at once, in seconds of its listen.messages_per_second: it has been offline."""

LEAST_PER_ADDRESS = 64
"""Connections that any address may hold by default."""


class Daemon:
    """One running controller. Once it runs, `port` is the stations' bound port, `web_port` the page's.

    `web_port` stays None where no page is wanted.
    """

    def __init__(self, config: Config) -> None:
        self.port = 0
        self.web_port: int | None = None
        self._config = config
        self._site = build_site(config)
        self._control = SiteControl(self._site, site_settings(config), trio.current_time())
        self._ticked_at = trio.current_time()
        self._tally = Tally()
        self._limits_set = self._limits_failed = 0
        self._acquaintance = Acquaintance()
        self._ownerships: dict[str, Ownership] = {}
        self._boots = BootStore(Path(config.store.directory))
        self._recall_boots()
        self._store = LimitStore(Path(config.store.directory))
        self._control.recall(self._store.load(datetime.now(UTC), trio.current_time()))
        self._asked: dict[int, EvseRef] = {}
        self._board = Switchboard()
        self._stations = {station.id: station for station in config.station}
        self._kept = {station.id: _kept_profiles(config, station) for station in config.station}
        self._profiles = ProfileStore(Path(config.store.directory))
        self._recall_profiles()
        self._uplinks = {backend.id: _uplink(backend, config.listen) for backend in config.backend}

    async def run(self, *, task_status: trio.TaskStatus[Daemon] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled. Started once stations can connect.

        Raises ListenFailed or WebFailed where the stations' or the page's port cannot be opened.
        """
        config, listen = self._config, self._config.listen
        listening = _listening(listen, len(self._stations))
        async with trio.open_nursery() as nursery:
            meters = [meter.settings() for meter in config.meter]
            nursery.start_soon(run_meters, meters, self._metered)
            self.port = await nursery.start(
                partial(serve_stations, listening, self._door(), self._serve, self._tally)
            )
            if (web := config.web) is not None:
                self.web_port = await nursery.start(serve_web, Serving(web.host, web.port), self.status)
                log.info("the page is at http://%s:%d/", web.host, self.web_port)
            nursery.start_soon(self._keep_deciding)
            if config.site.backend is not None:
                own = OwnLink(
                    config, VERSION, self._uplinks[config.site.backend], self._profiles, self._limited
                )
                nursery.start_soon(own.run)
            log.info(
                "ready: %d stations, %d meters, listening on %s:%d",
                len(self._stations), len(meters), listen.host, self.port,
            )  # fmt: skip
            task_status.started(self)
            notify("READY=1")

    def view(self) -> SiteView:
        """What a person should see of the site now."""
        return self._control.snapshot(trio.current_time())

    def status(self) -> Status:
        """What people and monitoring are told of the controller now."""
        view = self.view()
        versions = self._board.versions()
        tick_age_s = trio.current_time() - self._ticked_at
        return Status(
            site=self._config.site.id,
            version=VERSION,
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            healthy=tick_age_s < MISSED_TICKS * self._config.load_management.tick_s,
            tick_age_s=round(tick_age_s, 3),
            circuits=circuits_of(self._site, view),
            evses=evses_of(self._site, view, versions),
            links=Links(
                connected={each.value: list(versions.values()).count(each) for each in Version},
                accepted_total=self._tally.accepted,
                refused_total=self._tally.refused,
                from_stations_total=self._tally.from_stations,
                from_backends_total=self._tally.from_backends,
                limits_total=self._limits_set,
                limits_failed_total=self._limits_failed,
            ),
        )

    def _recall_profiles(self) -> None:
        """Take over the profiles that were kept before a restart, for stations that are still here."""
        recalled: defaultdict[tuple[str, Version], list[Held]] = defaultdict(list)
        for saved in self._profiles.load():
            version = Version(saved.version)
            recalled[saved.station, version].append(as_held(version, saved.evse, saved.profile))
        for (station, version), kept in recalled.items():
            if station in self._kept:
                self._kept[station].recall(version, kept)

    # -- stations -----------------------------------------------------------------------------------

    def _door(self) -> Door:
        passwords = {station.id: _secret(station.password_file) for station in self._config.station}
        return Door(
            self._config.listen.path, passwords, [Version(name) for name in self._config.listen.protocols]
        )

    async def _serve(self, admitted: Admitted, link: Link) -> None:
        """One accepted station: its relay, its session, and the way to its owner."""
        station = self._stations[admitted.station]
        listen = self._config.listen
        ownership = Ownership(admitted.version, self._scope(station.id), self._kept[station.id])
        self._ownerships[station.id] = ownership
        relay = StationRelay(
            station.id,
            station.owner,
            admitted.version,
            Observer(admitted.version, self._config.site.voltage, partial(datetime.now, UTC)),
            ownership,
            listen.call_timeout_s,
            trio.current_time(),
        )
        pace = Bucket(listen.messages_per_second, burst=max(1, int(BURST_S * listen.messages_per_second)))
        session = StationSession(
            station.id, admitted.version, relay, link, self, self._tally, listen.ping_s, pace
        )
        await self._board.run(station.id, session, partial(self._uplinks[station.owner].open, admitted))

    def station_up(self, station: str, version: Version) -> None:
        """See `links.session.Site`. A station that we do not know is asked first what it can take."""
        session = self._board.session(station)
        asked = self._acquaintance.ask(station, version) if session is not None else None
        if session is None or asked is None:
            self._happened(StationUp(station))
        else:
            question = asked.question
            session.call(OwnCall(asked.token, str(uuid.uuid4()), question.action, question.payload))

    def station_down(self, station: str) -> None:
        """See `links.session.Site`."""
        self._happened(StationDown(station))

    def observed(self, station: str, observation: Observation) -> None:
        """See `links.session.Site`."""
        if isinstance(observation, Booted):
            self._boots.save(station, observation)
            self._acquaintance.booted(station, observation)
            self._adapt(station)
        self._happened(Observed(station, observation))

    def kept(self, station: str, version: Version, profiles: Sequence[Held]) -> None:
        """See `links.session.Site`."""
        kept = [KeptProfile(station, version, each.profile.evse, each.sent) for each in profiles]
        self._profiles.save(station, kept)

    def answered(self, station: str, token: int, result: bytes | None, detail: str) -> None:
        """See `links.session.Site`."""
        session = self._board.session(station)
        is_open = session is not None and session.is_open
        if token < 0:
            self._introduced(station, token, result, is_open=is_open)
            return
        good = result is not None and accepted(result)
        if not good and is_open:  # else its link has ended, and that is told
            self._limits_failed += 1
            log.warning("station %s did not take its limit: %s", station, detail or "not accepted")
        self._happened(LimitAnswered(token, good, detail or ("" if good else "not accepted")))

    def _introduced(self, station: str, token: int, result: bytes | None, *, is_open: bool) -> None:
        """Our question has its end: now its limits may go, whether or not there was an answer."""
        if not is_open:
            self._acquaintance.unanswered(token)
            return
        self._acquaintance.answered(token, result)
        self._adapt(station)
        self._happened(StationUp(station))

    def _recall_boots(self) -> None:
        """Know the stations that have booted before a restart of ours: they will not do it again for it."""
        for station, boot in self._boots.load().items():
            self._acquaintance.booted(station, boot)
            self._control.handle(Adapted(station, self._acquaintance.quirk(station)), trio.current_time())

    def _adapt(self, station: str) -> None:
        """Speak to the station as its quirk asks."""
        quirk = self._acquaintance.quirk(station)
        log.info("station %s: %s, %s lease", station, quirk.name, quirk.form.value)
        if station in self._ownerships:
            self._ownerships[station].rescope(self._scope(station))
        self._happened(Adapted(station, quirk))

    def _scope(self, station: str) -> Scope:
        return scope_of(self._acquaintance.quirk(station), len(self._stations[station].evse))

    # -- the site -----------------------------------------------------------------------------------

    def _metered(self, state: MeterState) -> None:
        self._happened(Metered(state))

    def _limited(self, limit_a: float | None) -> None:
        self._happened(GroupLimit(limit_a))

    async def _keep_deciding(self) -> None:
        while True:
            self._happened(Tick())
            self._ticked_at = trio.current_time()
            notify("WATCHDOG=1")
            await trio.sleep(self._config.load_management.tick_s)

    def _happened(self, event: SiteEvent) -> None:
        limits = self._control.handle(event, trio.current_time())
        for told in self._control.news():
            log.info("%s", told)
        concerned = {limit.ref for limit in limits}
        if isinstance(event, LimitAnswered) and (ref := self._asked.pop(event.token, None)):
            concerned.add(ref)
        if concerned:  # on disk before it is on the wire: see the store
            now = trio.current_time()
            self._store.save(self._control.memories(concerned, now), datetime.now(UTC), now)
        for limit in limits:
            self._asked[limit.token] = limit.ref
            self._set(limit)

    def _set(self, limit: SetLimit) -> None:
        session = self._board.session(limit.ref.station)
        if session is None:
            self._happened(LimitAnswered(limit.token, False, "not connected"))
            return
        station, evse = limit.ref
        kept, now = self._kept[station], trio.current_time()
        terms = Terms(
            quirk=self._acquaintance.quirk(station),
            after_a=kept.give(evse, LimitKind.FLOOR, limit.after_a, None, now),
            watts_per_ampere=self._config.site.voltage * limit.phases,
        )
        payload = set_limit(
            session.version,
            self._scope(station),
            evse,
            limit.kind,
            kept.give(evse, limit.kind, limit.limit_a, limit.duration_s, now),
            datetime.now(UTC),
            limit.duration_s,
            terms,
        )
        self._limits_set += 1
        session.call(
            OwnCall(limit.token, str(uuid.uuid4()), "SetChargingProfile", payload, urgent=limit.urgent)
        )


async def run(config: Config, *, task_status: trio.TaskStatus[Daemon] = trio.TASK_STATUS_IGNORED) -> None:
    """Run a controller until cancelled; starts with the Daemon.

    Raises ListenFailed, TlsFailed, WebFailed or StoreFailed where it cannot do its work.
    """
    try:
        await Daemon(config).run(task_status=task_status)
    finally:
        notify("STOPPING=1")


def _kept_profiles(config: Config, station: Station) -> KeptProfiles:
    evses = {
        evse.id: Wired(phases=len(evse.phases), max_a=evse.max_a, fallback_a=config.fallback_a(evse))
        for evse in station.evse
    }
    return KeptProfiles(evses, config.site.voltage, config.load_management.lease_s, _utc)


def _utc(now: float) -> float:
    """A moment of the monotonic clock in POSIX s."""
    return datetime.now(UTC).timestamp() + now - trio.current_time()


def _listening(listen: Listen, stations: int) -> Listening:
    """Behind a router all stations come from one address, each perhaps with an old link still half open."""
    tls = None
    if listen.certificate and listen.key:
        tls = server_tls(listen.certificate, listen.key, listen.client_ca)
    held = listen.connections_per_address
    return Listening(
        listen.host,
        listen.port,
        tls,
        listen.max_message_bytes,
        max(LEAST_PER_ADDRESS, 2 * stations) if held is None else held,
        listen.handshakes_per_second,
    )


def _uplink(backend: Backend, listen: Listen) -> Uplink:
    tls = None
    if backend.url.startswith("wss://"):
        tls = client_tls(backend.id, backend.ca, backend.certificate, backend.key)
    return Uplink(
        backend.url,
        tls,
        _secret(backend.password_file),
        listen.max_message_bytes,
        backend.connect_timeout_s,
        dial_turns(),
    )


def _secret(file: str | None) -> bytes | None:
    """A password from its file, without the line's end that editors leave."""
    return None if file is None else Path(file).read_bytes().rstrip(b"\r\n")
