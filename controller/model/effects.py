"""Events and effects of a link to a backend, shared by the relay and the site's own identity."""

from __future__ import annotations

import msgspec


class FromBackend(msgspec.Struct, frozen=True, gc=False):
    """A text message that came from the backend."""

    text: str


class BackendUp(msgspec.Struct, frozen=True):
    """The link to the backend is open."""


class BackendLost(msgspec.Struct, frozen=True):
    """The link to the backend could not be opened, or was lost. `reason` is for a person."""

    reason: str


class TimePassed(msgspec.Struct, frozen=True):
    """The state machine's `deadline` was reached."""


UNTRACKED = -(2**40)
"""Token of a CALL that is waited for as briefly as a question, and whose answer is ignored."""


class OwnCall(msgspec.Struct, frozen=True):
    """A CALL of the controller's own. `id` is a UUID; `payload` is encoded JSON.

    A `token` below 0 is that of a question: our limits follow its answer, so the wait for it is short.
    None: nothing follows from the answer.
    """

    token: int | None
    id: str
    action: str
    payload: bytes
    urgent: bool = False


class ToBackend(msgspec.Struct, frozen=True, gc=False):
    """Send this text to the backend."""

    text: str


class LogEntry(msgspec.Struct, frozen=True):
    """A line for the log. `level` is one of `logging`."""

    level: int
    text: str
