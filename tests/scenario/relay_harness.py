"""One relay in virtual time, and the peers around it: the core driver of single messages.

    scenario = RelayHarness()
    scenario.station.send('[2,"1","Heartbeat",{}]')
    scenario.csms.receive('[2,"1","Heartbeat",{}]')
    scenario.expect_nothing()

The effects of the relay are expected in their order, one by one: an effect that was not expected makes the
next `send`, or `expect_nothing`, fail. Only log lines and stored states may stay unread.
"""

from __future__ import annotations

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
from controller.model.journal import EvseStatesStored, Persist, ProfilesStored, Record
from controller.model.observations import EvseRating, Observation
from controller.ocpp.frames import Call, Version
from controller.ocpp.station_state import StationStateTracker
from controller.offline.offline_handler import OfflineHandler
from controller.offline.station_snapshot import StationSnapshot
from controller.profiles.absorbed_profiles import AbsorbedProfiles, EvseWiring
from controller.profiles.arbiter import ProfileArbiter
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
from controller.relay.upstream import OwnerSide
from controller.signing.policy_enforcer import PolicyEnforcer
from tests.scenario.frames import expect_call, expect_error, expect_result

TIMEOUT_S = 30.0
START_S = 1000.0
UTC_0 = 1_795_996_800.0
"""UTC (POSIX s) when the virtual clock stands at 0: a Monday's midnight."""
MOST_TICKS = 1000
"""Most deadlines in one `wait`: with more of them, the relay's deadline does not move."""

_ActionT = TypeVar("_ActionT", bound=Action)


def make_absorbed_profiles(scope: LimitScope, lease_s: float = 120.0) -> AbsorbedProfiles:
    """Return the empty profiles of a station with one EVSE, or with two if each has its own limits."""
    wired = EvseWiring(phases=3, max_a=32.0, fallback_a=6.0)
    count = 1 if scope is LimitScope.STATION else 2
    return AbsorbedProfiles(
        dict.fromkeys(range(1, count + 1), wired), 230.0, lease_s, lambda now: UTC_0 + now
    )


