"""Which commands of a backend pass, which are refused and why, and which make us assert our limits again."""

from __future__ import annotations

import json

import pytest

from controller.ocpp.frames import Call, Version, parse
from controller.ocpp.observations import ProfilesTouched
from controller.ocpp.profiles import LimitKind, Scope, profile_id
from controller.relay.ownership import Effect, Ownership
from tests.controller.ocpp.schemas import check
from tests.controller.relay.playbook import TIMEOUT_S, Playbook, call, result

V2 = (Version.V201, Version.V21)
REMOTE_START = {
    Version.V16: "RemoteStartTransaction",
    Version.V201: "RequestStartTransaction",
    Version.V21: "RequestStartTransaction",
}


def brings(version: Version, named: str, number: int = 7, action: str = "SetChargingProfile") -> str:
    """A backend's CALL that brings a profile of this purpose."""
    if version is Version.V16:
        member = "csChargingProfiles" if action == "SetChargingProfile" else "chargingProfile"
        profile = {"chargingProfileId": number, "chargingProfilePurpose": named, "stackLevel": 3}
    else:
        member = "chargingProfile"
        profile = {"id": number, "chargingProfilePurpose": named, "stackLevel": 3}
    return call("b", action, json.dumps({"connectorId": 1, "evseId": 1, member: profile}))


PASS, REFUSE = True, False
PURPOSES = [
    (Version.V16, Scope.STATION, {
        "ChargePointMaxProfile": REFUSE, "TxDefaultProfile": PASS, "TxProfile": PASS}),
    (Version.V16, Scope.EVSE, {
        "ChargePointMaxProfile": PASS, "TxDefaultProfile": REFUSE, "TxProfile": REFUSE}),
    *((version, Scope.STATION, {
        "ChargingStationMaxProfile": REFUSE, "TxDefaultProfile": PASS, "TxProfile": PASS,
        "ChargingStationExternalConstraints": PASS}) for version in V2),
    *((version, Scope.EVSE, {
        "ChargingStationMaxProfile": PASS, "TxDefaultProfile": REFUSE, "TxProfile": REFUSE,
        "ChargingStationExternalConstraints": PASS}) for version in V2),
    (Version.V21, Scope.STATION, {"PriorityCharging": PASS, "LocalGeneration": REFUSE}),
    (Version.V21, Scope.EVSE, {"PriorityCharging": REFUSE, "LocalGeneration": REFUSE}),
]  # fmt: skip
RULES = [
    (version, scope, named, passes) for version, scope, rules in PURPOSES for named, passes in rules.items()
]


@pytest.mark.parametrize(("version", "scope", "named", "passes"), RULES)
def test_purposes(version: Version, scope: Scope, named: str, passes: bool) -> None:
    talk = Playbook(version, scope)
    talk.commandable()
    text = brings(version, named)
    if passes:
        talk.passes_down(text)
        return
    talk.backend(text)
    talk.backend_hears_rejected("b")
    talk.done()
    talk.noted(f"SetChargingProfile to CS01 refused, the site's load management owns {named}")


@pytest.mark.parametrize("version", list(Version))
def test_a_remote_start_brings_no_profile_past_the_rules(version: Version) -> None:
    text = brings(version, "TxProfile", action=REMOTE_START[version])
    beside = Playbook(version, Scope.STATION)
    beside.passes_down(text)
    above = Playbook(version, Scope.EVSE)
    above.backend(text)
    above.backend_hears_rejected("b")
    above.done()
    without = Playbook(version, Scope.EVSE)
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
    talk.passes_down(brings(version, "TxDefaultProfile", profile_id(0, LimitKind.FLOOR) - 1))


@pytest.mark.parametrize("version", list(Version))
@pytest.mark.parametrize("action", ["SetChargingProfile", "remote start"])
def test_refusals_fit_the_official_schema(version: Version, action: str) -> None:
    if action == "remote start":
        action = REMOTE_START[version]
    frame = parse(brings(version, "TxProfile", action=action))
    assert isinstance(frame, Call)
    ruling = Ownership(version, Scope.EVSE).judge(frame)
    assert ruling.effect is Effect.LOOSENS
    check(version, f"{action}Response", json.dumps(json.loads(ruling.answer)[2]).encode())


@pytest.mark.parametrize(
    "payload",
    ["{}", "[]", "null", '{"csChargingProfiles":7,"chargingProfile":7}', '{"chargingProfile":null}', "1e999"],
)
@pytest.mark.parametrize("version", list(Version))
def test_what_no_station_can_take_passes(version: Version, payload: str) -> None:
    Playbook(version, Scope.EVSE).passes_down(call("b", "SetChargingProfile", payload))


def test_an_odd_target_does_not_hide_a_profile() -> None:
    talk = Playbook()
    talk.backend(
        brings(Version.V16, "ChargePointMaxProfile").replace('"connectorId": 1', '"connectorId": "0"')
    )
    talk.backend_hears_rejected("b")


@pytest.mark.parametrize(
    "action", ["Reset", "GetCompositeSchedule", "ChangeAvailability", "UpdateFirmware", "NobodyKnowsThis"]
)
@pytest.mark.parametrize("scope", list(Scope))
def test_other_commands_pass(action: str, scope: Scope) -> None:
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
