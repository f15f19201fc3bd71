"""What happens to a station's relay, and what it wants done."""

from __future__ import annotations

import msgspec

from controller.model.effects import (
    BackendLost,
    BackendUp,
    FromBackend,
    LogEntry,
    OwnCall,
    TimePassed,
    ToBackend,
)
from controller.model.journal import Persist
from controller.model.observations import Observation, ProfilesTouched
from controller.profiles.profile_messages import ProfilesAbsorbed


class FromStation(msgspec.Struct, frozen=True):
    """A text message came from the station."""

    text: str


class FromObserver(msgspec.Struct, frozen=True):
    """A text message came from a backend that observes the station."""

    backend: str
    text: str


class ObserverUp(msgspec.Struct, frozen=True):
    """The link to an observing backend stands."""

    backend: str


class ObserverLost(msgspec.Struct, frozen=True):
    """The link to an observing backend could not be made, or is gone."""

    backend: str
    reason: str


Event = (
    FromStation
    | FromBackend
    | BackendUp
    | BackendLost
    | FromObserver
    | ObserverUp
    | ObserverLost
    | OwnCall
    | TimePassed
)


class ToStation(msgspec.Struct, frozen=True):
    """Send this text to the station."""

    text: str


class ToObserver(msgspec.Struct, frozen=True):
    """Send this text to a backend that observes the station."""

    backend: str
    text: str


class Redial(msgspec.Struct, frozen=True):
    """The link to this backend is as good as lost: close it and make it anew."""

    backend: str
    reason: str


class Close(msgspec.Struct, frozen=True):
    """Close both links; this relay is done. `code` is a WebSocket close code for the station."""

    code: int
    reason: str


class Commandable(msgspec.Struct, frozen=True):
    """The station may be sent our CALLs from now on (it has booted, or needed no boot)."""


class ObservationMade(msgspec.Struct, frozen=True):
    """The station has told something about the site."""

    observation: Observation


class OwnAnswered(msgspec.Struct, frozen=True):
    """One of our own CALLs has its end. `result` is the answer's payload; None: there was no good one."""

    token: int
    result: bytes | None
    detail: str = ""


Action = (
    ToStation
    | ToBackend
    | ToObserver
    | Redial
    | Close
    | Commandable
    | ObservationMade
    | OwnAnswered
    | ProfilesAbsorbed
    | Persist
    | LogEntry
)


def calls_for_limits(action: Action) -> bool:
    """Whether limits of ours follow: the station can be commanded, has lost some, or answered a question."""
    if isinstance(action, ObservationMade):
        return isinstance(action.observation, ProfilesTouched)
    return isinstance(action, Commandable) or (isinstance(action, OwnAnswered) and action.token < 0)


def saved_at_once(actions: list[Action]) -> list[Action]:
    """All that is to be saved comes with the first Save: of what one event changes, nothing is left out."""
    saves = [action for action in actions if isinstance(action, Persist)]
    if len(saves) < 2:
        return actions
    words = tuple(word for save in saves for word in save.records)
    place = actions.index(saves[0])
    rest = (action for action in actions[place:] if not isinstance(action, Persist))
    return [*actions[:place], Persist(words), *rest]
