"""A stop of the controller: nothing new is taken, and what was sent gets its answer."""

from __future__ import annotations

import json

import pytest

from tests.controller.relay.observer_talk import Talk
from tests.controller.relay.playbook import TIMEOUT_S, Playbook, call, result

GOING_AWAY = 1001
METERED = '{"connectorId":1,"meterValue":[]}'


def test_stop_without_open_calls_closes_at_once() -> None:
    talk = Playbook()
    talk.commandable()
    talk.stop()
    talk.closes("the controller stops", GOING_AWAY)


def test_stop_waits_for_answer_of_owner() -> None:
    talk = Playbook()
    talk.commandable()
    talk.passes_up(call("1", "StopTransaction"))
    talk.station(call("2", "StopTransaction"))  # waits in the queue, and is not sent any more
    talk.stop()
    talk.done()
    talk.station(call("3", "Heartbeat"))
    talk.done()
    talk.backend(result("1"))
    talk.station_hears(result("1"))
    talk.closes("the controller stops", GOING_AWAY)


def test_stop_waits_for_answer_to_command() -> None:
    talk = Playbook()
    talk.commandable()
    talk.passes_down(call("b", "RemoteStartTransaction"))
    talk.stop()
    talk.backend(call("c", "RemoteStopTransaction"))
    talk.backend_hears_error("c", "GenericError", "the controller stops")
    talk.done()
    talk.station(result("b", '{"status":"Accepted"}'))
    talk.backend_hears(result("b", '{"status":"Accepted"}'))
    talk.closes("the controller stops", GOING_AWAY)


def test_stop_does_not_wait_for_answers_to_limits() -> None:
    talk = Playbook()
    talk.commandable()
    talk.station_hears(talk.own())
    talk.stop()
    talk.own_answered(None, "the controller stops")
    talk.closes("the controller stops", GOING_AWAY)


def test_stop_waits_for_answer_of_observer() -> None:
    talk = Playbook(observers={"fleet": Talk().observing})
    talk.commandable()
    talk.observer_up("fleet")
    for message_id in ("1", "2"):  # the second copy waits for the answer to the first one
        talk.station(call(message_id, "MeterValues", METERED))
        talk.backend_hears_call("MeterValues")
        talk.backend(result(message_id))
        talk.saves()
        if message_id == "1":
            copy = json.loads(talk.observer_hears_text("fleet"))
        talk.station_hears(result(message_id))
    talk.stop()
    talk.done()
    talk.observer("fleet", result(copy[1]))
    talk.saves()
    talk.closes("the controller stops", GOING_AWAY)


@pytest.mark.parametrize("action", ["StartTransaction", "Heartbeat"])
def test_stop_ends_calls_whose_answer_is_late(action: str) -> None:
    talk = Playbook()
    talk.commandable()
    talk.passes_up(call("1", action))
    talk.stop()
    talk.wait(TIMEOUT_S - 1)
    talk.done()
    talk.station_lost()
