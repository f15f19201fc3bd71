"""Conversations between an observing backend, the controller, and the station that it observes."""

from __future__ import annotations

import json
import math

import pytest

from controller.model.journal import Persist
from controller.ocpp.frames import Call, CallError, CallResult, Send, Version, call_error, call_result, parse
from controller.offline.journal_records import EntryQueued, SnapshotDelivered
from controller.offline.outbox_sender import LATE_ANSWER_S
from controller.relay.secondary_backend import (
    MOST_COMMANDS,
    USUAL_HEARTBEAT_S,
    AnswerToObserver,
    CallToObserver,
    ObserverCopy,
)
from tests.scenario.observer_harness import ACCEPTED, BOOT, START, TIMEOUT_S, UTC_0, ObserverHarness

VERSIONS = pytest.mark.parametrize("version", list(Version))


# -- the snapshot -----------------------------------------------------------------------------------------


@VERSIONS
def test_secondary_backend_that_attaches_gets_boot_and_states(version: Version) -> None:
    scenario = ObserverHarness(version)
    scenario.send_boot()
    scenario.send_status(2, "Available")
    scenario.send_status(1, "Available")
    scenario.send_status(1, "Faulted")
    scenario.connect()
    scenario.receive_call("BootNotification", BOOT[version])
    scenario.send_result(ACCEPTED)
    scenario.receive_call("StatusNotification", scenario.status_payload(1, "Faulted"))
    scenario.send_result()
    scenario.receive_call("StatusNotification", scenario.status_payload(2, "Available"))
    scenario.send_result()
    scenario.expect_nothing()
    assert [type(record) for record in scenario.records] == [
        SnapshotDelivered
    ]  # that it has accepted the boot


@VERSIONS
def test_observer_gets_states_but_no_accepted_boot_with_each_link(version: Version) -> None:
    scenario = ObserverHarness(version)
    scenario.introduce()
    scenario.disconnect()
    scenario.send_status(1, "Faulted")
    scenario.connect()
    scenario.receive_call("StatusNotification", scenario.status_payload(1, "Faulted"))
    scenario.send_result()
    scenario.expect_nothing()


def test_secondary_backend_station_that_boots_anew_has_new_snapshot() -> None:
    scenario = ObserverHarness()
    scenario.introduce()
    scenario.send_boot()
    scenario.receive_call("BootNotification")
    scenario.send_result(ACCEPTED)
    scenario.expect_nothing()


def test_observer_without_accepted_boot_gets_nothing_else() -> None:
    scenario = ObserverHarness()
    scenario.send_boot()
    scenario.send_status(1, "Available")
    scenario.connect()
    scenario.receive_call("BootNotification")
    scenario.send_result('{"status":"Pending","interval":20,"currentTime":"2027-01-15T08:00:00Z"}')
    scenario.wait(19)
    scenario.wait(1)
    scenario.receive_call("BootNotification")
    scenario.send_result(ACCEPTED)
    scenario.receive_call("StatusNotification")


def test_observer_without_accepted_boot_gets_no_heartbeat() -> None:
    scenario = ObserverHarness()
    scenario.send_boot()
    scenario.connect()
    scenario.receive_call("BootNotification")
    scenario.send_result('{"status":"Rejected","interval":2000,"currentTime":"2027-01-15T08:00:00Z"}')
    scenario.wait(1999)
    scenario.wait(1)
    scenario.receive_call("BootNotification")


def test_secondary_backend_snapshot_has_permitted_states_only() -> None:
    scenario = ObserverHarness(observe=("transactions",))
    scenario.send_boot()
    scenario.send_status(1, "Available")
    scenario.connect()
    scenario.receive_call("BootNotification")
    scenario.send_result(ACCEPTED)
    scenario.send_status(1, "Charging")
    scenario.expect_nothing()


# -- copies --------------------------------------------------------------------------------------------


def test_secondary_backend_copy_has_own_id_and_same_payload() -> None:
    scenario = ObserverHarness()
    scenario.introduce()
    scenario.send_station_call("MeterValues", '{ "connectorId" :1,"meterValue":[],"x":1.50}')
    received = scenario.receive_call("MeterValues")
    assert received.payload == b'{ "connectorId" :1,"meterValue":[],"x":1.50}'
    assert received.id.startswith("own-")


