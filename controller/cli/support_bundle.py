"""`local-controller support-bundle`: state and log of a faulty site, without secrets and identities."""

from __future__ import annotations

import platform
import re
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

from controller.access.access_records import TokenStored, UserStored
from controller.cli.arguments import OK, CommandError, Subcommands, add_config, new_file, write_new
from controller.cli.doctor import diagnose
from controller.cli.redaction import Redactor, host_of
from controller.cli.site_files import read_store_directory
from controller.cli.status import NoStatusError, fetch, local_page
from controller.config.schema import Config, StoreConfig, WebConfig
from controller.store.record_rules import RULES, kind_of_type, read_entry
from controller.store.state_journal import StoreError
from controller.store.store_transfer import open_store_file

LOG_LINES = 2000
COMMAND_TIMEOUT_S = 20.0
_HOST_KEYS = frozenset({"est_url", "host", "names", "nts_servers", "url"})
_IMPERSONAL = frozenset({"blocked", "priority_class", "type", "valid_until"})
"""Keys and columns of cards that name nobody, with words that stand elsewhere, too."""
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
    with write_new(options.out) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
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
    directory = _find_store(config)
    identities = {*find_identities(data, config.parent), *_find_users(directory)}
    redactor = Redactor(frozenset(identities), hosts=frozenset(find_hosts(data)))
    members = {
        "versions.txt": _versions(),
        "configuration.json": _json(redactor.redact_data(_keep_known_tables(data))),
        "doctor.json": _json(redactor.redact_data(msgspec.to_builtins(diagnose(config)))),
        "status.json": _status(data, directory, redactor),
        "store.txt": _store(directory),
        "log.txt": redactor.redact_text(_log_lines()),
    }
    return {name: text for name, text in members.items() if text}


def _read_data(config: Path) -> dict[str, object]:
    """Return the configuration as data; of an invalid file only what must not appear elsewhere."""
    try:
        text = config.read_text("utf-8-sig")
    except (OSError, ValueError):
        return {}
    try:
        return tomllib.loads(text)
    except ValueError:
        return {"card": [{key: value} for key, value in _PRIVATE_LINE.findall(text)]}


_PRIVATE_LINE = re.compile(r"^\s*(token|label|host|url|username|password)\s*=\s*[\"']?([^\"'\n#]+)", re.M)


def _keep_known_tables(data: dict[str, object]) -> dict[str, object]:
    """Return the tables that the configuration has; of others, e.g. misspelt ones, that they are there."""
    return {key: value if key in Config.__struct_fields__ else "unknown" for key, value in data.items()}


def find_identities(data: dict[str, object], folder: Path) -> Iterator[str]:
    """Return all texts in the tables and the file of cards, and the labels of stations.

    They must not appear anywhere in the bundle.
    """
    for key in _CARD_KEYS:
        yield from _texts(data.get(key), but=_IMPERSONAL)
    stations = data.get("station")
    for station in stations if isinstance(stations, list) else []:
        if isinstance(station, dict):
            yield from _texts(station.get("label"))
    local_csms = data.get("local_csms")
    file = local_csms.get("cards_file") if isinstance(local_csms, dict) else None
    if isinstance(file, str):
        try:
            lines = (folder / file).read_text("utf-8-sig", errors="replace").splitlines()
        except OSError:
            return
        header, *rows = [[cell.strip(' "') for cell in re.split(r"[,;\t]", line)] for line in lines or [""]]
        skipped = {index for index, name in enumerate(header) if name.lower() in _IMPERSONAL}
        yield from (cell for row in rows for index, cell in enumerate(row) if index not in skipped)


def find_hosts(value: object) -> Iterator[str]:
    """Return the names and addresses of machines in the configuration, also those in URLs."""
    if isinstance(value, dict):
        for key, member in value.items():
            if isinstance(member, str) and key in _HOST_KEYS:
                yield host_of(member)
            elif isinstance(member, list) and key in _HOST_KEYS:
                yield from (each for each in member if isinstance(each, str))
            else:
                yield from find_hosts(member)
    elif isinstance(value, list):
        for member in value:
            yield from find_hosts(member)


def _find_users(directory: Path) -> set[str]:
    """Return the names of users and tokens in the store; none where it cannot be read."""
    try:
        journal = open_store_file(directory)
    except StoreError:
        return set()
    kinds = (kind_of_type(UserStored), kind_of_type(TokenStored))
    records = [read_entry(entry) for kind in kinds for entry in journal.load(kind)]
    journal.close()
    return {record.name for record in records if isinstance(record, UserStored | TokenStored)}


def _texts(value: object, but: frozenset[str] = frozenset()) -> Iterator[str]:
    """Return all texts in data, without those of some keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, member in value.items():
            if key not in but:
                yield from _texts(member, but)
    elif isinstance(value, list):
        for member in value:
            yield from _texts(member, but)


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
