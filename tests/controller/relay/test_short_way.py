"""Messages that pass in one step have the same effects as over the whole pipeline."""

from __future__ import annotations

import itertools
import random
import uuid
from collections.abc import Sequence
from typing import Literal, get_args

import pytest

from controller.chargers.quirks import LimitScope
from controller.model.effects import BackendLost, BackendUp, FromBackend, OwnCall, TimePassed, ToBackend
from controller.model.journal import StoreState
from controller.model.observations import EvseRating
from controller.ocpp.frames import Call, Version, parse
from controller.ocpp.station_state import StationStateTracker
from controller.offline.offline_handler import make_offline_handler
from controller.offline.offline_responder import OfflineRules
from controller.offline.station_memory import StationMemory
from controller.profiles.arbiter import ProfileArbiter
from controller.relay.events import (
    Action,
    Event,
    FromStation,
    LocalAnswer,
    LocalCall,
    StopRequested,
    ToStation,
)
from controller.relay.policy_check import PolicyCheck
from controller.relay.station_relay import StationRelay
from controller.relay.upstream import OwnerSide
from controller.signing.policy_schema import VerificationMode, VerificationRule
from controller.signing.signature_format import Direction, MessageKind
from tests.controller.signing.policy_examples import make_enforcer
from tests.scenario.relay_harness import make_absorbed_profiles

STEPS = 400
UTC = 1.8e9

Step = tuple[list[Action], float, bool]

Mode = Literal["grace", "autonomous", "local"]


class CertificateScope:
    """The controller answers requests of certificates."""

    def takes_call(self, action: str, payload: bytes) -> bool:
        return action == "SignCertificate"

    def refuse_command(self, action: str, payload: bytes) -> bytes | None:
        return None


class PipelineRelay(StationRelay):
    """A relay whose messages all take the pipeline."""

    def _find_quiet(self) -> bool:
        return False


class NotingArbiter(ProfileArbiter):
    """An arbiter that notes which of the station's CALLs it is shown with their results."""

    def __init__(self, version: Version) -> None:
        super().__init__(version, LimitScope.STATION, make_absorbed_profiles(LimitScope.STATION))
        self.settled: list[str] = []

    def on_settled(self, frame: Call, result: bytes, now: float) -> None:
        self.settled.append(frame.id)
        super().on_settled(frame, result, now)


def make_relay(
    kind: type[StationRelay],
    version: Version,
    profiles: ProfileArbiter | None = None,
    rules: Sequence[VerificationRule] | None = None,
    mode: Mode = "grace",
) -> StationRelay:
    """Return a relay; `rules`: those of its policy, None: it has none.

    While its owner is away, the station waits for a minute, or is served (autonomous). With "local" some of
    its CALLs are answered by the controller.
    """
    policy = None if rules is None else PolicyCheck(make_enforcer(rules), version, "CS01")
    tracker = StationStateTracker(version, 230, {1: EvseRating(phases=3, max_a=32.0)})
    profiles = profiles or NotingArbiter(version)
    owner = OwnerSide("cpo", grace_s=60.0)
    if mode == "autonomous":
        memory = StationMemory("CS01", ["cpo"], b"key", [], StoreState())
        offline = make_offline_handler(memory, version, OfflineRules(), lambda now: UTC + now)
        owner = OwnerSide("cpo", offline=offline, snapshot=memory.snapshot)
    local = CertificateScope() if mode == "local" else None
    return kind("CS01", version, owner, tracker, profiles, 30.0, 0.0, policy=policy, local=local)


def meter_values(version: Version, second: int, value: str, more: str = "") -> str:
    stamp = f"2027-01-15T08:{second // 60 % 60:02}:{second % 60:02}Z"
    evse = '"connectorId":1' if version is Version.V16 else '"evseId":1'
    number = f'"{value}"' if version is Version.V16 else value
    sample = f'{{"value":{number},"measurand":"Current.Import"}}'
    return f'{{{evse}{more},"meterValue":[{{"timestamp":"{stamp}","sampledValue":[{sample}]}}]}}'


