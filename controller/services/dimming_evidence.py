"""Evidence of dimming: its log, the transactions that it shares with the state, checkpoints and retention."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from controller.config import Config
from controller.config.schema import DimmingConfig
from controller.dimming.events import DimmingAction, DimmingMemory, RecordEvidence
from controller.dimming.evidence_recovery import recover_obeyed_commands
from controller.model.journal import Persist, Record
from controller.services.evidence_reader import EvidenceReader
from controller.services.wall_clock import utc_now
from controller.signing.signing_keys import OwnKey
from controller.store.evidence_files import FOLDER, EvidenceLog
from controller.store.evidence_records import EvidenceLine
from controller.store.state_journal import StoreError
from controller.store.state_store import StateStore

log = logging.getLogger("controller.dimming")


class DimmingEvidence:
    """Evidence log and stored state of one site. `unwritten` counts records not in their file yet.

    `key` signs the records; `public_keys` verify them. Raises StoreError where the store cannot be used.
    """

    def __init__(
        self,
        config: Config,
        dimming: DimmingConfig,
        key: OwnKey,
        public_keys: Sequence[ec.EllipticCurvePublicKey],
        store: StateStore,
    ) -> None:
        self.unwritten = 0
        self._retention = timedelta(days=dimming.retention_days)
        self._directory = Path(config.store.directory) / FOLDER
        self._public_keys = public_keys
        self._log = EvidenceLog(self._directory, key.private, _utc_now(), store)
        self._store = store
        self._witnessed = self._log.head.count

    @property
    def count(self) -> int:
        """Number of records."""
        return self._log.head.count

    @property
    def is_durable(self) -> bool:
        """True while the store can be written."""
        return not self._store.status.error

    def load_memory(self, utc: float) -> DimmingMemory | None:
        """Load the stored state; where it was lost, recover what the evidence holds of it."""
        memory = max(self._store.load(DimmingMemory), key=lambda each: each.saved, default=None)
        if memory is None and self._store.status.was_lost:
            memory = DimmingMemory(saved=utc, obeyed=recover_obeyed_commands(self._log.records()))
            log.error(
                "memory of dimming commands lost: sequences recovered from the evidence log sources=%s; "
                "limits that held before the start are gone, ask the grid operator for them",
                sorted(memory.obeyed),
            )
        return memory

    def append(self, record: RecordEvidence, also: Record | None = None) -> None:
        """Append a record to the evidence log, in one transaction with `also`."""
        self.persist([record] if also is None else [record, Persist((also,))])

    def persist(self, actions: Sequence[DimmingAction]) -> None:
        """Store the changes of an event and its evidence in one transaction.

        A store that cannot be written keeps no limit from being obeyed: the records are kept in memory.
        """
        records = [record for each in actions if isinstance(each, Persist) for record in each.records]
        entries = [(each.kind, each.body) for each in actions if isinstance(each, RecordEvidence)]
        if entries:
            records += self._log.prepare(entries, _utc_now())
        if not records:
            return
        try:
            self._store.persist_now(records)
            self._log.write_files()
        except StoreError as error:
            self.unwritten += sum(isinstance(each, EvidenceLine) for each in records)
            log.error("evidence not in its file yet reason=%s", error)

    def make_reader(self) -> EvidenceReader:
        """Return a reader of the files for people."""
        return EvidenceReader(self._directory, self._public_keys, lambda: self._log.written)

    def make_checkpoint(self) -> bytes | None:
        """Append a checkpoint of new records and return its line; None: there are none, or it failed."""
        if self._log.head.count <= self._witnessed:
            return None
        try:
            line = self._log.checkpoint(_utc_now())
        except StoreError as failed:
            log.error("checkpoint not made reason=%s", failed)
            return None
        self._witnessed = self._log.head.count
        return line

    def retire(self) -> None:
        """Remove files after their retention; the clock must be right."""
        utc = _utc_now()
        self._log.check_files(utc)
        try:
            for name in self._log.retire(utc, self._retention):
                log.info("evidence removed after its retention file=%s days=%d", name, self._retention.days)
        except StoreError as failed:
            log.error("old evidence not removed reason=%s", failed)


def _utc_now() -> float:
    return utc_now().timestamp()
