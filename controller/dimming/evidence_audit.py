"""Audit of an evidence log, by its files and the public key alone.

Every line is checked, also after a finding, and each finding names its file and line. A line that
is no good record is found as such; a mismatch in the next one is then no finding of its own. A record without
a signature, because a hardware key did not sign in time, is proven by the hash in the next signed one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from controller.dimming.evidence_chain import (
    BEGINNING,
    ChainHead,
    EvidenceKind,
    EvidenceRecord,
    InvalidRecordError,
    is_signed,
    key_name,
    line_hash,
    read_record,
)


class AuditFinding(msgspec.Struct, frozen=True):
    """Deviation from the log as it was written. `line` counts from 1; 0: the whole file."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}" if self.line else f"{self.file}: {self.what}"


class EvidenceAudit(msgspec.Struct, frozen=True, kw_only=True):
    """Result of an audit, in the order of the files. `first`: number of the first record."""

    findings: tuple[AuditFinding, ...]
    records: int
    first: int | None
    head: ChainHead

    @property
    def good(self) -> bool:
        """True if the log is as it was written."""
        return not self.findings


def audit(
    files: Sequence[tuple[str, bytes]],
    keys: Sequence[ec.EllipticCurvePublicKey],
    checkpoints: Sequence[tuple[str, bytes]] = (),
    *,
    part: bool = False,
) -> EvidenceAudit:
    """Audit files in the order in which they were written; `part`: the first may be missing.

    `checkpoints` are lines that another party has kept, each with the name of its file.
    """
    auditor = _Auditor({key_name(key): key for key in keys}, part=part)
    findings = [finding for name, data in files for finding in auditor.file(name, data)]
    findings += auditor.unproven
    findings += [finding for name, line in checkpoints for finding in auditor.checkpoint(name, line)]
    head = ChainHead(auditor.number, auditor.hash)
    return EvidenceAudit(findings=tuple(findings), records=auditor.records, first=auditor.first, head=head)


_UNPROVEN = (
    "it is not signed, and no signed record follows it: its key was in a module that did not sign in time"
)


class _Auditor:
    def __init__(self, keys: Mapping[str, ec.EllipticCurvePublicKey], *, part: bool) -> None:
        self._keys = keys
        self._part = part
        self._lines: dict[int, str] = {}
        """Hashes of the valid records by their number, for the search of a checkpoint."""
        self.records = 0
        self.first: int | None = None
        self.number = 0
        """Expected number of the next record."""
        self.hash = BEGINNING
        self._last_good = True
        self.unproven: list[AuditFinding] = []
        """Records without a signature that no signed one follows."""
        self._is_unproven = False

    def file(self, name: str, data: bytes) -> Iterator[AuditFinding]:
        lines = data.split(b"\n")
        if lines.pop():
            yield AuditFinding(name, len(lines) + 1, "the line is torn: it does not end")
        if not lines:
            yield AuditFinding(name, 0, "there is no record in it")
        for index, line in enumerate(lines):
            for what in self._line(line, begins_file=index == 0):
                yield AuditFinding(name, index + 1, what)
            if self._is_unproven:
                self.unproven.append(AuditFinding(name, index + 1, _UNPROVEN))

    def checkpoint(self, name: str, line: bytes) -> Iterator[AuditFinding]:
        """Return True if the log contains this checkpoint."""
        line = line.removesuffix(b"\n")
        try:
            record = read_record(line)
        except InvalidRecordError as error:
            yield AuditFinding(name, 1, f"{error}; it proves nothing")
            return
        wrong = self._unsigned(record)
        if wrong is not None or record.kind != EvidenceKind.CHECKPOINT:
            yield AuditFinding(
                name, 1, f"{wrong or f'it is a {record.kind}, no checkpoint'}; it proves nothing"
            )
        elif record.number >= self.number:
            yield AuditFinding(
                name,
                1,
                f"the log's end is cut off: it ends before record {self.number}, "
                f"and at {record.time} record {record.number} was in it",
            )
        elif self.first is not None and record.number < self.first:
            yield AuditFinding(name, 1, f"record {record.number} is older than what is looked at")
        elif self._lines.get(record.number) != line_hash(line):
            yield AuditFinding(name, 1, f"the log has another record {record.number} than at {record.time}")

    def _line(self, line: bytes, *, begins_file: bool) -> Iterator[str]:
        self.records += 1
        self._is_unproven = False
        try:
            record = read_record(line)
        except InvalidRecordError as error:
            yield str(error)
            self._pass(self.number, line, good=False)
            return
        wrong = self._unsigned(record)
        self._is_unproven = not record.signature and record.key in self._keys
        if wrong is not None and not self._is_unproven:
            yield wrong
            self._pass(self.number, line, good=False)
            return
        if self.first is None:
            yield from self._begins(record)
            self.first = record.number
        else:
            yield from self._follows(record, begins_file=begins_file)
        if record.previous == self.hash and not self._is_unproven:
            self.unproven.clear()
        self._lines[record.number] = line_hash(line)
        self._pass(record.number, line, good=True)

    def _pass(self, number: int, line: bytes, *, good: bool) -> None:
        self.number, self.hash, self._last_good = number + 1, line_hash(line), good

    def _unsigned(self, record: EvidenceRecord) -> str | None:
        key = self._keys.get(record.key)
        if key is None:
            return f"it is signed with another key ({record.key[:16]}...)"
        return None if is_signed(record, key) else "it was changed after it was signed"

    def _begins(self, record: EvidenceRecord) -> Iterator[str]:
        """Take the first valid record. A log without its older files begins with a rotation."""
        begins = record.number == self.number == 0 or record.kind == EvidenceKind.ROTATION
        if self._last_good and not begins and not self._part:
            yield f"the beginning is cut off: this is record {record.number}"
        elif self._last_good and record.number == 0 and record.previous != BEGINNING:
            yield "it claims to follow another record, and is the first"

    def _follows(self, record: EvidenceRecord, *, begins_file: bool) -> Iterator[str]:
        if record.number > self.number:
            yield f"{_records(self.number, record.number - 1)} missing before it"
        elif record.number < self.number:
            yield f"it is out of order: record {record.number} where record {self.number} should be"
        elif self._last_good and record.previous != self.hash:
            yield f"it was written after another record {self.number - 1} than the one before it"
        elif record.kind == EvidenceKind.ROTATION and not begins_file:
            yield "a new file should begin here"


def _records(first: int, last: int) -> str:
    return f"record {first} is" if first == last else f"records {first} to {last} are"
