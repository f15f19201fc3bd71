"""One CALL outstanding per direction, in order; each has one answer in any case."""

from __future__ import annotations

import pytest

from controller.relay.call_queue import QUEUE_DEPTH
from controller.relay.station_relay import DRAIN_S
from tests.scenario.frames import call, result
from tests.scenario.relay_harness import TIMEOUT_S, RelayHarness


@pytest.fixture
def scenario() -> RelayHarness:
    """A station that may be commanded, and its backend."""
    scenario = RelayHarness()
    scenario.make_commandable()
    return scenario


# -- in order -------------------------------------------------------------------------------------------


def test_one_answer_second_call_of_station_waits_for_first_answer(scenario: RelayHarness) -> None:
    scenario.forward_up(call("1"))
    scenario.station.send(call("2"))
    scenario.station.send(call("3"))
    scenario.expect_nothing()
    for number in (1, 2):
        scenario.csms.send(result(f"{number}"))
        scenario.station.receive(result(f"{number}"))
        scenario.csms.receive(call(f"{number + 1}"))
    scenario.forward_down(result("3"))


def test_one_answer_second_call_of_backend_waits_for_first_answer(scenario: RelayHarness) -> None:
    scenario.forward_down(call("1"))
    scenario.csms.send(call("2"))
    scenario.expect_nothing()
    scenario.station.send(result("1"))
    scenario.csms.receive(result("1"))
    scenario.station.receive(call("2"))
    scenario.forward_up(result("2"))


def test_both_directions_may_have_one_outstanding_even_with_one_id(scenario: RelayHarness) -> None:
    scenario.forward_up(call("1", "Heartbeat"))
    scenario.forward_down(call("1", "Reset"))
    scenario.forward_up(result("1", '{"status":"Accepted"}'))
    scenario.forward_down(result("1", '{"currentTime":"2026-03-29T12:00:00Z"}'))


def test_one_answer_id_may_be_used_again_after_answer(scenario: RelayHarness) -> None:
    for _ in range(2):
        scenario.forward_up(call("1"))
        scenario.forward_down(result("1"))
        scenario.forward_down(call("b"))
        scenario.forward_up(result("b"))


# -- repeated -------------------------------------------------------------------------------------------


def test_call_repeated_before_its_answer_is_forwarded_once(scenario: RelayHarness) -> None:
    scenario.forward_up(call("1"))
    scenario.station.send(call("1"))
    scenario.station.send(call("2"))
    scenario.station.send(call("2"))
    scenario.expect_log("repeated call sent once", 2)
    scenario.csms.send(result("1"))
    scenario.station.receive(result("1"))
    scenario.csms.receive(call("2"))
    scenario.forward_down(result("2"))

    scenario.forward_down(call("b"))
    scenario.csms.send(call("b"))
    scenario.expect_nothing()
    scenario.expect_log("repeated command sent once")
    scenario.forward_up(result("b"))


def test_one_id_with_two_texts_is_two_calls(scenario: RelayHarness) -> None:
    scenario.forward_up(call("1", "Heartbeat"))
    scenario.station.send(call("1", "Authorize"))
    scenario.expect_nothing()
    scenario.csms.send(result("1"))
    scenario.station.receive(result("1"))
    scenario.csms.receive(call("1", "Authorize"))
    scenario.forward_down(result("1"))


# -- the controller's own -------------------------------------------------------------------------------


def test_one_answer_own_answers_never_reach_backend(scenario: RelayHarness) -> None:
    own = scenario.send_own_call()
    scenario.station.receive(own)
    scenario.station.send(result(own[4:40], '{"status":"Accepted"}'))
    scenario.expect_own_result(b'{"status":"Accepted"}')
    scenario.expect_nothing()


def test_one_answer_error_of_station_reaches_owner_with_reason(scenario: RelayHarness) -> None:
    own = scenario.send_own_call()
    scenario.station.receive(own)
    scenario.station.send(f'[4,"{own[4:40]}","NotSupported","no smart charging",{{}}]')
    scenario.expect_own_result(None, "NotSupported no smart charging")
    scenario.expect_nothing()


def test_error_text_of_station_is_bounded_and_escaped(scenario: RelayHarness) -> None:
    own = scenario.send_own_call()
    scenario.station.receive(own)
    scenario.station.send(f'[4,"{own[4:40]}","NotSupported","\\u001b[2J{"x" * 200}\\nsecond line",{{}}]')
    scenario.expect_own_result(None, ("NotSupported \\x1b[2J" + "x" * 200)[:77] + "...")
    scenario.expect_nothing()


def test_one_answer_urgent_first_then_own_then_backend_and_each_in_order(scenario: RelayHarness) -> None:
    scenario.forward_down(call("b0"))
    scenario.csms.send(call("b1"))
    scenario.csms.send(call("b2"))
    own = [scenario.send_own_call(), scenario.send_own_call()]
    urgent = [scenario.send_own_call(urgent=True), scenario.send_own_call(urgent=True)]
    scenario.expect_nothing()
    scenario.station.send(result("b0"))
    scenario.csms.receive(result("b0"))
    for token, text in ((3, urgent[0]), (4, urgent[1]), (1, own[0]), (2, own[1])):
        scenario.station.receive(text)
        scenario.station.send(result(text[4:40]))
        scenario.expect_own_result(b"{}", token=token)
    scenario.station.receive(call("b1"))
    scenario.station.send(result("b1"))
    scenario.csms.receive(result("b1"))
    scenario.station.receive(call("b2"))
    scenario.expect_nothing()


