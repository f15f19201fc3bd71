"""What a backend hears when it clears, asks for schedules or profiles, or is held back."""

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
from tests.controller.relay.backend_profiles import (
    ACCEPTED,
    STARTED,
    UNKNOWN,
    V2,
    begun,
    clearing,
    lease,
    sets,
    setting,
    starts,
    whole,
)
from tests.controller.relay.playbook import UTC_0, Playbook, call, result


@pytest.fixture(params=list(Version))
def version(request: pytest.FixtureRequest) -> Version:
    return Version(request.param)


# -- ClearChargingProfile -------------------------------------------------------------------------------


def test_profile_questions_own_are_not_backends_to_clear(version: Version) -> None:
    talk = begun(version)
    for text in (
        clearing(version, id=profile_id(0, LimitKind.LEASE)),
        clearing(version, purpose=whole(version)),
    ):
        talk.backend(text)
        talk.backend_hears(UNKNOWN)
        talk.done()


@pytest.mark.parametrize(
    ("scope", "criteria"),
    [
        (LimitScope.STATION, {"purpose": "TxProfile"}),
        (LimitScope.STATION, {"evse": 1}),
        (LimitScope.STATION, {"id": 12}),
        (LimitScope.EVSE, {"evse": 0}),
    ],
)
def test_profile_query_without_effect_on_ours_passes(
    version: Version, scope: LimitScope, criteria: dict[str, Any]
) -> None:
    talk = begun(version, scope)
    talk.passes_down(clearing(version, **criteria))
    talk.passes_up(UNKNOWN)


@pytest.mark.parametrize(
    ("scope", "criteria"),
    [(LimitScope.STATION, {"evse": 0, "level": 1}), (LimitScope.EVSE, {"level": 1})],
)
def test_profile_query_affecting_ours_is_narrowed_to_one_purpose(
    version: Version, scope: LimitScope, criteria: dict[str, Any]
) -> None:
    talk = begun(version, scope)
    talk.backend(clearing(version, **criteria))
    foreign = "TxDefaultProfile" if scope is LimitScope.STATION else whole(version)
    expected = json.loads(clearing(version, **criteria, purpose=foreign))
    heard = talk.station_hears_call("ClearChargingProfile")
    assert [2, heard.id, heard.action, json.loads(heard.payload)] == expected
    talk.passes_up(UNKNOWN)


def test_clearing_of_everything_clears_absorbed_profiles_too(version: Version) -> None:
    talk = begun(version)
    sets(talk, setting(version, (0, 10)), 10.0)
    talk.backend(clearing(version))
    for _ in range(3 if version is Version.V21 else 2):
        talk.station(result(talk.station_hears_call("ClearChargingProfile").id, '{"status":"Unknown"}'))
    talk.backend_hears(ACCEPTED)
    talk.site_learns(BackendLimit(1, None))
    talk.done()


def test_evse_with_limits_of_own_has_nothing_else_to_clear(version: Version) -> None:
    talk = begun(version, LimitScope.EVSE)
    sets(talk, setting(version, (0, 8), named="TxDefaultProfile", evse=2))
    talk.site_learns(BackendLimit(2, 8.0))
    talk.backend(clearing(version, evse=1))
    talk.backend_hears(UNKNOWN)
    talk.backend(clearing(version, evse=2))
    talk.backend_hears(ACCEPTED)
    talk.site_learns(BackendLimit(2, None))
    talk.done()


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


def heard_schedule(talk: Playbook, version: Version) -> list[tuple[int, float]]:
    """The periods of our answer, which fits the schema."""
    payload = json.loads(talk.backend_hears_text())[2]
    check(version, "GetCompositeScheduleResponse", json.dumps(payload).encode())
    assert payload["status"] == "Accepted"
    schedule = payload["chargingSchedule" if version is Version.V16 else "schedule"]
    return [(each["startPeriod"], each["limit"]) for each in schedule["chargingSchedulePeriod"]]


def test_profile_questions_composite_of_idle_evse_is_what_car_would_get(version: Version) -> None:
    talk = begun(version)
    talk.station(idle(version))
    talk.site_learns(StateSeen(1, EvseState.AVAILABLE))
    talk.backend_hears(idle(version))
    talk.backend(result("i"))
    talk.station_hears(result("i"))
    lease(talk, 0)
    talk.backend(asks(version, 0, 600))
    assert heard_schedule(talk, version) == [(0, 32)]
    passing = setting(version, (0, 16), (60, 16), (120, 40), named="TxDefaultProfile", number=8)
    talk.passes_down(passing)
    talk.passes_up(ACCEPTED)
    talk.backend(asks(version, 1, 600))
    assert heard_schedule(talk, version) == [(0, 16), (120, 32)]


