"""A state store for tests on a virtual clock."""

from __future__ import annotations

from collections.abc import Sequence

from controller.model.journal import Record
from controller.store.state_store import StateStore


class SynchronousStore(StateStore):
    """Store that writes at once: a thread would let the virtual clock jump."""

    async def persist(self, records: Sequence[Record]) -> None:
        self.persist_now(records)
