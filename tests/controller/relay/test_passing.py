"""Forwarded texts are unchanged; unreadable ones are answered as their version requires."""

from __future__ import annotations

import json
import logging

import pytest

from controller.ocpp.frames import Version
from controller.ocpp.payloads import format_time
from controller.relay.call_queue import QUEUE_DEPTH
from tests.scenario.frames import call, result
from tests.scenario.relay_harness import TIMEOUT_S, UTC_0, RelayHarness

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
    scenario = RelayHarness(version)
    scenario.make_commandable()
    for answer in answers_to(text):
        scenario.forward_up(text)
        scenario.forward_down(answer)
        scenario.forward_down(text)
        scenario.forward_up(answer)
    scenario.expect_log("answer dropped", 1)  # that of `commandable` alone


def test_send_passes_at_once_even_while_calls_wait() -> None:
    scenario = RelayHarness(Version.V21)
    scenario.make_commandable()
    scenario.forward_up(call("1"))
    scenario.forward_down(call("b"))
    send = '[6, "s","NotifyPeriodicEventStream",{ "id":1}]'
    scenario.forward_up(send)
    scenario.forward_down(send)
    scenario.forward_down(result("1"))
    scenario.forward_up(result("b"))


def test_callresulterror_passes_both_ways() -> None:
    scenario = RelayHarness(Version.V21)
    scenario.make_commandable()
    error = '[5, "1","FormatViolation","",{}]'
    scenario.forward_up(error)
    scenario.forward_down(error)


def test_passing_sends_wait_for_backend_in_order_and_newest_stay() -> None:
    scenario = RelayHarness(Version.V21, up=False)
    scenario.make_commandable()
    sends = [f'[6,"{number}","NotifyPeriodicEventStream",{{}}]' for number in range(QUEUE_DEPTH + 1)]
    for send in sends:
        scenario.station.send(send)
    scenario.expect_log("send dropped station=CS01 action=NotifyPeriodicEventStream")
    scenario.csms.connect()
    for send in sends[1:]:
        scenario.csms.receive(send)
    scenario.expect_nothing()


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
    scenario = RelayHarness(version)
    scenario.csms.send(text)
    if answer:
        scenario.csms.receive_error(*answer)
    scenario.expect_log("malformed frame received backend=cpo")
    scenario.expect_nothing()


@pytest.mark.parametrize(
    ("version", "text", "answer"), [row for row in MALFORMED if "Heartbeat" not in row[1]]
)
def test_unreadable_frame_of_station_is_answered_and_dropped(
    version: Version, text: str, answer: tuple[str, str] | None
) -> None:
    scenario = RelayHarness(version)
    scenario.station.send(text)
    if answer:
        scenario.station.receive_error(*answer)
    scenario.expect_log("malformed frame received station=CS01")
    scenario.expect_nothing()


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
    scenario = RelayHarness()
    scenario.station.send(text)
    scenario.expect_commandable()
    scenario.csms.receive(text)
    answer = result(message_id)
    scenario.csms.send(answer)
    scenario.station.receive(answer)
    scenario.expect_nothing()


@pytest.mark.parametrize(("text", "message_id"), ODD_CALLS, ids=[row[0] for row in ODD_CALLS])
def test_passing_unanswered_odd_call_delays_no_other(text: str, message_id: str) -> None:
    scenario = RelayHarness()
    scenario.make_commandable()
    scenario.forward_up(text)
    scenario.forward_up(call("8", "Heartbeat"))
    scenario.csms.send(result("8"))
    scenario.station.receive(result("8"))
    scenario.wait(TIMEOUT_S)
    scenario.station.receive_error(message_id, "GenericError", "no answer")
    scenario.expect_nothing()


def test_passing_odd_answer_of_backend_passes_as_it_is() -> None:
    scenario = RelayHarness()
    scenario.make_commandable()
    scenario.forward_up(call("1", "Heartbeat"))
    scenario.csms.send('[3,"1",{"currentTime":NaN}]')
    scenario.station.receive('[3,"1",{"currentTime":NaN}]')
    scenario.expect_nothing()


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
    scenario = RelayHarness()
    scenario.make_commandable()
    scenario.forward_down(call("b", "GetDiagnostics"))
    scenario.station.send(text)
    scenario.csms.receive_error("b", "FormationViolation", "cannot be read")
    scenario.forward_down(call("c", "GetDiagnostics"))


def test_passing_odd_answer_of_station_ends_own_call() -> None:
    scenario = RelayHarness()
    scenario.make_commandable()
    sent = scenario.send_own_call()
    scenario.station.receive(sent)
    scenario.station.send(f'[3,"{json.loads(sent)[1]}",{{"status":"Accepted"')
    scenario.expect_own_result(None, "cannot be read")


def test_passing_log_quotes_no_received_text() -> None:
    scenario = RelayHarness()
    scenario.station.send('[2,"1","Authorize",{"idTag":"DEADBEEF"}')
    scenario.expect_log("DEADBEEF", 0)
    scenario.expect_log("characters=39")


@pytest.mark.parametrize("version", list(Version))
def test_passing_frame_of_unknown_type_is_ignored_and_logged(version: Version) -> None:
    scenario = RelayHarness(version)
    scenario.station.send('[7,"1",{}]')
    scenario.csms.send('[0,"1",{}]')
    scenario.expect_nothing()
    scenario.expect_log("frame of unknown type ignored station=CS01 type=7")
    scenario.expect_log("frame of unknown type ignored backend=cpo type=0")
    assert [note.level for note in scenario.log] == [logging.WARNING] * 2


def test_passing_meter_values_show_clock_of_station() -> None:
    scenario = RelayHarness()
    values = [{"timestamp": format_time(UTC_0 + scenario.now + 7200), "sampledValue": []}]
    text = json.dumps([2, "1", "MeterValues", {"connectorId": 1, "meterValue": values}])
    scenario.station.send(text)
    assert scenario.arbiter._clock.offset_s == pytest.approx(7200, abs=1)
