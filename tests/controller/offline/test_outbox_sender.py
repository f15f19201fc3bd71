"""What a backend hears of one station, in which order, and what becomes of what it does not take."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from controller.model.journal import Record
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
    MOST_BOOT_WAIT_S,
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


class Talk:
    """A station that has said things, and a backend that hears them over one link after the other."""

    def __init__(self, version: Version = V16) -> None:
        self.version = version
        self.now = 0.0
        self.records: list[Record] = []
        self.notes: list[str] = []
        self.outbox = Outbox("CS01", "csms")
        self.snapshot = StationSnapshot("CS01")
        self.ids = TransactionIdMap("CS01", "csms")
        self.sender = OutboxSender(self.outbox, self.snapshot, self.ids, version, "csms", self._new_ids())
        self._asked: OutboundCall | None = None

    def _new_ids(self) -> Any:
        numbers = itertools.count(1)
        return lambda: f"snapshot-{next(numbers)}"

    def said(self, action: str, payload: dict[str, Any], version: Version | None = None) -> None:
        """The station has said this while the backend was away."""
        version, raw = version or self.version, json.dumps(payload).encode()
        own = OWN if action == "StartTransaction" else None
        if own is not None:
            self.ids.expect_backend_id(own)
        self.outbox.queue_message(
            version, action, raw, kind_of(version, action, raw), f"m-{action}", 1.0, own
        )

    def hears(self, action: str, payload: dict[str, Any] | None = None) -> OutboundCall:
        """What the backend hears next."""
        outbound = self.sender.next_call(self.now)
        assert outbound is not None
        self.records, self.notes = list(outbound.records), list(outbound.notes)
        assert outbound.action == action
        assert payload is None or json.loads(outbound.payload) == payload
        self._asked = outbound
        return outbound

    def hears_nothing(self) -> None:
        assert self.sender.next_call(self.now) is None

    def answers(self, result: dict[str, Any] | None = None, error: str | None = "") -> None:
        """The backend's answer to what it has heard; `error` None: it gives none."""
        assert self._asked is not None
        payload = json.dumps(result or {}).encode() if error == "" else None
        error = error or None
        self.records, self.notes = self.sender.on_answer(self._asked, payload, error, self.now)


def test_outbox_sender_sends_snapshot_then_queued_entries() -> None:
    talk = Talk()
    talk.snapshot.on_boot(V16, json.dumps(BOOT).encode())
    for connector in (2, 1):
        talk.snapshot.on_station_call(
            V16, "StatusNotification", json.dumps({"connectorId": connector}).encode()
        )
    talk.said("StartTransaction", START)
    talk.said("MeterValues", METER)
    talk.said("StopTransaction", STOP)
    talk.sender.on_attached()
    talk.hears("BootNotification", BOOT)
    talk.answers(ACCEPTED)
    assert talk.records == [SnapshotDelivered("CS01", "boot accepted by csms", V16, "boot", b"{}")]
    for connector in (1, 2):
        talk.hears("StatusNotification", {"connectorId": connector})
        talk.answers()
    talk.hears("StartTransaction", START)
    assert talk.records == [EntrySent("CS01", "csms", 1)]
    talk.answers(STARTED)
    assert talk.records == [EntryRemoved("CS01", "csms", 1), TransactionMapped("CS01", "csms", OWN, 70)]
    talk.hears("MeterValues", METER | {"transactionId": 70})
    talk.answers()
    assert talk.records == [EntryRemoved("CS01", "csms", 2)]
    talk.hears("StopTransaction", STOP | {"transactionId": 70})
    assert not talk.sender.is_done
    talk.answers()
    assert talk.records == [EntryRemoved("CS01", "csms", 3), TransactionUnmapped("CS01", "csms", OWN)]
    talk.hears_nothing()
    assert talk.sender.is_done


def test_next_link_repeats_entry_under_id_but_no_accepted_boot() -> None:
    talk = Talk()
    talk.snapshot.on_boot(V16, json.dumps(BOOT).encode())
    talk.said("StopTransaction", STOP)
    talk.sender.on_attached()
    first = talk.hears("BootNotification")
    talk.sender.on_attached()
    assert talk.hears("BootNotification").id != first.id  # it was not answered
    talk.answers(ACCEPTED)
    sent = talk.hears("StopTransaction")
    assert talk.notes == []
    talk.sender.on_attached()
    assert talk.sender.next_call(talk.now) is None
    talk.now += LATE_ANSWER_S
    again = talk.hears("StopTransaction")
    assert (again.id, again.payload) == (sent.id, sent.payload)
    assert (talk.records, "its answer was never seen" in talk.notes[0]) == ([], True)


