"""`local-controller reload`: make a running controller read its configuration again."""

from __future__ import annotations

import argparse
import json

from controller.cli.arguments import OK, CommandError, Subcommands, add_config, read_store_directory
from controller.services.machine.control_socket import ControlError, send_command


def add_parser(commands: Subcommands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("reload", help="apply a changed configuration to the running controller")
    add_config(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what was applied, waits, needs a restart or is assumed. Raises CommandError with the errors."""
    try:
        result = send_command(read_store_directory(options.config), "configuration.reload")
    except ControlError as error:
        raise CommandError(str(error)) from error
    if options.json:
        print(json.dumps(result, indent=2))
        return OK
    for name in result["applied"]:
        print(f"applied: {name}")
    for name in result["needs_restart"]:
        print(f"needs a restart: {name}")
    for name in result["waiting"]:
        print(f"waits for the end of a transaction, or until a removed station is gone: {name}")
    for text in result["assumed"]:
        print(f"assumed: {text}")
    if not (result["applied"] or result["waiting"] or result["needs_restart"]):
        print("nothing has changed")
    return OK