class RelayHarness:
    """A relay with its peers `station` and `csms`, and an `observer` for each name in `observers`.

    `up`: the link to the CSMS is open from the start. `evses`: configured EVSEs of the station.
    """

    def __init__(
        self,
        version: Version = Version.V16,
        scope: LimitScope = LimitScope.STATION,
        *,
        up: bool = True,
        profiles: AbsorbedProfiles | None = None,
        policy: PolicyEnforcer | None = None,
        observers: Mapping[str, SecondaryBackend] | None = None,
        offline: OfflineHandler | None = None,
        grace_s: float = 0.0,
        snapshot: StationSnapshot | None = None,
        local: LocalScope | None = None,
        evses: int = 0,
        tracker: StationStateTracker | None = None,
    ) -> None:
        self.now = START_S
        self.log: list[LogEntry] = []
        self.stored_profiles: ProfilesStored | None = None
        self.stored_states: EvseStatesStored | None = None
        self.profiles = make_absorbed_profiles(scope) if profiles is None else profiles
        self.arbiter = ProfileArbiter(version, scope, self.profiles)
        ratings = dict.fromkeys(range(1, evses + 1), EvseRating(3, 32.0))
        self.tracker = tracker or StationStateTracker(version, 230.0, ratings)
        self.relay = StationRelay(
            "CS01",
            version,
            OwnerSide("cpo", grace_s=grace_s, offline=offline, snapshot=snapshot),
            self.tracker,
            self.arbiter,
            TIMEOUT_S,
            self.now,
            observers=observers,
            policy=None if policy is None else PolicyCheck(policy, version, "CS01"),
            local=local,
        )
        self.station = StationPeer(self)
        self.csms = CsmsPeer(self)
        self._unread: deque[Action] = deque()
        self._token = 0
        if up:
            self.csms.connect()

    def observer(self, backend: str) -> ObserverPeer:
        """Return the peer of the observer with this name."""
        return ObserverPeer(self, backend)

    def forward_up(self, text: str) -> None:
        """Send a text from the station that the CSMS receives, and nothing else."""
        self.station.send(text)
        self.csms.receive(text)
        self.expect_nothing()

    def forward_down(self, text: str) -> None:
        """Send a text from the CSMS that the station receives, and nothing else."""
        self.csms.send(text)
        self.station.receive(text)
        self.expect_nothing()

    # -- the controller -----------------------------------------------------------------------------

    def stop(self) -> None:
        """Request that the relay stops."""
        self.handle(StopRequested())

    def send_own_call(self, action: str = "SetChargingProfile", *, urgent: bool = False) -> str:
        """Queue a CALL of the controller; return the frame that the station is to receive."""
        self._token += 1
        message_id = str(uuid.UUID(int=self._token))
        self.handle(OwnCall(self._token, message_id, action, b'{"own":true}', urgent))
        return f'[2,"{message_id}","{action}",{{"own":true}}]'

    def expect_own_result(self, result: bytes | None, words: str = "", token: int | None = None) -> None:
        """Expect the end of a CALL of the controller: of the latest, or of the one with this token."""
        answered = self.take(OwnAnswered)
        assert (answered.token, answered.result) == (token or self._token, result)
        assert words in answered.detail

    def take_local_call(self, message_id: str, action: str) -> LocalCall:
        """Expect a CALL of the station that the controller itself has to answer."""
        asked = self.take(LocalCall)
        assert (asked.id, asked.action) == (message_id, action)
        return asked

    def answer_local_call(self, answer: LocalAnswer) -> None:
        """Answer such a CALL."""
        self.handle(answer)

    def make_commandable(self) -> None:
        """Let the station send an answer that was not requested: it has not booted anew."""
        self.station.send('[3,"nothing",{}]')
        self.expect_commandable()

    def expect_commandable(self) -> None:
        """Expect that CALLs of the controller may be sent."""
        self.expect(Commandable())

    def wait(self, seconds: float) -> None:
        """Let time pass; the relay gets TimePassed at each of its deadlines, as from a session."""
        self.expect_nothing()
        end = self.now + seconds
        for _ in range(MOST_TICKS):
            deadline = self.relay.deadline
            if deadline > end:
                self.now = end
                return
            self.now = max(self.now, deadline)
            self._take_effects(self.relay.handle(TimePassed(), self.now, UTC_0 + self.now))
        raise AssertionError("the relay's deadline does not move")

    def handle(self, event: Event) -> None:
        """Pass an event to the relay; all earlier effects have been expected."""
        self.expect_nothing()
        self._take_effects(self.relay.handle(event, self.now, UTC_0 + self.now))

    def close(self, reason: str) -> None:
        """Close the relay as its session does."""
        self.expect_nothing()
        self._take_effects(self.relay.close(reason, self.now, UTC_0 + self.now))

    def _take_effects(self, actions: list[Action]) -> None:
        actions = [each for action in actions if (each := self._without_states(action)) is not None]
        self.log += [action for action in actions if isinstance(action, LogEntry)]
        self._unread.extend(
            action for action in actions if not isinstance(action, LogEntry | PasswordCommand)
        )

    def _without_states(self, action: Action) -> Action | None:
        """Note stored EVSE states and profiles; return the action without them, None if nothing is left."""
        if not isinstance(action, Persist):
            return action
        self.stored_states = next(
            (each for each in action.records if isinstance(each, EvseStatesStored)), self.stored_states
        )
        self.stored_profiles = next(
            (each for each in action.records if isinstance(each, ProfilesStored)), self.stored_profiles
        )
        noted = EvseStatesStored | ProfilesStored
        rest = tuple(each for each in action.records if not isinstance(each, noted))
        return Persist(rest) if rest else None

    # -- effects ------------------------------------------------------------------------------------

    def expect(self, expected: Action) -> None:
        """Expect that the next effect is this one."""
        assert self._unread, f"there is no effect; expected {expected}"
        assert self._unread.popleft() == expected

    def take(self, kind: type[_ActionT]) -> _ActionT:
        """Return the next effect, which is of this kind."""
        assert self._unread, f"there is no effect; expected {kind.__name__}"
        action = self._unread.popleft()
        assert isinstance(action, kind), f"the effect is {action}; expected {kind.__name__}"
        return action

    def expect_nothing(self) -> None:
        """Expect no further effect."""
        assert list(self._unread) == []

    def drop_effects(self) -> None:
        """Accept all effects as they are."""
        self._unread.clear()

    def take_records(self) -> tuple[Record, ...]:
        """Expect that records are to be durable before the further effects."""
        return self.take(Persist).records

    def expect_observation(self, observation: Observation) -> None:
        """Expect that the site gets this observation."""
        self.expect(ObservationMade(observation))

    def take_observation(self) -> Observation:
        """Return the observation that the site gets next."""
        return self.take(ObservationMade).observation

    def expect_close(self, words: str = "", code: int = 1013) -> None:
        """Expect that both links are closed; nothing follows, not even a deadline."""
        closed = self.take(Close)
        assert closed.code == code
        assert words in closed.reason
        self.expect_nothing()
        assert self.relay.deadline == math.inf

    def expect_redial(self, words: str = "", backend: str = "cpo") -> None:
        """Expect that the link to a backend is opened again."""
        redial = self.take(Redial)
        assert redial.backend == backend
        assert words in redial.reason

    def expect_log(self, words: str, count: int = 1) -> None:
        """Expect that so many log lines contain these words."""
        texts = [entry.text for entry in self.log]
        assert sum(words in text for text in texts) == count, texts


