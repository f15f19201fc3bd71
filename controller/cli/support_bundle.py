"""`local-controller support-bundle`: state and log of a faulty site, without secrets and identities."""

from __future__ import annotations

import csv
import os
import platform
import shutil
import subprocess
import tomllib
import zipfile
from argparse import Namespace
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import msgspec

from controller.cli.arguments import OK, CommandError, Subcommands, add_config, file_error, new_file
from controller.cli.doctor import diagnose
from controller.cli.redaction import Redactor
from controller.cli.site_files import read_store_directory
from controller.cli.status import NoStatusError, fetch, local_page
from controller.config.schema import StoreConfig, WebConfig
from controller.store.record_rules import RULES
from controller.store.state_journal import StoreError
from controller.store.store_transfer import open_store_file

LOG_LINES = 2000
COMMAND_TIMEOUT_S = 20.0
_CARD_KEYS = ("card", "cards")


def add_parser(commands: Subcommands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "support-bundle",
        help="write what support needs, without secrets and driver identities; shown first",
        description="Collect versions, the configuration, the state and the log of this gateway without "
        "secrets, driver identities and addresses; print all of it, and write it after a confirmation.",
    )
    add_config(parser)
    parser.add_argument("--out", type=new_file, required=True, metavar="FILE", help="new ZIP file")
    parser.add_argument("--yes", action="store_true", help="write it without a question")
    parser.set_defaults(run=run)


def run(options: Namespace) -> int:
    """Show the bundle, and write it after a confirmation. Raises CommandError."""
    members = collect_members(options.config)
    for name, text in members.items():
        print(f"==== {name}\n{text.rstrip()}\n")
    if not options.yes and not _is_confirmed(f"Write this to {options.out}?"):
        raise CommandError("nothing was written")
    try:
        handle = os.open(options.out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise file_error(error, options.out) from error
    with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    print(f"{options.out}: written")
    return OK


def _is_confirmed(question: str) -> bool:
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes", "j", "ja")
    except EOFError:
        return False


def collect_members(config: Path) -> dict[str, str]:
    """Return the texts of the bundle by name, all of them redacted."""
    data = _read_data(config)
    redactor = Redactor(frozenset(find_identities(data, config.parent)))
    directory = _find_store(config)
    members = {
        "versions.txt": _versions(),
        "configuration.json": _json(redactor.redact_data(data)),
        "doctor.json": _json(redactor.redact_data(msgspec.to_builtins(diagnose(config)))),
        "status.json": _status(data, directory, redactor),
        "store.txt": _store(directory),
        "log.txt": redactor.redact_text(_log_lines()),
    }
    return {name: text for name, text in members.items() if text}


def _read_data(config: Path) -> dict[str, object]:
    """Return the configuration as data; empty where it cannot be read, which `doctor` then reports."""
    try:
        return tomllib.loads(config.read_text("utf-8-sig"))
    except (OSError, ValueError):
        return {}


def find_identities(data: dict[str, object], folder: Path) -> Iterator[str]:
    """Return all texts in the tables and the file of cards: they must not appear anywhere in the bundle."""
    for key in _CARD_KEYS:
        yield from _texts(data.get(key))
    local_csms = data.get("local_csms")
    file = local_csms.get("cards_file") if isinstance(local_csms, dict) else None
    if isinstance(file, str):
        try:
            rows = list(csv.reader((folder / file).read_text("utf-8-sig").splitlines()))
        except (OSError, ValueError, csv.Error):
            return
        yield from (cell.strip() for row in rows[1:] for cell in row)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for member in value.values():
            yield from _texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from _texts(member)


def _find_store(config: Path) -> Path:
    try:
        return read_store_directory(config.read_text("utf-8-sig"), config)
    except (OSError, ValueError):
        return Path(StoreConfig().directory)


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _versions() -> str:
    distributions = sorted(
        {f"{each.metadata['Name']} {each.version}" for each in metadata.distributions()}, key=str.lower
    )
    return "\n".join(
        [
            f"collected {datetime.now(UTC).isoformat(timespec='seconds')}",
            f"python {platform.python_version()} on {platform.machine()}",
            _first_line(["systemctl", "--version"]),
            platform.freedesktop_os_release().get("PRETTY_NAME", "unknown system"),
            f"kernel {platform.release()}",
            *distributions,
        ]
    )


def _first_line(command: list[str]) -> str:
    return _output(command).partition("\n")[0]


def _output(command: list[str]) -> str:
    """Return what a command prints; empty where there is no such command or it fails."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = subprocess.run(command, capture_output=True, timeout=COMMAND_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace")


def _status(data: dict[str, object], store: Path, redactor: Redactor) -> str:
    web = data.get("web")
    if not isinstance(web, dict):
        return ""
    try:
        status = fetch(local_page(msgspec.convert(web, WebConfig), store))
    except (NoStatusError, msgspec.ValidationError) as error:
        return redactor.redact_text(str(error))
    return _json(redactor.redact_struct(status))


def _store(directory: Path) -> str:
    """Return the numbers of records by kind and the sizes of the files, without any value."""
    lines = []
    try:
        journal = open_store_file(directory)
        lines += [f"{len(journal.load(rule.kind)):>8}  {rule.kind}" for rule in RULES.values()]
        journal.close()
    except StoreError as error:
        lines.append(type(error).__name__)
    try:
        files = sorted(path for path in directory.rglob("*") if path.is_file())
        lines += [f"{path.stat().st_size:>12} bytes  {path.relative_to(directory)}" for path in files]
    except OSError as error:
        lines.append(f"directory cannot be read: {error.strerror}")
    return "\n".join(lines)


def _log_lines() -> str:
    command = ["journalctl", "--unit", "local-controller", "--lines", str(LOG_LINES), "--no-pager", "--quiet"]
    return _output([*command, "--output", "short-iso", "--no-hostname"])
