"""The command `local-controller`: its parser, composed of one module a subcommand.

Exit status: 0 success; 1 errors in a configuration, or work that could not be done; 2 a file that cannot
be read, or an invalid command line.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.metadata import version
from typing import NoReturn, Protocol, cast

from controller.cli.arguments import UNREADABLE, CommandError, Subcommands
from controller.services.machine.journal_log import with_priorities
from controller.tomlcheck.diagnostics import nearest_name, remedy_for_file_error

SUBCOMMANDS = {
    "run": "run",
    "setup": "setup",
    "check": "check",
    "status": "status",
    "reload": "reload",
    "station": "station",
    "sessions": "sessions",
    "meter": "meter",
    "commission": "commission",
    "simulate": "simulate",
    "password": "password",
    "user": "user",
    "dim": "dim",
    "eebus": "eebus",
    "evidence": "evidence",
    "keys": "keys",
    "policy": "policy",
    "signatures": "signatures",
    "pki": "pki",
    "outbox": "outbox_command",
    "store": "store_command",
    "backup": "backup",
    "restore": "restore",
    "doctor": "doctor",
    "support-bundle": "support_bundle",
    "factory-reset": "factory_reset",
    "demo": "demo",
}
"""Module of each subcommand, in the order in which `--help` lists them.

Only the module of the given subcommand is imported: on a gateway's processor all of them take seconds.
"""


_WRONG_CHOICE = re.compile(r"(.*invalid choice: '(.*)') \(choose from (.*)\)", re.DOTALL)
"""Message of argparse about a word that is none of those known."""


class CommandParser(argparse.ArgumentParser):
    """Parser whose errors are one line: the command, what is wrong, and where its usage is."""

    def parse_known_args(  # type: ignore[override]  # the overloads of argparse are for other namespaces
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse the arguments; unknown ones are an error of the subcommand that they were given to."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._find_meant(unknown[0])}")
        return parsed, unknown

    def _find_meant(self, unknown: str) -> str:
        """Return in brackets which option an unknown argument may be meant as; empty if none."""
        options = self._option_string_actions
        near = nearest_name(unknown.partition("=")[0], options) if unknown.startswith("--") else None
        if not unknown.startswith("-") and unknown.endswith(".toml") and "--config" in options:
            near = f"-c {unknown}"
        return "" if near is None else f" (did you mean {near}?)"

    def error(self, message: str) -> NoReturn:
        """End with an error in the command line."""
        text = message.removeprefix("argument ")
        if (wrong := _WRONG_CHOICE.fullmatch(text)) is not None:
            near = nearest_name(wrong[2], re.findall(r"[\w-]+", wrong[3]))
            text = text if near is None else f"{wrong[1]} (did you mean {near}?)"
        self.exit(UNREADABLE, f"{self.prog}: {text}; see `{self.prog} --help`\n")


class Subcommand(Protocol):
    """Module of a subcommand. Its parser has the function `run(options)` as a default."""

    def add_parser(self, commands: Subcommands) -> None:
        """Add the subcommand's parser."""


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    names = [name for name in given[:1] if name in SUBCOMMANDS]
    options = build_parser(names or SUBCOMMANDS).parse_args(given)
    try:
        result: int = options.run(options)
    except CommandError as error:
        print(with_priorities(str(error)), file=sys.stderr)
        return error.status
    except PermissionError as error:
        # E.g. of `Path.exists` in a folder that is closed to the user.
        if error.filename is None:
            raise
        text = f"{error.filename}: {error.strerror}; {remedy_for_file_error(error)}"
        print(with_priorities(text), file=sys.stderr)
        return UNREADABLE
    return result


def build_parser(names: Iterable[str] = SUBCOMMANDS) -> argparse.ArgumentParser:
    """Return the parser of the named subcommands."""
    parser = CommandParser(
        prog="local-controller",
        description="Edge gateway of a charging site: OCPP multiplexer, meters and load management.",
    )
    parser.add_argument("--version", action="version", version=version("ocpp-local-controller"))
    commands = cast(Subcommands, parser.add_subparsers(required=True, metavar="COMMAND"))
    for module in dict.fromkeys(SUBCOMMANDS[name] for name in names):
        cast(Subcommand, import_module(f"controller.cli.{module}")).add_parser(commands)
    return parser
