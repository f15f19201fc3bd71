"""Roles x actions x values: who may ask for what, and how many must."""

from __future__ import annotations

import pytest

from controller.signing.asks import Ask
from controller.signing.roles import RoleTable
from controller.signing.tables import Grant, Role

TABLE = RoleTable([
    Role(id="operator", holders=("olga",), may=(Grant(actions=("*",)),)),
    Role(id="technician", holders=("tom", "tina"), may=(
        Grant(actions=("SetChargingProfile",), max_a=16),
        Grant(
            actions=("SetVariables", "ChangeConfiguration"),
            variables=("Ctrlr.Current*", "MaxCurrent"), at_least=0, at_most=16,
        ),
        Grant(actions=("Reset",), evses=("CS01", "CS01/*")),
    )),
    Role(id="grid", holders=("dso-a", "dso-b", "dso-c"), approvals=2, may=(
        Grant(actions=("profiles",), max_w=4200),
    )),
    Role(id="guest", holders=("gus",)),
])  # fmt: skip

PROFILE_16 = Ask(action="SetChargingProfile", where="CS01/1", amps=16)
PROFILE_32 = Ask(action="SetChargingProfile", where="CS01/1", amps=32)
PROFILE_W = Ask(action="SetChargingProfile", where="CS01/1", watts=4200)
PROFILE_BOTH = Ask(action="SetChargingProfile", where="CS01/1", amps=16, watts=4200)
CLEAR = Ask(action="ClearChargingProfile", where="CS01")
CURRENT_16 = Ask(action="SetVariables", where="CS01", variable="Ctrlr.CurrentLimit", value="16")
CURRENT_17 = Ask(action="SetVariables", where="CS01", variable="Ctrlr.CurrentLimit", value="16.1")
CURRENT_ODD = Ask(action="SetVariables", where="CS01", variable="Ctrlr.CurrentLimit", value="1e1")
CURRENT_NAN = Ask(action="SetVariables", where="CS01", variable="Ctrlr.CurrentLimit", value="nan")
CURRENT_TEN = Ask(action="SetVariables", where="CS01", variable="Ctrlr.CurrentLimit", value="\u0661\u0660")
CURRENT_LOW = Ask(action="SetVariables", where="CS01", variable="Ctrlr.CurrentLimit", value="-1")
MAX_SET = Ask(action="SetVariables", where="CS01", variable="Other.CurrentLimit", value="16")
KEY_16 = Ask(action="ChangeConfiguration", where="CS01", variable="MaxCurrent", value="16")
RESET_1 = Ask(action="Reset", where="CS01")
RESET_EVSE = Ask(action="Reset", where="CS01/2")
RESET_2 = Ask(action="Reset", where="CS02")
FIRMWARE = Ask(action="UpdateFirmware", where="CS01")

EVERYTHING = (
    PROFILE_16, PROFILE_32, PROFILE_W, PROFILE_BOTH, CLEAR, CURRENT_16, CURRENT_17, CURRENT_ODD, CURRENT_NAN,
    CURRENT_TEN, CURRENT_LOW, MAX_SET, KEY_16, RESET_1, RESET_EVSE, RESET_2, FIRMWARE,
)  # fmt: skip
MATRIX: dict[frozenset[str], set[Ask]] = {
    frozenset({"olga"}): set(EVERYTHING),
    frozenset({"tom"}): {PROFILE_16, CURRENT_16, KEY_16, RESET_1, RESET_EVSE},
    frozenset({"tom", "tina"}): {PROFILE_16, CURRENT_16, KEY_16, RESET_1, RESET_EVSE},
    frozenset({"dso-a"}): set(),
    frozenset({"dso-a", "dso-c"}): {PROFILE_W},
    frozenset({"dso-a", "dso-c", "tom"}): {
        PROFILE_W, PROFILE_16, CURRENT_16, KEY_16, RESET_1, RESET_EVSE,
    },
    frozenset({"dso-a", "stranger"}): set(),
    frozenset({"gus"}): set(),
    frozenset({"gus", "olga"}): set(EVERYTHING),
    frozenset({"stranger"}): set(),
}  # fmt: skip


@pytest.mark.parametrize("ask", EVERYTHING, ids=str)
@pytest.mark.parametrize("holders", MATRIX, ids=lambda holders: "+".join(sorted(holders)))
def test_the_matrix(holders: frozenset[str], ask: Ask) -> None:
    assert (TABLE.objection(holders, [ask], None) is None) == (ask in MATRIX[holders])


def test_all_that_a_message_asks_for_must_be_granted() -> None:
    tom = frozenset({"tom"})
    assert TABLE.objection(tom, [CURRENT_16, KEY_16], None) is None
    assert "16.1" in str(TABLE.objection(tom, [CURRENT_16, CURRENT_17], None))


def test_only_the_roles_that_a_rule_names_count() -> None:
    both = frozenset({"olga", "tom"})
    assert TABLE.objection(both, [PROFILE_32], frozenset({"operator"})) is None
    assert TABLE.objection(both, [PROFILE_32], frozenset({"technician"})) == (
        "olga, tom (technician) may not ask for SetChargingProfile 32 A at CS01/1"
    )
    assert (
        TABLE.objection(both, [PROFILE_16], frozenset({"grid"})) == "olga, tom bears no role that counts here"
    )


def test_who_lacks_a_second_signature_is_told_so() -> None:
    assert TABLE.objection(frozenset({"dso-a"}), [PROFILE_W], None) == (
        "SetChargingProfile 4200 W at CS01/1 needs 2 of role grid to sign, and 1 did"
    )


@pytest.mark.parametrize(("action", "granted"), [
    ("SetChargingProfile", True), ("UpdateFirmware", True), ("AnythingElse", True),
])  # fmt: skip
def test_some_role_may(action: str, granted: bool) -> None:
    assert TABLE.grant_any(action) is granted


def test_no_role_may() -> None:
    table = RoleTable([Role(id="a", holders=("x",), may=(Grant(actions=("Reset", "Get*")),))])
    assert [table.grant_any(action) for action in ("Reset", "GetLog", "SetGetLog", "Resett")] == [
        True, True, False, False,
    ]  # fmt: skip
