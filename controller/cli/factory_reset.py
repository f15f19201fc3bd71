"""`local-controller factory-reset`: removal of a site's data from the gateway."""

from __future__ import annotations

import shutil
import sys
from argparse import Namespace
from pathlib import Path

from controller.cli.arguments import (
    OK,
    UNREADABLE,
    CommandError,
    Subcommands,
    add_config,
    file_error,
    hold_stopped_store,
)
from controller.cli.site_files import find_site_files, read_site, read_store_directory
from controller.store.store_files import FOLDER, aside_folders

REMAINING = (
    "the log in systemd's journal (journalctl --vacuum-time=1s)",
    "backups and support bundles that were written elsewhere",
    "settings of the unit (/etc/systemd/system/local-controller.service.d)",
)


def add_parser(commands: Subcommands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "factory-reset",
        help="remove configuration, keys, users, sessions and state of the site",
        description="Remove configuration, keys, users, sessions and state of the site from this "
        "gateway. The controller must not run. The evidence of dimming stays without --with-evidence: "
        "the grid operator may ask for it for two years.",
    )
    add_config(parser)
    parser.add_argument("--with-evidence", action="store_true", help="remove the evidence of dimming, too")
    parser.add_argument("--confirm", metavar="SITE", help="id of the site, in place of the question")
    parser.set_defaults(run=run)


def run(options: Namespace) -> int:
    """Remove the data after a confirmation by the site's id. Raises CommandError."""
    config: Path = options.config
    try:
        files, site = find_site_files(config), read_site(config)
        directory = read_store_directory(config.read_text("utf-8-sig"), config)
    except OSError as error:
        raise file_error(error) from error
    except ValueError as error:
        raise CommandError(f"{config}: {error}", UNREADABLE) from error
    try:
        with hold_stopped_store(directory):
            _confirm(options, site, directory)
            _empty_store(directory, with_evidence=options.with_evidence)
            for each in files.inside:
                each.path.unlink(missing_ok=True)
                print(f"removed {each.path}")
    except OSError as error:
        raise file_error(error) from error
    for outside in files.outside:
        print(f"not removed: {outside}, which is outside of {config.parent}")
    if not options.with_evidence:
        for folder in _evidence_folders(directory):
            print(f"not removed: {folder}, the evidence of dimming; see --with-evidence")
    for remaining in REMAINING:
        print(f"not removed: {remaining}")
    return OK


def _confirm(options: Namespace, site: str, directory: Path) -> None:
    given = options.confirm
    if given is None:
        print(f"This removes {options.config}, the files that it names, and the state in {directory}.")
        print(f"Type the id of the site ({site}) to go on: ", end="", flush=True)
        given = sys.stdin.readline().strip()
    if given != site or not site:
        raise CommandError(f"{given!r} is not the id of the site; nothing was removed")


def _evidence_folders(directory: Path) -> list[Path]:
    """Return the folders with evidence that are there, those that a restore has moved aside first."""
    return [path for path in (*aside_folders(directory), directory / FOLDER) if path.is_dir()]


def _empty_store(directory: Path, *, with_evidence: bool) -> None:
    """Remove everything in the store's directory, which itself belongs to the package."""
    kept = () if with_evidence else _evidence_folders(directory)
    for path in sorted(directory.iterdir()):
        if path in kept:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
        print(f"removed {path}")
