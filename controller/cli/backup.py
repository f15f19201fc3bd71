"""`local-controller backup`: configuration, state and evidence of the site in one archive."""

from __future__ import annotations

import getpass
import sys
from argparse import Namespace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from controller.access.passwords import PasswordError, check_passphrase
from controller.cli.arguments import OK, UNREADABLE, Subcommands, add_config, count_of, new_file, write_new
from controller.cli.site_archive import (
    CONFIG,
    EVIDENCE,
    STATE,
    STORE,
    ArchiveError,
    print_left_out,
    read_passphrase,
    report_errors,
    write_archive,
)
from controller.cli.site_files import SiteFiles, find_site_files, read_site, read_store_directory
from controller.config.loader import InvalidConfigError
from controller.services.configuration.configuration import load_configuration
from controller.store.store_files import FOLDER, KEY_FILE, PATTERN
from controller.store.store_transfer import PUBLIC_KINDS, SECRET_KINDS, export_lines, open_store_file
from controller.tomlcheck.diagnostics import FileUnreadableError


def add_parser(commands: Subcommands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "backup",
        help="write configuration, state and evidence into one archive",
        description="Write configuration, state and evidence into one archive; the controller may run. Keys "
        "and passwords are encrypted with a passphrase, or left out and named.",
    )
    add_config(parser)
    parser.add_argument("--out", type=new_file, required=True, metavar="FILE", help="new file")
    given = parser.add_mutually_exclusive_group()
    given.add_argument("--passphrase", action="store_true", help="ask for a passphrase")
    given.add_argument("--passphrase-file", type=Path, metavar="FILE", help="file with the passphrase")
    parser.set_defaults(run=run)


def run(options: Namespace) -> int:
    """Write the archive and print what it leaves out. Raises CommandError."""
    with report_errors(str(options.config), UNREADABLE):
        _write_backup(options)
    return OK


def _write_backup(options: Namespace) -> None:
    files = find_site_files(options.config)
    directory = read_store_directory(options.config.read_text("utf-8-sig"), options.config)
    members, secrets = _collect_files(files), {f"{CONFIG}{each.name}": each for each in files.inside}
    journal = open_store_file(directory)
    members[STATE] = b"".join(export_lines(journal, PUBLIC_KINDS))
    secret_members = {name: each.path.read_bytes() for name, each in secrets.items() if each.is_secret}
    secret_members[STATE] = b"".join(export_lines(journal, SECRET_KINDS))
    journal.close()
    key = directory / KEY_FILE
    if key.exists():
        secret_members[STORE + KEY_FILE] = key.read_bytes()
    for path in sorted((directory / FOLDER).glob(PATTERN)):
        members[EVIDENCE + path.name] = path.read_bytes()
    passphrase = _ask_new(options) if options.passphrase else read_passphrase(options.passphrase_file)
    if passphrase is not None:
        try:
            check_passphrase(passphrase)
        except PasswordError as error:
            raise ArchiveError(f"{error}; {options.out} was not written") from error
    with write_new(options.out) as out:
        manifest = write_archive(
            out,
            members,
            secret_members,
            passphrase,
            program=version("ocpp-local-controller"),
            site=read_site(options.config),
            config=CONFIG + options.config.name,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            left_out=files.outside,
        )
    print(f"{options.out}: {count_of(len(manifest.digests), 'member')}, secrets {manifest.secrets}")
    print_left_out(manifest.left_out)
    if _is_invalid(options.config):
        print(
            f"{options.config} has errors, and no controller starts with it after a restore: correct it "
            "(`local-controller check` shows the errors), and make another backup",
            file=sys.stderr,
        )


def _is_invalid(config: Path) -> bool:
    try:
        load_configuration(config)
    except (FileUnreadableError, InvalidConfigError):
        return True
    return False


def _collect_files(files: SiteFiles) -> dict[str, bytes]:
    return {f"{CONFIG}{each.name}": each.path.read_bytes() for each in files.inside if not each.is_secret}


def _ask_new(options: Namespace) -> str:
    passphrase = getpass.getpass("New passphrase: ")
    if passphrase != getpass.getpass("Repeat it: "):
        raise ArchiveError(f"the passphrases differ; {options.out} was not written")
    return passphrase
