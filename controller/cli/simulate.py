"""`local-controller simulate`: a day of a configuration on virtual time, in seconds."""

from __future__ import annotations

import argparse
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from controller.cli.arguments import (
    OK,
    UNREADABLE,
    CommandError,
    Subcommands,
    add_config,
    file_error,
    new_file,
    read_configuration,
)
from controller.config import Config
from controller.load_management.energy.energy_csv import EnergyFileError
from controller.load_management.energy.price_series import parse_prices
from controller.load_management.site_builder import build_site
from controller.simulate.day_file import Day, DayFileError, read_day
from controller.simulate.day_plot import render_plot
from controller.simulate.day_record import DayRecord
from controller.simulate.day_summary import day_figures, render_summary
from controller.simulate.simulation import simulate
from controller.tomlcheck.diagnostics import FileUnreadableError, read_text


def add_parser(commands: Subcommands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("simulate", help="simulate a day of a configuration, in seconds")
    add_config(parser)
    parser.add_argument(
        "--day", type=Path, required=True, metavar="FILE.csv", help="loads and cars; see etc/day.example.csv"
    )
    parser.add_argument(
        "--date", type=_date, metavar="YYYY-MM-DD", help="day of the calendar; default: today"
    )
    parser.add_argument("--json", action="store_true", help="print the figures of the day as JSON")
    parser.add_argument("--plot", type=new_file, metavar="FILE.svg", help="draw the day as well")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what each circuit carried and each EVSE got. Raises CommandError."""
    config = read_configuration(options.config, plan_only=True)
    try:
        day = read_day(read_text(options.day), str(options.day), build_site(config))
        day_date = options.date or datetime.now(ZoneInfo(config.site.timezone)).date().isoformat()
        record = _simulate(config, day, day_date)
        if options.json:
            print(msgspec.json.encode(day_figures(record)).decode())
        else:
            print(render_summary(record))
            if change := record.clock.describe_change():
                print(change)
            if config.prices is not None and config.prices.file is not None and not record.has_prices:
                print(f"{config.prices.file} has no price on {day_date}: cars charged as without prices")
        if options.plot is not None:
            options.plot.write_text(render_plot(record, f"{config.site.id}: {options.day.name}"), "utf-8")
    except DayFileError as error:
        raise CommandError(str(error)) from error
    except FileUnreadableError as error:
        raise CommandError(str(error), UNREADABLE) from error
    except OSError as error:
        raise file_error(error) from error
    return OK


def _date(text: str) -> str:
    """Return a date of the calendar. Raises ArgumentTypeError."""
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a date; write it like 2026-11-27") from None


def _simulate(config: Config, day: Day, date: str) -> DayRecord:
    """Simulate a day with the prices and departures of the configuration's files.

    Raises CommandError, which names the file with a mistake, and FileUnreadableError.
    """
    files = (None if config.prices is None else config.prices.file, config.load_management.departures)
    prices, departures = (None if file is None else read_text(Path(file)) for file in files)
    try:
        series = None if prices is None else parse_prices(prices)
    except EnergyFileError as error:
        raise CommandError(f"{files[0]}: {error}") from error
    try:
        return simulate(config, day, date, series, departures)
    except EnergyFileError as error:
        raise CommandError(f"{files[1]}: {error}") from error
