"""The command `local-controller`.

Exit status: 0 well; 1 mistakes in the configuration, or a daemon that cannot do its work;
2 a file that cannot be read, or a command line that cannot be understood.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import os
import secrets
import signal
import sys
from functools import partial
from getpass import getpass
from importlib.metadata import version
from pathlib import Path

import trio

from controller.cli import status as status_client
from controller.cli.arguments import number
from controller.cli.dim import add_dim
from controller.cli.evidence import add_evidence
from controller.cli.keys import add_keys
from controller.cli.policy import add_policy
from controller.config import Config
from controller.config.loader import ConfigError, read_config
from controller.config.password_files import SALT_BYTES, hashed
from controller.config.schema import WebConfig
from controller.demo.demo_run import run_demo
from controller.load_management.site_builder import build_site
from controller.model.exception_groups import leaves
from controller.services import app
from controller.services.policy_service import SigningSetupError
from controller.services.station_service import unusable_certificates
from controller.simulate.day_file import DayFileError, read_day
from controller.simulate.day_plot import svg
from controller.simulate.day_summary import told
from controller.simulate.simulation import simulate
from controller.stations.listener import ListenError
from controller.store.database import StoreError
from controller.tomlcheck.diagnostics import FileUnreadableError, render
from controller.transport.tls import TlsError
from controller.web.web_server import WebServerError

OK, MISTAKES, UNREADABLE = 0, 1, 2

GC_AFTER = 50_000
"""New objects between two looks for garbage in circles, of which we make little: a tenth of each pass
over a big site goes into looking at Python's usual 700."""

log = logging.getLogger("controller")


