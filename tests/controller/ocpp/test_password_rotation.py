"""Commands that set a station's password."""

import json
from typing import Any

import pytest

from controller.ocpp.password_rotation import read_rotated_passwords

ACCEPTED = {"status": "Accepted"}


def variable(
    component: str = "SecurityCtrlr", name: str = "BasicAuthPassword", **more: Any
) -> dict[str, Any]:
    return {"component": {"name": component}, "variable": {"name": name}, **more}


def set_variables(*data: dict[str, Any]) -> dict[str, Any]:
    return {"setVariableData": list(data)}


def results(*data: dict[str, Any]) -> dict[str, Any]:
    return {"setVariableResult": list(data)}


@pytest.mark.parametrize(
    ("action", "payload", "result", "passwords"),
    [
        (
            "ChangeConfiguration",
            {"key": "AuthorizationKey", "value": "plain"},
            ACCEPTED,
            (b"plain",),
        ),
        (
            "ChangeConfiguration",
            {"key": "AuthorizationKey", "value": "0aFF"},
            ACCEPTED,
            (b"0aFF", b"\x0a\xff"),
        ),
        (
            "ChangeConfiguration",
            {"key": "AuthorizationKey", "value": "x"},
            {"status": "RebootRequired"},
            (b"x",),
        ),
        ("ChangeConfiguration", {"key": "AuthorizationKey", "value": "x"}, {"status": "Rejected"}, ()),
        ("ChangeConfiguration", {"key": "HeartbeatInterval", "value": "60"}, ACCEPTED, ()),
        ("ChangeConfiguration", {"key": "AuthorizationKey", "value": ""}, ACCEPTED, ()),
        ("ChangeConfiguration", {"key": "AuthorizationKey", "value": "x" * 300}, ACCEPTED, ()),
        ("ChangeConfiguration", {"key": "AuthorizationKey", "value": 7}, ACCEPTED, ()),
        (
            "SetVariables",
            set_variables(variable("A", "B", attributeValue="1"), variable(attributeValue="secret!")),
            results(variable(attributeStatus="Accepted"), variable("A", "B", attributeStatus="Rejected")),
            (b"secret!",),
        ),
        (
            "SetVariables",
            set_variables(variable(attributeValue="secret!")),
            results(variable(attributeStatus="Rejected")),
            (),
        ),
        ("SetVariables", set_variables(variable(attributeValue="secret!")), {}, ()),
        (
            "SetNetworkProfile",
            {"configurationSlot": 1, "connectionData": {"basicAuthPassword": "secret!"}},
            ACCEPTED,
            (b"secret!",),
        ),
        ("SetNetworkProfile", {"configurationSlot": 1, "connectionData": {}}, ACCEPTED, ()),
        ("Reset", {}, ACCEPTED, ()),
    ],
)
def test_rotated_passwords_of_command_and_result(
    action: str, payload: dict[str, Any], result: dict[str, Any], passwords: tuple[bytes, ...]
) -> None:
    found = read_rotated_passwords(action, json.dumps(payload).encode(), json.dumps(result).encode())
    assert found == passwords
