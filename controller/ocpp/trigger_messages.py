"""Payloads of TriggerMessage (1.6: section 5.17; 2.x Part 2: use case F06)."""

from __future__ import annotations

import msgspec

from controller.ocpp.frames import Version


def trigger_meter_values(version: Version, evse: int) -> bytes:
    """Return the payload of a TriggerMessage for the meter values of an EVSE."""
    if version is Version.V16:
        return msgspec.json.encode({"requestedMessage": "MeterValues", "connectorId": evse})
    return msgspec.json.encode({"requestedMessage": "MeterValues", "evse": {"id": evse}})


def trigger_status(version: Version, evse: int) -> bytes:
    """Return the payload of a TriggerMessage for the state of an EVSE (2.x: of its first connector)."""
    if version is Version.V16:
        return msgspec.json.encode({"requestedMessage": "StatusNotification", "connectorId": evse})
    return msgspec.json.encode(
        {"requestedMessage": "StatusNotification", "evse": {"id": evse, "connectorId": 1}}
    )
