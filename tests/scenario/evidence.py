"""An evidence log that a test writes without a service."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from controller.dimming.evidence_chain import EvidenceKind
from controller.model.journal import Record
from controller.store.evidence_files import RETENTION, EvidenceLog


class WrittenEvidenceLog(EvidenceLog):
    """Evidence log whose records are in the journal and in their files when a method returns."""

    def append(self, kind: EvidenceKind, body: Mapping[str, Any], utc: float) -> None:
        """Append a record. Raises StoreError if it is not in its file yet."""
        self._write(self.prepare([(kind, body)], utc))

    def checkpoint(self, utc: float) -> bytes:
        """Append a checkpoint and return its line. Raises StoreError."""
        records, line = self.prepare_checkpoint(utc)
        self._write(records)
        return line

    def remove_old_files(self, utc: float, retention: timedelta = RETENTION) -> list[str]:
        """Remove files after their retention and return their names."""
        retired = self.retire(utc, retention)
        self._store.persist_now(retired)
        return [each.name for each in retired]

    def record_missing_files(self, utc: float) -> None:
        """Put on record which files have gone missing. Raises StoreError."""
        self._write(self.check_files(utc))

    def _write(self, records: list[Record]) -> None:
        self._store.persist_now(records)
        self.write_files(self.head.count)
