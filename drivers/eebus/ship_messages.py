"""Messages of SHIP 1.0.1: one byte of type, then JSON in array form.

Type 0 is the connection mode initialization (CMI), 1 a control message, 2 a SPINE datagram, 3 the end of
the connection.
"""

from __future__ import annotations

import enum
from typing import Annotated, Literal

import msgspec

from drivers.eebus import array_json
from drivers.eebus.array_json import EebusError

CMI = b"\x00\x00"
"""The only message of type 0 (13.4.3)."""

PROTOCOL_ID = "ee1.0"

Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
Text = Annotated[str, msgspec.Meta(max_length=256)]


class MessageType(enum.IntEnum):
    """First byte of a message (11.1)."""

    INIT = 0
    CONTROL = 1
    DATA = 2
    END = 3


class ConnectionHello(msgspec.Struct, rename="camel", kw_only=True):
    """State of trust on the sender's side (13.4.4.1). `waiting` in ms."""

    phase: Literal["ready", "pending", "aborted"]
    waiting: Milliseconds | None = None
    prolongation_request: bool | None = None


class ProtocolVersion(msgspec.Struct):
    """Version of SHIP."""

    major: Annotated[int, msgspec.Meta(ge=0, le=65535)]
    minor: Annotated[int, msgspec.Meta(ge=0, le=65535)]


class Formats(msgspec.Struct):
    """Formats of messages, by name."""

    format: Annotated[list[Text], msgspec.Meta(max_length=32)]


class MessageProtocolHandshake(msgspec.Struct, rename="camel", kw_only=True):
    """Offer or selection of version and format (13.4.4.2)."""

    handshake_type: Literal["announceMax", "select"]
    version: ProtocolVersion
    formats: Formats


class HandshakeFault(enum.IntEnum):
    """Reason of a failed protocol handshake (13.4.4.2)."""

    TIMEOUT = 1
    UNEXPECTED_MESSAGE = 2
    SELECTION_MISMATCH = 3


class MessageProtocolHandshakeError(msgspec.Struct):
    """End of the protocol handshake by a fault."""

    error: int


class ConnectionPinState(msgspec.Struct, rename="camel"):
    """State of PIN verification on the sender's side (13.4.4.3)."""

    pin_state: Literal["none", "required", "optional", "pinOk"]


class AccessMethodsRequest(msgspec.Struct):
    """Request for the SHIP id and the ways to reach it (13.4.6)."""


class AccessMethods(msgspec.Struct):
    """SHIP id of the sender."""

    id: Annotated[str, msgspec.Meta(max_length=256)]


class ConnectionClose(msgspec.Struct, rename="camel", kw_only=True):
    """Announcement or confirmation of the end (13.4.7). `max_time` in ms."""

    phase: Literal["announce", "confirm"]
    max_time: Milliseconds | None = None
    reason: str | None = None


ControlMessage = (
    ConnectionHello
    | MessageProtocolHandshake
    | MessageProtocolHandshakeError
    | ConnectionPinState
    | AccessMethodsRequest
    | AccessMethods
    | ConnectionClose
)

_CONTROL: dict[str, type[ControlMessage]] = {
    "connectionHello": ConnectionHello,
    "messageProtocolHandshake": MessageProtocolHandshake,
    "messageProtocolHandshakeError": MessageProtocolHandshakeError,
    "connectionPinState": ConnectionPinState,
    "accessMethodsRequest": AccessMethodsRequest,
    "accessMethods": AccessMethods,
    "connectionClose": ConnectionClose,
}
_NAMES = {type_: name for name, type_ in _CONTROL.items()}


def encode_control(message: ControlMessage) -> bytes:
    """Encode a control message, or one that ends the connection."""
    kind = MessageType.END if isinstance(message, ConnectionClose) else MessageType.CONTROL
    body = {_NAMES[type(message)]: array_json.to_array(message)}
    return bytes([kind]) + msgspec.json.encode(body)


def decode_control(body: bytes) -> ControlMessage:
    """Decode what follows the type of a control or end message. Raises EebusError."""
    members = array_json.members_of(array_json.parse(strip_end(body)))
    if len(members) != 1:
        raise EebusError("a control message has one member")
    name, value = members[0]
    type_ = _CONTROL.get(name)
    if type_ is None:
        raise EebusError(f"unknown control message {name!r:.60}")
    return array_json.convert(value, type_)


class _Header(msgspec.Struct, rename="camel"):
    protocol_id: str


def encode_data(payload: bytes) -> bytes:
    """Encode a data message around a payload, which is JSON in array form (13.4.5)."""
    return b'\x02{"data":[{"header":[{"protocolId":"ee1.0"}]},{"payload":' + payload + b"}]}"


def decode_data(body: bytes) -> object:
    """Return the parsed payload of a data message, in array form still. Raises EebusError."""
    members = dict(array_json.members_of(array_json.parse(strip_end(body))))
    data = dict(array_json.members_of(members.get("data"), "data"))
    header = array_json.convert(data.get("header"), _Header)
    if header.protocol_id != PROTOCOL_ID:
        raise EebusError(f"unknown protocol {header.protocol_id!r:.40}")
    if "payload" not in data:
        raise EebusError("a data message without payload")
    return data["payload"]


def strip_end(body: bytes) -> bytes:
    """Return a body without the zero bytes that some partners append."""
    return body.rstrip(b"\x00")
