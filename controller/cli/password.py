"""`local-controller password`: make the hash that a station's `password_file` holds."""

from __future__ import annotations

import argparse
import secrets
import sys
from getpass import getpass

from controller.cli.arguments import OK, CommandError, Subcommands
from controller.config.password_files import SALT_BYTES, hash_password


def add_parser(commands: Subcommands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("password", help="make the hash that a station's password_file holds")
    parser.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    """Print the hash of a password, typed twice at a terminal or the first line of a pipe.

    Raises CommandError.
    """
    if sys.stdin.isatty():
        password = getpass("Password: ").encode()
        if getpass("Repeat password: ").encode() != password:
            raise CommandError("the two passwords differ; try again")
    else:
        password = sys.stdin.buffer.readline().rstrip(b"\r\n")
    if not password:
        raise CommandError("the password is empty; type at least one character")
    print(hash_password(password, secrets.token_bytes(SALT_BYTES)).line())
    return OK
