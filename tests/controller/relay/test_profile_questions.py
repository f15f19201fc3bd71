"""Answers to a backend that clears profiles, or requests schedules or profiles."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controller.chargers.quirks import LimitScope
from controller.model.observations import BackendLimit, EvseState, ProfilesTouched, StateSeen
from controller.ocpp.frames import Version
from controller.ocpp.payloads import format_time
from controller.profiles.arbiter import CONFIRM_S
from controller.profiles.limit_profiles import LimitKind, profile_id
from controller.profiles.profile_reports import REPORT_S
from tests.controller.ocpp.schemas import check
from tests.scenario.backend_profiles import (
    ACCEPTED,
    STARTED,
    UNKNOWN,
    V2,
    clear_call,
    make_commandable_relay,
    profile_call,
    set_lease,
    set_profile,
    start_transaction,
    station_purpose,
)
from tests.scenario.frames import call, result
from tests.scenario.relay_harness import UTC_0, RelayHarness


@pytest.fixture(params=list(Version))
def version(request: pytest.FixtureRequest) -> Version:
    return Version(request.param)


# -- ClearChargingProfile -------------------------------------------------------------------------------


def test_profile_questions_own_are_not_backends_to_clear(version: Version) -> None:
    scenario = make_commandable_relay(version)
    for text in (
        clear_call(version, id=profile_id(0, LimitKind.LEASE)),
        clear_call(version, purpose=station_purpose(version)),
    ):
        scenario.csms.send(text)
        scenario.csms.receive(UNKNOWN)
        scenario.expect_nothing()


@pytest.mark.parametrize(
    ("scope", "criteria"),
    [
        (LimitScope.STATION, {"purpose": "TxProfile"}),
        (LimitScope.STATION, {"id": 12}),
    ],
)
def test_profile_query_without_effect_on_ours_passes(
    version: Version, scope: LimitScope, criteria: dict[str, Any]
) -> None:
    scenario = make_commandable_relay(version, scope)
    scenario.forward_down(clear_call(version, **criteria))
    scenario.forward_up(UNKNOWN)


@pytest.mark.parametrize(
    ("scope", "criteria"),
    [
        (LimitScope.STATION, {"evse": 0, "level": 1}),
        (LimitScope.EVSE, {"level": 1}),
        (LimitScope.EVSE, {"evse": 0}),
    ],
)
def test_profile_query_affecting_ours_is_narrowed_to_one_purpose(
    version: Version, scope: LimitScope, criteria: dict[str, Any]
) -> None:
    scenario = make_commandable_relay(version, scope)
    scenario.csms.send(clear_call(version, **criteria))
    foreign = "TxDefaultProfile" if scope is LimitScope.STATION else station_purpose(version)
    expected = json.loads(clear_call(version, **criteria, purpose=foreign))
    received = scenario.station.receive_call("ClearChargingProfile")
    assert [2, received.id, received.action, json.loads(received.payload)] == expected
    scenario.forward_up(UNKNOWN)


def test_clear_of_one_evse_is_sent_per_purpose_that_is_not_ours(version: Version) -> None:
    scenario = make_commandable_relay(version)
    scenario.csms.send(clear_call(version, evse=1))
    purposes = ["TxDefaultProfile", "TxProfile"] + ["PriorityCharging"] * (version is Version.V21)
    sent = [_answer_clear(scenario) for _ in purposes]
    assert sent == [json.loads(clear_call(version, evse=1, purpose=each))[3] for each in purposes]
    scenario.csms.receive(UNKNOWN)
    scenario.expect_nothing()


def _answer_clear(scenario: RelayHarness) -> object:
    """Answer the station's next ClearChargingProfile with Unknown; return its payload."""
    asked = scenario.station.receive_call("ClearChargingProfile")
    scenario.station.send(result(asked.id, '{"status":"Unknown"}'))
    payload: object = json.loads(asked.payload)
    return payload