def test_next_link_waits_for_late_answer_and_goes_on_with_it() -> None:
    talk = Talk()
    talk.said("StartTransaction", START)
    talk.said("StopTransaction", STOP)
    talk.sender.on_attached()
    start = talk.hears("StartTransaction")
    talk.sender.on_attached()
    assert talk.sender.next_call(talk.now) is None
    assert talk.sender.has_due(talk.now)
    assert talk.sender.deadline == talk.now + LATE_ANSWER_S
    assert talk.sender.on_late_result("unknown", b"{}", talk.now) is None
    late = talk.sender.on_late_result(start.id, json.dumps(STARTED).encode(), talk.now)
    assert late is not None
    assert talk.ids.backend_id(OWN) == 70
    talk.hears("StopTransaction")
    assert talk.sender.deadline is None


def test_next_links_wait_once_for_each_answer() -> None:
    talk = Talk()
    talk.said("StartTransaction", START)
    talk.sender.on_attached()
    talk.hears("StartTransaction")
    talk.sender.on_attached()
    assert talk.sender.next_call(talk.now) is None
    talk.sender.on_attached()
    talk.hears("StartTransaction")


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
    talk = Talk()
    talk.snapshot.on_boot(V16, json.dumps(BOOT).encode())
    talk.said("StopTransaction", STOP)
    talk.sender.on_attached()
    talk.hears("BootNotification")
    talk.answers(result, error or "")
    assert talk.sender.deadline == wait_s
    talk.now = wait_s - 0.1
    talk.hears_nothing()
    talk.now = wait_s
    talk.hears("BootNotification")
    talk.answers(ACCEPTED)
    talk.hears("StopTransaction")


def test_sender_backend_without_boots_gets_the_rest() -> None:
    talk = Talk()
    talk.snapshot.on_boot(V16, json.dumps(BOOT).encode())
    talk.said("StopTransaction", STOP)
    talk.sender.on_attached()
    talk.hears("BootNotification")
    talk.answers(error="NotImplemented")
    assert "NotImplemented" in talk.notes[0]
    talk.hears("StopTransaction")


@pytest.mark.parametrize("error", ["InternalError", None])
def test_failed_entry_goes_again_later_and_is_set_aside_after_last_try(error: str | None) -> None:
    talk = Talk()
    talk.said("StopTransaction", STOP)
    talk.said("DataTransfer", {})
    talk.sender.on_attached()
    ids = set()
    for wait_s in WAITS_S:
        ids.add(talk.hears("StopTransaction").id)
        talk.answers(error=error)
        assert talk.records == []
        assert f"goes again in {wait_s:g} s" in talk.notes[0]
        assert talk.sender.deadline == talk.now + wait_s
        if wait_s == WAITS_S[0]:  # what follows does not wait for it
            talk.hears("DataTransfer")
            talk.answers()
        talk.hears_nothing()
        talk.now += wait_s
    ids.add(talk.hears("StopTransaction").id)
    talk.answers(error=error)
    assert len(ids) == 1  # it may have been booked before it was answered so
    assert talk.records == [EntrySetAside("CS01", "csms", 1, error or "no answer")]
    assert talk.sender.is_done


def test_outbox_sender_start_to_retry_delays_own_transaction_only() -> None:
    talk = Talk()
    talk.said("StartTransaction", START)
    talk.said("StopTransaction", STOP)
    talk.said("MeterValues", METER | {"transactionId": 5})
    talk.sender.on_attached()
    talk.hears("StartTransaction")
    talk.answers(error="InternalError")
    talk.hears("MeterValues", METER | {"transactionId": 5})
    talk.answers()
    talk.hears_nothing()
    talk.now += WAITS_S[0]
    talk.hears("StartTransaction")
    talk.answers(STARTED)
    talk.hears("StopTransaction", STOP | {"transactionId": 70})


