"""`local-controller evidence`: look at the record of what was commanded and done, take it along, prove it.

`verify` needs the files and the public key, and nothing else of the controller. Exit status: 0 everything
is as it was written; 1 it is not, and each place is named; 2 a file that cannot be read.
"""

from __future__ import annotations

import argparse
import base64
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from controller.cli.arguments import moment
from controller.dimming import acknowledgement
from controller.dimming.evidence_audit import audit
from controller.dimming.evidence_chain import EvidenceRecord, InvalidRecordError, read_record
from controller.signing.curves import BadKeyError, curve_of
from controller.store.evidence_files import evidence_files

GOOD, FOUND, UNREADABLE = 0, 1, 2

LONGEST_SHOWN = 100
"""Characters of a record's body in the list."""

_WIRED = ("received", "answer")
"""The members of a body that hold a message as it went over the wire."""
_FIRST = ("status", "reason", "limitW", "scope")
_LAST = ("@context", "command", "signatures")
"""The members of such a message that a person wants to read first, and last."""


class _Unreadable(Exception):
    pass


def add_evidence(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `evidence` and what it can do."""
    evidence = commands.add_parser("evidence", help="what was commanded and done: list, export, verify it")
    actions = evidence.add_subparsers(required=True, metavar="ACTION")

    listing = actions.add_parser("list", help="each record in a line")
    export = actions.add_parser("export", help="records of some days, as one file that can be verified")
    verify = actions.add_parser("verify", help="find any edit, cut or reorder")
    for action, do in ((listing, _list), (export, _export), (verify, _verify)):
        action.add_argument(
            "files", nargs="+", type=Path, metavar="FILE", help="of the log, oldest first, or its folder"
        )
        action.set_defaults(do=partial(_guarded, do))
    for action in (listing, export):
        action.add_argument(
            "--since", type=moment, metavar="TIME", help="e.g. 2026-11-21T12:00Z; without a zone: UTC"
        )
        action.add_argument("--until", type=moment, metavar="TIME", help="before then")
    listing.add_argument(
        "--full", action="store_true", help="each whole, what was received and answered as well"
    )
    export.add_argument("--out", type=Path, required=True, metavar="FILE")
    verify.add_argument(
        "--key",
        type=Path,
        action="append",
        required=True,
        metavar="PUB",
        help="the controller's public key (keys export --pem); again for one that it had before",
    )
    verify.add_argument(
        "--checkpoint",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="what somebody else has kept: an end that is cut off is then found",
    )
    verify.add_argument(
        "--part", action="store_true", help="the files are an export: they need not begin at the beginning"
    )


def _guarded(do: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    try:
        return do(options)
    except _Unreadable as error:
        print(error, file=sys.stderr)
        return UNREADABLE


def _list(options: argparse.Namespace) -> int:
    status = GOOD
    for name, line, record in _records(options.files):
        if record is None:
            print(f"{name}: a line that is no record: {_shown(repr(line))}")
            status = FOUND
        elif _in_time(record, options):
            body = msgspec.json.encode(_legible(record.body)).decode()
            shown = body if options.full else _shown(body)
            print(f"{record.number:>8}  {record.time}  {record.kind:<10}  {shown}")
    return status


def _in_time(record: EvidenceRecord, options: argparse.Namespace) -> bool:
    """Whether it is of the time that is asked for: in their one form, times compare as texts."""
    since, until = (
        None if at is None else acknowledgement.moment(at) for at in (options.since, options.until)
    )
    return (since is None or since <= record.time) and (until is None or record.time < until)


def _legible(body: Mapping[str, Any]) -> dict[str, Any]:
    """A record's body to be read: what went over the wire as its author wrote it, and before all else."""
    wired = {key: _unwrapped(body[key]) for key in _WIRED if key in body}
    return {**wired, **{key: value for key, value in body.items() if key not in _WIRED}}


def _unwrapped(text: Any) -> Any:
    """The JSON in base64, in an order for persons; what is none stays as it is."""
    try:
        found = msgspec.json.decode(base64.b64decode(text, validate=True))
    except (TypeError, ValueError):
        return text
    if not isinstance(found, dict):
        return found
    return dict(sorted(found.items(), key=lambda member: (member[0] in _LAST) - (member[0] in _FIRST)))


def _export(options: argparse.Namespace) -> int:
    """Whole lines, none left out between the first and the last: a part of a chain is a chain."""
    lines = [(line, record) for _, line, record in _records(options.files)]
    chosen = [
        index for index, (_, record) in enumerate(lines) if record is not None and _in_time(record, options)
    ]
    if not chosen:
        print("there is no record of that time", file=sys.stderr)
        return FOUND
    part = [line for line, _ in lines[chosen[0] : chosen[-1] + 1]]
    try:
        options.out.write_bytes(b"".join(line + b"\n" for line in part))
    except OSError as error:
        raise _Unreadable(f"{options.out}: {error.strerror}") from error
    print(f"{options.out}: {len(part)} records; verify it with --part")
    return GOOD


def _verify(options: argparse.Namespace) -> int:
    files = [(str(path), _bytes(path)) for path in _expanded(options.files)]
    checkpoints = [(str(path), _bytes(path)) for path in options.checkpoint]
    result = audit(files, [_key(path) for path in options.key], checkpoints, part=options.part)
    for finding in result.findings:
        print(finding)
    if not result.good:
        count = len(result.findings)
        print(
            f"not as it was written: {count} finding{'' if count == 1 else 's'} in {result.records} records"
        )
        return FOUND
    print(
        f"good: records {result.first} to {result.head.count - 1}, "
        f"the last one's hash is {result.head.hash}"
        + ("" if checkpoints else "; without a checkpoint, an end that was cut off cannot be seen")
    )
    return GOOD


def _records(files: list[Path]) -> Iterator[tuple[Path, bytes, EvidenceRecord | None]]:
    for path in _expanded(files):
        for line in _bytes(path).removesuffix(b"\n").split(b"\n"):
            try:
                yield path, line, read_record(line)
            except InvalidRecordError:
                yield path, line, None


def _expanded(files: list[Path]) -> list[Path]:
    """The files, those of a folder in their order."""
    found: list[Path] = []
    for path in files:
        try:
            found += evidence_files(path) if path.is_dir() else [path]
        except OSError as error:
            raise _Unreadable(f"{path}: {error.strerror}") from error
    if not found:
        raise _Unreadable(f"{files[0]}: there is no evidence in it")
    return found


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _Unreadable(f"{path}: {error.strerror}") from error


def _key(path: Path) -> ec.EllipticCurvePublicKey:
    try:
        key = load_pem_public_key(_bytes(path))
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise BadKeyError("it is on no elliptic curve")
        curve_of(key)
    except (ValueError, BadKeyError) as error:
        raise _Unreadable(f"{path}: is no public key of a controller: {error}") from error
    return key


def _shown(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 3] + "..."
