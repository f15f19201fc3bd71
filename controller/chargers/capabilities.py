"""What a station says about the charging profiles that it can take, asked once before the first limit.

1.6: GetConfiguration (ed. 2, 5.8 and 9.4: the keys of Smart Charging). 2.x: GetVariables of the component
SmartChargingCtrlr (Part 2, 2.13). Stations answer this loosely: numbers come as text or as numbers, units
as "Current" and "Power" or "A" and "W", lists with blanks. What cannot be read says nothing.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from controller.chargers.quirks import Quirk
from controller.ocpp.frames import Version

PATIENCE_S = 3.0
"""How long the first limit waits for the answer: a station without any limit must not stay so."""

_KEYS_16 = {
    "ChargeProfileMaxStackLevel": "max_stack_level",
    "ChargingScheduleAllowedChargingRateUnit": "units",
    "ChargingScheduleMaxPeriods": "max_periods",
    "MaxChargingProfilesInstalled": "max_profiles",
    "ConnectorSwitch3to1PhaseSupported": "phase_switching",
}
_VARIABLES_2 = {
    "ProfileStackLevel": "max_stack_level",
    "RateUnit": "units",
    "PeriodsPerSchedule": "max_periods",
    "Entries": "max_profiles",
    "ACPhaseSwitchingSupported": "phase_switching",
}
_COMPONENT_2 = "SmartChargingCtrlr"
_INSTANCES_2 = {"Entries": "ChargingProfiles"}
_UNITS: dict[str, Literal["A", "W"]] = {"a": "A", "current": "A", "w": "W", "power": "W"}
_YES_NO = {"true": True, "false": False}


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What was said; None and no units where nothing was."""

    max_stack_level: int | None = None
    max_periods: int | None = None
    max_profiles: int | None = None
    units: frozenset[Literal["A", "W"]] = frozenset()
    phase_switching: bool | None = None


class Question(msgspec.Struct, frozen=True):
    """A CALL for the station."""

    action: str
    payload: bytes


class _Pair(msgspec.Struct, frozen=True):
    key: str
    value: str | int | float | bool | None = None


class _Configuration(msgspec.Struct, frozen=True, rename="camel"):
    configuration_key: tuple[_Pair, ...] = ()


class _Variable(msgspec.Struct, frozen=True):
    name: str


class _VariableResult(msgspec.Struct, frozen=True, rename="camel"):
    variable: _Variable
    attribute_value: str | int | float | bool | None = None


class _Variables(msgspec.Struct, frozen=True, rename="camel"):
    get_variable_result: tuple[_VariableResult, ...] = ()


def question(version: Version) -> Question:
    """What to ask the station."""
    if version is Version.V16:
        return Question("GetConfiguration", msgspec.json.encode({"key": list(_KEYS_16)}))
    wanted = []
    for name in _VARIABLES_2:
        instance = {"instance": _INSTANCES_2[name]} if name in _INSTANCES_2 else {}
        wanted.append({"component": {"name": _COMPONENT_2}, "variable": {"name": name, **instance}})
    return Question("GetVariables", msgspec.json.encode({"getVariableData": wanted}))


def clearing(version: Version, purpose: str) -> Question:
    """What rids a station of every profile of a purpose (1.6 ed. 2, 5.5; 2.0.1 Part 2, K10)."""
    named = {"chargingProfilePurpose": purpose}
    payload = named if version is Version.V16 else {"chargingProfileCriteria": named}
    return Question("ClearChargingProfile", msgspec.json.encode(payload))


def read_answer(version: Version, result: bytes | None) -> Capabilities:
    """What the answer says: nothing where there is none (None) and where it cannot be read."""
    said: dict[str, str] = {}
    try:
        if result is not None and version is Version.V16:
            for pair in msgspec.json.decode(result, type=_Configuration).configuration_key:
                said[_KEYS_16.get(pair.key, "")] = _text(pair.value)
        elif result is not None:
            for each in msgspec.json.decode(result, type=_Variables).get_variable_result:
                said[_VARIABLES_2.get(each.variable.name, "")] = _text(each.attribute_value)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return Capabilities()
    return Capabilities(
        max_stack_level=_count(said.get("max_stack_level", ""), least=0),
        max_periods=_count(said.get("max_periods", ""), least=1),
        max_profiles=_count(said.get("max_profiles", ""), least=1),
        units=_units(said.get("units", "")),
        phase_switching=_YES_NO.get(said.get("phase_switching", "").strip().lower()),
    )


def narrowed(quirk: Quirk, said: Capabilities) -> Quirk:
    """The quirk with what the station says of itself: the lower bound wins, and the row's unit."""
    unit = quirk.unit
    if unit is None and said.units == {"W"}:
        unit = "W"
    return msgspec.structs.replace(
        quirk,
        unit=unit,
        phase_switching=said.phase_switching if quirk.phase_switching is None else quirk.phase_switching,
        max_stack_level=_lower(quirk.max_stack_level, said.max_stack_level),
        max_periods=_lower(quirk.max_periods, said.max_periods),
        max_profiles=_lower(quirk.max_profiles, said.max_profiles),
    )


def _lower(known: int | None, said: int | None) -> int | None:
    return min((bound for bound in (known, said) if bound is not None), default=None)


def _text(value: str | float | bool | None) -> str:
    return "" if value is None else str(value)


def _count(text: str, *, least: int) -> int | None:
    try:
        value = int(float(text))
    except (ValueError, OverflowError):
        return None
    return value if value >= least else None


def _units(text: str) -> frozenset[Literal["A", "W"]]:
    words = text.replace(";", ",").replace(" ", ",").lower().split(",")
    return frozenset(_UNITS[word] for word in words if word in _UNITS)