def test_secondary_backend_one_at_time_is_outstanding() -> None:
    scenario = ObserverHarness()
    scenario.introduce()
    scenario.send_status(1, "Preparing")
    scenario.receive_call("StatusNotification")
    scenario.send_status(1, "Charging")
    scenario.expect_nothing()
    scenario.send_result()
    scenario.receive_call("StatusNotification", scenario.status_payload(1, "Charging"))


@pytest.mark.parametrize("action", ["Authorize", "Heartbeat", "DataTransfer", "AnActionOfOcpp3"])
def test_secondary_backend_gets_only_observed_actions(action: str) -> None:
    scenario = ObserverHarness()
    scenario.introduce()
    scenario.send_station_call(action, '{"idTag":"ABC"}')
    scenario.expect_nothing()


def test_secondary_backend_signed_message_counts_as_inner_action() -> None:
    scenario = ObserverHarness(Version.V21)
    scenario.introduce()
    scenario.send_station_call("StatusNotification-Signed", '{"payload":"e30"}')
    scenario.receive_call("StatusNotification-Signed", '{"payload":"e30"}')


def test_secondary_backend_sends_are_copied_only_while_connected() -> None:
    scenario = ObserverHarness(Version.V21, observe=("events",))
    frame = Send('[6,"1","NotifyPeriodicEventStream",{}]', "1", "NotifyPeriodicEventStream", b"{}")
    scenario.handle(ObserverCopy(frame, UTC_0))
    scenario.send_boot()
    scenario.connect()
    scenario.receive_call("BootNotification")
    scenario.handle(ObserverCopy(frame, UTC_0))
    assert scenario.receive_frame() == [6, "1", "NotifyPeriodicEventStream", {}]
    scenario.send_result(ACCEPTED)
    scenario.expect_nothing()


def test_secondary_backend_transactions_wait_on_disk_and_follow_snapshot() -> None:
    scenario = ObserverHarness()
    scenario.introduce()
    scenario.disconnect()
    scenario.send_station_call("StartTransaction", START, transaction=7)
    scenario.send_station_call(
        "StopTransaction", '{"transactionId":7,"meterStop":5,"timestamp":"2027-01-15T09:00:00Z"}'
    )
    assert [word.entry.action for word in scenario.records if isinstance(word, EntryQueued)] == [
        "StartTransaction",
        "StopTransaction",
    ]
    scenario.connect()
    scenario.receive_call("StatusNotification")
    scenario.send_result()
    scenario.receive_call("StartTransaction", START)
    scenario.send_result('{"transactionId":70,"idTagInfo":{"status":"Accepted"}}')
    assert json.loads(scenario.receive_call("StopTransaction").payload)["transactionId"] == 70
    scenario.send_result()
    scenario.expect_nothing()
    assert scenario.backend.is_idle


def test_secondary_backend_entry_is_durable_before_it_is_sent() -> None:
    scenario = ObserverHarness()
    scenario.introduce()
    frame = Call("", "s", "StartTransaction", START.encode())
    actions = scenario.backend.handle(ObserverCopy(frame, UTC_0, 7), scenario.now)
    kinds = [type(action) for action in actions]
    assert kinds.index(Persist) < kinds.index(CallToObserver)


def test_secondary_backend_call_without_answer_is_sent_again_under_same_id() -> None:
    scenario = ObserverHarness()
    scenario.introduce()
    scenario.send_station_call("StartTransaction", START, transaction=7)
    first = scenario.receive_call("StartTransaction")
    scenario.disconnect()
    scenario.connect()
    scenario.receive_call("StatusNotification")
    scenario.send_result()
    scenario.wait(LATE_ANSWER_S)
    assert scenario.receive_call("StartTransaction").id == first.id


def test_secondary_backend_late_answer_over_next_link_ends_its_call() -> None:
    scenario = ObserverHarness()
    scenario.introduce()
    scenario.send_station_call("StartTransaction", START, transaction=7)
    first = scenario.receive_call("StartTransaction")
    scenario.disconnect()
    scenario.connect()
    scenario.receive_call("StatusNotification")
    scenario.send_result()
    started = b'{"transactionId":9,"idTagInfo":{"status":"Accepted"}}'
    scenario.send(call_result(first.id, started))
    assert len(scenario.outbox) == 0
    scenario.wait(LATE_ANSWER_S)
    scenario.expect_nothing()


