"""Evidence about trust: certificates of the site CA, keys of the policy, and the gateway's clock.

The site CA is changed by the command line, too, in a process of its own: its ledger is followed, and the
number of recorded lines is stored with each record, so that none is left out or doubled over a restart.
Without [dimming] there is no evidence log, and the events are in the log only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import trio

from controller.config import Config
from controller.dimming.events import RecordEvidence
from controller.dimming.evidence_chain import EvidenceKind
from controller.pki import PkiError
from controller.pki.ca_folder import CaFolder
from controller.services.signing.policy_service import PolicyService
from controller.signing.signing_keys import fingerprint
from controller.store.evidence_records import TrustRecorded
from controller.store.state_store import StateStore
from controller.timekeeping.clock_status import ClockEvent

log = logging.getLogger("controller.pki")

FOLLOW_S = 5.0
"""Interval at which the ledger and the policy are compared with what is recorded."""

Recorder = Callable[[RecordEvidence, TrustRecorded | None], None]


class TrustEvidence:
    """Follows the site CA and the policy. `record` appends to the evidence log; None: there is none."""

    def __init__(
        self, config: Config, store: StateStore, policy: PolicyService | None, record: Recorder | None
    ) -> None:
        self._folder = None if config.pki is None else Path(config.pki.folder)
        self._policy = policy
        self._record = record
        recorded = next(iter(store.load(TrustRecorded)), None)
        self._recorded = recorded or TrustRecorded(0, ())
        self._failure = ""
        self._is_first = True
        """Without an evidence log, only changes after the start are logged."""

    def on_clock_event(self, event: ClockEvent) -> None:
        """Record a change of the clock."""
        if self._record is not None:
            self._record(RecordEvidence(EvidenceKind.CLOCK, {"event": event.kind, "what": event.text}), None)

    async def run(self) -> None:
        """Record changes until cancelled."""
        while True:
            await self.follow()
            await trio.sleep(FOLLOW_S)

    async def follow(self) -> None:
        """Record what has changed since the last time."""
        if self._folder is not None:
            await self._follow_ledger(self._folder)
        if self._policy is not None:
            self._follow_keys(self._policy)

    async def _follow_ledger(self, folder: Path) -> None:
        try:
            records = await trio.to_thread.run_sync(_read_ledger, folder)
        except PkiError as error:
            if str(error) != self._failure:
                log.error("certificate ledger cannot be read reason=%s", error)
            self._failure = str(error)
            return
        self._failure = ""
        if self._record is None and self._is_first:
            self._recorded = TrustRecorded(len(records), self._recorded.keys)
        self._is_first = False
        first = self._recorded.ledger_lines
        for number, body in enumerate(records[first:], first + 1):
            log.info("certificate ledger changed type=%s serial=%s", body["type"], body["serial"])
            self._append(EvidenceKind.CERTIFICATE, body, TrustRecorded(number, self._recorded.keys))

    def _follow_keys(self, policy: PolicyService) -> None:
        known = policy.in_force[0].keys
        keys = tuple(sorted(f"{key.holder} {fingerprint(key.id)}" for key in known))
        if keys == self._recorded.keys:
            return
        before = set(self._recorded.keys)
        body = {"added": sorted(set(keys) - before), "removed": sorted(before - set(keys))}
        log.info("keys of the policy changed added=%d removed=%d", len(body["added"]), len(body["removed"]))
        self._append(EvidenceKind.KEY, body, TrustRecorded(self._recorded.ledger_lines, keys))

    def _append(self, kind: EvidenceKind, body: Mapping[str, Any], recorded: TrustRecorded) -> None:
        self._recorded = recorded
        if self._record is not None:
            self._record(RecordEvidence(kind, body), recorded)


def _read_ledger(folder: Path) -> list[dict[str, Any]]:
    """Return the records of the ledger in the order of its lines."""
    return [msgspec.to_builtins(record) for record in CaFolder(folder).records()]
