"""Which commands of a backend pass, which are refused and why, and which make us assert our limits again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controller.chargers.quirks import LimitScope, limit_purpose
from controller.model.observations import BackendLimit
from controller.ocpp.frames import Call, Version, parse
from controller.profiles.arbiter import ProfileArbiter
from controller.profiles.limit_profiles import LimitKind, profile_id
from tests.controller.ocpp.schemas import check, request
from tests.controller.relay.playbook import TIMEOUT_S, Playbook, a_station, call, result

V2 = (Version.V201, Version.V21)
REMOTE_START = {
    Version.V16: "RemoteStartTransaction",
    Version.V201: "RequestStartTransaction",
    Version.V21: "RequestStartTransaction",
}


def brings(
    version: Version, named: str, number: int = 7, action: str = "SetChargingProfile", **more: Any
) -> str:
    """A backend's CALL that brings a profile of this purpose: 10 A, always."""
    evse = more.pop("evse", 0 if named.endswith("MaxProfile") else 1)
    schedule = {
        "id": 1,
        "startSchedule": "2026-11-01T00:00:00Z",
        "chargingRateUnit": "A",
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": more.pop("limit", 10.0)}],
    }
    old = version is Version.V16
    profile = {
        "chargingProfileId" if old else "id": number,
        "chargingProfilePurpose": named,
        "stackLevel": 3,
        "chargingProfileKind": "Absolute",
        "chargingSchedule": schedule if old else [schedule],
    }
    member = "csChargingProfiles" if old and action == "SetChargingProfile" else "chargingProfile"
    payload = {"connectorId" if old else "evseId": evse, member: profile | more}
    return call("b", action, json.dumps(payload))


PASS, KEEP, REFUSE = "pass", "keep", "refuse"
PURPOSES = [
    (
        Version.V16,
        LimitScope.STATION,
        {"ChargePointMaxProfile": KEEP, "TxDefaultProfile": PASS, "TxProfile": PASS},
    ),
    (
        Version.V16,
        LimitScope.EVSE,
        {"ChargePointMaxProfile": PASS, "TxDefaultProfile": KEEP, "TxProfile": KEEP},
    ),
    *(
        (
            version,
            LimitScope.STATION,
            {
                "ChargingStationMaxProfile": KEEP,
                "TxDefaultProfile": PASS,
                "TxProfile": PASS,
                "ChargingStationExternalConstraints": PASS,
            },
        )
        for version in V2
    ),
    *(
        (
            version,
            LimitScope.EVSE,
            {
                "ChargingStationMaxProfile": PASS,
                "TxDefaultProfile": KEEP,
                "TxProfile": KEEP,
                "ChargingStationExternalConstraints": PASS,
            },
        )
        for version in V2
    ),
    (Version.V21, LimitScope.STATION, {"PriorityCharging": PASS, "LocalGeneration": REFUSE}),
    (Version.V21, LimitScope.EVSE, {"PriorityCharging": REFUSE, "LocalGeneration": REFUSE}),
]
RULES = [(version, scope, named, fate) for version, scope, rules in PURPOSES for named, fate in rules.items()]


@pytest.mark.parametrize(("version", "scope", "named", "fate"), RULES)
def test_arbiter_purpose_decides_if_profile_passes(
    version: Version, scope: LimitScope, named: str, fate: str
) -> None:
    talk = Playbook(version, scope)
    talk.commandable()
    text = brings(version, named)
    if fate == PASS:
        talk.passes_down(text)
        return
    talk.backend(text)
    if fate == REFUSE:
        talk.backend_hears_rejected("b")
        talk.noted(f"{named} would rise above")
    else:
        talk.backend_hears(result("b", '{"status":"Accepted"}'))
        talk.site_learns(BackendLimit(1, 10.0))
    talk.done()


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"chargingProfileKind": "Dynamic"}, "chargingProfileKind Dynamic"),
    ({"chargingProfileKind": "Recurring"}, "needs a recurrencyKind"),
    ({"stackLevel": -1}, "stackLevel -1"),
    ({"evse": 1}, "not for EVSE 1"),
    ({"limit": -1.0}, "below 0"),
    ({"validTo": "soon"}, "soon is no time"),
]


