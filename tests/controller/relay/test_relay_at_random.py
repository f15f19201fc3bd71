"""Station, backend, controller and time in any order, against a model of the messages.

It never looks into the relay. It holds, at every step: what is forwarded is the very text, once, in
order; one CALL is outstanding per direction, but for an urgent limit of ours after 2 s and a command after
5 s of silence about ours; every CALL gets one answer or its link closes; our own ids never reach the
backend; what waits is bounded; time limits are kept; a farewell ends in time.
"""

from __future__ import annotations

import uuid
from collections import deque
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from controller.chargers.quirks import LimitScope
from controller.model.effects import BackendLost, BackendUp, FromBackend, OwnCall, TimePassed, ToBackend
from controller.ocpp.frames import Call, CallError, CallResult, Version, parse
from controller.ocpp.station_state import StationStateTracker
from controller.profiles.arbiter import ProfileArbiter
from controller.relay.call_queue import COMMAND_WAIT_S, MOST_OVERTAKEN, PAUSE_S, QUEUE_DEPTH, URGENT_WAIT_S
from controller.relay.events import Action, Close, Commandable, Event, FromStation, OwnAnswered, ToStation
from controller.relay.station_relay import DRAIN_S, StationRelay
from controller.relay.upstream import OwnerSide
from tests.examples import examples
from tests.scenario.relay_harness import MOST_TICKS, TIMEOUT_S, make_absorbed_profiles

TRANSACTION = "StopTransaction"
STATION_ACTIONS = ["Heartbeat", "BootNotification", TRANSACTION, "NobodyKnowsThis"]
BACKEND_ACTIONS = ["Reset", "UnlockConnector", "NobodyKnowsThis"]
SPACINGS = ['[2,"{id}","{action}",{{}}]', ' [ 2, "{id}" ,\n"{action}",{{ "ä":"\\u00e4" }} ]']
REFUSED = (
    '[2,"{id}","SetChargingProfile",'
    '{{"csChargingProfiles":{{"chargingProfilePurpose":"ChargePointMaxProfile"}}}}]'
)
ANSWERS = [
    '[3,"{id}",{{}}]',
    '[3 , "{id}", {{"status":"Accepted"}} ]',
    '[4,"{id}","InternalError","",{{}}]',
    '[4,"{id}","X"]',
]
PAUSES_S = [0.0, 0.5, 2.5, 5.0, 29.5, 30.0, 100.0]

calls = st.sampled_from(SPACINGS)
answers = st.sampled_from(ANSWERS)
bursts = st.sampled_from([1, 1, 1, QUEUE_DEPTH + 1])


@dataclass(frozen=True)
class SentMessage:
    """A CALL in flight: its token if it is the controller's, and when it was forwarded."""

    id: str
    text: str
    action: str = ""
    token: int | None = None
    sent_at: float = 0.0
    queued_at: float = 0.0

    def late(self, now: float) -> bool:
        return now >= self.sent_at + TIMEOUT_S


def given_up(message_id: str) -> str:
    """Return the error for a backend's command to a station that is being disconnected."""
    return f'[4,"{message_id}","GenericError","station CS01 is being disconnected",{{}}]'


