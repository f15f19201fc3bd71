"""`local-controller store`: the controller's state as JSON lines, for backup and for another machine."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from controller.cli.arguments import (
    OK,
    CommandError,
    Subcommands,
    add_config,
    file_error,
    hold_stopped_store,
    read_configuration,
    write_new,
)
from controller.store.memory_loss import CONSEQUENCE
from controller.store.sqlite_journal import FILE, SqliteJournal
from controller.store.state_journal import StoreError
from controller.store.store_transfer import export_lines, import_entries, open_store_file, read_export


def add_parser(commands: Subcommands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("store", help="export and import the controller's state")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    exporting = actions.add_parser("export", help="write the state as JSON lines; the controller may run")
    importing = actions.add_parser("import", help="import an exported file; the controller must not run")
    for action in (exporting, importing):
        add_config(action)
    exporting.add_argument("--out", type=Path, required=True, metavar="FILE", help="new file; it has secrets")
    importing.add_argument("file", type=Path, metavar="FILE")
    importing.add_argument("--replace", action="store_true", help="remove what is in the store now")
    exporting.set_defaults(run=partial(_run_guarded, _export))
    importing.set_defaults(run=partial(_run_guarded, _import))


def _run_guarded(action: object, options: argparse.Namespace) -> int:
    assert callable(action)
    try:
        action(options)
    except StoreError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise file_error(error) from error
    return OK


def _export(options: argparse.Namespace) -> None:
    directory = Path(read_configuration(options.config).store.directory)
    journal = open_store_file(directory)
    with write_new(options.out) as file:
        last = b""
        for last in export_lines(journal):
            file.write(last)
    sys.stdout.write(last.decode())


def _import(options: argparse.Namespace) -> None:
    directory = Path(read_configuration(options.config).store.directory)
    with options.file.open("rb") as file:
        try:
            puts, summary = read_export(file)
        except StoreError as error:
            raise CommandError(f"{options.file}: {error}; name a file of `store export`") from error
    with hold_stopped_store(directory):
        import_entries(SqliteJournal(directory / FILE), puts, replace=options.replace)
    for kind, count in sorted(summary.counts.items()):
        print(f"{count:>8}  {kind}")
    print(f"imported {len(puts)} entries, sha256 {summary.sha256}")
    print(CONSEQUENCE)
