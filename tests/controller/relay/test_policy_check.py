"""The signature policy in transit: forwarded messages, and the errors for rejected ones."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import Any

import pytest

from controller.chargers.quirks import LimitScope
from controller.ocpp.frames import Version
from controller.signing import payload_signatures, signature_format, signing_keys
from controller.signing.jws import JwsVerifier
from controller.signing.policy_schema import FailureAction, SigningRule, VerificationMode, VerificationRule
from controller.signing.replay_cache import ReplayRecord
from controller.signing.signature_format import Direction, MessageKind
from tests.controller.signing.authors import compact
from tests.controller.signing.policy_examples import OLGA, TOM, limit, make_enforcer, make_policy, signed
from tests.scenario.frames import call, result
from tests.scenario.observer_harness import ObserverHarness
from tests.scenario.relay_harness import START_S, UTC_0, RelayHarness

NOW = UTC_0 + START_S
OWN = signing_keys.parse_private_key(signing_keys.new_private_key("secp256r1", "lc", NOW - 10, NOW + 1000))
STATUS = '{"timestamp":"2026-11-30T00:00:00Z","connectorStatus":"Occupied","evseId":1,"connectorId":1}'
ANSWERS = VerificationRule(id="answers", require=VerificationMode.ANY, kinds=(MessageKind.RESPONSE,))


def make_relay(
    *verify: VerificationRule,
    sign: Iterable[SigningRule] = (),
    version: Version = Version.V201,
    scope: LimitScope = LimitScope.STATION,
) -> RelayHarness:
    return RelayHarness(version, scope, policy=make_enforcer(verify, sign, [OWN]))


def profile(amps: float = 16.0, purpose: str = "TxDefaultProfile") -> dict[str, Any]:
    payload = limit(amps, made=NOW)
    payload["chargingProfile"] |= {"chargingProfilePurpose": purpose, "chargingProfileKind": "Relative"}
    return payload


def a_limit(number: str = "1", amps: float = 16.0) -> str:
    """A technician's, signed."""
    return call(number, "SetChargingProfile", signed(profile(amps), TOM).decode())


# -- a backend's CALLs -------------------------------------------------------------------------------------


def test_policy_check_signed_message_passes_unchanged_once_stored() -> None:
    scenario, text = make_relay(), a_limit()
    scenario.csms.send(text)
    (record,) = scenario.take_records()
    assert isinstance(record, ReplayRecord)
    assert len(record.seen) == 1
    scenario.station.receive(text)
    scenario.expect_nothing()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (call("1", "SetChargingProfile", compact(profile()).decode()), "it is not signed"),
        (a_limit().replace('"limit":16.0', '"limit":16.1'), "it has no valid signature"),
        (a_limit(amps=17), "tom (technician) has no permission for SetChargingProfile 17 A at CS01/1"),
    ],
)
def test_policy_check_call_that_may_not_pass_is_refused_with_rule(text: str, why: str) -> None:
    scenario = make_relay()
    scenario.csms.send(text)
    scenario.csms.receive_error("1", "SecurityError", f"signature policy, rule safe-profiles: {why}")
    scenario.expect_nothing()
    scenario.expect_log("message rejected backend=cpo action=SetChargingProfile id=1 rule=safe-profiles")


def test_policy_check_repeat_under_another_id_is_refused() -> None:
    scenario, text = make_relay(), a_limit()
    scenario.csms.send(text)
    scenario.take_records()
    scenario.station.receive(text)
    scenario.station.send(result("1", '{"status":"Accepted"}'))
    scenario.expect_commandable()
    scenario.csms.receive(result("1", '{"status":"Accepted"}'))
    scenario.csms.send(text.replace('[2,"1"', '[2,"2"'))
    scenario.csms.receive_error("2", "SecurityError", "it was received before")
    scenario.expect_nothing()


@pytest.mark.parametrize("sign", [(), (SigningRule(id="too", passing=True),)])
def test_backend_call_repeated_before_answer_has_one_answer(sign: Iterable[SigningRule]) -> None:
    scenario, text = make_relay(sign=sign), a_limit()
    scenario.csms.send(text)
    scenario.take_records()
    scenario.station.receive_call("SetChargingProfile")
    scenario.csms.send(text)
    scenario.expect_nothing()
    scenario.expect_log("repeated call sent once")
    scenario.station.send(result("1"))
    scenario.expect_commandable()
    scenario.csms.receive(result("1"))


def test_policy_check_message_without_rule_passes_unsigned() -> None:
    scenario = make_relay()
    scenario.forward_down(call("1", "TriggerMessage"))
    scenario.station.send(call("1", "Heartbeat"))
    scenario.expect_commandable()
    scenario.csms.receive(call("1", "Heartbeat"))


