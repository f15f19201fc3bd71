"""`local-controller check`: find every error in a configuration file and the files that it names.

Exit status: 0 valid, with or without hints; 1 errors were found; 2 the file cannot be read.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import msgspec

from controller.cli.arguments import (
    FAILED,
    OK,
    CommandError,
    PrintedDiagnostic,
    Subcommands,
    add_config,
    add_json,
    configuration_error,
    count_of,
    print_json,
    printed_diagnostic,
)
from controller.cli.check_findings import find_beside_file, find_unusable_certificates
from controller.config import Config
from controller.config.loader import InvalidConfigError
from controller.load_management.energy.calendar_text import describe_calendar
from controller.load_management.energy.energy_builder import build_energy_settings
from controller.services.configuration.configuration import load_configuration
from controller.tomlcheck.diagnostics import FileUnreadableError, read_text, render_diagnostics
from controller.tomlcheck.positions import locate_lines


class CheckSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers of what a valid configuration has."""

    stations: int
    evses: int
    circuits: int
    meters: int
    backends: int


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """Result of the check as `--json` prints it. `summary`: None for an invalid file.

    `calendar`: a line for each entry of the site's calendar.
    """

    file: str
    valid: bool
    diagnostics: tuple[PrintedDiagnostic, ...]
    summary: CheckSummary | None = None
    calendar: tuple[str, ...] = ()


def add_parser(commands: Subcommands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("check", help="find every error in a configuration file")
    add_config(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print hints and a summary of a valid configuration. Raises CommandError with every error found.

    With `--json` all errors are part of the report; only a file that cannot be read raises.
    """
    path: Path = options.config
    try:
        config, hints = load_configuration(path)
    except (FileUnreadableError, InvalidConfigError) as error:
        if not options.json or isinstance(error, FileUnreadableError):
            raise configuration_error(path, error) from error
        located = tuple(map(printed_diagnostic, [*error.errors, *error.hints]))
        print_json(CheckReport(file=str(path), valid=False, diagnostics=located))
        return FAILED
    now = time.time()
    lines = locate_lines(read_text(path))
    unusable = tuple(find_unusable_certificates(config, path, lines))
    found = unusable or tuple(find_beside_file(config, path, lines, now))
    calendar = tuple(describe_calendar(build_energy_settings(config), now))
    if options.json:
        report = CheckReport(
            file=str(path),
            valid=not unusable,
            diagnostics=(*map(printed_diagnostic, hints), *found),
            summary=None if unusable else _count_tables(config),
            calendar=() if unusable else calendar,
        )
        print_json(report)
        return FAILED if unusable else OK
    if hints:
        print(render_diagnostics([], hints), file=sys.stderr)
    if unusable:
        raise CommandError("\n".join(map(_render, unusable)))
    for each in found:
        print(_render(each), file=sys.stderr)
    print(f"{path}: good: {_render_summary(_count_tables(config))}")
    for line in calendar:
        print(line)
    return OK


def _render(found: PrintedDiagnostic) -> str:
    """Return a line about what is beside the file; it begins with the place of the key that leads there."""
    place = found.file if found.line is None else f"{found.file}:{found.line}"
    text = f"{found.what}; {found.remedy}" if found.remedy else found.what
    match found.severity:
        case "hint":
            return f"{place}: {text} (hint)"
        case "error":
            return f"{place}: {text}"
        case _:
            return f"{place}: {found.severity}: {text}"


def _count_tables(config: Config) -> CheckSummary:
    return CheckSummary(
        stations=len(config.station),
        evses=sum(len(station.evse) for station in config.station),
        circuits=len(config.circuit),
        meters=len(config.meter),
        backends=len(config.backend),
    )


def _render_summary(summary: CheckSummary) -> str:
    counts = (
        (summary.stations, "station"),
        (summary.evses, "EVSE"),
        (summary.circuits, "circuit"),
        (summary.meters, "meter"),
        (summary.backends, "backend"),
    )
    return ", ".join(count_of(*each) for each in counts)
