from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.demo.installed_profiles import Charging, InstalledProfiles, ProfileRefusedError, parse_profile

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC).timestamp()
RUNNING = Charging("7", NOW - 100, 3)


def stamp(utc: float) -> str:
    return datetime.fromtimestamp(utc, UTC).isoformat().replace("+00:00", "Z")


def v16(
    purpose: str, limit: float, *, connector: int = 0, number: int = 1, stack: int = 0, **schedule: Any
) -> dict[str, Any]:
    return {
        "connectorId": connector,
        "csChargingProfiles": {
            "chargingProfileId": number,
            "stackLevel": stack,
            "chargingProfilePurpose": purpose,
            "chargingProfileKind": "Absolute",
            "chargingSchedule": {
                "startSchedule": stamp(NOW - 60),
                "chargingRateUnit": "A",
                "chargingSchedulePeriod": [{"startPeriod": 0, "limit": limit}],
            }
            | schedule,
        },
    }


def v2(
    purpose: str, limit: float, *, evse: int = 0, number: int = 1, stack: int = 0, **profile: Any
) -> dict[str, Any]:
    return {
        "evseId": evse,
        "chargingProfile": {
            "id": number,
            "stackLevel": stack,
            "chargingProfilePurpose": purpose,
            "chargingProfileKind": "Absolute",
            "chargingSchedule": [
                {
                    "id": 1,
                    "startSchedule": stamp(NOW - 60),
                    "chargingRateUnit": "A",
                    "chargingSchedulePeriod": [{"startPeriod": 0, "limit": limit}],
                }
            ],
        }
        | profile,
    }


def installed(*messages: dict[str, Any], running: str | None = "7") -> InstalledProfiles:
    profiles = InstalledProfiles(230.0)
    for message in messages:
        profiles.install(parse_profile(message, NOW), running)
    return profiles


def test_no_profile_is_no_limit() -> None:
    assert installed().limit_a(1, NOW, RUNNING) == math.inf


@pytest.mark.parametrize(
    ("fallback", "lease"),
    [
        (v16("ChargePointMaxProfile", 6), v16("ChargePointMaxProfile", 20, number=2, stack=1, duration=90)),
        (
            v2("ChargingStationMaxProfile", 6),
            v2("ChargingStationMaxProfile", 20, number=2, stack=1, validTo=stamp(NOW + 30)),
        ),
    ],
)
def test_installed_profiles_lease_prevails_then_fallback_returns(
    fallback: dict[str, Any], lease: dict[str, Any]
) -> None:
    profiles = installed(fallback, lease)
    assert profiles.limit_a(1, NOW + 29, RUNNING) == 20
    assert profiles.limit_a(1, NOW + 31, RUNNING) == 6


def test_installed_profiles_lease_without_fallback_ends_unlimited() -> None:
    profiles = installed(v16("ChargePointMaxProfile", 20, duration=90))
    assert profiles.limit_a(1, NOW + 31, RUNNING) == math.inf


def test_lowest_purpose_prevails_and_tx_profile_overrules_defaults() -> None:
    profiles = installed(
        v16("ChargePointMaxProfile", 16),
        v16("TxDefaultProfile", 10, number=2),
        v16("TxProfile", 13, connector=1, number=3),
    )
    assert profiles.limit_a(1, NOW, RUNNING) == 13
    assert profiles.limit_a(2, NOW, RUNNING) == 10
    profiles.end_transaction(1)
    assert profiles.limit_a(1, NOW, RUNNING) == 10


def test_default_for_one_evse_replaces_one_for_all_there_only() -> None:
    profiles = installed(v2("TxDefaultProfile", 10, number=1), v2("TxDefaultProfile", 25, evse=2, number=2))
    assert [profiles.limit_a(evse, NOW, RUNNING) for evse in (1, 2)] == [10, 25]


def test_installed_profiles_whole_stations_limit_is_shared() -> None:
    assert installed(v16("ChargePointMaxProfile", 30)).limit_a(1, NOW, RUNNING, sharers=2) == 15


