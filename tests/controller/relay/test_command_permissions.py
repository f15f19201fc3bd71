"""Commands against backends: who may send what."""

from __future__ import annotations

import pytest

from controller.ocpp.actions import COMMANDS, SHARED, commands
from controller.relay.secondary_backend import CommandPermissions

EVERYTHING = CommandPermissions("cpo", None)
NOTHING = CommandPermissions("fleet", frozenset())
READS = CommandPermissions("fleet", commands(["reads"]))
STARTS = CommandPermissions("cars", commands(["transactions", "Reset"]))


@pytest.mark.parametrize(
    ("backend", "action", "may"),
    [
        (EVERYTHING, "Reset", True),
        (EVERYTHING, "AnActionOfOcpp3", True),
        (NOTHING, "Reset", False),
        (NOTHING, "TriggerMessage", False),
        (READS, "TriggerMessage", True),
        (READS, "GetVariables-Signed", True),
        (READS, "Reset", False),
        (READS, "Reset-Signed", False),
        (READS, "AnActionOfOcpp3", False),
        (STARTS, "RemoteStartTransaction", True),
        (STARTS, "RequestStopTransaction", True),
        (STARTS, "Reset", True),
        (STARTS, "SetChargingProfile", False),
        (STARTS, "TriggerMessage", False),
    ],
)
def test_command_permissions_by_backend_and_action(
    backend: CommandPermissions, action: str, may: bool
) -> None:
    assert (backend.find_refusal("CS01", action) is None) == may


def test_command_permissions_refusal_names_who_what_where_and_rule() -> None:
    assert (
        NOTHING.find_refusal("CS01", "Reset")
        == 'fleet may not Reset CS01: see commands in [[backend]] "fleet"'
    )


@pytest.mark.parametrize("name", [*COMMANDS, *SHARED])
def test_command_permissions_class_allows_actions_and_no_others(name: str) -> None:
    backend = CommandPermissions("b", commands([name]))
    table = {**COMMANDS, **SHARED}
    allowed = {
        action
        for actions in table.values()
        for action in actions
        if backend.find_refusal("CS01", action) is None
    }
    assert allowed == table[name]