def test_policy_check_replaced_policy_holds_on_open_link() -> None:
    enforcer = make_enforcer()
    scenario = RelayHarness(Version.V201, LimitScope.STATION, policy=enforcer)
    scenario.forward_down(call("1", "TriggerMessage"))
    rule = VerificationRule(id="quiet", require=VerificationMode.ANY, actions=("TriggerMessage",))
    enforcer.replace_policy(make_policy([rule]), (), JwsVerifier())
    scenario.csms.send(call("2", "TriggerMessage"))
    scenario.csms.receive_error("2", "SecurityError", "signature policy, rule quiet: it is not signed")
    scenario.expect_nothing()


def test_policy_check_dropped_message_has_no_answer() -> None:
    scenario = make_relay(
        VerificationRule(
            id="quiet", require=VerificationMode.ANY, actions=("Reset",), failing=FailureAction.DROP
        )
    )
    scenario.csms.send(call("1", "Reset"))
    scenario.expect_nothing()
    scenario.expect_log("message dropped backend=cpo action=Reset id=1 rule=quiet reason='it is not signed'")


def test_policy_check_marked_message_passes_and_is_logged() -> None:
    scenario = make_relay(
        VerificationRule(
            id="soon", require=VerificationMode.ANY, actions=("Reset",), failing=FailureAction.MARK
        )
    )
    scenario.forward_down(call("1", "Reset"))
    scenario.expect_log("rule=soon reason='it is not signed'")
    assert [note.level for note in scenario.log] == [logging.WARNING]


def test_policy_check_forbidden_send_is_dropped() -> None:
    send = '[6,"1","NotifyPeriodicEventStream",{}]'
    scenario = make_relay(
        VerificationRule(id="r", require=VerificationMode.ANY, kinds=(MessageKind.SEND,)), version=Version.V21
    )
    scenario.station.send(send)
    scenario.csms.send(send)
    scenario.expect_nothing()
    scenario.expect_log("rule=r", 2)


# -- messages of a station -----------------------------------------------------------------------------------


def test_policy_check_rejected_message_changes_no_state() -> None:
    scenario = make_relay(
        VerificationRule(id="states", require=VerificationMode.ANY, actions=("StatusNotification",))
    )
    scenario.station.send(call("1", "StatusNotification", STATUS))
    scenario.station.receive_error("1", "SecurityError", "rule states")
    scenario.expect_nothing()  # nothing has reached the site


def test_policy_check_refused_answer_of_station_is_error_for_backend() -> None:
    scenario = make_relay(ANSWERS)
    scenario.forward_down(call("1", "GetVariables"))
    scenario.station.send(result("1", '{"getVariableResult":[]}'))
    scenario.expect_commandable()
    scenario.csms.receive_error("1", "SecurityError", "rule answers: it is not signed")
    scenario.expect_nothing()
    scenario.expect_log("message rejected station=CS01 action=GetVariables id=1")


def test_policy_check_signed_answer_of_station_passes() -> None:
    scenario = make_relay(ANSWERS)
    scenario.forward_down(call("1", "SetVariables"))
    answer = signed({"a": 1}, OLGA, action="SetVariables", direction=Direction.UP, kind=MessageKind.RESPONSE)
    scenario.station.send(result("1", answer.decode()))
    scenario.expect_commandable()
    scenario.csms.receive(result("1", answer.decode()))


def test_policy_check_refused_answer_to_own_call_is_error() -> None:
    scenario = make_relay(ANSWERS)
    scenario.make_commandable()
    asked = scenario.send_own_call("GetVariables")
    scenario.station.receive(asked)
    scenario.station.send(result(json.loads(asked)[1]))
    scenario.expect_own_result(None, "SecurityError signature policy, rule answers")


def test_policy_check_refused_answer_of_backend_is_error_for_station() -> None:
    scenario = make_relay(ANSWERS)
    scenario.station.send(call("1", "Authorize"))
    scenario.expect_commandable()
    scenario.csms.receive(call("1", "Authorize"))
    scenario.csms.send(result("1", '{"idTokenInfo":{"status":"Accepted"}}'))
    scenario.station.receive_error("1", "SecurityError", "rule answers")
    scenario.expect_nothing()


# -- observers ---------------------------------------------------------------------------------------------


def watched(*verify: VerificationRule) -> RelayHarness:
    observing = ObserverHarness(Version.V201, may=("profiles",)).backend
    scenario = RelayHarness(Version.V201, policy=make_enforcer(verify), observers={"fleet": observing})
    scenario.observer("fleet").connect()
    return scenario


def test_policy_check_applies_to_observer_too() -> None:
    scenario = watched()
    scenario.observer("fleet").send(call("1", "SetChargingProfile", compact(profile()).decode()))
    kind, number, code, description, _ = json.loads(scenario.observer("fleet").receive_text())
    assert (kind, number, code) == (4, "1", "SecurityError")
    assert "rule safe-profiles: it is not signed" in description
    scenario.observer("fleet").send(a_limit())
    scenario.take_records()
    scenario.station.receive_call("SetChargingProfile")
    scenario.expect_nothing()


