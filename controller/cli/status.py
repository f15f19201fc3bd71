"""`local-controller status`: fetch the status of a running controller and show it in a terminal."""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from http import HTTPStatus
from itertools import count
from pathlib import Path

import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from controller.cli.arguments import (
    OK,
    USUAL_CONFIG,
    CommandError,
    Subcommands,
    add_json,
    configuration_missing,
    http_url,
    print_json,
    read_used_configuration,
)
from controller.config.schema import WebConfig
from controller.services.machine.control_socket import ControlError, send_command
from controller.transport.tls import make_client_context
from controller.transport.transport_errors import describe_error
from controller.web import terminal
from controller.web.status_model import ControllerStatus, read_status

TIMEOUT_S = 5.0
WATCH_S = 1.0
MOST_ALARMS = 8
"""Time between two updates of `--watch`."""


class PageAddress(msgspec.Struct, frozen=True):
    """Address of a controller's page; `certificate`: file of its own certificate, which alone is trusted.

    `store`: directory of a controller on this machine; its control socket answers where a login is needed.
    `remedy`: what a person does if no controller answers there.
    """

    url: str
    certificate: str | None = None
    store: Path | None = None
    remedy: str = "is it running, with [web] in its configuration?"


class NoStatusError(CommandError):
    """No controller answers with its status at an address."""


def add_parser(commands: Subcommands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("status", help="show the state of a running controller, with reasons")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "-c",
        "--config",
        type=Path,
        metavar="FILE",
        help=f"configuration of a controller on this machine (default: {USUAL_CONFIG}, where it exists)",
    )
    where.add_argument("--url", type=http_url, help=f"page of a controller, e.g. {address(WebConfig()).url}")
    parser.add_argument("-w", "--watch", action="store_true", help="update it until Ctrl-C")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Show the status. Raises CommandError where there is none."""
    page = PageAddress(options.url) if options.url else _find_address(options.config)
    if options.json:
        print_json(fetch(page))
        return OK
    with contextlib.suppress(KeyboardInterrupt):
        show(page, watch=options.watch)
    return OK


def _find_address(path: Path | None) -> PageAddress:
    """Return the address of the page in a configuration; None stands for the usual one, if it is readable.

    Raises CommandError if the package is installed and the usual one does not exist.
    """
    if path is None:
        if os.access(USUAL_CONFIG.parent, os.X_OK) and not USUAL_CONFIG.exists():
            raise configuration_missing(USUAL_CONFIG)
        if not os.access(USUAL_CONFIG, os.R_OK):
            return msgspec.structs.replace(address(WebConfig()), remedy=_remedy_without_configuration())
        path = USUAL_CONFIG
    config = read_used_configuration(path)
    if config.web is None:
        raise CommandError(f"{path}: has no [web], which serves the status; add [web]")
    return local_page(config.web, Path(config.store.directory))


def _remedy_without_configuration() -> str:
    """Return what a person does where the usual address does not answer and no configuration was read."""
    if USUAL_CONFIG.parent.exists():
        return f"{USUAL_CONFIG} with its address is not readable; run `sudo local-controller status`"
    return f"{USUAL_CONFIG} does not exist; name a configuration with -c, or the page with --url"


def local_page(web: WebConfig, store: Path) -> PageAddress:
    """Return the page of a controller on this machine, and the directory of its control socket."""
    return msgspec.structs.replace(address(web), store=store)


def address(web: WebConfig) -> PageAddress:
    """Return the address of the page on the same machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(web.host, web.host)
    scheme = "https" if web.certificate else "http"
    name = f"[{host}]" if ":" in host else host
    return PageAddress(f"{scheme}://{name}:{web.port}", web.certificate)


