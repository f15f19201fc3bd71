"""Setup mode: the daemon without a configuration. It lists stations that connect and serves the setup's page.

Stations are not served, no limit is sent, and nothing is stored until a person has answered all questions.
The page asks for a code that is printed where only who operates the service reads it.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import trio

from controller.access.permissions import Actor
from controller.config.schema import ListenConfig
from controller.ocpp.frames import Version
from controller.services.first_configuration import (
    add_administrator,
    has_users,
    store_directory_of,
    write_configuration_file,
)
from controller.services.setup_service import SetupRejectedError, SetupService, find_site_places
from controller.services.station_report import knock_statuses
from controller.services.systemd import notify, notify_ready
from controller.services.web_adapters import WebSetup
from controller.stations.admission import AdmissionRules
from controller.stations.connection_stats import ConnectionStats
from controller.stations.listener import ListenSettings, serve_stations
from controller.stations.unregistered import AnyStation, UnregisteredStations
from controller.web.setup_routes import SetupRoutes
from controller.web.status_model import KnockStatus
from controller.web.web_server import WebSettings, serve_web

log = logging.getLogger("controller")

WATCHDOG_S = 5.0
CODE_LETTERS = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
FINISH_S = 600.0
"""Time that a person has to note the password; then the site is started all the same."""


class SetupPlaces:
    """Addresses of the setup mode. Once it runs, `port` and `web_port` are the bound ports."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        web_port: int = 8080,
        listen_host: str = ListenConfig().host,
        port: int = ListenConfig().port,
    ) -> None:
        self.host, self.web_port = host, web_port
        self.listen_host, self.port = listen_host, port


def generate_code() -> str:
    """Return a new code of the setup, e.g. K7QM-2PXA-9DHT: 60 bits."""
    letters = "".join(secrets.choice(CODE_LETTERS) for _ in range(12))
    return "-".join(letters[start : start + 4] for start in (0, 4, 8))


async def collect_stations(
    stats: ConnectionStats, places: SetupPlaces, *, task_status: trio.TaskStatus[None]
) -> None:
    """List stations that connect in `stats.knocks` until cancelled. Raises ListenError."""
    listen = ListenConfig()
    settings = ListenSettings(
        places.listen_host,
        places.port,
        None,
        65_536,
        connections_per_address=64,
        handshakes_per_second=20,
        messages_per_second=10,
    )
    rules = AdmissionRules(listen.path, AnyStation(), [Version(name) for name in listen.protocols])
    host = UnregisteredStations(stats.knocks)
    async with trio.open_nursery() as nursery:
        places.port = await nursery.start(serve_stations, settings, rules, host, stats)
        task_status.started()


async def run_setup_mode(
    path: Path,
    places: SetupPlaces,
    show_code: Callable[[str], None],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run until the configuration at `path` is written. Raises ListenError and WebServerError.

    `show_code` gets a line with the page's address and the code.
    """
    code, written, finished = generate_code(), trio.Event(), trio.Event()
    stats = ConnectionStats()
    store = store_directory_of("", path.parent)

    async def store_text(text: str, _: str, user: str, actor: Actor) -> str:
        return await trio.to_thread.run_sync(partial(write_site, path, text, user))

    async def read_knocks() -> Sequence[KnockStatus]:
        return knock_statuses(stats.knocks)

    setup = SetupService(
        path,
        read_knocks,
        partial(has_users, store),
        store_text,
        lambda: find_site_places(places.port, places.web_port),
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(setup.run)
        await nursery.start(collect_stations, stats, places)
        routes = SetupRoutes(WebSetup(setup), code, written.set, finished.set)
        settings = WebSettings(places.host, places.web_port)
        places.web_port = await nursery.start(serve_web, settings, routes, None)
        show_code(f"setup: open http://{places.host}:{places.web_port}/ and enter the code {code}")
        log.info("setup mode started port=%d page=%d", places.port, places.web_port)
        notify_ready("setup mode: no configuration yet")
        nursery.start_soon(_feed_watchdog)
        task_status.started()
        await written.wait()
        with trio.move_on_after(FINISH_S):
            await finished.wait()
        nursery.cancel_scope.cancel()
    log.info("setup finished configuration=%s", path)


def write_site(path: Path, text: str, user: str) -> str:
    """Write a first configuration and its administrator; return the password, empty without one.

    Raises FirstConfigurationError and SetupRejectedError.
    """
    if path.exists():
        raise SetupRejectedError(f"{path} was written meanwhile; begin again")
    password = add_administrator(store_directory_of(text, path.parent), user) if user else ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        write_configuration_file(path, text)
    except OSError as error:
        raise SetupRejectedError(
            f"{path} cannot be written: {error.strerror}; let the controller's user write there"
        ) from error
    return password


async def _feed_watchdog() -> None:
    while True:
        notify("WATCHDOG=1")
        await trio.sleep(WATCHDOG_S)
