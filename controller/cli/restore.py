"""`local-controller restore`: a backup of a site is read back, on this or another machine."""

from __future__ import annotations

import getpass
import io
import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from controller.cli.arguments import (
    FAILED,
    OK,
    START,
    UNREADABLE,
    CommandError,
    Subcommands,
    add_config,
    count_of,
    file_error,
    hold_stopped_store,
    reload_units,
)
from controller.cli.site_archive import (
    CONFIG,
    EVIDENCE,
    STATE,
    STORE,
    ArchiveError,
    SiteArchive,
    print_left_out,
    read_archive,
    read_manifest,
    read_passphrase,
    report_errors,
)
from controller.cli.site_files import read_store_directory
from controller.config.loader import InvalidConfigError
from controller.services.configuration.configuration import load_configuration
from controller.store.memory_loss import CONSEQUENCE
from controller.store.sqlite_journal import FILE, SqliteJournal
from controller.store.state_journal import Put
from controller.store.store_files import ASIDE, FOLDER
from controller.store.store_transfer import import_entries, read_export
from controller.tomlcheck.diagnostics import FileUnreadableError, render_diagnostics


def add_parser(commands: Subcommands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "restore",
        help="restore a backup, on this or another machine",
        description="Restore a backup on this or another machine. The controller must not run.",
    )
    add_config(parser)
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--replace", action="store_true", help="replace the present configuration and state")
    given = parser.add_mutually_exclusive_group()
    given.add_argument("--passphrase-file", type=Path, metavar="FILE", help="file with the passphrase")
    given.add_argument("--without-secrets", action="store_true", help="restore without the passphrase")
    parser.set_defaults(run=run)


def run(options: Namespace) -> int:
    """Restore the archive and check the configuration on this machine. Raises CommandError."""
    with report_errors(f"{options.file}: its configuration is invalid", FAILED):
        return _restore(options)


def _restore(options: Namespace) -> int:
    config: Path = options.config
    if config.exists() and not options.replace:  # before a person is asked for the passphrase
        raise ArchiveError(f"{config} exists; --replace replaces it and the state")
    archive = _read_backup(options)
    text = _config_text(archive, config)
    directory = read_store_directory(text, config)
    puts = _read_puts(archive)
    with hold_stopped_store(directory):
        files = list(_find_files(archive, config, directory))
        with _staged(files):
            _import_state(directory, puts, replace=options.replace)
            _move_evidence_aside(directory)
            for each in files:
                each.partial.replace(each.target)
        state = [each.target for each in files if each.is_state]
        _give_to_owner(directory, [directory / FILE, directory / FOLDER, *state])
    manifest = archive.manifest
    print(f"restored {manifest.site} as of {manifest.created}: {count_of(len(puts), 'record')}")
    print(CONSEQUENCE)
    print_left_out(manifest.left_out)
    reload_units(config)
    return _check_restored(config)


def _read_backup(options: Namespace) -> SiteArchive:
    with options.file.open("rb") as file:
        manifest = read_manifest(file)
        passphrase = None
        if manifest.secrets == "encrypted" and not options.without_secrets:
            passphrase = read_passphrase(options.passphrase_file)
            if passphrase is None and not sys.stdin.isatty():
                raise ArchiveError(
                    "the backup has encrypted secrets: name --passphrase-file, or restore --without-secrets"
                )
            passphrase = passphrase or getpass.getpass("Passphrase of the backup: ")
        return read_archive(file, passphrase)


def _config_text(archive: SiteArchive, config: Path) -> str:
    name = archive.manifest.config
    try:
        return archive.members[name].decode("utf-8-sig")
    except (KeyError, UnicodeDecodeError) as error:
        raise ArchiveError(f"{name} in the backup cannot be read; {config} is left as it is") from error


def _config_target(name: str, archive: SiteArchive, config: Path) -> Path:
    if name == archive.manifest.config:
        return config
    return config.parent / name.removeprefix(CONFIG)


