"""Audit of what people and programs change: a bounded durable list, and one log line each."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from controller.access.access_records import DONE, AuditStored, AuditTrimmed
from controller.access.permissions import Actor
from controller.model.journal import Record
from controller.model.statements import Statement
from controller.store.state_store import StateStore
from drivers.coded_text import parts_of

log = logging.getLogger("controller.audit")

MOST_ENTRIES = 2000
"""Entries that are kept; older ones are removed."""
TRIM_EVERY = 100
"""Entries between two removals, so that most entries cost one write."""
LONGEST_SUBJECT = 300


class AuditLog:
    """The audit, the newest entry last. An entry that cannot be written is kept in memory, and in the log."""

    def __init__(self, store: StateStore, utc: Callable[[], float] = time.time) -> None:
        self._store = store
        self._utc = utc
        stored = sorted(store.load(AuditStored), key=lambda each: each.number)
        self._entries = deque(stored, maxlen=MOST_ENTRIES)
        self._next = stored[-1].number + 1 if stored else 0

    def latest(self, most: int = MOST_ENTRIES) -> Sequence[AuditStored]:
        """Return the latest entries, the newest first."""
        return [self._entries[-1 - index] for index in range(min(most, len(self._entries)))]

    async def record(
        self, actor: Actor, command: str, subject: str, what: Statement, outcome: str = DONE
    ) -> None:
        """Log and store one change, or one attempt.

        `subject` and `what`, the same for people, have no secret and no driver's identity.
        """
        subject = subject[:LONGEST_SUBJECT]
        logged = (command, actor.name, actor.origin, subject.replace('"', "'"))
        if outcome == DONE:
            log.info('command done command=%s actor=%s origin=%s subject="%s"', *logged)
        else:
            log.warning(
                'command rejected command=%s actor=%s origin=%s subject="%s" reason="%s"',
                *logged,
                outcome.replace('"', "'"),
            )
        entry = AuditStored(
            self._next,
            self._utc(),
            actor.name,
            actor.origin,
            command,
            subject,
            outcome[:LONGEST_SUBJECT],
            parts_of(outcome),
            msgspec.to_builtins(what),
        )
        self._next += 1
        self._entries.append(entry)
        records: list[Record] = [entry]
        if self._next % TRIM_EVERY == 0 and self._next > MOST_ENTRIES:
            records.append(AuditTrimmed(self._next - MOST_ENTRIES))
        await self._store.persist(records)
