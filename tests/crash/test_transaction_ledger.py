"""The ledger of the crash runs: which messages count as one, and what differs."""

from __future__ import annotations

from tests.scenario.transaction_ledger import Payload, TransactionLedger, compare_parts, make_part


def make_event(number: int, transaction: str = "t1") -> Payload:
    return {"eventType": "Updated", "seqNo": number, "transactionInfo": {"transactionId": transaction}}


PARTS = [make_part("TransactionEvent", make_event(number), {}) for number in range(3)]


def test_transaction_ledger_counts_other_message_under_known_id() -> None:
    ledger = TransactionLedger(1)
    for number in (0, 0, 1):
        ledger.receive("CS1", "1", "TransactionEvent", make_event(number))
    assert (ledger.parts["CS1"], ledger.resent) == (PARTS[:2], 1)


def test_transaction_ledger_rejects_each_message_once() -> None:
    ledger = TransactionLedger(1)
    assert ledger.reject("CS1", "1", "TransactionEvent", make_event(0))
    assert not ledger.reject("CS1", "2", "TransactionEvent", make_event(0))
    ledger.receive("CS1", "3", "TransactionEvent", make_event(1))
    assert not ledger.reject("CS1", "3", "TransactionEvent", make_event(1))
    assert ledger.rejected == {("CS1", PARTS[0])}


def test_compare_parts_reports_lost_and_disordered_parts() -> None:
    received = [PARTS[1], PARTS[0]]
    assert compare_parts(PARTS, [*received, PARTS[2]]) == ([], [], True)
    assert compare_parts(PARTS, received) == ([PARTS[2]], [], True)