def _rule(action: str, **of: object) -> VerificationRule:
    require = VerificationMode.ANY
    return VerificationRule(id="rule", priority=0, require=require, actions=(action,), **of)  # type: ignore[arg-type]


class RandomTalk:
    """A station, its backend, the controller and time in random order, from one seed."""

    def __init__(
        self,
        kind: type[StationRelay],
        version: Version,
        seed: int,
        rules: Sequence[VerificationRule] | None,
        mode: Mode,
    ) -> None:
        self._profiles = NotingArbiter(version)
        self._relay = make_relay(kind, version, self._profiles, rules, mode)
        self._mode = mode
        self._version = version
        self._random = random.Random(seed)
        self._now = 0.0
        self._ids = itertools.count()
        self._open_calls: list[str] = []
        self._commands: list[str] = []
        self._local_calls: list[str] = []

    def run(self) -> list[Step]:
        """Return the effects, the deadline and the readiness after each step."""
        return [self._do(BackendUp()), *(self._do(self._next_event()) for _ in range(STEPS))]

    @property
    def settled(self) -> list[str]:
        """Ids of the CALLs whose results the arbiter of profiles was shown."""
        return self._profiles.settled

    def _do(self, event: Event) -> Step:
        actions = self._relay.handle(event, self._now, UTC + self._now)
        for action in actions:
            if isinstance(action, LocalCall):
                self._local_calls.append(action.id)
            frame = parse(action.text) if isinstance(action, ToStation | ToBackend) else None
            if isinstance(frame, Call) and isinstance(action, ToStation):
                self._commands.append(frame.id)
            elif isinstance(frame, Call) and frame.id not in self._open_calls:
                self._open_calls.append(frame.id)  # from the outbox
        return actions, self._relay.next_deadline, self._relay.accepts_messages

    def _next_event(self) -> Event:
        chance = self._random.random()
        self._now += self._random.choice((0.0, 0.0, 0.1, 1.0, 4.0))
        if self._relay.next_deadline <= self._now:
            return TimePassed()
        if chance < 0.03:
            return self._rare_event()
        if chance < 0.2 and self._local_calls:
            return LocalAnswer(self._local_calls.pop(0), b'{"status":"Accepted"}')
        if chance < 0.3 and self._commands:
            return FromStation(f'[3,"{self._commands.pop(0)}",{{"status":"Accepted"}}]')
        if chance < 0.7 and self._open_calls:
            return FromBackend(self._answer(self._open_calls.pop(0)))
        return FromStation(self._station_call())

    def _station_call(self) -> str:
        second = int(self._now)
        actions = {
            "Heartbeat": "{}",
            "NobodyKnowsThis": '{"ä": [1, 2]}',
            "MeterValues": meter_values(self._version, second, self._random.choice(("6.0", "16.0", "9e9"))),
            "StatusNotification": '{"connectorId":1,"status":"Charging","errorCode":"NoError"}',
            "BootNotification": '{"chargePointVendor":"V","chargePointModel":"M"}',
            "SignCertificate": '{"csr":"x"}',
        }
        action = self._random.choices(list(actions), (3, 3, 6, 0.5, 0.1, 0.5))[0]
        if self._mode == "autonomous" and self._random.random() < 0.2:
            action, actions[action] = self._transaction_message(second)
        self._open_calls.append(f"s{next(self._ids)}")
        return f'[2,"{self._open_calls[-1]}","{action}",{actions[action]}]'

    def _transaction_message(self, second: int) -> tuple[str, str]:
        """Return a message that counts while the owner is away, or whose result shows a token's status."""
        number = self._random.randrange(3)
        stamp = f"2027-01-15T08:{second // 60 % 60:02}:{second % 60:02}Z"
        token = (
            f'"idTag":"T{number}"' if self._version is Version.V16 else f'"idToken":{{"idToken":"T{number}"}}'
        )
        start = f'"connectorId":1,{token},"meterStart":0,"timestamp":"{stamp}"'
        stop = f'"transactionId":{number},"meterStop":9,"timestamp":"{stamp}"'
        event = self._random.choice(("Started", "Updated", "Ended"))
        info = f'"transactionInfo":{{"transactionId":"{number}"}}'
        detail = f'"eventType":"{event}","timestamp":"{stamp}","seqNo":{second},{info}'
        values = meter_values(self._version, second, "6.0", f',"transactionId":{number}')
        return self._random.choice(
            (
                ("Authorize", f"{{{token}}}"),
                ("StartTransaction", f"{{{start}}}"),
                ("StopTransaction", f"{{{stop}}}"),
                ("TransactionEvent", f"{{{detail}}}"),
                ("MeterValues", values),
            )
        )

    def _answer(self, message_id: str) -> str:
        now = f'"currentTime":"2027-01-15T08:{int(self._now) // 60 % 60:02}:00Z"'
        return self._random.choice(
            (
                f'[3,"{message_id}",{{{now}}}]',
                f'[3,"{message_id}",{{"status":"Accepted","interval":60,{now}}}]',
                f'[3,"{message_id}",{{"pad":"x"}}]',
                f'[3,"{message_id}",{{"transactionId":1,"idTagInfo":{{"status":"Accepted"}}}}]',
                f'[4,"{message_id}","InternalError","",{{}}]',
            )
        )

    def _rare_event(self) -> Event:
        number = next(self._ids)
        events: list[Event] = [
            OwnCall(number, f"o{number}", "SetChargingProfile", b"{}", urgent=bool(number % 2)),
            FromBackend(f'[2,"c{number}","Reset",{{"type":"Soft"}}]'),
            FromBackend(f'[3,"x{number}",{{}}]'),
            FromStation("[2,"),
            FromStation(f'[6,"n{number}","NotifyPeriodicEventStream",{{}}]'),
            BackendLost("it has closed the link"),
            BackendUp(),
        ]
        if number > STEPS:
            events.append(StopRequested())
        return self._random.choice(events)


