"""OCPP calls of the controller that a person's command to a station needs, per version of OCPP."""

from __future__ import annotations

import msgspec

from controller.ocpp.frames import Version


class StationCall(msgspec.Struct, frozen=True):
    """Action and payload (JSON) of a CALL."""

    action: str
    payload: bytes


def make_reset(version: Version, *, hard: bool) -> StationCall:
    """Return the call that restarts a station (OCPP 1.6, 5.14; 2.0.1, B11 and B12)."""
    if version is Version.V16:
        return _call("Reset", {"type": "Hard" if hard else "Soft"})
    return _call("Reset", {"type": "Immediate" if hard else "OnIdle"})


def make_remote_start(version: Version, evse: int, id_token: str, number: int) -> StationCall:
    """Return the call that starts a transaction (OCPP 1.6, 5.11; 2.0.1, F01).

    `number` identifies the request in the station's TransactionEvent (2.x).
    """
    if version is Version.V16:
        return _call("RemoteStartTransaction", {"connectorId": evse, "idTag": id_token})
    token = {"idToken": id_token, "type": "Central"}
    return _call("RequestStartTransaction", {"evseId": evse, "remoteStartId": number, "idToken": token})


def make_remote_stop(version: Version, transaction: int | str) -> StationCall:
    """Return the call that stops a transaction (OCPP 1.6, 5.12; 2.0.1, F03)."""
    if version is Version.V16:
        return _call("RemoteStopTransaction", {"transactionId": transaction})
    return _call("RequestStopTransaction", {"transactionId": str(transaction)})


def _call(action: str, payload: dict[str, object]) -> StationCall:
    return StationCall(action, msgspec.json.encode(payload))
