"""A conversation with one relay, in virtual time: what each side says, and what each side must hear.

    talk = Playbook()
    talk.station('[2,"1","Heartbeat",{}]')
    talk.backend_hears('[2,"1","Heartbeat",{}]')
    talk.done()

Every action of the relay has to be asked for: whatever nobody asked for makes the next line of the
conversation, or `done`, fail. Only notes (log lines) and what is saved may stay unread.
"""

from __future__ import annotations

import json
import math
import uuid
from collections import deque
from collections.abc import Mapping
from typing import TypeVar

from controller.chargers.quirks import LimitScope
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
from controller.model.observations import EvseRating, Observation
from controller.ocpp.frames import Call, Version, parse
from controller.ocpp.station_state import StationStateTracker
from controller.offline.offline_handler import OfflineHandler
from controller.offline.station_snapshot import StationSnapshot
from controller.profiles.absorbed_profiles import AbsorbedProfiles, EvseWiring
from controller.profiles.arbiter import ProfileArbiter
from controller.profiles.profile_messages import ProfilesAbsorbed
from controller.relay.events import (
    Action,
    Close,
    Commandable,
    Event,
    FromObserver,
    FromStation,
    LocalAnswer,
    LocalCall,
    LocalScope,
    ObservationMade,
    ObserverUp,
    OwnAnswered,
    PasswordCommand,
    Redial,
    StopRequested,
    ToObserver,
    ToStation,
)
from controller.relay.policy_check import PolicyCheck
from controller.relay.secondary_backend import SecondaryBackend
from controller.relay.station_relay import StationRelay
from controller.signing.policy_enforcer import PolicyEnforcer

TIMEOUT_S = 30.0
START_S = 1000.0
UTC_0 = 1_795_996_800.0
"""UTC (POSIX s) when the virtual clock stands at 0: a Monday's midnight."""
MOST_TICKS = 1000
"""In one pause: more, and the relay's deadline does not move."""

_ActionT = TypeVar("_ActionT", bound=Action)


def a_station(scope: LimitScope, lease_s: float = 120.0) -> AbsorbedProfiles:
    """What is kept for a station with one EVSE, or with two where each has its own limits: nothing yet."""
    wired = EvseWiring(phases=3, max_a=32.0, fallback_a=6.0)
    count = 1 if scope is LimitScope.STATION else 2
    return AbsorbedProfiles(
        dict.fromkeys(range(1, count + 1), wired), 230.0, lease_s, lambda now: UTC_0 + now
    )


