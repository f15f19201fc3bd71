"""Marks of a store that does not know which signed messages and dimming commands were received before.

That memory is lost with a damaged or removed store, and what a backup has of it ends when the backup was
made. Both are marked in the same way, in the records of that memory, so that the mark outlives a start that
fails. Its users end it at the first moment at which the clock is trusted: until then they accept nothing, and
afterwards nothing that was made before.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from controller.dimming.events import DimmingMemory
from controller.signing.replay_cache import ReplayRecord, SeenText
from controller.store.record_rules import changes_of, kind_of_type, read_entry
from controller.store.state_journal import Change, Journal, JournalEntry, Put

CONSEQUENCE = (
    "signed messages and dimming commands made before the next start are rejected, as they may have been "
    "received since the backup; ask the grid operator for limits that were set since"
)
"""Consequence of a restored state, for a person."""

_MARKED = (kind_of_type(ReplayRecord), kind_of_type(DimmingMemory))


def mark_memory_lost(changes: Iterable[Change], journal: Journal | None = None) -> list[Change]:
    """Return what marks the memory as lost, to be committed after `changes`.

    What `journal` and `changes` have of the memory stays. Raises StoreError.
    """
    seen = ReplayRecord((), 0.0)  # not NOTHING_FORGOTTEN: an infinite time is not stored
    obeyed = DimmingMemory(saved=time.time())  # it goes on from there until the clock is trusted
    entries = [] if journal is None else [entry for kind in _MARKED for entry in journal.load(kind)]
    for record in map(read_entry, [*entries, *_put_entries(changes)]):
        match record:
            case ReplayRecord():
                seen = record
            case DimmingMemory():
                obeyed = record
    return changes_of([replace(seen, provisional=True), replace(obeyed, unknown_until=None)])


def is_memory_readable(journal: Journal) -> bool:
    """Return False, after a log entry, if a stored value of the memory cannot be read. Raises StoreError."""
    kinds = (*_MARKED, kind_of_type(SeenText))
    return all(read_entry(entry) is not None for kind in kinds for entry in journal.load(kind))


def _put_entries(changes: Iterable[Change]) -> Iterator[JournalEntry]:
    for each in changes:
        if isinstance(each, Put) and each.kind in _MARKED:
            yield JournalEntry(0, each.kind, each.key, each.value)
