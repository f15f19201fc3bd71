"""Configuration keys and variables of the site's own identity: the bounds of its profiles.

1.6: GetConfiguration (ed. 2, 5.8 and 9). 2.x: GetVariables (Part 2, 2.13, component SmartChargingCtrlr).
"""

from __future__ import annotations

import msgspec

from controller.ocpp.frames import Version
from controller.ocpp.payloads import read_payload
from controller.profiles.profile_messages import MOST_PERIODS
from controller.site_identity.group_profiles import HIGHEST_STACK_LEVEL, MOST_GROUP_PROFILES

_COMPONENT = "SmartChargingCtrlr"

_KEYS_16 = {
    "ChargeProfileMaxStackLevel": str(HIGHEST_STACK_LEVEL),
    "ChargingScheduleAllowedChargingRateUnit": "Current,Power",
    "ChargingScheduleMaxPeriods": str(MOST_PERIODS),
    "MaxChargingProfilesInstalled": str(MOST_GROUP_PROFILES),
    "NumberOfConnectors": "0",
    "SupportedFeatureProfiles": "Core,SmartCharging",
}
_VARIABLES_2 = {
    ("Available", None): "true",
    ("Enabled", None): "true",
    ("Entries", "ChargingProfiles"): str(MOST_GROUP_PROFILES),
    ("PeriodsPerSchedule", None): str(MOST_PERIODS),
    ("ProfileStackLevel", None): str(HIGHEST_STACK_LEVEL),
    ("RateUnit", None): "A,W",
}


class _Named(msgspec.Struct, omit_defaults=True):
    name: str
    instance: str | None = None


class _VariableRequest(msgspec.Struct, rename="camel"):
    component: _Named
    variable: _Named
    attribute_type: str = "Actual"


class _GetVariables(msgspec.Struct, rename="camel"):
    get_variable_data: tuple[_VariableRequest, ...]


class _GetConfiguration(msgspec.Struct):
    key: tuple[str, ...] | None = None


class _Result(msgspec.Struct, rename="camel", omit_defaults=True):
    attribute_status: str
    component: _Named
    variable: _Named
    attribute_value: str | None = None
    attribute_type: str = "Actual"


def answer_variables(version: Version, action: str, payload: bytes) -> bytes | None:
    """Return the answer to a GetConfiguration or GetVariables; None for other or unreadable CALLs."""
    if version is Version.V16:
        keys = read_payload(_GetConfiguration, payload) if action == "GetConfiguration" else None
        return None if keys is None else _configuration(keys.key or tuple(_KEYS_16))
    request = read_payload(_GetVariables, payload) if action == "GetVariables" else None
    if request is None:
        return None
    return msgspec.json.encode({"getVariableResult": [_result(each) for each in request.get_variable_data]})


def _configuration(keys: tuple[str, ...]) -> bytes:
    known = [{"key": key, "readonly": True, "value": _KEYS_16[key]} for key in keys if key in _KEYS_16]
    unknown = [key for key in keys if key not in _KEYS_16]
    return msgspec.json.encode({"configurationKey": known, "unknownKey": unknown})


def _result(request: _VariableRequest) -> _Result:
    value = _VARIABLES_2.get((request.variable.name, request.variable.instance))
    if request.component.name != _COMPONENT:
        status, value = "UnknownComponent", None
    elif value is None:
        status = "UnknownVariable"
    elif request.attribute_type != "Actual":
        status, value = "NotSupportedAttributeType", None
    else:
        status = "Accepted"
    return _Result(status, request.component, request.variable, value, request.attribute_type)
