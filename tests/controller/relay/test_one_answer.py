"""One CALL outstanding per direction, in order; each has one answer, whatever the other side does."""

from __future__ import annotations

import pytest

from controller.relay.call_queue import QUEUE_DEPTH
from controller.relay.station_relay import DRAIN_S
from tests.controller.relay.playbook import TIMEOUT_S, Playbook, call, result


@pytest.fixture
def talk() -> Playbook:
    """A station that may be commanded, and its backend."""
    talk = Playbook()
    talk.commandable()
    return talk


# -- in order -------------------------------------------------------------------------------------------


def test_one_answer_second_call_of_station_waits_for_first_answer(talk: Playbook) -> None:
    talk.passes_up(call("1"))
    talk.station(call("2"))
    talk.station(call("3"))
    talk.done()
    for number in (1, 2):
        talk.backend(result(f"{number}"))
        talk.station_hears(result(f"{number}"))
        talk.backend_hears(call(f"{number + 1}"))
    talk.passes_down(result("3"))


def test_one_answer_second_call_of_backend_waits_for_first_answer(talk: Playbook) -> None:
    talk.passes_down(call("1"))
    talk.backend(call("2"))
    talk.done()
    talk.station(result("1"))
    talk.backend_hears(result("1"))
    talk.station_hears(call("2"))
    talk.passes_up(result("2"))


def test_both_directions_may_have_one_outstanding_even_with_one_id(talk: Playbook) -> None:
    talk.passes_up(call("1", "Heartbeat"))
    talk.passes_down(call("1", "Reset"))
    talk.passes_up(result("1", '{"status":"Accepted"}'))
    talk.passes_down(result("1", '{"currentTime":"2026-03-29T12:00:00Z"}'))


def test_one_answer_id_may_be_used_again_after_answer(talk: Playbook) -> None:
    for _ in range(2):
        talk.passes_up(call("1"))
        talk.passes_down(result("1"))
        talk.passes_down(call("b"))
        talk.passes_up(result("b"))


# -- repeated -------------------------------------------------------------------------------------------


def test_call_repeated_before_its_answer_is_forwarded_once(talk: Playbook) -> None:
    talk.passes_up(call("1"))
    talk.station(call("1"))
    talk.station(call("2"))
    talk.station(call("2"))
    talk.noted("repeated call sent once", 2)
    talk.backend(result("1"))
    talk.station_hears(result("1"))
    talk.backend_hears(call("2"))
    talk.passes_down(result("2"))

    talk.passes_down(call("b"))
    talk.backend(call("b"))
    talk.done()
    talk.noted("repeated command sent once")
    talk.passes_up(result("b"))


def test_one_id_with_two_texts_is_two_calls(talk: Playbook) -> None:
    talk.passes_up(call("1", "Heartbeat"))
    talk.station(call("1", "Authorize"))
    talk.done()
    talk.backend(result("1"))
    talk.station_hears(result("1"))
    talk.backend_hears(call("1", "Authorize"))
    talk.passes_down(result("1"))


# -- the controller's own -------------------------------------------------------------------------------


def test_one_answer_own_answers_never_reach_backend(talk: Playbook) -> None:
    own = talk.own()
    talk.station_hears(own)
    talk.station(result(own[4:40], '{"status":"Accepted"}'))
    talk.own_answered(b'{"status":"Accepted"}')
    talk.done()


def test_one_answer_station_that_refuses_with_error_states_why(talk: Playbook) -> None:
    own = talk.own()
    talk.station_hears(own)
    talk.station(f'[4,"{own[4:40]}","NotSupported","no smart charging",{{}}]')
    talk.own_answered(None, "NotSupported no smart charging")
    talk.done()


def test_error_text_of_station_is_bounded_and_escaped(talk: Playbook) -> None:
    own = talk.own()
    talk.station_hears(own)
    talk.station(f'[4,"{own[4:40]}","NotSupported","\\u001b[2J{"x" * 200}\\nsecond line",{{}}]')
    talk.own_answered(None, ("NotSupported \\x1b[2J" + "x" * 200)[:77] + "...")
    talk.done()


def test_one_answer_urgent_first_then_own_then_backend_and_each_in_order(talk: Playbook) -> None:
    talk.passes_down(call("b0"))
    talk.backend(call("b1"))
    talk.backend(call("b2"))
    own = [talk.own(), talk.own()]
    urgent = [talk.own(urgent=True), talk.own(urgent=True)]
    talk.done()
    talk.station(result("b0"))
    talk.backend_hears(result("b0"))
    for token, text in ((3, urgent[0]), (4, urgent[1]), (1, own[0]), (2, own[1])):
        talk.station_hears(text)
        talk.station(result(text[4:40]))
        talk.own_answered(b"{}", token=token)
    talk.station_hears(call("b1"))
    talk.station(result("b1"))
    talk.backend_hears(result("b1"))
    talk.station_hears(call("b2"))
    talk.done()


