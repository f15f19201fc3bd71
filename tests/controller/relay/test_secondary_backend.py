"""Conversations between an observing backend, the controller, and the station that it observes."""

from __future__ import annotations

import json
import math

import pytest

from controller.model.journal import Persist
from controller.ocpp.frames import Call, CallError, CallResult, Send, Version, call_error, call_result, parse
from controller.offline.journal_records import EntryQueued, SnapshotDelivered
from controller.relay.secondary_backend import (
    MOST_COMMANDS,
    USUAL_HEARTBEAT_S,
    AnswerToObserver,
    CallToObserver,
    ObserverCopy,
)
from tests.controller.relay.observer_talk import ACCEPTED, BOOT, START, TIMEOUT_S, UTC_0, Talk

VERSIONS = pytest.mark.parametrize("version", list(Version))


# -- the snapshot -----------------------------------------------------------------------------------------


@VERSIONS
def test_secondary_backend_sender_attaches_receives_boot_and_states_first(version: Version) -> None:
    talk = Talk(version)
    talk.boots()
    talk.status(2, "Available")
    talk.status(1, "Available")
    talk.status(1, "Faulted")
    talk.up()
    talk.hears("BootNotification", BOOT[version])
    talk.answers(ACCEPTED)
    talk.hears("StatusNotification", talk.a_status(1, "Faulted"))
    talk.answers()
    talk.hears("StatusNotification", talk.a_status(2, "Available"))
    talk.answers()
    talk.done()
    assert [type(record) for record in talk.records] == [SnapshotDelivered]  # that it has accepted the boot


@VERSIONS
def test_observer_gets_states_but_no_accepted_boot_with_each_link(version: Version) -> None:
    talk = Talk(version)
    talk.introduced()
    talk.lost()
    talk.status(1, "Faulted")
    talk.up()
    talk.hears("StatusNotification", talk.a_status(1, "Faulted"))
    talk.answers()
    talk.done()


def test_secondary_backend_station_that_boots_anew_has_new_snapshot() -> None:
    talk = Talk()
    talk.introduced()
    talk.boots()
    talk.hears("BootNotification")
    talk.answers(ACCEPTED)
    talk.done()


def test_observer_without_accepted_boot_gets_nothing_else() -> None:
    talk = Talk()
    talk.boots()
    talk.status(1, "Available")
    talk.up()
    talk.hears("BootNotification")
    talk.answers('{"status":"Pending","interval":20,"currentTime":"2027-01-15T08:00:00Z"}')
    talk.wait(19)
    talk.wait(1)
    talk.hears("BootNotification")
    talk.answers(ACCEPTED)
    talk.hears("StatusNotification")


def test_observer_without_accepted_boot_gets_no_heartbeat() -> None:
    talk = Talk()
    talk.boots()
    talk.up()
    talk.hears("BootNotification")
    talk.answers('{"status":"Rejected","interval":2000,"currentTime":"2027-01-15T08:00:00Z"}')
    talk.wait(1999)
    talk.wait(1)
    talk.hears("BootNotification")


def test_secondary_backend_states_that_it_may_not_see_are_not_in_snapshot() -> None:
    talk = Talk(observe=("transactions",))
    talk.boots()
    talk.status(1, "Available")
    talk.up()
    talk.hears("BootNotification")
    talk.answers(ACCEPTED)
    talk.status(1, "Charging")
    talk.done()


# -- copies --------------------------------------------------------------------------------------------


def test_secondary_backend_copy_has_id_of_own_and_payload_as_it_came() -> None:
    talk = Talk()
    talk.introduced()
    talk.station("MeterValues", '{ "connectorId" :1,"meterValue":[],"x":1.50}')
    heard = talk.hears("MeterValues")
    assert heard.payload == b'{ "connectorId" :1,"meterValue":[],"x":1.50}'
    assert heard.id.startswith("own-")


def test_secondary_backend_one_at_time_is_outstanding() -> None:
    talk = Talk()
    talk.introduced()
    talk.status(1, "Preparing")
    talk.hears("StatusNotification")
    talk.status(1, "Charging")
    talk.done()
    talk.answers()
    talk.hears("StatusNotification", talk.a_status(1, "Charging"))


@pytest.mark.parametrize("action", ["Authorize", "Heartbeat", "DataTransfer", "AnActionOfOcpp3"])
def test_secondary_backend_gets_only_observed_actions(action: str) -> None:
    talk = Talk()
    talk.introduced()
    talk.station(action, '{"idTag":"ABC"}')
    talk.done()


def test_secondary_backend_signed_message_is_seen_as_action_that_is_in_it() -> None:
    talk = Talk(Version.V21)
    talk.introduced()
    talk.station("StatusNotification-Signed", '{"payload":"e30"}')
    talk.hears("StatusNotification-Signed", '{"payload":"e30"}')


