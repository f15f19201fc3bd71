"""Reading and writing of payloads of any message: structs, statuses, times."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, TypeVar

import msgspec

from controller.model.peer_text import peer_word
from controller.model.plausible_time import EARLIEST

Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
"""An OCPP integer (OCPP-J: 32 bit, signed)."""
MIN_TRANSACTION_ID, MAX_TRANSACTION_ID = -(2**63), 2**63 - 1
TransactionId = Annotated[int, msgspec.Meta(ge=MIN_TRANSACTION_ID, le=MAX_TRANSACTION_ID)]
"""A transaction id of OCPP 1.6. Backends were seen to give ids beyond 32 bit (ms since 1970)."""
Limit = Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)]
"""A limit in A or W. No site has a gigawatt: beyond it a number is an error."""

_MessageT = TypeVar("_MessageT", bound=msgspec.Struct)


class _Status(msgspec.Struct):
    status: str


def read_payload(kind: type[_MessageT], payload: bytes) -> _MessageT | None:
    """Read a payload as `kind`; None where it does not fit."""
    try:
        return msgspec.json.decode(payload, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None


def is_accepted(result: bytes) -> bool:
    """Return True if a response has the status Accepted."""
    response = read_payload(_Status, result)
    return response is not None and response.status == "Accepted"


def describe_status(result: bytes) -> str:
    """Return the status of a response as a pair of a log line; `status=-` if it has none."""
    response = read_payload(_Status, result)
    return f"status={'-' if response is None else peer_word(response.status)}"


def format_time(utc: float) -> str:
    """Format POSIX seconds as an OCPP dateTime in whole seconds."""
    return datetime.fromtimestamp(utc, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class StationTime(msgspec.Struct, frozen=True):
    """Time that stations are given as `currentTime`: that of the gateway, once its clock is set.

    Until then it is the last one that was known, going on from the start of the controller: a station sets
    its clock by it, and 1970 would date its transactions back by decades and make certificates invalid to it.
    `unset_shift_s`: what is added to a clock that is not set (s).
    """

    unset_shift_s: float = 0.0

    def given_at(self, utc: float) -> float:
        """Return the time for a station (POSIX s) while the gateway's clock shows `utc`."""
        return utc if utc >= EARLIEST else utc + self.unset_shift_s

    def format(self, utc: float) -> str:
        """Return the time for a station as text, like `format_time`."""
        return format_time(self.given_at(utc))


OWN_TIME = StationTime()
"""Stations are given what the clock shows."""


def read_time(timestamp: str | None) -> float | None:
    """Return a dateTime as POSIX s, one without a zone as UTC; None where it cannot be read."""
    if timestamp is None:
        return None
    try:
        moment = datetime.fromisoformat(timestamp)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
