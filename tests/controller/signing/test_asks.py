"""What messages ask for, and how their authors try to look as if they asked for less."""

from __future__ import annotations

import math
from typing import Any

import pytest

from controller.ocpp.frames import Version
from controller.signing.asks import Ask, Unreadable, asks
from tests.controller.signing.authors import compact

V16, V201, V21 = Version.V16, Version.V201, Version.V21


def schedule(unit: str, *limits: object) -> dict[str, Any]:
    periods = [{"startPeriod": 60 * number, "limit": limit} for number, limit in enumerate(limits)]
    return {"chargingRateUnit": unit, "chargingSchedulePeriod": periods}


def profile(schedules: object) -> dict[str, Any]:
    return {"id": 1, "stackLevel": 0, "chargingSchedule": schedules}


def variable(name: str, value: str, **more: Any) -> dict[str, Any]:
    return {"component": {"name": "Ctrlr"}, "variable": {"name": name}, "attributeValue": value, **more}


CASES: list[tuple[Version, str, dict[str, Any], list[Ask]]] = [
    (V16, "SetChargingProfile", {"connectorId": 2, "csChargingProfiles": profile(schedule("A", 6, 16.5, 0))},
     [Ask(action="SetChargingProfile", where="CS01/2", amps=16.5)]),
    (V16, "SetChargingProfile",
     {"connectorId": 0, "evseId": 7, "csChargingProfiles": profile(schedule("W", 7))},
     [Ask(action="SetChargingProfile", where="CS01", watts=7)]),
    (V201, "SetChargingProfile",
     {"evseId": 1, "chargingProfile": profile([schedule("A", 6), schedule("W", 4200), schedule("A", 32)])},
     [Ask(action="SetChargingProfile", where="CS01/1", amps=32, watts=4200)]),
    (V21, "SetChargingProfile",
     {"evseId": 1, "chargingProfile": profile([{"chargingRateUnit": "A", "chargingSchedulePeriod": [
         {"startPeriod": 0, "limit": 6, "limit_L2": 20, "setpoint": -25, "dischargeLimit": -30}]}])},
     [Ask(action="SetChargingProfile", where="CS01/1", amps=30)]),
    (V21, "SetChargingProfile",
     {"evseId": 1, "chargingProfile": profile([{"chargingRateUnit": "W", "chargingSchedulePeriod": [
         {"startPeriod": 0, "operationMode": "CentralSetpoint"}]}])},
     [Ask(action="SetChargingProfile", where="CS01/1", watts=math.inf)]),
    (V21, "UpdateDynamicSchedule", {"chargingProfileId": 1, "scheduleUpdate": {"limit": 6}},
     [Ask(action="UpdateDynamicSchedule", where="CS01", amps=math.inf, watts=math.inf)]),
    (V16, "RemoteStartTransaction", {"connectorId": 1, "chargingProfile": profile(schedule("A", 10))},
     [Ask(action="RemoteStartTransaction", where="CS01/1", amps=10)]),
    (V16, "ClearChargingProfile", {"connectorId": 2}, [Ask(action="ClearChargingProfile", where="CS01/2")]),
    (V16, "ClearChargingProfile", {"id": 4, "connectorId": 2},
     [Ask(action="ClearChargingProfile", where="CS01")]),
    (V201, "ClearChargingProfile", {"chargingProfileCriteria": {"evseId": 2}},
     [Ask(action="ClearChargingProfile", where="CS01/2")]),
    (V201, "ClearChargingProfile", {"chargingProfileId": 4, "chargingProfileCriteria": {"evseId": 2}},
     [Ask(action="ClearChargingProfile", where="CS01")]),
    (V201, "ClearChargingProfile", {}, [Ask(action="ClearChargingProfile", where="CS01")]),
    (V201, "ChangeAvailability", {"operationalStatus": "Inoperative", "evse": {"id": 3.0}},
     [Ask(action="ChangeAvailability", where="CS01/3")]),
    (V201, "Reset", {"type": "Immediate", "evse": {"id": 3}, "connectorId": 3},
     [Ask(action="Reset", where="CS01")]),
    (V201, "Reset", {"type": "OnIdle", "evseId": 3}, [Ask(action="Reset", where="CS01/3")]),
    (V16, "ChangeConfiguration", {"connectorId": 2, "key": "MaxCurrent", "value": "16"},
     [Ask(action="ChangeConfiguration", where="CS01", variable="MaxCurrent", value="16")]),
    (V201, "SetVariables",
     {"setVariableData": [variable("Limit", "16"), variable("Limit", "32", attributeType="MaxSet")]},
     [Ask(action="SetVariables", where="CS01", variable="Ctrlr.Limit", value="16"),
      Ask(action="SetVariables", where="CS01", variable="Ctrlr.Limit:MaxSet", value="32")]),
    (V201, "SetVariables", {"setVariableData": [{
        "component": {"name": "EVSE", "instance": "left", "evse": {"id": 2, "connectorId": 1}},
        "variable": {"name": "Current", "instance": "L1"}, "attributeValue": "10"}]},
     [Ask(action="SetVariables", where="CS01/2", variable="EVSE[left].Current[L1]", value="10")]),
    (V201, "SomethingNew", {"evseId": 2}, [Ask(action="SomethingNew", where="CS01")]),
]  # fmt: skip


@pytest.mark.parametrize(("version", "action", "payload", "expected"), CASES)
def test_what_is_asked_for(
    version: Version, action: str, payload: dict[str, Any], expected: list[Ask]
) -> None:
    assert asks(version, action, compact(payload), "CS01") == expected


@pytest.mark.parametrize(("action", "payload", "what"), [
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
])  # fmt: skip
def test_what_cannot_be_read_is_not_guessed(action: str, payload: dict[str, Any], what: str) -> None:
    with pytest.raises(Unreadable, match=what):
        asks(V201, action, compact(payload), "CS01")


@pytest.mark.parametrize(("ask", "words"), [
    (Ask(action="SetChargingProfile", where="CS01/1", amps=32), "SetChargingProfile 32 A at CS01/1"),
    (Ask(action="SetVariables", where="CS01", variable="A.B", value="7"), "SetVariables A.B = 7 at CS01"),
    (Ask(action="Reset", where="CS01"), "Reset at CS01"),
])  # fmt: skip
def test_an_ask_in_words(ask: Ask, words: str) -> None:
    assert str(ask) == words
