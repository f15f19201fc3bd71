"""Rules of the files that a configuration names: they exist, and secrets are not readable by all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path as FilePath

import msgspec

from controller.config.password_files import HashedPassword, PasswordFileError, parse_password_file
from controller.config.schema import Config, MeterConfig, StoreConfig
from controller.tomlcheck.diagnostics import Problem
from controller.tomlcheck.positions import DataPath
from drivers.coded_text import coded
from drivers.modbus.modbus_tls import TlsFiles, find_file_problems

_OF_SYSTEM = ("/boot", "/dev/", "/etc", "/proc", "/sys", "/usr")
VOLATILE = ("/tmp", "/run", "/var/run", "/dev/shm")
SECRETS = frozenset({"key", "password_file", "cards_file", "secret_file"})
_NAMED = {
    "listen": ("certificate", "key", "client_ca"),
    "web": ("certificate", "key"),
    "mqtt": ("ca", "certificate", "key", "password_file"),
    "webhook": ("secret_file",),
    "backend": ("ca", "certificate", "key", "password_file"),
    "meter": ("ca", "certificate", "key"),
    "station": ("password_file",),
    "local_csms": ("cards_file",),
    "signing": ("key", "policy"),
    "site": ("quirks_file",),
    "pki": ("folder",),
    "load_management": ("departures",),
    "prices": ("file",),
}
"""The keys that name a file, of each table whose files this version opens."""


def with_absolute_paths(config: Config, folder: FilePath) -> Config:
    """Return the configuration with the paths of its files and store relative to a directory."""
    directory = str((folder / config.store.directory).absolute())
    changed: dict[str, object] = {"store": msgspec.structs.replace(config.store, directory=directory)}
    for name in _NAMED:
        tables = getattr(config, name)
        if isinstance(tables, tuple):
            changed[name] = tuple(_absolute(table, name, folder) for table in tables)
        elif tables is not None:
            changed[name] = _absolute(tables, name, folder)
    return msgspec.structs.replace(config, **changed)


def check_paths(config: Config) -> Iterator[Problem]:
    """Find paths of another operating system, and those that only a shell expands."""
    yield from _path(("store", "directory"), config.store.directory)
    for name, keys in _NAMED.items():
        tables = getattr(config, name)
        places: list[tuple[DataPath, msgspec.Struct | None]] = [((name,), tables)]
        if isinstance(tables, tuple):
            places = [((name, index), table) for index, table in enumerate(tables)]
        for path, table in places:
            for key in keys if table is not None else ():
                if (file := getattr(table, key)) is not None:
                    yield from _path((*path, key), file)


def _path(path: DataPath, file: str) -> Iterator[Problem]:
    remedy = coded("write the whole path, or one relative to the directory of this file")
    if not file.strip():
        yield Problem(path, coded("is empty"), coded("write a path, or remove the key"))
    elif url := _URL.match(file):
        rest = "/" + file[url.end() :].lstrip("/")
        local = url[0].lower().startswith("file:")
        meant = (
            coded('write the path alone: "{rest}"', rest=rest)
            if local
            else coded("copy the file to this machine, and write its path")
        )
        yield Problem(path, coded('"{value}" is a URL', value=file), meant)
    elif path[0] == "station" and (place := _PLACE.search(file)):
        yield Problem(
            path,
            coded("contains {odd}", odd=place[0]),
            coded("write {place} where the station's id belongs", place="{station}"),
        )
    elif _WINDOWS_PATH.match(file):
        yield Problem(path, coded('"{file}" is a path of Windows', file=file), remedy)
    elif expanded := _EXPANDED_BY_SHELL.search(file):
        yield Problem(
            path, coded("contains {expanded}, which only a shell expands", expanded=expanded[0]), remedy
        )


_URL = re.compile(r"file:|[a-z]{2,}://", re.IGNORECASE)
_PLACE = re.compile(r"\{+\w*\}+|<\w+>|%s")
"""Place of an id in other programs: {station} was replaced before."""
_WINDOWS_PATH = re.compile(r"[a-z]:[\\/]|\\\\|[^/]*\\", re.IGNORECASE)
_EXPANDED_BY_SHELL = re.compile(r"^~|\$\{?\w+\}?|%\w+%")


def _absolute(table: msgspec.Struct, name: str, folder: FilePath) -> msgspec.Struct:
    named = {key: getattr(table, key) for key in _NAMED[name]}
    return msgspec.structs.replace(
        table, **{key: str((folder / file).absolute()) for key, file in named.items() if file is not None}
    )


PLAN_TABLES = frozenset({"site", "load_management", "prices"})
"""Tables whose files say how the current is shared: quirks, departures, prices."""


def check_files(config: Config, *, plan_only: bool = False) -> Iterator[Problem]:
    """Find files that are missing, unreadable, or hold a secret that everybody can read.

    `plan_only`: those that a simulation needs. The secrets of a site are on its gateway alone.
    """
    yield from _store(config)
    yield from _serial_ports(config)
    for name, keys in _NAMED.items():
        tables = getattr(config, name)
        if tables is None or name == "signing" or (plan_only and name not in PLAN_TABLES):
            continue
        if name == "pki":
            yield from _pki(FilePath(config.pki.folder if config.pki is not None else ""))
            continue
        places: list[tuple[DataPath, msgspec.Struct]] = [((name,), tables)]
        if isinstance(tables, tuple):
            places = [((name, index), table) for index, table in enumerate(tables)]
        for path, table in places:
            is_used = not isinstance(table, MeterConfig) or table.transport == "tls"
            for key in keys:
                file = getattr(table, key)
                if file is not None and is_used:
                    yield from _file((*path, key), FilePath(file), secret=key in SECRETS)
    for index, meter in enumerate(() if plan_only else config.meter):
        yield from _meter_tls(meter, ("meter", index))


def _pki(folder: FilePath) -> Iterator[Problem]:
    if not (folder / "ca.json").is_file():
        yield Problem(
            ("pki", "folder"),
            coded("{folder} has no CA", folder=folder),
            coded("make one with `local-controller pki init --folder {folder}`", folder=folder),
        )


def _meter_tls(meter: MeterConfig, path: DataPath) -> Iterator[Problem]:
    """Find what keeps the TLS files of a meter from being used: pairing, dates, the role extension."""
    if meter.transport != "tls":
        return
    files = TlsFiles(meter.ca, meter.certificate, meter.key)
    for key, problem, remedy in find_file_problems(files, datetime.now(UTC)):
        if "cannot be read" not in problem:  # those are found with all other files
            yield Problem((*path, key), problem, remedy)


def _file(path: DataPath, file: FilePath, *, secret: bool) -> Iterator[Problem]:
    try:
        with file.open("rb") as opened:
            start = opened.read(1024)
        mode = file.stat().st_mode
    except IsADirectoryError:
        yield Problem(path, coded("{file} is a directory", file=f"{file}"), coded("name the file in it"))
        return
    except OSError as error:
        yield Problem(
            path,
            coded("{file} cannot be read: {reason}", file=f"{file}", reason=error.strerror or ""),
            coded("create it, readable by the controller's user"),
        )
        return
    if (swapped := _swapped(path[-1], start)) is not None:
        yield Problem(
            path, coded("{file} {problem}", file=file, problem=swapped), coded("exchange certificate and key")
        )
        return
    if not start.strip():
        yield Problem(path, coded("{file} is empty", file=file), coded("write its content"))
    if secret and mode & 0o007:
        yield Problem(
            path,
            coded("{file} is readable by everybody on this machine", file=f"{file}"),
            coded("{command}", command=f"chmod o= {file}"),
        )
    if path[-1] == "password_file":
        yield from _password(path, file, start)


def _swapped(key: object, start: bytes) -> str | None:
    """Describe a certificate in place of its private key, or the reverse."""
    if key == "key" and start.lstrip().startswith(b"-----BEGIN CERTIFICATE-----"):
        return coded("holds a certificate, not a private key")
    if (
        key in ("certificate", "ca", "client_ca")
        and b"PRIVATE KEY-----" in start
        and b"CERTIFICATE" not in start
    ):
        return coded("holds a private key, not a certificate")
    return None


def _store(config: Config) -> Iterator[Problem]:
    directory = FilePath(config.store.directory)
    if directory.exists() and not directory.is_dir():
        yield Problem(
            ("store", "directory"),
            coded("{directory} is a file", directory=directory),
            coded("name a directory"),
        )


def find_store_hints(config: Config, folder: FilePath) -> Iterator[Problem]:
    """Find a store in a directory that is emptied when the machine starts, or of the operating system.

    A configuration that is in the emptied directory itself is of a trial.
    """
    volatile = [each for each in VOLATILE if FilePath(config.store.directory).is_relative_to(each)]
    if volatile and not folder.absolute().is_relative_to(volatile[0]):
        yield Problem(
            ("store", "directory"),
            coded("is below {volatile}, which is emptied when the machine starts", volatile=volatile[0]),
            coded('write "{value}"', value=StoreConfig().directory),
        )
    elif any(
        config.store.directory == each or FilePath(config.store.directory).is_relative_to(each)
        for each in _OF_SYSTEM
    ):
        yield Problem(
            ("store", "directory"),
            coded(
                "{directory} is for files of the operating system; the daemon may not write there",
                directory=config.store.directory,
            ),
            coded('write "{value}"', value=StoreConfig().directory),
        )


def _serial_ports(config: Config) -> Iterator[Problem]:
    """Find one serial port under two names: its bus would be opened twice."""
    names: dict[FilePath, str] = {}
    for index, meter in enumerate(config.meter):
        if meter.device is None:
            continue
        name = names.setdefault(FilePath(meter.device).resolve(), meter.device)
        if name != meter.device:
            yield Problem(
                ("meter", index, "device"),
                coded("{device} is the same port as {name}", device=meter.device, name=name),
                coded('write device = "{name}" at both meters', name=name),
            )


def _password(path: DataPath, file: FilePath, text: bytes) -> Iterator[Problem]:
    # A hash verifies a station's password; a password that is sent to a backend must be stored itself.
    try:
        secret = parse_password_file(text)
    except PasswordFileError as error:
        yield Problem(path, coded("{file} {problem}", file=file, problem=error.what), error.remedy)
    else:
        if path[0] == "backend" and isinstance(secret, HashedPassword):
            yield Problem(
                path,
                coded("{file} is a hash, which no backend accepts", file=file),
                coded("write the password itself"),
            )