class _RelayPeer:
    """One peer of the relay; its received texts are expected in order with all other effects."""

    def __init__(self, harness: RelayHarness) -> None:
        self._harness = harness

    def receive_text(self) -> str:
        """Return the next text."""
        raise NotImplementedError

    def receive(self, text: str) -> None:
        """Expect this text, byte for byte."""
        assert self.receive_text() == text

    def receive_call(self, action: str) -> Call:
        """Return the next text, a CALL with this action."""
        return expect_call(self.receive_text(), action)

    def receive_error(self, message_id: str, code: str, words: str = "") -> None:
        """Expect a CALLERROR."""
        expect_error(self.receive_text(), message_id, code, words)

    def receive_rejection(self, message_id: str) -> None:
        """Expect a CALLRESULT with the status Rejected."""
        assert expect_result(self.receive_text(), message_id)["status"] == "Rejected"


class StationPeer(_RelayPeer):
    """The station's end of the relay."""

    def send(self, text: str) -> None:
        """Send a text to the controller."""
        self._harness.handle(FromStation(text))

    def disconnect(self) -> None:
        """End the station's link."""
        self._harness.close("station CS01 is gone")

    def receive_text(self) -> str:
        """Return the next text of the controller."""
        return self._harness.take(ToStation).text


class CsmsPeer(_RelayPeer):
    """The owner's end of the relay."""

    def connect(self) -> None:
        """Open the link of the owner."""
        self._harness.handle(BackendUp())

    def disconnect(self, reason: str = "connection reset") -> None:
        """End the link of the owner."""
        self._harness.handle(BackendLost(reason))

    def send(self, text: str) -> None:
        """Send a text to the controller."""
        self._harness.handle(FromBackend(text))

    def receive_text(self) -> str:
        """Return the next text of the controller."""
        return self._harness.take(ToBackend).text


class ObserverPeer(_RelayPeer):
    """An observer's end of the relay."""

    def __init__(self, harness: RelayHarness, backend: str) -> None:
        super().__init__(harness)
        self._backend = backend

    def connect(self) -> None:
        """Open the link of the observer."""
        self._harness.handle(ObserverUp(self._backend))

    def send(self, text: str) -> None:
        """Send a text to the controller."""
        self._harness.handle(FromObserver(self._backend, text))

    def receive_text(self) -> str:
        """Return the next text of the controller, which is for this observer."""
        sent = self._harness.take(ToObserver)
        assert sent.backend == self._backend
        return sent.text