POLICIES = {
    "none": None,
    "without a rule": (),
    "for CALLs": (_rule("NobodyKnowsThis", direction=Direction.UP),),
    "for results": (_rule("Heartbeat", kinds=(MessageKind.RESPONSE,)),),
}


@pytest.mark.parametrize("rules", POLICIES.values(), ids=POLICIES.keys())
@pytest.mark.parametrize("version", Version)
@pytest.mark.parametrize("mode", get_args(Mode))
@pytest.mark.parametrize("seed", range(12))
def test_relay_short_way_has_the_effects_of_the_pipeline(
    rules: Sequence[VerificationRule] | None,
    version: Version,
    mode: Mode,
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = []
    for kind in (StationRelay, PipelineRelay):
        numbers = itertools.count()
        monkeypatch.setattr(uuid, "uuid4", lambda numbers=numbers: f"own-{next(numbers)}")
        talk = RandomTalk(kind, version, seed, rules, mode)
        runs.append((talk.run(), talk.settled))
    (short, short_settled), (long, long_settled) = runs
    assert short == long
    assert short_settled == long_settled


@pytest.mark.parametrize("policy", ["none", "without a rule"])
@pytest.mark.parametrize("mode", get_args(Mode))
def test_relay_passes_a_call_and_its_answer_the_short_way(
    policy: str, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = make_relay(StationRelay, Version.V16, rules=POLICIES[policy], mode=mode)
    relay.handle(BackendUp(), 0.0, UTC)
    relay.handle(TimePassed(), 3.0, UTC)
    relay.handle(FromStation('[2,"1","Heartbeat",{}]'), 4.0, UTC)
    relay.handle(FromBackend('[3,"1",{}]'), 4.0, UTC)
    monkeypatch.setattr(relay, "_on_station_frame", None)
    monkeypatch.setattr(relay, "_on_backend_frame", None)
    relay.handle(FromStation('[2,"2","Heartbeat",{}]'), 4.0, UTC)
    relay.handle(FromBackend('[3,"2",{}]'), 4.0, UTC)
