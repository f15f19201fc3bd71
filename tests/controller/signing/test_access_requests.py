"""What messages ask for, and how their authors try to look as if they asked for less."""

from __future__ import annotations

import math
from typing import Any

import pytest

from controller.ocpp.frames import Version
from controller.signing.access_requests import AccessRequest, AccessRequestError, read_access_requests
from tests.controller.signing.authors import compact

V16, V201, V21 = Version.V16, Version.V201, Version.V21


def schedule(unit: str, *limits: object) -> dict[str, Any]:
    periods = [{"startPeriod": 60 * number, "limit": limit} for number, limit in enumerate(limits)]
    return {"chargingRateUnit": unit, "chargingSchedulePeriod": periods}


def profile(schedules: object) -> dict[str, Any]:
    return {"id": 1, "stackLevel": 0, "chargingSchedule": schedules}


def variable(name: str, value: str, **more: Any) -> dict[str, Any]:
    return {"component": {"name": "Ctrlr"}, "variable": {"name": name}, "attributeValue": value, **more}


CASES: list[tuple[Version, str, dict[str, Any], list[AccessRequest]]] = [
    (
        V16,
        "SetChargingProfile",
        {"connectorId": 2, "csChargingProfiles": profile(schedule("A", 6, 16.5, 0))},
        [AccessRequest(action="SetChargingProfile", target="CS01/2", amps=16.5)],
    ),
    (
        V16,
        "SetChargingProfile",
        {"connectorId": 0, "evseId": 7, "csChargingProfiles": profile(schedule("W", 7))},
        [AccessRequest(action="SetChargingProfile", target="CS01", watts=7)],
    ),
    (
        V201,
        "SetChargingProfile",
        {"evseId": 1, "chargingProfile": profile([schedule("A", 6), schedule("W", 4200), schedule("A", 32)])},
        [AccessRequest(action="SetChargingProfile", target="CS01/1", amps=32, watts=4200)],
    ),
    (
        V21,
        "SetChargingProfile",
        {
            "evseId": 1,
            "chargingProfile": profile(
                [
                    {
                        "chargingRateUnit": "A",
                        "chargingSchedulePeriod": [
                            {
                                "startPeriod": 0,
                                "limit": 6,
                                "limit_L2": 20,
                                "setpoint": -25,
                                "dischargeLimit": -30,
                            }
                        ],
                    }
                ]
            ),
        },
        [AccessRequest(action="SetChargingProfile", target="CS01/1", amps=30)],
    ),
    (
        V21,
        "SetChargingProfile",
        {
            "evseId": 1,
            "chargingProfile": profile(
                [
                    {
                        "chargingRateUnit": "W",
                        "chargingSchedulePeriod": [{"startPeriod": 0, "operationMode": "CentralSetpoint"}],
                    }
                ]
            ),
        },
        [AccessRequest(action="SetChargingProfile", target="CS01/1", watts=math.inf)],
    ),
    (
        V21,
        "UpdateDynamicSchedule",
        {"chargingProfileId": 1, "scheduleUpdate": {"limit": 6}},
        [AccessRequest(action="UpdateDynamicSchedule", target="CS01", amps=math.inf, watts=math.inf)],
    ),
    (
        V16,
        "RemoteStartTransaction",
        {"connectorId": 1, "chargingProfile": profile(schedule("A", 10))},
        [AccessRequest(action="RemoteStartTransaction", target="CS01/1", amps=10)],
    ),
    (
        V16,
        "ClearChargingProfile",
        {"connectorId": 2},
        [AccessRequest(action="ClearChargingProfile", target="CS01/2")],
    ),
    (
        V16,
        "ClearChargingProfile",
        {"id": 4, "connectorId": 2},
        [AccessRequest(action="ClearChargingProfile", target="CS01")],
    ),
    (
        V201,
        "ClearChargingProfile",
        {"chargingProfileCriteria": {"evseId": 2}},
        [AccessRequest(action="ClearChargingProfile", target="CS01/2")],
    ),
    (
        V201,
        "ClearChargingProfile",
        {"chargingProfileId": 4, "chargingProfileCriteria": {"evseId": 2}},
        [AccessRequest(action="ClearChargingProfile", target="CS01")],
    ),
    (V201, "ClearChargingProfile", {}, [AccessRequest(action="ClearChargingProfile", target="CS01")]),
    (
        V201,
        "ChangeAvailability",
        {"operationalStatus": "Inoperative", "evse": {"id": 3.0}},
        [AccessRequest(action="ChangeAvailability", target="CS01/3")],
    ),
    (
        V201,
        "Reset",
        {"type": "Immediate", "evse": {"id": 3}, "connectorId": 3},
        [AccessRequest(action="Reset", target="CS01")],
    ),
    (V201, "Reset", {"type": "OnIdle", "evseId": 3}, [AccessRequest(action="Reset", target="CS01/3")]),
    (
        V16,
        "ChangeConfiguration",
        {"connectorId": 2, "key": "MaxCurrent", "value": "16"},
        [AccessRequest(action="ChangeConfiguration", target="CS01", variable="MaxCurrent", value="16")],
    ),
    (
        V201,
        "SetVariables",
        {"setVariableData": [variable("Limit", "16"), variable("Limit", "32", attributeType="MaxSet")]},
        [
            AccessRequest(action="SetVariables", target="CS01", variable="Ctrlr.Limit", value="16"),
            AccessRequest(action="SetVariables", target="CS01", variable="Ctrlr.Limit:MaxSet", value="32"),
        ],
    ),
    (
        V201,
        "SetVariables",
        {
            "setVariableData": [
                {
                    "component": {"name": "EVSE", "instance": "left", "evse": {"id": 2, "connectorId": 1}},
                    "variable": {"name": "Current", "instance": "L1"},
                    "attributeValue": "10",
                }
            ]
        },
        [
            AccessRequest(
                action="SetVariables", target="CS01/2", variable="EVSE[left].Current[L1]", value="10"
            )
        ],
    ),
    (V201, "SomethingNew", {"evseId": 2}, [AccessRequest(action="SomethingNew", target="CS01")]),
]


