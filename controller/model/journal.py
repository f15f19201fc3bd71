"""The one effect by which a core asks for something durable, and the base of all durable records."""

from __future__ import annotations

import msgspec


class JournalError(Exception):
    """Records could not be committed or loaded; base class of the store's exceptions."""


class Record(msgspec.Struct, frozen=True):
    """Base of everything that outlives the process."""


class Persist(msgspec.Struct, frozen=True):
    """Commit all of `records` in one transaction, before the effects that come after this one."""

    records: tuple[Record, ...]
