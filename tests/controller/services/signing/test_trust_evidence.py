"""Changes of the site CA, of the policy's keys and of the clock as evidence records."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from controller.config.loader import read_config
from controller.dimming.events import RecordEvidence
from controller.dimming.evidence_chain import EvidenceKind
from controller.pki.certificate_ledger import RevocationReason
from controller.pki.certificate_profiles import Purpose
from controller.pki.issuance import Applicant
from controller.services.machine.time_service import make_time_service
from controller.services.signing.trust_evidence import TrustEvidence
from controller.store.evidence_records import TrustRecorded
from controller.store.state_store import StateStore
from controller.timekeeping.clock_status import ClockEvent, ClockEventKind
from tests.controller.services.certificates.test_certificate_service import issue_identity, write_site


class _Log:
    """An evidence log that keeps its records."""

    def __init__(self, store: StateStore) -> None:
        self.records: list[tuple[EvidenceKind, Any]] = []
        self._store = store

    def record(self, record: RecordEvidence, also: TrustRecorded | None) -> None:
        self.records.append((record.kind, record.body))
        if also is not None:
            self._store.persist_now([also])


async def test_trust_evidence_ledger_changes_are_recorded_once_also_over_restart(tmp_path: Path) -> None:
    ca, file = write_site(tmp_path)
    config = read_config(file)[0]
    for revokes in (False, True):
        store = StateStore(tmp_path)
        log = _Log(store)
        evidence = TrustEvidence(config, store, None, log.record)
        if revokes:
            ca.revoke(next(iter(ca.ledger())).serial, RevocationReason.KEY_COMPROMISE, None, time.time())
            issue_identity(ca, "CS01", Applicant(id="CS01", purpose=Purpose.STATION))
        await evidence.follow()
        await evidence.follow()
        expected = ["revoked", "issued"] if revokes else ["issued"]
        assert [kind for kind, _ in log.records] == [EvidenceKind.CERTIFICATE] * len(expected)
        assert [body["type"] for _, body in log.records] == expected
        store.close()


async def test_unreadable_ledger_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ca, file = write_site(tmp_path)
    store = StateStore(tmp_path)
    evidence = TrustEvidence(read_config(file)[0], store, None, _Log(store).record)
    (ca.path / "ledger.jsonl").write_text("nonsense\n")
    for _ in range(2):
        await evidence.follow()
    assert caplog.text.count("certificate ledger cannot be read") == 1
    store.close()


def test_clock_event_is_recorded(tmp_path: Path) -> None:
    _, file = write_site(tmp_path)
    store = StateStore(tmp_path)
    log = _Log(store)
    evidence = TrustEvidence(read_config(file)[0], store, None, log.record)
    evidence.on_clock_event(ClockEvent(ClockEventKind.STEP, "the clock was stepped by +3.000 s"))
    assert log.records == [
        (EvidenceKind.CLOCK, {"event": "clock-step", "what": "the clock was stepped by +3.000 s"})
    ]
    store.close()


@pytest.mark.parametrize(("authority", "level"), [('legal_authority = "PTB"', "WARNING"), ("", "INFO")])
async def test_unverified_clock_is_warning_where_legal_time_is_configured(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, authority: str, level: str
) -> None:
    _, file = write_site(tmp_path)
    file.write_text(f'{file.read_text()}\n[time]\nchrony_socket = "{tmp_path}/absent"\n{authority}\n')
    caplog.set_level("INFO")
    events: list[ClockEvent] = []
    service = make_time_service(read_config(file)[0].time, events.append)
    await service.check()
    await service.check()
    (record,) = [each for each in caplog.records if each.message.startswith("clock ")]
    assert record.levelname == level
    assert record.message.startswith(("clock unverified reason=", "clock synchronised reason="))
    assert [event.kind for event in events] == [ClockEventKind.STATE]