def test_profile_questions_composite_of_station_that_refuses_limits_is_own(version: Version) -> None:
    talk = begun(version)
    talk.kept.cap_limit(1, LimitKind.LEASE, 10.0, 60.0, talk.now, token=1)
    talk.kept.on_limit_result(1, accepted=False)
    talk.passes_down(asks(version, 1, 600))


def test_profile_for_station_that_refuses_limits_is_rejected(version: Version) -> None:
    talk = begun(version)
    talk.kept.cap_limit(1, LimitKind.LEASE, 10.0, 60.0, talk.now, token=1)
    talk.kept.on_limit_result(1, accepted=False)
    talk.backend(setting(version, (0, 10)))
    talk.backend_hears_rejected("b")
    talk.done()


def test_profile_is_accepted_once_station_has_taken_limit(version: Version) -> None:
    talk = begun(version)
    lease(talk, 16)
    talk.backend(setting(version, (0, 10)))
    talk.site_learns(BackendLimit(1, 10.0))
    talk.done()
    assert lease(talk, 16) == 10
    talk.wait(0.1)
    talk.backend_hears(ACCEPTED)


@pytest.mark.parametrize("accepted", [False, None])
def test_profile_is_rejected_and_withdrawn_if_station_refuses(
    version: Version, accepted: bool | None
) -> None:
    talk = begun(version)
    sets(talk, setting(version, (0, 20)), 20.0)
    lease(talk, 16)
    talk.backend(setting(version, (0, 10)))
    talk.site_learns(BackendLimit(1, 10.0))
    talk.kept.cap_limit(1, LimitKind.LEASE, 10.0, 60.0, talk.now, token=2)
    if accepted is False:
        talk.kept.on_limit_result(2, accepted=False)
    talk.wait(CONFIRM_S)
    talk.backend_hears_rejected("b")
    talk.site_learns(BackendLimit(1, 20.0))


@pytest.mark.parametrize("evse", [0, 1])
def test_composite_schedule_is_what_backend_set_under_own_lease(version: Version, evse: int) -> None:
    talk = begun(version)
    sets(talk, setting(version, (0, 16), (300, 24), (500, 40)), 16.0)
    passing = setting(version, (0, 20), named="TxDefaultProfile", number=8, start=400, level=1)
    talk.passes_down(passing)
    talk.passes_up(ACCEPTED)
    talk.backend(asks(version, evse, 3600))
    assert heard_schedule(talk, version) == [(0, 16), (300, 24), (400, 20)]
    assert lease(talk, 10) == 10
    talk.backend(asks(version, evse, 450, "W"))
    assert heard_schedule(talk, version) == [(0, 6900), (120, 11040), (300, 16560), (400, 13800)]


# -- GetChargingProfiles (2.x) --------------------------------------------------------------------------


def wants(request_id: int = 3, **criteria: Any) -> str:
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
    talk = begun(version)
    talk.passes_down(wants())
    talk.station(ACCEPTED)
    talk.done()
    talk.station(report("r", *OURS))
    talk.station_hears(result("r"))
    talk.backend_hears(result("b", '{"status":"NoProfiles"}'))
    talk.done()


@pytest.mark.parametrize("version", V2)
def test_profile_questions_stations_and_kept_ones_are_reported_together(version: Version) -> None:
    talk = begun(version)
    text = setting(version, (0, 10))
    sets(talk, text, 10.0)
    talk.passes_down(wants())
    talk.station(report("1", OURS[0], {"id": 5, "x": 1.50}, tbc=True))  # a station that does not wait
    talk.station_hears(result("1"))
    talk.station(ACCEPTED)
    talk.station(report("2", OURS[1], {"id": 6}))
    talk.station_hears(result("2"))
    talk.backend_hears(ACCEPTED)
    told = talk.backend_hears_call("ReportChargingProfiles")
    payload = json.loads(told.payload)
    kept = json.loads(text)[3]["chargingProfile"]
    assert payload["chargingProfile"] == [kept, {"id": 5, "x": 1.5}, {"id": 6}]
    assert (payload["requestId"], payload.get("tbc", False)) == (3, False)
    talk.backend(result(told.id))
    talk.done()


@pytest.mark.parametrize("version", V2)
def test_profile_questions_kept_one_is_there_where_station_has_none(version: Version) -> None:
    talk = begun(version)
    sets(talk, setting(version, (0, 10)), 10.0)
    talk.passes_down(wants())
    talk.station(result("b", '{"status":"NoProfiles"}'))
    talk.backend_hears(ACCEPTED)
    told = talk.backend_hears_call("ReportChargingProfiles")
    check(version, "ReportChargingProfilesRequest", told.payload)
    talk.passes_down(wants(4, stackLevel=2))