def test_one_answer_own_calls_go_while_station_waits_for_backend(talk: Playbook) -> None:
    talk.passes_up(call("1"))
    talk.station_hears(talk.own())


# -- late -----------------------------------------------------------------------------------------------


def test_one_answer_backend_that_does_not_answer_is_answered_for(talk: Playbook) -> None:
    talk.passes_up(call("1", "Heartbeat"))
    talk.station(call("2", "Heartbeat"))
    talk.wait(TIMEOUT_S - 0.001)
    talk.done()
    talk.wait(0.001)
    talk.station_hears_error("1", "GenericError", "no answer in time")
    talk.backend_hears(call("2", "Heartbeat"))
    talk.noted("call not answered backend=cpo station=CS01 action=Heartbeat id=1")
    talk.backend(result("1"))  # too late
    talk.done()
    talk.noted("answer dropped backend=cpo station=CS01 id=1")
    talk.passes_down(result("2"))


def test_one_answer_station_that_does_not_answer_is_answered_for(talk: Playbook) -> None:
    talk.passes_down(call("b", "Reset"))
    own = talk.own()
    talk.wait(TIMEOUT_S)
    talk.backend_hears_error("b", "GenericError", "station CS01 gave no answer in time")
    talk.station_hears(own)
    talk.noted("call not answered station=CS01 action=Reset id=b")
    talk.station(result("b"))  # too late
    talk.done()
    talk.noted("answer dropped station=CS01 id=b")
    talk.wait(TIMEOUT_S)
    talk.own_answered(None, "no answer in time")
    talk.station(result(own[4:40]))  # too late as well
    talk.done()


def test_answer_at_last_moment_counts(talk: Playbook) -> None:
    talk.passes_up(call("1"))
    talk.wait(TIMEOUT_S - 0.001)
    talk.passes_down(result("1"))
    talk.wait(10 * TIMEOUT_S)
    talk.done()


@pytest.mark.parametrize("action", ["StartTransaction", "StopTransaction", "MeterValues", "TransactionEvent"])
def test_no_transaction_message_is_answered_for(talk: Playbook, action: str) -> None:
    """An error would count as an attempt; unanswered, the station repeats it. A silent backend is lost."""
    talk.passes_up(call("1", action))
    talk.station(call("2", "Heartbeat"))
    talk.wait(TIMEOUT_S)
    talk.backend_hears(call("2", "Heartbeat"))
    talk.done()
    talk.wait(TIMEOUT_S)
    talk.closes("backend cpo is away")
    talk.noted(f"backend lost backend=cpo station=CS01 reason='no answer to {action}, Heartbeat'")


def test_one_kind_of_message_that_is_never_answered_leaves_link(talk: Playbook) -> None:
    for number in range(10):
        talk.passes_up(call(f"m{number}", "MeterValues"))
        talk.wait(TIMEOUT_S)
        talk.passes_up(call(f"h{number}", "Heartbeat"))
        talk.passes_down(result(f"h{number}"))
    talk.done()


def test_backend_that_answers_nothing_is_lost_after_three_calls(talk: Playbook) -> None:
    for number in range(3):
        talk.passes_up(call(f"m{number}", "MeterValues"))
        talk.wait(TIMEOUT_S)
    talk.closes("backend cpo is away")


def test_one_answer_link_that_is_lost_after_backend_was_late_is_lost_once(talk: Playbook) -> None:
    talk.passes_up(call("0", "MeterValues"))
    talk.wait(TIMEOUT_S)
    talk.passes_up(call("1", "StopTransaction"))
    talk.wait(TIMEOUT_S - 1)
    talk.station_hears(talk.own())
    talk.wait(1)
    talk.done()
    talk.wait(DRAIN_S / 2)
    talk.backend_lost()
    talk.noted("backend lost backend=cpo station=CS01")
    talk.wait(DRAIN_S / 2)
    talk.own_answered(None, "backend cpo is away")
    talk.closes("backend cpo is away")


# -- full -----------------------------------------------------------------------------------------------


def test_one_answer_full_line_leaves_stations_messages_in_socket(talk: Playbook) -> None:
    talk.passes_up(call("0"))
    for number in range(1, QUEUE_DEPTH + 1):
        assert talk.relay.accepts_messages
        talk.station(call(f"{number}"))
    assert not talk.relay.accepts_messages
    talk.backend(result("0"))
    talk.station_hears(result("0"))
    talk.backend_hears(call("1"))
    assert talk.relay.accepts_messages


def test_one_answer_backend_that_fills_line_is_refused(talk: Playbook) -> None:
    talk.passes_down(call("0"))
    for number in range(1, QUEUE_DEPTH + 1):
        talk.backend(call(f"{number}"))
    talk.done()
    talk.backend(call("too much"))
    talk.backend_hears_error("too much", "GenericError", f"{QUEUE_DEPTH} calls waiting")
    own = talk.own(urgent=True)  # for our own there is always room
    talk.station(result("0"))
    talk.backend_hears(result("0"))
    talk.station_hears(own)
