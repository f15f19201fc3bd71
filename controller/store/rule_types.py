"""Rule of a durable record, and the keys under which records are stored."""

from __future__ import annotations

import enum

import msgspec

_NUMBER_WIDTH = 12
"""Digits of an integer in a key, so that keys sort by it."""


class WriteFailure(enum.Enum):
    """Consequence if a record cannot be written; see the table in the module."""

    CLOSE_STATION = "station closed unanswered"
    LIMIT_FALLS = "limits may only fall"
    REJECT = "message rejected"
    KEEP = "kept in memory"


class RecordRule(msgspec.Struct, frozen=True):
    """Storage rule of one type of record: `key` names the members that identify it."""

    kind: str
    key: tuple[str, ...]
    failure: WriteFailure
    loses: str
    """Loss that follows from a value that cannot be read."""
    secret: bool = False
    """True if it contains a key, a password or a hash of one: a backup encrypts it or leaves it out."""


def key_of(*members: str | float) -> str:
    """Return the key of a record that is identified by these values."""
    texts = [each if isinstance(each, str) else f"{each:0{_NUMBER_WIDTH}d}" for each in members]
    return msgspec.json.encode(texts).decode()


def key_begin(text: str) -> str:
    """Return what the keys of all records begin with whose first member is a text that begins so."""
    return key_of(text)[:-2]


def key_prefix(*members: str | int) -> str:
    """Return what the keys of all records begin with whose first members are these."""
    return f"{key_of(*members)[:-1]},"