def test_clearing_of_everything_clears_absorbed_profiles_too(version: Version) -> None:
    scenario = make_commandable_relay(version)
    set_profile(scenario, profile_call(version, (0, 10)), 10.0)
    scenario.csms.send(clear_call(version))
    for _ in range(3 if version is Version.V21 else 2):
        scenario.station.send(
            result(scenario.station.receive_call("ClearChargingProfile").id, '{"status":"Unknown"}')
        )
    scenario.csms.receive(ACCEPTED)
    scenario.expect_observation(BackendLimit(1, None))
    scenario.expect_nothing()


def test_evse_with_limits_of_own_has_nothing_else_to_clear(version: Version) -> None:
    scenario = make_commandable_relay(version, LimitScope.EVSE)
    set_profile(scenario, profile_call(version, (0, 8), named="TxDefaultProfile", evse=2))
    scenario.expect_observation(BackendLimit(2, 8.0))
    scenario.csms.send(clear_call(version, evse=1))
    scenario.csms.receive(UNKNOWN)
    scenario.csms.send(clear_call(version, evse=2))
    scenario.csms.receive(ACCEPTED)
    scenario.expect_observation(BackendLimit(2, None))
    scenario.expect_nothing()


def idle(version: Version) -> str:
    if version is Version.V16:
        status = {"connectorId": 1, "errorCode": "NoError", "status": "Available"}
    else:
        status = {"evseId": 1, "connectorId": 1, "connectorStatus": "Available"}
    return call("i", "StatusNotification", json.dumps(status | {"timestamp": "2026-11-30T00:00:00Z"}))


# -- GetCompositeSchedule -------------------------------------------------------------------------------


def asks(version: Version, evse: int, duration: int, unit: str = "A") -> str:
    target = "connectorId" if version is Version.V16 else "evseId"
    payload = {target: evse, "duration": duration, "chargingRateUnit": unit}
    return call("b", "GetCompositeSchedule", json.dumps(payload))


def received_schedule(scenario: RelayHarness, version: Version) -> list[tuple[int, float]]:
    """Return the periods of the answer, which fits the schema."""
    payload = json.loads(scenario.csms.receive_text())[2]
    check(version, "GetCompositeScheduleResponse", json.dumps(payload).encode())
    assert payload["status"] == "Accepted"
    schedule = payload["chargingSchedule" if version is Version.V16 else "schedule"]
    return [(each["startPeriod"], each["limit"]) for each in schedule["chargingSchedulePeriod"]]


def test_profile_questions_composite_of_idle_evse_is_what_car_would_get(version: Version) -> None:
    scenario = make_commandable_relay(version)
    scenario.station.send(idle(version))
    scenario.expect_observation(StateSeen(1, EvseState.AVAILABLE))
    scenario.csms.receive(idle(version))
    scenario.csms.send(result("i"))
    scenario.station.receive(result("i"))
    set_lease(scenario, 0)
    scenario.csms.send(asks(version, 0, 600))
    assert received_schedule(scenario, version) == [(0, 32)]
    passing = profile_call(version, (0, 16), (60, 16), (120, 40), named="TxDefaultProfile", number=8)
    scenario.forward_down(passing)
    scenario.forward_up(ACCEPTED)
    scenario.csms.send(asks(version, 1, 600))
    assert received_schedule(scenario, version) == [(0, 16), (120, 32)]


def test_profile_questions_composite_of_station_that_refuses_limits_is_own(version: Version) -> None:
    scenario = make_commandable_relay(version)
    scenario.profiles.cap_limit(1, LimitKind.LEASE, 10.0, 60.0, scenario.now, token=1)
    scenario.profiles.on_limit_result(1, accepted=False)
    scenario.forward_down(asks(version, 1, 600))


def test_profile_for_station_that_refuses_limits_is_rejected(version: Version) -> None:
    scenario = make_commandable_relay(version)
    scenario.profiles.cap_limit(1, LimitKind.LEASE, 10.0, 60.0, scenario.now, token=1)
    scenario.profiles.on_limit_result(1, accepted=False)
    scenario.csms.send(profile_call(version, (0, 10)))
    scenario.csms.receive_rejection("b")
    scenario.expect_nothing()


