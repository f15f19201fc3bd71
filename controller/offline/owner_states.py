"""The states of the connection from one station to its owner, as one table of transitions.

    CONNECTING    the station is there, the owner is not yet; CALLs wait in the queue
    ATTACHED      both are there; CALLs pass
    CATCHING_UP   both are there, and messages of an earlier absence are delivered first (autonomous)
    WAITING       the owner is gone; CALLs wait for it, for as long as the grace time lasts (grace)
    AWAY          the owner is gone; CALLs are answered in its place, and queued for it (autonomous)
    LOST          the owner is gone for good; the station is to be closed (strict, or after the grace time)

OCPP 2.x Part 4, section 6.3 asks for `strict`; 1.6 leaves it open; so each station declares its mode. The
table is total: an event that changes nothing in a state leads back to the same state. In `strict` and
`grace` nothing is queued for the owner, so the backlog's events change nothing there.

    machine = OwnerConnection(AwayMode.AUTONOMOUS)
    machine.on_event(OwnerEvent.LINK_LOST)     # AWAY
    machine.on_event(OwnerEvent.LINK_UP)       # CATCHING_UP
    machine.on_event(OwnerEvent.BACKLOG_SENT)  # ATTACHED
"""

from __future__ import annotations

import enum
from collections.abc import Mapping


class AwayMode(enum.Enum):
    """Service of a station while its owner is away; the configuration's `when_backend_away`."""

    STRICT = "strict"
    GRACE = "grace"
    AUTONOMOUS = "autonomous"


class OwnerState(enum.Enum):
    """State of a station's connection to its owner; see the module."""

    CONNECTING = "connecting"
    ATTACHED = "attached"
    CATCHING_UP = "catching up"
    WAITING = "waiting"
    AWAY = "away"
    LOST = "lost"


class OwnerEvent(enum.Enum):
    """Event that changes the state of a station's connection to its owner."""

    LINK_UP = "link up"
    LINK_LOST = "link lost"
    """The link could not be made, has ended, or the owner does not answer on it."""
    GRACE_ENDED = "grace ended"
    BACKLOG_FOUND = "backlog found"
    """A message waits for the owner, and others have to wait behind it."""
    BACKLOG_SENT = "backlog sent"
    """The owner has answered all that waited."""


_C, _A, _U = OwnerState.CONNECTING, OwnerState.ATTACHED, OwnerState.CATCHING_UP
_W, _Y, _L = OwnerState.WAITING, OwnerState.AWAY, OwnerState.LOST

TRANSITIONS: Mapping[AwayMode, Mapping[OwnerState, tuple[OwnerState, ...]]] = {
    # The columns are OwnerEvent's members, in their order:
    # LINK_UP, LINK_LOST, GRACE_ENDED, BACKLOG_FOUND, BACKLOG_SENT
    AwayMode.STRICT: {
        _C: (_A, _L, _C, _C, _C),
        _A: (_A, _L, _A, _A, _A),
        _L: (_L, _L, _L, _L, _L),
    },
    AwayMode.GRACE: {
        _C: (_A, _W, _C, _C, _C),
        _A: (_A, _W, _A, _A, _A),
        _W: (_A, _W, _L, _W, _W),
        _L: (_L, _L, _L, _L, _L),
    },
    AwayMode.AUTONOMOUS: {
        _C: (_U, _Y, _C, _C, _C),
        _A: (_A, _Y, _A, _U, _A),
        _U: (_U, _Y, _U, _U, _A),
        _Y: (_U, _Y, _Y, _Y, _Y),
    },
}
"""The next state by mode, state and event. A state that a mode cannot reach has no row."""

_COLUMN = {event: column for column, event in enumerate(OwnerEvent)}


class OwnerConnection:
    """The state of one station's connection to its owner, over one link of the station."""

    def __init__(self, mode: AwayMode) -> None:
        self.mode = mode
        self.state = OwnerState.CONNECTING

    @property
    def is_up(self) -> bool:
        """Return whether the link to the owner stands."""
        return self.state is OwnerState.ATTACHED or self.state is OwnerState.CATCHING_UP

    def on_event(self, event: OwnerEvent) -> bool:
        """Take the transition for an event; return whether the state has changed."""
        before = self.state
        self.state = TRANSITIONS[self.mode][before][_COLUMN[event]]
        return self.state is not before
