"""Command protocol of chronyd, version 6 (candm.h of chrony 4): requests to write, replies to read.

A request is padded to the length of the longest reply, or chronyd does not answer it. Numbers are big-endian;
a float has a 7-bit exponent and a 25-bit coefficient, both in two's complement.
"""

from __future__ import annotations

import ipaddress
import math
import struct
from enum import IntEnum
from typing import Any

import msgspec

from controller.timekeeping import TimekeepingError
from drivers.coded_text import coded

VERSION = 6
MAX_REPLY_BYTES = 1024
_REQUEST, _REPLY = 1, 2
_REPLY_HEADER = struct.Struct(">BBxxHHHxxxxxxIxxxxxxxx")
_REQUEST_HEADER = struct.Struct(">BBxxHHIxxxxxxxx")
_REQUEST_BYTES = 400
_ADDRESS = struct.Struct(">16sHxx")
_TRACKING = struct.Struct(">I20sHHIII" + "I" * 9)
_SOURCE = struct.Struct(">20shHHHHHIIII")
_AUTHENTICATION = struct.Struct(">HHIHHIHHHxx")
_COEFFICIENT_BITS = 25
_NAME_BYTES = 256


class ChronyError(TimekeepingError):
    """A reply of chronyd cannot be used."""


class ChronyCommand(IntEnum):
    """Commands that only read."""

    SOURCE_COUNT = 14
    SOURCE_DATA = 15
    TRACKING = 33
    SOURCE_NAME = 65
    AUTHENTICATION = 67


_REPLIES = {
    ChronyCommand.SOURCE_COUNT: 2,
    ChronyCommand.SOURCE_DATA: 3,
    ChronyCommand.TRACKING: 5,
    ChronyCommand.SOURCE_NAME: 19,
    ChronyCommand.AUTHENTICATION: 20,
}

NOT_SYNCHRONISED = 3
"""Leap status of a clock that nothing disciplines."""


class Tracking(msgspec.Struct, frozen=True):
    """Reply to TRACKING. Times and offsets in s; `reference_time` is POSIX s."""

    stratum: int
    leap_status: int
    reference_time: float
    correction_s: float
    last_offset_s: float
    root_delay_s: float
    root_dispersion_s: float
    update_interval_s: float

    @property
    def error_bound_s(self) -> float:
        """Largest error of the clock (RFC 5905, root distance, and what is left to correct)."""
        return self.root_delay_s / 2 + self.root_dispersion_s + abs(self.correction_s)


class SourceState(IntEnum):
    """State of a source in the selection."""

    SELECTED = 0
    NONSELECTABLE = 1
    FALSETICKER = 2
    JITTERY = 3
    UNSELECTED = 4
    SELECTABLE = 5


class SourceData(msgspec.Struct, frozen=True):
    """Reply to SOURCE_DATA. `address` is None for a reference clock; `reach`: last 8 polls as bits."""

    address: str | None
    raw_address: bytes
    stratum: int
    state: SourceState
    reach: int
    since_sample_s: int
    offset_s: float
    error_s: float


class AuthenticationMode(IntEnum):
    """Authentication of a source."""

    NONE = 0
    SYMMETRIC = 1
    NTS = 2


class AuthenticationData(msgspec.Struct, frozen=True):
    """Reply to AUTHENTICATION. `key_exchanges`: attempts since the last good one; `cookies` left."""

    mode: AuthenticationMode
    key_id: int
    key_exchanges: int
    last_key_exchange_s: int
    cookies: int
    rejected: int


def write_request(command: ChronyCommand, sequence: int, content: bytes = b"") -> bytes:
    """Write a request. `content`: an index, or the address of a source."""
    head = _REQUEST_HEADER.pack(VERSION, _REQUEST, command, 0, sequence)
    return (head + content).ljust(_REQUEST_BYTES, b"\0")


def index_content(index: int) -> bytes:
    """Write the content of SOURCE_DATA."""
    return struct.pack(">i", index)


