"""States of EVSEs over lost links and restarts: what is stored, and what a station is asked for."""

from __future__ import annotations

import json

import pytest

from controller.model.observations import EvseRecord, EvseState
from controller.ocpp.frames import Version
from controller.relay.downstream import QUIET_S, STATES_WAIT_S
from tests.controller.relay.playbook import Playbook, call, result

STATUS_16 = '{"connectorId":%d,"errorCode":"NoError","status":"%s"}'
START_16 = '{"connectorId":1,"idTag":"T","meterStart":0,"timestamp":"2026-01-01T00:00:00Z"}'


def answer_trigger(talk: Playbook, evse: dict[str, object]) -> None:
    asked = talk.station_hears_call("TriggerMessage")
    assert json.loads(asked.payload) == {"requestedMessage": "StatusNotification", **evse}
    talk.station(result(asked.id, '{"status":"Accepted"}'))


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
    talk = Playbook(version, evses=2)
    talk.wait(QUIET_S)
    talk.commands_allowed()
    talk.wait(STATES_WAIT_S)
    for evse in evses:
        answer_trigger(talk, evse)
    talk.wait(60.0)
    talk.done()


def test_evse_states_state_that_station_reports_is_not_asked_for() -> None:
    talk = Playbook(evses=2)
    talk.commandable()
    talk.station(call("1", "StatusNotification", STATUS_16 % (1, "Available")))
    talk.site_learns_any()
    talk.backend_hears_call("StatusNotification")
    talk.wait(STATES_WAIT_S)
    answer_trigger(talk, {"connectorId": 2})
    talk.done()


def test_evse_states_station_that_boots_is_not_asked_for_states() -> None:
    talk = Playbook(evses=1)
    talk.station(call("1", "BootNotification"))
    talk.backend_hears_call("BootNotification")
    talk.backend(result("1", '{"status":"Accepted","currentTime":"2026-01-01T00:00:00Z","interval":300}'))
    talk.station_hears_text()
    talk.site_learns_any()
    talk.commands_allowed()
    talk.wait(60.0)
    talk.done()


def test_relay_stores_states_and_transactions_once() -> None:
    talk = Playbook(evses=1)
    talk.commandable()
    talk.station(call("1", "StartTransaction", START_16))
    assert talk.states is not None
    assert talk.states.evses == (EvseRecord(1, EvseState.UNKNOWN, is_running=True),)
    talk.site_learns_any()
    talk.backend_hears_call("StartTransaction")
    answer = result("1", '{"transactionId":7,"idTagInfo":{"status":"Accepted"}}')
    talk.backend(answer)
    talk.station_hears(answer)
    assert talk.states.evses == (EvseRecord(1, EvseState.UNKNOWN, is_running=True, transaction=7),)
    stored = None
    for message_id in ("2", "3"):
        stored = stored or talk.states
        talk.station(call(message_id, "StatusNotification", STATUS_16 % (1, "Charging")))
        talk.site_learns_any()
        talk.backend_hears_call("StatusNotification")
        talk.backend(result(message_id))
        talk.station_hears(result(message_id))
        assert talk.states.evses == (EvseRecord(1, EvseState.CHARGING, is_running=True, transaction=7),)
        assert (talk.states is stored) == (message_id == "3")
        stored = talk.states