class RelayWorld(RuleBasedStateMachine):
    """The world around one relay."""

    @initialize(version=st.sampled_from(Version))
    def begin(self, version: Version) -> None:
        self.now = 0.0
        self.relay = StationRelay(
            "CS01",
            version,
            OwnerSide("cpo"),
            StationStateTracker(version, 230),
            ProfileArbiter(version, LimitScope.STATION, make_absorbed_profiles(LimitScope.STATION)),
            TIMEOUT_S,
            0.0,
        )
        self.version = version
        self.mode = "dialling"
        self.commandable = False
        self.farewell_at = 0.0
        self.numbers = 0
        # On the way up: what waits, and what the backend has to answer.
        self.up: deque[SentMessage] = deque()
        self.at_backend: SentMessage | None = None
        self.unanswered: dict[str, str] = {}
        # On the way down: the backend's, ours by urgency, and what the station has to answer.
        self.down: deque[SentMessage] = deque()
        self.own: dict[bool, deque[SentMessage]] = {True: deque(), False: deque()}
        self.at_station: list[SentMessage] = []
        self.own_paused_until = 0.0
        self.is_registered = True
        """False from a boot on: the CALLs of the controller after it are tested elsewhere."""
        # Texts that must come out in this very turn.
        self.for_station: list[str] = []
        self.for_backend: list[str] = []
        self.held_sends: list[str] = []
        self.gone: list[str] = []  # ids whose time is over

    def number(self) -> str:
        self.numbers += 1
        return f"n{self.numbers}"

    # -- messages -------------------------------------------------------------------------------

    @precondition(lambda self: self.relay.accepts_messages)
    @rule(shape=calls, action=st.sampled_from(STATION_ACTIONS), times=bursts)
    def station_calls(self, shape: str, action: str, times: int) -> None:
        for _ in range(times):
            if not self.relay.accepts_messages:
                return
            message_id = self.number()
            text = shape.format(id=message_id, action=action)
            self.is_registered &= action != "BootNotification"
            if self.mode in ("dialling", "up"):
                self.up.append(SentMessage(message_id, text, action))
            self.happens(FromStation(text))

    @precondition(lambda self: self.relay.accepts_messages and (self.up or self.at_backend))
    @rule(first=st.booleans())
    def station_repeats(self, first: bool) -> None:
        waiting = [*([self.at_backend] if self.at_backend else []), *self.up]
        self.happens(FromStation(waiting[0 if first else -1].text))

    @precondition(lambda self: self.at_station)
    @rule(shape=answers, first=st.booleans())
    def station_answers(self, shape: str, first: bool) -> None:
        sent = self.at_station[0 if first else -1]
        text = shape.format(id=sent.id)
        if sent.token is None:  # else our side is told so
            self.at_station.remove(sent)
            if self.mode == "up":
                self.for_backend.append(text)
        self.happens(FromStation(text))

    @rule(shape=answers)
    def station_answers_late_or_unasked(self, shape: str) -> None:
        self.happens(FromStation(shape.format(id=self.gone[-1] if self.gone else "never")))

    @rule()
    def station_sends(self) -> None:
        text = f'[6,"{self.number()}","X",{{}}]'
        if self.mode == "dialling":
            self.held_sends.append(text)
        elif self.mode == "up":
            self.for_backend.append(text)
        self.happens(FromStation(text))

    @rule()
    def station_sends_invalid_frame(self) -> None:
        if self.version is not Version.V16 and self.mode != "closed":
            self.for_station.append('[4,"-1","RpcFrameworkError","it is not JSON",{}]')
        self.happens(FromStation("[2,"))

    @precondition(lambda self: self.mode in ("up", "farewell"))
    @rule(shape=calls, action=st.sampled_from(BACKEND_ACTIONS), times=bursts)
    def backend_calls(self, shape: str, action: str, times: int) -> None:
        for _ in range(times):
            message_id = self.number()
            text = shape.format(id=message_id, action=action)
            if self.mode == "up":
                self.down.append(SentMessage(message_id, text, action))
            elif self.mode == "farewell":
                self.for_backend.append(given_up(message_id))
            self.happens(FromBackend(text))

    @precondition(lambda self: self.mode in ("up", "farewell") and self.version is Version.V16)
    @rule()
    def backend_calls_what_is_refused(self) -> None:
        message_id = self.number()
        reason = "Object missing required field `chargingProfileId` - at `$.csChargingProfiles`"
        refused = f'[4,"{message_id}","TypeConstraintViolation","{reason}",{{}}]'
        self.for_backend.append(refused if self.mode == "up" else given_up(message_id))
        self.happens(FromBackend(REFUSED.format(id=message_id)))

    @precondition(lambda self: self.mode == "up" and self.down)
    @rule()
    def backend_repeats(self) -> None:
        self.happens(FromBackend(self.down[-1].text))

    @precondition(lambda self: self.at_backend)
    @rule(shape=answers)
    def backend_answers(self, shape: str) -> None:
        assert self.at_backend is not None
        text = shape.format(id=self.at_backend.id)
        self.at_backend = None
        self.unanswered.clear()
        self.for_station.append(text)
        self.happens(FromBackend(text))

    @precondition(lambda self: self.mode in ("up", "farewell"))
    @rule(shape=answers)
    def backend_answers_late_or_unasked(self, shape: str) -> None:
        self.unanswered.clear()
        self.happens(FromBackend(shape.format(id=self.gone[-1] if self.gone else "never")))

    @rule(urgent=st.booleans())
    def controller_calls(self, urgent: bool) -> None:
        self.numbers += 1
        message_id = str(uuid.UUID(int=self.numbers))
        text = f'[2,"{message_id}","SetChargingProfile",{{}}]'
        self.own[urgent].append(
            SentMessage(message_id, text, "SetChargingProfile", self.numbers, queued_at=self.now)
        )
        self.happens(OwnCall(self.numbers, message_id, "SetChargingProfile", b"{}", urgent))

    @rule(pause_s=st.sampled_from(PAUSES_S))
    def time_passes(self, pause_s: float) -> None:
        end = self.now + pause_s
        for _ in range(MOST_TICKS):
            deadline = self.relay.deadline
            if deadline > end:
                break
            self.now = max(self.now, deadline)
            late = self.at_backend
            if self.mode == "up" and late is not None and late.late(self.now):
                self.backend_is_late(late)
            self.happens(TimePassed())
        else:
            raise AssertionError("the relay wants a Tick for ever")
        self.now = end
        if self.mode == "farewell":
            assert self.now < self.farewell_at + DRAIN_S

    def backend_is_late(self, late: SentMessage) -> None:
        """It is given up for calls of two actions, or three calls, without an answer between them."""
        self.unanswered[late.id] = late.action
        if len(set(self.unanswered.values())) > 1 or len(self.unanswered) > 2:
            self.give_up_backend()
        elif late.action == TRANSACTION:
            self.at_backend = None  # the station repeats it
            self.gone.append(late.id)

    @precondition(lambda self: self.mode == "dialling")
    @rule()
    def backend_comes(self) -> None:
        self.mode = "up"
        self.for_backend += self.held_sends[-QUEUE_DEPTH:]
        self.happens(BackendUp())

    @precondition(lambda self: self.numbers > 10)  # conversations should last a while
    @rule()
    def backend_goes(self) -> None:
        if self.mode in ("dialling", "up"):
            self.give_up_backend()
        self.happens(BackendLost("reset"))

    @precondition(lambda self: self.numbers > 10)
    @rule()
    def station_goes(self) -> None:
        self.judge(self.relay.close("the station is gone", self.now, self.now))

    def give_up_backend(self) -> None:
        """The station keeps its messages; the backend's commands end with its link."""
        self.mode = "farewell"
        self.farewell_at = self.now
        self.up.clear()
        self.at_backend = None
        self.down.clear()

    def happens(self, event: Event) -> None:
        self.judge(self.relay.handle(event, self.now, self.now))

    # -- what must be true --------------------------------------------------------------------------

    def judge(self, actions: list[Action]) -> None:
        closing = any(isinstance(action, Close) for action in actions)
        for action in actions:
            match action:
                case ToStation(text):
                    self.expect_at_station(text)
                case ToBackend(text):
                    self.expect_at_csms(text, closing)
                case OwnAnswered(token, result):
                    self.expect_own_result(token, result, closing)
                case Commandable():
                    assert not self.commandable
                    self.commandable = True
                case Close():
                    assert action is actions[-1]
                    self.closed()
        assert self.for_station == []
        assert self.for_backend == []

    def expect_at_station(self, text: str) -> None:
        if self.for_station and self.for_station[0] == text:
            self.for_station.pop(0)
            return
        frame = parse(text)
        if isinstance(frame, CallError):
            assert self.at_backend is not None
            assert frame.id == self.at_backend.id
            assert self.at_backend.late(self.now)
            self.gone.append(frame.id)
            self.at_backend = None
            return
        assert isinstance(frame, Call)
        if self.mode == "farewell":  # there, nobody is told that the station did not answer
            self.at_station = [sent for sent in self.at_station if sent.token or not sent.late(self.now)]
        queue = self.queue_of(text)
        sent = queue.popleft()
        assert sent.text == text
        self.at_station.append(SentMessage(sent.id, sent.text, sent.action, sent.token, self.now))

    def queue_of(self, text: str) -> deque[SentMessage]:
        """The queue whose first CALL has been sent, and may be."""
        queues = [*self.own.values(), self.down] if self.commandable else [self.down]
        (queue,) = [each for each in queues if each and each[0].text == text]
        assert queue is not self.down or self.mode == "up"
        if self.at_station:
            last = self.at_station[-1]
            assert len(self.at_station) <= MOST_OVERTAKEN
            if queue is self.own[True]:
                assert self.now >= max(last.sent_at, queue[0].queued_at) + URGENT_WAIT_S
            else:
                assert queue is self.down
                assert last.token is not None
                assert self.now >= last.sent_at + COMMAND_WAIT_S
        elif self.own_paused_until <= self.now and self.commandable and self.is_registered:
            assert queue is self.own[True] or not self.own[True]
            assert queue is not self.down or not self.own[False]
        return queue

    def expect_at_csms(self, text: str, closing: bool) -> None:
        assert self.mode in ("up", "farewell")
        if self.for_backend and self.for_backend[0] == text:
            self.for_backend.pop(0)
            return
        frame = parse(text)
        if isinstance(frame, Call):
            assert self.mode == "up"
            assert self.at_backend is None
            sent = self.up.popleft()
            assert sent.text == text
            self.at_backend = SentMessage(sent.id, sent.text, sent.action, None, self.now)
            return
        assert isinstance(frame, CallError | CallResult)
        self.backend_is_answered_for(frame.id, closing)

    def backend_is_answered_for(self, message_id: str, closing: bool) -> None:
        """Because the station is late, the line is full, or the link closes."""
        for sent in self.at_station:
            if sent.id == message_id:
                assert sent.token is None
                assert closing or sent.late(self.now)
                self.gone.append(message_id)
                self.at_station.remove(sent)
                return
        (sent,) = [sent for sent in self.down if sent.id == message_id]
        assert closing or len(self.down) == QUEUE_DEPTH + 1
        self.down.remove(sent)

    def expect_own_result(self, token: int, result: bytes | None, closing: bool) -> None:
        for sent in self.at_station:
            if sent.token == token:
                self.gone.append(sent.id)
                self.at_station.remove(sent)
                if sent.late(self.now):
                    self.own_paused_until = self.now + PAUSE_S
                return
        assert result is None
        assert closing or self.mode == "closed"
        (queue,) = [queue for queue in self.own.values() if any(sent.token == token for sent in queue)]
        queue.remove(next(sent for sent in queue if sent.token == token))

    def closed(self) -> None:
        """All that is not answered now has lost its link: the controller's and the backend's are settled."""
        assert not any(self.own.values())
        assert not self.down
        assert self.mode == "farewell" or not self.at_station
        self.mode = "closed"
        self.at_station, self.at_backend = [], None
        self.up.clear()

    @invariant()
    def what_waits_is_bounded(self) -> None:
        if self.mode in ("dialling", "up"):
            assert len(self.up) <= QUEUE_DEPTH
            assert self.relay.accepts_messages == (len(self.up) < QUEUE_DEPTH)
        assert len(self.down) <= QUEUE_DEPTH

    @invariant()
    def every_wait_has_a_reason(self) -> None:
        """Where the way is free, the next CALL has gone."""
        if self.mode == "up":
            assert self.at_backend is not None or not self.up
            assert self.at_station or not self.down
        if self.commandable and self.is_registered and self.mode != "closed":
            assert self.at_station or not self.own[True]
            assert self.at_station or not self.own[False] or self.now < self.own_paused_until

    def teardown(self) -> None:
        """Each CALL has an answer in the end, also if its peer gives none."""
        if self.mode == "dialling":
            self.backend_comes()
        for _ in range(3 * self.numbers):
            self.time_passes(TIMEOUT_S)
        if self.mode != "closed":
            assert self.at_backend is None
            assert not self.up
            assert not self.down
            assert not (self.commandable and self.is_registered) or not any(self.own.values())
            self.station_goes()
        assert not any(self.own.values())


TestRelayWorld = RelayWorld.TestCase
TestRelayWorld.settings = settings(
    max_examples=examples(200),
    stateful_step_count=50 if examples(50) == 50 else 20,
    deadline=None,
    derandomize=True,
)
