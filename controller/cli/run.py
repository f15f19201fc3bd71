"""`local-controller run`: the daemon in the foreground, as systemd starts it."""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
from functools import partial

import trio

from controller.cli.arguments import (
    FAILED,
    OK,
    Subcommands,
    add_config,
    address,
    open_configuration_or_exit,
)
from controller.config.schema import ListenConfig, WebConfig
from controller.model.exception_groups import leaves
from controller.services import app
from controller.services.configuration.configuration import ActiveConfiguration, find_copy, keep_copy
from controller.services.configuration.reload_service import ReloadRejectedError
from controller.services.machine.garbage_collection import ShortCollections, collect_all
from controller.services.machine.journal_log import start_logging
from controller.services.machine.systemd import notify_ready, notify_reloading
from controller.services.setup_mode import SetupEnd, serve_setup

log = logging.getLogger("controller")


def add_parser(commands: Subcommands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("run", help="run the controller")
    add_config(parser)
    parser.add_argument("-v", "--verbose", action="store_true", help="log more")
    parser.add_argument(
        "--setup-page",
        type=address,
        default=("127.0.0.1", WebConfig().port),
        metavar="HOST:PORT",
        help="without a configuration: where the setup's page is served; default: 127.0.0.1:8080",
    )
    parser.add_argument(
        "--setup-stations",
        type=address,
        default=(ListenConfig().host, ListenConfig().port),
        metavar="HOST:PORT",
        help="without a configuration: where stations connect; default: 0.0.0.0:8887",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the daemon until SIGTERM or SIGINT; SIGHUP reloads the configuration.

    Without a configuration file the setup mode comes first. Raises CommandError for an invalid configuration
    without a last valid copy.
    """
    is_new = not options.config.exists() and find_copy(options.config) is None
    if is_new and (ended := _run_setup(options)) is not SetupEnd.WRITTEN:
        return OK if ended is SetupEnd.STOPPED else FAILED
    active = open_configuration_or_exit(options.config)
    start_logging(None if options.verbose else active.config.log.level)
    # At lower levels it logs whole messages, and with them identities of drivers.
    logging.getLogger("trio-websocket").setLevel(logging.WARNING)
    _report_configuration(active)
    status = OK
    try:
        with ShortCollections() as collections:
            trio.run(_run_until_signalled, active, collections, strict_exception_groups=True)
    except* app.START_ERRORS as group:
        for error in leaves(group):
            log.error("%s", error)
        status = FAILED
    return status


def _run_setup(options: argparse.Namespace) -> SetupEnd:
    """Run the setup mode until there is a configuration, a signal or an error."""
    level = None if options.verbose else "info"
    path = options.config.absolute()
    return serve_setup(path, options.setup_page, options.setup_stations, level=level)


def _report_configuration(active: ActiveConfiguration) -> None:
    """Log the errors of a file that is not in use, and copy a file that is."""
    for line in active.problem.splitlines():
        log.error("configuration error reason=%s", line)
    if active.problem:
        log.error("configuration invalid file=%s: the last valid one is in use, correct it", active.path)
    try:
        keep_copy(active)
    except OSError as error:
        log.warning("configuration copy not written reason=%s", error)


class _Running:
    """The controller once it has started."""

    controller: app.App | None = None


async def _run_until_signalled(active: ActiveConfiguration, collections: ShortCollections) -> None:
    stopping, running = trio.Event(), _Running()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collections.run)
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            nursery.start_soon(_run_app, active, stopping, running, nursery.cancel_scope)
            async for number in signals:
                if number == signal.SIGHUP:
                    notify_reloading()
                    await _reload(running.controller)
                    notify_ready("configuration reloaded")
                    continue
                log.info("stopping signal=%s", signal.Signals(number).name)
                if stopping.is_set():  # a second signal waits for nothing
                    nursery.cancel_scope.cancel()
                stopping.set()


async def _run_app(
    active: ActiveConfiguration, stopping: trio.Event, running: _Running, scope: trio.CancelScope
) -> None:
    async with trio.open_nursery() as nursery:
        running.controller = await nursery.start(
            partial(
                app.run,
                active.config,
                active=active,
                stopping=stopping,
            )
        )
        collect_all()  # while no message waits for its end
    scope.cancel()


async def _reload(controller: app.App | None) -> None:
    if controller is None:
        log.warning("reload ignored reason='the controller is still starting' remedy=reload it again")
        return
    with contextlib.suppress(ReloadRejectedError):  # it has logged the errors
        await controller.reload()
