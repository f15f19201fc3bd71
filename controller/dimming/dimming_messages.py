"""Messages about dimming commands: their DataTransfer, acknowledgements and reports of effect.

`vendorId` is "org.local-controller". `messageId` "dim" has a command for the site's own identity; the `data`
of the response is the signed acknowledgement. "dimEffect" is a CALL of the controller: the measured effect of
the command; "dimCheckpoint" another one: a line of the evidence log, for a witness. In OCPP 1.6 `data` is a
text (1.6 ed. 2, 6.17), with the JSON in it; in 2.x it is any JSON (2.0.1 Part 2, 1.12.1); both are read.

Acknowledgements and reports are signed with the controller's own key. Their `command` is the SHA-256 of the
command's bytes as received: an acknowledgement fits no other command, and it exists for malformed bytes, too.
"""

from __future__ import annotations

import enum
import hashlib
from datetime import UTC, datetime

import msgspec

from controller.ocpp.frames import Version

ACTION = "DataTransfer"
VENDOR = "org.local-controller"
COMMAND = "dim"
EFFECT = "dimEffect"
CHECKPOINT = "dimCheckpoint"
ANSWER_CONTEXT = "urn:local-controller:dim:acknowledgement:1"
EFFECT_CONTEXT = "urn:local-controller:dim:effect:1"


class CommandStatus(enum.StrEnum):
    """Status of a command."""

    ACCEPTED = "accepted"
    PARTLY = "partly"
    """Accepted, but another limit applies; `detail` states why."""
    REFUSED = "refused"


class _DimmingReport(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    context: str = msgspec.field(name="@context")
    command: str
    command_id: str
    connection_point: str
    time: str


class Acknowledgement(_DimmingReport, frozen=True, kw_only=True):
    """Answer to a command. `limit_w`: the limit that applies (W); `power_before_w` was measured."""

    status: CommandStatus
    reason: str | None = None
    detail: str = ""
    limit_w: float | None = msgspec.field(name="limitW", default=None)
    begins: str | None = msgspec.field(name="from", default=None)
    ends: str | None = msgspec.field(name="until", default=None)
    power_before_w: float | None = msgspec.field(name="powerBeforeW", default=None)


class Effect(_DimmingReport, frozen=True, kw_only=True):
    """Measured effect of a command. `reached`: the draw obeys the limit, after `time_to_effect_s`.

    Powers (W) are the grid draw of the controllable EVSEs; None where no meter and no station reports it.
    """

    reached: bool
    limit_w: float | None = msgspec.field(name="limitW", default=None)
    power_before_w: float | None = msgspec.field(name="powerBeforeW", default=None)
    power_after_w: float | None = msgspec.field(name="powerAfterW", default=None)
    time_to_effect_s: float | None = msgspec.field(name="timeToEffectS", default=None)


def digest(received: bytes) -> str:
    """Return the SHA-256 of a command, in hex."""
    return hashlib.sha256(received).hexdigest()


def moment(utc: float) -> str:
    """Format POSIX seconds as ISO 8601 in UTC, with ms."""
    return datetime.fromtimestamp(utc, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _DataTransfer(msgspec.Struct, rename={"vendor_id": "vendorId", "message_id": "messageId"}):
    vendor_id: str
    message_id: str | None = None
    data: msgspec.Raw = msgspec.Raw()


_decoder = msgspec.json.Decoder(_DataTransfer)
_string = msgspec.json.Decoder(str)


def command_in(action: str, payload: bytes) -> bytes | None:
    """Return the bytes of the command in a CALL as its author signed them; None if there is none."""
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
    """Return the payload of the DataTransfer with a signed command."""
    return _payload({"vendorId": VENDOR, "messageId": COMMAND}, version, signed)


def answer(version: Version, acknowledgement: bytes, *, accepted: bool) -> bytes:
    """Return the response to a DataTransfer, with a signed acknowledgement."""
    return _payload({"status": "Accepted" if accepted else "Rejected"}, version, acknowledgement)


def effect(version: Version, report: bytes) -> bytes:
    """Return the payload of our DataTransfer with a signed report of the effect."""
    return _payload({"vendorId": VENDOR, "messageId": EFFECT}, version, report)


def checkpoint(version: Version, line: bytes) -> bytes:
    """Return the payload of our DataTransfer with a line of the evidence log, unchanged."""
    return _payload({"vendorId": VENDOR, "messageId": CHECKPOINT}, version, line.rstrip(b"\n"))


def not_understood(payload: bytes) -> bytes:
    """Return the response to a DataTransfer that is not a command."""
    try:
        ours = _decoder.decode(payload).vendor_id == VENDOR
    except (msgspec.DecodeError, UnicodeDecodeError):
        ours = False
    return b'{"status":"UnknownMessageId"}' if ours else b'{"status":"UnknownVendorId"}'


def _payload(members: dict[str, str], version: Version, data: bytes) -> bytes:
    """Return members and `data`, whose signed bytes stay unchanged."""
    carried: object = data.decode() if version is Version.V16 else msgspec.Raw(data)
    return msgspec.json.encode({**members, "data": carried})