def test_policy_check_rule_for_one_backend_is_none_for_other() -> None:
    scenario = watched(
        VerificationRule(
            id="theirs", require=VerificationMode.REJECT, links=("fleet",), actions=("Reset", "profiles")
        )
    )
    scenario.observer("fleet").send(a_limit())
    assert "rule theirs" in scenario.observer("fleet").receive_text()
    scenario.forward_down(call("1", "Reset"))


# -- our own ------------------------------------------------------------------------------------------------


def ours(
    payload: bytes,
    action: str,
    direction: Direction,
    kind: MessageKind = MessageKind.REQUEST,
    version: Version = Version.V201,
) -> bool:
    """Return True if the controller's signature is on it, valid, and the only one."""
    context = signature_format.context(version, direction, kind, action)
    return payload_signatures.verify_payload(payload, context, lambda _: True).keys == {OWN.known.id}


def test_policy_check_own_calls_are_signed_by_policy() -> None:
    scenario = make_relay(sign=[SigningRule(id="own", actions=("Example",), direction=Direction.DOWN)])
    scenario.make_commandable()
    scenario.send_own_call("Example")
    assert ours(scenario.station.receive_call("Example").payload, "Example", Direction.DOWN)


def test_policy_check_own_answers_are_signed_by_policy() -> None:
    sign = [SigningRule(id="own", kinds=(MessageKind.RESPONSE,), direction=Direction.UP)]
    scenario = RelayHarness(Version.V201, LimitScope.EVSE, policy=make_enforcer((), sign, [OWN], roles=()))
    scenario.csms.send(
        call(
            "1", "ClearChargingProfile", '{"chargingProfileCriteria":{"chargingProfilePurpose":"TxProfile"}}'
        )
    )
    kind, number, answer = json.loads(scenario.csms.receive_text())
    assert (kind, number) == (3, "1")
    assert answer["status"] == "Unknown"
    assert ours(compact(answer), "ClearChargingProfile", Direction.UP, MessageKind.RESPONSE)


def test_policy_check_without_valid_key_sends_own_limits_unsigned() -> None:
    scenario = RelayHarness(Version.V201, policy=make_enforcer((), [SigningRule(id="own")]))
    scenario.make_commandable()
    scenario.station.receive(scenario.send_own_call())
    scenario.expect_log("message sent without our signature action=SetChargingProfile kind=request")


def test_policy_check_own_signature_is_added_to_others() -> None:
    scenario, text = make_relay(sign=[SigningRule(id="too", passing=True)]), a_limit()
    scenario.csms.send(text)
    scenario.take_records()
    received = scenario.station.receive_call("SetChargingProfile")
    before = json.loads(text)[3]["signatures"]
    after = json.loads(received.payload)["signatures"]
    assert (after[:1], len(after)) == (before, 2)
    assert received.payload.startswith(compact(profile())[:-1])


def test_policy_check_forwarded_message_gets_own_signature() -> None:
    scenario = make_relay(
        sign=[SigningRule(id="too", passing=True, actions=("Heartbeat",), kinds=tuple(MessageKind))]
    )
    scenario.station.send(call("1", "Heartbeat"))
    scenario.expect_commandable()
    received = scenario.csms.receive_call("Heartbeat")
    assert ours(received.payload, "Heartbeat", Direction.UP)
    scenario.station.send(call("1", "Heartbeat"))
    scenario.expect_nothing()
    scenario.expect_log("repeated call sent once")
    scenario.csms.send(result("1"))
    (answer,) = json.loads(scenario.station.receive_text())[2:]
    assert ours(compact(answer), "Heartbeat", Direction.DOWN, MessageKind.RESPONSE)


def test_own_signature_covers_all_changes_of_message() -> None:
    """An observer's transaction number differs: it is replaced in unsigned messages."""
    watching = ObserverHarness(Version.V16, may=("transactions",))
    watching.ids.set_backend_id(7, 8)
    scenario = RelayHarness(
        Version.V16,
        policy=make_enforcer((), [SigningRule(id="too", passing=True)], [OWN], roles=()),
        observers={"fleet": watching.backend},
    )
    scenario.observer("fleet").connect()
    scenario.observer("fleet").send(call("1", "RemoteStopTransaction", '{"transactionId":8}'))
    received = scenario.station.receive_call("RemoteStopTransaction")
    assert json.loads(received.payload)["transactionId"] == 7
    assert ours(received.payload, "RemoteStopTransaction", Direction.DOWN, version=Version.V16)
    scenario.observer("fleet").send(
        call("2", "RemoteStopTransaction", '{"transactionId":8,"signatures":[{}]}')
    )
    assert "is signed" in scenario.observer("fleet").receive_text()


def test_signed_message_of_ocpp_itself_gets_no_other_signature() -> None:
    scenario = make_relay(sign=[SigningRule(id="too", passing=True, kinds=tuple(MessageKind))])
    scenario.forward_down(call("1", "TriggerMessage-Signed", '{"payload":"","protected":"","signature":""}'))
