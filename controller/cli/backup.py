"""`local-controller backup` and `restore`: the whole site in one archive, also for another machine."""

from __future__ import annotations

import getpass
import io
import os
import sys
import tomllib
from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

from controller.cli.arguments import (
    FAILED,
    OK,
    UNREADABLE,
    CommandError,
    Subcommands,
    add_config,
    count_of,
    new_file,
)
from controller.cli.site_archive import (
    STATE,
    ArchiveError,
    SiteArchive,
    read_archive,
    read_manifest,
    write_archive,
)
from controller.cli.site_files import SiteFiles, find_site_files
from controller.config.loader import InvalidConfigError
from controller.config.schema import StoreConfig
from controller.services.configuration import load_configuration
from controller.store.evidence_files import FOLDER, PATTERN
from controller.store.sqlite_journal import FILE, SqliteJournal
from controller.store.state_journal import Put, StoreError
from controller.store.store_lock import hold_store
from controller.store.store_transfer import (
    PUBLIC_KINDS,
    SECRET_KINDS,
    export_lines,
    import_entries,
    open_store_file,
    read_export,
)
from controller.tomlcheck.diagnostics import FileUnreadableError, render_diagnostics

CONFIG = "config/"
EVIDENCE = f"{FOLDER}/"


def add_parser(commands: Subcommands) -> None:
    """Add the subcommands."""
    backup = commands.add_parser(
        "backup",
        help="write configuration, state and evidence into one archive",
        description="Write configuration, state and evidence into one archive; the controller may run. Keys "
        "and passwords are encrypted with a passphrase, or left out and named.",
    )
    add_config(backup)
    backup.add_argument("--out", type=new_file, required=True, metavar="FILE", help="new file")
    restore = commands.add_parser(
        "restore",
        help="read such an archive, on this or another machine",
        description="Restore a backup on this or another machine. The controller must not run.",
    )
    add_config(restore)
    restore.add_argument("file", type=Path, metavar="FILE")
    restore.add_argument("--replace", action="store_true", help="replace the configuration and state of now")
    restore.add_argument("--without-secrets", action="store_true", help="restore without the passphrase")
    _add_passphrase(backup, "encrypt keys and passwords; asks for a passphrase")
    _add_passphrase(restore, "ask for the passphrase also without a terminal")
    backup.set_defaults(run=partial(_run_guarded, _backup))
    restore.set_defaults(run=partial(_run_guarded, _restore))


def _add_passphrase(parser: ArgumentParser, asking: str) -> None:
    given = parser.add_mutually_exclusive_group()
    given.add_argument("--passphrase", action="store_true", help=asking)
    given.add_argument("--passphrase-file", type=Path, metavar="FILE", help="file with the passphrase")


def _run_guarded(action: object, options: Namespace) -> int:
    assert callable(action)
    try:
        status: int = action(options)
    except StoreError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}", UNREADABLE) from error
    except ValueError as error:
        raise CommandError(f"{options.config}: {error}", UNREADABLE) from error
    return status


# -- backup -----------------------------------------------------------------------------------------------


def _backup(options: Namespace) -> int:
    files = find_site_files(options.config)
    directory = _store_directory(options.config.read_text("utf-8-sig"), options.config)
    members, secrets = _collect_files(files), {f"{CONFIG}{each.name}": each for each in files.inside}
    journal = open_store_file(directory)
    members[STATE] = b"".join(export_lines(journal, PUBLIC_KINDS))
    secret_members = {name: each.path.read_bytes() for name, each in secrets.items() if each.is_secret}
    secret_members[STATE] = b"".join(export_lines(journal, SECRET_KINDS))
    journal.close()
    for path in sorted((directory / FOLDER).glob(PATTERN)):
        members[EVIDENCE + path.name] = path.read_bytes()
    passphrase = _ask_new(options) if options.passphrase else _read_passphrase(options.passphrase_file)
    handle = os.open(options.out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as out:
        manifest = write_archive(
            out,
            members,
            secret_members,
            passphrase,
            program=version("ocpp-local-controller"),
            site=_site_of(options.config),
            config=CONFIG + options.config.name,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            left_out=files.outside,
        )
        out.flush()
        os.fsync(out.fileno())
    print(f"{options.out}: {count_of(len(manifest.digests), 'member')}, secrets {manifest.secrets}")
    _print_left_out(manifest.left_out)
    return OK


def _collect_files(files: SiteFiles) -> dict[str, bytes]:
    return {f"{CONFIG}{each.name}": each.path.read_bytes() for each in files.inside if not each.is_secret}


def _print_left_out(names: tuple[str, ...]) -> None:
    for name in names:
        meaning = "passwords and keys in the store" if name == STATE else name.removeprefix(CONFIG)
        print(f"not in the backup: {meaning}")


# -- restore ----------------------------------------------------------------------------------------------


def _restore(options: Namespace) -> int:
    archive = _read_backup(options)
    config: Path = options.config
    text = _config_text(archive, config)
    directory = _store_directory(text, config)
    if config.exists() and not options.replace:
        raise ArchiveError(f"{config} exists; --replace replaces it and the state")
    puts = _read_puts(archive)
    with hold_store(directory):
        _restore_state(directory, puts, archive, replace=options.replace)
    for name, data in (archive.members | archive.secrets).items():
        if name.startswith(CONFIG):
            _write_file(_config_target(name, archive, config), data, 0o640)
    manifest = archive.manifest
    print(f"restored {manifest.site} as of {manifest.created}: {count_of(len(puts), 'record')}")
    _print_left_out(manifest.left_out)
    return _check_restored(config)


def _read_backup(options: Namespace) -> SiteArchive:
    with options.file.open("rb") as file:
        manifest = read_manifest(file)
        passphrase = None
        if manifest.secrets == "encrypted" and not options.without_secrets:
            passphrase = _read_passphrase(options.passphrase_file)
            if passphrase is None and not (options.passphrase or sys.stdin.isatty()):
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
    _give_to_owner(directory, [directory / FILE, folder, *folder.glob("*")])


def _write_file(target: Path, data: bytes, mode: int) -> None:
    """Write a file whole or not at all; its group is that of its directory."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    partial_file = target.with_name(f"{target.name}.new")
    handle = os.open(partial_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fchmod(file.fileno(), mode)
        if os.geteuid() == 0:
            os.fchown(file.fileno(), 0, target.parent.stat().st_gid)
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
    return OK


# -- both -------------------------------------------------------------------------------------------------


def _store_directory(text: str, config: Path) -> Path:
    store = tomllib.loads(text).get("store", {})
    named = store.get("directory") if isinstance(store, dict) else None
    return config.parent.absolute() / (named if isinstance(named, str) else StoreConfig().directory)


def _site_of(config: Path) -> str:
    site = tomllib.loads(config.read_text("utf-8-sig")).get("site", {})
    return str(site.get("id", "")) if isinstance(site, dict) else ""


def _read_passphrase(file: Path | None) -> str | None:
    if file is None:
        return None
    passphrase = file.read_text().rstrip("\n")
    if not passphrase:
        raise ArchiveError(f"{file} is empty; write the passphrase into it")
    return passphrase


def _ask_new(options: Namespace) -> str:
    passphrase = getpass.getpass("New passphrase: ")
    if not passphrase or passphrase != getpass.getpass("Repeat it: "):
        raise ArchiveError(f"the passphrases differ or are empty; {options.out} was not written")
    return passphrase
