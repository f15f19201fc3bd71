"""The configuration as the daemon uses it: the file, its keys and policy, the machine, the last valid copy.

A configuration that was in use is copied into the store. A start with an invalid file uses that copy, so
that an edit and a restart never leave a site without load management.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import msgspec

from controller.config.live_keys import ReloadPlan, plan_reload
from controller.config.loader import InvalidConfigError, check_config, read_config
from controller.config.schema import Config, StoreConfig
from controller.services.configuration.card_rules import find_ended_cards
from controller.services.configuration.energy_file_rules import find_energy_file_hints
from controller.services.configuration.machine_rules import check_addresses, find_port_hints
from controller.services.configuration.quirk_rules import check_quirks
from controller.services.configuration.signing_rules import check_signing, find_signing_hints
from controller.tomlcheck.diagnostics import (
    FileUnreadableError,
    HintDiagnostic,
    read_text,
    render_diagnostics,
)

LAST_VALID = "last-valid.toml"
"""Name of the copy in the store's directory."""

ERROR_RULES = (check_signing, check_quirks, check_addresses)
PLAN_RULES = (check_quirks,)
HINT_RULES = (find_signing_hints, find_port_hints, find_energy_file_hints, find_ended_cards)


class ActiveConfiguration(msgspec.Struct, frozen=True):
    """The configuration that the daemon runs with.

    `problem`: why the file is not in use, with all its errors; empty where it is.
    """

    path: Path
    config: Config
    hints: list[HintDiagnostic] = []
    problem: str = ""


class ReloadCheck(msgspec.Struct, frozen=True):
    """Result of a check of the changed file: its configuration, or None and all its errors."""

    config: Config | None = None
    problem: str = ""


def load_configuration(path: Path, *, plan_only: bool = False) -> tuple[Config, list[HintDiagnostic]]:
    """Read and check a configuration file with everything that it names.

    `plan_only`: with the files that a simulation needs, and without the secrets of the site.
    Raises FileUnreadableError if there is no text to read, InvalidConfigError if it has errors.
    """
    if plan_only:
        return read_config(path, PLAN_RULES, plan_only=True)
    return read_config(path, ERROR_RULES, HINT_RULES)


def open_configuration(path: Path) -> ActiveConfiguration:
    """Load the file, or the last valid copy of it if it has errors.

    Raises FileUnreadableError or InvalidConfigError, as for the file, where there is no usable copy.
    """
    try:
        config, hints = load_configuration(path)
    except (FileUnreadableError, InvalidConfigError) as error:
        copy = find_copy(path)
        last_valid = None if copy is None else _read_copy(copy, path)
        if last_valid is None:
            raise
        return ActiveConfiguration(path, last_valid, problem=_describe(error))
    return ActiveConfiguration(path, config, hints)


def copy_in_use(directory: str | Path) -> Path:
    """Return the path of the copy of the file that the controller uses, in the directory of its store."""
    return Path(directory) / LAST_VALID


def keep_copy(active: ActiveConfiguration) -> None:
    """Copy the file that is in use into the store. Raises OSError."""
    if active.problem:
        return
    directory = Path(active.config.store.directory)
    directory.mkdir(parents=True, exist_ok=True)
    text, target = active.path.read_bytes(), copy_in_use(directory)
    if target.exists() and target.read_bytes() == text:
        return
    partial = target.with_suffix(".new")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(target)


def check_reload(active: ActiveConfiguration) -> ReloadCheck:
    """Check the file on disk."""
    try:
        config, _ = load_configuration(active.path)
    except (FileUnreadableError, InvalidConfigError) as error:
        return ReloadCheck(problem=_describe(error))
    return ReloadCheck(config=config)


def _describe(error: FileUnreadableError | InvalidConfigError) -> str:
    if isinstance(error, InvalidConfigError):
        return render_diagnostics(error.errors, [])
    return str(error)


def find_copy(path: Path) -> Path | None:
    """Return the last valid copy: in the store that the broken file names, else in systemd's state directory.

    None without a copy.
    """
    places = [StoreConfig().directory, *os.environ.get("STATE_DIRECTORY", "").split(":")[:1]]
    try:
        store = tomllib.loads(read_text(path)).get("store", {})
        places.append(store.get("directory", ""))
    except (FileUnreadableError, tomllib.TOMLDecodeError, AttributeError):
        pass
    candidates = [
        copy_in_use(path.parent / place) for place in reversed(places) if isinstance(place, str) and place
    ]
    return next((each for each in candidates if each.is_file()), None)


def plan_since_last_use(config: Config, path: Path) -> ReloadPlan | None:
    """Return what a reload would do with a valid configuration, compared with the last file in use.

    `path`: its file. None without a readable copy of the file that the daemon has started with, or reloaded.
    """
    in_use = _read_copy(copy_in_use(config.store.directory), path)
    return None if in_use is None else plan_reload(in_use, config)


def _read_copy(copy: Path, path: Path) -> Config | None:
    """Read the copy, whose paths are relative to the directory of the original; None if it has errors."""
    try:
        text = read_text(copy)
    except FileUnreadableError:
        return None
    return check_config(text, str(copy), path.parent, ERROR_RULES)[0]