@pytest.mark.parametrize(("version", "action", "payload", "expected"), CASES)
def test_access_requests_are_read_from_messages(
    version: Version, action: str, payload: dict[str, Any], expected: list[AccessRequest]
) -> None:
    assert read_access_requests(version, action, compact(payload), "CS01") == expected


@pytest.mark.parametrize(
    ("action", "payload", "what"),
    [
        ("SetChargingProfile", {"evseId": "1"}, "number"),
        ("SetChargingProfile", {"evseId": True}, "number"),
        ("SetChargingProfile", {"evseId": -1}, "EVSE"),
        ("SetChargingProfile", {"evseId": 1.5}, "EVSE"),
        ("SetChargingProfile", {"evseId": 1, "chargingProfile": 7}, "no object chargingProfile"),
        ("SetChargingProfile", {"chargingProfile": profile(7)}, "no object chargingSchedule"),
        ("SetChargingProfile", {"chargingProfile": profile([])}, "no list of objects chargingSchedule"),
        ("SetChargingProfile", {"chargingProfile": profile(schedule("a", 6))}, "neither A nor W"),
        ("SetChargingProfile", {"chargingProfile": profile(schedule("A"))}, "no list of objects"),
        ("SetChargingProfile", {"chargingProfile": profile(schedule("A", "6"))}, "number"),
        ("SetChargingProfile", {"chargingProfile": profile(schedule("A", None))}, "number"),
        ("ClearChargingProfile", {"chargingProfileCriteria": [2]}, "no object"),
        ("SetVariables", {}, "no list of objects setVariableData"),
        ("SetVariables", {"setVariableData": [7]}, "no list of objects"),
        ("SetVariables", {"setVariableData": [variable("Limit", "16"), {}]}, "no object component"),
        ("SetVariables", {"setVariableData": [variable("Limit", 16)]}, "no text attributeValue"),  # type: ignore[arg-type]
        ("ChangeConfiguration", {"key": "k"}, "no text value"),
    ],
)
def test_unreadable_access_request_is_rejected(action: str, payload: dict[str, Any], what: str) -> None:
    with pytest.raises(AccessRequestError, match=what):
        read_access_requests(V201, action, compact(payload), "CS01")


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (
            AccessRequest(action="SetChargingProfile", target="CS01/1", amps=32),
            "SetChargingProfile 32 A at CS01/1",
        ),
        (
            AccessRequest(action="SetVariables", target="CS01", variable="A.B", value="7"),
            "SetVariables A.B = 7 at CS01",
        ),
        (AccessRequest(action="Reset", target="CS01"), "Reset at CS01"),
    ],
)
def test_access_request_as_text(ask: AccessRequest, words: str) -> None:
    assert str(ask) == words
