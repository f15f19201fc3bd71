"""Access that a message requests, as far as roles limit it: places, variables, values, currents."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from controller.ocpp.frames import Version
from controller.signing import SigningError

Json = Mapping[str, Any]


class AccessRequestError(SigningError):
    """A message cannot be read well enough to decide what it asks for. The text states where."""


class AccessRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a message asks for; a message may ask for several.

    `target`: "STATION/EVSE" or "STATION". `variable` is to become `value`. `amps`, `watts`: the highest
    limit in its unit (A per phase, W); infinite if the message leaves the unit to the station.
    """

    action: str
    target: str
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
        return " ".join([*words, "at", self.target])


def read_access_requests(version: Version, action: str, payload: bytes, station: str) -> list[AccessRequest]:
    """Read all that a message to or from a station asks for. Raises AccessRequestError.

    `payload` was checked by `signed_text`: no name is in an object twice.
    """
    message = msgspec.json.decode(payload)
    if action == "SetVariables":
        return [_variable_request(action, each, station) for each in _objects(message, "setVariableData")]
    target = _target(station, _evse(version, action, message))
    if action == "ChangeConfiguration":
        key, value = _text(message, "key"), _text(message, "value")
        return [AccessRequest(action=action, target=target, variable=key, value=value)]
    amps, watts = _limits(message)
    return [AccessRequest(action=action, target=target, amps=amps, watts=watts)]


def _variable_request(action: str, each: Json, station: str) -> AccessRequest:
    component, variable = _object(each, "component"), _object(each, "variable")
    name = f"{_instance_name(component)}.{_instance_name(variable)}"
    attribute = each.get("attributeType", "Actual")
    evse = _object(component, "evse") if "evse" in component else {}
    return AccessRequest(
        action=action,
        target=_target(station, _evse_number(evse, "id")),
        variable=name if attribute == "Actual" else f"{name}:{attribute}",
        value=_text(each, "attributeValue"),
    )


def _instance_name(thing: Json) -> str:
    name = _text(thing, "name")
    return f"{name}[{_text(thing, 'instance')}]" if "instance" in thing else name


def _evse(version: Version, action: str, message: Json) -> int:
    """Return the EVSE, in OCPP 1.6 the connector, that a message is for; 0: the station itself."""
    by_id = "id" if version is Version.V16 else "chargingProfileId"
    if action == "ClearChargingProfile" and by_id in message:
        return 0  # then the station uses no other member: the profile may be on any EVSE
    path = (_CONNECTORS if version is Version.V16 else _EVSES).get(action, ())
    for name in path[:-1]:
        if name not in message:
            return 0
        message = _object(message, name)
    return _evse_number(message, path[-1]) if path else 0


_CONNECTORS: Mapping[str, tuple[str, ...]] = dict.fromkeys(
    (
        "ChangeAvailability", "ClearChargingProfile", "ExtendedTriggerMessage", "GetCompositeSchedule",
        "MeterValues", "RemoteStartTransaction", "ReserveNow", "SetChargingProfile", "StartTransaction",
        "StatusNotification", "TriggerMessage", "UnlockConnector",
    ),
    ("connectorId",),
)  # fmt: skip
_EVSES: Mapping[str, tuple[str, ...]] = dict.fromkeys(
    (
        "ClearTariffs", "GetChargingProfiles", "GetCompositeSchedule", "MeterValues",
        "NotifyAllowedEnergyTransfer", "NotifyEVChargingNeeds", "NotifyEVChargingSchedule",
        "RequestStartTransaction", "ReserveNow", "Reset", "SetChargingProfile", "SetDefaultTariff",
        "StatusNotification", "UnlockConnector",
    ),
    ("evseId",),
) | {
    "ChangeAvailability": ("evse", "id"),
    "TransactionEvent": ("evse", "id"),
    "TriggerMessage": ("evse", "id"),
    "ClearChargingProfile": ("chargingProfileCriteria", "evseId"),
}  # fmt: skip
"""Place of the EVSE in the messages of a version (1.6 ed. 2, 2.0.1 and 2.1 Part 2).

In all other messages a member of that name means nothing to a station: its author could write anything.
"""


def _limits(message: Json) -> tuple[float | None, float | None]:
    """Return the highest limit in A and in W of the profile, or of its update, that a message brings."""
    highest: dict[str, float] = {}
    for name in ("csChargingProfiles", "chargingProfile"):
        if name in message:
            for schedule in _schedules(_object(message, name)):
                unit = _text(schedule, "chargingRateUnit")
                if unit not in ("A", "W"):
                    raise AccessRequestError("its chargingRateUnit is neither A nor W")
                limits = [_highest_limit(each) for each in _objects(schedule, "chargingSchedulePeriod")]
                highest[unit] = max([*limits, highest.get(unit, 0.0)])
    if "scheduleUpdate" in message:
        return math.inf, math.inf
    return highest.get("A"), highest.get("W")


def _schedules(profile: Json) -> Iterable[Json]:
    if isinstance(profile.get("chargingSchedule"), list):
        return _objects(profile, "chargingSchedule")
    return [_object(profile, "chargingSchedule")]


_LIMITS = ("limit", "setpoint", "dischargelimit")


def _highest_limit(period: Json) -> float:
    """Return the highest limit or setpoint of a period, of all phases and in both directions."""
    numbers = [_number(value) for name, value in period.items() if name.lower().startswith(_LIMITS)]
    return max(map(abs, numbers), default=math.inf)  # without any of them nothing is limited


def _target(station: str, evse: int) -> str:
    return f"{station}/{evse}" if evse else station


def _object(parent: Json, name: str) -> Json:
    value = parent.get(name)
    if not isinstance(value, dict):
        raise AccessRequestError(f"it has no object {name}")
    return value


def _objects(parent: Json, name: str) -> list[Json]:
    value = parent.get(name)
    if not isinstance(value, list) or not value or not all(isinstance(each, dict) for each in value):
        raise AccessRequestError(f"it has no list of objects {name}")
    return value


def _text(parent: Json, name: str) -> str:
    value = parent.get(name)
    if not isinstance(value, str):
        raise AccessRequestError(f"it has no text {name}")
    return value


def _evse_number(parent: Json, name: str) -> int:
    """Return the number of an EVSE; 0 if it is missing."""
    if name not in parent:
        return 0
    number = _number(parent[name])
    if number < 0 or not number.is_integer():
        raise AccessRequestError("the number of an EVSE in it is invalid")
    return int(number)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise AccessRequestError("a member that must be a number is not one")
    return float(value)
