"""Which commands of a backend pass, which are refused and why, and which make us assert our limits again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controller.chargers.quirks import LimitScope, limit_purpose
from controller.model.observations import BackendLimit, ProfilesTouched
from controller.ocpp.frames import Call, Version, parse
from controller.profiles.arbiter import ProfileArbiter
from controller.profiles.limit_profiles import LimitKind, profile_id
from tests.controller.ocpp.schemas import check
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
def test_purposes(version: Version, scope: LimitScope, named: str, fate: str) -> None:
    talk = Playbook(version, scope)
    talk.commandable()
    text = brings(version, named)
    if fate == PASS:
        talk.passes_down(text)
        return
    talk.backend(text)
    if fate == REFUSE:
        talk.backend_hears_rejected("b")
        talk.noted(f"SetChargingProfile to CS01 refused, {named} would rise above")
    else:
        talk.backend_hears(result("b", '{"status":"Accepted"}'))
        talk.site_learns(BackendLimit(1, 10.0))
    talk.done()


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"chargingSchedule": []}, "Expected"),
    ({"chargingProfileKind": "Dynamic"}, "chargingProfileKind Dynamic"),
    ({"chargingProfileKind": "Recurring"}, "needs a recurrencyKind"),
    ({"stackLevel": -1}, "stackLevel -1"),
    ({"evse": 1}, "not for EVSE 1"),
    ({"limit": -1.0}, "below 0"),
    ({"validTo": "soon"}, "soon is no time"),
]


@pytest.mark.parametrize("version", list(Version))
@pytest.mark.parametrize(("wrong", "word"), WRONG)
def test_a_profile_that_no_station_takes_is_refused_with_the_reason(
    version: Version, wrong: dict[str, Any], word: str
) -> None:
    if version is not Version.V16 and word == "Expected":
        word = "it has no schedule"
    named = limit_purpose(version, LimitScope.STATION)
    frame = parse(brings(version, named, **wrong))
    assert isinstance(frame, Call)
    ruling = ProfileArbiter(version, LimitScope.STATION, a_station(LimitScope.STATION)).judge(frame, 0.0)
    assert ruling.call is None
    assert word in ruling.reason
    check(version, "SetChargingProfileResponse", json.dumps(json.loads(ruling.answer)[2]).encode())


@pytest.mark.parametrize("version", list(Version))
def test_a_remote_start_brings_no_profile_past_the_rules(version: Version) -> None:
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
def test_our_profile_ids_are_ours(version: Version, kind: LimitKind) -> None:
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
def test_what_no_station_can_take_passes(version: Version, payload: str) -> None:
    Playbook(version, LimitScope.EVSE).passes_down(call("b", "SetChargingProfile", payload))


def test_an_odd_target_does_not_hide_a_profile() -> None:
    talk = Playbook()
    talk.backend(
        brings(Version.V16, "ChargePointMaxProfile").replace('"connectorId": 0', '"connectorId": "0"')
    )
    talk.backend_hears_rejected("b")


@pytest.mark.parametrize(
    "action", ["Reset", "GetCompositeSchedule", "ChangeAvailability", "UpdateFirmware", "NobodyKnowsThis"]
)
@pytest.mark.parametrize("scope", list(LimitScope))
def test_other_commands_pass(action: str, scope: LimitScope) -> None:
    Playbook(scope=scope).passes_down(call("b", action))


# -- what may wipe ours ---------------------------------------------------------------------------------

CLEAR = call("b", "ClearChargingProfile")
TOUCHED = ProfilesTouched("ClearChargingProfile")


@pytest.mark.parametrize("version", list(Version))
def test_after_its_answer_the_site_learns_that_its_limits_may_be_gone(version: Version) -> None:
    talk = Playbook(version)
    talk.commandable()
    talk.passes_down(CLEAR)
    talk.station(result("b", '{"status":"Accepted"}'))
    talk.backend_hears(result("b", '{"status":"Accepted"}'))
    talk.site_learns(TOUCHED)
    talk.station_hears(talk.own())


def test_a_station_that_does_not_understand_it_wipes_nothing() -> None:
    talk = Playbook()
    talk.commandable()
    talk.passes_down(CLEAR)
    talk.passes_up('[4,"b","NotSupported","",{}]')


def test_a_station_that_does_not_answer_may_have_done_it_all_the_same() -> None:
    talk = Playbook()
    talk.commandable()
    talk.passes_down(CLEAR)
    talk.wait(TIMEOUT_S)
    talk.backend_hears_error("b", "GenericError", "no answer in time")
    talk.site_learns(TOUCHED)
    talk.done()