def test_one_answer_own_calls_go_while_station_waits_for_backend(scenario: RelayHarness) -> None:
    scenario.forward_up(call("1"))
    scenario.station.receive(scenario.send_own_call())


# -- late -----------------------------------------------------------------------------------------------


def test_one_answer_backend_that_does_not_answer_is_answered_for(scenario: RelayHarness) -> None:
    scenario.forward_up(call("1", "Heartbeat"))
    scenario.station.send(call("2", "Heartbeat"))
    scenario.wait(TIMEOUT_S - 0.001)
    scenario.expect_nothing()
    scenario.wait(0.001)
    scenario.station.receive_error("1", "GenericError", "no answer in time")
    scenario.csms.receive(call("2", "Heartbeat"))
    scenario.expect_log("call not answered backend=cpo station=CS01 action=Heartbeat id=1")
    scenario.csms.send(result("1"))  # too late
    scenario.expect_nothing()
    scenario.expect_log("answer dropped backend=cpo station=CS01 id=1")
    scenario.forward_down(result("2"))


def test_one_answer_station_that_does_not_answer_is_answered_for(scenario: RelayHarness) -> None:
    scenario.forward_down(call("b", "Reset"))
    own = scenario.send_own_call()
    scenario.wait(TIMEOUT_S)
    scenario.csms.receive_error("b", "GenericError", "station CS01 gave no answer in time")
    scenario.station.receive(own)
    scenario.expect_log("call not answered station=CS01 action=Reset id=b")
    scenario.station.send(result("b"))  # too late
    scenario.expect_nothing()
    scenario.expect_log("answer dropped station=CS01 id=b")
    scenario.wait(TIMEOUT_S)
    scenario.expect_own_result(None, "no answer in time")
    scenario.station.send(result(own[4:40]))  # too late as well
    scenario.expect_nothing()


def test_answer_just_before_timeout_counts(scenario: RelayHarness) -> None:
    scenario.forward_up(call("1"))
    scenario.wait(TIMEOUT_S - 0.001)
    scenario.forward_down(result("1"))
    scenario.wait(10 * TIMEOUT_S)
    scenario.expect_nothing()


@pytest.mark.parametrize("action", ["StartTransaction", "StopTransaction", "MeterValues", "TransactionEvent"])
def test_no_transaction_message_is_answered_for(scenario: RelayHarness, action: str) -> None:
    """An error would count as an attempt; unanswered, the station repeats it. A silent backend is lost."""
    scenario.forward_up(call("1", action))
    scenario.station.send(call("2", "Heartbeat"))
    scenario.wait(TIMEOUT_S)
    scenario.csms.receive(call("2", "Heartbeat"))
    scenario.expect_nothing()
    scenario.wait(TIMEOUT_S)
    scenario.expect_close("backend cpo is away")
    scenario.expect_log(f"backend lost backend=cpo station=CS01 reason='no answer to {action}, Heartbeat'")


def test_one_kind_of_message_that_is_never_answered_leaves_link(scenario: RelayHarness) -> None:
    for number in range(10):
        scenario.forward_up(call(f"m{number}", "MeterValues"))
        scenario.wait(TIMEOUT_S)
        scenario.forward_up(call(f"h{number}", "Heartbeat"))
        scenario.forward_down(result(f"h{number}"))
    scenario.expect_nothing()


def test_backend_that_answers_nothing_is_lost_after_three_calls(scenario: RelayHarness) -> None:
    for number in range(3):
        scenario.forward_up(call(f"m{number}", "MeterValues"))
        scenario.wait(TIMEOUT_S)
    scenario.expect_close("backend cpo is away")


def test_one_answer_link_that_is_lost_after_backend_was_late_is_lost_once(scenario: RelayHarness) -> None:
    scenario.forward_up(call("0", "MeterValues"))
    scenario.wait(TIMEOUT_S)
    scenario.forward_up(call("1", "StopTransaction"))
    scenario.wait(TIMEOUT_S - 1)
    scenario.station.receive(scenario.send_own_call())
    scenario.wait(1)
    scenario.expect_nothing()
    scenario.wait(DRAIN_S / 2)
    scenario.csms.disconnect()
    scenario.expect_log("backend lost backend=cpo station=CS01")
    scenario.wait(DRAIN_S / 2)
    scenario.expect_own_result(None, "backend cpo is away")
    scenario.expect_close("backend cpo is away")


# -- full -----------------------------------------------------------------------------------------------


def test_one_answer_full_queue_leaves_messages_in_socket(scenario: RelayHarness) -> None:
    scenario.forward_up(call("0"))
    for number in range(1, QUEUE_DEPTH + 1):
        assert scenario.relay.accepts_messages
        scenario.station.send(call(f"{number}"))
    assert not scenario.relay.accepts_messages
    scenario.csms.send(result("0"))
    scenario.station.receive(result("0"))
    scenario.csms.receive(call("1"))
    assert scenario.relay.accepts_messages


def test_one_answer_backend_that_fills_queue_is_refused(scenario: RelayHarness) -> None:
    scenario.forward_down(call("0"))
    for number in range(1, QUEUE_DEPTH + 1):
        scenario.csms.send(call(f"{number}"))
    scenario.expect_nothing()
    scenario.csms.send(call("too much"))
    scenario.csms.receive_error("too much", "GenericError", f"{QUEUE_DEPTH} calls waiting")
    own = scenario.send_own_call(urgent=True)  # for our own there is always room
    scenario.station.send(result("0"))
    scenario.csms.receive(result("0"))
    scenario.station.receive(own)
