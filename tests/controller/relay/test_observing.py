"""Conversations between an observing backend, the controller, and the station that it observes."""

from __future__ import annotations

import itertools
import json
from collections import deque
from typing import Any

import pytest

from controller.ocpp.actions import OBSERVED, commands, reports
from controller.ocpp.frames import Call, Send, Version, call, call_error, call_result, parse
from controller.relay.commands import Commands
from controller.relay.courier import Courier
from controller.relay.events import FromObserver, Note, ObserverLost, ObserverUp, Redial, Tick, ToObserver
from controller.relay.observing import (
    MOST_COMMANDS,
    USUAL_HEARTBEAT_S,
    Command,
    Copy,
    ObserverEvent,
    Observing,
    StationAnswer,
)
from controller.relay.outbox import Outbox
from controller.relay.saving import Queued, Save, Word
from controller.relay.story import Story
from controller.relay.transaction_ids import TransactionIds

TIMEOUT_S = 30.0
UTC_0 = 1_800_000_000.0
VERSIONS = pytest.mark.parametrize("version", list(Version))

BOOT = {
    Version.V16: '{"chargePointVendor":"V","chargePointModel":"M"}',
    Version.V201: '{"reason":"PowerUp","chargingStation":{"vendorName":"V","model":"M"}}',
    Version.V21: '{"reason":"PowerUp","chargingStation":{"vendorName":"V","model":"M"}}',
}
ACCEPTED = '{"status":"Accepted","interval":600,"currentTime":"2027-01-15T08:00:00Z"}'
START = '{"connectorId":1,"idTag":"ABC","meterStart":0,"timestamp":"2027-01-15T08:00:00Z"}'


class Talk:
    """What the observer hears has to be asked for, one by one; words and notes are kept."""

    def __init__(
        self,
        version: Version = Version.V16,
        *,
        may: tuple[str, ...] = (),
        observe: tuple[str, ...] = OBSERVED,
        capacity: int = 100,
        recalled: tuple[Word, ...] = (),
    ) -> None:
        self.version = version
        self.now = 1000.0
        self.words: list[Word] = list(recalled)
        self.notes: list[str] = []
        self._unheard: deque[ToObserver | Redial | Command] = deque()
        self._last: Call | None = None
        self._sent = 0
        self.story = Story("CS01")
        self.outbox = Outbox("CS01", "fleet", capacity)
        self.ids = TransactionIds("CS01", "fleet")
        numbers = itertools.count(len(recalled) + 1)

        def new_id() -> str:
            return f"own-{next(numbers)}"

        self.observing = Observing(
            "CS01",
            version,
            Commands("fleet", commands(may)),
            reports(observe),
            Courier(self.outbox, self.story, self.ids, version, new_id),
            self.outbox,
            self.ids,
            TIMEOUT_S,
            new_id,
        )

    # -- what is said -------------------------------------------------------------------------------

    def on(self, event: ObserverEvent) -> None:
        self.done()
        for action in self.observing.handle(event, self.now):
            match action:
                case Save(words):
                    self.words += words
                case Note(text=text):
                    self.notes.append(text)
                case _:
                    self._unheard.append(action)

    def station(self, action: str, payload: str, transaction: int | None = None) -> None:
        """The station says something, and gets its answer from whoever answers."""
        self._sent += 1
        number = f"s{self._sent}"
        self.story.saw(self.version, action, payload.encode())
        frame = Call(f'[2,"{number}","{action}",{payload}]', number, action, payload.encode())
        self.on(Copy(frame, UTC_0 + self.now, transaction))

    def boots(self) -> None:
        self.station("BootNotification", BOOT[self.version])

    def status(self, connector: int, status: str) -> None:
        self.station("StatusNotification", self.a_status(connector, status))

    def a_status(self, connector: int, status: str) -> str:
        if self.version is Version.V16:
            return f'{{"connectorId":{connector},"errorCode":"NoError","status":"{status}"}}'
        time = '"timestamp":"2027-01-15T08:00:00Z"'
        return f'{{"evseId":{connector},"connectorId":1,{time},"connectorStatus":"{status}"}}'

    def up(self) -> None:
        self.on(ObserverUp("fleet"))

    def lost(self) -> None:
        self.on(ObserverLost("fleet", "connection reset"))

    def observer(self, text: str) -> None:
        self.on(FromObserver("fleet", text))

    def answers(self, payload: str = "{}") -> None:
        """The observer answers the last CALL that it heard."""
        assert self._last is not None
        self.observer(call_result(self._last.id, payload.encode()))

    def asks(self, action: str, payload: str = "{}", number: str = "o1") -> None:
        self.observer(call(number, action, payload.encode()))

    def wait(self, seconds: float) -> None:
        self.done()
        end = self.now + seconds
        for _ in range(1000):
            deadline = self.observing.deadline
            if deadline is None or deadline > end:
                self.now = end
                return
            self.now = max(self.now, deadline)
            self.on(Tick())
            if self._unheard:
                return
        raise AssertionError("it wants a Tick for ever")

    # -- what is heard ------------------------------------------------------------------------------

    def hears(self, action: str, payload: str | None = None) -> Call:
        """The observer hears a CALL."""
        told = self._unheard.popleft()
        assert isinstance(told, ToObserver)
        frame = parse(told.text)
        assert isinstance(frame, Call)
        assert (told.backend, frame.action) == ("fleet", action)
        if payload is not None:
            assert json.loads(frame.payload) == json.loads(payload)
        self._last = frame
        return frame

    def hears_answer(self) -> Any:
        told = self._unheard.popleft()
        assert isinstance(told, ToObserver)
        return json.loads(told.text)

    def station_is_commanded(self) -> Call:
        told = self._unheard.popleft()
        assert isinstance(told, Command)
        assert parse(told.call.text) == told.call
        return told.call

    def redials(self, word: str) -> None:
        told = self._unheard.popleft()
        assert isinstance(told, Redial)
        assert told.backend == "fleet"
        assert word in told.reason

    def done(self) -> None:
        assert list(self._unheard) == []

    def introduced(self) -> None:
        """Up, and the story told: a boot and one connector."""
        self.boots()
        self.status(1, "Available")
        self.up()
        self.hears("BootNotification")
        self.answers(ACCEPTED)
        self.hears("StatusNotification")
        self.answers()
        self.done()


