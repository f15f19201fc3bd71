"""A stop of the controller: nothing new is taken, and what was sent gets its answer."""

from __future__ import annotations

import json

import pytest

from tests.scenario.frames import call, result
from tests.scenario.observer_harness import ObserverHarness
from tests.scenario.relay_harness import TIMEOUT_S, RelayHarness

GOING_AWAY = 1001
METERED = '{"connectorId":1,"meterValue":[]}'


def test_stop_without_open_calls_closes_at_once() -> None:
    scenario = RelayHarness()
    scenario.make_commandable()
    scenario.stop()
    scenario.expect_close("the controller stops", GOING_AWAY)


def test_stop_waits_for_answer_of_owner() -> None:
    scenario = RelayHarness()
    scenario.make_commandable()
    scenario.forward_up(call("1", "StopTransaction"))
    scenario.station.send(call("2", "StopTransaction"))  # waits in the queue, and is not sent any more
    scenario.stop()
    scenario.expect_nothing()
    scenario.station.send(call("3", "Heartbeat"))
    scenario.expect_nothing()
    scenario.csms.send(result("1"))
    scenario.station.receive(result("1"))
    scenario.expect_close("the controller stops", GOING_AWAY)


def test_stop_waits_for_answer_to_command() -> None:
    scenario = RelayHarness()
    scenario.make_commandable()
    scenario.forward_down(call("b", "RemoteStartTransaction"))
    scenario.stop()
    scenario.csms.send(call("c", "RemoteStopTransaction"))
    scenario.csms.receive_error("c", "GenericError", "the controller stops")
    scenario.expect_nothing()
    scenario.station.send(result("b", '{"status":"Accepted"}'))
    scenario.csms.receive(result("b", '{"status":"Accepted"}'))
    scenario.expect_close("the controller stops", GOING_AWAY)


def test_stop_does_not_wait_for_answers_to_limits() -> None:
    scenario = RelayHarness()
    scenario.make_commandable()
    scenario.station.receive(scenario.send_own_call())
    scenario.stop()
    scenario.expect_own_result(None, "the controller stops")
    scenario.expect_close("the controller stops", GOING_AWAY)


def test_stop_waits_for_answer_of_observer() -> None:
    scenario = RelayHarness(observers={"fleet": ObserverHarness().backend})
    scenario.make_commandable()
    scenario.observer("fleet").connect()
    for message_id in ("1", "2"):  # the second copy waits for the answer to the first one
        scenario.station.send(call(message_id, "MeterValues", METERED))
        scenario.csms.receive_call("MeterValues")
        scenario.csms.send(result(message_id))
        scenario.take_records()
        if message_id == "1":
            copy = json.loads(scenario.observer("fleet").receive_text())
        scenario.station.receive(result(message_id))
    scenario.stop()
    scenario.expect_nothing()
    scenario.observer("fleet").send(result(copy[1]))
    scenario.take_records()
    scenario.expect_close("the controller stops", GOING_AWAY)


@pytest.mark.parametrize("action", ["StartTransaction", "Heartbeat"])
def test_stop_ends_calls_whose_answer_is_late(action: str) -> None:
    scenario = RelayHarness()
    scenario.make_commandable()
    scenario.forward_up(call("1", action))
    scenario.stop()
    scenario.wait(TIMEOUT_S - 1)
    scenario.expect_nothing()
    scenario.station.disconnect()
