"""What passes is the text that came; what cannot be read is answered as its version says."""

from __future__ import annotations

import logging

import pytest

from controller.ocpp.frames import Version
from controller.relay.call_queue import LINE_DEPTH
from tests.controller.relay.playbook import Playbook, call, result

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
    talk.noted("unasked", 1)  # that of `commandable` alone


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


def test_sends_wait_for_the_backend_in_order_and_the_newest_stay() -> None:
    talk = Playbook(Version.V21, up=False)
    talk.commandable()
    sends = [f'[6,"{number}","NotifyPeriodicEventStream",{{}}]' for number in range(LINE_DEPTH + 1)]
    for send in sends:
        talk.station(send)
    talk.noted("NotifyPeriodicEventStream (SEND) dropped, no backend yet")
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
def test_a_malformed_frame_is_answered_to_its_sender_alone(
    version: Version, text: str, answer: tuple[str, str] | None
) -> None:
    talk = Playbook(version)
    talk.station(text)
    if answer:
        talk.station_hears_error(*answer)
    talk.noted("station CS01 sent a frame that we cannot read")
    talk.backend(text)
    if answer:
        talk.backend_hears_error(*answer)
    talk.noted("backend cpo sent a frame that we cannot read")
    talk.done()


def test_the_log_never_quotes_what_came() -> None:
    talk = Playbook()
    talk.station('[2,"1","Authorize",{"idTag":"DEADBEEF"}')
    talk.noted("DEADBEEF", 0)
    talk.noted("(39 characters)")


@pytest.mark.parametrize("version", list(Version))
def test_a_frame_of_unknown_type_is_ignored_and_logged(version: Version) -> None:
    talk = Playbook(version)
    talk.station('[7,"1",{}]')
    talk.backend('[0,"1",{}]')
    talk.done()
    talk.noted("station CS01 sent a frame of unknown type 7: ignored")
    talk.noted("backend cpo sent a frame of unknown type 0: ignored")
    assert [note.level for note in talk.notes] == [logging.WARNING] * 2
