"""Signed command that limits the controllable EVSEs of the site, or lifts a limit.

A JSON object. Its author signs it as WWCP OCPP signs any payload (member `signatures`); all of its
content is therefore inside the signed text, and a member that is not known here is refused, not ignored:
its meaning is unknown.

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
"""

from __future__ import annotations

import math
from datetime import datetime
from functools import cached_property
from typing import Annotated

import msgspec
from msgspec import Meta

from controller.dimming.dimming_error import DimmingError
from controller.model.observations import EvseRef

CONTEXT = "urn:local-controller:dim:command:1"
"""Context that is signed with a command: a signature of another payload is not valid for it."""

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

    context: str = msgspec.field(name="@context", default=CONTEXT)
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


_decoder = msgspec.json.Decoder(DimmingCommand)


def read_command(received: bytes) -> DimmingCommand:
    """Read a command from the bytes as received. Raises CommandMalformedError."""
    if len(received) > MOST_BYTES:
        raise CommandMalformedError(f"{len(received)} bytes, {MOST_BYTES} at most")
    try:
        command = _decoder.decode(received)
        _check(command)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CommandMalformedError(str(error)) from error
    return command


def _check(command: DimmingCommand) -> None:
    """Raise CommandMalformedError for contradictions between members."""
    if command.context != CONTEXT:
        raise CommandMalformedError(
            f"@context is {command.context!r}, not {CONTEXT!r}: it was signed for something else"
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


def lowest(*watts: float | None) -> float | None:
    """Return the lowest of some limits (W), where None is no limit."""
    least = min((each for each in watts if each is not None), default=math.inf)
    return None if math.isinf(least) else least