# -- the story -----------------------------------------------------------------------------------------


@VERSIONS
def test_whoever_attaches_hears_the_boot_and_the_states_first(version: Version) -> None:
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
    assert talk.words == []


@VERSIONS
def test_it_hears_it_again_with_each_link(version: Version) -> None:
    talk = Talk(version)
    talk.introduced()
    talk.lost()
    talk.status(1, "Faulted")
    talk.up()
    talk.hears("BootNotification")
    talk.answers(ACCEPTED)
    talk.hears("StatusNotification", talk.a_status(1, "Faulted"))
    talk.answers()
    talk.done()


def test_a_station_that_boots_anew_has_a_new_story() -> None:
    talk = Talk()
    talk.introduced()
    talk.boots()
    talk.hears("BootNotification")
    talk.answers(ACCEPTED)
    talk.done()


def test_an_observer_that_does_not_accept_the_boot_hears_no_more_until_it_does() -> None:
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


def test_states_that_it_may_not_see_are_not_in_its_story() -> None:
    talk = Talk(observe=("transactions",))
    talk.boots()
    talk.status(1, "Available")
    talk.up()
    talk.hears("BootNotification")
    talk.answers(ACCEPTED)
    talk.status(1, "Charging")
    talk.done()


# -- copies --------------------------------------------------------------------------------------------


def test_a_copy_has_an_id_of_its_own_and_the_payload_as_it_came() -> None:
    talk = Talk()
    talk.introduced()
    talk.station("MeterValues", '{ "connectorId" :1,"meterValue":[],"x":1.50}')
    heard = talk.hears("MeterValues")
    assert heard.payload == b'{ "connectorId" :1,"meterValue":[],"x":1.50}'
    assert heard.id.startswith("own-")


def test_one_at_a_time_is_outstanding() -> None:
    talk = Talk()
    talk.introduced()
    talk.status(1, "Preparing")
    talk.hears("StatusNotification")
    talk.status(1, "Charging")
    talk.done()
    talk.answers()
    talk.hears("StatusNotification", talk.a_status(1, "Charging"))


@pytest.mark.parametrize("action", ["Authorize", "Heartbeat", "DataTransfer", "AnActionOfOcpp3"])
def test_what_it_may_not_see_it_does_not_hear(action: str) -> None:
    talk = Talk()
    talk.introduced()
    talk.station(action, '{"idTag":"ABC"}')
    talk.done()


def test_a_signed_message_is_seen_as_the_action_that_is_in_it() -> None:
    talk = Talk(Version.V21)
    talk.introduced()
    talk.station("StatusNotification-Signed", '{"payload":"e30"}')
    talk.hears("StatusNotification-Signed", '{"payload":"e30"}')


