"""What stands on a command line, as values; who cannot be understood is told how to write it."""

from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import UTC, datetime
from math import isfinite


def moment(text: str) -> float:
    """A time (POSIX s) in ISO 8601; without a zone it is UTC."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(
            f"{text!r} is no time; write it like 2026-11-21 or 2026-11-21T12:00Z"
        ) from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def number(text: str) -> float:
    """A finite number."""
    try:
        value = float(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no number") from None
    if not isfinite(value):
        raise ArgumentTypeError(f"{text!r} is not finite")
    return value
