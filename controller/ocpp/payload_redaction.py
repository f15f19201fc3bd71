"""Redaction of OCPP payloads that are shown to people.

Secrets (passwords, keys, credentials in URLs) are replaced for everybody. Identities of drivers are replaced
for who may not see them, by an allow list: numbers, truth values, and the texts of members that hold a word
of a fixed list, a time or the name of a device pass. A vendor's own members are not on it; of free JSON
(`data`, `customData`, `errorDetails`) truth values alone pass, for its members mean what a vendor decides.
"""

from __future__ import annotations

import re

REDACTED = "***"

SHOWN_MEMBERS = frozenset(
    {
        "status", "errorCode", "vendorId", "timestamp", "currentTime", "context", "format",
        "measurand", "phase", "location", "unit", "reason", "eventType", "triggerReason",
        "chargingState", "type", "connectorStatus", "chargePointVendor", "chargePointModel",
        "firmwareVersion", "vendorName", "model", "key", "chargingProfilePurpose",
        "chargingProfileKind", "chargingRateUnit", "recurrencyKind", "validFrom", "validTo",
        "startSchedule", "operationalStatus", "requestedMessage", "name", "attributeStatus",
        "attributeType", "severity", "cause", "updateType", "certificateType", "hashAlgorithm",
        "transactionId", "stoppedReason", "unknownKey", "reasonCode", "expiryDate", "retrieveDate",
        "operationMode",
    }
)  # fmt: skip
"""Members whose texts are shown to everybody (OCPP 1.6, 2.0.1 and 2.1)."""

_IDENTITY = re.compile(r"tag|token|emaid|contract|card|customer|vin", re.IGNORECASE)
"""Names of members with an identity, of any type: some stations send an idTag as a number."""

_FREE_JSON = ("data", "customData", "errorDetails")

_SECRET = re.compile(
    r"passw|passphrase|pwd|psk|secret|credential|sim_?pin|(authorization|private|access|api)_?key",
    re.IGNORECASE,
)
_SECRET_OBJECTS = ("apn", "vpn")
"""Credentials of networks (OCPP 2.x, SetNetworkProfile)."""

_VALUES = ("value", "attributeValue")
"""Members with the value of a measurand, a configuration key or a variable."""

_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?")
_CREDENTIALS = re.compile(r"(://)[^/@\s]*@")
_LONGEST_SHOWN = 64
_LARGEST_INTEGER = 1 << 63
"""Larger ones are shown as texts: they do not fit into the integers of all readers of JSON."""


def redact_payload(payload: object, *, show_identities: bool) -> object:
    """Return decoded JSON without secrets and, unless they may be shown, without identities of drivers.

    Raises RecursionError for a payload that is nested too deeply.
    """
    return _redact(payload, "", show_identities=show_identities, is_secret=False, is_free=False)


def names_secret(text: str) -> bool:
    """Return True if a text that cannot be decoded names a secret."""
    return _SECRET.search(text) is not None or "://" in text


def _redact(value: object, name: str, *, show_identities: bool, is_secret: bool, is_free: bool) -> object:
    is_free = is_free or name in _FREE_JSON
    if isinstance(value, dict):
        # The name of a configuration key or variable stands beside its value, or above it in a report.
        is_secret = is_secret or name in _SECRET_OBJECTS or _holds_secret(value)
        return {
            member: _redact(
                each, member, show_identities=show_identities, is_secret=is_secret, is_free=is_free
            )
            for member, each in value.items()
        }
    if isinstance(value, list):
        return [
            _redact(each, name, show_identities=show_identities, is_secret=is_secret, is_free=is_free)
            for each in value
        ]
    if value is None or isinstance(value, bool):
        return value
    if _SECRET.search(name) or (is_secret and name not in SHOWN_MEMBERS):
        return REDACTED
    if not show_identities and (is_free or not _is_harmless(value, name)):
        return REDACTED
    if isinstance(value, str):
        return _CREDENTIALS.sub(rf"\1{REDACTED}@", value)
    return str(value) if isinstance(value, int) and abs(value) >= _LARGEST_INTEGER else value


def _holds_secret(members: dict[str, object]) -> bool:
    variable = members.get("variable")
    names = (members.get("key"), variable.get("name") if isinstance(variable, dict) else None)
    return any(isinstance(each, str) and _SECRET.search(each) for each in names)


def _is_harmless(value: object, name: str) -> bool:
    """Return True for a value of a payload that names no driver."""
    if _IDENTITY.search(name):
        return False
    if not isinstance(value, str):
        return True
    if name in _VALUES:
        return _NUMBER.fullmatch(value) is not None
    return name in SHOWN_MEMBERS and len(value) <= _LONGEST_SHOWN and "://" not in value
