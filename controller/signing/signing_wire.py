"""How WWCP OCPP writes signatures and their policies: every name and every convention, in this one place.

Learnt by reading the project's source (August 2026); nothing here is standardised. What is marked OPEN
was not proven by a message of a real implementation: should one disagree, this file is the one to mend.
"""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import msgspec

from controller.ocpp.frames import Version

SIGNATURES = "signatures"
CONTEXT = "@context"
CUSTOM_DATA = "customData"

DEFAULT_ALGORITHM = "secp256r1"
"""Then the member is left out. OPEN: how the names are capitalised; they are compared without case."""

METHOD = "JSON"
ENCODING = "base64"
"""The values of `signingMethod` and `encoding` that are read; both are the default, and then left out."""

MOST_SIGNATURES = 16
"""More on one message are refused unread: each costs a verification."""

_CONTEXT_ROOT = "https://open.charging.cloud/context/ocpp/"
_CONTEXT_VERSIONS = {Version.V16: "v1.6", Version.V201: "v2.1", Version.V21: "v2.1"}
"""OPEN: that 2.0.1 has the contexts of 2.1 (the project speaks 2.0.1 with the classes of 2.1), and v1.6."""

POLICY_ACTIONS = frozenset(
    {
        "AddSignaturePolicy",
        "UpdateSignaturePolicy",
        "DeleteSignaturePolicy",
        "AddUserRole",
        "UpdateUserRole",
        "DeleteUserRole",
    }
)
"""The actions with which policies and roles are changed over the wire."""


class Direction(StrEnum):
    """Where a message goes: "up" is from the station's side, "down" from the backend's side."""

    UP = "up"
    DOWN = "down"


class SignatureKind(StrEnum):
    """What a message is; the context names a SEND a message."""

    REQUEST = "request"
    RESPONSE = "response"
    SEND = "send"


_KIND_WORDS = {
    SignatureKind.REQUEST: "Request",
    SignatureKind.RESPONSE: "Response",
    SignatureKind.SEND: "Message",
}


class WireSignature(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One element of `signatures`. Nothing of it is covered by a signature, this one included."""

    key_id: str
    value: str
    algorithm: str = DEFAULT_ALGORITHM
    signing_method: str = METHOD
    encoding: str = ENCODING
    encoding_mode: str = msgspec.field(name="encodingMethod", default=ENCODING)
    """They write `encoding`, but read this."""
    name: str | None = None
    timestamp: str | None = None


def context(version: Version, direction: Direction, kind: SignatureKind, action: str) -> str:
    """The `@context` of a message that does not carry its own.

    OPEN: that a response stands under its sender's side, too: `cs` for what a station says.
    """
    side = "cs" if direction is Direction.UP else "csms"
    name = action[:1].lower() + action[1:]
    return f"{_CONTEXT_ROOT}{_CONTEXT_VERSIONS[version]}/{side}/{name}{_KIND_WORDS[kind]}"


def encoded(data: bytes) -> str:
    """A key or a signature as text."""
    return base64.b64encode(data).decode("ascii")


def decoded(text: str) -> bytes | None:
    """A key or a signature of a text; None where it is none, or not the one way to write it."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if encoded(data) == text else None


def moment(utc: float) -> str:
    """POSIX seconds as the time is written: ISO 8601, UTC, ms."""
    return datetime.fromtimestamp(utc, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Dated(msgspec.Struct, rename="camel"):
    timestamp: msgspec.Raw = msgspec.Raw()


class _Payload(_Dated, rename="camel"):
    custom_data: msgspec.Raw = msgspec.Raw()


def time_of(payload: bytes) -> float | None:
    """When a payload says that it was made (POSIX s): inside `customData`, else its own `timestamp`.

    Both are covered by the signatures; a signature's own `timestamp` is not, and is never looked at.
    None where there is none, where it has no time zone, or where the payload cannot be read.
    """
    try:
        read = msgspec.json.decode(payload, type=_Payload)
        if bytes(read.custom_data)[:1] == b"{":
            own = _time(msgspec.json.decode(read.custom_data, type=_Dated).timestamp)
            if own is not None:
                return own
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return _time(read.timestamp)


def _time(raw: msgspec.Raw) -> float | None:
    try:
        found = msgspec.json.decode(raw, type=datetime) if bytes(raw) else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if found is None or found.utcoffset() is None:
        return None
    return (found - _EPOCH) / timedelta(seconds=1)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
