"""The policy of signatures in transit: who hears what when a message may not pass, and when it may."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import Any

import pytest

from controller.chargers.quirks import LimitScope
from controller.ocpp.frames import Version
from controller.signing import payload_signatures, signature_format, signing_keys
from controller.signing.policy_schema import FailureAction, SigningRule, VerificationMode, VerificationRule
from controller.signing.replay_cache import ReplayRecord
from controller.signing.signature_format import Direction, MessageKind
from tests.controller.relay.observer_talk import Talk
from tests.controller.relay.playbook import START_S, UTC_0, Playbook, call, result
from tests.controller.signing.authors import compact
from tests.controller.signing.house import OLGA, TOM, gate, limit, signed

NOW = UTC_0 + START_S
OWN = signing_keys.parse_private_key(signing_keys.new_private_key("secp256r1", "lc", NOW - 10, NOW + 1000))
STATUS = '{"timestamp":"2026-11-30T00:00:00Z","connectorStatus":"Occupied","evseId":1,"connectorId":1}'
ANSWERS = VerificationRule(id="answers", require=VerificationMode.ANY, kinds=(MessageKind.RESPONSE,))


def talk(
    *verify: VerificationRule,
    sign: Iterable[SigningRule] = (),
    version: Version = Version.V201,
    scope: LimitScope = LimitScope.STATION,
) -> Playbook:
    return Playbook(version, scope, gate=gate(verify, sign, [OWN]))


def profile(amps: float = 16.0, purpose: str = "TxDefaultProfile") -> dict[str, Any]:
    payload = limit(amps, made=NOW)
    payload["chargingProfile"] |= {"chargingProfilePurpose": purpose, "chargingProfileKind": "Relative"}
    return payload


def a_limit(number: str = "1", amps: float = 16.0) -> str:
    """A technician's, signed."""
    return call(number, "SetChargingProfile", signed(profile(amps), TOM).decode())


# -- a backend's CALLs -------------------------------------------------------------------------------------


def test_policy_check_signed_message_passes_unchanged_once_stored() -> None:
    play, text = talk(), a_limit()
    play.backend(text)
    (remember,) = play.saves()
    assert isinstance(remember, ReplayRecord)
    assert len(remember.seen) == 1
    play.station_hears(text)
    play.done()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (call("1", "SetChargingProfile", compact(profile()).decode()), "it is not signed"),
        (a_limit().replace('"limit":16.0', '"limit":16.1'), "it has no valid signature"),
        (a_limit(amps=17), "tom (technician) has no permission for SetChargingProfile 17 A at CS01/1"),
    ],
)
def test_policy_check_call_that_may_not_pass_is_refused_with_rule(text: str, why: str) -> None:
    play = talk()
    play.backend(text)
    play.backend_hears_error("1", "SecurityError", f"signature policy, rule safe-profiles: {why}")
    play.done()
    play.noted("message rejected backend=cpo action=SetChargingProfile id=1 rule=safe-profiles")


def test_policy_check_same_again_is_refused_under_another_id_too() -> None:
    play, text = talk(), a_limit()
    play.backend(text)
    play.saves()
    play.station_hears(text)
    play.station(result("1", '{"status":"Accepted"}'))
    play.commands_allowed()
    play.backend_hears(result("1", '{"status":"Accepted"}'))
    play.backend(text.replace('[2,"1"', '[2,"2"'))
    play.backend_hears_error("2", "SecurityError", "it was received before")
    play.done()


@pytest.mark.parametrize("sign", [(), (SigningRule(id="too", passing=True),)])
def test_backend_that_repeats_itself_before_answer_has_one_answer(sign: Iterable[SigningRule]) -> None:
    play, text = talk(sign=sign), a_limit()
    play.backend(text)
    play.saves()
    play.station_hears_call("SetChargingProfile")
    play.backend(text)
    play.done()
    play.noted("repeated call sent once")
    play.station(result("1"))
    play.commands_allowed()
    play.backend_hears(result("1"))


def test_policy_check_message_without_rule_passes_unsigned() -> None:
    play = talk()
    play.passes_down(call("1", "TriggerMessage"))
    play.station(call("1", "Heartbeat"))
    play.commands_allowed()
    play.backend_hears(call("1", "Heartbeat"))


