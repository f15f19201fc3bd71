"""Common parts of the subcommands: exit statuses, argument types, reading of the configuration."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tomllib
from argparse import ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import msgspec

from controller.config import Config
from controller.config.loader import InvalidConfigError
from controller.config.schema import StoreConfig
from controller.services.configuration.configuration import (
    ActiveConfiguration,
    load_configuration,
    open_configuration,
)
from controller.store.store_lock import StoreLockedError, hold_store
from controller.tomlcheck.diagnostics import (
    Diagnostic,
    ErrorDiagnostic,
    FileUnreadableError,
    read_text,
    remedy_for_file_error,
    render_diagnostics,
)

if TYPE_CHECKING:
    Subcommands = argparse._SubParsersAction[argparse.ArgumentParser]
else:  # the type is only known to the stubs; argparse's class takes no parameter
    Subcommands = argparse._SubParsersAction

OK = 0
FAILED = 1
"""Errors were found, or the work could not be done."""
UNREADABLE = 2
"""A file cannot be read; argparse ends with the same status for an invalid command line."""

USUAL_CONFIG = Path("/etc/local-controller/controller.toml")
"""Path of the configuration of the packaged service."""
START = "sudo systemctl restart local-controller"
STOP = "sudo systemctl stop 'local-controller*'"
"""It ends the socket units, too: a station that connects would start the service again."""
UNIT_STORE = Path(StoreConfig().directory)
"""Where the packaged service stores its state."""
SOCKETS = ("local-controller.socket", "local-controller-web.socket")
BOOTED = Path("/run/systemd/system")
"""Folder of a machine that systemd has booted."""


class CommandError(Exception):
    """A subcommand failed; its text is one line for the user.

    `status` is the exit status.
    """

    def __init__(self, text: str, status: int = FAILED) -> None:
        super().__init__(text)
        self.status = status


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the configuration file."""
    parser.add_argument(
        "-c", "--config", type=Path, default=USUAL_CONFIG, metavar="FILE", help="default: %(default)s"
    )


def reload_units(config: Path) -> None:
    """Give the addresses of the packaged service's configuration, written by root, to its socket units.

    Of a unit that is active, the address holds from its next start on.
    """
    if config == USUAL_CONFIG and os.geteuid() == 0 and BOOTED.is_dir():
        subprocess.run(["systemctl", "daemon-reload"], check=False)


@contextmanager
def hold_stopped_store(directory: Path) -> Iterator[None]:
    """Hold the store of a controller that is stopped.

    Raises CommandError with the remedy where it runs, and where a station that connects would start it.
    """
    try:
        with hold_store(directory):
            if directory == UNIT_STORE and _has_open_sockets():
                raise CommandError(
                    f"a station that connects would start the controller: close its ports\n{STOP}"
                )
            yield
    except StoreLockedError as error:
        raise CommandError(f"the controller works in {directory}: stop it first\n{STOP}") from error


def _has_open_sockets() -> bool:
    """Return True while a socket unit of the packaged service listens."""
    if not BOOTED.is_dir():
        return False
    return subprocess.run(["systemctl", "--quiet", "is-active", *SOCKETS], check=False).returncode == 0


def read_configuration(path: Path, *, plan_only: bool = False) -> Config:
    """Read the configuration. Raises CommandError with all its errors.

    `plan_only`: for a simulation, without the secrets of the site.
    """
    try:
        return load_configuration(path, plan_only=plan_only)[0]
    except (FileUnreadableError, InvalidConfigError) as error:
        raise configuration_error(path, error) from error


def read_used_configuration(path: Path) -> Config:
    """Read the configuration that the daemon uses: the file, or the last valid copy where it has errors.

    Raises CommandError with all errors of the file where there is no usable copy.
    """
    try:
        return open_configuration(path).config
    except (FileUnreadableError, InvalidConfigError) as error:
        raise configuration_error(path, error) from error


def read_store_directory(path: Path) -> Path:
    """Read where a controller stores its state; the rest of the file may have errors.

    Raises CommandError if the file cannot be read as TOML.
    """
    try:
        store = tomllib.loads(read_text(path)).get("store", {})
    except FileUnreadableError as error:
        raise configuration_error(path, error) from error
    except tomllib.TOMLDecodeError as error:
        raise CommandError(f"{path}: is not valid TOML: {error}; `check` shows how to correct it") from error
    directory = store.get("directory") if isinstance(store, dict) else None
    return path.parent / (directory if isinstance(directory, str) else StoreConfig().directory)


