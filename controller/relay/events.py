"""Events and effects of a station's relay."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

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
from controller.model.journal import EvseStatesStored, Persist, Record
from controller.model.observations import EvseRecord, Observation, ProfilesTouched
from controller.ocpp.frames import Version
from controller.profiles.profile_messages import BackendProfile, record_profiles


class FromStation(msgspec.Struct, frozen=True, gc=False):
    """A text message arrived from the station."""

    text: str


class FromObserver(msgspec.Struct, frozen=True):
    """A text message arrived from an observer."""

    backend: str
    text: str


class ObserverUp(msgspec.Struct, frozen=True):
    """The link to an observer is open."""

    backend: str


class ObserverLost(msgspec.Struct, frozen=True):
    """The link to an observer could not be opened, or is lost."""

    backend: str
    reason: str


class LocalAnswer(msgspec.Struct, frozen=True):
    """The controller's answer to a `LocalCall`: a JSON object; None: it could not be made."""

    id: str
    result: bytes | None


class StopRequested(msgspec.Struct, frozen=True):
    """The controller stops: take nothing new, and close once the answers that are out have arrived."""


Event = (
    FromStation
    | FromBackend
    | BackendUp
    | BackendLost
    | FromObserver
    | ObserverUp
    | ObserverLost
    | OwnCall
    | LocalAnswer
    | StopRequested
    | TimePassed
)


class ToStation(msgspec.Struct, frozen=True, gc=False):
    """Send this text to the station."""

    text: str


class ToObserver(msgspec.Struct, frozen=True):
    """Send this text to an observer."""

    backend: str
    text: str


class Redial(msgspec.Struct, frozen=True):
    """Close the link to this backend, which no longer answers, and open another."""

    backend: str
    reason: str


class UnansweredCall(LogEntry, frozen=True):
    """A CALL that a backend has not answered in time, with its line for the log."""

    backend: str
    action: str


class Close(msgspec.Struct, frozen=True):
    """Close all links; the relay has ended. `code` is a WebSocket close code for the station."""

    code: int
    reason: str


class Commandable(msgspec.Struct, frozen=True):
    """The station accepts our CALLs from now on: it was accepted, or did not boot again."""


class ObservationMade(msgspec.Struct, frozen=True):
    """A message of the station changed what is known of its EVSEs."""

    observation: Observation


class OwnAnswered(msgspec.Struct, frozen=True):
    """A CALL of the controller has ended. `result` is the payload of its CALLRESULT; None: it failed."""

    token: int
    result: bytes | None
    detail: str = ""


class LocalCall(msgspec.Struct, frozen=True):
    """Answer a CALL of the station in the owner's place, with a `LocalAnswer`."""

    id: str
    action: str
    payload: bytes


class LocalScope(Protocol):
    """Messages of one station that the controller handles in the owner's place."""

    def takes_call(self, action: str, payload: bytes) -> bool:
        """Return True if a CALL of the station is answered here and goes to no backend."""

    def refuse_command(self, action: str, payload: bytes) -> bytes | None:
        """Return the response that refuses a backend's command; None: it passes."""


class PasswordCommand(msgspec.Struct, frozen=True):
    """The station has answered a command of its owner that may set its password."""

    action: str
    payload: bytes
    result: bytes

    def __repr__(self) -> str:
        return f"PasswordCommand({self.action})"  # the payload holds a secret


PASSWORD_ACTIONS = frozenset(("ChangeConfiguration", "SetVariables", "SetNetworkProfile"))
"""Actions that may set a station's password."""

Action = (
    ToStation
    | ToBackend
    | ToObserver
    | Redial
    | Close
    | Commandable
    | ObservationMade
    | OwnAnswered
    | LocalCall
    | PasswordCommand
    | Persist
    | LogEntry
)


class TransactionRecorder(Protocol):
    """Recorder of the station's transactions; its records are persisted before the messages pass."""

    @property
    def actions(self) -> frozenset[str]:
        """Return the actions that `on_message` reads."""

    def on_message(self, action: str, payload: bytes, utc: float) -> list[Record]:
        """Take a CALL of the station as it arrives."""

    def on_call_result(self, action: str, payload: bytes, result: bytes, utc: float) -> list[Record]:
        """Take the CALLRESULT to a StartTransaction."""


def calls_for_limits(action: Action) -> bool:
    """Return True if limits of ours follow: the station is commandable, lost some, or answered a query."""
    if isinstance(action, ObservationMade):
        return isinstance(action.observation, ProfilesTouched)
    return isinstance(action, Commandable) or (isinstance(action, OwnAnswered) and action.token < 0)


def persist(records: Iterable[Record]) -> list[Persist]:
    """Return the effect that persists these records, if there are any."""
    kept = tuple(records)
    return [Persist(kept)] if kept else []


def persist_states(station: str, version: str, evses: tuple[EvseRecord, ...]) -> list[Persist]:
    """Return the effect that persists the states of a station's EVSEs."""
    return [Persist((EvseStatesStored(station, version, evses),))]


def persist_profiles(station: str, version: Version, profiles: Iterable[BackendProfile]) -> list[Persist]:
    """Return the effect that persists all profiles that are absorbed for a station's backend."""
    return [Persist((record_profiles(station, version, profiles),))]


def persist_at_once(actions: list[Action]) -> list[Action]:
    """Merge all records of one event into the first Persist: they are committed in one transaction."""
    persists = [action for action in actions if isinstance(action, Persist)]
    if len(persists) < 2:
        return actions
    records = tuple(record for each in persists for record in each.records)
    place = actions.index(persists[0])
    rest = (action for action in actions[place:] if not isinstance(action, Persist))
    return [*actions[:place], Persist(records), *rest]
