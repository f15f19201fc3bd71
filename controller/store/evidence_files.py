"""The evidence log: its lines in the store's journal first, then in files, one a month.

    evidence-000000000-2026-11.jsonl
    evidence-000004711-2026-12.jsonl       the number is that of its first record

A line and the new end of the chain are committed in one transaction with all else that the same event
stores; then the line is appended to its file. The log prepares these records, and its service commits them;
the log itself commits only what it finds when it is opened. What a crash or a full disk kept from a file is
appended later, from the journal. A new file begins with a rotation record that names the one before it, so
the chain goes on. The journal also keeps the names of the files until their retention ends: one that is
missing, and an end that was cut off, are found at the next start and once a day. The end of a file that a
crash has torn is moved beside it, and that goes on record.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from controller.dimming.dimming_messages import moment
from controller.dimming.evidence_chain import (
    ChainHead,
    EvidenceChain,
    EvidenceKind,
    EvidenceRecord,
    InvalidRecordError,
    line_hash,
    read_record,
)
from controller.model.journal import Record
from controller.store.evidence_records import (
    EvidenceFileRetired,
    EvidenceFileStarted,
    EvidenceHead,
    EvidenceLine,
    EvidenceLinesWritten,
)
from controller.store.state_journal import StoreError
from controller.store.state_store import StateStore
from controller.store.store_files import PATTERN, aside_folders

log = logging.getLogger("controller.store")

_DOUBTFUL = b'"clockTrusted":false'
"""Mark of a record whose time may be wrong; within a text its quotes would be escaped."""
RETENTION = timedelta(days=2 * 366)
"""Two years (`[dimming]` may set another time): the grid operator's own duty, and so that of the proof."""


def evidence_files(directory: Path) -> list[Path]:
    """Return the files of a log, in the order in which they were written. Raises OSError."""
    # Not glob(): in a directory that it may not read it finds nothing, and a second log would begin.
    return sorted(path for path in directory.iterdir() if path.match(PATTERN))


class _PendingLine(msgspec.Struct, frozen=True):
    """A line that is not in its file yet."""

    file: str
    number: int
    line: bytes


def _is_in(name: str, pending: _PendingLine) -> bool:
    return pending.file == name


