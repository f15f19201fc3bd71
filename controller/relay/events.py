"""What happens to a station's relay, and what it wants done."""

from __future__ import annotations

import msgspec

from controller.model.observations import Observation, ProfilesTouched
from controller.offline.journal_records import PersistRelay
from controller.profiles.profile_messages import HeldProfile


class FromStation(msgspec.Struct, frozen=True):
    """A text message came from the station."""

    text: str


class FromBackend(msgspec.Struct, frozen=True):
    """A text message came from the backend."""

    text: str


class BackendUp(msgspec.Struct, frozen=True):
    """The link to the backend stands."""


class BackendLost(msgspec.Struct, frozen=True):
    """The link to the backend could not be made, or is gone. `reason` is a person's sentence."""

    reason: str


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


class OwnCall(msgspec.Struct, frozen=True):
    """The controller itself wants something of the station. `id` is a UUID; `payload` is encoded JSON.

    A `token` below 0 is that of a question: our limits follow its answer, so it is not waited for long.
    Without a token nobody waits for the answer.
    """

    token: int | None
    id: str
    action: str
    payload: bytes
    urgent: bool = False


class RelayTick(msgspec.Struct, frozen=True):
    """Time has passed: the relay's `deadline` was reached."""


Event = (
    FromStation
    | FromBackend
    | BackendUp
    | BackendLost
    | FromObserver
    | ObserverUp
    | ObserverLost
    | OwnCall
    | RelayTick
)


class ToStation(msgspec.Struct, frozen=True):
    """Send this text to the station."""

    text: str


class ToBackend(msgspec.Struct, frozen=True):
    """Send this text to the backend."""

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


class ProfilesAbsorbed(msgspec.Struct, frozen=True):
    """The profiles that are kept for the station's backend are these now: to be saved.

    It comes in the same turn as the answer that accepts them: save before anything is sent.
    """

    profiles: tuple[HeldProfile, ...]


class LogEntry(msgspec.Struct, frozen=True):
    """Something that a person should be able to read in the log. `level` is one of `logging`."""

    level: int
    text: str


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
    | PersistRelay
    | LogEntry
)


def calls_for_limits(action: Action) -> bool:
    """Whether limits of ours follow: the station can be commanded, has lost some, or answered a question."""
    if isinstance(action, ObservationMade):
        return isinstance(action.observation, ProfilesTouched)
    return isinstance(action, Commandable) or (isinstance(action, OwnAnswered) and action.token < 0)


def saved_at_once(actions: list[Action]) -> list[Action]:
    """All that is to be saved comes with the first Save: of what one event changes, nothing is left out."""
    saves = [action for action in actions if isinstance(action, PersistRelay)]
    if len(saves) < 2:
        return actions
    words = tuple(word for save in saves for word in save.words)
    place = actions.index(saves[0])
    rest = (action for action in actions[place:] if not isinstance(action, PersistRelay))
    return [*actions[:place], PersistRelay(words), *rest]