def test_secondary_backend_sends_are_copied_while_it_is_there_and_not_kept() -> None:
    talk = Talk(Version.V21, observe=("events",))
    frame = Send('[6,"1","NotifyPeriodicEventStream",{}]', "1", "NotifyPeriodicEventStream", b"{}")
    talk.on(ObserverCopy(frame, UTC_0))
    talk.boots()
    talk.up()
    talk.hears("BootNotification")
    talk.on(ObserverCopy(frame, UTC_0))
    assert talk.hears_answer() == [6, "1", "NotifyPeriodicEventStream", {}]
    talk.answers(ACCEPTED)
    talk.done()


def test_secondary_backend_transactions_wait_on_disk_and_follow_snapshot() -> None:
    talk = Talk()
    talk.introduced()
    talk.lost()
    talk.station("StartTransaction", START, transaction=7)
    talk.station("StopTransaction", '{"transactionId":7,"meterStop":5,"timestamp":"2027-01-15T09:00:00Z"}')
    assert [word.entry.action for word in talk.records if isinstance(word, EntryQueued)] == [
        "StartTransaction",
        "StopTransaction",
    ]
    talk.up()
    talk.hears("StatusNotification")
    talk.answers()
    talk.hears("StartTransaction", START)
    talk.answers('{"transactionId":70,"idTagInfo":{"status":"Accepted"}}')
    assert json.loads(talk.hears("StopTransaction").payload)["transactionId"] == 70
    talk.answers()
    talk.done()
    assert talk.observing.is_idle


def test_secondary_backend_entry_is_durable_before_it_is_sent() -> None:
    talk = Talk()
    talk.introduced()
    frame = Call("", "s", "StartTransaction", START.encode())
    actions = talk.observing.handle(ObserverCopy(frame, UTC_0, 7), talk.now)
    kinds = [type(action) for action in actions]
    assert kinds.index(Persist) < kinds.index(CallToObserver)


def test_secondary_backend_call_without_answer_is_sent_again_under_same_id() -> None:
    talk = Talk()
    talk.introduced()
    talk.station("StartTransaction", START, transaction=7)
    first = talk.hears("StartTransaction")
    talk.lost()
    talk.up()
    talk.hears("StatusNotification")
    talk.answers()
    assert talk.hears("StartTransaction").id == first.id


def test_observer_that_has_been_away_for_too_long_is_reported_loudly_once() -> None:
    talk = Talk(capacity=2)
    for number in range(5):
        talk.station("StartTransaction", START, transaction=number)
    assert len(talk.outbox) == 2
    assert len([note for note in talk.notes if "away for too long" in note]) == 1


# -- its commands --------------------------------------------------------------------------------------


def test_secondary_backend_forbidden_command_is_refused_with_the_rule() -> None:
    talk = Talk(may=("reads",))
    talk.introduced()
    talk.asks("Reset", '{"type":"Hard"}')
    kind, number, code, description, _ = talk.hears_answer()
    assert (kind, number, code) == (4, "o1", "SecurityError")
    assert description == 'fleet may not Reset CS01: see commands in [[backend]] "fleet"'
    assert talk.notes == [f"command rejected backend=fleet reason={description}"]


@pytest.mark.parametrize(
    ("answer", "heard"),
    [
        ('[3, "{id}", {{ "status" :"Accepted"}}]', '[3,"o1",{ "status" :"Accepted"}]'),
        (
            '[4,"{id}","NotSupported","no","x"]',
            '[4,"o1","NotSupported","no","x"]',
        ),
    ],
)
def test_secondary_backend_command_passes_under_an_own_id(answer: str, heard: str) -> None:
    talk = Talk(may=("reads",))
    talk.introduced()
    talk.asks("TriggerMessage", '{ "requestedMessage":"StatusNotification"}')
    command = talk.station_is_commanded()
    assert command.payload == b'{ "requestedMessage":"StatusNotification"}'
    assert command.id != "o1"
    frame = parse(answer.format(id=command.id))
    assert isinstance(frame, CallResult | CallError)
    talk.on(AnswerToObserver(frame))
    assert talk.hears_text() == heard


def test_secondary_backend_observer_that_repeats_itself_commands_once() -> None:
    talk = Talk(may=("reads",))
    talk.introduced()
    talk.asks("TriggerMessage")
    command = talk.station_is_commanded()
    talk.asks("TriggerMessage")
    talk.done()
    talk.station_answers(command)
    assert talk.hears_answer() == [3, "o1", {}]
    talk.station_answers(command)
    talk.done()


def test_more_commands_than_can_wait_are_refused() -> None:
    talk = Talk(may=("reads",))
    talk.introduced()
    for number in range(MOST_COMMANDS):
        talk.asks("TriggerMessage", number=f"o{number}")
        talk.station_is_commanded()
    talk.asks("TriggerMessage", number="too many")
    assert talk.hears_answer()[:3] == [4, "too many", "GenericError"]


