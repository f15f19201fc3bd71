"""Settings of a station that govern charging profiles: what a backend may not change of them.

A station whose smart charging is switched off, or whose profiles do not survive a restart, has no limit of
ours. 1.6: ChangeConfiguration (ed. 2, 9.4, and the keys of well-known stacks). 2.x: SetVariables of the
component SmartChargingCtrlr (Part 2, 2.13); names are compared without regard to case.
"""

from __future__ import annotations

import json

import msgspec

from controller.ocpp.frames import Version
from controller.profiles.profile_messages import UnreadableCommandError, read_command

_COMPONENT = "smartchargingctrlr"
_FREE_VARIABLES = {"limitchangesignificance", "notifycharginglimitwithschedules"}
"""Variables of the component that do not govern whether or how a profile is obeyed."""
_SWITCHES = {"available", "enabled", "chargingprofilepersistence"}
"""Variables that may be set to true."""

_KEY_PARTS = (
    "chargeprofile",
    "chargingprofile",
    "chargingschedule",
    "compositeschedule",
    "ignoredprofilepurposes",
    "smartcharging",
    "switch3to1phase",
    "supportedfeatureprofiles",
)
"""Parts of 1.6 keys that govern profiles, standard and of vendors."""


class _ChangeConfiguration(msgspec.Struct, frozen=True):
    key: str
    value: str


class _Named(msgspec.Struct, frozen=True):
    name: str


class _SetVariable(msgspec.Struct, frozen=True, rename="camel"):
    component: _Named
    variable: _Named
    attribute_value: str = ""


class _SetVariables(msgspec.Struct, frozen=True, rename="camel"):
    set_variable_data: tuple[_SetVariable, ...]


class _RawVariables(msgspec.Struct, frozen=True, rename="camel"):
    set_variable_data: tuple[msgspec.Raw, ...]


class _RawResult(msgspec.Struct, frozen=True, rename="camel"):
    set_variable_result: tuple[msgspec.Raw, ...]


class _Target(msgspec.Struct, frozen=True):
    component: msgspec.Raw
    variable: msgspec.Raw


class RefusedSettings(msgspec.Struct, frozen=True):
    """Settings that a backend may not change: their places in the command, and the answer to each.

    `rest`: the payload with the other settings; None where there are none.
    """

    names: tuple[str, ...]
    results: tuple[tuple[int, msgspec.Raw], ...]
    rest: bytes | None

    def merge(self, result: bytes | None) -> bytes | None:
        """Merge our answers into the station's to the rest; None where that cannot be read."""
        merged: list[msgspec.Raw] = []
        if result is not None:
            try:
                merged += msgspec.json.decode(result, type=_RawResult).set_variable_result
            except (msgspec.DecodeError, RecursionError, UnicodeError):
                return None
        for place, answer in self.results:
            merged.insert(place, answer)
        return msgspec.json.encode({"setVariableResult": merged})


def check_settings(version: Version, action: str, payload: bytes) -> RefusedSettings | None:
    """Return the settings of a ChangeConfiguration or SetVariables that are refused; None: it may pass.

    Raises UnreadableCommandError for one that can be read in several ways and names such a setting.
    """
    try:
        return _check(version, action, payload)
    except UnreadableCommandError:
        if _names_setting(json.loads(payload, object_pairs_hook=list)):
            raise
        return None


def _names_setting(value: object) -> bool:
    """Return True if a text anywhere in a payload names such a setting; objects are lists of pairs."""
    if isinstance(value, str):
        return any(part in value.lower() for part in (_COMPONENT, *_KEY_PARTS))
    return isinstance(value, list | tuple) and any(map(_names_setting, value))


def _check(version: Version, action: str, payload: bytes) -> RefusedSettings | None:
    if version is Version.V16:
        if action != "ChangeConfiguration":
            return None
        change = read_command(version, _ChangeConfiguration, payload)
        governs = any(part in change.key.lower() for part in _KEY_PARTS)
        return RefusedSettings((change.key,), (), None) if governs else None
    if action != "SetVariables":
        return None
    settings = read_command(version, _SetVariables, payload).set_variable_data
    refused = [place for place, each in enumerate(settings) if _governs(each)]
    if not refused:
        return None
    raw = msgspec.json.decode(payload, type=_RawVariables).set_variable_data
    rest = [each for place, each in enumerate(raw) if place not in refused]
    return RefusedSettings(
        tuple(f"{settings[place].component.name}.{settings[place].variable.name}" for place in refused),
        tuple((place, _rejected(raw[place])) for place in refused),
        msgspec.json.encode({"setVariableData": rest}) if rest else None,
    )


def _governs(each: _SetVariable) -> bool:
    name = each.variable.name.lower()
    if each.component.name.lower() != _COMPONENT or name in _FREE_VARIABLES:
        return False
    return name not in _SWITCHES or each.attribute_value.lower() != "true"


def _rejected(raw: msgspec.Raw) -> msgspec.Raw:
    target = msgspec.json.decode(raw, type=_Target)
    answer = {
        "attributeStatus": "Rejected",
        "component": target.component,
        "variable": target.variable,
        "attributeStatusInfo": {"reasonCode": "ReadOnly", "additionalInfo": "set by load management"},
    }
    return msgspec.Raw(msgspec.json.encode(answer))
