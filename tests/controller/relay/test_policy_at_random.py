"""Commands signed, unsigned, forged and repeated, in any order: what gets through; each is answered."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from controller.chargers.quirks import LimitScope
from controller.model.effects import BackendUp, FromBackend, TimePassed, ToBackend
from controller.model.journal import Persist
from controller.ocpp.frames import Version
from controller.ocpp.station_state import StationStateTracker
from controller.profiles.arbiter import ProfileArbiter
from controller.relay.events import Action, FromStation, ToStation
from controller.relay.policy_check import PolicyCheck
from controller.relay.station_relay import StationRelay
from controller.relay.upstream import OwnerSide
from controller.signing.replay_cache import ReplayRecord
from tests.controller.signing.authors import compact
from tests.controller.signing.policy_examples import TOM, limit, make_enforcer, signed
from tests.scenario.frames import call, result
from tests.scenario.relay_harness import START_S, TIMEOUT_S, UTC_0, make_absorbed_profiles

NOW = UTC_0 + START_S
AMPS = [6.5, 8.0, 12.0, 16.0]


def a_limit(amps: float) -> dict[str, Any]:
    """A SetChargingProfile with all members that OCPP requires."""
    payload = limit(amps, made=NOW)
    profile = payload["chargingProfile"]
    profile |= {"chargingProfilePurpose": "TxDefaultProfile", "chargingProfileKind": "Absolute"}
    profile["chargingSchedule"][0]["id"] = 1
    return payload


GOOD = {amps: signed(a_limit(amps), TOM).decode() for amps in AMPS}
UNSIGNED = {amps: compact(a_limit(amps)).decode() for amps in AMPS}
FORGED = {amps: text.replace(f'"limit":{amps}', f'"limit":{amps + 1}') for amps, text in GOOD.items()}
STRANGE = {amps: text.replace('"evseId":1', '"evseId":1,"evseId":1') for amps, text in GOOD.items()}

commands = st.tuples(st.sampled_from([GOOD, GOOD, UNSIGNED, FORGED, STRANGE]), st.sampled_from(AMPS))
ANSWER = "answer"


class PolicyRelay:
    """A relay with a signature policy, and the texts that both of its peers received."""

    def __init__(self) -> None:
        station = ProfileArbiter(Version.V201, LimitScope.STATION, make_absorbed_profiles(LimitScope.STATION))
        self.relay = StationRelay(
            "CS01",
            Version.V201,
            OwnerSide("cpo"),
            StationStateTracker(Version.V201, 230),
            station,
            TIMEOUT_S,
            START_S,
            policy=PolicyCheck(make_enforcer(), Version.V201, "CS01"),
        )
        self.station: list[str] = []
        self.backend: list[str] = []
        self.stored_replays = 0
        self._answered = 0
        self.take(self.relay.handle(BackendUp(), START_S, UTC_0 + START_S))

    def take(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Persist(records):
                    self.stored_replays += sum(isinstance(record, ReplayRecord) for record in records)
                case ToStation(text):
                    self.station.append(text)
                    assert len(self.station) <= self.stored_replays  # nothing goes that is not on disk
                case ToBackend(text):
                    self.backend.append(text)

    def answer(self) -> None:
        """Answer the last CALL that the station received."""
        if self.station and len(self.station) > self._answered:
            self._answered += 1
            self.take(
                self.relay.handle(
                    FromStation(result(json.loads(self.station[-1])[1])), START_S, UTC_0 + START_S
                )
            )


@given(st.lists(st.one_of(commands, st.just(ANSWER)), max_size=20))
def test_signed_messages_pass_once_and_all_are_answered_once(
    events: list[tuple[dict[float, str], float] | str],
) -> None:
    scenario, expected, messages = PolicyRelay(), dict[float, str](), 0
    for event in events:
        if isinstance(event, str):
            scenario.answer()
            continue
        texts, amps = event
        text = call(f"{messages}", "SetChargingProfile", texts[amps])
        messages += 1
        if texts is GOOD:
            expected.setdefault(amps, text)
        scenario.take(scenario.relay.handle(FromBackend(text), START_S, UTC_0 + START_S))
    for _ in events:
        scenario.answer()
    scenario.take(scenario.relay.handle(TimePassed(), START_S, UTC_0 + START_S))
    assert scenario.station == list(expected.values())
    assert scenario.stored_replays == len(expected)
    answers = [json.loads(text) for text in scenario.backend]
    assert Counter(answer[1] for answer in answers) == {f"{number}": 1 for number in range(messages)}
    assert {answer[1] for answer in answers if answer[0] == 3} == {
        json.loads(text)[1] for text in expected.values()
    }
    assert all(answer[2] == "SecurityError" for answer in answers if answer[0] == 4)
