"""`local-controller keys`: make, replace, list and export the keys with which the controller signs."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import TextIO

from controller.cli.arguments import (
    FAILED,
    OK,
    CommandError,
    Subcommands,
    add_json,
    moment,
    number,
    print_json,
)
from controller.signing import SigningError, signature_format, signing_keys
from controller.signing.curves import CURVES
from controller.signing.key_approvals import sign_approval
from controller.signing.policy_file import PolicyFileError, read_policy
from controller.signing.signing_keys import KeyFileError, OwnKey, read_key_files, write_key_file
from controller.tomlcheck.diagnostics import FileUnreadableError

_DAY_S = 86_400.0
_OVERLAP_DAYS = 14.0
_HOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def add_parser(commands: Subcommands) -> None:
    """Add the subcommand and its actions."""
    parser = commands.add_parser("keys", help="make, replace, list and export the keys that sign")
    what = parser.add_subparsers(required=True, metavar="ACTION")

    new = what.add_parser(
        "new", help="make a key; keep the old one beside it until the new one is distributed"
    )
    new.add_argument("folder", type=Path, metavar="FOLDER", help="where its file goes, readable by its owner")
    new.add_argument("--holder", type=_holder, required=True, metavar="NAME", help="holder of the key")
    new.add_argument("--curve", choices=list(CURVES), default="secp256r1", help="default: %(default)s")
    new.add_argument(
        "--from", dest="begin", type=moment, metavar="TIME", help="e.g. 2026-11-21 (UTC); default: now"
    )
    new.add_argument("--days", type=_days, default=365.0, help="its validity; default: %(default)g")
    new.add_argument(
        "--pkcs11", metavar="URI", help="name a key that is in a hardware module (RFC 7512), make none"
    )
    new.set_defaults(run=_new)

    rotate = what.add_parser("rotate", help="make the key that follows the newest one, with an overlap")
    rotate.add_argument("folder", type=Path, metavar="FOLDER", help="with the key that is to be followed")
    rotate.add_argument("--holder", type=_holder, required=True, metavar="NAME", help="holder of the key")
    rotate.add_argument("--days", type=_days, default=365.0, help="its validity; default: %(default)g")
    rotate.add_argument(
        "--overlap",
        type=_days,
        default=_OVERLAP_DAYS,
        metavar="DAYS",
        help="how long before the end of the old key it begins; default: %(default)g",
    )
    rotate.set_defaults(run=_rotate)

    approve = what.add_parser("approve", help="approve new keys of a holder in a policy")
    approve.add_argument("policy", type=Path, metavar="POLICY", help="policy with the new [[key]]")
    approve.add_argument("--holder", required=True, metavar="NAME", help="whose keys are approved")
    approve.add_argument("--key", type=Path, required=True, metavar="FILE", help="approver's private key")
    approve.set_defaults(run=_approve)

    listing = what.add_parser("list", help="list holders, fingerprints and times, and the key that signs now")
    add_json(listing)
    export = what.add_parser("export", help="export public keys, as [[key]] tables of a policy file")
    export.add_argument("--pem", action="store_true", help="as PEM, for other programs, openssl among them")
    for command, run in ((listing, _list), (export, _export)):
        command.add_argument("path", type=Path, metavar="FILE_OR_FOLDER", help="as in [signing] key")
        command.set_defaults(run=run)


def _holder(text: str) -> str:
    if not _HOLDER.fullmatch(text):
        raise argparse.ArgumentTypeError("letters, digits, '.', '_' and '-', 64 at most: it names the file")
    return text


def _days(text: str) -> float:
    days = number(text)
    if not 0 < days <= 36_500:
        raise argparse.ArgumentTypeError("between 0 and 36500 days")
    return days


def _new(options: argparse.Namespace) -> int:
    begin = time.time() if options.begin is None else options.begin
    end = begin + options.days * _DAY_S
    if options.pkcs11 is None:
        _write_key(options, signing_keys.new_private_key(options.curve, options.holder, begin, end))
        return OK
    try:
        data = signing_keys.hardware_key_file(options.pkcs11, options.holder, begin, end)
        _write_key(options, data, signing_keys.HARDWARE_SUFFIX)
    except SigningError as error:
        raise CommandError(f"--pkcs11 {error}") from error
    return OK


def _rotate(options: argparse.Namespace) -> int:
    now = time.time()
    keys = [key.known for key in _read(options.folder).values() if key.known.holder == options.holder]
    if not keys:
        raise CommandError(f"{options.folder} has no key of {options.holder}; `keys new` makes the first one")
    old = max(keys, key=lambda key: key.not_before)
    if old.not_before > now:
        raise CommandError(f"a key of {options.holder} already follows, from {_time(old.not_before)}")
    begin = max(now, old.not_after - options.overlap * _DAY_S) if isfinite(old.not_after) else now
    end = begin + options.days * _DAY_S
    data = signing_keys.new_private_key(old.id.curve, options.holder, begin, end)
    key = _write_key(options, data, to=sys.stderr)
    if old.not_after <= now:
        expired = f"the old key has expired at {_time(old.not_after)}: nothing was signed since then"
        print(expired, file=sys.stderr)
    print("for the policies of those who verify, before it begins:", file=sys.stderr)
    print(_table(key), end="")
    return OK


def _write_key(
    options: argparse.Namespace, data: bytes, suffix: str = signing_keys.SUFFIX, to: TextIO | None = None
) -> OwnKey:
    """Write a new key and describe it on `to`, standard output by default."""
    key = signing_keys.parse_private_key(data)
    fingerprint = signing_keys.fingerprint(key.known.id)
    try:
        file = write_key_file(options.folder, f"{options.holder}-{fingerprint[:8]}", data, suffix)
    except KeyFileError as error:
        raise CommandError(str(error)) from error
    print(file, file=to)
    print(_describe(key, key.known.not_before), end="", file=to)
    return key


def _list(options: argparse.Namespace) -> int:
    found = _read(options.path)
    now = time.time()
    signer = signing_keys.select_signing_key(found.values(), now)
    if options.json:
        print_json([_described(file, key, now, signs=key is signer) for file, key in found.items()])
        return OK if found else FAILED
    for file, key in found.items():
        print(f"{file}{'  (signs now)' if key is signer else ''}")
        print(_describe(key, now), end="")
    return OK if found else FAILED


def _export(options: argparse.Namespace) -> int:
    found = _read(options.path)
    form = signing_keys.public_pem if options.pem else _table
    print("\n".join(form(key) for key in found.values()), end="")
    return OK if found else FAILED


def _approve(options: argparse.Namespace) -> int:
    try:
        loaded = read_policy(options.policy)
    except (FileUnreadableError, PolicyFileError) as error:
        raise CommandError(str(error)) from error
    approver = signing_keys.select_signing_key(_read(options.key).values(), time.time())
    if approver is None:
        raise CommandError(f"{options.key} has no key that is valid now")
    waiting = {each.key.id: each for each in loaded.unapproved if each.key.holder == options.holder}
    if not waiting:
        raise CommandError(f"no key of {options.holder} waits for an approval in {options.policy}")
    for key, each in waiting.items():
        if approver.known.holder not in each.approvers:
            allowed = ", ".join(each.approvers)
            raise CommandError(f"{approver.known.holder} is not one of its approvers, {allowed}")
        print(f"# below the [[key]] of {options.holder} with SHA-256 {signing_keys.fingerprint(key)}")
        print("[[key.approval]]")
        print(f'by = "{approver.known.holder}"')
        print(f'value = "{sign_approval(each.entry, key, approver)}"')
    return OK


def _read(path: Path) -> dict[Path, OwnKey]:
    try:
        return read_key_files(path)
    except KeyFileError as error:
        raise CommandError(str(error)) from error


def _described(file: Path, key: OwnKey, now: float, *, signs: bool) -> dict[str, object]:
    """Return the members that `list --json` has of a key; times in RFC 3339, "ever" without an end."""
    known = key.known
    return {
        "file": str(file),
        "holder": known.holder,
        "curve": known.id.curve,
        "state": _state(key, now),
        "signs_now": signs,
        "not_before": _time(known.not_before),
        "not_after": _time(known.not_after),
        "sha256": signing_keys.fingerprint(known.id),
    }


def _describe(key: OwnKey, now: float) -> str:
    known = key.known
    lines = [
        f"holder {known.holder or '-'}, {known.id.curve}, {_state(key, now)}",
        f"from {_time(known.not_before)} until {_time(known.not_after)}",
        f"SHA-256 {signing_keys.fingerprint(known.id)}",
    ]
    return "".join(f"    {line}\n" for line in lines)


def _state(key: OwnKey, now: float) -> str:
    if key.known.is_valid_at(now):
        return "valid"
    return "expired" if key.known.not_after <= now else "not yet valid"


def _table(key: OwnKey) -> str:
    known = key.known
    lines: Iterable[tuple[str, str]] = (
        ("holder", f'"{known.holder or "?"}"'),
        ("public", f'"{signature_format.encode_base64(known.id.point)}"'),
        ("curve", f'"{known.id.curve}"'),
        *((name, _time(at)) for name, at in _ends(key) if isfinite(at)),
    )
    head = f"# {signing_keys.fingerprint(known.id)}\n[[key]]\n"
    return head + "".join(f"{name} = {value}\n" for name, value in lines)


def _ends(key: OwnKey) -> tuple[tuple[str, float], ...]:
    return ("not_before", key.known.not_before), ("not_after", key.known.not_after)


def _time(utc: float) -> str:
    if not isfinite(utc):
        return "ever"
    return datetime.fromtimestamp(utc, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
