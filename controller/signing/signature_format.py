"""Names and conventions of WWCP's signatures, in one place.

They are not standardised; they were taken from messages of running WWCP nodes. `@context` is part of the
signed text and never travels. Its values follow no rule: `contexts.json` lists them by version, kind and
action.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from importlib import resources

import msgspec

from controller.ocpp.frames import Version

SIGNATURES = "signatures"
CONTEXT = "@context"
CUSTOM_DATA = "customData"

DEFAULT_ALGORITHM = "secp256r1"
"""Then the member is left out. Names are written in small letters and read in any case."""

METHOD = "json"
ENCODING = "base64"
"""Values of `signingMethod` and `encoding` that are read, in any case; both are defaults and left out."""

MAX_SIGNATURES = 16
"""More on one message are rejected unread: each costs a verification."""

VERSIONS = {Version.V16: "1.6", Version.V201: "2.1", Version.V21: "2.1"}
"""WWCP's name of a version; 2.0.1 uses the contexts of 2.1."""

_CONTEXT_ROOT = "https://open.charging.cloud/context/ocpp/"
_CONTEXTS: Mapping[str, Mapping[str, Mapping[str, str]]] = msgspec.json.decode(
    resources.files("controller.signing").joinpath("contexts.json").read_bytes()
)
"""By version, kind and action, what follows `_CONTEXT_ROOT`."""

POLICY_ACTIONS = frozenset({
    "AddSignaturePolicy", "UpdateSignaturePolicy", "DeleteSignaturePolicy",
    "AddUserRole", "UpdateUserRole", "DeleteUserRole",
})  # fmt: skip
"""Actions that change policies and roles over the wire."""


class Direction(StrEnum):
    """Direction of a message: "up" from the station's side, "down" from the backend's side."""

    UP = "up"
    DOWN = "down"


class MessageKind(StrEnum):
    """Kind of a message; contexts call a SEND a message."""

    REQUEST = "request"
    RESPONSE = "response"
    SEND = "send"


_KIND_SUFFIXES = {
    MessageKind.REQUEST: "Request", MessageKind.RESPONSE: "Response", MessageKind.SEND: "Message",
}  # fmt: skip


class WireSignature(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One element of `signatures`. Nothing of it is covered by a signature, this one included."""

    key_id: str
    value: str
    algorithm: str = DEFAULT_ALGORITHM
    signing_method: str = METHOD
    encoding: str = ENCODING
    encoding_mode: str = msgspec.field(name="encodingMethod", default=ENCODING)
    """WWCP writes `encoding`, but reads this."""
    name: str | None = None
    timestamp: str | None = None


def context(version: Version, direction: Direction, kind: MessageKind, action: str) -> str:
    """Return the `@context` of a message.

    An action that WWCP does not have gets the regular form, under the side of its sender; only nodes of
    this project verify it.
    """
    known = _CONTEXTS[VERSIONS[version]][kind].get(action)
    if known is not None:
        return _CONTEXT_ROOT + known
    if version is Version.V16:
        side = "cp" if direction is Direction.UP else "cs"
    else:
        side = "cs" if direction is Direction.UP else "csms"
    name = action[:1].lower() + action[1:]
    return f"{_CONTEXT_ROOT}v{VERSIONS[version]}/{side}/{name}{_KIND_SUFFIXES[kind]}"


def is_known_to_wwcp(version: Version, kind: MessageKind, action: str) -> bool:
    """Return True if WWCP has such a message."""
    return action in _CONTEXTS[VERSIONS[version]][kind]


def actions_sharing_context(version: Version, kind: MessageKind, action: str) -> tuple[str, ...]:
    """Return the other actions with the same `@context`: a signature does not distinguish them."""
    contexts = _CONTEXTS[VERSIONS[version]][kind]
    known = contexts.get(action)
    if known is None:
        return ()
    return tuple(other for other, each in contexts.items() if each == known and other != action)


def encode_base64(data: bytes) -> str:
    """Encode a key or a signature."""
    return base64.b64encode(data).decode("ascii")


def decode_base64(text: str) -> bytes | None:
    """Decode a key or a signature; None if the text is not base64 with padding and nothing else."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if encode_base64(data) == text else None


def format_time(utc: float) -> str:
    """Format POSIX s as ISO 8601 in UTC with three decimals."""
    return datetime.fromtimestamp(utc, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Dated(msgspec.Struct, rename="camel"):
    timestamp: msgspec.Raw = msgspec.Raw()


class _DatedPayload(_Dated, rename="camel"):
    custom_data: msgspec.Raw = msgspec.Raw()


def creation_time(payload: bytes) -> float | None:
    """Return the time of a payload (POSIX s) by its own members: `customData`, else `timestamp`.

    Both are covered by the signatures; the `timestamp` of a signature is not and is never used. None if
    there is no time, if it has no zone, or if the payload cannot be read.
    """
    try:
        read = msgspec.json.decode(payload, type=_DatedPayload)
        if bytes(read.custom_data)[:1] == b"{":
            own = _read_time(msgspec.json.decode(read.custom_data, type=_Dated).timestamp)
            if own is not None:
                return own
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return _read_time(read.timestamp)


def _read_time(raw: msgspec.Raw) -> float | None:
    try:
        found = msgspec.json.decode(raw, type=datetime) if bytes(raw) else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if found is None or found.utcoffset() is None:
        return None
    return (found - _EPOCH) / timedelta(seconds=1)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