def open_configuration_or_exit(path: Path) -> ActiveConfiguration:
    """Open the configuration for the daemon and print its hints.

    Raises CommandError with all its errors where there is no last valid copy.
    """
    try:
        active = open_configuration(path)
    except (FileUnreadableError, InvalidConfigError) as error:
        raise configuration_error(path, error) from error
    if active.hints:
        print(render_diagnostics([], active.hints), file=sys.stderr)
    return active


MAKE_CONFIGURATION = "make it with `local-controller setup`, or name another file with -c"
"""Remedy where there is no configuration."""


def configuration_error(path: Path, error: FileUnreadableError | InvalidConfigError) -> CommandError:
    """Return the error of a configuration that is invalid or cannot be read: all its errors and hints."""
    if isinstance(error, InvalidConfigError):
        return CommandError(render_diagnostics(error.errors, error.hints))
    try:
        is_missing = not path.exists()
    except PermissionError:  # of a directory above it: whether the file is there cannot be seen
        is_missing = False
    return configuration_missing(path) if is_missing else CommandError(str(error), UNREADABLE)


def configuration_missing(path: Path) -> CommandError:
    """Return the error of a configuration that does not exist, with the remedy."""
    return CommandError(f"{path}: does not exist; {MAKE_CONFIGURATION}", UNREADABLE)


def file_error(error: OSError, path: Path | None = None, status: int = UNREADABLE) -> CommandError:
    """Return the error of a file that cannot be read or written, with the remedy; `path`: as typed."""
    file = path or error.filename
    text = f"{error.strerror or error}; {remedy_for_file_error(error)}"
    return CommandError(text if file is None else f"{file}: {text}", status)


@contextmanager
def write_new(path: Path) -> Iterator[BinaryIO]:
    """Write a new file that only its owner reads; it is durable after the block, or not there.

    Raises CommandError with the remedy.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise file_error(error, path) from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # of the writing, which names no file
            raise file_error(error, path) from error
        raise


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the option that prints JSON in place of a table."""
    parser.add_argument("--json", action="store_true", help="as JSON")


class PrintedDiagnostic(msgspec.Struct, frozen=True, kw_only=True):
    """A diagnostic as `--json` prints it. `line` counts from 1; None where it has no place in the file."""

    severity: Literal["error", "critical", "urgent", "warning", "hint"]
    file: str
    line: int | None = None
    key: str
    what: str
    remedy: str


def printed_diagnostic(found: Diagnostic) -> PrintedDiagnostic:
    """Return a diagnostic of a TOML file in the form in which it is printed."""
    return PrintedDiagnostic(
        severity="error" if isinstance(found, ErrorDiagnostic) else "hint",
        file=found.file,
        line=found.line,
        key=found.key,
        what=str(found.what),
        remedy=str(found.remedy),
    )


def print_json(value: object) -> None:
    """Print a value as indented JSON."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def moment(text: str) -> float:
    """Parse a time (POSIX s) in ISO 8601; without a zone it is UTC."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(
            f"{text!r} is not a time; write it like 2026-11-21 or 2026-11-21T12:00Z"
        ) from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def number(text: str) -> float:
    """Parse a finite number."""
    try:
        value = float(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a number") from None
    if not isfinite(value):
        raise ArgumentTypeError(f"{text!r} is not finite")
    return value


def whole_number(text: str) -> int:
    """Parse a whole number."""
    try:
        return int(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a whole number") from None


def seconds(text: str) -> float:
    """Parse a duration of 1 to 86400 s."""
    value = number(text)
    if not 1 <= value <= 86_400:
        raise ArgumentTypeError("between 1 and 86400 s")
    return value


def new_file(text: str) -> Path:
    """Parse the path of a file to be written; rejects at once what could not be written at the end."""
    path = Path(text)
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ArgumentTypeError(f"{text!r} cannot be written; name a file in a writable directory")
    return path


def address(text: str) -> tuple[str, int]:
    """Parse HOST:PORT, an address to listen at."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def http_url(text: str) -> str:
    """Parse an address of the page."""
    if not text.startswith(("http://", "https://")):
        raise ArgumentTypeError('begin it with "http://" or "https://"')
    return text


def count_of(count: int, noun: str) -> str:
    """Return e.g. "1 station", "2 stations", "3 rules to verify"."""
    first, _, rest = noun.partition(" ")
    return f"{count} {first}{'' if count == 1 else 's'} {rest}".rstrip()
