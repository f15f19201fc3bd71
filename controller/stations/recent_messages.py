"""The latest OCPP messages of each station, for fault finding; in memory only.

Adding one costs an append: nothing is decoded until somebody asks.
"""

from __future__ import annotations

import msgspec

MOST_MESSAGES = 50
"""Messages of one station that are kept."""

LONGEST_TEXT = 4096
"""Characters of a message that is kept whole: with MOST_MESSAGES that is at most 200 KiB a station."""

HEAD_TEXT = 200
"""Characters that are kept of a longer one: its type, id and action. It could not be decoded and redacted."""


class RecentMessage(msgspec.Struct, frozen=True, gc=False):
    """A message as it was on the link. `utc`: POSIX s; `length`: characters of the whole message.

    `text` is cut at HEAD_TEXT if it is longer than LONGEST_TEXT.
    """

    utc: float
    is_from_station: bool
    text: str
    length: int


class RecentMessages:
    """The latest messages of one station, over its connections."""

    __slots__ = ("_messages",)

    def __init__(self) -> None:
        self._messages: list[RecentMessage] = []  # an empty deque takes 600 bytes

    def add_message(self, utc: float, text: str, *, is_from_station: bool) -> None:
        """Store a message in place of the oldest one."""
        length = len(text)
        kept = text if length <= LONGEST_TEXT else text[:HEAD_TEXT]
        messages = self._messages
        if len(messages) >= MOST_MESSAGES:
            del messages[0]
        messages.append(RecentMessage(utc, is_from_station, kept, length))

    @property
    def messages(self) -> tuple[RecentMessage, ...]:
        """Return the messages, the oldest first."""
        return tuple(self._messages)
