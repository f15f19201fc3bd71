"""`local-controller evidence`: list, export and verify the evidence of dimming commands.

`verify` needs only the files and the public key. Exit status: 0 the evidence is complete and unchanged; 1 it
is not, and each place is named; 2 a file that cannot be read.
"""

from __future__ import annotations

import argparse
import base64
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from controller.cli.arguments import (
    FAILED,
    OK,
    UNREADABLE,
    CommandError,
    Subcommands,
    add_json,
    file_error,
    moment,
    print_json,
    write_new,
)
from controller.cli.key_arguments import read_bytes, read_public_keys
from controller.dimming.evidence_audit import AuditFinding, audit
from controller.dimming.evidence_chain import EvidenceRecord, InvalidRecordError, read_record
from controller.dimming.evidence_export import is_in_span, select_records
from controller.services.dimming.evidence_reader import describe_audit
from controller.store.evidence_files import evidence_files

MOST_ALIKE = 3
"""Equal findings that are written one by one."""
LONGEST_SHOWN = 100
"""Characters of a record's body in the list."""

_WIRED = ("received", "answer")
"""The members of a body that hold a message as it was on the wire."""
_FIRST = ("status", "reason", "limitW", "scope")
_LAST = ("@context", "command", "signatures")
"""The members of such a message that are listed first, and last."""


def add_parser(commands: Subcommands) -> None:
    """Add the subcommand and its actions."""
    evidence = commands.add_parser("evidence", help="list, export and verify the evidence of dimming")
    actions = evidence.add_subparsers(required=True, metavar="ACTION")

    listing = actions.add_parser("list", help="print each record in a line")
    export = actions.add_parser(
        "export", help="write the records of some days into a file that can be verified"
    )
    verify = actions.add_parser("verify", help="find every edit, gap and reordering")
    for action, run in ((listing, _list), (export, _export), (verify, _verify)):
        action.add_argument(
            "files",
            nargs="+",
            type=Path,
            metavar="FILE",
            help="files, oldest first, or their directory",
        )
        action.set_defaults(run=run)
    add_json(listing)
    add_json(verify)
    for action in (listing, export):
        action.add_argument(
            "--since", type=moment, metavar="TIME", help="e.g. 2026-11-21T12:00Z; without a zone: UTC"
        )
        action.add_argument("--until", type=moment, metavar="TIME", help="records before this time")
    listing.add_argument(
        "--full", action="store_true", help="print each record whole, with what was received and answered"
    )
    export.add_argument("--out", type=Path, required=True, metavar="FILE", help="new file")
    verify.add_argument(
        "--key",
        type=Path,
        action="append",
        required=True,
        metavar="PUB",
        help="public keys of the controller (keys export --pem), the earlier ones, too; may be repeated",
    )
    verify.add_argument(
        "--checkpoint",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="checkpoint kept elsewhere: finds an end that was cut off",
    )
    verify.add_argument(
        "--part",
        action="store_true",
        help="the files are an export, which may begin later",
    )


def _list(options: argparse.Namespace) -> int:
    status, count, shown_records = OK, 0, []
    for name, line, record in _records(options.files):
        if record is None:
            print(
                f"{name}: a line that is not a record: {_shown(repr(line))}",
                file=sys.stderr if options.json else None,
            )
            status = FAILED
        elif _in_time(record, options) and options.json:
            members = {"number": record.number, "time": record.time, "kind": record.kind}
            shown_records.append({**members, "body": _legible(record.body)})
        elif _in_time(record, options):
            body = msgspec.json.encode(_legible(record.body)).decode()
            shown = body if options.full else _shown(body)
            count += 1
            print(f"{record.number:>8}  {record.time}  {record.kind:<10}  {shown}")
    if options.json:
        print_json(shown_records)
    elif count == 0 and status == OK:
        is_span = options.since is not None or options.until is not None
        print("no record in this span" if is_span else "no record")
    return status


def _in_time(record: EvidenceRecord, options: argparse.Namespace) -> bool:
    return is_in_span(record, options.since, options.until)


def _legible(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record's body with messages decoded and placed first."""
    wired = {key: _unwrapped(body[key]) for key in _WIRED if key in body}
    return {**wired, **{key: value for key, value in body.items() if key not in _WIRED}}


def _unwrapped(text: Any) -> Any:
    """Decode JSON in base64, the important members first; anything else is returned as it is."""
    try:
        found = msgspec.json.decode(base64.b64decode(text, validate=True))
    except (TypeError, ValueError):
        return text
    if not isinstance(found, dict):
        return found
    return dict(sorted(found.items(), key=lambda member: (member[0] in _LAST) - (member[0] in _FIRST)))


def _export(options: argparse.Namespace) -> int:
    part = select_records((line for _, line, _ in _records(options.files)), options.since, options.until)
    if not part:
        raise CommandError("no record is of that time; see `local-controller evidence list`")
    with write_new(options.out) as file:
        file.writelines(line + b"\n" for line in part)
    print(f"{options.out}: {len(part)} records; verify it with --part")
    return OK


def _verify(options: argparse.Namespace) -> int:
    files = [(str(path), read_bytes(path)) for path in _expanded(options.files)]
    checkpoints = [(str(path), read_bytes(path)) for path in options.checkpoint]
    keys = [key for path in options.key for key in read_public_keys(path)]
    result = audit(files, keys, checkpoints, part=options.part)
    if options.json:
        findings = [str(each) for each in result.findings]
        print_json(describe_audit(result, findings, finds_cut_end=bool(checkpoints)))
        return OK if result.good else FAILED
    for line in _render_findings(result.findings):
        print(line)
    if not result.good:
        count = len(result.findings)
        print(
            f"not as it was written: {count} finding{'' if count == 1 else 's'} in {result.records} records"
        )
        return FAILED
    print(
        f"good: records {result.first} to {result.head.count - 1}, "
        f"the last one's hash is {result.head.hash}"
        + ("" if checkpoints else "; without a checkpoint, an end that was cut off cannot be seen")
    )
    return OK


def _render_findings(findings: Iterable[AuditFinding]) -> Iterator[str]:
    """Yield a line each; a finding that many records share, e.g. of a wrong key, once with their number."""
    shared: dict[tuple[str, str], list[AuditFinding]] = {}
    for finding in findings:
        shared.setdefault((finding.file, finding.what), []).append(finding)
    for same in shared.values():
        if len(same) <= MOST_ALIKE:
            yield from map(str, same)
        else:
            yield f"{same[0]}; {len(same) - 1} more like this, to line {same[-1].line}"


def _records(files: list[Path]) -> Iterator[tuple[Path, bytes, EvidenceRecord | None]]:
    for path in _expanded(files):
        text = read_bytes(path).removesuffix(b"\n")
        for line in text.split(b"\n") if text else ():
            try:
                yield path, line, read_record(line)
            except InvalidRecordError:
                yield path, line, None


def _expanded(files: list[Path]) -> list[Path]:
    """Return the files, those of a directory in their order."""
    found: list[Path] = []
    for path in files:
        try:
            found += evidence_files(path) if path.is_dir() else [path]
        except OSError as error:
            raise file_error(error, path) from error
    if not found:
        raise CommandError(f"{files[0]}: contains no evidence", UNREADABLE)
    return found


def _shown(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 3] + "..."