def test_secondary_backend_transaction_is_commanded_by_stations_number() -> None:
    talk = Talk(may=("transactions",))
    talk.introduced()
    talk.station("StartTransaction", START, transaction=7)
    talk.hears("StartTransaction")
    talk.answers('{"transactionId":70,"idTagInfo":{"status":"Accepted"}}')
    talk.asks("RemoteStopTransaction", '{"transactionId":70}')
    assert talk.station_is_commanded().payload == b'{"transactionId":7}'


def test_number_that_is_another_transaction_at_station_is_refused() -> None:
    talk = Talk(may=("transactions",))
    talk.introduced()
    talk.station("StartTransaction", START, transaction=7)
    talk.hears("StartTransaction")
    talk.answers('{"transactionId":70,"idTagInfo":{"status":"Accepted"}}')
    talk.asks("RemoteStopTransaction", '{"transactionId":7}')
    assert talk.hears_answer()[:3] == [4, "o1", "GenericError"]


def test_answer_to_command_of_link_that_is_gone_is_dropped() -> None:
    talk = Talk(may=("reads",))
    talk.introduced()
    talk.asks("TriggerMessage")
    command = talk.station_is_commanded()
    talk.lost()
    talk.station_answers(command)
    talk.done()
    assert "dropped" in talk.notes[-1]


# -- what it says otherwise, and what it does not say --------------------------------------------------


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
    talk = Talk(Version.V21, may=("reads",))
    talk.introduced()
    talk.observer(text)
    talk.done()


def test_secondary_backend_answer_that_comes_twice_counts_once() -> None:
    talk = Talk()
    talk.introduced()
    talk.status(1, "Preparing")
    talk.hears("StatusNotification")
    talk.answers()
    talk.answers()
    talk.done()


def test_secondary_backend_without_answer_is_dialled_anew() -> None:
    talk = Talk()
    talk.introduced()
    talk.status(1, "Preparing")
    talk.hears("StatusNotification")
    talk.wait(TIMEOUT_S)
    talk.redials("no answer to StatusNotification")
    assert talk.observing.deadline == math.inf
    talk.status(1, "Charging")
    talk.done()


def test_secondary_backend_heartbeat_is_own_at_interval_that_it_asked_for() -> None:
    talk = Talk()
    talk.introduced()
    talk.wait(599)
    talk.wait(1)
    talk.hears("Heartbeat", "{}")
    talk.answers('{"currentTime":"2027-01-15T08:00:00Z"}')
    talk.wait(600)
    talk.hears("Heartbeat", "{}")
    talk.wait(TIMEOUT_S)
    talk.redials("no answer to Heartbeat")


def test_station_that_has_not_booted_yet_has_heartbeat_all_same() -> None:
    talk = Talk()
    talk.up()
    talk.wait(USUAL_HEARTBEAT_S)
    talk.hears("Heartbeat")


def test_boot_that_is_reported_while_last_is_unanswered_is_reported_itself() -> None:
    talk = Talk()
    talk.boots()
    talk.up()
    talk.hears("BootNotification")
    talk.boots()
    talk.done()
    talk.answers(ACCEPTED)
    talk.hears("BootNotification")
    talk.answers(ACCEPTED)
    talk.done()


def test_boot_during_delivery_does_not_repeat_transaction() -> None:
    talk = Talk()
    talk.introduced()
    talk.station("StartTransaction", START, transaction=7)
    talk.hears("StartTransaction")
    talk.boots()
    talk.done()
    talk.answers('{"transactionId":70,"idTagInfo":{"status":"Accepted"}}')
    talk.hears("BootNotification")
    talk.answers(ACCEPTED)
    talk.done()
    assert len(talk.outbox) == 0


def test_secondary_backend_queued_state_is_not_sent_after_newer_snapshot() -> None:
    talk = Talk()
    talk.introduced()
    talk.status(1, "Preparing")
    talk.hears("StatusNotification")
    talk.status(1, "Charging")
    talk.station("StartTransaction", START, transaction=7)
    talk.lost()
    talk.status(1, "Faulted")
    talk.up()
    talk.hears("StatusNotification", talk.a_status(1, "Faulted"))
    talk.answers()
    talk.hears("StartTransaction")
    talk.status(1, "Available")
    talk.answers('{"transactionId":70,"idTagInfo":{"status":"Accepted"}}')
    talk.hears("StatusNotification", talk.a_status(1, "Available"))
    talk.answers()
    talk.done()
    assert len(talk.outbox) == 0


def test_message_that_observer_never_accepts_is_set_aside() -> None:
    talk = Talk()
    talk.introduced()
    talk.station("StartTransaction", START, transaction=7)
    asked = talk.hears("StartTransaction")
    talk.status(1, "Charging")
    talk.observer(call_error(asked.id, "FormationViolation", "no"))
    talk.hears("StatusNotification")
    assert "set aside" in talk.notes[-1]
