"""`local-controller run`: the daemon in the foreground, as systemd starts it."""

from __future__ import annotations

import argparse
import gc
import logging
import signal

import trio

from controller.cli.arguments import FAILED, OK, Subcommands, add_config, read_configuration
from controller.config import Config
from controller.model.exception_groups import leaves
from controller.services import app
from controller.services.journal_log import log_handler
from controller.services.policy_service import SigningSetupError
from controller.stations.listener import ListenError
from controller.store.state_journal import StoreError
from controller.transport.tls import TlsError
from controller.web.web_server import WebServerError

GC_THRESHOLD = 50_000
"""New objects between two runs of the cyclic garbage collector; few cycles are made. With Python's usual
700, a tenth of each control step on a large site is spent on collection."""

log = logging.getLogger("controller")


def add_parser(commands: Subcommands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("run", help="run the controller")
    add_config(parser)
    parser.add_argument("-v", "--verbose", action="store_true", help="log more")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the daemon until SIGTERM or SIGINT. Raises CommandError for an invalid configuration."""
    config = read_configuration(options.config)
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.INFO, handlers=[log_handler()], force=True
    )
    # At lower levels it logs whole messages, and with them identities of drivers.
    logging.getLogger("trio-websocket").setLevel(logging.WARNING)
    status = OK
    try:
        gc.set_threshold(GC_THRESHOLD)
        trio.run(_run_until_signalled, config, strict_exception_groups=True)
    except* (ListenError, SigningSetupError, StoreError, TlsError, WebServerError) as group:
        for error in leaves(group):
            log.error("%s", error)
        status = FAILED
    return status


async def _run_until_signalled(config: Config) -> None:
    async with trio.open_nursery() as nursery:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            nursery.start_soon(app.run, config)
            async for number in signals:
                log.info("stopping signal=%s", signal.Signals(number).name)
                nursery.cancel_scope.cancel()
                break
