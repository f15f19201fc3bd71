"""What waits for a backend: in order, within bounds, and no transaction ever lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from controller.model.journal import Record
from controller.ocpp.frames import Version
from controller.offline.dedup_key import dedup_key
from controller.offline.journal_records import (
    EntryQueued,
    EntryRemoved,
    EntrySent,
    EntrySetAside,
    OutboxEntry,
    RecordKind,
)
from controller.offline.outbox import Outbox, OutboxFullError, kind_of

V16, V201, V21 = Version.V16, Version.V201, Version.V21


def queue(outbox: Outbox, kind: RecordKind, payload: bytes = b"{}", action: str = "X") -> list[Record]:
    return outbox.queue_message(V16, action, payload, kind, "id", 5.0)


def numbers(records: list[Record]) -> list[tuple[str, int]]:
    named = []
    for word in records:
        assert isinstance(word, EntryQueued | EntryRemoved | EntrySent | EntrySetAside)
        named.append(
            (type(word).__name__, word.entry.number if isinstance(word, EntryQueued) else word.number)
        )
    return named


@pytest.mark.parametrize(
    ("version", "action", "payload", "kind"),
    [
        (V16, "StartTransaction", {}, RecordKind.TRANSACTION),
        (V16, "StopTransaction", {}, RecordKind.TRANSACTION),
        (V16, "MeterValues", {"connectorId": 1, "transactionId": 5}, RecordKind.TRANSACTION),
        (V16, "MeterValues", {"connectorId": 1, "transactionId": None}, RecordKind.METER),
        (V16, "MeterValues", {"connectorId": 1, "transactionId": 2**63 - 1}, RecordKind.TRANSACTION),
        (V16, "MeterValues", {"connectorId": 1, "transactionId": 2**63}, RecordKind.METER),
        (V16, "MeterValues", {"connectorId": 1, "transactionId": 2**64 - 1}, RecordKind.METER),
        (V16, "MeterValues", {"connectorId": 1, "transactionId": -(2**63) - 1}, RecordKind.METER),
        (V16, "MeterValues", {"connectorId": 1}, RecordKind.METER),
        (V201, "MeterValues", {"evseId": 1}, RecordKind.METER),
        (V201, "TransactionEvent", {}, RecordKind.TRANSACTION),
        (V21, "NotifySettlement", {}, RecordKind.TRANSACTION),
        (V16, "StatusNotification", {}, RecordKind.STATUS),
        (V21, "StatusNotification", {}, RecordKind.STATUS),
        (V16, "FirmwareStatusNotification", {}, RecordKind.NOTICE),
        (V201, "SecurityEventNotification", {}, RecordKind.NOTICE),
        (V16, "DataTransfer", {}, RecordKind.NOTICE),
    ],
)
def test_outbox_message_priority_by_action(
    version: Version, action: str, payload: dict[str, Any], kind: RecordKind
) -> None:
    assert kind_of(version, action, json.dumps(payload).encode()) is kind


def test_outbox_meter_values_with_invalid_id_count_as_transaction() -> None:
    assert kind_of(V16, "MeterValues", b'{"transactionId": "5"}') is RecordKind.TRANSACTION


def test_queue_is_first_in_first_out() -> None:
    outbox = Outbox("CS01", "csms")
    for number in (1, 2, 3):
        assert numbers(queue(outbox, RecordKind.NOTICE)) == [("EntryQueued", number)]
    sent_ids = []
    while outbox.head is not None:
        sent_ids.append(outbox.head.number)
        outbox.remove_entry(outbox.head.number)
    assert sent_ids == [1, 2, 3]
    assert (len(outbox), outbox.oldest_at) == (0, None)


def test_outbox_drops_lowest_priority_then_oldest() -> None:
    outbox = Outbox("CS01", "csms", capacity=4)
    for kind in (RecordKind.STATUS, RecordKind.METER, RecordKind.NOTICE, RecordKind.METER):
        queue(outbox, kind)
    gone = [numbers(queue(outbox, RecordKind.TRANSACTION))[0] for _ in range(4)]
    assert gone == [("EntryRemoved", 2), ("EntryRemoved", 4), ("EntryRemoved", 3), ("EntryRemoved", 1)]
    assert outbox.dropped == {RecordKind.METER: 2, RecordKind.NOTICE: 1, RecordKind.STATUS: 1}
    with pytest.raises(OutboxFullError, match="4 messages of station CS01 wait for csms"):
        queue(outbox, RecordKind.TRANSACTION)


def test_outbox_counts_entries_set_aside_as_full() -> None:
    outbox = Outbox("CS01", "csms", capacity=2)
    for number in (1, 2):
        queue(outbox, RecordKind.TRANSACTION)
        outbox.set_entry_aside(number, "NotSupported")
    with pytest.raises(OutboxFullError, match="0 messages of station CS01 wait for csms, 2 are set aside"):
        queue(outbox, RecordKind.TRANSACTION)
    assert queue(outbox, RecordKind.METER) == []


def test_outbox_full_drops_a_new_entry_of_lowest_priority() -> None:
    outbox = Outbox("CS01", "csms", capacity=2)
    queue(outbox, RecordKind.STATUS)
    queue(outbox, RecordKind.TRANSACTION)
    assert queue(outbox, RecordKind.NOTICE) == []
    assert outbox.dropped == {RecordKind.NOTICE: 1}
    assert numbers(queue(outbox, RecordKind.STATUS)) == [("EntryRemoved", 1), ("EntryQueued", 3)]


def test_outbox_entry_in_flight_is_not_dropped() -> None:
    outbox = Outbox("CS01", "csms", capacity=2)
    queue(outbox, RecordKind.METER)
    queue(outbox, RecordKind.METER)
    assert numbers(outbox.mark_sent(1)) == [("EntrySent", 1)]
    assert outbox.mark_sent(1) == []
    assert numbers(queue(outbox, RecordKind.METER)) == [("EntryRemoved", 2), ("EntryQueued", 3)]


def test_outbox_repeated_message_is_known_while_first_waits() -> None:
    outbox = Outbox("CS01", "csms")
    stop = b'{"transactionId":5,"meterStop":7,"timestamp":"t"}'
    mark = dedup_key(V16, "StopTransaction", stop)
    assert outbox.find_duplicate(mark) is None
    queue(outbox, RecordKind.TRANSACTION, stop, "StopTransaction")
    queue(outbox, RecordKind.TRANSACTION, stop + b" ", "StopTransaction")
    outbox.remove_entry(1)
    held = outbox.find_duplicate(mark)
    assert held is not None
    assert held.number == 2  # the second one says the same, and still waits
    outbox.set_entry_aside(2, "NotSupported")
    assert outbox.find_duplicate(mark) is None


def test_outbox_id_that_station_was_given_is_saved_with_entry() -> None:
    outbox = Outbox("CS01", "csms")
    queue(outbox, RecordKind.TRANSACTION)
    queue(outbox, RecordKind.TRANSACTION)
    outbox.mark_sent(1)
    (given,) = outbox.mark_answered(1, 2_100_000_000)
    assert isinstance(given, EntryQueued)
    assert (given.entry.transaction, given.entry.sent, given.entry.id) == (2_100_000_000, True, "id")
    assert outbox.head == given.entry


def test_outbox_removed_entry_is_removed_once() -> None:
    outbox = Outbox("CS01", "csms")
    queue(outbox, RecordKind.TRANSACTION)
    assert numbers(outbox.set_entry_aside(1, "NotSupported")) == [("EntrySetAside", 1)]
    assert outbox.set_entry_aside(1, "NotSupported") == outbox.remove_entry(1) == []


def test_outbox_restores_only_own_entries() -> None:
    outbox = Outbox("CS01", "csms")
    (word,) = queue(outbox, RecordKind.TRANSACTION)
    assert isinstance(word, EntryQueued)
    for station, backend, known in [("CS01", "csms", 1), ("CS02", "csms", 0), ("CS01", "fleet", 0)]:
        recalled = Outbox(station, backend)
        recalled.restore([word])
        assert len(recalled) == known
    following = Outbox("CS01", "csms")
    following.restore([word])
    assert numbers(queue(following, RecordKind.METER)) == [("EntryQueued", 2)]


class Waiting(RuleBasedStateMachine):
    """An outbox against a list of what must be in it; a restart at any moment recalls it from the records."""

    @initialize(capacity=st.integers(1, 6))
    def begin(self, capacity: int) -> None:
        self.capacity = capacity
        self.outbox = Outbox("CS01", "csms", capacity)
        self.expected: list[OutboxEntry] = []
        self.disk: dict[int, EntryQueued] = {}
        self.owed: set[str] = set()
        """Payloads of transaction messages that were taken, and are neither answered nor set aside."""
        self.messages = 0

    def save(self, records: list[Record]) -> None:
        for word in records:
            match word:
                case EntryQueued(entry=entry):
                    self.disk[entry.number] = word
                    self.expected = [each for each in self.expected if each.number != entry.number]
                    self.expected = sorted([*self.expected, entry], key=lambda each: each.number)
                case EntryRemoved(number=number) | EntrySetAside(number=number):
                    del self.disk[number]
                    self.expected = [each for each in self.expected if each.number != number]

    @rule(kind=st.sampled_from(RecordKind))
    def queue(self, kind: RecordKind) -> None:
        self.messages += 1
        payload = json.dumps({"said": self.messages})
        before = list(self.expected)
        try:
            records = self.outbox.queue_message(
                V16, "X", payload.encode(), kind, f"m{self.messages}", float(self.messages)
            )
        except OutboxFullError:
            assert kind is RecordKind.TRANSACTION
            assert len(self.outbox) + self.outbox.set_aside_count == self.capacity
            assert all(each.kind is RecordKind.TRANSACTION or each.sent for each in before)
            return
        self.save(records)
        if kind is RecordKind.TRANSACTION:
            self.owed.add(payload)
        dropped = [each for each in before if each not in self.expected]
        if dropped:
            (least,) = dropped
            rest = [each for each in before if not each.sent]
            assert least == min(rest, key=lambda each: (each.kind, each.number))

    @precondition(lambda self: self.expected)
    @rule(how=st.sampled_from(["sent", "done", "set aside", "given"]))
    def treat_the_head(self, how: str) -> None:
        head = self.outbox.head
        assert head is not None
        match how:
            case "sent":
                for word in self.outbox.mark_sent(head.number):
                    assert isinstance(word, EntrySent)
                    self.save([EntryQueued("CS01", "csms", self.outbox.get_entry(word.number) or head)])
            case "done":
                self.save(self.outbox.remove_entry(head.number))
                self.owed.discard(head.payload.decode())
            case "set aside":
                self.save(self.outbox.set_entry_aside(head.number, "why"))
                self.owed.discard(head.payload.decode())
            case "given":
                self.save(self.outbox.mark_answered(head.number, self.messages))

    @rule()
    def restart(self) -> None:
        self.outbox = Outbox("CS01", "csms", self.capacity)
        self.outbox.restore([self.disk[number] for number in sorted(self.disk)])

    @invariant()
    def is_as_expected(self) -> None:
        assert len(self.outbox) == len(self.expected) <= self.capacity
        assert self.outbox.head == next(iter(self.expected), None)
        assert [self.outbox.get_entry(each.number) for each in self.expected] == self.expected
        assert self.owed <= {each.payload.decode() for each in self.expected}


TestWaiting = Waiting.TestCase
