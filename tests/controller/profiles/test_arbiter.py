"""Commands of a backend that pass, that are refused and why, and that make limits be sent again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controller.chargers.quirks import LimitScope, limit_purpose
from controller.model.observations import BackendLimit
from controller.ocpp.frames import Call, Version, parse
from controller.profiles.absorbed_profiles import STORE_FORWARDED_S
from controller.profiles.arbiter import ProfileArbiter
from controller.profiles.limit_profiles import LimitKind, profile_id
from tests.controller.ocpp.schemas import check, request
from tests.scenario.frames import call, result
from tests.scenario.relay_harness import TIMEOUT_S, RelayHarness, make_absorbed_profiles

V2 = (Version.V201, Version.V21)
REMOTE_START = {
    Version.V16: "RemoteStartTransaction",
    Version.V201: "RequestStartTransaction",
    Version.V21: "RequestStartTransaction",
}


def brings(
    version: Version, named: str, number: int = 7, action: str = "SetChargingProfile", **more: Any
) -> str:
    """Return a CALL of the backend with a profile of this purpose: 10 A, always."""
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
    scenario = RelayHarness(version, scope)
    scenario.make_commandable()
    text = brings(version, named)
    if fate == PASS:
        scenario.forward_down(text)
        return
    scenario.csms.send(text)
    if fate == REFUSE:
        scenario.csms.receive_rejection("b")
        scenario.expect_log(f"{named} would rise above")
    else:
        scenario.csms.receive(result("b", '{"status":"Accepted"}'))
        scenario.expect_observation(BackendLimit(1, 10.0))
    scenario.expect_nothing()


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"chargingProfileKind": "Sometimes"}, "chargingProfileKind Sometimes is not supported"),
    ({"chargingProfileKind": "Recurring"}, "needs a recurrencyKind"),
    ({"evse": 1}, "not for EVSE 1"),
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
    arbiter = ProfileArbiter(version, LimitScope.STATION, make_absorbed_profiles(LimitScope.STATION))
    decision = arbiter.decide(frame, 0.0)
    assert decision.call is None
    assert word in decision.reason
    check(version, "SetChargingProfileResponse", json.dumps(json.loads(decision.answer)[2]).encode())


@pytest.mark.parametrize("version", [Version.V16, Version.V201])
def test_arbiter_dynamic_profile_is_one_of_later_version(version: Version) -> None:
    scenario = RelayHarness(version)
    scenario.make_commandable()
    named = limit_purpose(version, LimitScope.STATION)
    scenario.csms.send(brings(version, named, chargingProfileKind="Dynamic"))
    scenario.csms.receive_rejection("b")
    scenario.expect_log("chargingProfileKind Dynamic is one of OCPP 2.1")


UNFOLLOWED: list[tuple[str, dict[str, Any], str]] = [
    ("profile", {"maxOfflineDuration": 600}, "maxOfflineDuration is not supported"),
    ("schedule", {"useLocalTime": True}, "useLocalTime is not supported: send times with their offset"),
    ("schedule", {"limitAtSoC": {"soc": 80, "limit": 6}}, "limitAtSoC is not supported"),
    ("period", {"operationMode": "Idle"}, "operationMode Idle is not supported"),
    ("period", {"setpoint": 9.0}, "setpoint is not supported: send a limit"),
]


@pytest.mark.parametrize(
    ("place", "member", "word"), UNFOLLOWED, ids=[each[2].split()[0] for each in UNFOLLOWED]
)
def test_arbiter_profile_that_only_a_station_follows_is_not_absorbed(
    place: str, member: dict[str, Any], word: str
) -> None:
    def with_member(named: str) -> str:
        frame = json.loads(brings(Version.V21, named))
        profile = frame[3]["chargingProfile"]
        [schedule] = profile["chargingSchedule"]
        [period] = schedule["chargingSchedulePeriod"]
        {"profile": profile, "schedule": schedule, "period": period}[place].update(member)
        return call("b", frame[2], json.dumps(frame[3]))

    scenario = RelayHarness(Version.V21)
    scenario.make_commandable()
    scenario.csms.send(with_member("ChargingStationMaxProfile"))
    scenario.csms.receive_rejection("b")
    scenario.expect_log(word)
    scenario.forward_down(with_member("TxDefaultProfile"))


OUT_OF_RANGE = [
    ('"stackLevel": 3', '"stackLevel": -1'),
    ('"limit": 10.0', '"limit": -1.0'),
    ('"startPeriod": 0', '"startPeriod": -1'),
    ('"startPeriod": 0', '"startPeriod": 0, "numberPhases": -1'),
    ('"startPeriod": 0', '"startPeriod": 0, "numberPhases": 4'),
    ('"chargingRateUnit"', '"duration": -1, "chargingRateUnit"'),
    ('"chargingRateUnit"', '"duration": 0, "chargingRateUnit"'),
    ('"chargingRateUnit"', '"duration": -2147483648, "chargingRateUnit"'),
    ('Id": 1', 'Id": -1'),
]
OUT_OF_RANGE_2 = [
    ('"limit": 10.0', '"limit": 10.0, "limit_L2": -1'),
    ('"limit": 10.0', '"limit": 10.0, "limit_L3": -0.5'),
    ('"startPeriod": 0', '"startPeriod": 0, "phaseToUse": -1'),
]


@pytest.mark.parametrize("scope", list(LimitScope))
@pytest.mark.parametrize("starts", [False, True])
@pytest.mark.parametrize(
    ("version", "old", "new"),
    [
        *((version, *each) for version in Version for each in OUT_OF_RANGE),
        *((version, *each) for version in V2 for each in OUT_OF_RANGE_2),
    ],
)
def test_arbiter_profile_with_number_out_of_range_does_not_pass(
    version: Version, old: str, new: str, scope: LimitScope, starts: bool
) -> None:
    scenario = RelayHarness(version, scope)
    scenario.make_commandable()
    for purpose in ["TxProfile"] if starts else ["TxDefaultProfile", "TxProfile"]:
        action = REMOTE_START[version] if starts else "SetChargingProfile"
        text = brings(version, purpose, action=action)
        assert old in text
        scenario.csms.send(text.replace(old, new, 1))
        scenario.csms.receive_error("b", "PropertyConstraintViolation")
        scenario.expect_nothing()
        assert scenario.arbiter.absorbed.changed_profiles(0.0) is None


OCCURRENCE = {
    Version.V16: "OccurenceConstraintViolation",
    Version.V201: "OccurrenceConstraintViolation",
    Version.V21: "OccurrenceConstraintViolation",
}


@pytest.mark.parametrize("version", list(Version))
@pytest.mark.parametrize("scope", list(LimitScope))
@pytest.mark.parametrize("starts", [False, True])
def test_arbiter_schedule_without_period_does_not_pass(
    version: Version, scope: LimitScope, starts: bool
) -> None:
    for purpose in ["TxProfile"] if starts else [limit_purpose(version, scope), "TxDefaultProfile"]:
        scenario = RelayHarness(version, scope)
        scenario.make_commandable()
        text = brings(version, purpose, action=REMOTE_START[version] if starts else "SetChargingProfile")
        scenario.csms.send(text.replace('[{"startPeriod": 0, "limit": 10.0}]', "[]"))
        scenario.csms.receive_error("b", OCCURRENCE[version])
        place = "chargingSchedule" if version is Version.V16 else "chargingSchedule[0]"
        scenario.expect_log(f"{place}.chargingSchedulePeriod is empty: send a period with startPeriod 0")
        scenario.expect_nothing()
        assert scenario.arbiter.absorbed.changed_profiles(0.0) is None


@pytest.mark.parametrize("version", V2)
def test_arbiter_profile_without_schedule_does_not_pass(version: Version) -> None:
    scenario = RelayHarness(version)
    scenario.csms.send(brings(version, "TxDefaultProfile", chargingSchedule=[]))
    scenario.csms.receive_error("b", OCCURRENCE[version])
    scenario.expect_log("chargingSchedule is empty: send a schedule")
    scenario.expect_nothing()


@pytest.mark.parametrize(
    ("starts", "word"),
    [
        ([60], "the first startPeriod is 60"),
        ([0, 60, 60], "startPeriod 60 comes after 60"),
        ([0, 60, 30], "startPeriod 30 comes after 60"),
        (list(range(1025)), "has 1025 periods: at most 1024"),
    ],
)
def test_arbiter_periods_in_wrong_order_are_named(starts: list[int], word: str) -> None:
    periods = [{"startPeriod": start, "limit": 10.0} for start in starts]
    text = brings(Version.V16, "ChargePointMaxProfile").replace(
        '[{"startPeriod": 0, "limit": 10.0}]', json.dumps(periods)
    )
    frame = parse(text)
    assert isinstance(frame, Call)
    arbiter = ProfileArbiter(Version.V16, LimitScope.STATION, make_absorbed_profiles(LimitScope.STATION))
    assert word in arbiter.decide(frame, 0.0).reason


@pytest.mark.parametrize("version", list(Version))
def test_arbiter_forwarded_profile_that_odd_one_replaces_is_forgotten(version: Version) -> None:
    scenario = RelayHarness(version)
    scenario.make_commandable()
    accepted = result("b", '{"status":"Accepted"}')
    for limit, odd in ((8.0, False), (8.0, True)):
        text = brings(version, "TxDefaultProfile", limit=limit)
        scenario.forward_down(text.replace('"startPeriod": 0', '"startPeriod": 60') if odd else text)
        scenario.station.send(accepted)
        scenario.csms.receive(accepted)
        stored = scenario.arbiter.absorbed.changed_profiles(scenario.now + STORE_FORWARDED_S)
        assert stored is not None
        assert [each.profile.id for each in stored] == ([] if odd else [7])


@pytest.mark.parametrize("version", list(Version))
def test_arbiter_profile_with_least_numbers_passes(version: Version) -> None:
    text = brings(version, "TxDefaultProfile", stackLevel=0, limit=0.0, evse=0)
    least = text.replace('"chargingRateUnit"', '"duration": 1, "chargingRateUnit"')
    RelayHarness(version).forward_down(least)


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
    scenario = RelayHarness(version)
    scenario.csms.send(odd)
    scenario.csms.receive_error("b", MALFORMED[version] if code == "F" else code)
    scenario.expect_nothing()


@pytest.mark.parametrize("version", list(Version))
@pytest.mark.parametrize("odd", ["7.0", '"7"', "7e0", "99999999999", "true"])
def test_arbiter_profile_with_odd_id_does_not_pass(version: Version, odd: str) -> None:
    name = "chargingProfileId" if version is Version.V16 else "id"
    text = brings(version, "TxDefaultProfile").replace(f'"{name}": 7', f'"{name}": {odd}')
    scenario = RelayHarness(version)
    scenario.csms.send(text)
    scenario.csms.receive_error("b", "TypeConstraintViolation")
    scenario.expect_nothing()


def test_arbiter_profile_under_misspelt_name_does_not_pass_with_start() -> None:
    text = brings(Version.V16, "TxProfile", action="RemoteStartTransaction")
    scenario = RelayHarness(Version.V16)
    scenario.csms.send(text.replace('"chargingProfile"', '"ChargingProfile"'))
    scenario.csms.receive_error("b", "FormationViolation")


@pytest.mark.parametrize("version", list(Version))
def test_arbiter_remote_start_profile_follows_same_rules(version: Version) -> None:
    text = brings(version, "TxProfile", action=REMOTE_START[version])
    beside = RelayHarness(version, LimitScope.STATION)
    beside.forward_down(text)
    above = RelayHarness(version, LimitScope.EVSE)
    above.csms.send(text)
    target = "connectorId" if version is Version.V16 else "evseId"
    above.station.receive(call("b", REMOTE_START[version], f'{{"{target}":1}}'))
    above.station.send(result("b", '{"status":"Accepted"}'))
    above.expect_commandable()
    above.csms.receive(result("b", '{"status":"Accepted"}'))
    above.expect_observation(BackendLimit(1, 10.0))
    without = RelayHarness(version, LimitScope.EVSE)
    without.forward_down(call("b", REMOTE_START[version], '{"idTag":"VID:1","connectorId":1}'))


@pytest.mark.parametrize("version", list(Version))
@pytest.mark.parametrize("kind", list(LimitKind))
def test_arbiter_profile_with_one_of_own_ids_is_rejected(version: Version, kind: LimitKind) -> None:
    scenario = RelayHarness(version)
    scenario.make_commandable()
    scenario.csms.send(brings(version, "TxDefaultProfile", profile_id(0, kind)))
    scenario.csms.receive_rejection("b")
    scenario.expect_nothing()
    scenario.expect_log("is reserved for the site's load management")
    scenario.forward_down(brings(version, "TxDefaultProfile", profile_id(0, LimitKind.FALLBACK) - 1))


@pytest.mark.parametrize(
    "payload",
    ["{}", "[]", "null", '{"csChargingProfiles":7,"chargingProfile":7}', '{"chargingProfile":null}', "1e999"],
)
@pytest.mark.parametrize("version", list(Version))
def test_arbiter_command_without_readable_profile_does_not_pass(version: Version, payload: str) -> None:
    scenario = RelayHarness(version, LimitScope.EVSE)
    scenario.csms.send(call("b", "SetChargingProfile", payload))
    kind, message_id, *_ = json.loads(scenario.csms.receive_text())
    assert (kind, message_id) == (4, "b")
    scenario.expect_nothing()


def test_arbiter_profile_for_odd_target_does_not_pass() -> None:
    scenario = RelayHarness()
    text = brings(Version.V16, "ChargePointMaxProfile")
    scenario.csms.send(text.replace('"connectorId": 0', '"connectorId": "0"'))
    scenario.csms.receive_error("b", "TypeConstraintViolation")


@pytest.mark.parametrize(
    "action", ["Reset", "GetCompositeSchedule", "ChangeAvailability", "UpdateFirmware", "NobodyKnowsThis"]
)
@pytest.mark.parametrize("scope", list(LimitScope))
def test_arbiter_other_commands_pass(action: str, scope: LimitScope) -> None:
    RelayHarness(scope=scope).forward_down(call("b", action))


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
    scenario = RelayHarness(Version.V21)
    scenario.csms.send(variables((component, name, value)))
    payload = json.loads(scenario.csms.receive_text())[2]
    check(Version.V21, "SetVariablesResponse", json.dumps(payload).encode())
    (result_,) = payload["setVariableResult"]
    assert (result_["attributeStatus"], result_["variable"]["name"]) == ("Rejected", name)
    scenario.expect_nothing()


def test_other_settings_of_command_pass_and_all_are_answered_in_order() -> None:
    scenario = RelayHarness(Version.V201)
    scenario.csms.send(
        variables(
            ("OCPPCommCtrlr", "HeartbeatInterval", "60"),
            ("SmartChargingCtrlr", "Enabled", "false"),
            ("SmartChargingCtrlr", "LimitChangeSignificance", "5"),
        )
    )
    sent = json.loads(scenario.station.receive_call("SetVariables").payload)["setVariableData"]
    assert [each["variable"]["name"] for each in sent] == ["HeartbeatInterval", "LimitChangeSignificance"]
    done = [{key: each[key] for key in ("component", "variable")} for each in sent]
    answer = {"setVariableResult": [{"attributeStatus": "Accepted", **each} for each in done]}
    scenario.station.send(result("b", json.dumps(answer)))
    scenario.expect_commandable()
    found = json.loads(scenario.csms.receive_text())[2]["setVariableResult"]
    assert [each["attributeStatus"] for each in found] == ["Accepted", "Rejected", "Accepted"]


def test_arbiter_setting_that_may_be_read_as_own_does_not_pass() -> None:
    text = variables(("SmartChargingCtrlr", "Enabled", "true"))
    scenario = RelayHarness(Version.V201)
    scenario.csms.send(
        text.replace('"attributeValue": "true"', '"attributeValue": "true", "attributeValue": "false"')
    )
    scenario.csms.receive_error("b", "FormatViolation")


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
    scenario = RelayHarness(Version.V16)
    scenario.csms.send(call("b", "ChangeConfiguration", payload))
    if passes:
        scenario.station.receive(call("b", "ChangeConfiguration", payload))
    else:
        assert json.loads(scenario.csms.receive_text())[0] in (3, 4)
    scenario.expect_nothing()


def test_arbiter_update_of_own_dynamic_profile_is_rejected() -> None:
    scenario = RelayHarness(Version.V21)
    update = '{"chargingProfileId":%d,"scheduleUpdate":{"limit":99}}'
    scenario.csms.send(call("b", "UpdateDynamicSchedule", update % profile_id(0, LimitKind.LEASE)))
    scenario.csms.receive_rejection("b")
    scenario.forward_down(call("b", "UpdateDynamicSchedule", update % 7))


# -- ClearChargingProfile without a purpose --------------------------------------------------------------


@pytest.mark.parametrize("version", list(Version))
def test_arbiter_clearing_without_purpose_is_sent_per_purpose(version: Version) -> None:
    scenario = RelayHarness(version)
    scenario.make_commandable()
    scenario.csms.send(call("b", "ClearChargingProfile"))
    purposes = ["TxDefaultProfile", "TxProfile"] + ["PriorityCharging"] * (version is Version.V21)
    for purpose in purposes:
        sent = scenario.station.receive_call("ClearChargingProfile")
        payload = json.loads(sent.payload)
        criteria = payload if version is Version.V16 else payload["chargingProfileCriteria"]
        assert criteria == {"chargingProfilePurpose": purpose}
        check(version, request(version, "ClearChargingProfile"), sent.payload)
        scenario.expect_nothing()
        status = "Accepted" if purpose == "TxDefaultProfile" else "Unknown"
        scenario.station.send(result(sent.id, f'{{"status":"{status}"}}'))
    scenario.csms.receive(result("b", '{"status":"Accepted"}'))
    scenario.expect_nothing()


@pytest.mark.parametrize("version", list(Version))
@pytest.mark.parametrize(
    ("scope", "evse", "purposes"),
    [
        (LimitScope.STATION, 1, ["TxDefaultProfile", "TxProfile"]),
        (LimitScope.STATION, 0, ["TxDefaultProfile"]),
        (LimitScope.EVSE, 0, ["ChargePointMaxProfile"]),
        (LimitScope.EVSE, None, ["ChargePointMaxProfile"]),
    ],
)
def test_arbiter_clearing_of_evse_names_purposes_that_are_not_own(
    version: Version, scope: LimitScope, evse: int | None, purposes: list[str]
) -> None:
    old = version is Version.V16
    named: dict[str, Any] = {} if evse is None else {"connectorId" if old else "evseId": evse}
    if not old:
        purposes = [each.replace("ChargePoint", "ChargingStation") for each in purposes]
    if version is Version.V21 and "TxProfile" in purposes:
        purposes = [*purposes, "PriorityCharging"]
    wanted = named | {"stackLevel": 3}
    scenario = RelayHarness(version, scope)
    scenario.make_commandable()
    payload = wanted if old else {"chargingProfileCriteria": wanted}
    scenario.csms.send(call("b", "ClearChargingProfile", json.dumps(payload)))
    for purpose in purposes:
        sent = scenario.station.receive_call("ClearChargingProfile")
        found = json.loads(sent.payload)
        assert (found if old else found["chargingProfileCriteria"]) == {
            **wanted,
            "chargingProfilePurpose": purpose,
        }
        check(version, request(version, "ClearChargingProfile"), sent.payload)
        scenario.station.send(result(sent.id, '{"status":"Unknown"}'))
    scenario.csms.receive(result("b", '{"status":"Unknown"}'))
    scenario.expect_nothing()


@pytest.mark.parametrize("version", list(Version))
def test_arbiter_clearing_of_evse_with_own_limit_stays_here(version: Version) -> None:
    named = '{"connectorId":1}' if version is Version.V16 else '{"chargingProfileCriteria":{"evseId":1}}'
    scenario = RelayHarness(version, LimitScope.EVSE)
    scenario.csms.send(call("b", "ClearChargingProfile", named))
    scenario.csms.receive(result("b", '{"status":"Unknown"}'))
    scenario.expect_nothing()


def test_arbiter_clearing_that_station_refuses_is_answered_with_error() -> None:
    scenario = RelayHarness()
    scenario.make_commandable()
    scenario.csms.send(call("b", "ClearChargingProfile"))
    for _ in range(2):
        sent = scenario.station.receive_call("ClearChargingProfile")
        scenario.station.send(f'[4,"{sent.id}","NotSupported","",{{}}]')
    scenario.csms.receive_error("b", "NotSupported")


def test_arbiter_clearing_without_answer_ends_with_error_under_own_id() -> None:
    scenario = RelayHarness()
    scenario.make_commandable()
    scenario.csms.send(call("b", "ClearChargingProfile"))
    sent = scenario.station.receive_call("ClearChargingProfile")
    scenario.station.send(result(sent.id, '{"status":"Unknown"}'))
    scenario.station.receive_call("ClearChargingProfile")
    scenario.wait(TIMEOUT_S)
    scenario.csms.receive_error("b", "GenericError", "no answer in time")
    scenario.expect_nothing()


def test_arbiter_clearing_by_id_goes_without_criteria_that_match_own() -> None:
    scenario = RelayHarness()
    payload = '{"id":12,"chargingProfilePurpose":"ChargePointMaxProfile"}'
    scenario.csms.send(call("b", "ClearChargingProfile", payload))
    scenario.station.receive(call("b", "ClearChargingProfile", '{"id":12}'))


def test_clearing_that_may_be_read_differently_does_not_pass() -> None:
    scenario = RelayHarness()
    payload = '{"chargingProfilePurpose":"TxProfile","chargingProfilePurpose":"ChargePointMaxProfile"}'
    scenario.csms.send(call("b", "ClearChargingProfile", payload))
    scenario.csms.receive_error("b", "FormationViolation")
