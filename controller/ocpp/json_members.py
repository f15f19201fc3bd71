"""Replacement of single numbers in a JSON payload that leaves every other byte as it came.

Decoding and encoding would change blanks, escapes, number forms and the order of what a station or a
backend wrote: reading must not change it, and unknown members must pass. The payload is JSON
already (`frames.parse` has seen to that): so a walk over its tokens is enough.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import msgspec

_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[{}\[\]:,]|[^\s{}\[\]:,"]++')
_MOST_DIGITS = 32
"""A longer number is no id."""

Path = tuple[str, ...]
"""The names that lead to a member, from the payload's top."""


def integers_at(payload: bytes, path: Path) -> list[int]:
    """Return the integers at `path`: one, none, or several where a member is doubled."""
    return [number for _, number in _at(payload, path)]


def with_integers(payload: bytes, path: Path, new_of: Callable[[int], int]) -> bytes:
    """Return the payload with `new_of(number)` in place of each integer at `path`."""
    parts: list[bytes] = []
    done = 0
    for (start, end), old in _at(payload, path):
        new = new_of(old)
        if new != old:
            parts += [payload[done:start], b"%d" % new]
            done = end
    return b"".join([*parts, payload[done:]])


def has_member(payload: bytes, name: str) -> bool:
    """Return True if an object anywhere in the payload has a member of this name."""
    return any(named and path[-1] == name for path, _, named in _walk(payload))


def _at(payload: bytes, path: Path) -> Iterator[tuple[tuple[int, int], int]]:
    """Yield the span and the value of each integer at `path`."""
    target: list[str | None] = list(path)
    for place, token, named in _walk(payload):
        if not named and place == target:
            number = _integer(token[0])
            if number is not None:
                yield token.span(), number


def _integer(token: bytes) -> int | None:
    """Return the integer that a scalar is, in any form of JSON: 12, 12.0 and 1.2e1; else None."""
    if len(token) > _MOST_DIGITS or token[:1] not in b"-0123456789":
        return None
    try:
        return int(token)
    except ValueError:
        number = float(token)
        return int(number) if number.is_integer() else None


def _walk(payload: bytes) -> Iterator[tuple[list[str | None], re.Match[bytes], bool]]:
    """Yield each name and scalar: its path (None: in an array), its token, and True for a name.

    The path is one list that changes with each step.
    """
    path: list[str | None] = []
    before = b""
    for token in _TOKEN.finditer(payload):
        sign = token[0]
        if sign == b"{":
            path.append("")
        elif sign == b"[":
            path.append(None)
        elif sign in (b"}", b"]"):
            path.pop()
        elif sign in (b":", b","):
            pass
        elif path and path[-1] is not None and before != b":":
            path[-1] = msgspec.json.decode(sign, type=str)
            yield path, token, True
        else:
            yield path, token, False
        before = sign
