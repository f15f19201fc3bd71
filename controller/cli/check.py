"""`local-controller check`: find every error in a configuration file and the files that it names."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from controller.cli.arguments import OK, CommandError, Subcommands, add_config, count_of, read_configuration
from controller.config import Config, StationConfig
from controller.load_management.energy.calendar_text import describe_calendar
from controller.load_management.energy.energy_builder import build_energy_settings
from controller.model.expiry import Expiry, ExpiryLevel
from controller.model.journal import BootStored
from controller.services.certificate_service import due_expiries, find_expiries, year_hints
from controller.services.connection_settings import unusable_certificates
from controller.store.record_rules import kind_of_type, read_entry
from controller.store.state_journal import StoreError
from controller.store.store_transfer import open_store_file

MOST_NAMED = 5
"""Stations without a first connection that are named one by one."""


def add_parser(commands: Subcommands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("check", help="find every error in a configuration file")
    add_config(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print hints and a summary of a valid configuration. Raises CommandError with every error found."""
    config = read_configuration(options.config, prints_hints=True)
    failures = [f"{options.config}: {failure}" for failure in unusable_certificates(config)]
    if failures:
        raise CommandError("\n".join(failures))
    ends, now = find_expiries(config), time.time()
    lines = [_warn_of_end(each, now) for each in due_expiries(ends, now)]
    lines += [f"{each} (hint)" for each in year_hints(ends, now)]
    lines += [f"{each} (hint)" for each in _find_unseen_stations(config)]
    for line in lines:
        print(f"{options.config}: {line}", file=sys.stderr)
    print(f"{options.config}: good: {_summary(config)}")
    for line in describe_calendar(build_energy_settings(config), now):
        print(line)
    return OK


def _warn_of_end(end: Expiry, utc: float) -> str:
    """Return a line about an end that is near, more urgent from level to level."""
    match end.level(utc):
        case ExpiryLevel.SOON:
            return f"warning: {end.describe(utc)}; renew it in time"
        case ExpiryLevel.URGENT:
            return f"urgent: {end.describe(utc)}; renew it this week"
        case _:
            return f"critical: {end.describe(utc)}; renew it now"


def _find_unseen_stations(config: Config) -> list[str]:
    """Return a line for the stations that have never booted at this controller, as their room is reserved."""
    directory = Path(config.store.directory)
    try:
        journal = open_store_file(directory)
        known = {
            each.station
            for each in map(read_entry, journal.load(kind_of_type(BootStored)))
            if isinstance(each, BootStored)
        }
    except StoreError:
        known = set()  # there is no store before the first start, or another user's
    unseen = [station for station in config.station if station.id not in known]
    consequence = "until it has accepted its fallback once; a station that is not there yet takes room"
    if len(unseen) <= MOST_NAMED:
        return [
            f"station {each.id} has never connected: {_rated_a(each):g} A stay reserved for it {consequence}"
            for each in unseen
        ]
    total_a = sum(map(_rated_a, unseen))
    return [
        f"{len(unseen)} stations have never connected: each reserves its rated current ({total_a:g} A "
        f"together) {consequence}"
    ]


def _rated_a(station: StationConfig) -> float:
    return sum(evse.max_a for evse in station.evse)


def _summary(config: Config) -> str:
    evses = sum(len(station.evse) for station in config.station)
    counts = (
        (len(config.station), "station"),
        (evses, "EVSE"),
        (len(config.circuit), "circuit"),
        (len(config.meter), "meter"),
        (len(config.backend), "backend"),
    )
    return ", ".join(count_of(*each) for each in counts)