@pytest.mark.parametrize("version", list(Version))
@pytest.mark.parametrize(("wrong", "word"), WRONG)
def test_arbiter_profile_that_no_station_takes_is_rejected_with_reason(
    version: Version, wrong: dict[str, Any], word: str
) -> None:
    named = limit_purpose(version, LimitScope.STATION)
    frame = parse(brings(version, named, **wrong))
    assert isinstance(frame, Call)
    arbiter = ProfileArbiter(version, LimitScope.STATION, a_station(LimitScope.STATION))
    decision = arbiter.decide(frame, 0.0)
    assert decision.call is None
    assert word in decision.reason
    check(version, "SetChargingProfileResponse", json.dumps(json.loads(decision.answer)[2]).encode())


AMBIGUOUS = [
    (
        '"chargingProfilePurpose": "{0}"',
        '"chargingProfilePurpose": "{0}", "chargingProfilePurpose": "X"',
        "F",
    ),
    ('"stackLevel": 3', '"stackLevel": 3, "stackLevel": 9', "F"),
    ('"stackLevel": 3', '"stackLevel": 3, "StackLevel": 9', "F"),
    ('"stackLevel": 3', '"stackLevel": 3.0', "TypeConstraintViolation"),
    ('"stackLevel": 3', '"stackLevel": "3"', "TypeConstraintViolation"),
    ('"limit": 10.0', '"limit": "10.0"', "TypeConstraintViolation"),
    ('"limit": 10.0', '"limit": 1e308', "TypeConstraintViolation"),
    ('"startPeriod": 0', '"startPeriod": 0.0', "TypeConstraintViolation"),
    ('"startPeriod": 0', f'"startPeriod": {"9" * 401}', "TypeConstraintViolation"),
    ('"chargingProfilePurpose": "{0}"', '"chargingProfilePurpose": "{0} "', "PropertyConstraintViolation"),
    ('"chargingProfilePurpose": "{0}"', '"x": 1', "TypeConstraintViolation"),
]
MALFORMED = {
    Version.V16: "FormationViolation",
    Version.V201: "FormatViolation",
    Version.V21: "FormatViolation",
}


@pytest.mark.parametrize("version", list(Version))
@pytest.mark.parametrize(("old", "new", "code"), AMBIGUOUS)
@pytest.mark.parametrize("starts", [False, True])
def test_profile_that_readers_may_read_differently_does_not_pass(
    version: Version, old: str, new: str, code: str, starts: bool
) -> None:
    action = REMOTE_START[version] if starts else "SetChargingProfile"
    text = brings(version, "TxProfile", action=action)
    odd = text.replace(old.replace("{0}", "TxProfile"), new.replace("{0}", "TxProfile"))
    assert odd != text
    talk = Playbook(version)
    talk.backend(odd)
    talk.backend_hears_error("b", MALFORMED[version] if code == "F" else code)
    talk.done()


@pytest.mark.parametrize("version", list(Version))
@pytest.mark.parametrize("odd", ["7.0", '"7"', "7e0", "99999999999", "true"])
def test_arbiter_profile_with_odd_id_does_not_pass(version: Version, odd: str) -> None:
    name = "chargingProfileId" if version is Version.V16 else "id"
    text = brings(version, "TxDefaultProfile").replace(f'"{name}": 7', f'"{name}": {odd}')
    talk = Playbook(version)
    talk.backend(text)
    talk.backend_hears_error("b", "TypeConstraintViolation")
    talk.done()


def test_arbiter_profile_under_misspelt_name_does_not_pass_with_start() -> None:
    text = brings(Version.V16, "TxProfile", action="RemoteStartTransaction")
    talk = Playbook(Version.V16)
    talk.backend(text.replace('"chargingProfile"', '"ChargingProfile"'))
    talk.backend_hears_error("b", "FormationViolation")


@pytest.mark.parametrize("version", list(Version))
def test_arbiter_remote_start_profile_obeys_same_rules(version: Version) -> None:
    text = brings(version, "TxProfile", action=REMOTE_START[version])
    beside = Playbook(version, LimitScope.STATION)
    beside.passes_down(text)
    above = Playbook(version, LimitScope.EVSE)
    above.backend(text)
    target = "connectorId" if version is Version.V16 else "evseId"
    above.station_hears(call("b", REMOTE_START[version], f'{{"{target}":1}}'))
    above.station(result("b", '{"status":"Accepted"}'))
    above.commands_allowed()
    above.backend_hears(result("b", '{"status":"Accepted"}'))
    above.site_learns(BackendLimit(1, 10.0))
    without = Playbook(version, LimitScope.EVSE)
    without.passes_down(call("b", REMOTE_START[version], '{"idTag":"VID:1","connectorId":1}'))


