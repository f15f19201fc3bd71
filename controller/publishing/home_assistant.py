"""Discovery messages for Home Assistant: the gateway and each station as a device with its entities.

Source: Home Assistant, MQTT integration, device discovery (`homeassistant/device/<id>/config`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from controller.publishing.mqtt_topics import MqttMessage, level, measured_values, meter_place
from controller.web.status_model import ControllerStatus, EvseStatus

Entity = tuple[str, dict[str, Any]]
"""Key of an entity among those of its device, and its members."""

ENERGY = "energy"
"""Device class of registers of meters, which only rise but for an exchange of the meter."""
EXPIRE_S = 180
"""Measured values become unavailable in Home Assistant after so long without an update."""


def make_discovery(
    prefix: str, root: str, status: ControllerStatus, *, commands: bool
) -> Iterator[MqttMessage]:
    """Yield the retained discovery messages; `commands`: with switches that pause EVSEs."""
    gateway = f"lc_{_object_id(status.site)}"
    yield _device(
        prefix,
        gateway,
        {
            "identifiers": [gateway],
            "name": status.site,
            "model": "local-controller",
            "sw_version": status.version,
        },
        {f"{root}/status": ("online", "offline")},
        dict(_gateway_entities(gateway, root, status)),
        status.version,
    )
    stations: dict[str, list[EvseStatus]] = {}
    for evse in status.evses:
        stations.setdefault(evse.station, []).append(evse)
    details = {station.id: station for station in status.stations}
    for station, evses in stations.items():
        identifier = f"{gateway}_{_object_id(station)}"
        detail = details.get(station)
        device = {"identifiers": [identifier], "name": station, "via_device": gateway}
        if detail is not None:
            device |= {
                key: value
                for key, value in (
                    ("manufacturer", detail.vendor),
                    ("model", detail.model),
                    ("sw_version", detail.firmware),
                    ("suggested_area", detail.label),
                )
                if value
            }
        available = {
            f"{root}/status": ("online", "offline"),
            f"{root}/stations/{level(station)}/connected": ("true", "false"),
        }
        entities = {
            key: entity
            for evse in evses
            for key, entity in _evse_entities(identifier, root, evse, commands=commands)
        }
        yield _device(prefix, identifier, device, available, entities, status.version)


def is_discovery_of(root: str, payload: bytes) -> bool:
    """Return True if a discovery message is of the gateway that publishes below `root`."""
    try:
        found = msgspec.json.decode(payload, type=_Discovery)
    except msgspec.DecodeError:
        return False
    return any(each.topic == f"{root}/status" for each in found.availability)


class _Availability(msgspec.Struct, frozen=True):
    topic: str = ""


class _Discovery(msgspec.Struct, frozen=True):
    availability: tuple[_Availability, ...] = ()


def _gateway_entities(gateway: str, root: str, status: ControllerStatus) -> Iterator[Entity]:
    for circuit in status.circuits:
        name, place = _object_id(circuit.id), f"{root}/circuits/{level(circuit.id)}"
        if circuit.measured_a is not None:
            yield _measured(gateway, f"{name}_power", f"{circuit.id} power", f"{place}/power_w", "power", "W")
            for phase in (1, 2, 3):
                yield _measured(
                    gateway,
                    f"{name}_current_l{phase}",
                    f"{circuit.id} current L{phase}",
                    f"{place}/current_l{phase}_a",
                    "current",
                    "A",
                )
        yield _flag(
            gateway, f"{name}_over_limit", f"{circuit.id} above its limit", f"{place}/over_limit", "problem"
        )
    for meter in status.meters:
        for value, _, _ in measured_values(meter):
            title, device_class, unit = _MEASURED[value]
            key = f"meter_{_object_id(meter.id)}_{value.rpartition('_')[0]}"
            topic = f"{meter_place(root, meter)}/{value}"
            yield _measured(gateway, key, f"meter {meter.id} {title}", topic, device_class, unit)
    if status.dimming is not None:
        yield _flag(gateway, "dimmed", "limited by the grid operator", f"{root}/dimming/active", None)


_MEASURED = {
    "power_w": ("power", "power", "W"),
    "energy_import_wh": ("energy imported", ENERGY, "Wh"),
    "energy_export_wh": ("energy exported", ENERGY, "Wh"),
    **{f"current_l{phase}_a": (f"current L{phase}", "current", "A") for phase in (1, 2, 3)},
    **{f"voltage_l{phase}_v": (f"voltage L{phase}", "voltage", "V") for phase in (1, 2, 3)},
}
"""Title, device class and unit of each value of a meter."""


def _evse_entities(identifier: str, root: str, evse: EvseStatus, *, commands: bool) -> Iterator[Entity]:
    place, name = f"{root}/stations/{level(evse.station)}/{evse.evse}", f"evse_{evse.evse}"
    title, state = f"EVSE {evse.evse}", {"p": "sensor", "state_topic": f"{place}/state"}
    yield _entity(identifier, f"{name}_state", f"{title} state", state)
    yield _measured(identifier, f"{name}_power", f"{title} power", f"{place}/power_w", "power", "W")
    yield _measured(identifier, f"{name}_offered", f"{title} offered", f"{place}/offered_a", "current", "A")
    if commands:
        target = {"station": evse.station, "evse": evse.evse}
        for action in ("pause", "boost", "resume"):
            press = msgspec.json.encode({"command": f"station.{action}", **target}).decode()
            yield _entity(
                identifier,
                f"{name}_{action}",
                f"{title} {action}",
                {"p": "button", "command_topic": f"{root}/command", "payload_press": press},
            )


def _device(
    prefix: str,
    identifier: str,
    device: dict[str, Any],
    available: dict[str, tuple[str, str]],
    entities: dict[str, dict[str, Any]],
    version: str,
) -> MqttMessage:
    message = {
        "device": device,
        "origin": {"name": "local-controller", "sw": version},
        "availability": [
            {"topic": topic, "payload_available": yes, "payload_not_available": no}
            for topic, (yes, no) in available.items()
        ],
        "availability_mode": "all",
        "components": entities,
    }
    return MqttMessage(f"{prefix}/device/{identifier}/config", msgspec.json.encode(message), qos=1)


def _entity(identifier: str, key: str, name: str, members: dict[str, Any]) -> Entity:
    return key, {"name": name, "unique_id": f"{identifier}_{key}", **members}


def _measured(identifier: str, key: str, name: str, topic: str, device_class: str, unit: str) -> Entity:
    members = {
        "p": "sensor",
        "state_topic": topic,
        "device_class": device_class,
        "unit_of_measurement": unit,
        "state_class": "total_increasing" if device_class == ENERGY else "measurement",
        "expire_after": EXPIRE_S,
    }
    return _entity(identifier, key, name, members)


def _flag(identifier: str, key: str, name: str, topic: str, device_class: str | None) -> Entity:
    members: dict[str, Any] = {
        "p": "binary_sensor",
        "state_topic": topic,
        "payload_on": "true",
        "payload_off": "false",
    }
    if device_class is not None:
        members["device_class"] = device_class
    return _entity(identifier, key, name, members)


def _object_id(name: str) -> str:
    """Return a name in the characters that object ids have; two names never become the same."""
    return re.sub(r"[^a-zA-Z0-9-]", lambda found: f"_{ord(found[0]):x}", name)
