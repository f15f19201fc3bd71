"""What passes is the text that came; what cannot be read is answered as its version says."""

from __future__ import annotations

import json
import logging

import pytest

from controller.ocpp.frames import Version
from controller.relay.call_queue import QUEUE_DEPTH
from tests.controller.relay.playbook import TIMEOUT_S, Playbook, call, result

CALLS = [
    '[2,"1","Heartbeat",{}]',
    ' [ 2 , "1" ,\n\t"Heartbeat" , { } ] ',
    '[2,"1","DataTransfer",{"vendorId":"Gr\\u00fc\\u00dfe","data":"Grüße 🔌"}]',
    '[2,"1","NobodyKnowsThis",{"x":[1,2.0,3e0,123456789012345678901234567890]}]',
    '[2,"1","DataTransfer",{"a":1,"a":2,"":null}]',
    '[2,"1","SetVariables-Signed",{"payload":"e30","protected":"e30","signature":"AA"}]',
    '[2,"a/b c\\"d","X","no object at all"]',
]
ANSWERS = [
    '[3,{id},{{"status":"Accepted"}}]',
    ' [ 3,{id} ,\n{{ "näme" : "\\u00e4" }}]',
    "[3,{id},null]",
    '[4,{id},"NotImplemented","nö",{{}}]',
    '[4,{id},"SomeVendorsOwnCode","",{{"more":1.50}}]',
    '[4,{id},"GenericError"]',
]


def answers_to(text: str) -> list[str]:
    quoted_id = '"a/b c\\"d"' if "a/b" in text else '"1"'
    return [answer.format(id=quoted_id) for answer in ANSWERS]


@pytest.mark.parametrize("version", list(Version))
@pytest.mark.parametrize("text", CALLS)
def test_calls_and_answers_pass_byte_for_byte(version: Version, text: str) -> None:
    talk = Playbook(version)
    talk.commandable()
    for answer in answers_to(text):
        talk.passes_up(text)
        talk.passes_down(answer)
        talk.passes_down(text)
        talk.passes_up(answer)
    talk.noted("answer dropped", 1)  # that of `commandable` alone


def test_send_passes_at_once_even_while_calls_wait() -> None:
    talk = Playbook(Version.V21)
    talk.commandable()
    talk.passes_up(call("1"))
    talk.passes_down(call("b"))
    send = '[6, "s","NotifyPeriodicEventStream",{ "id":1}]'
    talk.passes_up(send)
    talk.passes_down(send)
    talk.passes_down(result("1"))
    talk.passes_up(result("b"))


def test_callresulterror_passes_both_ways() -> None:
    talk = Playbook(Version.V21)
    talk.commandable()
    error = '[5, "1","FormatViolation","",{}]'
    talk.passes_up(error)
    talk.passes_down(error)


def test_passing_sends_wait_for_backend_in_order_and_newest_stay() -> None:
    talk = Playbook(Version.V21, up=False)
    talk.commandable()
    sends = [f'[6,"{number}","NotifyPeriodicEventStream",{{}}]' for number in range(QUEUE_DEPTH + 1)]
    for send in sends:
        talk.station(send)
    talk.noted("send dropped station=CS01 action=NotifyPeriodicEventStream")
    talk.backend_up()
    for send in sends[1:]:
        talk.backend_hears(send)
    talk.done()


MALFORMED = [
    (Version.V16, "no frame", None),
    (Version.V201, "no frame", ("-1", "RpcFrameworkError")),
    (Version.V21, '{"not":"an array"}', ("-1", "RpcFrameworkError")),
    (Version.V16, '[2,"7","Heartbeat"]', ("7", "FormationViolation")),
    (Version.V201, '[2,"7","Heartbeat"]', ("7", "FormatViolation")),
    (Version.V21, '[2,"7",{},{}]', ("7", "FormatViolation")),
    (Version.V16, '[2,7,"Heartbeat",{}]', ("7", "FormationViolation")),
    (Version.V21, '[3,"7"]', ("-1", "RpcFrameworkError")),
]


@pytest.mark.parametrize(("version", "text", "answer"), MALFORMED)
def test_malformed_frame_of_backend_is_answered_and_dropped(
    version: Version, text: str, answer: tuple[str, str] | None
) -> None:
    talk = Playbook(version)
    talk.backend(text)
    if answer:
        talk.backend_hears_error(*answer)
    talk.noted("malformed frame received backend=cpo")
    talk.done()


