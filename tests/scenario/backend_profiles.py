"""Charging profiles of a backend for `RelayHarness`: the messages, and how a scenario about them begins."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from controller.chargers.quirks import LimitScope
from controller.model.observations import BackendLimit, TransactionSeen
from controller.ocpp.frames import Version
from controller.profiles.limit_profiles import LimitKind
from tests.controller.ocpp.schemas import check, request
from tests.scenario.frames import call, result
from tests.scenario.relay_harness import START_S, UTC_0, RelayHarness

V2 = [Version.V201, Version.V21]
ACCEPTED = result("b", '{"status":"Accepted"}')
UNKNOWN = result("b", '{"status":"Unknown"}')
LEASE_S = 120.0
WINDOW_S = LEASE_S + 120.0
"""Longest time until a lease ends, with the tolerance for stations' clocks at both its ends."""


def time_text(seconds: float) -> str:
    """Return the time so many seconds after the start of the scenario."""
    return (datetime.fromtimestamp(UTC_0 + START_S, UTC) + timedelta(seconds=seconds)).isoformat()


def station_purpose(version: Version) -> str:
    return "ChargePointMaxProfile" if version is Version.V16 else "ChargingStationMaxProfile"


def profile_call(
    version: Version,
    *periods: tuple[float, float],
    named: str = "",
    number: int = 7,
    evse: int = 0,
    level: int = 0,
    unit: str = "A",
    start: float | None = 0,
    duration: int | None = None,
    **more: Any,
) -> str:
    """Return a SetChargingProfile of the backend; its periods are (s after `start`, limit)."""
    schedule: dict[str, Any] = {
        "chargingRateUnit": unit,
        "chargingSchedulePeriod": [{"startPeriod": s, "limit": limit} for s, limit in periods],
    }
    if start is not None:
        schedule["startSchedule"] = time_text(start)
    if duration is not None:
        schedule["duration"] = duration
    profile = {
        "stackLevel": level,
        "chargingProfilePurpose": named or station_purpose(version),
        "chargingProfileKind": "Relative" if start is None else "Absolute",
        **more,
    }
    if version is Version.V16:
        profile |= {"chargingProfileId": number, "chargingSchedule": schedule}
        payload = {"connectorId": evse, "csChargingProfiles": profile}
    else:
        profile |= {"id": number, "chargingSchedule": [schedule | {"id": 1}]}
        payload = {"evseId": evse, "chargingProfile": profile}
    check(version, request(version, "SetChargingProfile"), json.dumps(payload).encode())
    return call("b", "SetChargingProfile", json.dumps(payload))


def clear_call(version: Version, **criteria: Any) -> str:
    """Return a ClearChargingProfile of the backend, by `id` or by `evse`, `purpose`, `level`."""
    if version is Version.V16:
        names = {
            "id": "id",
            "evse": "connectorId",
            "purpose": "chargingProfilePurpose",
            "level": "stackLevel",
        }
        return call("b", "ClearChargingProfile", json.dumps({names[k]: v for k, v in criteria.items()}))
    names = {"evse": "evseId", "purpose": "chargingProfilePurpose", "level": "stackLevel"}
    number = criteria.pop("id", None)
    payload: dict[str, Any] = {} if number is None else {"chargingProfileId": number}
    if criteria:
        payload["chargingProfileCriteria"] = {names[k]: v for k, v in criteria.items()}
    return call("b", "ClearChargingProfile", json.dumps(payload))


def make_commandable_relay(version: Version, scope: LimitScope = LimitScope.STATION) -> RelayHarness:
    scenario = RelayHarness(version, scope)
    scenario.make_commandable()
    return scenario


def set_profile(scenario: RelayHarness, text: str, *limits: float | None) -> None:
    """Set a profile of the backend, which is absorbed: the site gets these limits, EVSE by EVSE."""
    scenario.csms.send(text)
    scenario.csms.receive(ACCEPTED)
    for evse, limit in enumerate(limits, start=1):
        scenario.expect_observation(BackendLimit(evse, limit))


def set_lease(scenario: RelayHarness, limit_a: float, evse: int = 1) -> float:
    """Send a lease, which the station accepts; return it (A)."""
    limit = scenario.profiles.cap_limit(evse, LimitKind.LEASE, limit_a, LEASE_S, scenario.now, token=1)
    scenario.profiles.on_limit_result(1, accepted=True)
    return limit


def set_fallback(scenario: RelayHarness, evse: int = 1) -> float:
    return scenario.profiles.cap_limit(evse, LimitKind.FALLBACK, 6.0, None, scenario.now)


STARTED = {
    Version.V16: call(
        "s",
        "StartTransaction",
        '{"connectorId":1,"idTag":"T","meterStart":0,"timestamp":"2026-01-01T00:00:00Z"}',
    ),
    **dict.fromkeys(
        V2,
        call(
            "s",
            "TransactionEvent",
            '{"eventType":"Started","evse":{"id":1},"transactionInfo":{"transactionId":"T1"}}',
        ),
    ),
}
ENDED = {
    Version.V16: call("e", "StopTransaction", '{"transactionId":5}'),
    **dict.fromkeys(
        V2,
        call("e", "TransactionEvent", '{"eventType":"Ended","transactionInfo":{"transactionId":"T1"}}'),
    ),
}


def start_transaction(scenario: RelayHarness, version: Version) -> None:
    scenario.station.send(STARTED[version])
    scenario.expect_observation(TransactionSeen(1, True, None if version is Version.V16 else "T1"))
