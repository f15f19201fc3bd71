"""Deliveries to a backend: their order, and the entries that it rejects."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from controller.model.journal import Record, StoreState
from controller.ocpp.frames import Version
from controller.offline.journal_records import (
    EntryRemoved,
    EntrySent,
    EntrySetAside,
    SnapshotDelivered,
    TransactionMapped,
    TransactionUnmapped,
)
from controller.offline.outbox import Outbox, kind_of
from controller.offline.outbox_sender import (
    BOOT_WAIT_S,
    LATE_ANSWER_S,
    LONGEST_TRIES_S,
    MOST_BOOT_WAIT_S,
    STORE_RETRY_S,
    WAITS_S,
    OutboundCall,
    OutboxSender,
)
from controller.offline.station_snapshot import StationSnapshot
from controller.offline.transaction_id_map import TransactionIdMap

V16, V201 = Version.V16, Version.V201
OWN = 2_100_000_000

BOOT = {"chargePointVendor": "ABL", "chargePointModel": "eMH3"}
ACCEPTED = {"status": "Accepted", "interval": 60, "currentTime": "2027-01-15T08:00:00Z"}
START = {"connectorId": 1, "idTag": "A", "meterStart": 0, "timestamp": "2027-01-15T08:00:00Z"}
METER = {"connectorId": 1, "transactionId": OWN, "meterValue": []}
STOP = {"transactionId": OWN, "meterStop": 9, "timestamp": "2027-01-15T09:00:00Z"}
STARTED = {"transactionId": 70, "idTagInfo": {"status": "Accepted"}}


class SenderHarness:
    """An `OutboxSender` with the queued messages of a station, and the backend that receives them."""

    def __init__(self, version: Version = V16) -> None:
        self.version = version
        self.now = 0.0
        self.records: list[Record] = []
        self.log: list[str] = []
        self.outbox = Outbox("CS01", "csms")
        self.snapshot = StationSnapshot("CS01")
        self.ids = TransactionIdMap("CS01", "csms")
        self.store = StoreState()
        self._asked: OutboundCall | None = None
        self.make_sender()

    def make_sender(self) -> None:
        """Replace the sender; the outbox and what is known of the station stay."""
        self.sender = OutboxSender(
            self.outbox,
            self.snapshot,
            self.ids,
            self.version,
            "csms",
            self._new_ids(),
            store=self.store,
        )

    def _new_ids(self) -> Any:
        numbers = itertools.count(1)
        return lambda: f"snapshot-{next(numbers)}"

    def queue_call(self, action: str, payload: dict[str, Any], version: Version | None = None) -> None:
        """Queue a CALL of the station from the absence of the backend."""
        version, raw = version or self.version, json.dumps(payload).encode()
        own = OWN if action == "StartTransaction" else None
        if own is not None:
            self.ids.expect_backend_id(own)
        self.outbox.queue_message(
            version, action, raw, kind_of(version, action, raw), f"m-{action}", 1.0, own
        )

    def receive_call(self, action: str, payload: dict[str, Any] | None = None) -> OutboundCall:
        """Return the CALL that the backend receives next."""
        outbound = self.sender.next_call(self.now)
        assert outbound is not None
        self.records, self.log = list(outbound.records), list(outbound.notes)
        assert outbound.action == action
        assert payload is None or json.loads(outbound.payload) == payload
        self._asked = outbound
        return outbound

    def expect_nothing(self) -> None:
        assert self.sender.next_call(self.now) is None

    def send_result(self, result: dict[str, Any] | None = None, error: str | None = "") -> None:
        """Answer the last CALL; `error` None: there is no answer."""
        assert self._asked is not None
        payload = json.dumps(result or {}).encode() if error == "" else None
        error = error or None
        self.records, self.log = self.sender.on_answer(self._asked, payload, error, self.now)


def test_outbox_sender_sends_snapshot_then_queued_entries() -> None:
    scenario = SenderHarness()
    scenario.snapshot.on_boot(V16, json.dumps(BOOT).encode())
    for connector in (2, 1):
        scenario.snapshot.on_station_call(
            V16, "StatusNotification", json.dumps({"connectorId": connector}).encode()
        )
    scenario.queue_call("StartTransaction", START)
    scenario.queue_call("MeterValues", METER)
    scenario.queue_call("StopTransaction", STOP)
    scenario.sender.on_attached()
    scenario.receive_call("BootNotification", BOOT)
    scenario.send_result(ACCEPTED)
    assert scenario.records == [SnapshotDelivered("CS01", "boot accepted by csms", V16, "boot", b"{}")]
    for connector in (1, 2):
        scenario.receive_call("StatusNotification", {"connectorId": connector})
        scenario.send_result()
    scenario.receive_call("StartTransaction", START)
    assert scenario.records == [EntrySent("CS01", "csms", 1)]
    scenario.send_result(STARTED)
    assert scenario.records == [EntryRemoved("CS01", "csms", 1), TransactionMapped("CS01", "csms", OWN, 70)]
    scenario.receive_call("MeterValues", METER | {"transactionId": 70})
    scenario.send_result()
    assert scenario.records == [EntryRemoved("CS01", "csms", 2)]
    scenario.receive_call("StopTransaction", STOP | {"transactionId": 70})
    assert not scenario.sender.is_done
    scenario.send_result()
    assert scenario.records == [EntryRemoved("CS01", "csms", 3), TransactionUnmapped("CS01", "csms", OWN)]
    scenario.expect_nothing()
    assert scenario.sender.is_done


def test_transaction_messages_wait_for_store_and_others_do_not() -> None:
    """After a crash, what was answered while the store could not be written would be sent again."""
    scenario = SenderHarness()
    scenario.queue_call("StartTransaction", START)
    scenario.queue_call("StatusNotification", {"connectorId": 1})
    scenario.queue_call("StopTransaction", STOP)
    scenario.sender.on_attached()
    scenario.receive_call("StartTransaction")
    scenario.store.is_writable = False
    scenario.send_result(STARTED)
    scenario.receive_call("StatusNotification")
    scenario.send_result()
    scenario.expect_nothing()
    assert scenario.sender.has_due(scenario.now)  # the queue is not done
    assert not scenario.sender.is_idle
    assert scenario.sender.deadline == scenario.now + STORE_RETRY_S
    scenario.now += STORE_RETRY_S
    scenario.expect_nothing()
    scenario.store.is_writable = True
    scenario.receive_call("StopTransaction")
    scenario.send_result()
    scenario.expect_nothing()
    assert scenario.sender.is_idle
    assert scenario.sender.deadline is None


def test_next_link_repeats_entry_under_id_but_no_accepted_boot() -> None:
    scenario = SenderHarness()
    scenario.snapshot.on_boot(V16, json.dumps(BOOT).encode())
    scenario.queue_call("StopTransaction", STOP)
    scenario.sender.on_attached()
    first = scenario.receive_call("BootNotification")
    scenario.sender.on_attached()
    assert scenario.receive_call("BootNotification").id != first.id  # it was not answered
    scenario.send_result(ACCEPTED)
    sent = scenario.receive_call("StopTransaction")
    assert scenario.log == []
    scenario.sender.on_attached()
    assert scenario.sender.next_call(scenario.now) is None
    scenario.now += LATE_ANSWER_S
    again = scenario.receive_call("StopTransaction")
    assert (again.id, again.payload) == (sent.id, sent.payload)
    assert (scenario.records, "its answer was never seen" in scenario.log[0]) == ([], True)


def test_next_link_waits_for_late_answer_and_continues() -> None:
    scenario = SenderHarness()
    scenario.queue_call("StartTransaction", START)
    scenario.queue_call("StopTransaction", STOP)
    scenario.sender.on_attached()
    start = scenario.receive_call("StartTransaction")
    scenario.sender.on_attached()
    assert scenario.sender.next_call(scenario.now) is None
    assert scenario.sender.has_due(scenario.now)
    assert scenario.sender.deadline == scenario.now + LATE_ANSWER_S
    assert scenario.sender.on_late_result("unknown", b"{}", scenario.now) is None
    late = scenario.sender.on_late_result(start.id, json.dumps(STARTED).encode(), scenario.now)
    assert late is not None
    assert scenario.ids.station_id(70) == OWN
    scenario.receive_call("StopTransaction")
    assert scenario.sender.deadline is None


def test_next_links_wait_once_for_each_answer() -> None:
    scenario = SenderHarness()
    scenario.queue_call("StartTransaction", START)
    scenario.sender.on_attached()
    scenario.receive_call("StartTransaction")
    scenario.sender.on_attached()
    assert scenario.sender.next_call(scenario.now) is None
    scenario.now += LATE_ANSWER_S / 2
    scenario.make_sender()  # as for each link of the station
    scenario.sender.on_attached()
    assert scenario.sender.next_call(scenario.now) is None
    scenario.now += LATE_ANSWER_S / 2
    scenario.receive_call("StartTransaction")
    scenario.make_sender()
    scenario.sender.on_attached()
    scenario.receive_call("StartTransaction")


@pytest.mark.parametrize(
    ("result", "error", "wait_s"),
    [
        ({"status": "Pending", "interval": 30}, None, 30),
        ({"status": "Rejected", "interval": 5}, None, 5),
        ({"status": "Rejected", "interval": 0}, None, BOOT_WAIT_S),
        ({"status": "Pending", "interval": 10**400}, None, MOST_BOOT_WAIT_S),
        ({}, None, BOOT_WAIT_S),
        (None, "InternalError", BOOT_WAIT_S),
    ],
)
def test_outbox_sender_sends_nothing_before_boot_is_accepted(
    result: dict[str, Any] | None, error: str | None, wait_s: float
) -> None:
    scenario = SenderHarness()
    scenario.snapshot.on_boot(V16, json.dumps(BOOT).encode())
    scenario.queue_call("StopTransaction", STOP)
    scenario.sender.on_attached()
    scenario.receive_call("BootNotification")
    scenario.send_result(result, error or "")
    assert scenario.sender.deadline == wait_s
    scenario.now = wait_s - 0.1
    scenario.expect_nothing()
    scenario.now = wait_s
    scenario.receive_call("BootNotification")
    scenario.send_result(ACCEPTED)
    scenario.receive_call("StopTransaction")


def test_sender_backend_without_boots_gets_the_rest() -> None:
    scenario = SenderHarness()
    scenario.snapshot.on_boot(V16, json.dumps(BOOT).encode())
    scenario.queue_call("StopTransaction", STOP)
    scenario.sender.on_attached()
    scenario.receive_call("BootNotification")
    scenario.send_result(error="NotImplemented")
    assert "NotImplemented" in scenario.log[0]
    scenario.receive_call("StopTransaction")


@pytest.mark.parametrize("error", ["InternalError", None])
def test_failed_entry_goes_again_later_and_is_set_aside_after_last_try(error: str | None) -> None:
    scenario = SenderHarness()
    scenario.queue_call("StopTransaction", STOP)
    scenario.queue_call("MeterValues", METER | {"transactionId": 5})
    scenario.sender.on_attached()
    ids = set()
    for wait_s in WAITS_S:
        ids.add(scenario.receive_call("StopTransaction").id)
        scenario.send_result(error=error)
        assert scenario.records == []
        assert f"goes again in {wait_s:g} s" in scenario.log[0]
        assert scenario.sender.deadline == scenario.now + wait_s
        if wait_s == WAITS_S[0]:  # what follows does not wait for it
            scenario.receive_call("MeterValues")
            scenario.send_result()
        scenario.expect_nothing()
        scenario.now += wait_s
    ids.add(scenario.receive_call("StopTransaction").id)
    scenario.send_result(error=error)
    assert len(ids) == 1  # it may have been booked before it was answered so
    assert scenario.records == [EntrySetAside("CS01", "csms", 1, error or "no answer")]
    assert scenario.sender.is_done


def fail_all_tries(scenario: SenderHarness, action: str, error: str | None) -> None:
    """Let the first message fail once more than there are waits; it is still queued then."""
    for wait_s in (*WAITS_S, WAITS_S[-1]):
        scenario.receive_call(action)
        scenario.send_result(error=error)
        assert scenario.records == []
        scenario.now += wait_s


@pytest.mark.parametrize("error", ["InternalError", None])
def test_backend_that_accepts_no_transaction_has_none_set_aside(error: str | None) -> None:
    """Its database hangs for minutes, while boots, heartbeats and states are answered."""
    scenario = SenderHarness()
    scenario.queue_call("StartTransaction", START)
    scenario.queue_call("StopTransaction", STOP)
    scenario.sender.on_attached()
    fail_all_tries(scenario, "StartTransaction", error)
    scenario.receive_call("StartTransaction")
    scenario.send_result(STARTED)
    scenario.receive_call("StopTransaction", STOP | {"transactionId": 70})
    scenario.send_result()
    assert scenario.outbox.set_aside_count == 0


def test_message_is_set_aside_once_backend_accepts_another() -> None:
    scenario = SenderHarness()
    scenario.queue_call("StopTransaction", STOP)
    scenario.sender.on_attached()
    fail_all_tries(scenario, "StopTransaction", "InternalError")
    scenario.sender.on_transaction_accepted()
    scenario.receive_call("StopTransaction")
    scenario.send_result(error="InternalError")
    assert scenario.records == [EntrySetAside("CS01", "csms", 1, "InternalError")]


def test_message_that_fails_for_a_day_is_set_aside() -> None:
    scenario = SenderHarness()
    scenario.queue_call("StopTransaction", STOP)
    scenario.sender.on_attached()
    fail_all_tries(scenario, "StopTransaction", None)
    scenario.now = LONGEST_TRIES_S
    scenario.receive_call("StopTransaction")
    scenario.send_result(error=None)
    assert scenario.records == [EntrySetAside("CS01", "csms", 1, "no answer")]


def test_outbox_sender_start_to_retry_delays_own_transaction_only() -> None:
    scenario = SenderHarness()
    scenario.queue_call("StartTransaction", START)
    scenario.queue_call("StopTransaction", STOP)
    scenario.queue_call("MeterValues", METER | {"transactionId": 5})
    scenario.sender.on_attached()
    scenario.receive_call("StartTransaction")
    scenario.send_result(error="InternalError")
    scenario.receive_call("MeterValues", METER | {"transactionId": 5})
    scenario.send_result()
    scenario.expect_nothing()
    scenario.now += WAITS_S[0]
    scenario.receive_call("StartTransaction")
    scenario.send_result(STARTED)
    scenario.receive_call("StopTransaction", STOP | {"transactionId": 70})


def test_outbox_sender_entry_in_flight_is_not_sent_again() -> None:
    scenario = SenderHarness()
    scenario.queue_call("StopTransaction", STOP)
    scenario.queue_call("DataTransfer", {})
    assert scenario.sender.next_call(0.0, passing={1, 2}) is None
    outbound = scenario.sender.next_call(0.0, passing={1})
    assert outbound is not None
    assert outbound.action == "DataTransfer"


@pytest.mark.parametrize("code", ["FormationViolation", "PropertyConstraintViolation", "NotSupported"])
def test_sender_entry_rejected_for_good_is_not_retried(code: str) -> None:
    scenario = SenderHarness()
    scenario.queue_call("StopTransaction", STOP)
    scenario.queue_call("SecurityEventNotification", {})
    scenario.sender.on_attached()
    scenario.receive_call("StopTransaction")
    scenario.send_result(error=code)
    assert scenario.records == [EntrySetAside("CS01", "csms", 1, code)]
    assert "set aside" in scenario.log[0]
    scenario.receive_call("SecurityEventNotification")
    scenario.send_result(error=code)
    assert scenario.records == [EntryRemoved("CS01", "csms", 2)]  # a notice is not worth a person's time
    assert "dropped" in scenario.log[0]


def test_sender_entries_of_a_start_set_aside_are_not_sent() -> None:
    scenario = SenderHarness()
    scenario.queue_call("StartTransaction", START)
    scenario.queue_call("StopTransaction", STOP)
    scenario.sender.on_attached()
    scenario.receive_call("StartTransaction")
    scenario.send_result(error="TypeConstraintViolation")
    assert scenario.records[1:] == [TransactionUnmapped("CS01", "csms", OWN)]
    scenario.queue_call("MeterValues", METER)
    scenario.queue_call("DataTransfer", {})
    scenario.receive_call("DataTransfer")
    assert scenario.records[:2] == [
        EntrySetAside("CS01", "csms", 2, "its start was rejected"),
        EntryRemoved("CS01", "csms", 3),
    ]
    assert scenario.outbox.set_aside_count == 2


def test_start_answered_without_transaction_id_is_delivered() -> None:
    scenario = SenderHarness()
    scenario.queue_call("StartTransaction", START)
    scenario.sender.on_attached()
    scenario.receive_call("StartTransaction")
    scenario.send_result({"idTagInfo": {"status": "Accepted"}})
    assert scenario.records == [EntryRemoved("CS01", "csms", 1), TransactionUnmapped("CS01", "csms", OWN)]


def test_outbox_sender_signed_message_is_sent_unchanged() -> None:
    scenario = SenderHarness()
    scenario.queue_call("StartTransaction", START)
    scenario.queue_call("StopTransaction", STOP | {"signatures": []})
    scenario.sender.on_attached()
    scenario.receive_call("StartTransaction")
    scenario.send_result(STARTED)
    scenario.receive_call("StopTransaction", STOP | {"signatures": []})
    assert "with our transaction id" in scenario.log[0]


def test_sender_entry_of_another_version_waits_for_its_link() -> None:
    scenario = SenderHarness(V201)
    scenario.snapshot.on_boot(V16, json.dumps(BOOT).encode())
    scenario.queue_call("StopTransaction", STOP, V16)
    scenario.sender.on_attached()
    scenario.expect_nothing()
    old = OutboxSender(scenario.outbox, scenario.snapshot, scenario.ids, V16, "csms")
    old.on_attached()
    boot = old.next_call(0.0)
    assert boot is not None
    assert boot.action == "BootNotification"


def test_outbox_sender_answer_to_removed_entry_changes_nothing() -> None:
    scenario = SenderHarness()
    scenario.queue_call("StopTransaction", STOP)
    scenario.sender.on_attached()
    scenario.receive_call("StopTransaction")
    scenario.send_result()
    scenario.send_result()
    assert (scenario.records, scenario.log) == ([], [])


def test_sender_without_anything_due_has_nothing_due() -> None:
    scenario = SenderHarness()
    scenario.snapshot.on_boot(V16, json.dumps(BOOT).encode())
    scenario.sender.on_attached()
    assert scenario.sender.has_due(scenario.now)
    scenario.receive_call("BootNotification")
    scenario.send_result({"status": "Accepted", "interval": 300, "currentTime": "2026-01-01T00:00:00Z"})
    assert not scenario.sender.has_due(scenario.now)
    assert scenario.sender.on_answer(
        OutboundCall(id="late", action="Heartbeat", payload=b"{}"), b"{}", None, 0.0
    ) == (
        [],
        [],
    )


def restored_ids(stored: list[Record]) -> TransactionIdMap:
    """Return the ids as they are after a restart."""
    mapped: dict[int, TransactionMapped] = {}
    for record in stored:
        if isinstance(record, TransactionMapped):
            mapped[record.own] = record
        elif isinstance(record, TransactionUnmapped):
            mapped.pop(record.own, None)
    ids = TransactionIdMap("CS01", "csms")
    ids.restore(mapped.values())
    return ids


@pytest.mark.parametrize("is_restarted", [False, True])
@pytest.mark.parametrize("is_set_aside", [False, True])
def test_meter_values_after_stop_keep_id_of_backend(*, is_restarted: bool, is_set_aside: bool) -> None:
    """MeterValues that failed are sent again after the StopTransaction, also by a person."""
    scenario = SenderHarness()
    scenario.queue_call("StartTransaction", START)
    scenario.queue_call("MeterValues", METER)
    scenario.queue_call("StopTransaction", STOP)
    scenario.sender.on_attached()
    scenario.receive_call("StartTransaction")
    scenario.send_result(STARTED)
    stored = list(scenario.records)
    scenario.receive_call("MeterValues")
    scenario.send_result(error="FormationViolation" if is_set_aside else "InternalError")
    scenario.receive_call("StopTransaction", STOP | {"transactionId": 70})
    scenario.send_result()
    stored += scenario.records
    if is_restarted:
        scenario.ids = restored_ids(stored)
        scenario.make_sender()
        scenario.sender.on_attached()
        scenario.expect_nothing()  # a late answer is waited for
    if is_set_aside:
        scenario.outbox.requeue_entry(2)
    scenario.now += WAITS_S[0]
    scenario.receive_call("MeterValues", METER | {"transactionId": 70})
    scenario.send_result()
    assert scenario.records == [EntryRemoved("CS01", "csms", 2), TransactionUnmapped("CS01", "csms", OWN)]
    assert not scenario.ids.is_known(OWN)


def test_ended_transaction_is_dropped_with_its_message_set_aside() -> None:
    scenario = SenderHarness()
    scenario.queue_call("StartTransaction", START)
    scenario.queue_call("MeterValues", METER)
    scenario.queue_call("StopTransaction", STOP)
    scenario.sender.on_attached()
    for action, result, error in (
        ("StartTransaction", STARTED, ""),
        ("MeterValues", None, "FormationViolation"),
        ("StopTransaction", {}, ""),
    ):
        scenario.receive_call(action)
        scenario.send_result(result, error)
    scenario.outbox.drop_set_aside(2)
    scenario.sender.on_attached()
    scenario.queue_call("StatusNotification", {"connectorId": 1})
    assert TransactionUnmapped("CS01", "csms", OWN) in scenario.receive_call("StatusNotification").records
