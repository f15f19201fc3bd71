"""Records of the evidence log in the journal: its newest lines, the end of its chain, and its files."""

from __future__ import annotations

from controller.model.journal import Record


class EvidenceLine(Record, frozen=True):
    """A line of the log (with its line feed) that may not be in a file yet."""

    number: int
    line: bytes


class EvidenceLinesWritten(Record, frozen=True):
    """All lines with a number below this one are in their files."""

    below: int


class EvidenceHead(Record, frozen=True):
    """The end of the chain: how many records there are, and the hash of the last line."""

    count: int
    hash: str


class EvidenceFileStarted(Record, frozen=True):
    """A file of the log, from its first record until its retention ends."""

    name: str
    first: int


class EvidenceFileRetired(Record, frozen=True):
    """The file is older than its retention, and is removed."""

    name: str


class TrustRecorded(Record, frozen=True):
    """Content of the log about the site CA and the policy: lines of the ledger, and the keys that hold."""

    ledger_lines: int
    keys: tuple[str, ...]