def test_installed_profiles_same_id_or_same_place_replaces() -> None:
    profiles = installed(v16("ChargePointMaxProfile", 30), v16("ChargePointMaxProfile", 20, number=2))
    assert len(profiles) == 1
    profiles.install(parse_profile(v16("TxDefaultProfile", 9, number=2), NOW), None)
    assert len(profiles) == 1
    assert profiles.limit_a(1, NOW, RUNNING) == 9


def test_installed_profiles_watts_are_spread_over_phases_in_use() -> None:
    profiles = installed(v16("ChargePointMaxProfile", 6900, chargingRateUnit="W"))
    assert profiles.limit_a(1, NOW, RUNNING) == pytest.approx(10.0)
    assert profiles.limit_a(1, NOW, Charging("7", NOW, 1)) == pytest.approx(30.0)


def test_installed_profiles_future_schedule_sets_no_limit_yet() -> None:
    profiles = installed(v16("ChargePointMaxProfile", 9, startSchedule=stamp(NOW + 10)))
    assert profiles.limit_a(1, NOW, RUNNING) == math.inf
    assert profiles.limit_a(1, NOW + 10, RUNNING) == 9


def test_installed_profiles_relative_schedule_counts_from_transaction() -> None:
    message = v16("TxDefaultProfile", 9, duration=120)
    message["csChargingProfiles"]["chargingProfileKind"] = "Relative"
    profiles = installed(message)
    assert profiles.limit_a(1, NOW, RUNNING) == 9
    assert profiles.limit_a(1, NOW + 21, RUNNING) == math.inf
    assert profiles.limit_a(1, NOW, None) == math.inf


def test_installed_profiles_daily_schedule_recurs() -> None:
    message = v16("TxDefaultProfile", 9, duration=3600)
    message["csChargingProfiles"] |= {"chargingProfileKind": "Recurring", "recurrencyKind": "Daily"}
    profiles = installed(message)
    assert profiles.limit_a(1, NOW + 86_400, RUNNING) == 9
    assert profiles.limit_a(1, NOW + 7200, RUNNING) == math.inf


@pytest.mark.parametrize(
    "message",
    [
        v16("ChargePointMaxProfile", 9, connector=1),
        v2("ChargingStationExternalConstraints", 9),
        v16("TxProfile", 9, connector=0),
        v16("TxProfile", 9, connector=1),
        v16("TxDefaultProfile", 9, chargingSchedulePeriod=[{"startPeriod": 5, "limit": 6}]),
        v16("TxDefaultProfile", 9, chargingRateUnit="VA"),
        {"connectorId": 1},
    ],
)
def test_installed_profiles_invalid_profile_is_refused(message: dict[str, Any]) -> None:
    with pytest.raises(ProfileRefusedError):
        installed(message, running=None)


def test_clearing_by_id_by_criteria_and_everything() -> None:
    profiles = installed(
        v16("ChargePointMaxProfile", 9),
        v16("TxDefaultProfile", 9, number=2, stack=3),
        v16("TxDefaultProfile", 9, number=3, stack=4),
    )
    assert not profiles.clear(id=99)
    assert profiles.clear(id=2)
    assert profiles.clear(purpose="TxDefaultProfile", stack_level=4)
    assert len(profiles) == 1
    assert profiles.clear()
    assert len(profiles) == 0


@given(
    limits=st.lists(st.tuples(st.integers(0, 9), st.floats(0, 80)), min_size=1, max_size=8),
    cap=st.floats(0, 80),
)
def test_highest_stack_level_within_and_minimum_across_purposes(
    limits: list[tuple[int, float]], cap: float
) -> None:
    messages = [
        v16("TxDefaultProfile", limit, number=number, stack=stack)
        for number, (stack, limit) in enumerate(limits, start=10)
    ]
    profiles = installed(*messages, v16("ChargePointMaxProfile", cap))
    top = max(stack for stack, _ in limits)
    last = [limit for stack, limit in limits if stack == top][-1]
    assert profiles.limit_a(1, NOW, RUNNING) == min(last, cap)