def _read_puts(archive: SiteArchive) -> list[Put]:
    puts: list[Put] = []
    for members in (archive.members, archive.secrets):
        if STATE in members:
            puts += read_export(io.BytesIO(members[STATE]))[0]
    return puts


class _RestoredFile(NamedTuple):
    """A file of the backup. `partial`: where it is written first. `is_state`: it is beside the store.

    `owner`: where root writes it; files of the state are given to the owner of the store's directory later.
    """

    target: Path
    partial: Path
    data: bytes
    is_state: bool
    owner: int


def _find_files(archive: SiteArchive, config: Path, directory: Path) -> Iterator[_RestoredFile]:
    """Yield the files of configuration, evidence and keys."""
    # The page replaces the configuration as the service's user, who must own it: its directory is sticky.
    service_user = config.stat().st_uid if config.exists() else directory.stat().st_uid
    for name, data in (archive.members | archive.secrets).items():
        target = staged_in = None
        if name.startswith(CONFIG):
            target = _config_target(name, archive, config)
        elif name.startswith(EVIDENCE):
            target, staged_in = directory / name, directory / f"{FOLDER}.new"
        elif name.startswith(STORE):
            target = directory / name.removeprefix(STORE)
        if target is None:
            continue
        partial = (staged_in or target.parent) / f"{target.name}.new"
        owner = service_user if target == config else 0
        yield _RestoredFile(target, partial, data, not name.startswith(CONFIG), owner)


@contextmanager
def _staged(files: Sequence[_RestoredFile]) -> Iterator[None]:
    """Write all files beside their places first: where one cannot be written, nothing is changed.

    Raises CommandError with the file and the remedy.
    """
    folders = {each.partial.parent for each in files if each.partial.parent != each.target.parent}
    try:
        for each in files:
            try:
                _write_partial(each)
            except OSError as error:
                raise file_error(error, each.target, FAILED) from error
        yield
    finally:
        for each in files:
            each.partial.unlink(missing_ok=True)
        for folder in filter(Path.is_dir, folders):
            folder.rmdir()


def _write_partial(file: _RestoredFile) -> None:
    """Write a file whole beside its place; its group is that of its directory."""
    for folder in (file.partial.parent, file.target.parent):
        folder.mkdir(parents=True, exist_ok=True, mode=0o750)
    mode = 0o600 if file.is_state else 0o640
    handle = os.open(file.partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(handle, "wb") as opened:
        opened.write(file.data)
        opened.flush()
        os.fchmod(opened.fileno(), mode)
        if os.geteuid() == 0:
            os.fchown(opened.fileno(), file.owner, file.target.parent.stat().st_gid)
        os.fsync(opened.fileno())


def _import_state(directory: Path, puts: list[Put], *, replace: bool) -> None:
    journal = SqliteJournal(directory / FILE)
    try:
        import_entries(journal, puts, replace=replace)
    finally:
        journal.close()


def _move_evidence_aside(directory: Path) -> None:
    """Move files of evidence that are there aside: they are never deleted."""
    folder = directory / FOLDER
    if folder.is_dir() and any(folder.iterdir()):
        aside = folder.with_name(f"{ASIDE}{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
        folder.rename(aside)
        print(f"evidence of before is in {aside}")
    folder.mkdir(exist_ok=True, mode=0o750)


def _give_to_owner(directory: Path, paths: list[Path]) -> None:
    """Give files that root has written to the owner of the store's directory."""
    if os.geteuid() != 0:
        return
    owner = directory.stat()
    for path in paths:
        if path.exists():
            os.chown(path, owner.st_uid, owner.st_gid)


def _check_restored(config: Path) -> int:
    """Check the restored configuration on this machine; return the exit status."""
    try:
        load_configuration(config)
    except InvalidConfigError as error:
        print(render_diagnostics(error.errors, error.hints), file=sys.stderr)
        print(
            f"{config} has errors on this machine; correct them, then start the controller", file=sys.stderr
        )
        return FAILED
    except FileUnreadableError as error:
        raise CommandError(str(error), UNREADABLE) from error
    print(f"start it: {START}")
    return OK
