"""Decisions of the policy enforcer: what passes, what does not, and the reason of a rejection."""

from __future__ import annotations

import base64
import json

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import utils

from controller.ocpp.frames import Version, parse
from controller.signing import signing_keys
from controller.signing.jws import JwsVerifier
from controller.signing.payload_signatures import key_id, verify_payload
from controller.signing.policy_enforcer import (
    FORWARD,
    ForwardDecision,
    MessageContext,
    PolicyEnforcer,
    RejectDecision,
    SignedMessage,
)
from controller.signing.policy_schema import (
    FailureAction,
    Permission,
    SignerRole,
    SigningAction,
    SigningRule,
    VerificationMode,
    VerificationRule,
)
from controller.signing.rule_set import RuleKey
from controller.signing.signature_format import Direction, MessageKind
from controller.signing.signature_policy import SignaturePolicy
from controller.signing.signing_keys import Keyring, KnownKey
from tests.controller.signing.authors import compact
from tests.controller.signing.policy_examples import (
    HOLDERS,
    MALLORY,
    NOW,
    OLGA,
    ROLES,
    TINA,
    TOM,
    decide,
    describe_decision,
    limit,
    make_enforcer,
    signed,
)
from tests.controller.signing.test_curves import P256_ORDER

ANY = VerificationRule(id="any", require=VerificationMode.ANY, direction=Direction.DOWN)
ALL = VerificationRule(id="all", require=VerificationMode.ALL, direction=Direction.DOWN)
OWN = signing_keys.parse_private_key(signing_keys.new_private_key("secp256r1", "lc", NOW - 10, NOW + 10))


@pytest.mark.parametrize(
    ("verify", "payload", "expected"),
    [
        (ANY, signed(limit(), OLGA), "pass any: signed by olga"),
        (ANY, signed(limit(16), TOM), "pass any: signed by tom"),
        (
            ANY,
            signed(limit(32), TOM),
            "refuse any: tom (technician) has no permission for SetChargingProfile 32 A at CS01/1",
        ),
        (ANY, signed(limit(32), TOM, OLGA), "pass any: signed by olga, tom"),
        (ANY, signed(limit(), OLGA, MALLORY), "pass any: signed by olga"),
        (ANY, signed(limit(), MALLORY), "refuse any: it has no valid signature: its key is unknown"),
        (ANY, compact(limit()), "refuse any: it is not signed"),
        (ANY, b'{"a":1,"a":2}', "refuse any: the payload has one name twice in an object"),
        (
            ANY,
            signed({"evseId": 1, "chargingProfile": 7}, OLGA),
            "refuse any: it cannot be read: it has no object chargingProfile",
        ),
        (ALL, signed(limit(), OLGA), "pass all: signed by olga"),
        (ALL, signed(limit(), OLGA, TOM), "pass all: signed by olga, tom"),
        (
            ALL,
            signed(limit(), OLGA, MALLORY),
            "refuse all: not all of its signatures are valid: its key is unknown",
        ),
        (
            VerificationRule(id="r", require=VerificationMode.ANY, roles=("technician",)),
            signed(limit(), OLGA),
            "refuse r: olga has no role that counts here",
        ),
        (
            VerificationRule(id="h", require=VerificationMode.ANY, holders=("tom",)),
            signed(limit(32), TOM),
            "pass h: signed by tom",
        ),
        (
            VerificationRule(id="h", require=VerificationMode.ANY, holders=("tom",)),
            signed(limit(), OLGA),
            "refuse h: olga is not one of tom",
        ),
        (
            VerificationRule(id="x", require=VerificationMode.REJECT),
            signed(limit(), OLGA),
            "refuse x: the rule requires reject",
        ),
        (
            VerificationRule(id="x", require=VerificationMode.DROP),
            signed(limit(), OLGA),
            "drop x: the rule requires drop",
        ),
        (VerificationRule(id="x", require=VerificationMode.UNVERIFIED), b'{"a":1,"a":2}', "pass"),
        (
            VerificationRule(id="d", require=VerificationMode.ANY, failing=FailureAction.DROP),
            compact(limit()),
            "drop d: it is not signed",
        ),
        (
            VerificationRule(id="m", require=VerificationMode.ANY, failing=FailureAction.MARK),
            compact(limit()),
            "mark m: it is not signed",
        ),
        (
            VerificationRule(id="up", require=VerificationMode.REJECT, direction=Direction.UP),
            signed(limit(), TOM),
            "pass safe-profiles: signed by tom",
        ),
    ],
)
def test_enforcer_decides_as_rule_states(verify: VerificationRule, payload: bytes, expected: str) -> None:
    assert describe_decision(decide(make_enforcer([verify]), payload)) == expected


