"""The evidence log on disk: one file a month, a line a record, each durable before anybody acts on it.

    evidence-000000000-2026-11.jsonl
    evidence-000004711-2026-12.jsonl       the number is that of its first record

A new file begins with a rotation record that names the one before it, so the chain goes on. Files whose
month is older than the retention are removed when somebody who knows the time asks for it; what is left
begins with a rotation. The end of a file that a crash has torn is moved beside it, and that goes on record.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from controller.dimming.evidence_chain import (
    ChainHead,
    EvidenceChain,
    EvidenceKind,
    InvalidRecordError,
    line_hash,
    read_record,
)
from controller.store.database import StoreError

FOLDER = "evidence"
PATTERN = "evidence-*.jsonl"
RETENTION = timedelta(days=2 * 366)
"""Two years (`[dimming]` may say otherwise): the grid operator's own duty, and so the proof's."""


def evidence_files(directory: Path) -> list[Path]:
    """The files of a log, in the order in which they were written. Raises OSError."""
    # Not glob(): where it may not look it finds nothing, and a second log would begin.
    return sorted(path for path in directory.iterdir() if path.match(PATTERN))


class EvidenceLog:
    """The log in `directory`, which is made if need be. Raises StoreFailed where it cannot be used.

    `utc` is POSIX s everywhere. What is torn is put on record at `utc` when the log is opened.
    """

    def __init__(self, directory: Path, key: ec.EllipticCurvePrivateKey, utc: float) -> None:
        self._directory = directory
        self._file: int | None = None
        self._path: Path | None = None
        try:
            directory.mkdir(parents=True, exist_ok=True)
            torn = self._set_torn_aside()
            files = evidence_files(directory)
            head = ChainHead()
            if files:
                head = _head(files[-1])
                self._open(files[-1])
        except OSError as error:
            raise self._failed(error) from error
        self._chain = EvidenceChain(key, head)
        for body in torn:
            self.append(EvidenceKind.TORN, body, utc)

    @property
    def head(self) -> ChainHead:
        """The end of the chain."""
        return self._chain.head

    def append(self, kind: EvidenceKind, body: Mapping[str, Any], utc: float) -> bytes:
        """Put something on record; durable when it returns. Returns the line.

        Raises StoreFailed; then nothing of it is in the file.
        """
        try:
            self._rotate(utc)
            return self._write(kind, body, utc)
        except OSError as error:
            raise self._failed(error) from error

    def checkpoint(self, utc: float) -> bytes:
        """A line for somebody else to keep, which the log must contain for ever. Raises StoreFailed."""
        head = self._chain.head
        return self.append(EvidenceKind.CHECKPOINT, {"count": head.count, "head": head.hash}, utc)

    def retire(self, utc: float, retention: timedelta = RETENTION) -> list[str]:
        """Remove files of which no record is younger than the retention; their names.

        To be called with a clock that is trusted alone: with a wrong one it would remove everything.
        """
        oldest = f"{datetime.fromtimestamp(utc, UTC) - retention:%Y-%m}"
        removed = []
        try:
            for path in evidence_files(self._directory)[:-1]:
                if _month_of(path) >= oldest:
                    break  # those behind it are the continuation: no gap is made
                path.unlink()
                removed.append(path.name)
        except OSError as error:
            raise self._failed(error) from error
        return removed

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _rotate(self, utc: float) -> None:
        month = f"{datetime.fromtimestamp(utc, UTC):%Y-%m}"
        before = self._path
        if before is not None and _month_of(before) == month:
            return
        self.close()
        self._open(self._directory / f"evidence-{self.head.count:09d}-{month}.jsonl")
        folder = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(folder)  # else the file is there, and its name is not
        finally:
            os.close(folder)
        if before is not None:
            self._write(EvidenceKind.ROTATION, {"after": before.name, "records": self.head.count}, utc)

    def _open(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        self._path = path

    def _write(self, kind: EvidenceKind, body: Mapping[str, Any], utc: float) -> bytes:
        assert self._file is not None  # it is opened by `_rotate`
        line = self._chain.record(kind, body, utc)
        before = os.fstat(self._file).st_size
        try:
            left = memoryview(line)
            while left:
                left = left[os.write(self._file, left) :]
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, before)  # half a line would spoil the next one
            raise
        self._chain.written(line)
        return line

    def _set_torn_aside(self) -> list[dict[str, Any]]:
        """Move what cannot be read at the log's end beside it; what to put on record of it.

        A file of which nothing can be read goes as a whole, and the one before it is looked at.
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

    def _failed(self, error: OSError) -> StoreError:
        return StoreError(
            f"store.directory: evidence cannot be written to {self._directory}: {error}; "
            "let the controller's user write there, and leave room on its disk"
        )


def _head(path: Path) -> ChainHead:
    """The end of a file, of which the last line is good."""
    line = path.read_bytes()[:-1].rpartition(b"\n")[2]
    return ChainHead(read_record(line).number + 1, line_hash(line))


def _good_length(data: bytes) -> int:
    """The length of the file up to its last good record."""
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


def _month_of(path: Path) -> str:
    """The month in a file's name: a year, and a month."""
    return path.stem[-7:]
