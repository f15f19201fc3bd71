"""`local-controller station`: the stations of a running controller, and commands to them.

All actions ask the running controller, over the control socket in the directory of its store.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
from rich.table import Table
from rich.text import Text

from controller.cli.arguments import (
    OK,
    CommandError,
    Subcommands,
    add_config,
    number,
    read_store_directory,
    whole_number,
)
from controller.cli.tables import make_console
from controller.services.machine.control_socket import ControlError, send_command
from controller.session_ledger.session_export import SessionRow
from controller.web import terminal
from controller.web.status_model import ControllerStatus, EvseStatus

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d)?")
_UNITS_S = {None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


class StationDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One EVSE with its running session and, where it has booted, its station's model."""

    status: EvseStatus
    session: SessionRow | None
    vendor: str
    model: str
    firmware: str


def add_parser(commands: Subcommands) -> None:
    """Add the subcommand and its actions."""
    parser = commands.add_parser(
        "station", help="list and adopt stations; pause, limit, start, stop or reset them"
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listing = _add(actions, "list", "all EVSEs with their state, session and limit", _list)
    listing.add_argument("--json", action="store_true", help="as JSON")
    listing.add_argument(
        "--unknown", action="store_true", help="stations that tried to connect and are not adopted"
    )
    show = _add(actions, "show", "one station in full", _show)
    show.add_argument("station", metavar="STATION")
    show.add_argument("--json", action="store_true", help="as JSON")
    _add_command(actions, "pause", "give it no current", duration=True)
    _add_command(actions, "resume", "end a pause, a limit, a priority or a boost")
    limit = _add_command(actions, "limit", "limit it to a current", duration=True, needed=True)
    limit.add_argument("--amps", dest="limit_a", type=number, required=True, metavar="A", help="per phase")
    priority = _add_command(actions, "prioritize", "serve it with this priority", duration=True)
    priority.add_argument(
        "--priority", type=whole_number, required=True, metavar="N", help="the highest comes first"
    )
    _add_command(actions, "boost", "charge as fast as the circuits allow", duration=True)
    start = _add_command(actions, "start", "start charging")
    start.add_argument(
        "--card", dest="id_token", metavar="CARD", help="label of a card, or an idToken; default: none"
    )
    _add_command(actions, "stop", "stop charging")
    reset = _add_command(actions, "reset", "restart the station", evse=False)
    reset.add_argument(
        "--hard", dest="mode", action="store_const", const="hard", help="without ending transactions first"
    )
    adopt = _add(actions, "adopt", "add a station to the configuration", _adopt)
    adopt.add_argument("station", metavar="STATION")
    adopt.add_argument("--circuit", required=True, metavar="CIRCUIT", help="that it is connected to")
    adopt.add_argument(
        "--phases",
        type=_phases,
        default=("L1", "L2", "L3"),
        metavar="L1,L2,L3",
        help="the site's phases on its L1, L2, L3; L2: a single-phase station; default: %(metavar)s",
    )
    adopt.add_argument("--max-a", type=number, default=32.0, metavar="A", help="its fuse; default: 32")
    adopt.add_argument("--owner", metavar="BACKEND", help="default: none, the controller is its CSMS")
    adopt.add_argument("--label", metavar="TEXT", help="name that is shown")
    adopt.add_argument("--steuve", action="store_true", help="controllable device of section 14a")
    _add_command(actions, "dismiss", "remove a station that tried to connect from the list", evse=False)
    _add_command(actions, "reconnect", "close its connection, so that it connects again", evse=False)


def _add(actions: Subcommands, name: str, text: str, run: Any) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=text)
    add_config(parser)
    parser.set_defaults(run=run)
    return parser


def _add_command(
    actions: Subcommands,
    name: str,
    text: str,
    *,
    evse: bool = True,
    duration: bool = False,
    needed: bool = False,
) -> argparse.ArgumentParser:
    parser = _add(actions, name, text, partial(_send_command, f"station.{name}"))
    if evse:
        parser.add_argument("station", metavar="STATION[/EVSE]", help="as `station list` names it")
        parser.add_argument("--evse", type=whole_number, metavar="N", help="one of its EVSEs")
    else:
        parser.add_argument("station", metavar="STATION")
    if duration:
        parser.add_argument(
            "--for",
            dest="duration_s",
            type=_duration,
            required=needed,
            metavar="TIME",
            help="how long, like 45m, 2h or 1d",
        )
    return parser


def _send_command(command: str, options: argparse.Namespace) -> int:
    """Send a command with all options that are given. Raises CommandError."""
    names = ("evse", "duration_s", "limit_a", "priority", "id_token", "mode")
    given = {name: value for name in names if (value := getattr(options, name, None)) is not None}
    station, _, evse = options.station.rpartition("/")
    if hasattr(options, "evse") and "evse" not in given and station and evse.isdecimal():
        given["evse"] = int(evse)
    else:
        station = options.station
    result = _send(options, command, station=station, **given)
    status = result.get("status") if isinstance(result, dict) else None
    print(f"{options.station}: {command.removeprefix('station.')} {status or 'done'}")
    return OK


def _phases(text: str) -> tuple[str, ...]:
    """Parse phases like L2,L3,L1."""
    phases = tuple(text.upper().replace(" ", "").split(","))
    if not set(phases) <= {"L1", "L2", "L3"} or len(set(phases)) != len(phases):
        raise argparse.ArgumentTypeError(f"{text!r} are no phases; write them like L2,L3,L1 or L2")
    return phases


