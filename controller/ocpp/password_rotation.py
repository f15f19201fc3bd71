"""Commands by which a CSMS sets the station's password for Basic authentication (security profiles 1, 2).

Sources: OCPP 1.6 security whitepaper, A00 (AuthorizationKey in ChangeConfiguration; hexadecimal in OCPP-J
1.6, section 6.2, plain text later); OCPP 2.x Part 2, A01 (SecurityCtrlr.BasicAuthPassword in SetVariables);
OCPP 2.1 (basicAuthPassword in SetNetworkProfile).
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from controller.ocpp.payloads import read_payload

_ACCEPTED = ("Accepted", "RebootRequired")
_Password = Annotated[str, Meta(min_length=1, max_length=256)]


class _Status(msgspec.Struct):
    status: str


class _ChangeConfiguration(msgspec.Struct):
    key: str
    value: _Password


class _Named(msgspec.Struct):
    name: str


class _Variable(msgspec.Struct, rename="camel"):
    component: _Named
    variable: _Named
    attribute_value: str


class _SetVariables(msgspec.Struct, rename="camel"):
    set_variable_data: list[_Variable]


class _VariableResult(msgspec.Struct, rename="camel"):
    component: _Named
    variable: _Named
    attribute_status: str


class _SetVariablesResult(msgspec.Struct, rename="camel"):
    set_variable_result: list[_VariableResult]


class _ConnectionData(msgspec.Struct, rename="camel"):
    basic_auth_password: _Password | None = None


class _SetNetworkProfile(msgspec.Struct, rename="camel"):
    connection_data: _ConnectionData


def read_rotated_passwords(action: str, payload: bytes, result: bytes) -> tuple[bytes, ...]:
    """Return the passwords that a station may show after it has accepted a command; empty if none.

    A value of hexadecimal digits stands for itself and for the bytes that it encodes: stations differ.
    """
    if action == "ChangeConfiguration":
        value = _changed_key(payload, result)
    elif action == "SetVariables":
        value = _changed_variable(payload, result)
    elif action == "SetNetworkProfile":
        value = _changed_profile(payload, result)
    else:
        value = None
    if value is None:
        return ()
    passwords = [value.encode()]
    try:
        passwords.append(bytes.fromhex(value))
    except ValueError:
        return (passwords[0],)
    return tuple(passwords)


def _changed_key(payload: bytes, result: bytes) -> str | None:
    command = read_payload(_ChangeConfiguration, payload)
    if command is None or command.key != "AuthorizationKey":
        return None
    return command.value if _is_done(result) else None


def _changed_profile(payload: bytes, result: bytes) -> str | None:
    command = read_payload(_SetNetworkProfile, payload)
    if command is None or not _is_done(result):
        return None
    return command.connection_data.basic_auth_password


def _changed_variable(payload: bytes, result: bytes) -> str | None:
    command = read_payload(_SetVariables, payload)
    answer = read_payload(_SetVariablesResult, result)
    if command is None or answer is None:
        return None
    password_variable = ("SecurityCtrlr", "BasicAuthPassword")
    is_done = any(
        (each.component.name, each.variable.name) == password_variable and each.attribute_status in _ACCEPTED
        for each in answer.set_variable_result
    )
    values = [
        each.attribute_value
        for each in command.set_variable_data
        if (each.component.name, each.variable.name) == password_variable and each.attribute_value
    ]
    return values[-1] if is_done and values else None


def _is_done(result: bytes) -> bool:
    answer = read_payload(_Status, result)
    return answer is not None and answer.status in _ACCEPTED
