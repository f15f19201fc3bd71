"""In the owner's stead: what makes a station `autonomous`.

Composed of what answers (`autonomy`), what waits for the owner (`courier` over an `outbox`), and what has
been answered already (`answers`), so that a station which repeats itself is counted once. Whatever has to
outlive us comes back as words to save; who does the actions saves them before the station hears of it.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from controller.ocpp.frames import Answer, Call
from controller.relay.events import Note, OwnCall
from controller.relay.line import Waiting
from controller.relay.saving import Word


class Journal(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a CALL while the owner is there.

    `serve`: answer it in the owner's stead after all. Else `text` goes up, and `number` is its place in
    the outbox, if it has one.
    """

    text: str = ""
    number: int | None = None
    serve: bool = False
    words: tuple[Word, ...] = ()
    notes: tuple[Note, ...] = ()


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """The answer in the owner's stead: its frame, and its payload where it is a good one.

    No `text`: there is none, since what it would promise cannot be kept.
    """

    text: str | None = None
    result: bytes | None = None
    words: tuple[Word, ...] = ()
    notes: tuple[Note, ...] = ()


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What follows from the owner's answer to what was kept for it; `calls` are for the station."""

    words: tuple[Word, ...] = ()
    notes: tuple[Note, ...] = ()
    calls: tuple[OwnCall, ...] = ()


class Following(msgspec.Struct, frozen=True, kw_only=True):
    """The next CALL for the owner of what is kept for it."""

    id: str
    action: str
    payload: bytes
    number: int | None = None
    words: tuple[Word, ...] = ()
    notes: tuple[Note, ...] = ()


class Stead(Protocol):
    """What the way up needs of it."""

    @property
    def deadline(self) -> float | None:
        """When the owner may be told more (s, monotonic)."""

    @property
    def behind(self) -> bool:
        """Whether anything is still kept for the owner."""

    def journal(self, frame: Call, now: float) -> Journal:
        """A CALL while the owner is there, or may be."""

    def serve(self, message_id: str, action: str, payload: bytes, number: int | None, now: float) -> Served:
        """Answer a CALL; `number`: it is in the outbox already."""

    def heard(self, waiting: Waiting, answer: Answer, now: float) -> tuple[Word, ...]:
        """The owner has answered a CALL of the station itself."""

    def attached(self, now: float, *, was_away: bool) -> None:
        """The link to the owner stands."""

    def detached(self) -> None:
        """The link to the owner is gone."""

    def next(self, now: float) -> Following | None:
        """What the owner hears next of what is kept for it."""

    def delivered(self, answer: Answer, now: float) -> Told:
        """The owner has answered what `next` gave."""