def _adopt(options: argparse.Namespace) -> int:
    """Add the station to the configuration of the running controller. Raises CommandError."""
    given = {name: getattr(options, name) for name in ("owner", "label") if getattr(options, name)}
    result = _send(
        options,
        "station.adopt",
        station=options.station,
        circuit=options.circuit,
        phases=options.phases,
        max_a=options.max_a,
        steuve=options.steuve,
        **given,
    )
    waits = any(each.startswith(f"station {options.station} ") for each in result["needs_restart"])
    remedy = "a restart makes it served: sudo systemctl restart local-controller"
    print(f"{options.station}: adopted on {options.circuit}; {remedy if waits else 'served from now on'}")
    return OK


def _seen(time: str, timezone: str) -> str:
    """Return a time for a narrow column, which continues on the next line behind its date."""
    return terminal.site_time(time, timezone).replace("T", " ")


def _list_unknown(options: argparse.Namespace) -> int:
    """Print the stations that tried to connect and are not in the configuration."""
    status = msgspec.convert(_send(options, "status"), ControllerStatus, strict=False)
    if options.json:
        print(json.dumps(msgspec.to_builtins(status.unknown_stations), indent=2))
        return OK
    if not status.unknown_stations:
        print("no unknown station has tried to connect since the start")
        return OK
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("station", "address", "first seen", "last seen", "tries", "OCPP", "device"):
        table.add_column(column, overflow="fold")
    for unknown in status.unknown_stations:
        device = " ".join(filter(None, (unknown.vendor, unknown.model, unknown.serial_number)))
        versions = " ".join(each.removeprefix("ocpp") for each in unknown.ocpp)
        cells = (
            unknown.id,
            unknown.peer,
            _seen(unknown.first_seen, status.timezone),
            _seen(unknown.last_seen, status.timezone),
            str(unknown.tries),
            versions,
            device,
        )
        table.add_row(*map(Text, cells))
    make_console().print(table)
    return OK


def _list(options: argparse.Namespace) -> int:
    if options.unknown:
        return _list_unknown(options)
    details = _fetch_details(options)
    if options.json:
        print(json.dumps(msgspec.to_builtins(details), indent=2))
        return OK
    if not details:
        print("no station is configured; add one with `local-controller setup` or `station adopt`")
        return OK
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("EVSE", "OCPP", "state", "offered", "drawn", "energy", "card", "why"):
        table.add_column(column, overflow="fold")
    for each in details:
        status, session = each.status, each.session
        table.add_row(
            Text(f"{status.station}/{status.evse}"),
            (status.ocpp or "-").removeprefix("ocpp"),
            status.state.value if status.connected else "away",
            f"{status.offered_a:.1f} A",
            f"{max(status.drawn_a):.1f} A",
            _energy(session),
            Text("-" if session is None else session.card or "-"),
            Text(status.reason),
        )
    make_console().print(table)
    return OK


def _show(options: argparse.Namespace) -> int:
    details = [each for each in _fetch_details(options) if each.status.station == options.station]
    if not details:
        raise CommandError(f"there is no station {options.station!r}; `station list` shows all of them")
    if options.json:
        print(json.dumps(msgspec.to_builtins(details), indent=2))
        return OK
    for each in details:
        print("\n".join(_describe(each)))
    return OK


def _describe(detail: StationDetail) -> list[str]:
    status, session = detail.status, detail.session
    model = " ".join(filter(None, (detail.vendor, detail.model, detail.firmware)))
    lines = [
        f"EVSE     {status.station}/{status.evse}, circuit {status.circuit}",
        f"station  {model or 'not booted yet'}, {status.ocpp or 'not connected'}",
        f"state    {status.state.value}",
        f"offered  {status.offered_a:.1f} A per phase: {status.reason}",
        f"drawn    {'/'.join(f'{amps:.1f}' for amps in status.drawn_a)} A (L1/L2/L3)",
        f"obeys    {_obedience(status)}",
    ]
    if session is not None:
        card = f", card {session.card}" if session.card else ""
        lines.append(f"session  since {session.start}, {_energy(session)}{card}")
    return lines


def _obedience(status: EvseStatus) -> str:
    if status.obeys is None:
        return "no lower limit yet"
    followed = "followed" if status.obeys else "did NOT follow"
    return f"{followed} its last lower limit, {status.reaction_s:.0f} s to follow one"


def _energy(session: SessionRow | None) -> str:
    if session is None:
        return "-"
    return "? kWh" if session.energy_kwh is None else f"{session.energy_kwh:.2f} kWh"


def _fetch_details(options: argparse.Namespace) -> Sequence[StationDetail]:
    """Fetch status and sessions of the running controller. Raises CommandError."""
    status = msgspec.convert(_send(options, "status"), ControllerStatus, strict=False)
    rows = msgspec.convert(_send(options, "sessions.running"), list[SessionRow])
    sessions = {(row.station, row.evse): row for row in rows}
    devices = {each.station: each for each in status.station_devices}
    found = []
    for evse in status.evses:
        device = devices.get(evse.station)
        found.append(
            StationDetail(
                status=evse,
                session=sessions.get((evse.station, evse.evse)),
                vendor="" if device is None else device.vendor,
                model="" if device is None else device.model,
                firmware="" if device is None else device.firmware,
            )
        )
    return found


def _send(options: argparse.Namespace, command: str, **members: object) -> Any:
    try:
        return send_command(read_store_directory(options.config), command, **members)
    except ControlError as error:
        raise CommandError(str(error)) from error


def _duration(text: str) -> float:
    """Parse a time like 90, 45m, 2h or 1d (s)."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; write it like 45m, 2h or 1d")
    return float(match[1]) * _UNITS_S[match[2]]