def test_profile_is_accepted_once_station_has_taken_limit(version: Version) -> None:
    scenario = make_commandable_relay(version)
    set_lease(scenario, 16)
    scenario.csms.send(profile_call(version, (0, 10)))
    scenario.expect_observation(BackendLimit(1, 10.0))
    scenario.expect_nothing()
    assert set_lease(scenario, 16) == 10
    scenario.wait(0.1)
    scenario.csms.receive(ACCEPTED)


@pytest.mark.parametrize("accepted", [False, None])
def test_profile_is_rejected_and_withdrawn_if_station_refuses(
    version: Version, accepted: bool | None
) -> None:
    scenario = make_commandable_relay(version)
    set_profile(scenario, profile_call(version, (0, 20)), 20.0)
    set_lease(scenario, 16)
    scenario.csms.send(profile_call(version, (0, 10)))
    scenario.expect_observation(BackendLimit(1, 10.0))
    scenario.profiles.cap_limit(1, LimitKind.LEASE, 10.0, 60.0, scenario.now, token=2)
    if accepted is False:
        scenario.profiles.on_limit_result(2, accepted=False)
    scenario.wait(CONFIRM_S)
    scenario.csms.receive_rejection("b")
    scenario.expect_observation(BackendLimit(1, 20.0))


@pytest.mark.parametrize("evse", [0, 1])
def test_composite_schedule_is_what_backend_set_under_own_lease(version: Version, evse: int) -> None:
    scenario = make_commandable_relay(version)
    set_profile(scenario, profile_call(version, (0, 16), (300, 24), (500, 40)), 16.0)
    passing = profile_call(version, (0, 20), named="TxDefaultProfile", number=8, start=400, level=1)
    scenario.forward_down(passing)
    scenario.forward_up(ACCEPTED)
    scenario.csms.send(asks(version, evse, 3600))
    assert received_schedule(scenario, version) == [(0, 16), (300, 24), (400, 20)]
    assert set_lease(scenario, 10) == 10
    scenario.csms.send(asks(version, evse, 450, "W"))
    assert received_schedule(scenario, version) == [(0, 6900), (120, 11040), (300, 16560), (400, 13800)]


# -- GetChargingProfiles (2.x) --------------------------------------------------------------------------


def report_request(request_id: int = 3, **criteria: Any) -> str:
    payload = {"requestId": request_id, "chargingProfile": criteria or {"chargingLimitSource": ["CSO"]}}
    return call("b", "GetChargingProfiles", json.dumps(payload))


def report(message_id: str, *profiles: dict[str, Any], tbc: bool = False) -> str:
    payload = {
        "requestId": 3,
        "chargingLimitSource": "CSO",
        "evseId": 0,
        "tbc": tbc,
        "chargingProfile": list(profiles),
    }
    return call(message_id, "ReportChargingProfiles", json.dumps(payload))


OURS = [{"id": profile_id(0, kind), "x": 1} for kind in LimitKind]


@pytest.mark.parametrize("version", V2)
def test_profile_questions_own_are_not_shown(version: Version) -> None:
    scenario = make_commandable_relay(version)
    scenario.forward_down(report_request())
    scenario.station.send(ACCEPTED)
    scenario.expect_nothing()
    scenario.station.send(report("r", *OURS))
    scenario.station.receive(result("r"))
    scenario.csms.receive(result("b", '{"status":"NoProfiles"}'))
    scenario.expect_nothing()


