"""OCPP's own signed commands (2.x Part 4, section 7): forwarded unchanged, within the site's limits."""

from __future__ import annotations

import base64
import json

import pytest

from controller.chargers.quirks import LimitScope
from controller.ocpp.frames import Version, parse
from controller.profiles.limit_profiles import LimitKind, profile_id
from tests.controller.profiles.test_arbiter import brings
from tests.scenario.frames import call
from tests.scenario.relay_harness import RelayHarness

V2 = (Version.V201, Version.V21)


SWITCH_OFF = json.dumps(
    {
        "setVariableData": [
            {
                "component": {"name": "SmartChargingCtrlr"},
                "variable": {"name": "Enabled"},
                "attributeValue": "false",
            }
        ]
    }
)


def sealed(text: str) -> str:
    """Return the command in signed form; its signature is not verified here."""
    frame = parse(text)
    inner = base64.urlsafe_b64encode(frame.payload).rstrip(b"=").decode()  # type: ignore[union-attr]
    jws = {"payload": inner, "protected": "e30", "signature": "AA"}
    return call("b", f"{frame.action}-Signed", json.dumps(jws))  # type: ignore[union-attr]


@pytest.mark.parametrize("version", V2)
@pytest.mark.parametrize(
    ("scope", "named", "passes"),
    [
        (LimitScope.STATION, "TxDefaultProfile", True),
        (LimitScope.STATION, "TxProfile", True),
        (LimitScope.STATION, "ChargingStationMaxProfile", False),
        (LimitScope.EVSE, "ChargingStationMaxProfile", True),
        (LimitScope.EVSE, "TxDefaultProfile", False),
        (LimitScope.EVSE, "TxProfile", False),
    ],
)
@pytest.mark.parametrize("action", ["SetChargingProfile", "RequestStartTransaction"])
def test_signed_profile_that_could_loosen_own_limits_is_refused(
    version: Version, scope: LimitScope, named: str, passes: bool, action: str
) -> None:
    scenario, text = RelayHarness(version, scope), sealed(brings(version, named, action=action))
    if passes:
        scenario.forward_down(text)
    else:
        scenario.csms.send(text)
        scenario.csms.receive_error("b", "NotSupported", "send it without this signature")
        scenario.expect_nothing()


def test_signed_commands_own_profile_ids_are_own_in_signed_commands_too() -> None:
    scenario = RelayHarness(Version.V201)
    scenario.csms.send(sealed(brings(Version.V201, "TxDefaultProfile", profile_id(1, LimitKind.LEASE))))
    scenario.csms.receive_error("b", "NotSupported")


@pytest.mark.parametrize("action", ["SetChargingProfile", "RequestStartTransaction"])
def test_signed_profile_with_number_out_of_range_does_not_pass(action: str) -> None:
    text = brings(Version.V201, "TxProfile", action=action)
    scenario = RelayHarness(Version.V201)
    scenario.csms.send(sealed(text.replace('"chargingRateUnit"', '"duration": -1, "chargingRateUnit"')))
    scenario.csms.receive_error("b", "PropertyConstraintViolation", "duration -1 is below 1")
    scenario.expect_nothing()


@pytest.mark.parametrize(
    "payload",
    [
        "{}",
        '{"chargingProfileCriteria":{"stackLevel":1}}',
        '{"chargingProfileCriteria":{"evseId":1}}',
    ],
)
def test_signed_clearing_that_matches_own_is_refused(payload: str) -> None:
    scenario = RelayHarness(Version.V201)
    scenario.csms.send(sealed(call("b", "ClearChargingProfile", payload)))
    scenario.csms.receive_error("b", "NotSupported", "it would clear limits")
    scenario.expect_nothing()


def test_signed_clearing_of_backends_own_purpose_passes() -> None:
    criteria = '{"chargingProfileCriteria":{"chargingProfilePurpose":"TxProfile"}}'
    RelayHarness(Version.V201).forward_down(sealed(call("b", "ClearChargingProfile", criteria)))


@pytest.mark.parametrize(
    ("action", "payload"),
    [
        ("SetVariables", SWITCH_OFF),
        ("UpdateDynamicSchedule", '{"chargingProfileId":1600000001,"scheduleUpdate":{"limit":99}}'),
        ("SetChargingProfile", '{"evseId":1,"chargingProfile":{"id":7.0}}'),
    ],
)
def test_signed_command_that_takes_own_limits_away_is_refused(action: str, payload: str) -> None:
    scenario = RelayHarness(Version.V21)
    scenario.csms.send(sealed(call("b", action, payload)))
    answer = json.loads(scenario.csms.receive_text())
    assert (answer[0], answer[1]) == (4, "b")
    scenario.expect_nothing()


@pytest.mark.parametrize("payload", ["{}", '{"payload":"?","protected":"e30","signature":""}'])
def test_signed_profile_that_is_unreadable_does_not_pass(payload: str) -> None:
    scenario = RelayHarness(Version.V201)
    scenario.csms.send(call("b", "SetChargingProfile-Signed", payload))
    scenario.csms.receive_error("b", "FormatViolation", "the signed command cannot be read")
    scenario.expect_nothing()


def test_other_signed_commands_pass_with_any_content() -> None:
    RelayHarness(Version.V201).forward_down(call("b", "SetVariables-Signed", "{}"))