class OneLineFormatter(logging.Formatter):
    """A message is one line, whatever a peer has put into an id or a reason: no forged lines in the log."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line, everything that does not print escaped."""
        line = super().formatMessage(record)
        return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; returns the exit status."""
    options = _parser().parse_args(arguments)
    status: int = options.do(options)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="local-controller",
        description="Edge gateway of a charging site: OCPP multiplexer, meters and shared current.",
    )
    parser.add_argument("--version", action="version", version=version("ocpp-local-controller"))
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run the controller")
    check = commands.add_parser("check", help="find every mistake in a configuration file")
    for command, do in ((run, _run), (check, _check)):
        command.add_argument("-c", "--config", type=Path, required=True, metavar="FILE")
        command.set_defaults(do=do)
    run.add_argument("-v", "--verbose", action="store_true", help="log more")

    status = commands.add_parser("status", help="show what a running controller does, and why")
    where = status.add_mutually_exclusive_group()
    where.add_argument("-c", "--config", type=Path, metavar="FILE", help="of the controller on this machine")
    where.add_argument(
        "--url", type=_url, help=f"of a controller's page (default: {status_client.address(WebConfig())})"
    )
    status.add_argument("-w", "--watch", action="store_true", help="keep showing it, until Ctrl-C")
    status.set_defaults(do=_status)

    simulation = commands.add_parser("simulate", help="a day of a configuration, in seconds")
    simulation.add_argument("-c", "--config", type=Path, required=True, metavar="FILE")
    simulation.add_argument(
        "--day", type=Path, required=True, metavar="FILE.csv", help="loads and cars; see etc/day.example.csv"
    )
    simulation.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw it as well")
    simulation.set_defaults(do=_simulate)

    password = commands.add_parser(
        "password", help="make what a station's password_file holds: a hash, which nobody can read back"
    )
    password.set_defaults(do=_password)

    add_dim(commands)
    add_evidence(commands)
    add_keys(commands)
    add_policy(commands)

    demo = commands.add_parser("demo", help="watch the controller run a simulated site")
    demo.add_argument(
        "--duration", type=_seconds, metavar="SECONDS", help="end by itself (default: at Ctrl-C)"
    )
    demo.add_argument("--seed", type=int, default=1, metavar="N", help="which cars, which building load")
    demo.add_argument("--report", type=_new_file, metavar="FILE", help="write what was measured, as JSON")
    demo.set_defaults(do=_demo)
    return parser


def _seconds(text: str) -> float:
    value = number(text)
    if not 1 <= value <= 86_400:
        raise argparse.ArgumentTypeError("between 1 and 86400 s")
    return value


def _new_file(text: str) -> Path:
    """Where a file can be written at the end: who waits for it hears at the beginning that it cannot."""
    path = Path(text)
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text!r} cannot be written; name a file in a folder of yours")
    return path


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError('begin it with "http://" or "https://"')
    return text


def _check(options: argparse.Namespace) -> int:
    config, status = _read(options.config)
    if config is None:
        return status
    failures = list(unusable_certificates(config))
    for failure in failures:
        print(f"{options.config}: {failure}", file=sys.stderr)
    if failures:
        return MISTAKES
    print(f"{options.config}: good: {_summary(config)}")
    return OK


def _read(path: Path) -> tuple[Config | None, int]:
    """The configuration, after its notes are told; None after its mistakes are told."""
    try:
        config, notes = read_config(path)
    except FileUnreadableError as error:
        print(error, file=sys.stderr)
        return None, UNREADABLE
    except ConfigError as error:
        print(render(error.mistakes, error.notes), file=sys.stderr)
        return None, MISTAKES
    if notes:
        print(render([], notes), file=sys.stderr)
    return config, OK


def _summary(config: Config) -> str:
    evses = sum(len(station.evse) for station in config.station)
    counts = (
        (len(config.station), "station"),
        (evses, "EVSE"),
        (len(config.circuit), "circuit"),
        (len(config.meter), "meter"),
        (len(config.backend), "backend"),
    )
    return ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts)


def _run(options: argparse.Namespace) -> int:
    config, status = _read(options.config)
    if config is None:
        return status
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLineFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.DEBUG if options.verbose else logging.INFO, handlers=[handler])
    # At lower levels it writes messages out, drivers' ids in them.
    logging.getLogger("trio-websocket").setLevel(logging.WARNING)
    try:
        gc.set_threshold(GC_AFTER)
        trio.run(_until_signalled, config, strict_exception_groups=True)
    except* (ListenError, SigningSetupError, StoreError, TlsError, WebServerError) as failed:
        for each in leaves(failed):
            log.error("%s", each)
        status = MISTAKES
    return status


async def _until_signalled(config: Config) -> None:
    async with trio.open_nursery() as nursery:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            nursery.start_soon(app.run, config)
            async for number in signals:
                log.info("stopping: %s", signal.Signals(number).name)
                nursery.cancel_scope.cancel()
                break


def _status(options: argparse.Namespace) -> int:
    url = options.url or status_client.address(WebConfig())
    if options.config is not None:
        config, status = _read(options.config)
        if config is None:
            return status
        if config.web is None:
            print(f"{options.config}: has no [web]: its controller tells nobody its status", file=sys.stderr)
            return MISTAKES
        url = status_client.address(config.web)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            status_client.show(url, watch=options.watch)
    except status_client.NoStatusError as error:
        print(error, file=sys.stderr)
        return MISTAKES
    return OK


def _simulate(options: argparse.Namespace) -> int:
    config, status = _read(options.config)
    if config is None:
        return status
    try:
        day = read_day(options.day.read_text("utf-8-sig"), str(options.day), build_site(config))
        record = simulate(config, day)
        print(told(record))
        if options.plot is not None:
            options.plot.write_text(svg(record, f"{config.site.id}: {options.day.name}"), "utf-8")
    except DayFileError as error:
        print(error, file=sys.stderr)
        return MISTAKES
    except UnicodeDecodeError:
        print(f"{options.day}: is no text in UTF-8; save it so", file=sys.stderr)
        return UNREADABLE
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return UNREADABLE
    return OK


def _password(options: argparse.Namespace) -> int:
    """Print the hash of a password: asked for twice at a terminal, else the first line of a pipe."""
    if sys.stdin.isatty():
        password = getpass("Password: ").encode()
        if getpass("Once more: ").encode() != password:
            print("the two are not the same", file=sys.stderr)
            return MISTAKES
    else:
        password = sys.stdin.buffer.readline().rstrip(b"\r\n")
    if not password:
        print("there is no password", file=sys.stderr)
        return MISTAKES
    print(hashed(password, secrets.token_bytes(SALT_BYTES)).line())
    return OK


def _demo(options: argparse.Namespace) -> int:
    with contextlib.suppress(KeyboardInterrupt):
        run = partial(run_demo, duration_s=options.duration, seed=options.seed, report=options.report)
        failures = trio.run(run).failures
        for failure in failures:
            print(failure, file=sys.stderr)
        return MISTAKES if failures else OK
    return OK
