"""Setup mode: the daemon without a configuration. It lists stations that connect and serves the setup's page.

Stations are not served, no limit is sent, and nothing is stored until a person has answered all questions.
The page asks for a code that is printed where only who operates the service reads it.
"""

from __future__ import annotations

import logging
import secrets
import signal
from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from pathlib import Path

import trio

from controller.access.permissions import Actor
from controller.model.exception_groups import leaves
from controller.services.configuration.first_configuration import (
    find_site_places,
    has_users,
    store_directory_of,
    write_site,
)
from controller.services.machine.journal_log import start_logging
from controller.services.machine.systemd import notify, notify_ready
from controller.services.setup.setup_service import SetupService
from controller.services.setup.station_collector import CollectorError, StationCollector
from controller.services.web.web_setup import WebSetup
from controller.web.setup_routes import SetupRoutes
from controller.web.web_server import WebServerError, WebSettings, serve_web

log = logging.getLogger("controller")

WATCHDOG_S = 5.0
CODE_LETTERS = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
FINISH_S = 600.0
"""Time that a person has to note the password; then the site is started all the same."""


class SetupEnd(Enum):
    """End of the setup mode."""

    WRITTEN = auto()
    """There is a configuration."""
    STOPPED = auto()
    """SIGTERM: the service was stopped in an orderly way, with or without a configuration."""
    FAILED = auto()
    """An error or SIGINT, and there is no configuration."""


def generate_code() -> str:
    """Return a new code of the setup, e.g. K7QM-2PXA-9DHT: 60 bits."""
    letters = "".join(secrets.choice(CODE_LETTERS) for _ in range(12))
    return "-".join(letters[start : start + 4] for start in (0, 4, 8))


async def run_setup_mode(
    path: Path,
    page: tuple[str, int],
    stations: tuple[str, int],
    show_code: Callable[[str], None],
) -> None:
    """Run until the configuration at `path` is written. `page`, `stations`: addresses to listen at.

    `show_code` gets a line with the page's address and the code. Raises CollectorError and WebServerError.
    """
    code, written, finished = generate_code(), trio.Event(), trio.Event()
    collector = StationCollector(*stations)
    store = store_directory_of("", path.parent)
    host, web_port = page

    async def store_text(text: str, _: str, user: str, actor: Actor) -> str:
        return await trio.to_thread.run_sync(partial(write_site, path, text, user))

    setup = SetupService(
        path,
        collector.read_unknown_stations,
        partial(has_users, store),
        store_text,
        lambda: find_site_places(collector.host, collector.port, web_port),
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(setup.run)
        await nursery.start(collector.run)
        routes = SetupRoutes(WebSetup(setup), code, written.set, finished.set)
        web_port = await nursery.start(serve_web, WebSettings(host, web_port), routes, None)
        show_code(f"setup: open http://{host}:{web_port}/ and enter the code {code}")
        log.info("setup mode started port=%d page=%d", collector.port, web_port)
        notify_ready("setup mode: no configuration yet")
        nursery.start_soon(_feed_watchdog)
        await written.wait()
        with trio.move_on_after(FINISH_S):
            await finished.wait()
        nursery.cancel_scope.cancel()
    log.info("setup finished configuration=%s", path)


def serve_setup(
    path: Path, page: tuple[str, int], stations: tuple[str, int], *, level: str | None = "info"
) -> SetupEnd:
    """Run the setup mode until there is a configuration, a signal or an error.

    `level`: least level that is logged, None for all.
    """
    start_logging(level)
    stopped = False
    try:
        stopped = trio.run(_serve_until_signalled, path, page, stations, strict_exception_groups=True)
    except* (CollectorError, WebServerError) as group:
        for error in leaves(group):
            log.error("%s", error)
    if stopped:
        return SetupEnd.STOPPED
    return SetupEnd.WRITTEN if path.exists() else SetupEnd.FAILED


async def _serve_until_signalled(path: Path, page: tuple[str, int], stations: tuple[str, int]) -> bool:
    """Run the setup mode; return True if SIGTERM has ended it."""
    received: set[int] = set()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_on_signal, nursery.cancel_scope, received)
        await run_setup_mode(path, page, stations, partial(print, flush=True))
        nursery.cancel_scope.cancel()
    return signal.SIGTERM in received


async def _cancel_on_signal(scope: trio.CancelScope, received: set[int]) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            received.add(number)
            scope.cancel()


async def _feed_watchdog() -> None:
    while True:
        notify("WATCHDOG=1")
        await trio.sleep(WATCHDOG_S)
