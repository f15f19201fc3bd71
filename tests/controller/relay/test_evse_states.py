"""States of EVSEs over lost links and restarts: what is stored, and what a station is asked for."""

from __future__ import annotations

import json

import pytest

from controller.model.observations import EvseRecord, EvseState
from controller.ocpp.frames import Version
from controller.relay.downstream import QUIET_S, STATES_WAIT_S
from tests.scenario.frames import call, result
from tests.scenario.relay_harness import RelayHarness

STATUS_16 = '{"connectorId":%d,"errorCode":"NoError","status":"%s"}'
START_16 = '{"connectorId":1,"idTag":"T","meterStart":0,"timestamp":"2026-01-01T00:00:00Z"}'


def answer_trigger(scenario: RelayHarness, evse: dict[str, object]) -> None:
    asked = scenario.station.receive_call("TriggerMessage")
    assert json.loads(asked.payload) == {"requestedMessage": "StatusNotification", **evse}
    scenario.station.send(result(asked.id, '{"status":"Accepted"}'))


@pytest.mark.parametrize(
    ("version", "evses"),
    [
        (Version.V16, [{"connectorId": 1}, {"connectorId": 2}]),
        (Version.V201, [{"evse": {"id": n, "connectorId": 1}} for n in (1, 2)]),
        (Version.V21, [{"evse": {"id": n, "connectorId": 1}} for n in (1, 2)]),
    ],
)
def test_evse_states_station_without_boot_is_asked_for_states(
    version: Version, evses: list[dict[str, object]]
) -> None:
    scenario = RelayHarness(version, evses=2)
    scenario.wait(QUIET_S)
    scenario.expect_commandable()
    scenario.wait(STATES_WAIT_S)
    for evse in evses:
        answer_trigger(scenario, evse)
    scenario.wait(60.0)
    scenario.expect_nothing()


def test_evse_states_state_that_station_reports_is_not_asked_for() -> None:
    scenario = RelayHarness(evses=2)
    scenario.make_commandable()
    scenario.station.send(call("1", "StatusNotification", STATUS_16 % (1, "Available")))
    scenario.take_observation()
    scenario.csms.receive_call("StatusNotification")
    scenario.wait(STATES_WAIT_S)
    answer_trigger(scenario, {"connectorId": 2})
    scenario.expect_nothing()


def test_evse_states_station_that_boots_is_not_asked_for_states() -> None:
    scenario = RelayHarness(evses=1)
    scenario.station.send(call("1", "BootNotification"))
    scenario.csms.receive_call("BootNotification")
    scenario.csms.send(
        result("1", '{"status":"Accepted","currentTime":"2026-01-01T00:00:00Z","interval":300}')
    )
    scenario.station.receive_text()
    scenario.take_observation()
    scenario.expect_commandable()
    scenario.wait(60.0)
    scenario.expect_nothing()


def test_relay_stores_states_and_transactions_once() -> None:
    scenario = RelayHarness(evses=1)
    scenario.make_commandable()
    scenario.station.send(call("1", "StartTransaction", START_16))
    assert scenario.stored_states is not None
    assert scenario.stored_states.evses == (EvseRecord(1, EvseState.UNKNOWN, is_running=True),)
    scenario.take_observation()
    scenario.csms.receive_call("StartTransaction")
    answer = result("1", '{"transactionId":7,"idTagInfo":{"status":"Accepted"}}')
    scenario.csms.send(answer)
    scenario.station.receive(answer)
    assert scenario.stored_states.evses == (EvseRecord(1, EvseState.UNKNOWN, is_running=True, transaction=7),)
    stored = None
    for message_id in ("2", "3"):
        stored = stored or scenario.stored_states
        scenario.station.send(call(message_id, "StatusNotification", STATUS_16 % (1, "Charging")))
        scenario.take_observation()
        scenario.csms.receive_call("StatusNotification")
        scenario.csms.send(result(message_id))
        scenario.station.receive(result(message_id))
        assert scenario.stored_states.evses == (
            EvseRecord(1, EvseState.CHARGING, is_running=True, transaction=7),
        )
        assert (scenario.stored_states is stored) == (message_id == "3")
        stored = scenario.stored_states
