"""`local-controller outbox`: messages of stations that a backend rejects, for a person to decide about.

`retry` and `drop` are requests in the store: a running controller executes them within seconds, one that
is stopped at its next start.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from controller.cli.arguments import (
    OK,
    CommandError,
    Subcommands,
    add_config,
    add_json,
    print_json,
    read_used_configuration,
    whole_number,
)
from controller.offline.journal_records import EntryQueued, EntrySetAside, OutboxRequest
from controller.store.record_rules import changes_of, kind_of_type, read_entry
from controller.store.sqlite_journal import SqliteJournal
from controller.store.state_journal import StoreError
from controller.store.store_transfer import open_store_file


def add_parser(commands: Subcommands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("outbox", help="messages that wait for backends, and those they reject")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="messages that were set aside, and how many wait")
    retry = actions.add_parser("retry", help="send a message that was set aside again")
    drop = actions.add_parser("drop", help="remove a message that was set aside")
    for action in (listing, retry, drop):
        add_config(action)
    add_json(listing)
    for action in (retry, drop):
        action.add_argument("station", metavar="STATION")
        action.add_argument("backend", metavar="BACKEND")
        action.add_argument("number", type=whole_number, metavar="NUMBER", help="as `outbox list` shows it")
    listing.set_defaults(run=partial(_run_guarded, _list))
    retry.set_defaults(run=partial(_run_guarded, partial(_request, drop=False)))
    drop.set_defaults(run=partial(_run_guarded, partial(_request, drop=True)))


def _run_guarded(action: object, options: argparse.Namespace) -> int:
    assert callable(action)
    try:
        action(options, open_store_file(Path(read_used_configuration(options.config).store.directory)))
    except StoreError as error:
        raise CommandError(str(error)) from error
    return OK


def _list(options: argparse.Namespace, journal: SqliteJournal) -> None:
    queued = {(each.station, each.backend, each.entry.number): each.entry for each in _load_queued(journal)}
    rejected = {(each.station, each.backend, each.number): each.reason for each in _load_set_aside(journal)}
    waiting: defaultdict[tuple[str, str], int] = defaultdict(int)
    for station, backend, number in queued:
        waiting[station, backend] += (station, backend, number) not in rejected
    if options.json:
        print_json(
            [
                {
                    "station": station,
                    "backend": backend,
                    "number": number,
                    "action": entry.action,
                    "received": datetime.fromtimestamp(entry.taken, UTC),
                    "set_aside": rejected.get((station, backend, number)),
                }
                for (station, backend, number), entry in sorted(queued.items(), key=lambda each: each[0])
            ]
        )
        return
    if not queued:
        print("no message waits for a backend, and none is set aside")
    for (station, backend), count in sorted(waiting.items()):
        print(f"{station}  {backend}: {count} waiting")
    for key, reason in sorted(rejected.items()):
        entry = queued.get(key)
        if entry is None:
            continue
        taken = datetime.fromtimestamp(entry.taken, UTC).isoformat(timespec="seconds")
        print(f"{key[0]}  {key[1]}  {key[2]}  {entry.action}  received {taken}  set aside: {reason}")


def _request(options: argparse.Namespace, journal: SqliteJournal, *, drop: bool) -> None:
    key = (options.station, options.backend, options.number)
    if key not in {(each.station, each.backend, each.number) for each in _load_set_aside(journal)}:
        raise CommandError(
            f"no message {options.number} of {options.station} for {options.backend} is set aside; "
            "`outbox list` shows those that are"
        )
    journal.commit(changes_of([OutboxRequest(*key, drop)]), journal.token)
    print(f"requested: {'drop' if drop else 'retry'} {options.station} {options.backend} {options.number}")


def _load_queued(journal: SqliteJournal) -> list[EntryQueued]:
    records = map(read_entry, journal.load(kind_of_type(EntryQueued)))
    return [record for record in records if isinstance(record, EntryQueued)]


def _load_set_aside(journal: SqliteJournal) -> list[EntrySetAside]:
    records = map(read_entry, journal.load(kind_of_type(EntrySetAside)))
    return [record for record in records if isinstance(record, EntrySetAside)]
