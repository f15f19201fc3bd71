"""`local-controller restore`: a backup of a site is read back, on this or another machine."""

from __future__ import annotations

import getpass
import io
import os
import sys
from argparse import Namespace
from datetime import UTC, datetime
from pathlib import Path

from controller.cli.arguments import (
    FAILED,
    OK,
    START,
    UNREADABLE,
    CommandError,
    Subcommands,
    add_config,
    count_of,
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
from controller.store.evidence_files import FOLDER
from controller.store.sqlite_journal import FILE, SqliteJournal
from controller.store.state_journal import Put
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
        _restore_state(directory, puts, archive, replace=options.replace)
    # The page replaces the configuration as the service's user, who must own it: its directory is sticky.
    owner = config.stat().st_uid if config.exists() else directory.stat().st_uid
    for name, data in (archive.members | archive.secrets).items():
        if name.startswith(CONFIG):
            target = _config_target(name, archive, config)
            _write_file(target, data, 0o640, owner if target == config else 0)
    manifest = archive.manifest
    print(f"restored {manifest.site} as of {manifest.created}: {count_of(len(puts), 'record')}")
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


def _restore_state(directory: Path, puts: list[Put], archive: SiteArchive, *, replace: bool) -> None:
    """Write state and evidence. Files of evidence that are there are moved aside, never deleted."""
    journal = SqliteJournal(directory / FILE)
    try:
        import_entries(journal, puts, replace=replace)
    finally:
        journal.close()
    folder = directory / FOLDER
    evidence = {name: data for name, data in archive.members.items() if name.startswith(EVIDENCE)}
    if folder.is_dir() and any(folder.iterdir()):
        aside = folder.with_name(f"{FOLDER}.before-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
        folder.rename(aside)
        print(f"evidence of before is in {aside}")
    for name, data in evidence.items():
        _write_file(directory / name, data, 0o600)
    keys = {
        directory / name.removeprefix(STORE): data
        for name, data in archive.secrets.items()
        if name.startswith(STORE)
    }
    for path, data in keys.items():
        _write_file(path, data, 0o600)
    _give_to_owner(directory, [directory / FILE, *keys, folder, *folder.glob("*")])


def _write_file(target: Path, data: bytes, mode: int, owner: int = 0) -> None:
    """Write a file whole or not at all; its group is that of its directory, its owner where root writes."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    partial_file = target.with_name(f"{target.name}.new")
    handle = os.open(partial_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fchmod(file.fileno(), mode)
        if os.geteuid() == 0:
            os.fchown(file.fileno(), owner, target.parent.stat().st_gid)
        os.fsync(file.fileno())
    partial_file.replace(target)


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