def test_policy_check_dropped_message_has_no_answer() -> None:
    play = talk(
        VerificationRule(
            id="quiet", require=VerificationMode.ANY, actions=("Reset",), failing=FailureAction.DROP
        )
    )
    play.backend(call("1", "Reset"))
    play.done()
    play.noted("message dropped backend=cpo action=Reset id=1 rule=quiet reason='it is not signed'")


def test_policy_check_marked_message_passes_and_is_logged() -> None:
    play = talk(
        VerificationRule(
            id="soon", require=VerificationMode.ANY, actions=("Reset",), failing=FailureAction.MARK
        )
    )
    play.passes_down(call("1", "Reset"))
    play.noted("rule=soon reason='it is not signed'")
    assert [note.level for note in play.notes] == [logging.WARNING]


def test_policy_check_send_that_may_not_pass_goes_no_further() -> None:
    send = '[6,"1","NotifyPeriodicEventStream",{}]'
    play = talk(
        VerificationRule(id="r", require=VerificationMode.ANY, kinds=(MessageKind.SEND,)), version=Version.V21
    )
    play.station(send)
    play.backend(send)
    play.done()
    play.noted("rule=r", 2)


# -- what a station says -----------------------------------------------------------------------------------


def test_policy_check_rejected_message_changes_no_state() -> None:
    play = talk(VerificationRule(id="states", require=VerificationMode.ANY, actions=("StatusNotification",)))
    play.station(call("1", "StatusNotification", STATUS))
    play.station_hears_error("1", "SecurityError", "rule states")
    play.done()  # the site has learnt nothing


def test_policy_check_refused_answer_of_station_is_error_for_backend() -> None:
    play = talk(ANSWERS)
    play.passes_down(call("1", "GetVariables"))
    play.station(result("1", '{"getVariableResult":[]}'))
    play.commands_allowed()
    play.backend_hears_error("1", "SecurityError", "rule answers: it is not signed")
    play.done()
    play.noted("message rejected station=CS01 action=GetVariables id=1")


def test_policy_check_signed_answer_of_station_passes() -> None:
    play = talk(ANSWERS)
    play.passes_down(call("1", "SetVariables"))
    answer = signed({"a": 1}, OLGA, action="SetVariables", direction=Direction.UP, kind=MessageKind.RESPONSE)
    play.station(result("1", answer.decode()))
    play.commands_allowed()
    play.backend_hears(result("1", answer.decode()))


def test_policy_check_refused_answer_to_own_own_call_is_no_good_one() -> None:
    play = talk(ANSWERS)
    play.commandable()
    asked = play.own("GetVariables")
    play.station_hears(asked)
    play.station(result(json.loads(asked)[1]))
    play.own_answered(None, "SecurityError signature policy, rule answers")


def test_policy_check_refused_answer_of_backend_is_error_for_station() -> None:
    play = talk(ANSWERS)
    play.station(call("1", "Authorize"))
    play.commands_allowed()
    play.backend_hears(call("1", "Authorize"))
    play.backend(result("1", '{"idTokenInfo":{"status":"Accepted"}}'))
    play.station_hears_error("1", "SecurityError", "rule answers")
    play.done()


# -- observers ---------------------------------------------------------------------------------------------


def watched(*verify: VerificationRule) -> Playbook:
    observing = Talk(Version.V201, may=("profiles",)).observing
    play = Playbook(Version.V201, gate=gate(verify), observers={"fleet": observing})
    play.observer_up("fleet")
    return play


def test_policy_check_observer_is_held_to_policy_too() -> None:
    play = watched()
    play.observer("fleet", call("1", "SetChargingProfile", compact(profile()).decode()))
    kind, number, code, description, _ = json.loads(play.observer_hears_text("fleet"))
    assert (kind, number, code) == (4, "1", "SecurityError")
    assert "rule safe-profiles: it is not signed" in description
    play.observer("fleet", a_limit())
    play.saves()
    play.station_hears_call("SetChargingProfile")
    play.done()


def test_policy_check_rule_for_one_backend_is_none_for_other() -> None:
    play = watched(
        VerificationRule(
            id="theirs", require=VerificationMode.REJECT, links=("fleet",), actions=("Reset", "profiles")
        )
    )
    play.observer("fleet", a_limit())
    assert "rule theirs" in play.observer_hears_text("fleet")
    play.passes_down(call("1", "Reset"))