@pytest.mark.parametrize(
    ("version", "text", "answer"), [row for row in MALFORMED if "Heartbeat" not in row[1]]
)
def test_unreadable_frame_of_station_is_answered_and_dropped(
    version: Version, text: str, answer: tuple[str, str] | None
) -> None:
    talk = Playbook(version)
    talk.station(text)
    if answer:
        talk.station_hears_error(*answer)
    talk.noted("malformed frame received station=CS01")
    talk.done()


ODD_CALLS = [
    ('[2,7,"Heartbeat",{}]', "7"),
    ('[2,"7","DataTransfer",{"vendorId":NaN}]', "7"),
    ('[2,"7","DataTransfer",{"vendorId":"a",}]', "7"),
    ('[2,"7","DataTransfer",{"vendorId":"a\tb"}]', "7"),
    ('["2","7","Heartbeat",{}]', "7"),
    ('[2,"7","Heartbeat",{},{}]', "7"),
]


@pytest.mark.parametrize(("text", "message_id"), ODD_CALLS, ids=[row[0] for row in ODD_CALLS])
def test_passing_odd_call_of_station_passes_as_it_is_with_answer(text: str, message_id: str) -> None:
    talk = Playbook()
    talk.station(text)
    talk.commands_allowed()
    talk.backend_hears(text)
    answer = result(message_id)
    talk.backend(answer)
    talk.station_hears(answer)
    talk.done()


@pytest.mark.parametrize(("text", "message_id"), ODD_CALLS, ids=[row[0] for row in ODD_CALLS])
def test_passing_odd_call_without_answer_holds_up_nothing(text: str, message_id: str) -> None:
    talk = Playbook()
    talk.commandable()
    talk.passes_up(text)
    talk.passes_up(call("8", "Heartbeat"))
    talk.backend(result("8"))
    talk.station_hears(result("8"))
    talk.wait(TIMEOUT_S)
    talk.station_hears_error(message_id, "GenericError", "no answer")
    talk.done()


def test_passing_odd_answer_of_backend_passes_as_it_is() -> None:
    talk = Playbook()
    talk.commandable()
    talk.passes_up(call("1", "Heartbeat"))
    talk.backend('[3,"1",{"currentTime":NaN}]')
    talk.station_hears('[3,"1",{"currentTime":NaN}]')
    talk.done()


ODD_ANSWERS = [
    '[3,"b"]',
    '["3","b",{}]',
    '[3,"b",{"fileName":"a\0"}]',
    '[3,"b",{"configurationKey":[]',
    '[3,"b",{"a":1,}]',
    '[3,"",{"fileName":"x"}]',
    '[2,"b","GetDiagnostics",{"fileName":"x"}]',
    '[4,"b"]',
]


@pytest.mark.parametrize("text", ODD_ANSWERS)
def test_passing_odd_answer_of_station_ends_command(text: str) -> None:
    talk = Playbook()
    talk.commandable()
    talk.passes_down(call("b", "GetDiagnostics"))
    talk.station(text)
    talk.backend_hears_error("b", "FormationViolation", "cannot be read")
    talk.passes_down(call("c", "GetDiagnostics"))


def test_passing_odd_answer_of_station_ends_own_own_call() -> None:
    talk = Playbook()
    talk.commandable()
    sent = talk.own()
    talk.station_hears(sent)
    talk.station(f'[3,"{json.loads(sent)[1]}",{{"status":"Accepted"')
    talk.own_answered(None, "cannot be read")


def test_passing_log_never_quotes_what_came() -> None:
    talk = Playbook()
    talk.station('[2,"1","Authorize",{"idTag":"DEADBEEF"}')
    talk.noted("DEADBEEF", 0)
    talk.noted("characters=39")


@pytest.mark.parametrize("version", list(Version))
def test_passing_frame_of_unknown_type_is_ignored_and_logged(version: Version) -> None:
    talk = Playbook(version)
    talk.station('[7,"1",{}]')
    talk.backend('[0,"1",{}]')
    talk.done()
    talk.noted("frame of unknown type ignored station=CS01 type=7")
    talk.noted("frame of unknown type ignored backend=cpo type=0")
    assert [note.level for note in talk.notes] == [logging.WARNING] * 2