def test_observer_away_too_long_is_warned_of_once() -> None:
    scenario = ObserverHarness(capacity=2)
    for number in range(5):
        scenario.send_station_call("StartTransaction", START, transaction=number)
    assert len(scenario.outbox) == 2
    assert len([note for note in scenario.log if "away for too long" in note]) == 1


# -- its commands --------------------------------------------------------------------------------------


def test_secondary_backend_forbidden_command_is_refused_with_the_rule() -> None:
    scenario = ObserverHarness(may=("reads",))
    scenario.introduce()
    scenario.send_call("Reset", '{"type":"Hard"}')
    kind, number, code, description, _ = scenario.receive_frame()
    assert (kind, number, code) == (4, "o1", "SecurityError")
    assert description == 'fleet may not Reset CS01: see commands in [[backend]] "fleet"'
    assert scenario.log == [f"command rejected backend=fleet reason={description}"]


@pytest.mark.parametrize(
    ("answer", "received"),
    [
        ('[3, "{id}", {{ "status" :"Accepted"}}]', '[3,"o1",{ "status" :"Accepted"}]'),
        (
            '[4,"{id}","NotSupported","no","x"]',
            '[4,"o1","NotSupported","no","x"]',
        ),
    ],
)
def test_secondary_backend_command_passes_under_an_own_id(answer: str, received: str) -> None:
    scenario = ObserverHarness(may=("reads",))
    scenario.introduce()
    scenario.send_call("TriggerMessage", '{ "requestedMessage":"StatusNotification"}')
    command = scenario.take_command()
    assert command.payload == b'{ "requestedMessage":"StatusNotification"}'
    assert command.id != "o1"
    frame = parse(answer.format(id=command.id))
    assert isinstance(frame, CallResult | CallError)
    scenario.handle(AnswerToObserver(frame))
    assert scenario.receive_text() == received


def test_secondary_backend_repeated_command_is_sent_once() -> None:
    scenario = ObserverHarness(may=("reads",))
    scenario.introduce()
    scenario.send_call("TriggerMessage")
    command = scenario.take_command()
    scenario.send_call("TriggerMessage")
    scenario.expect_nothing()
    scenario.send_station_result(command)
    assert scenario.receive_frame() == [3, "o1", {}]
    scenario.send_station_result(command)
    scenario.expect_nothing()


def test_more_commands_than_can_wait_are_refused() -> None:
    scenario = ObserverHarness(may=("reads",))
    scenario.introduce()
    for number in range(MOST_COMMANDS):
        scenario.send_call("TriggerMessage", number=f"o{number}")
        scenario.take_command()
    scenario.send_call("TriggerMessage", number="too many")
    assert scenario.receive_frame()[:3] == [4, "too many", "GenericError"]


def test_secondary_backend_transaction_is_commanded_by_stations_number() -> None:
    scenario = ObserverHarness(may=("transactions",))
    scenario.introduce()
    scenario.send_station_call("StartTransaction", START, transaction=7)
    scenario.receive_call("StartTransaction")
    scenario.send_result('{"transactionId":70,"idTagInfo":{"status":"Accepted"}}')
    scenario.send_call("RemoteStopTransaction", '{"transactionId":70}')
    assert scenario.take_command().payload == b'{"transactionId":7}'


def test_number_that_is_another_transaction_at_station_is_refused() -> None:
    scenario = ObserverHarness(may=("transactions",))
    scenario.introduce()
    scenario.send_station_call("StartTransaction", START, transaction=7)
    scenario.receive_call("StartTransaction")
    scenario.send_result('{"transactionId":70,"idTagInfo":{"status":"Accepted"}}')
    scenario.send_call("RemoteStopTransaction", '{"transactionId":7}')
    assert scenario.receive_frame()[:3] == [4, "o1", "GenericError"]


def test_answer_to_command_of_link_that_is_gone_is_dropped() -> None:
    scenario = ObserverHarness(may=("reads",))
    scenario.introduce()
    scenario.send_call("TriggerMessage")
    command = scenario.take_command()
    scenario.disconnect()
    scenario.send_station_result(command)
    scenario.expect_nothing()
    assert "dropped" in scenario.log[-1]