@pytest.mark.parametrize("version", V2)
def test_profile_questions_installed_and_absorbed_are_merged(version: Version) -> None:
    scenario = make_commandable_relay(version)
    text = profile_call(version, (0, 10))
    set_profile(scenario, text, 10.0)
    scenario.forward_down(report_request())
    scenario.station.send(
        report("1", OURS[0], {"id": 5, "x": 1.50}, tbc=True)
    )  # a station that does not wait
    scenario.station.receive(result("1"))
    scenario.station.send(ACCEPTED)
    scenario.station.send(report("2", OURS[1], {"id": 6}))
    scenario.station.receive(result("2"))
    scenario.csms.receive(ACCEPTED)
    reported = scenario.csms.receive_call("ReportChargingProfiles")
    payload = json.loads(reported.payload)
    kept = json.loads(text)[3]["chargingProfile"]
    assert payload["chargingProfile"] == [kept, {"id": 5, "x": 1.5}, {"id": 6}]
    assert (payload["requestId"], payload.get("tbc", False)) == (3, False)
    scenario.csms.send(result(reported.id))
    scenario.expect_nothing()


@pytest.mark.parametrize("version", V2)
def test_profile_questions_absorbed_profile_is_reported(version: Version) -> None:
    scenario = make_commandable_relay(version)
    set_profile(scenario, profile_call(version, (0, 10)), 10.0)
    scenario.forward_down(report_request())
    scenario.station.send(result("b", '{"status":"NoProfiles"}'))
    scenario.csms.receive(ACCEPTED)
    reported = scenario.csms.receive_call("ReportChargingProfiles")
    check(version, "ReportChargingProfilesRequest", reported.payload)
    scenario.forward_down(report_request(4, stackLevel=2))


@pytest.mark.parametrize("version", V2)
def test_station_without_announced_report_is_not_waited_for(version: Version) -> None:
    scenario = make_commandable_relay(version)
    scenario.forward_down(report_request())
    scenario.station.send(ACCEPTED)
    scenario.wait(REPORT_S)
    scenario.csms.receive(result("b", '{"status":"NoProfiles"}'))


@pytest.mark.parametrize("version", V2)
def test_answer_that_waits_for_reports_is_sent_before_link_ends(version: Version) -> None:
    scenario = make_commandable_relay(version)
    scenario.forward_down(report_request())
    scenario.station.send(ACCEPTED)
    scenario.station.disconnect()
    scenario.csms.receive(result("b", '{"status":"NoProfiles"}'))
    scenario.expect_close("is gone")


@pytest.mark.parametrize("version", V2)
def test_profile_questions_error_ends_request(version: Version) -> None:
    scenario = make_commandable_relay(version)
    for _ in range(6):
        scenario.forward_down(report_request())
        scenario.forward_up('[4,"b","NotSupported","",{}]')


# -- NotifyChargingLimit (2.x) --------------------------------------------------------------------------


@pytest.mark.parametrize("version", V2)
def test_held_back_transaction_is_reported_once_and_at_its_end(version: Version) -> None:
    scenario = make_commandable_relay(version)
    start_transaction(scenario, version)
    scenario.csms.receive(STARTED[version])
    scenario.csms.send(result("s"))
    scenario.station.receive(result("s"))
    set_lease(scenario, 10)
    scenario.station.send('[3,"nothing",{}]')
    scenario.wait(5)
    set_lease(scenario, 10.5)  # a share on its way
    scenario.wait(5)
    reported = scenario.csms.receive_call("NotifyChargingLimit")
    check(version, "NotifyChargingLimitRequest", reported.payload)
    assert json.loads(reported.payload)["chargingSchedule"][0]["chargingSchedulePeriod"][0]["limit"] == 10.5
    scenario.csms.send(result(reported.id))
    set_lease(scenario, 11)  # not worth a message
    scenario.wait(30)
    scenario.expect_nothing()
    set_lease(scenario, 32)
    scenario.station.send('[3,"nothing",{}]')
    scenario.wait(10)
    cleared = scenario.csms.receive_call("ClearedChargingLimit")
    check(version, "ClearedChargingLimitRequest", cleared.payload)
    scenario.expect_nothing()


