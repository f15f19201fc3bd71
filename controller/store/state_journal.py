"""The interface behind which durable state stands, and the changes that a commit is made of.

State is a set of entries, each a value (JSON) under a kind and a key. A commit applies a batch of changes,
all or none. Each commit carries a token: the writer takes a token above all earlier ones when it starts,
and a commit with a lower token than the journal has seen fails as a whole, so two controllers on copies of
one store cannot both write. `SqliteJournal` is the implementation on one machine; a replicated engine can
take its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from controller.model.journal import JournalError


class StoreError(JournalError):
    """Durable state cannot be read or written. The text names the place and the remedy."""


class StaleTokenError(StoreError):
    """Another controller has written to the journal since this one took its token."""


class Put(msgspec.Struct, frozen=True):
    """Set the value of an entry; it becomes the last of its kind."""

    kind: str
    key: str
    value: bytes


class Delete(msgspec.Struct, frozen=True):
    """Remove an entry, if it is there."""

    kind: str
    key: str


class DeleteBelow(msgspec.Struct, frozen=True):
    """Remove all entries of a kind whose keys sort below `key`."""

    kind: str
    key: str


class KeepLast(msgspec.Struct, frozen=True):
    """Remove all entries of a kind but the `count` ones whose keys sort last."""

    kind: str
    count: int


Change = Put | Delete | DeleteBelow | KeepLast


class JournalEntry(msgspec.Struct, frozen=True):
    """One stored value. `place` rises with each Put: it orders the entries and marks how far one has read."""

    place: int
    kind: str
    key: str
    value: bytes


class Journal(Protocol):
    """Durable entries. All methods may be called in a thread, and raise StoreError."""

    @property
    def token(self) -> int:
        """The highest token of any commit; 0 before the first."""

    def commit(self, changes: Sequence[Change], token: int) -> None:
        """Make all changes durable, or none. Raises StaleTokenError for a token below the highest."""

    def load(self, kind: str, *prefixes: str) -> list[JournalEntry]:
        """Return the entries whose keys begin with one of `prefixes`, in the order of their last Put.

        Without a prefix, all entries of the kind.
        """

    def follow(self, kind: str, after: int) -> list[JournalEntry]:
        """Return the entries of a kind that anybody has put since `place` was `after`."""

    def close(self) -> None:
        """Release what the journal holds open."""