@pytest.mark.parametrize("version", list(Version))
@pytest.mark.parametrize("kind", list(LimitKind))
def test_arbiter_profile_with_one_of_own_ids_is_rejected(version: Version, kind: LimitKind) -> None:
    talk = Playbook(version)
    talk.commandable()
    talk.backend(brings(version, "TxDefaultProfile", profile_id(0, kind)))
    talk.backend_hears_rejected("b")
    talk.done()
    talk.noted("is reserved for the site's load management")
    talk.passes_down(brings(version, "TxDefaultProfile", profile_id(0, LimitKind.FALLBACK) - 1))


@pytest.mark.parametrize(
    "payload",
    ["{}", "[]", "null", '{"csChargingProfiles":7,"chargingProfile":7}', '{"chargingProfile":null}', "1e999"],
)
@pytest.mark.parametrize("version", list(Version))
def test_arbiter_command_without_readable_profile_does_not_pass(version: Version, payload: str) -> None:
    talk = Playbook(version, LimitScope.EVSE)
    talk.backend(call("b", "SetChargingProfile", payload))
    kind, message_id, *_ = json.loads(talk.backend_hears_text())
    assert (kind, message_id) == (4, "b")
    talk.done()


def test_arbiter_profile_for_odd_target_does_not_pass() -> None:
    talk = Playbook()
    text = brings(Version.V16, "ChargePointMaxProfile")
    talk.backend(text.replace('"connectorId": 0', '"connectorId": "0"'))
    talk.backend_hears_error("b", "TypeConstraintViolation")


@pytest.mark.parametrize(
    "action", ["Reset", "GetCompositeSchedule", "ChangeAvailability", "UpdateFirmware", "NobodyKnowsThis"]
)
@pytest.mark.parametrize("scope", list(LimitScope))
def test_other_commands_pass(action: str, scope: LimitScope) -> None:
    Playbook(scope=scope).passes_down(call("b", action))


# -- what would take our limits away ---------------------------------------------------------------------


def variables(*values: tuple[str, str, str]) -> str:
    data = [
        {"component": {"name": component}, "variable": {"name": name}, "attributeValue": value}
        for component, name, value in values
    ]
    return call("b", "SetVariables", json.dumps({"setVariableData": data}))


@pytest.mark.parametrize(
    ("component", "name", "value"),
    [
        ("SmartChargingCtrlr", "Enabled", "false"),
        ("smartchargingctrlr", "ENABLED", "False"),
        ("SmartChargingCtrlr", "ChargingProfilePersistence", "false"),
        ("SmartChargingCtrlr", "IgnoredProfilePurposes", "ChargingStationMaxProfile"),
    ],
)
def test_setting_that_switches_limits_off_is_rejected(component: str, name: str, value: str) -> None:
    talk = Playbook(Version.V21)
    talk.backend(variables((component, name, value)))
    payload = json.loads(talk.backend_hears_text())[2]
    check(Version.V21, "SetVariablesResponse", json.dumps(payload).encode())
    (result_,) = payload["setVariableResult"]
    assert (result_["attributeStatus"], result_["variable"]["name"]) == ("Rejected", name)
    talk.done()


def test_other_settings_of_command_pass_and_all_are_answered_in_order() -> None:
    talk = Playbook(Version.V201)
    talk.backend(
        variables(
            ("OCPPCommCtrlr", "HeartbeatInterval", "60"),
            ("SmartChargingCtrlr", "Enabled", "false"),
            ("SmartChargingCtrlr", "LimitChangeSignificance", "5"),
        )
    )
    sent = json.loads(talk.station_hears_call("SetVariables").payload)["setVariableData"]
    assert [each["variable"]["name"] for each in sent] == ["HeartbeatInterval", "LimitChangeSignificance"]
    done = [{key: each[key] for key in ("component", "variable")} for each in sent]
    answer = {"setVariableResult": [{"attributeStatus": "Accepted", **each} for each in done]}
    talk.station(result("b", json.dumps(answer)))
    talk.commands_allowed()
    found = json.loads(talk.backend_hears_text())[2]["setVariableResult"]
    assert [each["attributeStatus"] for each in found] == ["Accepted", "Rejected", "Accepted"]


