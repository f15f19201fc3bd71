"""The command `local-controller`: its parser, composed of one module a subcommand.

Exit status: 0 success; 1 errors in a configuration, or work that could not be done; 2 a file that cannot
be read, or an invalid command line.
"""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import version

from controller.cli import (
    backup,
    check,
    commission,
    demo,
    dim,
    eebus,
    evidence,
    keys,
    meter,
    outbox_command,
    password,
    pki,
    policy,
    run,
    sessions,
    signatures,
    simulate,
    status,
    store_command,
)
from controller.cli.arguments import CommandError

SUBCOMMANDS = (
    run,
    check,
    status,
    sessions,
    meter,
    commission,
    simulate,
    password,
    dim,
    eebus,
    evidence,
    keys,
    policy,
    signatures,
    pki,
    outbox_command,
    store_command,
    backup,
    demo,
)
"""In the order in which `--help` lists them. Each has `add_parser`, which sets `run` as a default."""


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; returns the exit status."""
    options = build_parser().parse_args(arguments)
    try:
        result: int = options.run(options)
    except CommandError as error:
        print(error, file=sys.stderr)
        return error.status
    return result


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all subcommands."""
    parser = argparse.ArgumentParser(
        prog="local-controller",
        description="Edge gateway of a charging site: OCPP multiplexer, meters and load management.",
    )
    parser.add_argument("--version", action="version", version=version("ocpp-local-controller"))
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for subcommand in SUBCOMMANDS:
        subcommand.add_parser(commands)
    return parser
