"""Snapshot of a station, in the order in which a backend needs it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controller.model.journal import Record
from controller.ocpp.frames import Version
from controller.offline.journal_records import SnapshotDelivered
from controller.offline.station_snapshot import MOST_CONNECTORS, USUAL_INTERVAL_S, StationSnapshot

V16, V201, V21 = Version.V16, Version.V201, Version.V21
BOOT_16: dict[str, Any] = {
    "chargePointVendor": "ABL",
    "chargePointModel": "eMH3",
    "chargePointSerialNumber": "1",
}
BOOT_2: dict[str, Any] = {
    "reason": "PowerUp",
    "chargingStation": {"vendorName": "ABL", "model": "eMH3", "serialNumber": "1"},
}
BOOTS: dict[Version, dict[str, Any]] = {V16: BOOT_16, V201: BOOT_2, V21: BOOT_2}


def _payload(members: dict[str, Any]) -> bytes:
    return json.dumps(members).encode()


def _status(version: Version, evse: int, status: str = "Available") -> bytes:
    if version is V16:
        return _payload({"connectorId": evse, "errorCode": "NoError", "status": status})
    return _payload({"evseId": evse, "connectorId": 1, "connectorStatus": status, "timestamp": "t"})


def _answer(status: str, interval: int = 60) -> bytes:
    return _payload({"status": status, "interval": interval, "currentTime": "2026-11-21T12:00:00Z"})


@pytest.mark.parametrize("version", list(Version))
def test_station_snapshot_boot_and_statuses_are_reported_in_order(version: Version) -> None:
    snapshot = StationSnapshot("CS01")
    boot = _payload(BOOTS[version])
    records = snapshot.on_boot(version, boot)
    for evse in (10, 2, 1):
        records += snapshot.on_station_call(version, "StatusNotification", _status(version, evse))
    records += snapshot.on_station_call(version, "StatusNotification", _status(version, 2, "Occupied"))
    assert snapshot.boot == records[0]
    reported = [_status(version, 1), _status(version, 2, "Occupied"), _status(version, 10)]
    assert [status.payload for status in snapshot.statuses] == reported
    recalled = StationSnapshot("CS01")
    recalled.restore([SnapshotDelivered("CS02", "boot", version, "BootNotification", b"{}"), *records])
    assert (recalled.boot, recalled.statuses) == (snapshot.boot, snapshot.statuses)


@pytest.mark.parametrize("version", list(Version))
def test_station_snapshot_unchanged_status_is_no_record(version: Version) -> None:
    snapshot = StationSnapshot("CS01")
    boot, status = _payload(BOOTS[version]), _status(version, 1)
    assert len(snapshot.on_boot(version, boot)) == 1
    assert len(snapshot.on_boot(version, boot)) == 1  # an equal boot is another one
    assert len(snapshot.on_station_call(version, "StatusNotification", status)) == 1
    assert snapshot.on_station_call(version, "StatusNotification", status) == []


def test_station_snapshot_boot_makes_statuses_before_it_untrue() -> None:
    snapshot = StationSnapshot("CS01")
    records: list[Record] = [*snapshot.on_station_call(V16, "StatusNotification", _status(V16, 1))]
    forgotten = snapshot.on_boot(V16, _payload(BOOT_16))
    assert [
        (word.topic, word.payload is None) for word in forgotten if isinstance(word, SnapshotDelivered)
    ] == [
        ("status 1 1", True),
        ("boot", False),
    ]
    recalled = StationSnapshot("CS01")
    recalled.restore([*records, *forgotten])
    assert snapshot.statuses == recalled.statuses == []


@pytest.mark.parametrize(
    ("action", "payload"),
    [
        ("StatusNotification", b'{"status":"Available"}'),
        ("StatusNotification", b"[]"),
        ("StatusNotification-Signed", _status(V201, 1)),
        ("Heartbeat", b"{}"),
    ],
)
def test_snapshot_ignores_other_messages(action: str, payload: bytes) -> None:
    snapshot = StationSnapshot("CS01")
    assert snapshot.on_station_call(V201, action, payload) == []
    assert (snapshot.boot, snapshot.statuses) == (None, [])


def test_no_station_fills_disk_with_connectors() -> None:
    snapshot = StationSnapshot("CS01")
    for evse in range(MOST_CONNECTORS + 5):
        snapshot.on_station_call(V16, "StatusNotification", _status(V16, evse))
    assert len(snapshot.statuses) == MOST_CONNECTORS
    assert len(snapshot.on_station_call(V16, "StatusNotification", _status(V16, 3, "Faulted"))) == 1


@pytest.mark.parametrize("version", list(Version))
def test_station_that_was_accepted_is_known_again(version: Version) -> None:
    snapshot = StationSnapshot("CS01")
    boot = _payload(BOOTS[version])
    assert not snapshot.was_accepted(version, boot)
    records = snapshot.on_boot_answer(version, boot, _answer("Accepted", 120))
    assert snapshot.interval_s == 120
    recalled = StationSnapshot("CS01")
    recalled.restore(records)
    assert recalled.interval_s == USUAL_INTERVAL_S
    for known in (snapshot, recalled):
        assert known.was_accepted(version, _payload(BOOTS[version] | {"firmwareVersion": "2"}))
        assert known.was_accepted(V16, _payload(BOOT_16))  # whatever version it speaks now
        assert not known.was_accepted(V16, _payload(BOOT_16 | {"chargePointSerialNumber": "2"}))
        assert not known.was_accepted(V201, b'{"reason":"PowerUp"}')
    assert snapshot.on_boot_answer(version, boot, _answer("Accepted")) == []


@pytest.mark.parametrize(("status", "known"), [("Accepted", True), ("Pending", True), ("Rejected", False)])
def test_station_snapshot_last_boot_answer_counts(status: str, known: bool) -> None:
    snapshot, boot = StationSnapshot("CS01"), _payload(BOOT_16)
    records = snapshot.on_boot_answer(V16, boot, _answer("Accepted")) + snapshot.on_boot_answer(
        V16, boot, _answer(status)
    )
    recalled = StationSnapshot("CS01")
    recalled.restore(records)
    assert snapshot.was_accepted(V16, boot) is recalled.was_accepted(V16, boot) is known


@pytest.mark.parametrize(
    "result", [b"{}", b"[]", _answer("Pending"), _answer("Rejected"), _answer("Accepted", -1)[:5]]
)
def test_no_acceptance_is_no_acceptance(result: bytes) -> None:
    snapshot = StationSnapshot("CS01")
    assert snapshot.on_boot_answer(V16, _payload(BOOT_16), result) == []
    assert not snapshot.was_accepted(V16, _payload(BOOT_16))


def test_boot_is_sent_to_backend_until_it_has_accepted_that_very_boot() -> None:
    snapshot, boot = StationSnapshot("CS01"), _payload(BOOT_16)
    assert snapshot.on_boot_accepted_by("cpo") == []  # there is none yet
    records = snapshot.on_boot(V16, boot)
    assert not snapshot.is_boot_accepted_by("cpo")
    records += snapshot.on_boot_accepted_by("cpo")
    assert snapshot.on_boot_accepted_by("cpo") == []
    restored = StationSnapshot("CS01")
    restored.restore(records)
    for each in (snapshot, restored):
        assert each.is_boot_accepted_by("cpo")
        assert not each.is_boot_accepted_by("fleet")
        each.on_boot(V16, boot)
        assert not each.is_boot_accepted_by("cpo")


def test_boot_that_is_not_answered_is_not_taken() -> None:
    snapshot = StationSnapshot("CS01")
    assert snapshot.on_station_call(V16, "BootNotification", _payload(BOOT_16)) == []
    assert snapshot.boot is None