def test_enforcer_without_rules_forwards_all() -> None:
    empty = PolicyEnforcer(SignaturePolicy(keyring=Keyring()))
    assert decide(empty, b'{"a":1,"a":2}') is FORWARD


def test_enforcer_verifies_only_named_links_and_actions() -> None:
    one = make_enforcer(
        [VerificationRule(id="one", require=VerificationMode.REJECT, links=("fleet",), actions=("Reset",))],
        roles=(),
    )
    assert decide(one, b"{}", action="Reset") is FORWARD
    assert decide(one, b"{}", link="fleet") is FORWARD
    assert describe_decision(decide(one, b"{}", action="Reset", link="fleet")).startswith("refuse one")


def test_enforcer_by_default_needs_signatures_on_limits() -> None:
    safe = make_enforcer()
    assert describe_decision(decide(safe, compact(limit()))) == "refuse safe-profiles: it is not signed"
    assert "the signed part has no time" in describe_decision(decide(safe, signed(limit(made=None), OLGA)))
    assert describe_decision(decide(safe, signed(limit(), OLGA))) == "pass safe-profiles: signed by olga"
    assert decide(safe, b"{}", action="TriggerMessage") is FORWARD


def test_policy_enforcer_rejection_describes_rule_in_255_characters() -> None:
    ruling = decide(make_enforcer(), compact(limit()))
    assert isinstance(ruling, RejectDecision)
    assert ruling.description == "signature policy, rule safe-profiles: it is not signed"
    assert len(RejectDecision("r" * 128, "w" * 500).description) == 255


def test_enforcer_rejects_evse_of_another_station() -> None:
    enforcer = make_enforcer()
    assert describe_decision(decide(enforcer, signed(limit(), TOM), station="CS02")) == (
        "refuse safe-profiles: tom (technician) has no permission for SetChargingProfile 16 A at CS02/1"
    )
    assert isinstance(decide(enforcer, signed(limit(), TOM), station="CS01"), ForwardDecision)


def test_enforcer_with_approvals_needs_two_of_three() -> None:
    roles = [
        SignerRole(
            id="board", holders=("olga", "tom", "tina"), approvals=2, may=(Permission(actions=("*",)),)
        )
    ]
    assert "needs 2 signatures of role board, it has 1" in describe_decision(
        decide(make_enforcer(roles=roles), signed(limit(), TOM))
    )
    assert "it has 1" in describe_decision(decide(make_enforcer(roles=roles), signed(limit(), TOM, TOM)))
    assert "it has 1" in describe_decision(decide(make_enforcer(roles=roles), signed(limit(), TOM, MALLORY)))
    assert describe_decision(decide(make_enforcer(roles=roles), signed(limit(), TOM, TINA))).endswith(
        "signed by tina, tom"
    )


def test_enforcer_rejects_keys_outside_their_validity() -> None:
    name = key_id(OLGA.key.public_key())
    ring = Keyring([KnownKey(id=name, holder="olga", not_before=NOW, not_after=NOW + 100)])
    enforcer = PolicyEnforcer(SignaturePolicy(keyring=ring, roles=ROLES, verify=[ANY]))
    payload = signed(limit(), OLGA)
    assert "is not valid at this time" in describe_decision(decide(enforcer, payload, utc=NOW - 1))
    assert describe_decision(decide(enforcer, payload, utc=NOW)) == "pass any: signed by olga"
    assert "is not valid at this time" in describe_decision(decide(enforcer, payload, utc=NOW + 100))


