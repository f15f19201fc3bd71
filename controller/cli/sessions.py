"""`local-controller sessions`: the charging sessions of the site, as a table, CSV or JSON."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from controller.cli.arguments import OK, CommandError, Subcommands, add_config, read_used_configuration
from controller.services.machine.control_socket import ControlError, send_command
from controller.session_ledger.charging_session import ChargingSession, months_before
from controller.session_ledger.session_export import (
    SessionRow,
    SessionSum,
    make_rows,
    sum_by_card,
    write_csv,
)
from controller.store.session_store import SessionStore, open_session_file
from controller.store.state_journal import StoreError

_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")


def add_parser(commands: Subcommands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("sessions", help="charging sessions, per card and month")
    add_config(parser)
    parser.add_argument(
        "--month", type=_month, metavar="YYYY-MM", help="in the site's time zone; default: this month"
    )
    parser.add_argument("--to", type=_month, metavar="YYYY-MM", help="last month; default: that one alone")
    parser.add_argument("--station", metavar="ID", help="sessions of one station")
    parser.add_argument("--by", choices=["card"], help="sums instead of single sessions")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print CSV (RFC 4180)")
    form.add_argument("--json", action="store_true", help="print a JSON array")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the sessions that began in the months, those that run included. Raises CommandError."""
    config = read_used_configuration(options.config)
    zone = ZoneInfo(config.site.timezone)
    first = options.month or datetime.now(zone).strftime("%Y-%m")
    last = options.to or first
    if last < first:
        raise CommandError(f"--to {last} is before --month {first}; exchange them")
    try:
        stored = open_session_file(Path(config.store.directory))
        # The store has months in UTC: those beside are read as well.
        found = [*stored.ended(months_before(first, 1), months_before(last, -1))]
        found += _read_running(Path(config.store.directory), stored)
    except StoreError as error:
        raise CommandError(str(error)) from error
    sessions = [
        each
        for each in found
        if first <= datetime.fromtimestamp(each.started_at, zone).strftime("%Y-%m") <= last
        and options.station in (None, each.station)
    ]
    print(_render(options, sessions, zone), end="")
    return OK


def _read_running(directory: Path, stored: SessionStore) -> Sequence[ChargingSession]:
    """Return the running sessions with their last registers: the controller's, where it runs.

    The store has their registers of a quarter of an hour ago.
    """
    try:
        return msgspec.convert(send_command(directory, "sessions.latest"), list[ChargingSession])
    except (ControlError, msgspec.ValidationError):
        return stored.running()


def _render(options: argparse.Namespace, sessions: Sequence[ChargingSession], zone: ZoneInfo) -> str:
    row_type: type[SessionRow] | type[SessionSum] = SessionSum if options.by else SessionRow
    rows: Sequence[SessionRow] | Sequence[SessionSum] = (
        sum_by_card(sessions, zone) if options.by else make_rows(sessions, zone)
    )
    if options.json:
        return msgspec.json.format(msgspec.json.encode(rows)).decode() + "\n"
    if options.csv:
        return write_csv(rows, row_type)
    if not rows:
        return "no sessions\n"
    names = [name for name in row_type.__struct_fields__ if name != "transaction"]
    table = [names, *([_cell(getattr(row, name)) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(names))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    )
    text = "\n".join(lines) + "\n"
    if all(each.clock_synchronised for each in sessions):
        return text
    return (
        text
        + "clock_synchronised no: the gateway's clock was not synchronised, date and times may be wrong\n"
    )


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value in (None, "") else str(value)


def _month(text: str) -> str:
    if _MONTH.fullmatch(text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a month; write it like 2026-11")
    return text