# -- our own ------------------------------------------------------------------------------------------------


def ours(
    payload: bytes,
    action: str,
    direction: Direction,
    kind: MessageKind = MessageKind.REQUEST,
    version: Version = Version.V201,
) -> bool:
    """Whether our signature is on it, and good, and no other."""
    context = signature_format.context(version, direction, kind, action)
    return payload_signatures.verify_payload(payload, context, lambda _: True).keys == {OWN.known.id}


def test_policy_check_own_own_calls_are_signed_where_policy_has_it_so() -> None:
    play = talk(sign=[SigningRule(id="own", actions=("Example",), direction=Direction.DOWN)])
    play.commandable()
    play.own("Example")
    assert ours(play.station_hears_call("Example").payload, "Example", Direction.DOWN)


def test_policy_check_own_own_answers_are_signed_where_policy_has_it_so() -> None:
    sign = [SigningRule(id="own", kinds=(MessageKind.RESPONSE,), direction=Direction.UP)]
    play = Playbook(Version.V201, LimitScope.EVSE, gate=gate((), sign, [OWN], roles=()))
    play.backend(
        call(
            "1", "ClearChargingProfile", '{"chargingProfileCriteria":{"chargingProfilePurpose":"TxProfile"}}'
        )
    )
    kind, number, answer = json.loads(play.backend_hears_text())
    assert (kind, number) == (3, "1")
    assert answer["status"] == "Unknown"
    assert ours(compact(answer), "ClearChargingProfile", Direction.UP, MessageKind.RESPONSE)


def test_policy_check_without_key_that_counts_own_limits_go_out_all_same() -> None:
    play = Playbook(Version.V201, gate=gate((), [SigningRule(id="own")]))
    play.commandable()
    play.station_hears(play.own())
    play.noted("message sent without our signature action=SetChargingProfile kind=request")


def test_policy_check_own_signature_stands_beside_those_that_are_there() -> None:
    play, text = talk(sign=[SigningRule(id="too", passing=True)]), a_limit()
    play.backend(text)
    play.saves()
    heard = play.station_hears_call("SetChargingProfile")
    before = json.loads(text)[3]["signatures"]
    after = json.loads(heard.payload)["signatures"]
    assert (after[:1], len(after)) == (before, 2)
    assert heard.payload.startswith(compact(profile())[:-1])


def test_policy_check_forwarded_message_gets_our_signature() -> None:
    play = talk(sign=[SigningRule(id="too", passing=True, actions=("Heartbeat",), kinds=tuple(MessageKind))])
    play.station(call("1", "Heartbeat"))
    play.commands_allowed()
    heard = play.backend_hears_call("Heartbeat")
    assert ours(heard.payload, "Heartbeat", Direction.UP)
    play.station(call("1", "Heartbeat"))
    play.done()
    play.noted("repeated call sent once")
    play.backend(result("1"))
    (answer,) = json.loads(play.station_hears_text())[2:]
    assert ours(compact(answer), "Heartbeat", Direction.DOWN, MessageKind.RESPONSE)


def test_own_signature_comes_after_whatever_must_be_changed_in_message() -> None:
    """An observer's number of a transaction is another one: exchanged in what nobody has signed."""
    watching = Talk(Version.V16, may=("transactions",))
    watching.ids.set_backend_id(7, 8)
    play = Playbook(
        Version.V16,
        gate=gate((), [SigningRule(id="too", passing=True)], [OWN], roles=()),
        observers={"fleet": watching.observing},
    )
    play.observer_up("fleet")
    play.observer("fleet", call("1", "RemoteStopTransaction", '{"transactionId":8}'))
    heard = play.station_hears_call("RemoteStopTransaction")
    assert json.loads(heard.payload)["transactionId"] == 7
    assert ours(heard.payload, "RemoteStopTransaction", Direction.DOWN, version=Version.V16)
    play.observer("fleet", call("2", "RemoteStopTransaction", '{"transactionId":8,"signatures":[{}]}'))
    assert "is signed" in play.observer_hears_text("fleet")


def test_signed_message_of_ocpp_itself_gets_no_other_signature() -> None:
    play = talk(sign=[SigningRule(id="too", passing=True, kinds=tuple(MessageKind))])
    play.passes_down(call("1", "TriggerMessage-Signed", '{"payload":"","protected":"","signature":""}'))
