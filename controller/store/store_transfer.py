"""Export and import of the store as JSON lines, with counts and a digest.

    {"format":"local-controller store","version":1}
    {"kind":"boot","key":["CS01"],"value":{...}}
    {"entries":1,"counts":{"boot":1},"sha256":"..."}        over all lines before it

An import verifies all of that before it writes anything, and writes all of it in one commit. The files of
the evidence log are not part of the store: they are copied as they are.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from controller.store.memory_loss import mark_memory_lost
from controller.store.record_rules import RULES
from controller.store.sqlite_journal import FILE, SqliteJournal
from controller.store.state_journal import Change, Delete, Journal, Put, StoreError

FORMAT = "local-controller store"
VERSION = 1


class _Header(msgspec.Struct, forbid_unknown_fields=True):
    format: str
    version: int


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    kind: str
    key: msgspec.Raw
    value: msgspec.Raw


class _Trailer(msgspec.Struct, forbid_unknown_fields=True):
    entries: int
    counts: dict[str, int]
    sha256: str


class TransferSummary(msgspec.Struct, frozen=True):
    """Counts and digest of an export or import."""

    counts: dict[str, int]
    sha256: str


def open_store_file(directory: Path) -> SqliteJournal:
    """Open the store in a directory for a subcommand. Raises StoreError if there is none."""
    path = directory / FILE
    if not path.exists():
        raise StoreError(f"store.directory: there is no {path}; is {directory} the controller's store?")
    return SqliteJournal(path)


SECRET_KINDS = frozenset(rule.kind for rule in RULES.values() if rule.secret)
"""Kinds of records that contain keys, passwords or hashes of them."""
PUBLIC_KINDS = frozenset(rule.kind for rule in RULES.values()) - SECRET_KINDS


def export_lines(journal: Journal, kinds: Collection[str] = PUBLIC_KINDS | SECRET_KINDS) -> Iterator[bytes]:
    """Return all lines of an export of these kinds, each with its line feed. Raises StoreError."""
    digest, counts = hashlib.sha256(), Counter[str]()
    for line in _content_lines(journal, kinds, counts):
        digest.update(line)
        yield line
    trailer = _Trailer(counts.total(), dict(sorted(counts.items())), digest.hexdigest())
    yield msgspec.json.encode(trailer) + b"\n"


def _content_lines(journal: Journal, kinds: Collection[str], counts: Counter[str]) -> Iterator[bytes]:
    yield msgspec.json.encode(_Header(FORMAT, VERSION)) + b"\n"
    for rule in (each for each in RULES.values() if each.kind in kinds):
        for entry in journal.load(rule.kind):
            line = _Line(rule.kind, msgspec.Raw(entry.key.encode()), msgspec.Raw(entry.value))
            text = msgspec.json.encode(line)
            try:
                msgspec.json.decode(text)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue  # a damaged value is logged when the controller reads it, and cannot be moved
            counts[rule.kind] += 1
            yield text + b"\n"


def read_export(lines: Iterable[bytes]) -> tuple[list[Put], TransferSummary]:
    """Return the entries of an export whose counts and digest are right. Raises StoreError."""
    digest, counts, puts = hashlib.sha256(), Counter[str](), []
    kinds = {rule.kind for rule in RULES.values()}
    trailer: _Trailer | None = None
    for number, line in enumerate(lines, start=1):
        if trailer is not None:
            raise StoreError(f"line {number}: there is more after the last line of the export")
        try:
            if number == 1:
                _check_header(msgspec.json.decode(line, type=_Header))
            elif line.startswith(b'{"entries"'):
                trailer = msgspec.json.decode(line, type=_Trailer)
                continue
            else:
                entry = msgspec.json.decode(line, type=_Line)
                if entry.kind not in kinds:
                    raise StoreError(f"line {number}: kind {entry.kind!r} is unknown to this version")
                counts[entry.kind] += 1
                puts.append(Put(entry.kind, bytes(entry.key).decode(), bytes(entry.value)))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise StoreError(f"line {number}: not a line of an export: {error}") from error
        digest.update(line)
    if trailer is None:
        raise StoreError("the export is cut off: its last line is missing")
    if trailer.sha256 != digest.hexdigest() or trailer.counts != dict(counts):
        raise StoreError("the export is not as it was written: its digest or counts are wrong")
    return puts, TransferSummary(dict(counts), trailer.sha256)


def import_entries(journal: Journal, puts: Sequence[Put], *, replace: bool) -> None:
    """Write the entries of an export in one commit. Raises StoreError.

    A store with entries in it is left alone, unless `replace` removes them in the same commit. What was
    received since the export is not known: that memory is marked as lost.
    """
    present = [entry for rule in RULES.values() for entry in journal.load(rule.kind)]
    if present and not replace:
        raise StoreError(f"the store has {len(present)} entries already; --replace removes them")
    changes: list[Change] = [Delete(entry.kind, entry.key) for entry in present]
    journal.commit([*changes, *puts, *mark_memory_lost(puts)], journal.token + 1)


def _check_header(header: _Header) -> None:
    if header.format != FORMAT:
        raise StoreError("line 1: not an export of a store")
    if header.version != VERSION:
        raise StoreError(f"line 1: version {header.version} of the format is unknown; this is {VERSION}")
