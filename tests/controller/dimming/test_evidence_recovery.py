"""Obeyed commands are found again in the evidence: nothing is accepted twice, and no key is locked out."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from controller.dimming.events import CommandReceived, DimmingMemory, RecordEvidence
from controller.dimming.evidence_chain import ChainHead, EvidenceChain, EvidenceRecord, read_record
from controller.dimming.evidence_recovery import recover_obeyed_commands
from tests.controller.dimming.commands import NOON, command
from tests.controller.dimming.signers import DSO, PlainSignatures, signed
from tests.scenario.dimming_harness import DimmingHarness

KEY = ec.derive_private_key(7, ec.SECP256R1())


@pytest.fixture(autouse=True)
def two_keys_of_role(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a second key have the role of the grid operator."""
    known = {**PlainSignatures.known, "second": msgspec.structs.replace(DSO, key="k-second")}
    monkeypatch.setattr(PlainSignatures, "known", known)


def record_commands(scenario: DimmingHarness, *received: bytes) -> Iterator[EvidenceRecord]:
    """Yield the evidence of these commands."""
    chain = EvidenceChain(KEY, ChainHead())
    for each in received:
        for action in scenario.handle(CommandReceived(1, "cpo", each)):
            if isinstance(action, RecordEvidence):
                yield read_record(chain.add_record(action.kind, action.body, "2026-11-21T12:00:00Z")[:-1])


def test_evidence_recovery_counts_sequences_of_each_key() -> None:
    commands = [signed(command(999, 0.0), "mallory"), signed(command(100, 8000.0), "dso")]
    commands += [signed(command(101, None), "dso"), signed(command(102, 9000.0), "dso")]
    before = DimmingHarness()
    records = list(record_commands(before, *commands, signed(command(5, 9000.0), "second")))
    obeyed = recover_obeyed_commands(records, {})
    assert obeyed == before.take_memory().obeyed
    after = DimmingHarness(memory=DimmingMemory(saved=NOON, obeyed=obeyed))
    assert after.send_command(command(101, None), "dso")["reason"] == "replayed"
    assert after.send_command(command(6, 8000.0), "second")["status"] == "accepted"
    assert after.send_command(command(6), "second")["reason"] == "replayed"
    assert after.send_command(command(103, 8000.0), "dso")["status"] == "accepted"
    assert after.send_command(command(7, 8000.0), "second")["status"] == "accepted"
    assert after.send_command(command(4, commandId="older"), "second")["reason"] == "sequence-back"


def test_evidence_recovery_unreadable_command_is_left_out() -> None:
    records = list(record_commands(DimmingHarness(), signed(command(3), "dso")))
    broken = [
        msgspec.structs.replace(each, body=each.body | {"received": "bm8gSlNPTg=="})
        if "received" in each.body
        else each
        for each in records
    ]
    assert recover_obeyed_commands(broken, {}) == {}