# -- changed and omitted messages --------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        call_result("nobody asked", b"{}"),
        call_error("nobody asked", "GenericError", ""),
        '[6,"1","SetSomething",{}]',
        '[5,"1","FormatViolation","",{}]',
    ],
)
def test_secondary_backend_unrequested_answer_has_no_effect(text: str) -> None:
    scenario = ObserverHarness(Version.V21, may=("reads",))
    scenario.introduce()
    scenario.send(text)
    scenario.expect_nothing()


def test_secondary_backend_answer_that_comes_twice_counts_once() -> None:
    scenario = ObserverHarness()
    scenario.introduce()
    scenario.send_status(1, "Preparing")
    scenario.receive_call("StatusNotification")
    scenario.send_result()
    scenario.send_result()
    scenario.expect_nothing()


def test_secondary_backend_without_answer_is_redialled() -> None:
    scenario = ObserverHarness()
    scenario.introduce()
    scenario.send_status(1, "Preparing")
    scenario.receive_call("StatusNotification")
    scenario.wait(TIMEOUT_S)
    scenario.expect_redial("no answer to StatusNotification")
    assert scenario.backend.deadline == math.inf
    scenario.send_status(1, "Charging")
    scenario.expect_nothing()


def test_secondary_backend_gets_heartbeats_at_its_interval() -> None:
    scenario = ObserverHarness()
    scenario.introduce()
    scenario.wait(599)
    scenario.wait(1)
    scenario.receive_call("Heartbeat", "{}")
    scenario.send_result('{"currentTime":"2027-01-15T08:00:00Z"}')
    scenario.wait(600)
    scenario.receive_call("Heartbeat", "{}")
    scenario.wait(TIMEOUT_S)
    scenario.expect_redial("no answer to Heartbeat")


def test_station_without_boot_gets_heartbeat_answer() -> None:
    scenario = ObserverHarness()
    scenario.connect()
    scenario.wait(USUAL_HEARTBEAT_S)
    scenario.receive_call("Heartbeat")


def test_boot_that_is_reported_while_last_is_unanswered_is_reported_itself() -> None:
    scenario = ObserverHarness()
    scenario.send_boot()
    scenario.connect()
    scenario.receive_call("BootNotification")
    scenario.send_boot()
    scenario.expect_nothing()
    scenario.send_result(ACCEPTED)
    scenario.receive_call("BootNotification")
    scenario.send_result(ACCEPTED)
    scenario.expect_nothing()


def test_boot_during_delivery_does_not_repeat_transaction() -> None:
    scenario = ObserverHarness()
    scenario.introduce()
    scenario.send_station_call("StartTransaction", START, transaction=7)
    scenario.receive_call("StartTransaction")
    scenario.send_boot()
    scenario.expect_nothing()
    scenario.send_result('{"transactionId":70,"idTagInfo":{"status":"Accepted"}}')
    scenario.receive_call("BootNotification")
    scenario.send_result(ACCEPTED)
    scenario.expect_nothing()
    assert len(scenario.outbox) == 0


def test_secondary_backend_queued_state_is_not_sent_after_newer_snapshot() -> None:
    scenario = ObserverHarness()
    scenario.introduce()
    scenario.send_status(1, "Preparing")
    scenario.receive_call("StatusNotification")
    scenario.send_status(1, "Charging")
    scenario.send_station_call("StartTransaction", START, transaction=7)
    scenario.disconnect()
    scenario.send_status(1, "Faulted")
    scenario.connect()
    scenario.receive_call("StatusNotification", scenario.status_payload(1, "Faulted"))
    scenario.send_result()
    scenario.receive_call("StartTransaction")
    scenario.send_status(1, "Available")
    scenario.send_result('{"transactionId":70,"idTagInfo":{"status":"Accepted"}}')
    scenario.receive_call("StatusNotification", scenario.status_payload(1, "Available"))
    scenario.send_result()
    scenario.expect_nothing()
    assert len(scenario.outbox) == 0


def test_message_that_observer_never_accepts_is_set_aside() -> None:
    scenario = ObserverHarness()
    scenario.introduce()
    scenario.send_station_call("StartTransaction", START, transaction=7)
    asked = scenario.receive_call("StartTransaction")
    scenario.send_status(1, "Charging")
    scenario.send(call_error(asked.id, "FormationViolation", "no"))
    scenario.receive_call("StatusNotification")
    assert "set aside" in scenario.log[-1]
