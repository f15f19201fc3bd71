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
from controller.load_management.energy.price_plan import PriceSeries, parse_prices
from controller.load_management.site_builder import build_site
from controller.simulate.day_file import DayFileError, read_day
from controller.simulate.day_plot import render_plot
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
        record = simulate(config, day, day_date, _prices(config))
        if options.json:
            print(msgspec.json.encode(day_figures(record)).decode())
        else:
            print(render_summary(record))
        if options.plot is not None:
            options.plot.write_text(render_plot(record, f"{config.site.id}: {options.day.name}"), "utf-8")
    except (DayFileError, EnergyFileError) as error:
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


def _prices(config: Config) -> PriceSeries | None:
    """Return the prices of the configuration's file; None without one.

    Raises FileUnreadableError, EnergyFileError.
    """
    if config.prices is None or config.prices.file is None:
        return None
    return parse_prices(read_text(Path(config.prices.file)))
