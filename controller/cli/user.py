"""`local-controller user`: users of the page and bearer tokens of programs.

The running controller is asked over its control socket; without one the store is written directly.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from controller.access.access_records import TokenStored, UserStored
from controller.access.passwords import check_password, generate_password, hash_user_password
from controller.access.permissions import ADMINISTRATOR, BUILT_IN_ROLES, AccessError
from controller.cli.arguments import OK, CommandError, Subcommands, add_config, number, read_configuration
from controller.config.schema import Config
from controller.services.machine.control_socket import FILE, ControlError, send_command
from controller.store.record_rules import changes_of, kind_of_type, read_entry
from controller.store.sqlite_journal import FILE as STORE_FILE
from controller.store.sqlite_journal import SqliteJournal
from controller.store.state_journal import StoreError

_Stored = TypeVar("_Stored", UserStored, TokenStored)


def add_parser(commands: Subcommands) -> None:
    """Add the subcommand and its actions."""
    user = commands.add_parser("user", help="users of the page and tokens of programs")
    actions = user.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="list users and tokens")
    listing.add_argument("--json", action="store_true", help="as JSON")
    add = actions.add_parser("add", help="add a user, or set its role and password")
    add.add_argument("name", metavar="NAME")
    add.add_argument("--role", default=ADMINISTRATOR, help="default: %(default)s")
    add.add_argument(
        "--ask-password", action="store_true", help="ask for the password; default: generate one and show it"
    )
    remove = actions.add_parser("remove", help="remove a user and end its logins")
    remove.add_argument("name", metavar="NAME")
    token = actions.add_parser("token", help="make a bearer token for a program and show it once")
    token.add_argument("name", metavar="NAME")
    token.add_argument("scopes", nargs="+", metavar="RESOURCE:VERB", help="e.g. status:read stations:run")
    token.add_argument("--days", type=number, help="days until it ends; default: no end")
    revoke = actions.add_parser("revoke", help="revoke a token at once")
    revoke.add_argument("name", metavar="NAME")
    for action, run in ((listing, _list), (add, _add), (remove, _remove), (token, _token), (revoke, _revoke)):
        add_config(action)
        action.set_defaults(run=run)


def _list(options: argparse.Namespace) -> int:
    with _open_journal(read_configuration(options.config)) as journal:
        users = list(_load_valid(journal, UserStored).values())
        tokens = list(_load_valid(journal, TokenStored).values())
    if options.json:
        print(
            json.dumps(
                {
                    "users": [{"name": each.name, "role": each.role} for each in users],
                    "tokens": [
                        {"name": each.name, "scopes": list(each.scopes), "expires": each.expires}
                        for each in tokens
                    ],
                },
                indent=2,
            )
        )
        return OK
    for user in users:
        print(f"user   {user.name}  {user.role}")
    for token in tokens:
        end = "" if token.expires is None else f"  until {time.strftime('%F', time.gmtime(token.expires))}"
        print(f"token  {token.name}  {' '.join(token.scopes)}{end}")
    if not users:
        print("no user yet: add the first administrator with `local-controller user add NAME`")
    return OK


def _add(options: argparse.Namespace) -> int:
    config = read_configuration(options.config)
    password = _ask_password() if options.ask_password else generate_password()
    members = {"user": options.name, "role": options.role, "password": password}
    if not _send(config, "user.add", members):
        _require_role(config, options.role)
        try:
            check_password(password)
        except AccessError as error:
            raise CommandError(str(error)) from error
        _store(config, UserStored(options.name, options.role, hash_user_password(password)))
    print(f"user {options.name} with the role {options.role}")
    if not options.ask_password:
        print(f"password, shown this once: {password}")
    return OK


def _remove(options: argparse.Namespace) -> int:
    _withdraw(options, UserStored, "user", "user.remove")
    print(f"removed: {options.name}")
    return OK


def _token(options: argparse.Namespace) -> int:
    members: dict[str, Any] = {"token": options.name, "scopes": options.scopes}
    if options.days is not None:
        members["days"] = options.days
    result = _send(read_configuration(options.config), "token.create", members)
    if not result:
        raise CommandError("the controller is not running; start it and try again")
    print(f"token {options.name}: {' '.join(result['scopes'])}")
    print(f"secret, shown this once: {result['secret']}")
    return OK


def _revoke(options: argparse.Namespace) -> int:
    _withdraw(options, TokenStored, "token", "token.revoke")
    print(f"revoked: {options.name}")
    return OK


def _withdraw(options: argparse.Namespace, kind: type[_Stored], what: str, command: str) -> None:
    """Remove a user or revoke a token: its record stays, without a hash. Raises CommandError."""
    config = read_configuration(options.config)
    if _send(config, command, {what: options.name}):
        return
    with _open_journal(config) as journal:
        record = _load_valid(journal, kind).get(options.name)
    if record is None:
        raise CommandError(f"{what} {options.name!r} is unknown; `user list` lists them")
    _store(config, msgspec.structs.replace(record, hash=""))


def _send(config: Config, command: str, members: dict[str, Any]) -> dict[str, Any]:
    """Send a command to the running controller; return {} if none runs. Raises CommandError."""
    directory = Path(config.store.directory)
    if not (directory / FILE).exists():
        return {}
    try:
        result = send_command(directory, command, **members)
    except ControlError as error:
        raise CommandError(str(error)) from error
    return {"done": True, **(result if isinstance(result, dict) else {})}


def _require_role(config: Config, role: str) -> None:
    further = () if config.web is None else config.web.role
    known = [*BUILT_IN_ROLES, *(each.name for each in further)]
    if role not in known:
        raise CommandError(f"role {role!r} is unknown; there are: {', '.join(known)}")


def _ask_password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    password = getpass.getpass("password: ")
    if getpass.getpass("again: ") != password:
        raise CommandError("the passwords differ")
    return password


@contextmanager
def _open_journal(config: Config) -> Iterator[SqliteJournal]:
    """Open the store for one action, beside a controller that may run. Raises CommandError."""
    try:
        journal = SqliteJournal(Path(config.store.directory) / STORE_FILE)
        try:
            yield journal
        finally:
            journal.close()
    except StoreError as error:
        raise CommandError(str(error)) from error


def _store(config: Config, record: UserStored | TokenStored) -> None:
    with _open_journal(config) as journal:
        journal.commit(changes_of([record]), journal.token)


def _load_valid(journal: SqliteJournal, kind: type[_Stored]) -> dict[str, _Stored]:
    """Return the users that may log in, or the tokens that are not revoked, by name."""
    records = map(read_entry, journal.load(kind_of_type(kind)))
    found = {each.name: each for each in records if isinstance(each, kind)}
    return {name: each for name, each in found.items() if each.hash}
