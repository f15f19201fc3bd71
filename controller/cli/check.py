"""`local-controller check`: find every error in a configuration file and the files that it names."""

from __future__ import annotations

import argparse
import sys
import time

from controller.cli.arguments import OK, CommandError, Subcommands, add_config, count_of, read_configuration
from controller.config import Config
from controller.load_management.energy.calendar_text import describe_calendar
from controller.load_management.energy.energy_builder import build_energy_settings
from controller.services.certificate_service import due_warnings, find_certificate_ends
from controller.services.connection_settings import unusable_certificates


def add_parser(commands: Subcommands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("check", help="find every error in a configuration file")
    add_config(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print a summary of a valid configuration. Raises CommandError with every error found."""
    config = read_configuration(options.config)
    failures = [f"{options.config}: {failure}" for failure in unusable_certificates(config)]
    if failures:
        raise CommandError("\n".join(failures))
    for warning in due_warnings(find_certificate_ends(config), time.time()):
        print(f"{options.config}: warning: {warning}; renew it in time", file=sys.stderr)
    print(f"{options.config}: good: {_summary(config)}")
    for line in describe_calendar(build_energy_settings(config), time.time()):
        print(line)
    return OK


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
