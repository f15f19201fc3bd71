"""Messages about dimming: signed commands, acknowledgements, reports of effect, and their DataTransfer.

A command limits the controllable EVSEs of the site, or lifts a limit. It is a JSON object. Its author signs
it as WWCP OCPP signs any payload (member `signatures`); all of its content is therefore inside the signed
text, and a member that is not known here is refused, not ignored: its meaning is unknown.

    {"@context": "urn:local-controller:dim:command:1",
     "commandId": "5f0c...", "sequence": 17,
     "issuer": {"role": "grid-operator", "keyGroup": "dso/limit-sign"},
     "scope": {"connectionPoint": "DE0001234567890", "evses": ["CS01/1"]},
     "limitW": 4200, "limitPhasesW": [1400, 1400, 1400],
     "notBefore": "2026-11-21T12:00:00Z", "notAfter": "2026-11-21T14:00:00Z",
     "failsafe": {"limitW": 4200, "durationS": 7200},
     "reason": "overload of feeder 7", "signatures": [...]}

`scope.evses` decides between the two kinds of control of BNetzA BK6-22-300. Without it, `limitW` is
one value for all controllable EVSEs together (through an energy management system); with it, the value of
each EVSE that it names (direct control). `limitW` null lifts what the same issuer has set for that scope.

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
from functools import cached_property
from typing import Annotated

import msgspec
from msgspec import Meta

from controller.dimming import DimmingError
from controller.model.observations import EvseRef
from controller.ocpp.frames import Version

ACTION = "DataTransfer"
VENDOR = "org.local-controller"
COMMAND = "dim"
EFFECT = "dimEffect"
CHECKPOINT = "dimCheckpoint"
COMMAND_CONTEXT = "urn:local-controller:dim:command:1"
"""Context that is signed with a command: a signature of another payload is not valid for it."""
ANSWER_CONTEXT = "urn:local-controller:dim:acknowledgement:1"
EFFECT_CONTEXT = "urn:local-controller:dim:effect:1"

MOST_BYTES = 65_536
"""Longest command (bytes); a longer one is rejected, and recorded as received."""

Watts = Annotated[float, Meta(ge=0, le=1e9)]
Text = Annotated[str, Meta(min_length=1, max_length=128)]
Moment = Annotated[datetime, Meta(tz=True)]


class CommandMalformedError(DimmingError):
    """The bytes are not a command; the text states where and why."""


class _Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    pass


class CommandIssuer(_Part, frozen=True, kw_only=True):
    """Role of the author, which his key must have."""

    role: Text
    key_group: Text | None = None


class CommandScope(_Part, frozen=True, kw_only=True):
    """Scope of the command. `evses`: "STATION/NUMBER" each; None: all controllable EVSEs together."""

    connection_point: Text
    evses: Annotated[tuple[Text, ...], Meta(min_length=1, max_length=10_000)] | None = None


class CommandFailsafe(_Part, frozen=True, kw_only=True):
    """Limit that applies, and for how long (s), while the link to the issuer is lost."""

    limit_w: Watts = msgspec.field(name="limitW")
    duration_s: Annotated[float, Meta(gt=0, le=86_400)] = msgspec.field(name="durationS")


class DimmingCommand(_Part, frozen=True, kw_only=True, dict=True):
    """Content of a command. The limit begins at `not_before` and ends at `not_after`.

    `sequence` grows with each command of an issuer.
    """

    context: str = msgspec.field(name="@context", default=COMMAND_CONTEXT)
    command_id: Text
    issuer: CommandIssuer
    scope: CommandScope
    limit_w: Watts | None = msgspec.field(name="limitW")
    limit_phases_w: Annotated[tuple[Watts, ...], Meta(min_length=3, max_length=3)] | None = msgspec.field(
        name="limitPhasesW", default=None
    )
    not_before: Moment
    not_after: Moment
    failsafe: CommandFailsafe | None = None
    sequence: Annotated[int, Meta(ge=1, le=2**53 - 1)]
    reason: Annotated[str, Meta(max_length=500)] = ""
    signatures: msgspec.Raw = msgspec.Raw(b"[]")
    custom_data: msgspec.Raw = msgspec.Raw(b"{}")

    @cached_property
    def begins(self) -> float:
        """Begin of the limit (POSIX s)."""
        return self.not_before.timestamp()

    @cached_property
    def ends(self) -> float:
        """End of the limit (POSIX s)."""
        return self.not_after.timestamp()

    @cached_property
    def evses(self) -> frozenset[EvseRef]:
        """EVSEs of its scope; empty: all controllable EVSEs together."""
        return frozenset(map(evse_ref, self.scope.evses or ()))


_command_decoder = msgspec.json.Decoder(DimmingCommand)


def read_command(received: bytes) -> DimmingCommand:
    """Read a command from the bytes as received. Raises CommandMalformedError."""
    if len(received) > MOST_BYTES:
        raise CommandMalformedError(f"{len(received)} bytes, {MOST_BYTES} at most")
    try:
        command = _command_decoder.decode(received)
        _check(command)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CommandMalformedError(str(error)) from error
    return command


def _check(command: DimmingCommand) -> None:
    """Raise CommandMalformedError for contradictions between members."""
    if command.context != COMMAND_CONTEXT:
        raise CommandMalformedError(
            f"@context is {command.context!r}, not {COMMAND_CONTEXT!r}: it was signed for something else"
        )
    if command.ends <= command.begins:
        raise CommandMalformedError("notAfter is not after notBefore")
    if command.limit_phases_w is not None:
        if command.limit_w is None:
            raise CommandMalformedError("limitPhasesW stands beside a limitW of null, which lifts the limit")
        if command.scope.evses is not None:
            raise CommandMalformedError("limitPhasesW is for the connection point, and scope names EVSEs")
    for each in command.scope.evses or ():
        evse_ref(each)


def evse_ref(text: str) -> EvseRef:
    """Parse an EVSE like "CS01/1". Raises CommandMalformedError."""
    station, slash, number = text.rpartition("/")
    if not (slash and station and number.isascii() and number.isdecimal() and len(number) <= 3):
        raise CommandMalformedError(f'{text!r} names no EVSE: write it like "CS01/1"')
    return EvseRef(station, int(number))


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
