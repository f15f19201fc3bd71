"""Evidence of dimming: its log, the transactions that it shares with the state, checkpoints and retention."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import trio
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec.structs import replace

from controller.config.schema import DimmingConfig
from controller.dimming.events import DimmingAction, DimmingMemory, RecordEvidence
from controller.dimming.evidence_recovery import recover_obeyed_commands
from controller.model.journal import Persist, Record
from controller.services.dimming.evidence_reader import EvidenceReader
from controller.services.machine.wall_clock import utc_now
from controller.signing.signing_keys import OwnKey
from controller.store.evidence_files import EvidenceLog
from controller.store.evidence_records import EvidenceLine
from controller.store.state_journal import StoreError
from controller.store.state_store import StateStore
from controller.store.store_files import FOLDER

log = logging.getLogger("controller.dimming")

FILES_RETRY_S = 10.0
"""Interval of attempts to write lines that a full or broken disk has kept from their files (s)."""


class _EvidenceBatch(msgspec.Struct):
    """Records of one event; `after` gets True once they are durable and in their file."""

    records: Sequence[Record]
    after: Callable[[bool], None]


def _no_more(_: bool) -> None:
    """Have nothing wait for the records."""


class DimmingEvidence:
    """Evidence log and stored state of one site: what is handed in is committed by `run`, in its order.

    `directory` is that of the store; `key` signs the records; `public_keys` verify them. `failed` counts
    records that were not in their file at the first attempt. Raises StoreError where the store cannot be
    used.

        evidence.persist(actions, utc, after=notify)     # returns at once
        await evidence.wait_stored()                     # where the caller goes on once all is durable
    """

    def __init__(
        self,
        directory: Path,
        dimming: DimmingConfig,
        key: OwnKey,
        public_keys: Sequence[ec.EllipticCurvePublicKey],
        store: StateStore,
    ) -> None:
        self.failed = 0
        self._batches: deque[_EvidenceBatch] = deque()
        self._added = trio.Event()
        self._are_files_behind = False
        self._retention = timedelta(days=dimming.retention_days)
        self._directory = directory / FOLDER
        self._public_keys = public_keys
        self._log = EvidenceLog(self._directory, key.private, _utc_now(), store)
        self._store = store
        self._witnessed = self._log.head.count

    def use_keys(self, key: OwnKey, public_keys: Sequence[ec.EllipticCurvePublicKey]) -> None:
        """Sign the next records with `key`; `public_keys` verify all."""
        self._log.use_key(key.private)
        self._public_keys = public_keys

    @property
    def count(self) -> int:
        """Number of records."""
        return self._log.head.count

    @property
    def is_durable(self) -> bool:
        """True while the store can be written."""
        return not self._store.status.error

    def load_memory(self) -> DimmingMemory | None:
        """Load the stored state; where it was lost or restored, recover what the evidence holds of it."""
        memory = max(self._store.load(DimmingMemory), key=lambda each: each.saved, default=None)
        if memory is None or memory.unknown_until is not None:
            return memory
        memory = replace(memory, obeyed=recover_obeyed_commands(self._log.records(), memory.obeyed))
        log.error(
            "memory of dimming commands lost or as old as a restored backup: sequences recovered from the "
            "evidence log sources=%s; commands that begin before this start are rejected; limits of the time "
            "that is lost are gone, ask the grid operator for them",
            sorted(memory.obeyed),
        )
        return memory

    def append(self, record: RecordEvidence, also: Record | None = None) -> None:
        """Append a record to the evidence log, in one transaction with `also`."""
        self.persist([record] if also is None else [record, Persist((also,))], _utc_now())

    def persist(
        self, actions: Sequence[DimmingAction], utc: float, after: Callable[[bool], None] = _no_more
    ) -> None:
        """Have `run` store the changes of an event and its evidence in one transaction, then call `after`.

        `utc`: when the event happened (POSIX s).

        A store that cannot be written keeps nothing from being done: the records stay in memory, and `after`
        gets False. With nothing to store it is called at once.
        """
        records = [record for each in actions if isinstance(each, Persist) for record in each.records]
        entries = [(each.kind, each.body) for each in actions if isinstance(each, RecordEvidence)]
        if entries:
            records += self._log.prepare(entries, utc)
        self._add(records, after)

    async def wait_stored(self) -> None:
        """Wait until all that was handed in before is stored, or kept in memory."""
        stored = trio.Event()
        self._add((), lambda _: stored.set())
        await stored.wait()

    def _add(self, records: Sequence[Record], after: Callable[[bool], None]) -> None:
        if not records and not self._batches:
            after(True)
            return
        self._batches.append(_EvidenceBatch(records, after))
        self._added.set()

    async def run(self) -> None:
        """Store what is handed in, and what a full disk kept from the files; until cancelled."""
        try:
            while True:
                with trio.move_on_after(FILES_RETRY_S if self._are_files_behind else math.inf):
                    await self._added.wait()
                self._added = trio.Event()
                await self._store_batches()
        finally:
            with trio.CancelScope(shield=True):  # the store outlives its users
                await self._store_batches()

    async def _store_batches(self) -> None:
        """Store all that waits in one transaction, and call what waits for it."""
        count = len(self._batches)
        is_stored = await self._commit([record for each in self._batches for record in each.records])
        for _ in range(count):  # one at a time: what is called may hand in more
            self._batches.popleft().after(is_stored)
        if self._batches:
            self._added.set()

    async def _commit(self, records: Sequence[Record]) -> bool:
        """Return True if the records are durable and in their files."""
        below = self._log.head.count  # later ones are not in the journal yet
        try:
            await self._store.persist(records)
            await trio.to_thread.run_sync(self._log.write_files, below)
        except StoreError as error:
            self.failed += sum(isinstance(each, EvidenceLine) for each in records)
            if not self._are_files_behind:
                log.error("evidence not in its file yet reason=%s", error)
            self._are_files_behind = True
            return False
        if self._are_files_behind:
            log.warning("evidence in its files again count=%d", self._log.written)
        self._are_files_behind = False
        return True

    def make_reader(self) -> EvidenceReader:
        """Return a reader of the files for people."""
        return EvidenceReader(self._directory, lambda: self._public_keys, lambda: self._log.written)

    def make_checkpoint(self, send: Callable[[bytes], None]) -> None:
        """Append a checkpoint of new records, if there are any, and send its line once it is in its file."""
        if self._log.head.count <= self._witnessed:
            return
        records, line = self._log.prepare_checkpoint(_utc_now())
        count = self._log.head.count

        def on_stored(is_stored: bool) -> None:
            if is_stored:
                self._witnessed = count
                send(line)
            else:
                log.error("checkpoint not sent reason=it is not in its file yet")

        self._add(records, on_stored)

    def retire(self) -> None:
        """Remove files after their retention; the clock must be right."""
        utc = _utc_now()
        missing, retired = self._log.check_files(utc), self._log.retire(utc, self._retention)
        for file in retired:
            log.info("evidence removed after its retention file=%s days=%d", file.name, self._retention.days)
        self._add([*missing, *retired], _no_more)


def _utc_now() -> float:
    return utc_now().timestamp()
