"""How a command comes in OCPP, and how its acknowledgement goes back: as a DataTransfer, in every version.

`vendorId` is "org.local-controller". `messageId` "dim" carries a command to the controller's own identity;
the answer's `data` is the signed acknowledgement. "dimEffect" is a CALL of the controller: what the command
has done, measured; "dimCheckpoint" another one: a line of the evidence log, for a witness to keep. In OCPP
1.6 `data` is a text (1.6 ed. 2, 6.17), with the JSON in it; in 2.x it is any JSON (2.0.1 Part 2, 1.12.1), and
both forms are read.
"""

from __future__ import annotations

import msgspec

from controller.ocpp.frames import Version

ACTION = "DataTransfer"
VENDOR = "org.local-controller"
COMMAND = "dim"
EFFECT = "dimEffect"
CHECKPOINT = "dimCheckpoint"


class _DataTransfer(msgspec.Struct, rename={"vendor_id": "vendorId", "message_id": "messageId"}):
    vendor_id: str
    message_id: str | None = None
    data: msgspec.Raw = msgspec.Raw()


_decoder = msgspec.json.Decoder(_DataTransfer)
_string = msgspec.json.Decoder(str)


def command_in(action: str, payload: bytes) -> bytes | None:
    """The command's bytes in a CALL's payload, as its author signed them; None where it carries none."""
    if action != ACTION:
        return None
    try:
        transfer = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if (transfer.vendor_id, transfer.message_id) != (VENDOR, COMMAND):
        return None
    data = bytes(transfer.data)
    if data[:1] != b'"':
        return data
    try:
        return _string.decode(data).encode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return data


def command(version: Version, signed: bytes) -> bytes:
    """The payload of the DataTransfer that brings a signed command."""
    return _payload({"vendorId": VENDOR, "messageId": COMMAND}, version, signed)


def answer(version: Version, acknowledgement: bytes, *, accepted: bool) -> bytes:
    """The DataTransfer's response that carries a signed acknowledgement."""
    return _payload({"status": "Accepted" if accepted else "Rejected"}, version, acknowledgement)


def effect(version: Version, report: bytes) -> bytes:
    """The payload of our DataTransfer that carries a signed report of the effect."""
    return _payload({"vendorId": VENDOR, "messageId": EFFECT}, version, report)


def checkpoint(version: Version, line: bytes) -> bytes:
    """The payload of our DataTransfer that hands out a line of the evidence log, as it stands there."""
    return _payload({"vendorId": VENDOR, "messageId": CHECKPOINT}, version, line.rstrip(b"\n"))


def not_understood(payload: bytes) -> bytes:
    """The answer to a DataTransfer that carries nothing of ours."""
    try:
        ours = _decoder.decode(payload).vendor_id == VENDOR
    except (msgspec.DecodeError, UnicodeDecodeError):
        ours = False
    return b'{"status":"UnknownMessageId"}' if ours else b'{"status":"UnknownVendorId"}'


def _payload(members: dict[str, str], version: Version, data: bytes) -> bytes:
    """The members and `data`, whose bytes are signed: they stay as they are."""
    carried: object = data.decode() if version is Version.V16 else msgspec.Raw(data)
    return msgspec.json.encode({**members, "data": carried})
