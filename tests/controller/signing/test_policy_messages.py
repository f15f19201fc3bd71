"""Policies and roles over the wire: who may send them, what they mean, and what is not taken."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from controller.ocpp.frames import Version
from controller.signing import signature_format
from controller.signing.payload_signatures import key_id
from controller.signing.policy_enforcer import FORWARD, Decision, ForwardDecision, PolicyEnforcer
from controller.signing.policy_file import check_policy
from controller.signing.policy_messages import MAX_RECEIVED, ReceivedPolicies, ReceivedPolicy
from controller.store.state_store import StateStore
from tests.controller.signing.authors import Author, compact
from tests.controller.signing.policy_examples import (
    MALLORY,
    NOW,
    OLGA,
    TINA,
    TOM,
    decide,
    describe_decision,
    limit,
    signed,
)

CONTEXT = signature_format.context(
    Version.V201, signature_format.Direction.DOWN, signature_format.MessageKind.REQUEST, "SetChargingProfile"
)


def point(author: Author) -> str:
    return base64.b64encode(author.point).decode()


FILE, _ = check_policy(
    f"""\
version = 1
[[key]]
holder = "olga"
public = "{point(OLGA)}"
[[role]]
id = "root"
holders = ["olga"]
[[role.may]]
actions = ["*"]
""",
    "signing.toml",
    Path("/nowhere"),
)
ROLE = {
    "id": "technician",
    "holders": ["tom"],
    "keys": [{"holder": "tom", "public": point(TOM), "curve": "secp384r1"}],
    "may": [{"actions": ["SetChargingProfile"], "maxA": 16, "evses": ["CS01*"]}],
    "customData": {"vendorId": "x"},
}
POLICY: dict[str, Any] = {
    "id": "p1",
    "priority": 5,
    "notBefore": "2026-01-01T00:00:00.000Z",
    "verificationRules": [
        {
            "context": CONTEXT,
            "priority": 7,
            "action": "verifyAll",
            "keyPair": {"public": point(TINA), "algorithm": "secp256r1", "serialization": "raw"},
        },
        {"context": "*", "priority": 1, "action": "acceptUnverified"},
    ],
    "signingRules": [{"context": "*", "priority": 1, "action": "sign"}],
}


def make_received_policies(received: tuple[ReceivedPolicy, ...] = ()) -> ReceivedPolicies:
    assert FILE is not None
    return ReceivedPolicies(FILE.file, Path("/nowhere"), received)


def make_message(
    received_policies: ReceivedPolicies, action: str, payload: dict[str, Any], ruling: Decision | None = None
) -> str:
    """The answer in a word, or why not. The message comes through the gate."""
    raw = signed(
        {**payload, "customData": {"vendorId": "x", "timestamp": signature_format.format_time(NOW)}},
        OLGA,
        action=action,
    )
    if ruling is None:
        ruling = decide(PolicyEnforcer(received_policies.loaded.policy()), raw, action=action)
    answer = received_policies.handle_message(action, raw, ruling)
    read = json.loads(answer.payload)
    assert (answer.changed is not None) == (read["status"] == "Accepted")
    return str(read["statusInfo"]["additionalInfo"] if "statusInfo" in read else read["status"])


def gate(received_policies: ReceivedPolicies) -> PolicyEnforcer:
    return PolicyEnforcer(received_policies.loaded.policy())


def test_received_role_is_in_force() -> None:
    policies = make_received_policies()
    assert "unknown" in describe_decision(decide(gate(policies), signed(limit(), TOM)))
    assert make_message(policies, "AddUserRole", {"userRole": ROLE}) == "Accepted"
    assert (
        describe_decision(decide(gate(policies), signed(limit(), TOM))) == "pass safe-profiles: signed by tom"
    )
    assert "17 A" in describe_decision(decide(gate(policies), signed(limit(17), TOM)))
    wider = {**ROLE, "may": [{"actions": ["SetChargingProfile"], "maxA": 32}]}
    assert make_message(policies, "UpdateUserRole", {"userRole": wider}) == "Accepted"
    assert describe_decision(decide(gate(policies), signed(limit(17), TOM))).startswith("pass")
    assert make_message(policies, "DeleteUserRole", {"userRoleId": "technician"}) == "Accepted"
    assert "unknown" in describe_decision(decide(gate(policies), signed(limit(), TOM)))


def test_received_policy_is_in_force() -> None:
    policies = make_received_policies()
    assert make_message(policies, "AddSignaturePolicy", {"signaturePolicy": POLICY}) == "Accepted"
    assert (
        describe_decision(decide(gate(policies), signed(limit(32), TINA)))
        == "pass p1/verify/0: signed by p1/verify/0 key"
    )
    assert "is not one of p1/verify/0 key" in describe_decision(decide(gate(policies), signed(limit(), OLGA)))
    assert "not all of its signatures" in describe_decision(
        decide(gate(policies), signed(limit(), TINA, MALLORY))
    )
    assert describe_decision(decide(gate(policies), b"{}", action="Reset")) == "pass"
    assert make_message(policies, "DeleteSignaturePolicy", {"signaturePolicyId": "p1"}) == "Accepted"
    assert (
        describe_decision(decide(gate(policies), signed(limit(), OLGA)))
        == "pass safe-profiles: signed by olga"
    )


def test_received_policies_are_ordered_by_priority() -> None:
    policies = make_received_policies()
    for name, priority, action in (("low", 1, "drop"), ("high", 2, "reject")):
        rules = [{"context": CONTEXT, "priority": 3, "action": action}]
        policy = {"id": name, "priority": priority, "verificationRules": rules}
        assert make_message(policies, "AddSignaturePolicy", {"signaturePolicy": policy}) == "Accepted"
    assert describe_decision(decide(gate(policies), compact(limit()))).startswith("refuse high/verify/0")


@pytest.mark.parametrize(
    "ruling",
    [
        FORWARD,
        ForwardDecision(rule="any", reason="it is not signed", marked=True, signers=frozenset()),
        ForwardDecision(rule="safe-policies"),
    ],
)
def test_unsigned_policy_message_is_rejected(ruling: Decision) -> None:
    policies = make_received_policies()
    assert "accepted only with a permitted signature" in make_message(
        policies, "AddUserRole", {"userRole": ROLE}, ruling
    )
    assert "unknown" in describe_decision(decide(gate(policies), signed(limit(), TOM)))


def changed(base: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**base, **changes}


def rule(**changes: Any) -> dict[str, Any]:
    return {"id": "p", "verificationRules": [{"context": "*", "action": "verifyAny", **changes}]}


def signing(action: str) -> dict[str, Any]:
    return {"id": "p", "signingRules": [{"context": "*", "action": action}]}


@pytest.mark.parametrize(
    ("action", "payload", "what"),
    [
        ("AddUserRole", {}, "no object userRole"),
        ("AddUserRole", {"userRole": {}}, "no id"),
        ("AddUserRole", {"userRole": changed(ROLE, holders=["nobody"])}, "does not exist"),
        ("AddUserRole", {"userRole": changed(ROLE, id="root")}, "is already defined"),
        ("AddUserRole", {"userRole": changed(ROLE, keys=[])}, 'key "tom" does not exist'),
        ("AddUserRole", {"userRole": changed(ROLE, keys=7)}, "keys are not a list"),
        (
            "AddUserRole",
            {"userRole": changed(ROLE, keys=[{"holder": "tom", "public": point(TOM)}])},
            "not an uncompressed point",
        ),
        (
            "AddUserRole",
            {"userRole": changed(ROLE, may=[{"actions": ["Reset"], "maxa": 7}])},
            "not a known key",
        ),
        ("AddUserRole", {"userRole": changed(ROLE, approvals=2)}, "is more than the number of holders, 1"),
        ("UpdateUserRole", {"userRole": ROLE}, "no received policy or role has this id"),
        ("DeleteUserRole", {"userRoleId": "root"}, "changed in the file"),
        ("DeleteSignaturePolicy", {}, "no received policy"),
        ("AddSignaturePolicy", {"signaturePolicy": rule(action="verify")}, "did you mean"),
        ("AddSignaturePolicy", {"signaturePolicy": rule(context=None)}, "contexts"),
        ("AddSignaturePolicy", {"signaturePolicy": rule(priority=10**7)}, "priority"),
        ("AddSignaturePolicy", {"signaturePolicy": rule(keyPair=7)}, "no object keyPair"),
        (
            "AddSignaturePolicy",
            {"signaturePolicy": rule(keyPair={"private": "x", "public": "y"})},
            "make another one",
        ),
        (
            "AddSignaturePolicy",
            {"signaturePolicy": rule(keyPair={"public": "AAAA"})},
            "not an uncompressed point",
        ),
        (
            "AddSignaturePolicy",
            {"signaturePolicy": {"id": "p", "verificationRules": 7}},
            "not a list of objects",
        ),
        ("AddSignaturePolicy", {"signaturePolicy": signing("drop")}, "do:"),
        (
            "AddSignaturePolicy",
            {"signaturePolicy": changed(POLICY, notAfter="2025-01-01T00:00:00Z")},
            "not after not_before",
        ),
    ],
)
def test_invalid_policy_message_is_rejected_with_reason(
    action: str, payload: dict[str, Any], what: str
) -> None:
    policies = make_received_policies()
    before = policies.loaded
    assert what in make_message(policies, action, payload)
    assert policies.loaded is before


def test_policy_message_twice_or_above_bound_is_rejected() -> None:
    policies = make_received_policies()
    assert make_message(policies, "AddUserRole", {"userRole": ROLE}) == "Accepted"
    assert make_message(policies, "AddUserRole", {"userRole": ROLE}) == "its id is used already: update it"
    rule = '{"context":"x","priority":1,"action":"verifyAll"}'
    policies = [f'{{"id":"p{number}","verificationRules":[{rule}]}}' for number in range(MAX_RECEIVED)]
    full = make_received_policies(
        tuple(
            ReceivedPolicy("SignaturePolicy", f"p{number}", each.encode())
            for number, each in enumerate(policies)
        )
    )
    assert make_message(full, "AddUserRole", {"userRole": ROLE}) == f"at most {MAX_RECEIVED} are accepted"


def test_received_policies_are_restored_if_they_fit(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    policies = make_received_policies()
    for action, payload in (
        ("AddUserRole", {"userRole": ROLE}),
        ("AddSignaturePolicy", {"signaturePolicy": POLICY}),
        ("DeleteSignaturePolicy", {"signaturePolicyId": "p1"}),
        ("UpdateUserRole", {"userRole": {**ROLE, "may": [{"actions": ["SetChargingProfile"], "maxA": 20}]}}),
    ):
        raw = compact(payload)
        answer = policies.handle_message(
            action, raw, ForwardDecision(rule="r", signers=frozenset({key_id(OLGA.key.public_key())}))
        )
        assert answer.changed is not None
        store.persist_now([answer.changed])
    store.close()
    again = make_received_policies(tuple(StateStore(tmp_path).load(ReceivedPolicy)))
    assert again.not_applied == []
    assert (
        describe_decision(decide(gate(again), signed(limit(20), TOM))) == "pass safe-profiles: signed by tom"
    )
    misfit = make_received_policies((ReceivedPolicy("UserRole", "root", compact({**ROLE, "id": "root"})),))
    assert misfit.not_applied == ['UserRole root: "root" is already defined; give each its own id']
    assert describe_decision(decide(gate(misfit), signed(limit(), OLGA))).startswith("pass")
