"""Reading and writing of payloads of any message: structs, statuses, times."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, TypeVar

import msgspec

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


def format_time(utc: float) -> str:
    """Format POSIX seconds as an OCPP dateTime in whole seconds."""
    return datetime.fromtimestamp(utc, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_time(timestamp: str | None) -> float | None:
    """Return a dateTime as POSIX s, one without a zone as UTC; None where it cannot be read."""
    if timestamp is None:
        return None
    try:
        moment = datetime.fromisoformat(timestamp)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