def test_enforcer_rejects_replay_from_any_link() -> None:
    enforcer = make_enforcer()
    payload = signed(limit(), OLGA)
    first = decide(enforcer, payload)
    assert isinstance(first, ForwardDecision)
    assert first.record is not None
    for again in (
        decide(enforcer, payload),
        decide(enforcer, payload, station="CS02"),
        decide(enforcer, payload, link="x"),
    ):
        assert describe_decision(again) == "refuse safe-profiles: it was received before"
    assert "it was made 3600 s before now" in describe_decision(
        decide(enforcer, signed(limit(made=NOW - 3600), OLGA))
    )


def test_enforcer_rejects_replay_with_malleated_signature() -> None:
    enforcer = make_enforcer()
    message = json.loads(signed(limit(), OLGA))
    assert isinstance(decide(enforcer, compact(message)), ForwardDecision)
    element = message["signatures"][0]
    r, s = utils.decode_dss_signature(base64.b64decode(element["value"]))
    element["value"] = base64.b64encode(utils.encode_dss_signature(r, P256_ORDER - s)).decode()
    assert describe_decision(decide(make_enforcer([ANY]), compact(message))) == "pass any: signed by olga"
    assert (
        describe_decision(decide(enforcer, compact(message)))
        == "refuse safe-profiles: it was received before"
    )


def test_enforcer_rejects_replay_with_white_space() -> None:
    enforcer = make_enforcer()
    payload = signed(limit(), OLGA)
    assert isinstance(decide(enforcer, payload), ForwardDecision)
    assert "received before" in describe_decision(
        decide(enforcer, payload.replace(b'"evseId":', b'"evseId" : '))
    )


def test_rejected_message_is_not_stored() -> None:
    enforcer = make_enforcer()
    payload = signed(limit(16), TOM)
    assert isinstance(decide(enforcer, payload, station="CS02"), RejectDecision)
    assert isinstance(decide(enforcer, payload, station="CS01"), ForwardDecision)


def test_enforcer_verifies_reports_and_answers_of_stations() -> None:
    rule = VerificationRule(
        id="stations",
        require=VerificationMode.ANY,
        direction=Direction.UP,
        holders=("tina",),
        kinds=(MessageKind.REQUEST, MessageKind.RESPONSE, MessageKind.SEND),
    )
    enforcer = make_enforcer([rule])
    for kind in MessageKind:
        payload = signed({"status": "Accepted"}, TINA, direction=Direction.UP, kind=kind)
        up = {"direction": Direction.UP, "link": "CS01"}
        assert (
            describe_decision(decide(enforcer, payload, kind=kind, **up)) == "pass stations: signed by tina"
        )  # type: ignore[arg-type]
        for other in set(MessageKind) - {kind}:
            assert "not that key's" in describe_decision(decide(enforcer, payload, kind=other, **up))  # type: ignore[arg-type]


def test_enforcer_verifies_answers_by_role() -> None:
    rule = VerificationRule(
        id="answers", require=VerificationMode.ANY, direction=Direction.UP, kinds=(MessageKind.RESPONSE,)
    )
    payload = signed(
        {"setVariableResult": []},
        OLGA,
        action="SetVariables",
        direction=Direction.UP,
        kind=MessageKind.RESPONSE,
    )
    ruling = decide(
        make_enforcer([rule]),
        payload,
        action="SetVariables",
        direction=Direction.UP,
        kind=MessageKind.RESPONSE,
    )
    assert describe_decision(ruling) == "pass answers: signed by olga"


@pytest.mark.parametrize(
    "text", ['[4,"1","GenericError","",{}]', '[5,"1","GenericError","",{}]', '[3,"1",{}]']
)
def test_enforcer_forwards_errors_and_unrequested_answers(text: str) -> None:
    passage = MessageContext(version=Version.V21, direction=Direction.DOWN, link="cpo", station="CS01")
    kinds = tuple(MessageKind)
    enforcer = make_enforcer([VerificationRule(id="x", require=VerificationMode.REJECT, kinds=kinds)])
    assert enforcer.decide(passage, parse(text), NOW) is FORWARD  # type: ignore[arg-type]


