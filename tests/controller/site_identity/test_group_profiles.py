"""Limits for the whole site, as a backend sets them through the controller's own identity."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from controller.ocpp.frames import Version
from controller.ocpp.payloads import format_time
from controller.site_identity.group_profiles import HIGHEST_STACK_LEVEL, MOST_GROUP_PROFILES, GroupProfiles
from tests.controller.ocpp.schemas import check, request

NOON = 1_780_000_000.0
VERSIONS = pytest.mark.parametrize("version", list(Version))


def a_site(version: Version) -> GroupProfiles:
    return GroupProfiles(version, 230.0, 250.0)


def setting(version: Version, limit: float = 40.0, *, number: int = 1, level: int = 0, **other: Any) -> bytes:
    """A SetChargingProfile for the site; `other`: duration, unit, phases, start, purpose."""
    period = {"startPeriod": 0, "limit": limit}
    if "phases" in other:
        period["numberPhases"] = other["phases"]
    schedule: dict[str, Any] = {
        "chargingRateUnit": other.get("unit", "A"),
        "chargingSchedulePeriod": [period],
    }
    if "start" in other:
        schedule["startSchedule"] = format_time(other["start"])
    if "duration" in other:
        schedule["duration"] = other["duration"]
    old = version is Version.V16
    purpose = other.get("purpose", "ChargePointMaxProfile" if old else "ChargingStationMaxProfile")
    profile = {"stackLevel": level, "chargingProfilePurpose": purpose, "chargingProfileKind": "Absolute"}
    sent: dict[str, Any]
    if old:
        profile |= {"chargingProfileId": number, "chargingSchedule": schedule}
        sent = {"connectorId": 0, "csChargingProfiles": profile}
    else:
        profile |= {"id": number, "chargingSchedule": [{"id": 1, **schedule}]}
        sent = {"evseId": 0, "chargingProfile": profile}
    payload = msgspec.json.encode(sent)
    check(version, request(version, "SetChargingProfile"), payload)
    return payload


def ask(site: GroupProfiles, version: Version, action: str, payload: bytes) -> dict[str, Any]:
    answer = site.answer(action, payload, NOON)
    assert answer is not None
    check(version, f"{action}Response", answer)
    decoded: dict[str, Any] = msgspec.json.decode(answer)
    return decoded


@VERSIONS
def test_group_profiles_limit_applies_until_it_is_cleared(version: Version) -> None:
    site = a_site(version)
    assert (site.limit_a(NOON), site.next_change(NOON)) == (None, None)
    assert ask(site, version, "SetChargingProfile", setting(version))["status"] == "Accepted"
    assert site.limit_a(NOON + 1e6) == 40.0
    assert ask(site, version, "ClearChargingProfile", b"{}")["status"] == "Accepted"
    assert (site.limit_a(NOON), site.stored) == (None, ())
    assert ask(site, version, "ClearChargingProfile", b"{}")["status"] == "Unknown"


@VERSIONS
def test_group_profiles_limit_ends_with_duration(version: Version) -> None:
    site = a_site(version)
    ask(site, version, "SetChargingProfile", setting(version, start=NOON, duration=600))
    assert site.next_change(NOON) == NOON + 600
    assert (site.limit_a(NOON + 599), site.limit_a(NOON + 600)) == (40.0, None)


@VERSIONS
def test_group_profiles_duration_without_start_is_rejected(version: Version) -> None:
    site = a_site(version)
    assert ask(site, version, "SetChargingProfile", setting(version, duration=600))["status"] == "Rejected"
    assert site.stored == ()


@VERSIONS
def test_site_limit_in_watts_is_of_three_phases(version: Version) -> None:
    site = a_site(version)
    ask(site, version, "SetChargingProfile", setting(version, 27_600.0, unit="W"))
    assert site.limit_a(NOON) == pytest.approx(40.0)


@VERSIONS
@pytest.mark.parametrize("phases", [1, 2])
def test_site_limit_in_watts_is_total_whatever_number_of_phases(version: Version, phases: int) -> None:
    site = a_site(version)
    ask(site, version, "SetChargingProfile", setting(version, 10_350, unit="W", phases=phases))
    assert site.limit_a(NOON) == 15
    ask(site, version, "SetChargingProfile", setting(version, 16, phases=phases))
    assert site.limit_a(NOON) == 16


@VERSIONS
def test_group_profiles_profile_for_stations_is_rejected_by_site(version: Version) -> None:
    site = a_site(version)
    payload = setting(version, purpose="TxDefaultProfile")
    assert ask(site, version, "SetChargingProfile", payload)["status"] == "Rejected"
    assert site.limit_a(NOON) is None


@VERSIONS
def test_group_profiles_survive_restart(version: Version) -> None:
    site, next_one = a_site(version), a_site(version)
    ask(site, version, "SetChargingProfile", setting(version))
    next_one.restore(site.stored)
    assert next_one.limit_a(NOON) == 40.0


@VERSIONS
def test_group_profile_replaces_same_level_and_too_many_fail(version: Version) -> None:
    site = a_site(version)
    for number in range(MOST_GROUP_PROFILES):
        ask(site, version, "SetChargingProfile", setting(version, number=number, level=number))
    more = setting(version, number=MOST_GROUP_PROFILES, level=MOST_GROUP_PROFILES)
    assert ask(site, version, "SetChargingProfile", more)["status"] == "Rejected"
    highest = setting(version, 32.0, number=99, level=MOST_GROUP_PROFILES - 1)
    assert ask(site, version, "SetChargingProfile", highest)["status"] == "Accepted"
    assert (site.limit_a(NOON), len(site.stored)) == (32.0, MOST_GROUP_PROFILES)


@VERSIONS
def test_group_profiles_composite_of_site_has_limit_then_fuse(version: Version) -> None:
    site = a_site(version)
    ask(site, version, "SetChargingProfile", setting(version, start=NOON, duration=600))
    where = "connectorId" if version is Version.V16 else "evseId"
    answer = ask(site, version, "GetCompositeSchedule", b'{"%s":0,"duration":900}' % where.encode())
    schedule = answer["chargingSchedule" if version is Version.V16 else "schedule"]
    periods = [(each["startPeriod"], each["limit"]) for each in schedule["chargingSchedulePeriod"]]
    assert periods == [(0, 40.0), (600, 250.0)]
    other = ask(site, version, "GetCompositeSchedule", b'{"%s":1,"duration":900}' % where.encode())
    assert other["status"] == "Rejected"


@VERSIONS
def test_other_calls_are_not_answered_here(version: Version) -> None:
    assert a_site(version).answer("Reset", b"{}", NOON) is None


@pytest.mark.parametrize("version", [Version.V201, Version.V21])
def test_group_profiles_outside_limit_applies_beside_backends(version: Version) -> None:
    site = a_site(version)
    outside = setting(version, 30.0, number=2, purpose="ChargingStationExternalConstraints")
    assert ask(site, version, "SetChargingProfile", setting(version, 40.0, number=1))["status"] == "Accepted"
    assert ask(site, version, "SetChargingProfile", outside)["status"] == "Accepted"
    assert site.limit_a(NOON) == 30.0
    ask(site, version, "ClearChargingProfile", b'{"chargingProfileId":2}')
    assert site.limit_a(NOON) == 40.0


@VERSIONS
def test_group_profiles_stack_level_above_highest_is_rejected(version: Version) -> None:
    site = a_site(version)
    high = setting(version, level=HIGHEST_STACK_LEVEL)
    assert ask(site, version, "SetChargingProfile", high)["status"] == "Accepted"
    higher = setting(version, number=2, level=HIGHEST_STACK_LEVEL + 1)
    assert ask(site, version, "SetChargingProfile", higher)["status"] == "Rejected"


def test_group_profiles_dynamic_limit_follows_updates() -> None:
    site, version = a_site(Version.V21), Version.V21
    dynamic = setting(version, duration=600).replace(b'"Absolute"', b'"Dynamic"')
    assert ask(site, version, "SetChargingProfile", dynamic)["status"] == "Accepted"
    update = b'{"chargingProfileId":1,"scheduleUpdate":{"limit":30}}'
    later = NOON + 500
    assert site.answer("UpdateDynamicSchedule", update, later) == b'{"status":"Accepted"}'
    assert (site.limit_a(later), site.next_change(later)) == (30.0, later + 600)
    restored = a_site(version)
    restored.restore(site.stored)
    assert (restored.limit_a(later + 599), restored.limit_a(later + 600)) == (30.0, None)


def test_group_profiles_update_without_dynamic_profile_is_rejected() -> None:
    site, version = a_site(Version.V21), Version.V21
    ask(site, version, "SetChargingProfile", setting(version))
    for number, words in ((1, "profile 1 is not Dynamic"), (2, "there is no profile 2")):
        update = b'{"chargingProfileId":%d,"scheduleUpdate":{"limit":30}}' % number
        answer = ask(site, version, "UpdateDynamicSchedule", update)
        assert (answer["status"], words in answer["statusInfo"]["additionalInfo"]) == ("Rejected", True)
    assert site.limit_a(NOON) == 40.0
    assert a_site(Version.V201).answer("UpdateDynamicSchedule", update, NOON) is None
