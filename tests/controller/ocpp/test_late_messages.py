"""Messages of 2.x stations that come late, twice, of another transaction or of another connector."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from controller.model.observations import (
    DrawSeen,
    EvseRating,
    EvseState,
    Observation,
    StateSeen,
    TransactionSeen,
)
from controller.ocpp.frames import Version
from controller.ocpp.station_state import StationStateTracker
from tests.controller.ocpp.schemas import check, request

NOON = 1_774_785_600.0
CHARGING, ENDED = StateSeen(1, EvseState.CHARGING), TransactionSeen(1, False)
FINISHING, AVAILABLE = StateSeen(1, EvseState.FINISHING), StateSeen(1, EvseState.AVAILABLE)
DRAW = DrawSeen(1, (16.0, 16.0, 16.0))


class LateMessages:
    """One EVSE with two connectors; times are s after noon."""

    def __init__(self, version: Version = Version.V201) -> None:
        self.version = version
        self.tracker = StationStateTracker(version, 230.0, {1: EvseRating(3, 32.0)})
        self.now = 0.0
        self._number = 0

    def send(self, action: str, payload: dict[str, Any]) -> list[Observation]:
        text = json.dumps(payload).encode()
        check(self.version, request(self.version, action), text)
        return self.tracker.on_message(action, text, NOON + self.now)

    def event(
        self,
        kind: str,
        transaction: str,
        state: str | None = None,
        *,
        at: float | None = None,
        values_at: float | None = None,
        **more: Any,
    ) -> list[Observation]:
        info = {"transactionId": transaction} | ({} if state is None else {"chargingState": state})
        self._number += 1
        payload = {
            "eventType": kind,
            "timestamp": stamp(self.now if at is None else at),
            "triggerReason": "Trigger",
            "seqNo": self._number,
            "transactionInfo": info,
            **more,
        }
        if values_at is not None:
            payload["meterValue"] = make_values(values_at)
        return self.send("TransactionEvent", payload)

    def start(self, transaction: str, connector: int = 1) -> None:
        self.event("Started", transaction, "Charging", evse={"id": 1, "connectorId": connector})

    def send_status(self, status: str, connector: int = 1) -> list[Observation]:
        payload = {"evseId": 1, "connectorId": connector, "connectorStatus": status}
        return self.send("StatusNotification", {**payload, "timestamp": stamp(self.now)})

    def send_values(self, at: float) -> list[Observation]:
        return self.send("MeterValues", {"evseId": 1, "meterValue": make_values(at)})


def stamp(seconds: float) -> str:
    return datetime.fromtimestamp(NOON + seconds, UTC).isoformat()


def make_values(at: float) -> list[dict[str, Any]]:
    sampled = [{"value": 16.0, "measurand": "Current.Import", "phase": f"L{n}"} for n in (1, 2, 3)]
    return [{"timestamp": stamp(at), "sampledValue": sampled}]


# -- connectors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["Available", "Reserved", "Unavailable", "Faulted"])
@pytest.mark.parametrize("connector", [1, 2])
def test_state_of_other_connector_leaves_car_charging(status: str, connector: int) -> None:
    station = LateMessages()
    station.start("T", connector)
    assert station.send_status(status, 3 - connector) == [CHARGING]
    assert station.send_status("Occupied", connector) == [CHARGING]


def test_state_of_other_connector_by_event_leaves_car_charging() -> None:
    station = LateMessages()
    station.start("T")
    data = {
        "eventId": 1,
        "timestamp": stamp(0),
        "trigger": "Delta",
        "actualValue": "Available",
        "eventNotificationType": "HardWiredNotification",
        "component": {"name": "Connector", "evse": {"id": 1, "connectorId": 2}},
        "variable": {"name": "AvailabilityState"},
    }
    payload = {"generatedAt": stamp(0), "seqNo": 0, "eventData": [data]}
    assert station.send("NotifyEvent", payload) == [CHARGING]


def test_state_of_other_connector_after_restart_leaves_car_charging() -> None:
    before = LateMessages()
    before.start("T", 2)
    record = before.tracker.take_record()
    assert record is not None
    after = LateMessages()
    after.tracker.restore(record)
    assert after.send_status("Available", 1) == [CHARGING]


def test_cable_in_one_connector_counts_without_transaction() -> None:
    station = LateMessages()
    station.send_status("Occupied", 1)
    assert station.send_status("Available", 2) == [StateSeen(1, EvseState.PREPARING)]
    assert station.send_status("Faulted", 1) == [AVAILABLE]


def test_available_of_connector_in_use_counts() -> None:
    station = LateMessages()
    station.send_status("Available", 2)
    station.start("T")
    assert station.send_status("Available", 1) == [AVAILABLE]


def test_connectors_of_ended_transaction_count_again() -> None:
    station = LateMessages()
    station.start("T", 2)
    station.send_status("Available", 1)
    station.event("Ended", "T", "Idle")
    assert station.send_status("Available", 2) == [AVAILABLE]


# -- transactions -----------------------------------------------------------------------------------------


def test_end_of_transaction_never_begun_ends_no_other() -> None:
    station = LateMessages()
    station.start("T")
    assert station.event("Ended", "X", "Idle") == []
    assert station.event("Ended", "Y", "Idle", evse={"id": 1, "connectorId": 1}) == []
    assert station.event("Ended", "T", "Idle") == [ENDED, FINISHING]


def test_late_events_of_last_transaction_change_no_next_one() -> None:
    station = LateMessages()
    station.start("OLD")
    station.start("NEW")
    assert station.event("Updated", "OLD", "SuspendedEV") == []
    assert station.event("Ended", "OLD", "Idle") == []
    assert station.tracker.find_transaction(1) == "NEW"


def test_transaction_whose_begin_is_missing_replaces_last_one() -> None:
    station = LateMessages()
    station.start("OLD")
    assert station.event("Updated", "NEW", "SuspendedEV") == [StateSeen(1, EvseState.SUSPENDED_EV)]
    assert station.tracker.find_transaction(1) == "NEW"


def test_transaction_that_began_offline_has_its_last_state() -> None:
    station = LateMessages()
    station.start("OLD")
    station.now = 300.0
    station.send_status("Occupied")
    assert station.event("Ended", "OLD", "Idle", at=60, offline=True) == [ENDED, FINISHING]
    where = {"id": 1, "connectorId": 1}
    started = station.event("Started", "NEW", "EVConnected", at=120, offline=True, evse=where)
    assert started == [TransactionSeen(1, True, "NEW", waits=True), StateSeen(1, EvseState.PREPARING)]
    charging = station.event("Updated", "NEW", "Charging", at=130, values_at=130, offline=True)
    assert charging == [TransactionSeen(1, True, "NEW"), CHARGING]


def test_replayed_state_is_older_than_state_of_now() -> None:
    station = LateMessages()
    station.start("T")
    station.now = 300.0
    assert station.event("Updated", "T", "Charging") == [CHARGING]
    assert station.event("Updated", "T", "SuspendedEV", at=120, offline=True) == []
    station.send_status("Available")
    assert station.event("Updated", "T", "Charging", at=290, offline=True) == []


# -- times ------------------------------------------------------------------------------------------------


def test_values_from_before_end_of_transaction_are_no_draw() -> None:
    station = LateMessages()
    station.start("T")
    station.now = 100.0
    station.event("Ended", "T", "Idle")
    station.now = 102.0
    assert station.send_values(80.0) == []
    assert station.send_values(102.0) == [DRAW]


def test_values_16_from_before_stop_are_no_draw() -> None:
    station = LateMessages(Version.V16)
    started = {"connectorId": 1, "idTag": "A", "meterStart": 0, "timestamp": stamp(0)}
    station.send("StartTransaction", started)
    station.tracker.on_call_result(
        "StartTransaction", json.dumps(started).encode(), b'{"transactionId":7,"idTagInfo":{}}'
    )
    station.now = 100.0
    stopped = {"transactionId": 7, "meterStop": 9, "timestamp": stamp(100)}
    assert station.send("StopTransaction", stopped) == [ENDED]
    sampled = [{"value": "16", "measurand": "Current.Import", "phase": f"L{n}"} for n in (1, 2, 3)]
    late = {"connectorId": 1, "meterValue": [{"timestamp": stamp(80), "sampledValue": sampled}]}
    assert station.send("MeterValues", late) == []


@pytest.mark.parametrize("ahead_s", [7200.0, -7200.0, -1.7e9, 1e9])
def test_meter_with_clock_of_its_own_is_read(ahead_s: float) -> None:
    """A meter in local time, or one that counts from 1970, beside events in UTC."""
    station = LateMessages()
    station.start("T")
    states = ("SuspendedEV", "Charging")
    for turn in range(40):
        station.now = 30.0 * turn
        seen = station.event("Updated", "T", states[turn % 2], values_at=station.now + ahead_s)
        assert [type(each) for each in seen] == [StateSeen, DrawSeen]


def test_meter_whose_clock_stands_still_is_read() -> None:
    station = LateMessages()
    station.start("T")
    for turn in range(40):
        station.now = 30.0 * turn
        assert station.send_values(-1000.0) == [DRAW]


# -- cars that wait for their driver -----------------------------------------------------------------------

WHERE = {"id": 1, "connectorId": 1}
TOKEN = {"idToken": "A", "type": "ISO14443"}


@pytest.mark.parametrize("admission", [{"triggerReason": "Authorized"}, {"idToken": TOKEN}])
def test_transaction_that_begins_with_cable_waits_for_driver(admission: dict[str, Any]) -> None:
    station = LateMessages()
    waiting = [TransactionSeen(1, True, "T", waits=True), StateSeen(1, EvseState.PREPARING)]
    assert station.event("Started", "T", "EVConnected", evse=WHERE) == waiting
    assert station.event("Updated", "T", "EVConnected") == [StateSeen(1, EvseState.PREPARING)]
    assert station.event("Updated", "T", **admission) == [TransactionSeen(1, True, "T")]
    assert station.event("Updated", "T", "Charging", **admission) == [CHARGING]


@pytest.mark.parametrize("state", ["Charging", "SuspendedEV", "SuspendedEVSE"])
def test_car_that_charges_without_driver_no_longer_waits(state: str) -> None:
    station = LateMessages()
    station.event("Started", "T", "EVConnected", evse=WHERE)
    [begun, _] = station.event("Updated", "T", state)
    assert begun == TransactionSeen(1, True, "T")


def test_transaction_that_begins_authorized_or_without_state_does_not_wait() -> None:
    for transaction, more in (("T", {"idToken": TOKEN}), ("U", {"triggerReason": "RemoteStart"})):
        station = LateMessages()
        assert station.event("Started", transaction, "EVConnected", evse=WHERE, **more)[0] == TransactionSeen(
            1, True, transaction
        )
    assert LateMessages().event("Started", "V", evse=WHERE) == [TransactionSeen(1, True, "V")]