class EvidenceLog:
    """The log in `directory`, which is created if it is missing; `store` holds its journal.

    `utc` is POSIX s everywhere. What is torn or missing when the log is opened is put on record at `utc`.
    Opening raises nothing: files that cannot be read or written are logged, and tried again.
    """

    def __init__(
        self, directory: Path, key: ec.EllipticCurvePrivateKey, utc: float, store: StateStore
    ) -> None:
        self._directory = directory
        self._store = store
        self._file: int | None = None
        self._open_name = ""
        self._pending: deque[_PendingLine] = deque()
        """Lines that are in no file yet. One thread appends while another may write them."""
        self._written_below = 0
        self._files = {each.name: each for each in store.load(EvidenceFileStarted)}
        self._missing: set[str] = set()
        torn: list[dict[str, Any]] = []
        in_files = ChainHead()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            torn = self._set_torn_aside()
            in_files = self._files_head()
        except OSError as error:
            log.error("%s", self._failure(error))
        self._chain = EvidenceChain(key, in_files)
        self._resume(in_files)
        self._drop_torn_files(torn)
        found = self._find_missing()
        self._record_found([*torn, *found], utc)

    def use_key(self, key: ec.EllipticCurvePrivateKey) -> None:
        """Sign the next records with this key."""
        self._chain.use_key(key)

    @property
    def head(self) -> ChainHead:
        """Return the end of the chain."""
        return self._chain.head

    @property
    def written(self) -> int:
        """Return the number that the next record in the files will have."""
        try:
            return self._pending[0].number
        except IndexError:
            return self._chain.head.count

    @property
    def missing(self) -> tuple[str, ...]:
        """Return the names of files that should be there and are not."""
        return tuple(sorted(self._missing))

    def prepare(self, entries: Iterable[tuple[EvidenceKind, Mapping[str, Any]]], utc: float) -> list[Record]:
        """Add entries to the chain; return what has to be persisted, in one transaction, for them."""
        records: list[Record] = []
        current, time = self._current_file, moment(utc)
        month = time[: len("2026-11")]
        for kind, body in entries:
            if current is None or not current.endswith(f"{month}.jsonl"):
                current = self._start_file(records, month, time)
            records.append(self._add_line(current, kind, body, time))
        if not records:
            return []
        head = self._chain.head
        records.append(EvidenceHead(head.count, head.hash))
        if self._written_below:
            records.append(EvidenceLinesWritten(self._written_below))
        return records

    def _start_file(self, records: list[Record], month: str, time: str) -> str:
        """Start the file of a month, with the records for it; return its name."""
        before, first = self._current_file, self.head.count
        name = f"evidence-{first:09d}-{month}.jsonl"
        self._files[name] = EvidenceFileStarted(name, first)
        records.append(self._files[name])
        if before is not None:
            rotation = {"after": before, "records": first}
            records.append(self._add_line(name, EvidenceKind.ROTATION, rotation, time))
        return name

    def write_files(self, below: int) -> None:
        """Append to the files the records below this number that are not in them yet, and wait for the disk.

        For any one thread.

        Raises StoreError; what is missing then stays in the journal, and is written the next time.
        """
        try:
            while waiting := [each for each in self._pending.copy() if each.number < below]:
                name = waiting[0].file
                batch = [*itertools.takewhile(partial(_is_in, name), waiting)]
                self._write_lines(name, b"".join(each.line for each in batch))
                for _ in batch:
                    self._pending.popleft()
                self._written_below = batch[-1].number + 1
        except OSError as error:
            raise self._failure(error) from error

    def records(self) -> Iterator[EvidenceRecord]:
        """Return all records in the files that can be read, those that a restore moved aside first."""
        try:
            for folder in (*aside_folders(self._directory.parent), self._directory):
                for path in evidence_files(folder):
                    for line in path.read_bytes().splitlines():
                        with contextlib.suppress(InvalidRecordError):
                            yield read_record(line)
        except OSError as error:
            log.error("%s", self._failure(error))

    def prepare_checkpoint(self, utc: float) -> tuple[list[Record], bytes]:
        """Return the records of a checkpoint, and its line: for others to keep once it is in its file."""
        head = self._chain.head
        records = self.prepare([(EvidenceKind.CHECKPOINT, {"count": head.count, "head": head.hash})], utc)
        return records, self._pending[-1].line

    def retire(self, utc: float, retention: timedelta = RETENTION) -> list[EvidenceFileRetired]:
        """Remove files without a record younger than the retention; return what is to be persisted.

        Only for a clock that is trusted: a wrong one would remove everything.
        """
        now = datetime.fromtimestamp(utc, UTC)
        oldest, present = f"{now - retention:%Y-%m}", f"{now:%Y-%m}"
        removed = []
        try:
            for name, following in itertools.pairwise(sorted(self._files)):
                month = _month_of(name)
                if not oldest <= month <= present and self._is_date_doubtful(name):
                    month = _month_of(following)  # it ended when that began
                if month >= oldest:
                    break  # the later files continue this one: no gap is made
                (self._directory / name).unlink(missing_ok=True)
                removed.append(name)
        except OSError as error:
            log.error("old evidence not removed reason=%s", self._failure(error))
        for name in removed:
            del self._files[name]
            self._missing.discard(name)
        return [EvidenceFileRetired(name) for name in removed]

    def _is_date_doubtful(self, name: str) -> bool:
        """Return True if a file has records of a clock that was not trusted. Raises OSError."""
        path = self._directory / name
        return path.exists() and _DOUBTFUL in path.read_bytes()

    def check_files(self, utc: float) -> list[Record]:
        """Return what puts on record which files have gone missing since the last check."""
        return self.prepare([(EvidenceKind.TORN, body) for body in self._find_missing()], utc)

    def close(self) -> None:
        """Close the open file."""
        if self._file is not None:
            os.close(self._file)
            self._file, self._open_name = None, ""

    @property
    def _current_file(self) -> str | None:
        return max(self._files, default=None)

    # -- opening ------------------------------------------------------------------------------------

    def _files_head(self) -> ChainHead:
        """Return the end of the chain in the files, and take files of an earlier version over."""
        paths = evidence_files(self._directory)
        if not self._files and paths:
            self._files = {path.name: EvidenceFileStarted(path.name, _first_of(path.name)) for path in paths}
            self._store.persist_now(list(self._files.values()))
        return _head(paths[-1]) if paths else ChainHead()

    def _resume(self, in_files: ChainHead) -> None:
        """Continue the chain where the journal ends, or the files, whichever is further on."""
        journaled = max(self._store.load(EvidenceHead), key=lambda head: head.count, default=None)
        self._written_below = in_files.count
        expected = in_files
        for stored in sorted(self._store.load(EvidenceLine), key=lambda line: line.number):
            if stored.number == expected.count:
                self._pending.append(_PendingLine(self._file_of(stored.number), stored.number, stored.line))
                expected = ChainHead(stored.number + 1, line_hash(stored.line.removesuffix(b"\n")))
        if journaled is not None and journaled.count > expected.count:
            log.error(
                "evidence records missing directory=%s first=%d count=%d: files were removed or cut; restore "
                "them from a backup",
                self._directory,
                expected.count,
                journaled.count - expected.count,
            )
            expected = ChainHead(journaled.count, journaled.hash)
        self._chain.head = expected

    def _record_found(self, bodies: list[dict[str, Any]], utc: float) -> None:
        """Put what is torn or missing on record, and write what a crash kept from its file."""
        records = self.prepare([(EvidenceKind.TORN, body) for body in bodies], utc)
        self._store.persist_now(records)
        try:
            self.write_files(self.head.count)
        except StoreError as error:
            log.error("%s", error)

    def _drop_torn_files(self, torn: list[dict[str, Any]]) -> None:
        """Expect no file any more that was moved aside as a whole, unless the journal still has its lines."""
        pending = {line.file for line in self._pending}
        names = {body["file"] for body in torn} & self._files.keys() - pending
        names = {name for name in names if not (self._directory / name).exists()}
        for name in names:
            del self._files[name]
        self._store.persist_now([EvidenceFileRetired(name) for name in sorted(names)])

    def _file_of(self, number: int) -> str:
        """Return the name of the file to which a record belongs."""
        started = [each for each in self._files.values() if each.first <= number]
        return max(started, key=lambda each: each.first).name

    def _find_missing(self) -> list[dict[str, Any]]:
        """Return what to put on record of files that are newly missing."""
        pending = {line.file for line in self._pending}
        gone = {name for name in self._files if not (self._directory / name).exists()} - pending
        found = sorted(gone - self._missing)
        self._missing = gone
        for name in found:
            log.error(
                "evidence file missing path=%s: it was removed or renamed before its retention ended; "
                "restore it from a backup",
                self._directory / name,
            )
        return [{"file": name, "missing": True} for name in found]

    # -- files --------------------------------------------------------------------------------------

    def _add_line(self, file: str, kind: EvidenceKind, body: Mapping[str, Any], time: str) -> EvidenceLine:
        was_unsigned = self._chain.unsigned_reason
        number, line = self._chain.head.count, self._chain.add_record(kind, body, time)
        if self._chain.unsigned_reason and not was_unsigned:
            log.warning(
                "evidence record not signed number=%d reason=%s remedy=check the hardware module; the next "
                "signed record covers it",
                number,
                self._chain.unsigned_reason,
            )
        self._pending.append(_PendingLine(file, number, line))
        return EvidenceLine(number, line)

    def _write_lines(self, name: str, lines: bytes) -> None:
        """Append the lines of one event together: one wait for the disk instead of one for each."""
        file = self._open(name)
        before = os.fstat(file).st_size
        try:
            left = memoryview(lines)
            while left:
                left = left[os.write(file, left) :]
            os.fsync(file)
        except OSError:
            os.ftruncate(file, before)  # half a line would spoil the next one
            raise

    def _open(self, name: str) -> int:
        path = self._directory / name
        if self._file is not None and self._open_name == name and path.exists():
            return self._file
        self.close()
        self._directory.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        self._file, self._open_name = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640), name
        if is_new:
            folder = os.open(self._directory, os.O_RDONLY)
            try:
                os.fsync(folder)  # makes the file's name durable
            finally:
                os.close(folder)
        return self._file

    def _set_torn_aside(self) -> list[dict[str, Any]]:
        """Move what cannot be read at the log's end beside it; return the record to append about it.

        A file without a readable line is moved as a whole, and the one before it is checked, too.
        """
        torn: list[dict[str, Any]] = []
        for path in reversed(evidence_files(self._directory)):
            data = path.read_bytes()
            good = _good_length(data)
            if good == len(data) and good > 0:
                break
            aside = path.with_name(f"{path.name}.torn-{line_hash(data[good:])[:8]}")
            _save(aside, data[good:])
            torn.append({"file": path.name, "bytes": len(data) - good, "kept": aside.name})
            if good > 0:
                os.truncate(path, good)
                break
            path.unlink()
        return torn

    def _failure(self, error: OSError) -> StoreError:
        return StoreError(
            f"store.directory: evidence cannot be written to {self._directory}: {error}; "
            "let the controller's user write there, and leave room on its disk"
        )


def _head(path: Path) -> ChainHead:
    """Return the end of the chain in a file whose last line is good."""
    line = path.read_bytes()[:-1].rpartition(b"\n")[2]
    return ChainHead(read_record(line).number + 1, line_hash(line))


def _first_of(name: str) -> int:
    """Return the number of a file's first record, from its name; 0 if it was renamed."""
    number = name.removeprefix("evidence-")[:9]
    return int(number) if number.isdecimal() else 0


def _good_length(data: bytes) -> int:
    """Return the length of a file up to its last good record."""
    end = data.rfind(b"\n") + 1
    while end > 0:
        begin = data.rfind(b"\n", 0, end - 1) + 1
        try:
            read_record(data[begin : end - 1])
        except InvalidRecordError:
            end = begin
        else:
            break
    return end


def _save(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _month_of(name: str) -> str:
    """Return the month in a file's name, as `2026-11`."""
    return name.removesuffix(".jsonl")[-7:]
