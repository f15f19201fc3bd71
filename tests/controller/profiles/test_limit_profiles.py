"""Our limits as messages: valid against the schemas, one decimal, and an end at the given time."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.chargers.quirks import LimitScope, Quirk, limit_purpose
from controller.ocpp.frames import Version
from controller.profiles.limit_profiles import (
    CLOCK_SLACK,
    LimitKind,
    LimitTerms,
    is_ours,
    profile_id,
    set_limit,
)
from tests.controller.ocpp.schemas import check, request

ON_ANY_MACHINE = settings(deadline=None, derandomize=True)

NOON = datetime(2026, 3, 29, 12, 0, 0, tzinfo=UTC)

versions = st.sampled_from(Version)
scopes = st.sampled_from(LimitScope)
kinds = st.sampled_from(LimitKind)
amperes = st.floats(0, 1000)
durations = st.none() | st.integers(1, 86400)
moments = st.datetimes(
    datetime(2020, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC), allow_imaginary=False
)


def profile_of(version: Version, payload: bytes) -> dict[str, Any]:
    """The profile in a SetChargingProfile, its one schedule under `schedule`, by 2.x's names."""
    message = json.loads(payload)
    if version is Version.V16:
        profile = message["csChargingProfiles"]
        return {
            **profile,
            "target": message["connectorId"],
            "id": profile["chargingProfileId"],
            "schedule": profile["chargingSchedule"],
        }
    profile = message["chargingProfile"]
    (schedule,) = profile["chargingSchedule"]
    return {**profile, "target": message["evseId"], "schedule": schedule}


def start_of(profile: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(profile["schedule"]["startSchedule"])


@ON_ANY_MACHINE
@given(versions, scopes, st.integers(1, 999), kinds, amperes, moments, durations)
def test_every_limit_fits_official_schema(
    version: Version,
    scope: LimitScope,
    evse: int,
    kind: LimitKind,
    limit_a: float,
    now: datetime,
    duration_s: int | None,
) -> None:
    payload = set_limit(version, scope, evse, kind, limit_a, now, duration_s)
    check(version, request(version, "SetChargingProfile"), payload)


@ON_ANY_MACHINE
@given(versions, scopes, kinds, amperes)
def test_limit_is_rounded_to_one_decimal(
    version: Version, scope: LimitScope, kind: LimitKind, limit_a: float
) -> None:
    profile = profile_of(version, set_limit(version, scope, 1, kind, limit_a, NOON, None))
    (period,) = profile["schedule"]["chargingSchedulePeriod"]
    assert period["startPeriod"] == 0
    assert abs(period["limit"] - limit_a) <= 0.05 + 1e-9
    assert len(str(period["limit"]).partition(".")[2]) <= 1


@ON_ANY_MACHINE
@given(versions, st.integers(1, 86400), moments)
def test_limit_profiles_lease_starts_in_past_and_ends_after_duration(
    version: Version, duration_s: int, now: datetime
) -> None:
    now = now.replace(microsecond=0)
    payload = set_limit(version, LimitScope.STATION, 1, LimitKind.LEASE, 6.0, now, duration_s)
    profile = profile_of(version, payload)
    start = start_of(profile)
    assert start == now - CLOCK_SLACK
    assert start + timedelta(seconds=profile["schedule"]["duration"]) == now + timedelta(seconds=duration_s)


@ON_ANY_MACHINE
@given(versions, st.floats(1, 86400), moments)
def test_limit_profiles_lease_with_fractions_of_second_is_not_longer(
    version: Version, duration_s: float, now: datetime
) -> None:
    profile = profile_of(
        version, set_limit(version, LimitScope.STATION, 1, LimitKind.LEASE, 6.0, now, duration_s)
    )
    end = start_of(profile) + timedelta(seconds=profile["schedule"]["duration"])
    promised = now + timedelta(seconds=duration_s)
    assert promised - timedelta(seconds=2) < end <= promised + timedelta(microseconds=1)


@pytest.mark.parametrize("version", list(Version))
def test_fallback_has_no_end_and_is_valid_in_any_clock(version: Version) -> None:
    fallback = profile_of(
        version, set_limit(version, LimitScope.EVSE, 2, LimitKind.FALLBACK, 6.0, NOON, None)
    )
    lease = profile_of(version, set_limit(version, LimitScope.EVSE, 2, LimitKind.LEASE, 16.0, NOON, 120))
    assert fallback["schedule"]["startSchedule"] == "1970-01-01T00:00:00Z"
    assert "duration" not in fallback["schedule"]
    assert "validTo" not in fallback
    assert fallback["stackLevel"] < lease["stackLevel"]
    assert fallback["id"] != lease["id"]
    for profile in (fallback, lease):
        assert profile["chargingProfileKind"] == "Absolute"
        assert profile["schedule"]["chargingRateUnit"] == "A"


@pytest.mark.parametrize(
    ("version", "scope", "named", "target"),
    [
        (Version.V16, LimitScope.STATION, "ChargePointMaxProfile", 0),
        (Version.V16, LimitScope.EVSE, "TxDefaultProfile", 2),
        (Version.V201, LimitScope.STATION, "ChargingStationMaxProfile", 0),
        (Version.V201, LimitScope.EVSE, "TxDefaultProfile", 2),
        (Version.V21, LimitScope.STATION, "ChargingStationMaxProfile", 0),
        (Version.V21, LimitScope.EVSE, "TxDefaultProfile", 2),
    ],
)
def test_limit_has_purpose_and_target_of_scope(
    version: Version, scope: LimitScope, named: str, target: int
) -> None:
    profile = profile_of(version, set_limit(version, scope, 2, LimitKind.LEASE, 6.0, NOON, 60))
    assert profile["chargingProfilePurpose"] == named == limit_purpose(version, scope)
    assert profile["target"] == target
    assert profile["id"] == profile_id(target, LimitKind.LEASE)


def test_profile_ids_are_distinct_and_32_bit() -> None:
    ids = {profile_id(evse, kind) for evse in range(1000) for kind in LimitKind}
    assert len(ids) == 2000
    assert all(is_ours(number) for number in ids)
    assert max(ids) < 2**31
    assert not is_ours(min(ids) - 1)
    assert not is_ours(max(ids) + 1)


@pytest.mark.parametrize("version", list(Version))
@pytest.mark.parametrize("uses_seconds", [True, None])
def test_limit_profiles_phase_is_named_only_to_2x_station_that_can_switch(
    version: Version, uses_seconds: bool | None
) -> None:
    quirk = Quirk(name="one profile", max_stack_level=0, phase_switching=uses_seconds)
    terms = LimitTerms(quirk=quirk, fallback=6, number_phases=1)
    payload = set_limit(version, LimitScope.STATION, 1, LimitKind.LEASE, 10, NOON, 120, terms)
    check(version, request(version, "SetChargingProfile"), payload)
    lease, after = profile_of(version, payload)["schedule"]["chargingSchedulePeriod"]
    assert lease["numberPhases"] == 1
    assert lease.get("phaseToUse") == (1 if uses_seconds and version is not Version.V16 else None)
    assert after.keys() == {"startPeriod", "limit"}  # what follows a lease is for all phases