def fetch(page: PageAddress) -> ControllerStatus:
    """Fetch the status of the controller with this page. Raises NoStatusError within TIMEOUT_S."""
    place = f"{page.url.rstrip('/')}/api/status"
    try:
        with _make_opener(page).open(place, timeout=TIMEOUT_S) as answer:
            return read_status(answer.read())
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.UNAUTHORIZED:
            if page.store is None:
                message = f"{place} asks for a login; on the gateway: sudo local-controller status"
                raise NoStatusError(message) from error
            try:
                return fetch_locally(page.store)
            except NoStatusError as local:
                raise NoStatusError(f"{place} asks for a login, and {local}: run this with sudo") from local
        raise NoStatusError(
            f"{place} answers with HTTP status {error.code}: is it a local-controller?"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        reason = describe_error(cause if isinstance(cause, OSError) else error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise NoStatusError(f"{place}: {reason}; on the gateway: sudo local-controller status") from error
        raise NoStatusError(f"no controller answers at {place}: {reason}; {page.remedy}") from error
    except ValueError as error:
        raise NoStatusError(
            f"{place} is not the status of a local-controller of this version: {error}"
        ) from error


def fetch_locally(store: Path) -> ControllerStatus:
    """Fetch the status at the control socket in a store's directory. Raises NoStatusError."""
    try:
        return msgspec.convert(send_command(store, "status"), ControllerStatus)
    except ControlError as error:
        raise NoStatusError(str(error)) from error
    except msgspec.ValidationError as error:
        raise NoStatusError(f"the controller is of another version: {error}; restart it") from error


def _make_opener(page: PageAddress) -> urllib.request.OpenerDirector:
    """Return an opener without a proxy, for a gateway is not behind one. Raises OSError."""
    context = make_client_context(page.certificate, None, None)
    if page.certificate is not None:  # the file names the server; its certificate names it by another address
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    https = urllib.request.HTTPSHandler(context=context)
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), https)


def show(page: PageAddress, *, watch: bool) -> None:
    """Print the status once, or keep it on the screen until interrupted.

    Raises NoStatusError if the first request fails.
    """
    picture = render(fetch(page))
    console = Console(width=None if sys.stdout.isatty() else terminal.WIDTH)
    if not watch:
        console.print(picture)
        return
    with Live(picture, console=console, auto_refresh=False, screen=console.is_terminal) as live:
        for _ in count():
            live.update(picture, refresh=True)
            time.sleep(WATCH_S)
            try:
                picture = render(fetch(page))
            except NoStatusError as error:
                picture = Text(str(error), style="red")


def render(status: ControllerStatus) -> RenderableType:
    """Return title and tables of a status."""
    connected = sum(status.links.connected.values())
    stations = f"{connected} station{'' if connected == 1 else 's'} connected"
    title = Text(
        f"{status.site}   {stations}   {terminal.site_time(status.time, status.timezone)}", style="bold"
    )
    if not status.store.writable:
        title.append(f"\nstore cannot be written: {status.store.error}", style="bold red")
    if not status.healthy:
        title.append(f"   last control step {status.tick_age_s:.0f} s ago", style="bold red")
    alarms = [each for each in status.alarms if each.severity != "info"]
    for alarm in alarms[:MOST_ALARMS]:
        style = "bold red" if alarm.severity == "critical" else "yellow"
        title.append(f"\n{alarm.text}; {alarm.remedy}", style=style)
    if len(alarms) > MOST_ALARMS:
        title.append(f"\nand {len(alarms) - MOST_ALARMS} more alarms: see the page", style="yellow")
    dimming = status.dimming
    if dimming is not None and dimming.dimmed:
        title.append(f"\n{dimming.why}", style="bold yellow")
    unseen = [each.id for each in status.stations if not each.connected and not each.vendor]
    if unseen:
        title.append(
            f"\nnever connected, their rated current stays reserved: {', '.join(unseen[:10])}"
            + (f" and {len(unseen) - 10} more" if len(unseen) > 10 else ""),
            style="yellow",
        )
    base = {circuit.id: "/".join(f"{amps:.1f}" for amps in circuit.base_a) for circuit in status.circuits}
    return Group(
        title,
        terminal.circuits_table(status.circuits, "beside EVSEs (A)", base),
        *terminal.meter_problem_lines(status.circuits),
        *terminal.lowered_limit_lines(status.circuits),
        *terminal.margin_lines(status.circuits),
        terminal.evses_table(status.evses) if status.evses else Text("no station is configured"),
        *terminal.response_lines(status.evses),
        *terminal.goal_lines(status.evses),
        *terminal.energy_lines(status.energy, status.timezone),
        *([terminal.backends_table(status.backends)] if status.backends else []),
    )