def test_sends_are_copied_while_it_is_there_and_not_kept() -> None:
    talk = Talk(Version.V21, observe=("events",))
    frame = Send('[6,"1","NotifyPeriodicEventStream",{}]', "1", "NotifyPeriodicEventStream", b"{}")
    talk.on(Copy(frame, UTC_0))
    talk.boots()
    talk.up()
    talk.hears("BootNotification")
    talk.on(Copy(frame, UTC_0))
    assert talk.hears_answer() == [6, "1", "NotifyPeriodicEventStream", {}]
    talk.answers(ACCEPTED)
    talk.done()


def test_transactions_wait_for_it_on_disk_and_come_in_order_after_the_story() -> None:
    talk = Talk()
    talk.introduced()
    talk.lost()
    talk.station("StartTransaction", START, transaction=7)
    talk.station("StopTransaction", '{"transactionId":7,"meterStop":5,"timestamp":"2027-01-15T09:00:00Z"}')
    assert [word.entry.action for word in talk.words if isinstance(word, Queued)] == [
        "StartTransaction", "StopTransaction",
    ]  # fmt: skip
    talk.up()
    talk.hears("BootNotification")
    talk.answers(ACCEPTED)
    talk.hears("StatusNotification")
    talk.answers()
    talk.hears("StartTransaction", START)
    talk.answers('{"transactionId":70,"idTagInfo":{"status":"Accepted"}}')
    assert json.loads(talk.hears("StopTransaction").payload)["transactionId"] == 70
    talk.answers()
    talk.done()
    assert talk.observing.is_idle


def test_what_waits_is_saved_before_anything_is_sent_of_it() -> None:
    talk = Talk()
    talk.introduced()
    frame = Call("", "s", "StartTransaction", START.encode())
    actions = talk.observing.handle(Copy(frame, UTC_0, 7), talk.now)
    kinds = [type(action) for action in actions]
    assert kinds.index(Save) < kinds.index(ToObserver)


def test_a_call_whose_answer_was_never_seen_is_sent_again_under_the_same_id() -> None:
    talk = Talk()
    talk.introduced()
    talk.station("StartTransaction", START, transaction=7)
    first = talk.hears("StartTransaction")
    talk.lost()
    talk.up()
    talk.hears("BootNotification")
    talk.answers(ACCEPTED)
    talk.hears("StatusNotification")
    talk.answers()
    assert talk.hears("StartTransaction").id == first.id


def test_an_observer_that_has_been_away_for_too_long_is_told_loudly_once() -> None:
    talk = Talk(capacity=2)
    for number in range(5):
        talk.station("StartTransaction", START, transaction=number)
    assert len(talk.outbox) == 2
    assert len([note for note in talk.notes if "has been away for too long" in note]) == 1


# -- its commands --------------------------------------------------------------------------------------


def test_what_it_may_not_command_is_refused_with_the_rule() -> None:
    talk = Talk(may=("reads",))
    talk.introduced()
    talk.asks("Reset", '{"type":"Hard"}')
    kind, number, code, description, _ = talk.hears_answer()
    assert (kind, number, code) == (4, "o1", "SecurityError")
    assert description == 'fleet may not Reset CS01: see commands in [[backend]] "fleet"'
    assert talk.notes == [description]


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
def test_what_it_may_goes_under_an_id_of_ours_and_the_answer_comes_back(answer: str, heard: str) -> None:
    talk = Talk(may=("reads",))
    talk.introduced()
    talk.asks("TriggerMessage", '{ "requestedMessage":"StatusNotification"}')
    command = talk.station_is_commanded()
    assert command.payload == b'{ "requestedMessage":"StatusNotification"}'
    assert command.id != "o1"
    talk.on(StationAnswer(answer.format(id=command.id)))
    told = talk._unheard.popleft()
    assert isinstance(told, ToObserver)
    assert told.text == heard


def test_an_observer_that_repeats_itself_commands_once() -> None:
    talk = Talk(may=("reads",))
    talk.introduced()
    talk.asks("TriggerMessage")
    command = talk.station_is_commanded()
    talk.asks("TriggerMessage")
    talk.done()
    talk.on(StationAnswer(call_result(command.id, b"{}")))
    assert talk.hears_answer() == [3, "o1", {}]
    talk.on(StationAnswer(call_result(command.id, b"{}")))
    talk.done()


def test_more_commands_than_can_wait_are_refused() -> None:
    talk = Talk(may=("reads",))
    talk.introduced()
    for number in range(MOST_COMMANDS):
        talk.asks("TriggerMessage", number=f"o{number}")
        talk.station_is_commanded()
    talk.asks("TriggerMessage", number="too many")
    assert talk.hears_answer()[:3] == [4, "too many", "GenericError"]


