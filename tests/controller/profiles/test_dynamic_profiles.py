"""Profiles of the kind Dynamic (OCPP 2.1), whose one limit the backend updates."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controller.chargers.quirks import LimitScope
from controller.model.observations import BackendLimit
from controller.ocpp.frames import Version
from controller.profiles.profile_messages import read_stored_profile
from tests.controller.ocpp.schemas import check
from tests.scenario.backend_profiles import (
    ACCEPTED,
    LEASE_S,
    WINDOW_S,
    clear_call,
    make_commandable_relay,
    profile_call,
    set_lease,
    set_profile,
    station_purpose,
)
from tests.scenario.frames import call, result
from tests.scenario.relay_harness import RelayHarness, make_absorbed_profiles


def dynamic_call(limit: float, **more: Any) -> str:
    """Return a SetChargingProfile with a Dynamic profile of this limit (A)."""
    given = {"chargingProfileKind": "Dynamic", "start": None} | more
    return profile_call(Version.V21, (0, limit), **given)


def update_call(number: int = 7, **limits: float) -> str:
    return call(
        "b", "UpdateDynamicSchedule", json.dumps({"chargingProfileId": number, "scheduleUpdate": limits})
    )


@pytest.fixture
def scenario() -> RelayHarness:
    """A station with one EVSE, which may be commanded."""
    return make_commandable_relay(Version.V21)


def test_update_sets_the_limit_of_an_absorbed_profile(scenario: RelayHarness) -> None:
    set_profile(scenario, dynamic_call(10), 10.0)
    set_profile(scenario, update_call(limit=8.0), 8.0)
    set_profile(scenario, update_call(limit=12.0, limit_L2=9.0, limit_L3=11.0), 9.0)
    set_profile(scenario, update_call(limit=11.0), 11.0)  # those of L2 and L3 are replaced, too
    scenario.expect_nothing()
    assert set_lease(scenario, 16) == 11


def test_update_is_accepted_once_the_station_obeys_it(scenario: RelayHarness) -> None:
    set_profile(scenario, dynamic_call(16), 16.0)
    assert set_lease(scenario, 16) == 16
    scenario.csms.send(update_call(limit=8.0))
    scenario.expect_observation(BackendLimit(1, 8.0))
    scenario.expect_nothing()
    assert set_lease(scenario, 16) == 8
    scenario.wait(0)
    scenario.csms.receive(ACCEPTED)


def test_duration_of_a_dynamic_profile_begins_with_its_last_update(scenario: RelayHarness) -> None:
    duration_s = WINDOW_S + 600
    set_profile(scenario, dynamic_call(10, duration=int(duration_s)), 10.0)
    scenario.wait(duration_s - LEASE_S)
    set_profile(scenario, update_call(limit=8.0), 8.0)
    scenario.wait(duration_s - 2)
    scenario.expect_nothing()
    scenario.wait(3)
    scenario.expect_observation(BackendLimit(1, None))


def test_updated_limit_is_stored_and_restored(scenario: RelayHarness) -> None:
    set_profile(scenario, dynamic_call(10), 10.0)
    set_profile(scenario, update_call(limit=8.0), 8.0)
    assert scenario.stored_profiles is not None
    [stored] = scenario.stored_profiles.profiles
    content = json.loads(stored.profile)
    assert content["chargingSchedule"][0]["chargingSchedulePeriod"] == [{"startPeriod": 0, "limit": 8.0}]
    again = make_absorbed_profiles(LimitScope.STATION)
    profile = read_stored_profile(Version.V21, stored.evse, stored.profile)
    again.restore(Version.V21, [station_purpose(Version.V21)], [profile])
    next_link = RelayHarness(Version.V21, profiles=again, up=False)
    next_link.make_commandable()
    next_link.expect_observation(BackendLimit(1, 8.0))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (
            profile_call(Version.V21, (0, 10), (60, 8), chargingProfileKind="Dynamic"),
            "one schedule of one period",
        ),
        (update_call(number=8, limit=9.0), "profile 8 is not Dynamic"),
        (update_call(), "an update without a limit"),
        (update_call(limit=9.0, setpoint=8.0), "setpoint is not supported: send a limit"),
    ],
    ids=["two periods", "another kind", "without a limit", "with a setpoint"],
)
def test_what_cannot_be_updated_is_rejected_with_the_reason(
    scenario: RelayHarness, text: str, word: str
) -> None:
    set_profile(scenario, dynamic_call(10), 10.0)
    set_profile(scenario, profile_call(Version.V21, (0, 12), number=8, level=1), 12.0)
    scenario.csms.send(text)
    scenario.csms.receive_rejection("b")
    scenario.expect_log(word)
    scenario.expect_nothing()
    assert set_lease(scenario, 16) == 12


@pytest.mark.parametrize("name", ["limit", "limit_L2", "limit_L3"])
def test_update_with_negative_limit_is_an_error(scenario: RelayHarness, name: str) -> None:
    set_profile(scenario, dynamic_call(10), 10.0)
    scenario.csms.send(update_call(**{"limit": 8.0} | {name: -1.0}))
    scenario.csms.receive_error("b", "PropertyConstraintViolation", f"{name} -1 is below 0")
    assert set_lease(scenario, 16) == 10


def test_update_of_a_forwarded_profile_passes_and_is_recorded(scenario: RelayHarness) -> None:
    accepted = result("b", '{"status":"Accepted"}')
    for text in (dynamic_call(10, named="TxDefaultProfile", evse=1), update_call(limit=8.0)):
        scenario.forward_down(text)
        scenario.station.send(accepted)
        scenario.csms.receive(accepted)
    _, recorded = scenario.profiles.find(7)
    assert recorded is not None
    [schedule] = recorded.profile.schedules
    assert [period.limit for period in schedule.periods] == [8.0]


PULL = "PullDynamicScheduleUpdate"


def pull_result(message_id: str, **limits: float) -> str:
    answer = {"status": "Accepted", "scheduleUpdate": limits}
    check(Version.V21, f"{PULL}Response", json.dumps(answer).encode())
    return result(message_id, json.dumps(answer))


def answer_pull(scenario: RelayHarness, **limits: float) -> None:
    """Let the backend answer our request for the update of profile 7."""
    asked = scenario.csms.receive_call(PULL)
    assert json.loads(asked.payload) == {"chargingProfileId": 7}
    scenario.csms.send(pull_result(asked.id, **limits))


def test_updates_of_an_absorbed_profile_are_asked_for_at_its_interval(scenario: RelayHarness) -> None:
    set_profile(scenario, dynamic_call(10, dynUpdateInterval=60), 10.0)
    for limit in (8.0, 9.0):
        scenario.wait(59)
        scenario.expect_nothing()
        scenario.wait(1)
        answer_pull(scenario, limit=limit)
        scenario.expect_observation(BackendLimit(1, limit))
    scenario.wait(30)
    set_profile(scenario, update_call(limit=7.0), 7.0)
    scenario.wait(59)
    scenario.expect_nothing()
    scenario.wait(1)
    scenario.csms.send(result(scenario.csms.receive_call(PULL).id, '{"status":"Rejected"}'))
    scenario.wait(60)
    answer_pull(scenario, limit=-1.0)
    assert set_lease(scenario, 16) == 7
    scenario.csms.send(clear_call(Version.V21, id=7))
    scenario.csms.receive(ACCEPTED)
    scenario.expect_observation(BackendLimit(1, None))
    scenario.wait(300)
    scenario.expect_nothing()


def test_updates_are_not_asked_for_while_the_backend_is_away() -> None:
    scenario = RelayHarness(Version.V21, grace_s=600.0)
    scenario.make_commandable()
    set_profile(scenario, dynamic_call(10, dynUpdateInterval=60), 10.0)
    scenario.csms.disconnect()
    scenario.drop_effects()
    scenario.wait(300)
    scenario.csms.connect()
    answer_pull(scenario, limit=8.0)
    scenario.expect_observation(BackendLimit(1, 8.0))


def test_update_that_the_station_asks_for_changes_absorbed_profile(scenario: RelayHarness) -> None:
    """The station may have a copy of the profile from before there was a controller."""
    set_profile(scenario, dynamic_call(10), 10.0)
    scenario.forward_up(call("s", PULL, '{"chargingProfileId":7}'))
    scenario.csms.send(pull_result("s", limit=8.0))
    scenario.station.receive(pull_result("s", limit=8.0))
    scenario.expect_observation(BackendLimit(1, 8.0))


def test_update_that_the_station_asks_for_is_recorded(scenario: RelayHarness) -> None:
    accepted = result("b", '{"status":"Accepted"}')
    scenario.forward_down(dynamic_call(10, named="TxDefaultProfile", evse=1, dynUpdateInterval=60))
    scenario.station.send(accepted)
    scenario.csms.receive(accepted)
    for answer in (pull_result("s", limit=8.0), result("s", '{"status":"Rejected"}')):
        scenario.forward_up(call("s", PULL, '{"chargingProfileId":7}'))
        scenario.csms.send(answer)
        scenario.station.receive(answer)
    _, recorded = scenario.profiles.find(7)
    assert recorded is not None
    [schedule] = recorded.profile.schedules
    assert [period.limit for period in schedule.periods] == [8.0]
    scenario.wait(300)
    scenario.expect_nothing()