def test_outbox_sender_entry_in_flight_is_not_sent_again() -> None:
    talk = Talk()
    talk.said("StopTransaction", STOP)
    talk.said("DataTransfer", {})
    assert talk.sender.next_call(0.0, passing={1, 2}) is None
    outbound = talk.sender.next_call(0.0, passing={1})
    assert outbound is not None
    assert outbound.action == "DataTransfer"


@pytest.mark.parametrize("code", ["FormationViolation", "PropertyConstraintViolation", "NotSupported"])
def test_sender_entry_rejected_for_good_is_not_retried(code: str) -> None:
    talk = Talk()
    talk.said("StopTransaction", STOP)
    talk.said("SecurityEventNotification", {})
    talk.sender.on_attached()
    talk.hears("StopTransaction")
    talk.answers(error=code)
    assert talk.records == [EntrySetAside("CS01", "csms", 1, code)]
    assert "set aside" in talk.notes[0]
    talk.hears("SecurityEventNotification")
    talk.answers(error=code)
    assert talk.records == [EntryRemoved("CS01", "csms", 2)]  # a notice is not worth a person's time
    assert "dropped" in talk.notes[0]


def test_sender_entries_of_a_start_set_aside_are_not_sent() -> None:
    talk = Talk()
    talk.said("StartTransaction", START)
    talk.said("StopTransaction", STOP)
    talk.sender.on_attached()
    talk.hears("StartTransaction")
    talk.answers(error="TypeConstraintViolation")
    assert talk.records[1:] == [TransactionUnmapped("CS01", "csms", OWN)]
    talk.said("MeterValues", METER)
    talk.said("DataTransfer", {})
    talk.hears("DataTransfer")
    assert talk.records[:2] == [
        EntrySetAside("CS01", "csms", 2, "its start was rejected"),
        EntryRemoved("CS01", "csms", 3),
    ]
    assert talk.outbox.set_aside_count == 2


def test_start_answered_without_transaction_id_is_delivered() -> None:
    talk = Talk()
    talk.said("StartTransaction", START)
    talk.sender.on_attached()
    talk.hears("StartTransaction")
    talk.answers({"idTagInfo": {"status": "Accepted"}})
    assert talk.records == [EntryRemoved("CS01", "csms", 1), TransactionUnmapped("CS01", "csms", OWN)]


def test_outbox_sender_signed_message_is_sent_unchanged() -> None:
    talk = Talk()
    talk.said("StartTransaction", START)
    talk.said("StopTransaction", STOP | {"signatures": []})
    talk.sender.on_attached()
    talk.hears("StartTransaction")
    talk.answers(STARTED)
    talk.hears("StopTransaction", STOP | {"signatures": []})
    assert "with our transaction id" in talk.notes[0]


def test_sender_entry_of_another_version_waits_for_its_link() -> None:
    talk = Talk(V201)
    talk.snapshot.on_boot(V16, json.dumps(BOOT).encode())
    talk.said("StopTransaction", STOP, V16)
    talk.sender.on_attached()
    talk.hears_nothing()
    old = OutboxSender(talk.outbox, talk.snapshot, talk.ids, V16, "csms")
    old.on_attached()
    boot = old.next_call(0.0)
    assert boot is not None
    assert boot.action == "BootNotification"


def test_outbox_sender_answer_to_removed_entry_changes_nothing() -> None:
    talk = Talk()
    talk.said("StopTransaction", STOP)
    talk.sender.on_attached()
    talk.hears("StopTransaction")
    talk.answers()
    talk.answers()
    assert (talk.records, talk.notes) == ([], [])


def test_sender_without_anything_due_has_nothing_due() -> None:
    talk = Talk()
    talk.snapshot.on_boot(V16, json.dumps(BOOT).encode())
    talk.sender.on_attached()
    assert talk.sender.has_due(talk.now)
    talk.hears("BootNotification")
    talk.answers({"status": "Accepted", "interval": 300, "currentTime": "2026-01-01T00:00:00Z"})
    assert not talk.sender.has_due(talk.now)
    assert talk.sender.on_answer(
        OutboundCall(id="late", action="Heartbeat", payload=b"{}"), b"{}", None, 0.0
    ) == (
        [],
        [],
    )