def test_a_transaction_is_commanded_by_the_stations_number() -> None:
    talk = Talk(may=("transactions",))
    talk.introduced()
    talk.station("StartTransaction", START, transaction=7)
    talk.hears("StartTransaction")
    talk.answers('{"transactionId":70,"idTagInfo":{"status":"Accepted"}}')
    talk.asks("RemoteStopTransaction", '{"transactionId":70}')
    assert talk.station_is_commanded().payload == b'{"transactionId":7}'


def test_a_number_that_is_another_transaction_at_the_station_is_refused() -> None:
    talk = Talk(may=("transactions",))
    talk.introduced()
    talk.station("StartTransaction", START, transaction=7)
    talk.hears("StartTransaction")
    talk.answers('{"transactionId":70,"idTagInfo":{"status":"Accepted"}}')
    talk.asks("RemoteStopTransaction", '{"transactionId":7}')
    assert talk.hears_answer()[:3] == [4, "o1", "GenericError"]


def test_the_answer_to_a_command_of_a_link_that_is_gone_is_dropped() -> None:
    talk = Talk(may=("reads",))
    talk.introduced()
    talk.asks("TriggerMessage")
    command = talk.station_is_commanded()
    talk.lost()
    talk.on(StationAnswer(call_result(command.id, b"{}")))
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
        "[7]",
    ],
)
def test_what_nobody_asked_for_has_no_effect(text: str) -> None:
    talk = Talk(Version.V21, may=("reads",))
    talk.introduced()
    talk.observer(text)
    talk.done()


def test_what_is_no_frame_is_answered_as_the_version_wants_it() -> None:
    talk = Talk()
    talk.introduced()
    talk.observer('[2,"o1"]')
    assert talk.hears_answer()[:3] == [4, "o1", "FormationViolation"]


def test_an_answer_that_comes_twice_counts_once() -> None:
    talk = Talk()
    talk.introduced()
    talk.status(1, "Preparing")
    talk.hears("StatusNotification")
    talk.answers()
    talk.answers()
    talk.done()


def test_who_does_not_answer_is_dialled_anew() -> None:
    talk = Talk()
    talk.introduced()
    talk.status(1, "Preparing")
    talk.hears("StatusNotification")
    talk.wait(TIMEOUT_S)
    talk.redials("does not answer StatusNotification")
    assert talk.observing.deadline is None
    talk.status(1, "Charging")
    talk.done()


def test_its_heartbeat_is_ours_at_the_interval_that_it_asked_for() -> None:
    talk = Talk()
    talk.introduced()
    talk.wait(599)
    talk.wait(1)
    talk.hears("Heartbeat", "{}")
    talk.answers('{"currentTime":"2027-01-15T08:00:00Z"}')
    talk.wait(600)
    talk.hears("Heartbeat", "{}")
    talk.wait(TIMEOUT_S)
    talk.redials("does not answer Heartbeat")


def test_a_station_that_has_not_booted_yet_has_a_heartbeat_all_the_same() -> None:
    talk = Talk()
    talk.up()
    talk.wait(USUAL_HEARTBEAT_S)
    talk.hears("Heartbeat")


def test_a_boot_that_is_told_while_the_last_is_unanswered_is_told_itself() -> None:
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


def test_a_state_that_waited_when_the_link_broke_is_not_told_after_the_newer_story() -> None:
    talk = Talk()
    talk.introduced()
    talk.status(1, "Preparing")
    talk.hears("StatusNotification")
    talk.status(1, "Charging")
    talk.station("StartTransaction", START, transaction=7)
    talk.lost()
    talk.status(1, "Faulted")
    talk.up()
    talk.hears("BootNotification")
    talk.answers(ACCEPTED)
    talk.hears("StatusNotification", talk.a_status(1, "Faulted"))
    talk.answers()
    talk.hears("StartTransaction")
    talk.status(1, "Available")
    talk.answers('{"transactionId":70,"idTagInfo":{"status":"Accepted"}}')
    talk.hears("StatusNotification", talk.a_status(1, "Available"))
    talk.answers()
    talk.done()
    assert len(talk.outbox) == 0


def test_what_an_observer_will_never_take_is_set_aside_and_the_rest_goes_on() -> None:
    talk = Talk()
    talk.introduced()
    talk.station("StartTransaction", START, transaction=7)
    asked = talk.hears("StartTransaction")
    talk.status(1, "Charging")
    talk.observer(call_error(asked.id, "FormationViolation", "no"))
    talk.hears("StatusNotification")
    assert "set aside" in talk.notes[-1]