def test_arbiter_setting_that_may_be_read_as_own_does_not_pass() -> None:
    text = variables(("SmartChargingCtrlr", "Enabled", "true"))
    talk = Playbook(Version.V201)
    talk.backend(
        text.replace('"attributeValue": "true"', '"attributeValue": "true", "attributeValue": "false"')
    )
    talk.backend_hears_error("b", "FormatViolation")


@pytest.mark.parametrize(
    ("payload", "passes"),
    [
        ('{"key":"HeartbeatInterval","value":"60"}', True),
        ('{"key":"chargeProfileMaxStackLevel","value":"0"}', False),
        ('{"key":"SmartChargingEnabled","value":"false"}', False),
        ('{"key":"x","key":"ChargeProfileMaxStackLevel","value":"0"}', False),
        ('{"value":60}', True),
    ],
)
def test_key_that_governs_profiles_is_not_changed(payload: str, passes: bool) -> None:
    talk = Playbook(Version.V16)
    talk.backend(call("b", "ChangeConfiguration", payload))
    if passes:
        talk.station_hears(call("b", "ChangeConfiguration", payload))
    else:
        assert json.loads(talk.backend_hears_text())[0] in (3, 4)
    talk.done()


def test_arbiter_update_of_own_dynamic_profile_is_rejected() -> None:
    talk = Playbook(Version.V21)
    update = '{"chargingProfileId":%d,"scheduleUpdate":{"limit":99}}'
    talk.backend(call("b", "UpdateDynamicSchedule", update % profile_id(0, LimitKind.LEASE)))
    talk.backend_hears_rejected("b")
    talk.passes_down(call("b", "UpdateDynamicSchedule", update % 7))


# -- ClearChargingProfile without a purpose --------------------------------------------------------------


@pytest.mark.parametrize("version", list(Version))
def test_arbiter_clearing_without_purpose_is_sent_per_purpose(version: Version) -> None:
    talk = Playbook(version)
    talk.commandable()
    talk.backend(call("b", "ClearChargingProfile"))
    purposes = ["TxDefaultProfile", "TxProfile"] + ["PriorityCharging"] * (version is Version.V21)
    for purpose in purposes:
        sent = talk.station_hears_call("ClearChargingProfile")
        payload = json.loads(sent.payload)
        criteria = payload if version is Version.V16 else payload["chargingProfileCriteria"]
        assert criteria == {"chargingProfilePurpose": purpose}
        check(version, request(version, "ClearChargingProfile"), sent.payload)
        talk.done()
        status = "Accepted" if purpose == "TxDefaultProfile" else "Unknown"
        talk.station(result(sent.id, f'{{"status":"{status}"}}'))
    talk.backend_hears(result("b", '{"status":"Accepted"}'))
    talk.done()


def test_arbiter_clearing_that_station_refuses_is_answered_with_error() -> None:
    talk = Playbook()
    talk.commandable()
    talk.backend(call("b", "ClearChargingProfile"))
    for _ in range(2):
        sent = talk.station_hears_call("ClearChargingProfile")
        talk.station(f'[4,"{sent.id}","NotSupported","",{{}}]')
    talk.backend_hears_error("b", "NotSupported")


def test_arbiter_clearing_without_answer_ends_with_error_under_own_id() -> None:
    talk = Playbook()
    talk.commandable()
    talk.backend(call("b", "ClearChargingProfile"))
    sent = talk.station_hears_call("ClearChargingProfile")
    talk.station(result(sent.id, '{"status":"Unknown"}'))
    talk.station_hears_call("ClearChargingProfile")
    talk.wait(TIMEOUT_S)
    talk.backend_hears_error("b", "GenericError", "no answer in time")
    talk.done()


def test_arbiter_clearing_by_id_goes_without_criteria_that_match_own() -> None:
    talk = Playbook()
    payload = '{"id":12,"chargingProfilePurpose":"ChargePointMaxProfile"}'
    talk.backend(call("b", "ClearChargingProfile", payload))
    talk.station_hears(call("b", "ClearChargingProfile", '{"id":12}'))


def test_clearing_that_may_be_read_differently_does_not_pass() -> None:
    talk = Playbook()
    payload = '{"chargingProfilePurpose":"TxProfile","chargingProfilePurpose":"ChargePointMaxProfile"}'
    talk.backend(call("b", "ClearChargingProfile", payload))
    talk.backend_hears_error("b", "FormationViolation")