class Playbook:
    """Station, backend and controller around a relay.

    `up`: the backend's link stands from the start. `evses`: configured EVSEs of the station.
    """

    def __init__(
        self,
        version: Version = Version.V16,
        scope: LimitScope = LimitScope.STATION,
        *,
        up: bool = True,
        kept: AbsorbedProfiles | None = None,
        gate: PolicyEnforcer | None = None,
        observers: Mapping[str, SecondaryBackend] | None = None,
        offline: OfflineHandler | None = None,
        grace_s: float = 0.0,
        snapshot: StationSnapshot | None = None,
        local: LocalScope | None = None,
        evses: int = 0,
        tracker: StationStateTracker | None = None,
    ) -> None:
        self.now = START_S
        self.notes: list[LogEntry] = []
        self.saved: ProfilesAbsorbed | None = None
        self.states: EvseStatesStored | None = None
        self.kept = a_station(scope) if kept is None else kept
        self.ownership = ProfileArbiter(version, scope, self.kept)
        ratings = dict.fromkeys(range(1, evses + 1), EvseRating(3, 32.0))
        self.tracker = tracker or StationStateTracker(version, 230.0, ratings)
        self.relay = StationRelay(
            "CS01",
            "cpo",
            version,
            self.tracker,
            self.ownership,
            TIMEOUT_S,
            self.now,
            observers=observers,
            offline=offline,
            grace_s=grace_s,
            snapshot=snapshot,
            policy=None if gate is None else PolicyCheck(gate, version, "CS01"),
            local=local,
        )
        self._unheard: deque[Action] = deque()
        self._token = 0
        if up:
            self.backend_up()

    # -- what is said -------------------------------------------------------------------------------

    def station(self, text: str) -> None:
        self._happens(FromStation(text))

    def backend(self, text: str) -> None:
        self._happens(FromBackend(text))

    def observer(self, backend: str, text: str) -> None:
        self._happens(FromObserver(backend, text))

    def observer_up(self, backend: str) -> None:
        self._happens(ObserverUp(backend))

    def backend_up(self) -> None:
        self._happens(BackendUp())

    def backend_lost(self, reason: str = "connection reset") -> None:
        self._happens(BackendLost(reason))

    def station_lost(self) -> None:
        self.done()
        self._take(self.relay.close("station CS01 is gone", self.now, UTC_0 + self.now))

    def stop(self) -> None:
        """The controller is asked to stop."""
        self._happens(StopRequested())

    def own(self, action: str = "SetChargingProfile", *, urgent: bool = False) -> str:
        """The controller wants something of the station; returns the frame that must reach it."""
        self._token += 1
        message_id = str(uuid.UUID(int=self._token))
        self._happens(OwnCall(self._token, message_id, action, b'{"own":true}', urgent))
        return f'[2,"{message_id}","{action}",{{"own":true}}]'

    def local_call(self, message_id: str, action: str) -> LocalCall:
        """A CALL of the station that the controller itself has to answer."""
        asked = self._pop(LocalCall)
        assert (asked.id, asked.action) == (message_id, action)
        return asked

    def local_answer(self, answer: LocalAnswer) -> None:
        self._happens(answer)

    def commandable(self) -> None:
        """The station shows that it has not booted anew: an answer that nobody asked for."""
        self.station('[3,"nothing",{}]')
        self.commands_allowed()

    def wait(self, seconds: float) -> None:
        """Time passes; the relay gets its Tick whenever it asked for one, as from the session around it."""
        self.done()
        end = self.now + seconds
        for _ in range(MOST_TICKS):
            deadline = self.relay.deadline
            if deadline > end:
                self.now = end
                return
            self.now = max(self.now, deadline)
            self._take(self.relay.handle(TimePassed(), self.now, UTC_0 + self.now))
        raise AssertionError("the relay wants a Tick for ever")

    def _happens(self, event: Event) -> None:
        self.done()
        self._take(self.relay.handle(event, self.now, UTC_0 + self.now))

    def _take(self, actions: list[Action]) -> None:
        actions = [each for action in actions if (each := self._without_states(action)) is not None]
        self.notes += [action for action in actions if isinstance(action, LogEntry)]
        self.saved = next((action for action in actions if isinstance(action, ProfilesAbsorbed)), self.saved)
        self._unheard.extend(
            action
            for action in actions
            if not isinstance(action, LogEntry | PasswordCommand | ProfilesAbsorbed)
        )

    def _without_states(self, action: Action) -> Action | None:
        """Note the stored states of EVSEs; return the action without them, None if nothing is left."""
        if not isinstance(action, Persist):
            return action
        self.states = next(
            (each for each in action.records if isinstance(each, EvseStatesStored)), self.states
        )
        rest = tuple(each for each in action.records if not isinstance(each, EvseStatesStored))
        return Persist(rest) if rest else None

    # -- what is heard ------------------------------------------------------------------------------

    def station_hears(self, text: str) -> None:
        self._next(ToStation(text))

    def station_hears_text(self) -> str:
        """Whatever it is."""
        return self._pop(ToStation).text

    def backend_hears(self, text: str) -> None:
        self._next(ToBackend(text))

    def station_hears_error(self, message_id: str, code: str, word: str = "") -> None:
        _is_error(self._pop(ToStation).text, message_id, code, word)

    def backend_hears_error(self, message_id: str, code: str, word: str = "") -> None:
        _is_error(self._pop(ToBackend).text, message_id, code, word)

    def station_hears_call(self, action: str) -> Call:
        """A CALL with this action, whatever is in it."""
        return _call_in(self._pop(ToStation).text, action)

    def backend_hears_call(self, action: str) -> Call:
        """A CALL with this action, whatever is in it."""
        return _call_in(self.backend_hears_text(), action)

    def backend_hears_text(self) -> str:
        """Whatever it is."""
        return self._pop(ToBackend).text

    def backend_hears_rejected(self, message_id: str) -> None:
        kind, heard_id, payload = json.loads(self._pop(ToBackend).text)
        assert (kind, heard_id, payload["status"]) == (3, message_id, "Rejected")

    def passes_up(self, text: str) -> None:
        """The station says it, the backend hears it, and nothing else happens."""
        self.station(text)
        self.backend_hears(text)
        self.done()

    def passes_down(self, text: str) -> None:
        self.backend(text)
        self.station_hears(text)
        self.done()

    def observer_hears_text(self, backend: str) -> str:
        """Whatever it is."""
        told = self._pop(ToObserver)
        assert told.backend == backend
        return told.text

    def saves(self) -> tuple[Record, ...]:
        """Something has to be on disk before what follows."""
        return self._pop(Persist).records

    def site_learns(self, observation: Observation) -> None:
        self._next(ObservationMade(observation))

    def site_learns_any(self) -> Observation:
        """Whatever it is."""
        return self._pop(ObservationMade).observation

    def commands_allowed(self) -> None:
        self._next(Commandable())

    def own_answered(self, result: bytes | None, word: str = "", token: int | None = None) -> None:
        """One of the controller's own CALLs has its end; the latest, if not said which."""
        answered = self._pop(OwnAnswered)
        assert (answered.token, answered.result) == (token or self._token, result)
        assert word in answered.detail

    def closes(self, word: str = "", code: int = 1013) -> None:
        """Both links are closed, nothing follows, and nothing ever happens again."""
        closed = self._pop(Close)
        assert closed.code == code
        assert word in closed.reason
        self.done()
        assert self.relay.deadline == math.inf

    def redials(self, word: str = "", backend: str = "cpo") -> None:
        """The link to a backend is to be made anew."""
        redial = self._pop(Redial)
        assert redial.backend == backend
        assert word in redial.reason

    def done(self) -> None:
        """Nothing more has happened."""
        assert list(self._unheard) == []

    def noted(self, word: str, count: int = 1) -> None:
        """So many log lines had this in them."""
        texts = [note.text for note in self.notes]
        assert sum(word in text for text in texts) == count, texts

    def _next(self, expected: Action) -> None:
        assert self._unheard, f"nothing happened; expected {expected}"
        assert self._unheard.popleft() == expected

    def _pop(self, kind: type[_ActionT]) -> _ActionT:
        assert self._unheard, f"nothing happened; expected {kind.__name__}"
        action = self._unheard.popleft()
        assert isinstance(action, kind), f"{action} happened; expected {kind.__name__}"
        return action


def _call_in(text: str, action: str) -> Call:
    frame = parse(text)
    assert isinstance(frame, Call)
    assert frame.action == action
    return frame


def _is_error(text: str, message_id: str, code: str, word: str) -> None:
    kind, heard_id, heard_code, description, _details = json.loads(text)
    assert (kind, heard_id, heard_code) == (4, message_id, code)
    assert word in description


def call(message_id: str, action: str = "DataTransfer", payload: str = "{}") -> str:
    """A CALL of a peer."""
    return f'[2,"{message_id}","{action}",{payload}]'


def result(message_id: str, payload: str = "{}") -> str:
    """A peer's good answer."""
    return f'[3,"{message_id}",{payload}]'
