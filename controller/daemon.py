"""The whole controller in one nursery: listeners, sessions, meters and the control loop around the site."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path

import trio

from controller.config import Backend, Config, Listen
from controller.limit_desk import LimitDesk
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
from controller.ocpp.frames import Version
from controller.ocpp.observer import Observer
from controller.own_identity import OwnLink
from controller.relay.station import StationRelay
from controller.site.events import (
    GroupLimit,
    Metered,
    Tick,
)
from controller.site.view import SiteView
from controller.store.profiles import ProfileStore
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
        self._ticked_at = trio.current_time()
        self._tally = Tally()
        self._board = Switchboard()
        self._stations = {station.id: station for station in config.station}
        self._profiles = ProfileStore(Path(config.store.directory))
        self._desk = LimitDesk(config, self._board, self._profiles)
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
        return self._desk.view()

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
            circuits=circuits_of(self._desk.site, view),
            evses=evses_of(self._desk.site, view, versions),
            links=Links(
                connected={each.value: list(versions.values()).count(each) for each in Version},
                accepted_total=self._tally.accepted,
                refused_total=self._tally.refused,
                from_stations_total=self._tally.from_stations,
                from_backends_total=self._tally.from_backends,
                limits_total=self._desk.set,
                limits_failed_total=self._desk.failed,
            ),
        )

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
        relay = StationRelay(
            station.id,
            station.owner,
            admitted.version,
            Observer(admitted.version, self._config.site.voltage, partial(datetime.now, UTC)),
            self._desk.ownership(station.id, admitted.version),
            listen.call_timeout_s,
            trio.current_time(),
        )
        pace = Bucket(listen.messages_per_second, burst=max(1, int(BURST_S * listen.messages_per_second)))
        session = StationSession(
            station.id, admitted.version, relay, link, self._desk, self._tally, listen.ping_s, pace
        )
        await self._board.run(station.id, session, partial(self._uplinks[station.owner].open, admitted))

    # -- the site -----------------------------------------------------------------------------------

    def _metered(self, state: MeterState) -> None:
        self._desk.happened(Metered(state))

    def _limited(self, limit_a: float | None) -> None:
        self._desk.happened(GroupLimit(limit_a))

    async def _keep_deciding(self) -> None:
        while True:
            self._desk.happened(Tick())
            self._ticked_at = trio.current_time()
            notify("WATCHDOG=1")
            await trio.sleep(self._config.load_management.tick_s)


async def run(config: Config, *, task_status: trio.TaskStatus[Daemon] = trio.TASK_STATUS_IGNORED) -> None:
    """Run a controller until cancelled; starts with the Daemon.

    Raises ListenFailed, TlsFailed, WebFailed or StoreFailed where it cannot do its work.
    """
    try:
        await Daemon(config).run(task_status=task_status)
    finally:
        notify("STOPPING=1")


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
