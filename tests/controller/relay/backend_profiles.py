"""What a backend says about charging profiles, and how a conversation about them begins."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from controller.chargers.quirks import LimitScope
from controller.model.observations import BackendLimit, TransactionSeen
from controller.ocpp.frames import Version
from controller.profiles.limit_profiles import LimitKind
from tests.controller.ocpp.schemas import check, request
from tests.controller.relay.playbook import START_S, UTC_0, Playbook, call, result

V2 = [Version.V201, Version.V21]
ACCEPTED = result("b", '{"status":"Accepted"}')
UNKNOWN = result("b", '{"status":"Unknown"}')
LEASE_S = 120.0
WINDOW_S = LEASE_S + 120.0
"""A lease may end so much later, by the slack for stations' clocks at both its ends."""


def at(seconds: float) -> str:
    """A time so many seconds after the conversation's start."""
    return (datetime.fromtimestamp(UTC_0 + START_S, UTC) + timedelta(seconds=seconds)).isoformat()


def whole(version: Version) -> str:
    return "ChargePointMaxProfile" if version is Version.V16 else "ChargingStationMaxProfile"


def setting(
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
    """A backend's SetChargingProfile: its periods are (s after `start`, limit)."""
    schedule: dict[str, Any] = {
        "chargingRateUnit": unit,
        "chargingSchedulePeriod": [{"startPeriod": s, "limit": limit} for s, limit in periods],
    }
    if start is not None:
        schedule["startSchedule"] = at(start)
    if duration is not None:
        schedule["duration"] = duration
    profile = {
        "stackLevel": level,
        "chargingProfilePurpose": named or whole(version),
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


def clearing(version: Version, **criteria: Any) -> str:
    """A backend's ClearChargingProfile, by `id` or by `evse`, `purpose`, `level`."""
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


def begun(version: Version, scope: LimitScope = LimitScope.STATION) -> Playbook:
    talk = Playbook(version, scope)
    talk.commandable()
    return talk


def sets(talk: Playbook, text: str, *limits: float | None) -> None:
    """The backend sets a profile, which is kept; the site learns these limits, EVSE by EVSE."""
    talk.backend(text)
    talk.backend_hears(ACCEPTED)
    for evse, limit in enumerate(limits, start=1):
        talk.site_learns(BackendLimit(evse, limit))


def lease(talk: Playbook, limit_a: float, evse: int = 1) -> float:
    """Send a lease, which the station accepts; return it (A)."""
    limit = talk.kept.cap_limit(evse, LimitKind.LEASE, limit_a, LEASE_S, talk.now, token=1)
    talk.kept.on_limit_result(1, accepted=True)
    return limit


def floor(talk: Playbook, evse: int = 1) -> float:
    return talk.kept.cap_limit(evse, LimitKind.FALLBACK, 6.0, None, talk.now)


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


def starts(talk: Playbook, version: Version) -> None:
    talk.station(STARTED[version])
    talk.site_learns(TransactionSeen(1, True, None if version is Version.V16 else "T1"))
