"""`grace`: the owner comes back in time, and the station notices nothing; or the station is closed."""

from __future__ import annotations

import pytest

from controller.model.observations import TransactionSeen
from controller.relay.call_queue import QUEUE_DEPTH
from controller.relay.events import FromStation
from controller.relay.station_relay import DRAIN_S
from tests.scenario.frames import call, result
from tests.scenario.relay_harness import TIMEOUT_S, RelayHarness

GRACE_S = 20.0
START = call("1", "StartTransaction", '{"connectorId":1,"idTag":"A","meterStart":0,"timestamp":"T"}')


def send_start(scenario: RelayHarness) -> None:
    scenario.station.send(START)
    scenario.expect_observation(TransactionSeen(1, True))


@pytest.fixture
def scenario() -> RelayHarness:
    scenario = RelayHarness(grace_s=GRACE_S)
    scenario.make_commandable()
    return scenario


def test_grace_unanswered_call_is_repeated_unchanged_and_first(scenario: RelayHarness) -> None:
    first, second = call("1"), call("2")
    scenario.forward_up(first)
    scenario.csms.disconnect()
    scenario.station.send(second)
    scenario.wait(GRACE_S - 1)
    scenario.csms.connect()
    scenario.csms.receive(first)
    scenario.csms.send(result("1"))
    scenario.station.receive(result("1"))
    scenario.csms.receive(second)
    scenario.expect_log("waiting for it up to 20 s (grace)")


def test_away_grace_each_absence_has_own_grace(scenario: RelayHarness) -> None:
    for _ in range(3):
        scenario.csms.disconnect()
        scenario.wait(GRACE_S - 1)
        scenario.csms.connect()
    scenario.forward_up(call("1"))


def test_away_grace_dials_that_fail_do_not_prolong_it(scenario: RelayHarness) -> None:
    scenario.csms.disconnect()
    scenario.wait(GRACE_S - 1)
    scenario.csms.disconnect("connection refused")
    assert scenario.relay.needs_link("cpo")
    scenario.wait(2)
    scenario.expect_close("backend cpo is away")


def test_away_grace_owner_absent_from_start_has_grace() -> None:
    scenario = RelayHarness(up=False, grace_s=GRACE_S)
    scenario.make_commandable()
    send_start(scenario)
    scenario.csms.disconnect("connection refused")
    scenario.wait(GRACE_S - 1)
    scenario.csms.connect()
    scenario.csms.receive(START)


def test_grace_that_ends_sends_safe_limit_then_closes_station(scenario: RelayHarness) -> None:
    send_start(scenario)
    scenario.csms.receive(START)
    scenario.csms.disconnect()
    limit = scenario.send_own_call()
    scenario.station.receive(limit)
    scenario.wait(GRACE_S)
    scenario.expect_nothing()  # still waits for the station's word to it
    scenario.station.send('[3,"00000000-0000-0000-0000-000000000001",{"status":"Accepted"}]')
    scenario.expect_own_result(b'{"status":"Accepted"}')
    scenario.expect_close("backend cpo is away")
    assert not scenario.relay.needs_link("cpo")


def test_away_grace_station_that_refuses_limit_is_closed(scenario: RelayHarness) -> None:
    scenario.csms.disconnect()
    scenario.station.receive(scenario.send_own_call())
    scenario.wait(GRACE_S + DRAIN_S)
    scenario.expect_own_result(None, "backend cpo is away")
    scenario.expect_close("backend cpo is away")


def test_unanswered_transaction_waits_for_another_link(scenario: RelayHarness) -> None:
    """An error would count as one of its tries at the station."""
    scenario.forward_up('[2,"0","MeterValues",{}]')
    scenario.wait(TIMEOUT_S)
    send_start(scenario)
    scenario.csms.receive(START)
    scenario.wait(TIMEOUT_S)
    scenario.expect_redial("no answer to MeterValues, StartTransaction")
    scenario.csms.disconnect()
    scenario.csms.connect()
    scenario.csms.receive(START)


def test_away_grace_full_queue_stops_reading_socket(scenario: RelayHarness) -> None:
    scenario.csms.disconnect()
    sent = 0
    while scenario.relay.accepts_messages:
        sent += 1
        assert scenario.relay.handle(FromStation(call(str(sent))), scenario.now, scenario.now) == []
    assert sent == QUEUE_DEPTH