@pytest.mark.parametrize("waits_for", ["link", "answer", "boot"])
def test_notice_that_has_to_wait_does_not_keep_the_relay_busy(waits_for: str) -> None:
    """`wait` raises if the relay's deadline stays in the past."""
    scenario = RelayHarness(Version.V21, grace_s=600.0)
    scenario.make_commandable()
    start_transaction(scenario, Version.V21)
    scenario.csms.receive(STARTED[Version.V21])
    scenario.csms.send(result("s"))
    scenario.station.receive(result("s"))
    set_lease(scenario, 10)
    scenario.station.send('[3,"nothing",{}]')
    scenario.drop_effects()
    if waits_for == "answer":
        scenario.wait(10)
        scenario.csms.receive_call("NotifyChargingLimit")
        set_lease(scenario, 12)
        scenario.station.send('[3,"nothing",{}]')
    elif waits_for == "link":
        scenario.csms.disconnect()
    else:
        scenario.station.send(call("b", "BootNotification", '{"reason":"PowerUp"}'))
    scenario.drop_effects()
    scenario.wait(20)
    scenario.drop_effects()
    if waits_for == "link":
        scenario.csms.connect()
        reported = scenario.csms.receive_call("NotifyChargingLimit")
        assert json.loads(reported.payload)["chargingSchedule"][0]["chargingSchedulePeriod"][0]["limit"] == 10


@pytest.mark.parametrize("version", V2)
def test_dimmed_owner_is_notified_with_source_so_until_end(version: Version) -> None:
    scenario = make_commandable_relay(version)
    start_transaction(scenario, version)
    scenario.csms.receive(STARTED[version])
    scenario.csms.send(result("s"))
    scenario.station.receive(result("s"))
    scenario.arbiter.set_dimmed({1})
    set_lease(scenario, 10)
    scenario.station.send('[3,"nothing",{}]')
    scenario.wait(10)
    reported = scenario.csms.receive_call("NotifyChargingLimit")
    assert json.loads(reported.payload)["chargingLimit"] == {"chargingLimitSource": "SO"}
    scenario.csms.send(result(reported.id))
    scenario.arbiter.set_dimmed(())
    set_lease(scenario, 32)
    scenario.station.send('[3,"nothing",{}]')
    scenario.wait(10)
    cleared = scenario.csms.receive_call("ClearedChargingLimit")
    assert json.loads(cleared.payload)["chargingLimitSource"] == "SO"
    scenario.expect_nothing()


@pytest.mark.parametrize("version", V2)
def test_profile_query_limit_of_own_backend_is_not_ours(version: Version) -> None:
    scenario = make_commandable_relay(version)
    start_transaction(scenario, version)
    scenario.csms.receive(STARTED[version])
    set_profile(scenario, profile_call(version, (0, 10)), 10.0)
    set_lease(scenario, 16)
    scenario.station.send('[3,"nothing",{}]')
    scenario.wait(20)
    scenario.expect_nothing()


# -- the station's clock ----------------------------------------------------------------------------------


def test_profile_questions_clock_that_moves_makes_own_limits_be_set_anew(version: Version) -> None:
    scenario = make_commandable_relay(version)
    clock = scenario.arbiter._clock
    assert clock.write_offset() == 0
    moved = idle(version).replace("2026-11-30T00:00:00Z", format_time(UTC_0 + scenario.now + 7200))
    scenario.station.send(moved)
    scenario.expect_observation(StateSeen(1, EvseState.AVAILABLE))
    scenario.expect_observation(ProfilesTouched("the station's clock"))
    scenario.csms.receive(moved)
    assert clock.offset_s == pytest.approx(7200, abs=1)


def test_profile_questions_backend_time_is_taken_from_heartbeat(version: Version) -> None:
    scenario = make_commandable_relay(version)
    scenario.forward_up(call("h", "Heartbeat"))
    result_ = result("h", json.dumps({"currentTime": format_time(UTC_0 + scenario.now - 300)}))
    scenario.csms.send(result_)
    scenario.station.receive(result_)
    assert scenario.arbiter._clock.backend_offset_s == pytest.approx(-300, abs=1)