def read_reply(command: ChronyCommand, sequence: int, data: bytes) -> bytes:
    """Check the head of a reply; returns its content. Raises ChronyError."""
    if len(data) < _REPLY_HEADER.size:
        raise ChronyError(coded("a reply of {count} bytes is too short", count=len(data)))
    version, kind, answered, reply, status, number = _REPLY_HEADER.unpack_from(data)
    if version != VERSION or kind != _REPLY:
        raise ChronyError(
            coded(
                "chronyd uses version {version} of its protocol, {known} is known",
                version=version,
                known=VERSION,
            )
        )
    if number != sequence or answered != command:
        raise ChronyError(coded("the reply belongs to another request"))
    if status != 0:
        raise ChronyError(
            coded(
                "chronyd refused the command {command}: status {status}", command=command.name, status=status
            )
        )
    if reply != _REPLIES[command]:
        raise ChronyError(
            coded("reply {reply} does not fit the command {command}", reply=reply, command=command.name)
        )
    return data[_REPLY_HEADER.size :]


def read_count(content: bytes) -> int:
    """Read the number of sources. Raises ChronyError."""
    count: int = _unpack(struct.Struct(">I"), content)[0]
    if count > MAX_REPLY_BYTES:
        raise ChronyError(coded("{count} sources are too many", count=count))
    return count


def read_tracking(content: bytes) -> Tracking:
    """Read the content of a reply to TRACKING. Raises ChronyError."""
    _, _, stratum, leap, high, low, nanoseconds, *floats = _unpack(_TRACKING, content)
    correction, offset, _, _, _, _, delay, dispersion, interval = map(_float, floats)
    return Tracking(
        stratum=stratum,
        leap_status=leap,
        reference_time=(0 if high == 0x7FFFFFFF else high << 32)
        + low
        + nanoseconds / 1e9,  # 0x7FFFFFFF: 32 bits only
        correction_s=correction,
        last_offset_s=offset,
        root_delay_s=delay,
        root_dispersion_s=dispersion,
        update_interval_s=interval,
    )


def read_source(content: bytes) -> SourceData:
    """Read the content of a reply to SOURCE_DATA. Raises ChronyError."""
    address, _, stratum, state, _, _, reach, since, _, offset, error = _unpack(_SOURCE, content)
    try:
        known = SourceState(state)
    except ValueError:
        raise ChronyError(coded("source state {state} is unknown", state=state)) from None
    return SourceData(
        address=_address(address),
        raw_address=address,
        stratum=stratum,
        state=known,
        reach=reach,
        since_sample_s=since,
        offset_s=_float(offset),
        error_s=_float(error),
    )


def read_authentication(content: bytes) -> AuthenticationData:
    """Read the content of a reply to AUTHENTICATION. Raises ChronyError."""
    mode, _, key_id, _, attempts, last, cookies, _, rejected = _unpack(_AUTHENTICATION, content)
    try:
        known = AuthenticationMode(mode)
    except ValueError:
        raise ChronyError(coded("authentication mode {mode} is unknown", mode=mode)) from None
    return AuthenticationData(known, key_id, attempts, last, cookies, rejected)


def read_name(content: bytes) -> str:
    """Read the content of a reply to SOURCE_NAME. Raises ChronyError."""
    if len(content) < _NAME_BYTES:
        raise ChronyError(coded("the name of a source is too short"))
    return content[:_NAME_BYTES].partition(b"\0")[0].decode("ascii", "replace")


def _unpack(layout: struct.Struct, content: bytes) -> tuple[Any, ...]:
    if len(content) < layout.size:
        raise ChronyError(coded("a reply of {count} bytes is too short", count=len(content)))
    return layout.unpack_from(content)


def _float(raw: int) -> float:
    """Decode chrony's float."""
    exponent = raw >> _COEFFICIENT_BITS
    if exponent >= 1 << 6:
        exponent -= 1 << 7
    coefficient = raw & ((1 << _COEFFICIENT_BITS) - 1)
    if coefficient >= 1 << (_COEFFICIENT_BITS - 1):
        coefficient -= 1 << _COEFFICIENT_BITS
    return math.ldexp(coefficient, exponent - _COEFFICIENT_BITS)


def _address(raw: bytes) -> str | None:
    octets, family = _ADDRESS.unpack(raw)
    if family == 1:
        return str(ipaddress.IPv4Address(octets[:4]))
    if family == 2:
        return str(ipaddress.IPv6Address(octets))
    return None
