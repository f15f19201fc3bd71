"""Export of a part of the evidence: whole lines, with none left out between the first and the last."""

from __future__ import annotations

from collections.abc import Iterable

from controller.dimming.dimming_messages import moment
from controller.dimming.evidence_chain import EvidenceRecord, InvalidRecordError, read_record


def select_records(lines: Iterable[bytes], since: float | None, until: float | None) -> list[bytes]:
    """Return the lines from the first record of a span to its last one: a part of a chain is a chain.

    `since`, `until`: POSIX s, None for no bound. A line that is no record stays, between two that are.
    """
    part: list[bytes] = []
    length = 0
    for line in lines:
        if is_record_in(line, since, until):
            length = len(part) + 1
        elif not length:
            continue
        part.append(line)
    return part[:length]


def is_record_in(line: bytes, since: float | None, until: float | None) -> bool:
    """Return True if a line is a record of the span."""
    try:
        return is_in_span(read_record(line), since, until)
    except InvalidRecordError:
        return False


def is_in_span(record: EvidenceRecord, since: float | None, until: float | None) -> bool:
    """Return True for a record from `since` on, before `until` (POSIX s; None: no bound)."""
    # Times in the evidence have one form, so they compare as text.
    return (since is None or moment(since) <= record.time) and (until is None or record.time < moment(until))