@pytest.mark.parametrize("version", V2)
def test_station_that_promises_and_does_not_report_is_not_waited_for(version: Version) -> None:
    talk = begun(version)
    talk.passes_down(wants())
    talk.station(ACCEPTED)
    talk.wait(REPORT_S)
    talk.backend_hears(result("b", '{"status":"NoProfiles"}'))


@pytest.mark.parametrize("version", V2)
def test_answer_that_waits_for_reports_is_given_before_link_ends(version: Version) -> None:
    talk = begun(version)
    talk.passes_down(wants())
    talk.station(ACCEPTED)
    talk.station_lost()
    talk.backend_hears(result("b", '{"status":"NoProfiles"}'))
    talk.closes("is gone")


@pytest.mark.parametrize("version", V2)
def test_profile_questions_error_ends_request(version: Version) -> None:
    talk = begun(version)
    for _ in range(6):
        talk.passes_down(wants())
        talk.passes_up('[4,"b","NotSupported","",{}]')


# -- NotifyChargingLimit (2.x) --------------------------------------------------------------------------


@pytest.mark.parametrize("version", V2)
def test_held_back_transaction_is_reported_once_and_at_its_end(version: Version) -> None:
    talk = begun(version)
    starts(talk, version)
    talk.backend_hears(STARTED[version])
    talk.backend(result("s"))
    talk.station_hears(result("s"))
    lease(talk, 10)
    talk.station('[3,"nothing",{}]')
    talk.wait(5)
    lease(talk, 10.5)  # a share on its way
    talk.wait(5)
    told = talk.backend_hears_call("NotifyChargingLimit")
    check(version, "NotifyChargingLimitRequest", told.payload)
    assert json.loads(told.payload)["chargingSchedule"][0]["chargingSchedulePeriod"][0]["limit"] == 10.5
    talk.backend(result(told.id))
    lease(talk, 11)  # not worth a message
    talk.wait(30)
    talk.done()
    lease(talk, 32)
    talk.station('[3,"nothing",{}]')
    talk.wait(10)
    cleared = talk.backend_hears_call("ClearedChargingLimit")
    check(version, "ClearedChargingLimitRequest", cleared.payload)
    talk.done()


@pytest.mark.parametrize("version", V2)
def test_dimmed_owner_is_notified_with_source_so_until_end(version: Version) -> None:
    talk = begun(version)
    starts(talk, version)
    talk.backend_hears(STARTED[version])
    talk.backend(result("s"))
    talk.station_hears(result("s"))
    talk.ownership.set_dimmed({1})
    lease(talk, 10)
    talk.station('[3,"nothing",{}]')
    talk.wait(10)
    told = talk.backend_hears_call("NotifyChargingLimit")
    assert json.loads(told.payload)["chargingLimit"] == {"chargingLimitSource": "SO"}
    talk.backend(result(told.id))
    talk.ownership.set_dimmed(())
    lease(talk, 32)
    talk.station('[3,"nothing",{}]')
    talk.wait(10)
    cleared = talk.backend_hears_call("ClearedChargingLimit")
    assert json.loads(cleared.payload)["chargingLimitSource"] == "SO"
    talk.done()


@pytest.mark.parametrize("version", V2)
def test_profile_query_limit_of_own_backend_is_not_ours(version: Version) -> None:
    talk = begun(version)
    starts(talk, version)
    talk.backend_hears(STARTED[version])
    sets(talk, setting(version, (0, 10)), 10.0)
    lease(talk, 16)
    talk.station('[3,"nothing",{}]')
    talk.wait(20)
    talk.done()


# -- the station's clock ----------------------------------------------------------------------------------


def test_profile_questions_clock_that_moves_makes_own_limits_be_set_anew(version: Version) -> None:
    talk = begun(version)
    clock = talk.ownership._clock
    assert clock.write_offset() == 0
    moved = idle(version).replace("2026-11-30T00:00:00Z", format_time(UTC_0 + talk.now + 7200))
    talk.station(moved)
    talk.site_learns(StateSeen(1, EvseState.AVAILABLE))
    talk.site_learns(ProfilesTouched("the station's clock"))
    talk.backend_hears(moved)
    assert clock.offset_s == pytest.approx(7200, abs=1)


def test_profile_questions_backend_time_is_taken_from_heartbeat(version: Version) -> None:
    talk = begun(version)
    talk.passes_up(call("h", "Heartbeat"))
    result_ = result("h", json.dumps({"currentTime": format_time(UTC_0 + talk.now - 300)}))
    talk.backend(result_)
    talk.station_hears(result_)
    assert talk.ownership._clock.backend_offset_s == pytest.approx(-300, abs=1)
