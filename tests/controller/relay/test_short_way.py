"""Messages that pass in one step have the same effects as over the whole pipeline."""

from __future__ import annotations

import itertools
import random
import uuid
from collections.abc import Sequence

import pytest

from controller.chargers.quirks import LimitScope
from controller.model.effects import BackendLost, BackendUp, FromBackend, OwnCall, TimePassed
from controller.model.observations import EvseRating
from controller.ocpp.frames import Call, Version, parse
from controller.ocpp.station_state import StationStateTracker
from controller.profiles.arbiter import ProfileArbiter
from controller.relay.events import Action, Event, FromStation, StopRequested, ToStation
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
) -> StationRelay:
    """Return a relay; `rules`: those of its policy, None: it has none."""
    policy = None if rules is None else PolicyCheck(make_enforcer(rules), version, "CS01")
    tracker = StationStateTracker(version, 230, {1: EvseRating(phases=3, max_a=32.0)})
    profiles = profiles or NotingArbiter(version)
    return kind("CS01", version, OwnerSide("cpo", grace_s=60.0), tracker, profiles, 30.0, 0.0, policy=policy)


def meter_values(version: Version, second: int, value: str) -> str:
    stamp = f"2027-01-15T08:{second // 60 % 60:02}:{second % 60:02}Z"
    evse = '"connectorId":1' if version is Version.V16 else '"evseId":1'
    number = f'"{value}"' if version is Version.V16 else value
    sample = f'{{"value":{number},"measurand":"Current.Import"}}'
    return f'{{{evse},"meterValue":[{{"timestamp":"{stamp}","sampledValue":[{sample}]}}]}}'


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
    ) -> None:
        self._profiles = NotingArbiter(version)
        self._relay = make_relay(kind, version, self._profiles, rules)
        self._version = version
        self._random = random.Random(seed)
        self._now = 0.0
        self._ids = itertools.count()
        self._open_calls: list[str] = []
        self._commands: list[str] = []

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
            frame = parse(action.text) if isinstance(action, ToStation) else None
            if isinstance(frame, Call):
                self._commands.append(frame.id)
        return actions, self._relay.next_deadline, self._relay.accepts_messages

    def _next_event(self) -> Event:
        chance = self._random.random()
        self._now += self._random.choice((0.0, 0.0, 0.1, 1.0, 4.0))
        if self._relay.next_deadline <= self._now:
            return TimePassed()
        if chance < 0.45:
            return FromStation(self._station_call())
        if chance < 0.9 and self._open_calls:
            return FromBackend(self._answer(self._open_calls.pop(0)))
        if chance < 0.95 and self._commands:
            return FromStation(f'[3,"{self._commands.pop(0)}",{{"status":"Accepted"}}]')
        return self._rare_event()

    def _station_call(self) -> str:
        second = int(self._now)
        actions = {
            "Heartbeat": "{}",
            "NobodyKnowsThis": '{"ä": [1, 2]}',
            "MeterValues": meter_values(self._version, second, self._random.choice(("6.0", "16.0", "9e9"))),
            "StatusNotification": '{"connectorId":1,"status":"Charging","errorCode":"NoError"}',
            "BootNotification": '{"chargePointVendor":"V","chargePointModel":"M"}',
        }
        action = self._random.choices(list(actions), (3, 3, 6, 0.5, 0.1))[0]
        self._open_calls.append(f"s{next(self._ids)}")
        return f'[2,"{self._open_calls[-1]}","{action}",{actions[action]}]'

    def _answer(self, message_id: str) -> str:
        now = f'"currentTime":"2027-01-15T08:{int(self._now) // 60 % 60:02}:00Z"'
        return self._random.choice(
            (
                f'[3,"{message_id}",{{{now}}}]',
                f'[3,"{message_id}",{{"status":"Accepted","interval":60,{now}}}]',
                f'[3,"{message_id}",{{"pad":"x"}}]',
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
@pytest.mark.parametrize("seed", range(12))
def test_relay_short_way_has_the_effects_of_the_pipeline(
    rules: Sequence[VerificationRule] | None, version: Version, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []
    for kind in (StationRelay, PipelineRelay):
        numbers = itertools.count()
        monkeypatch.setattr(uuid, "uuid4", lambda numbers=numbers: f"own-{next(numbers)}")
        talk = RandomTalk(kind, version, seed, rules)
        runs.append((talk.run(), talk.settled))
    (short, short_settled), (long, long_settled) = runs
    assert short == long
    assert short_settled == long_settled


@pytest.mark.parametrize("policy", ["none", "without a rule"])
def test_relay_passes_a_call_and_its_answer_the_short_way(
    policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = make_relay(StationRelay, Version.V16, rules=POLICIES[policy])
    relay.handle(BackendUp(), 0.0, UTC)
    relay.handle(TimePassed(), 3.0, UTC)
    relay.handle(FromStation('[2,"1","Heartbeat",{}]'), 4.0, UTC)
    relay.handle(FromBackend('[3,"1",{}]'), 4.0, UTC)
    monkeypatch.setattr(relay, "_on_station_frame", None)
    monkeypatch.setattr(relay, "_on_backend_frame", None)
    relay.handle(FromStation('[2,"2","Heartbeat",{}]'), 4.0, UTC)
    relay.handle(FromBackend('[3,"2",{}]'), 4.0, UTC)
