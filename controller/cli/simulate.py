"""`local-controller simulate`: a day of a configuration on virtual time, in seconds."""

from __future__ import annotations

import argparse
from pathlib import Path

from controller.cli.arguments import (
    OK,
    UNREADABLE,
    CommandError,
    Subcommands,
    add_config,
    new_file,
    read_configuration,
)
from controller.load_management.site_builder import build_site
from controller.simulate.day_file import DayFileError, read_day
from controller.simulate.day_plot import svg
from controller.simulate.day_summary import told
from controller.simulate.simulation import simulate


def add_parser(commands: Subcommands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("simulate", help="simulate a day of a configuration, in seconds")
    add_config(parser)
    parser.add_argument(
        "--day", type=Path, required=True, metavar="FILE.csv", help="loads and cars; see etc/day.example.csv"
    )
    parser.add_argument("--plot", type=new_file, metavar="FILE.svg", help="draw the day as well")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what each circuit carried and each EVSE got. Raises CommandError."""
    config = read_configuration(options.config)
    try:
        day = read_day(options.day.read_text("utf-8-sig"), str(options.day), build_site(config))
        record = simulate(config, day)
        print(told(record))
        if options.plot is not None:
            options.plot.write_text(svg(record, f"{config.site.id}: {options.day.name}"), "utf-8")
    except DayFileError as error:
        raise CommandError(str(error)) from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{options.day}: is not UTF-8 text; save it as UTF-8", UNREADABLE) from error
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}", UNREADABLE) from error
    return OK