PASSING = RuleKey(
    version=Version.V201,
    action="SetChargingProfile",
    direction=Direction.DOWN,
    kind=MessageKind.REQUEST,
    link="cpo",
)


def test_sign_forwarded_leaves_every_other_byte() -> None:
    enforcer = make_enforcer([ANY], [SigningRule(id="too", passing=True)], [OWN])
    payload = signed(limit(), OLGA)
    made = enforcer.sign_forwarded(PASSING, payload, NOW).payload
    element = json.loads(made)["signatures"][1]
    assert element["name"] == "LC01"
    assert made.replace(b"," + compact(element), b"") == payload
    assert verify_payload(made, PASSING.context, lambda key: True).keys == {
        key_id(OLGA.key.public_key()),
        OWN.known.id,
    }


def test_policy_enforcer_sign_forwarded_needs_passing_rule() -> None:
    assert make_enforcer([ANY], [SigningRule(id="own")], [OWN]).sign_forwarded(
        PASSING, b"{}", NOW
    ) == SignedMessage(b"{}")


def test_policy_enforcer_unsignable_message_passes_with_reason() -> None:
    enforcer = make_enforcer((), [SigningRule(id="too", passing=True)], [OWN], roles=())
    twice = enforcer.sign_forwarded(PASSING, b'{"a":1,"a":2}', NOW)
    assert twice.payload == b'{"a":1,"a":2}'
    assert "the payload has one name twice" in twice.unsigned_reason
    late = enforcer.sign_forwarded(PASSING, b"{}", NOW + 11)
    assert late == SignedMessage(b"{}", "no key of the controller is valid at this time")


FACTS = RuleKey(
    version=Version.V16,
    action="SetChargingProfile",
    direction=Direction.DOWN,
    kind=MessageKind.REQUEST,
    link="CS01",
)


def test_policy_enforcer_sign_own_signs_if_rule_states_it() -> None:
    enforcer = make_enforcer((), [SigningRule(id="own", links=("CS01",))], [OWN])
    made = enforcer.sign_own(FACTS, b'{"connectorId":1}', NOW)
    assert not made.unsigned_reason
    assert verify_payload(made.payload, FACTS.context, lambda key: True).keys == {OWN.known.id}
    for silent in (
        make_enforcer((), [SigningRule(id="own", links=("CS02",))], [OWN]),
        make_enforcer((), [SigningRule(id="no", do=SigningAction.FORWARD)], [OWN]),
    ):
        assert silent.sign_own(FACTS, b"{}", NOW).payload == b"{}"


def test_policy_enforcer_sign_own_without_rule_changes_nothing() -> None:
    assert make_enforcer([ANY], roles=()).sign_own(
        msgspec.structs.replace(FACTS, direction=Direction.UP), b"x", NOW
    ) == (SignedMessage(b"x"))


def test_policy_enforcer_sign_own_without_key_returns_payload() -> None:
    enforcer = make_enforcer((), [SigningRule(id="own")], [OWN])
    made = enforcer.sign_own(FACTS, b"{}", NOW + 11)
    assert made.payload == b"{}"
    assert "no key of the controller is valid" in made.unsigned_reason


def test_replaced_policy_keeps_replay_memory() -> None:
    enforcer = make_enforcer()
    payload = signed(limit(), OLGA)
    assert isinstance(decide(enforcer, payload), ForwardDecision)
    other = SignaturePolicy(
        keyring=Keyring(
            [KnownKey(id=key_id(each.key.public_key()), holder=name) for name, each in HOLDERS.items()]
        ),
        roles=ROLES,
        verify=[VerificationRule(id="new", require=VerificationMode.ANY, fresh=True)],
        window_s=10,
    )
    enforcer.replace_policy(other, (), JwsVerifier())
    assert describe_decision(decide(enforcer, payload)) == "refuse new: it was received before"
    assert "11 s before now, at most 10 s are allowed" in describe_decision(
        decide(enforcer, signed(limit(made=NOW - 11), OLGA))
    )
