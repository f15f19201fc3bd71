"""What a message asks for, as far as roles limit it: where, which variable, which value, which current."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from controller.ocpp.frames import Version

Json = Mapping[str, Any]


class UnreadableRequestError(Exception):
    """Nobody can tell what the message asks for. The text says where."""


class AccessRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a message asks for; a message may ask for several.

    `where`: "STATION/EVSE", or "STATION". `variable` is to become `value`. `amps`, `watts`: the highest
    limit, in its unit (A per phase, W); infinite where the message leaves the unit to the station.
    """

    action: str
    where: str
    variable: str | None = None
    value: str | None = None
    amps: float | None = None
    watts: float | None = None

    def __str__(self) -> str:
        words = [self.action]
        if self.variable is not None:
            words.append(f"{self.variable} = {self.value}")
        words += [f"{self.amps:g} A"] if self.amps is not None else []
        words += [f"{self.watts:g} W"] if self.watts is not None else []
        return " ".join([*words, "at", self.where])


def access_requests(version: Version, action: str, payload: bytes, station: str) -> list[AccessRequest]:
    """All that a message to or from a station asks for. Raises Unreadable.

    `payload` has been read by `canonical`: no name is in an object twice.
    """
    message = msgspec.json.decode(payload)
    if action == "SetVariables":
        return [_variable(action, each, station) for each in _tables(message, "setVariableData")]
    where = _place(station, _evse(version, action, message))
    if action == "ChangeConfiguration":
        return [
            AccessRequest(
                action=action, where=where, variable=_text(message, "key"), value=_text(message, "value")
            )
        ]
    amps, watts = _limits(message)
    return [AccessRequest(action=action, where=where, amps=amps, watts=watts)]


def _variable(action: str, each: Json, station: str) -> AccessRequest:
    component, variable = _table(each, "component"), _table(each, "variable")
    name = f"{_named(component)}.{_named(variable)}"
    attribute = each.get("attributeType", "Actual")
    evse = _table(component, "evse") if "evse" in component else {}
    return AccessRequest(
        action=action,
        where=_place(station, _number(evse, "id")),
        variable=name if attribute == "Actual" else f"{name}:{attribute}",
        value=_text(each, "attributeValue"),
    )


def _named(thing: Json) -> str:
    name = _text(thing, "name")
    return f"{name}[{_text(thing, 'instance')}]" if "instance" in thing else name


def _evse(version: Version, action: str, message: Json) -> int:
    """The EVSE, in OCPP 1.6 the connector, that a message is for; 0: the station itself."""
    by_id = "id" if version is Version.V16 else "chargingProfileId"
    if action == "ClearChargingProfile" and by_id in message:
        return 0  # then the station looks at nothing else: the profile may be anybody's
    path = (_CONNECTORS if version is Version.V16 else _EVSES).get(action, ())
    for name in path[:-1]:
        if name not in message:
            return 0
        message = _table(message, name)
    return _number(message, path[-1]) if path else 0


_CONNECTORS: Mapping[str, tuple[str, ...]] = dict.fromkeys(
    (
        "ChangeAvailability",
        "ClearChargingProfile",
        "ExtendedTriggerMessage",
        "GetCompositeSchedule",
        "MeterValues",
        "RemoteStartTransaction",
        "ReserveNow",
        "SetChargingProfile",
        "StartTransaction",
        "StatusNotification",
        "TriggerMessage",
        "UnlockConnector",
    ),
    ("connectorId",),
)
_EVSES: Mapping[str, tuple[str, ...]] = dict.fromkeys(
    (
        "ClearTariffs",
        "GetChargingProfiles",
        "GetCompositeSchedule",
        "MeterValues",
        "NotifyAllowedEnergyTransfer",
        "NotifyEVChargingNeeds",
        "NotifyEVChargingSchedule",
        "RequestStartTransaction",
        "ReserveNow",
        "Reset",
        "SetChargingProfile",
        "SetDefaultTariff",
        "StatusNotification",
        "UnlockConnector",
    ),
    ("evseId",),
) | {
    "ChangeAvailability": ("evse", "id"),
    "TransactionEvent": ("evse", "id"),
    "TriggerMessage": ("evse", "id"),
    "ClearChargingProfile": ("chargingProfileCriteria", "evseId"),
}
"""Where a version's message names its EVSE (1.6 ed. 2, 2.0.1 and 2.1 Part 2). In all other messages such
a member means nothing to a station: its author could say anything there."""


def _limits(message: Json) -> tuple[float | None, float | None]:
    """The highest limit in A and in W of the profile, or of the update of one, that a message brings."""
    highest: dict[str, float] = {}
    for name in ("csChargingProfiles", "chargingProfile"):
        if name in message:
            for schedule in _schedules(_table(message, name)):
                unit = _text(schedule, "chargingRateUnit")
                if unit not in ("A", "W"):
                    raise UnreadableRequestError("its chargingRateUnit is neither A nor W")
                limits = [_highest(each) for each in _tables(schedule, "chargingSchedulePeriod")]
                highest[unit] = max([*limits, highest.get(unit, 0.0)])
    if "scheduleUpdate" in message:
        return math.inf, math.inf
    return highest.get("A"), highest.get("W")


def _schedules(profile: Json) -> Iterable[Json]:
    if isinstance(profile.get("chargingSchedule"), list):
        return _tables(profile, "chargingSchedule")
    return [_table(profile, "chargingSchedule")]


_LIMITS = ("limit", "setpoint", "dischargelimit")


def _highest(period: Json) -> float:
    """The highest of a period's limits and setpoints, of all phases and in both directions of the current."""
    numbers = [_real(value) for name, value in period.items() if name.lower().startswith(_LIMITS)]
    return max(map(abs, numbers), default=math.inf)  # without any, nothing is limited


def _place(station: str, evse: int) -> str:
    return f"{station}/{evse}" if evse else station


def _table(table: Json, name: str) -> Json:
    value = table.get(name)
    if not isinstance(value, dict):
        raise UnreadableRequestError(f"it has no object {name}")
    return value


def _tables(table: Json, name: str) -> list[Json]:
    value = table.get(name)
    if not isinstance(value, list) or not value or not all(isinstance(each, dict) for each in value):
        raise UnreadableRequestError(f"it has no list of objects {name}")
    return value


def _text(table: Json, name: str) -> str:
    value = table.get(name)
    if not isinstance(value, str):
        raise UnreadableRequestError(f"it has no text {name}")
    return value


def _number(table: Json, name: str) -> int:
    """The number of an EVSE; 0 where there is none."""
    return _whole(table[name]) if name in table else 0


def _whole(value: object) -> int:
    number = _real(value)
    if number < 0 or not number.is_integer():
        raise UnreadableRequestError("the number of an EVSE in it is none")
    return int(number)


def _real(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnreadableRequestError("what should be a number in it is none")
    return float(value)
