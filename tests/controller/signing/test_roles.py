"""Roles x actions x values: who may ask for what, and how many must."""

from __future__ import annotations

import pytest

from controller.signing.access_requests import AccessRequest
from controller.signing.policy_schema import Permission, SignerRole
from controller.signing.roles import RoleTable

TABLE = RoleTable(
    [
        SignerRole(id="operator", holders=("olga",), may=(Permission(actions=("*",)),)),
        SignerRole(
            id="technician",
            holders=("tom", "tina"),
            may=(
                Permission(actions=("SetChargingProfile",), max_a=16),
                Permission(
                    actions=("SetVariables", "ChangeConfiguration"),
                    variables=("Ctrlr.Current*", "MaxCurrent"),
                    at_least=0,
                    at_most=16,
                ),
                Permission(actions=("Reset",), evses=("CS01", "CS01/*")),
            ),
        ),
        SignerRole(
            id="grid",
            holders=("dso-a", "dso-b", "dso-c"),
            approvals=2,
            may=(Permission(actions=("profiles",), max_w=4200),),
        ),
        SignerRole(id="guest", holders=("gus",)),
    ]
)

PROFILE_16 = AccessRequest(action="SetChargingProfile", target="CS01/1", amps=16)
PROFILE_32 = AccessRequest(action="SetChargingProfile", target="CS01/1", amps=32)
PROFILE_W = AccessRequest(action="SetChargingProfile", target="CS01/1", watts=4200)
PROFILE_BOTH = AccessRequest(action="SetChargingProfile", target="CS01/1", amps=16, watts=4200)
CLEAR = AccessRequest(action="ClearChargingProfile", target="CS01")
CURRENT_16 = AccessRequest(action="SetVariables", target="CS01", variable="Ctrlr.CurrentLimit", value="16")
CURRENT_17 = AccessRequest(action="SetVariables", target="CS01", variable="Ctrlr.CurrentLimit", value="16.1")
CURRENT_ODD = AccessRequest(action="SetVariables", target="CS01", variable="Ctrlr.CurrentLimit", value="1e1")
CURRENT_NAN = AccessRequest(action="SetVariables", target="CS01", variable="Ctrlr.CurrentLimit", value="nan")
CURRENT_TEN = AccessRequest(
    action="SetVariables", target="CS01", variable="Ctrlr.CurrentLimit", value="\u0661\u0660"
)
CURRENT_LOW = AccessRequest(action="SetVariables", target="CS01", variable="Ctrlr.CurrentLimit", value="-1")
MAX_SET = AccessRequest(action="SetVariables", target="CS01", variable="Other.CurrentLimit", value="16")
KEY_16 = AccessRequest(action="ChangeConfiguration", target="CS01", variable="MaxCurrent", value="16")
RESET_1 = AccessRequest(action="Reset", target="CS01")
RESET_EVSE = AccessRequest(action="Reset", target="CS01/2")
RESET_2 = AccessRequest(action="Reset", target="CS02")
FIRMWARE = AccessRequest(action="UpdateFirmware", target="CS01")

EVERYTHING = (
    PROFILE_16,
    PROFILE_32,
    PROFILE_W,
    PROFILE_BOTH,
    CLEAR,
    CURRENT_16,
    CURRENT_17,
    CURRENT_ODD,
    CURRENT_NAN,
    CURRENT_TEN,
    CURRENT_LOW,
    MAX_SET,
    KEY_16,
    RESET_1,
    RESET_EVSE,
    RESET_2,
    FIRMWARE,
)
MATRIX: dict[frozenset[str], set[AccessRequest]] = {
    frozenset({"olga"}): set(EVERYTHING),
    frozenset({"tom"}): {PROFILE_16, CURRENT_16, KEY_16, RESET_1, RESET_EVSE},
    frozenset({"tom", "tina"}): {PROFILE_16, CURRENT_16, KEY_16, RESET_1, RESET_EVSE},
    frozenset({"dso-a"}): set(),
    frozenset({"dso-a", "dso-c"}): {PROFILE_W},
    frozenset({"dso-a", "dso-c", "tom"}): {
        PROFILE_W,
        PROFILE_16,
        CURRENT_16,
        KEY_16,
        RESET_1,
        RESET_EVSE,
    },
    frozenset({"dso-a", "foreign"}): set(),
    frozenset({"gus"}): set(),
    frozenset({"gus", "olga"}): set(EVERYTHING),
    frozenset({"foreign"}): set(),
}


@pytest.mark.parametrize("ask", EVERYTHING, ids=str)
@pytest.mark.parametrize("holders", MATRIX, ids=lambda holders: "+".join(sorted(holders)))
def test_roles_permit_as_in_matrix(holders: frozenset[str], ask: AccessRequest) -> None:
    assert (TABLE.find_objection(holders, [ask], None) is None) == (ask in MATRIX[holders])


def test_roles_must_cover_every_request_of_message() -> None:
    tom = frozenset({"tom"})
    assert TABLE.find_objection(tom, [CURRENT_16, KEY_16], None) is None
    assert "16.1" in str(TABLE.find_objection(tom, [CURRENT_16, CURRENT_17], None))


def test_only_roles_of_rule_count() -> None:
    both = frozenset({"olga", "tom"})
    assert TABLE.find_objection(both, [PROFILE_32], frozenset({"operator"})) is None
    assert TABLE.find_objection(both, [PROFILE_32], frozenset({"technician"})) == (
        "olga, tom (technician) has no permission for SetChargingProfile 32 A at CS01/1"
    )
    assert (
        TABLE.find_objection(both, [PROFILE_16], frozenset({"grid"}))
        == "olga, tom has no role that counts here"
    )


def test_missing_approval_is_named() -> None:
    assert TABLE.find_objection(frozenset({"dso-a"}), [PROFILE_W], None) == (
        "SetChargingProfile 4200 W at CS01/1 needs 2 signatures of role grid, it has 1"
    )


@pytest.mark.parametrize(
    ("action", "granted"),
    [
        ("SetChargingProfile", True),
        ("UpdateFirmware", True),
        ("AnythingElse", True),
    ],
)
def test_roles_role_table_finds_permission(action: str, granted: bool) -> None:
    assert TABLE.permits_action(action) is granted


def test_role_table_finds_no_permission() -> None:
    table = RoleTable([SignerRole(id="a", holders=("x",), may=(Permission(actions=("Reset", "Get*")),))])
    assert [table.permits_action(action) for action in ("Reset", "GetLog", "SetGetLog", "Resett")] == [
        True,
        True,
        False,
        False,
    ]
