"""Policies, rules, roles and keys as WWCP nodes write and read them, each with the controller's answer.

`wwcp/policies.json`: what they were given, with their verdict, and what they have written. Rules and keys
are received here inside of a policy, in an AddSignaturePolicy that is signed by somebody who may.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from controller.signing.payload_signatures import WireSignature
from tests.controller.signing.test_policy_messages import make_message, make_received_policies

OBJECTS: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(__file__).parent / "wwcp" / "policies.json").read_text()
)
NO_CONTEXT = "it has no context, so it is for no message"
NO_RULES = "it has no rules, so nothing would change"
PRIVATE = "it has a private key, which is no secret any more"
SIGNING_KEY = "it names a key to sign with"
NOT_POLICIES = ("ComponentAccessRights", "Signature")

ANSWERS: Mapping[str, str] = {
    "keypair-1": PRIVATE,
    "ecckeypair-1": PRIVATE,
    "ecckeypair-2": "Accepted",  # the public half is all that is needed; they want both
    "ecckeypair-3": PRIVATE,  # they accept the two halves exchanged
    "ecckeypair-4": PRIVATE,
    "signingrule-1": SIGNING_KEY,
    "signingrule-2": "Accepted",
    "verificationrule-1": PRIVATE,
    "verificationrule-2": "Accepted",
    "policy-2": "it has no id",
    "policy-6": "Accepted",
    "policy-7": SIGNING_KEY,
    "policy-9": "its defaultVerificationAction cannot be applied",  # they accept it, and do not apply it
    "userrole-1": "holders: is missing",
    "userrole-2": "description: is not a known key",
    "userrole-3": "it has no id",
    "userrole-4": "key_pairs: is not a known key",
    "userrole": "it has no id",  # they write a role without its content
}
"""By id; of the others NO_CONTEXT for rules, and for policies NO_RULES."""


def answer(row: dict[str, Any]) -> str:
    """Return the controller's answer to an object of this kind."""
    given = json.loads(row["given"])
    policy: dict[str, Any] = {"id": "p", "priority": 1, "notBefore": "2026-08-11T00:00:00.000Z"}
    match row["kind"]:
        case "UserRole":
            return make_message(make_received_policies(), "AddUserRole", {"userRole": given})
        case "SignaturePolicy":
            policy = given
        case "SigningRule":
            policy["signingRules"] = [given]
        case "VerificationRule":
            policy["verificationRules"] = [given]
        case _:
            policy["verificationRules"] = [{"context": "x", "action": "verifyAll", "keyPair": given}]
    return make_message(make_received_policies(), "AddSignaturePolicy", {"signaturePolicy": policy})


@pytest.mark.parametrize(
    "row",
    [row for row in OBJECTS["parsed"] if row["kind"] not in NOT_POLICIES],
    ids=lambda row: row["id"],
)
def test_wwcp_policy_object_has_own_answer(row: dict[str, Any]) -> None:
    usual = NO_CONTEXT if "rule-" in row["id"] or row["id"] == "policy-10" else NO_RULES
    assert ANSWERS.get(row["id"], usual) in answer(row)


@pytest.mark.parametrize("row", OBJECTS["written"], ids=lambda row: row["id"])
def test_wwcp_written_policy_is_rejected_without_rules(row: dict[str, Any]) -> None:
    kind = "UserRole" if row["id"].startswith("userrole") else "SignaturePolicy"
    assert ANSWERS.get(row["id"], NO_RULES) in answer({"kind": kind, "given": row["text"]})


@pytest.mark.parametrize(
    "row", [row for row in OBJECTS["parsed"] if row["kind"] == "Signature"], ids=lambda row: row["id"]
)
def test_wwcp_signature_object_is_read_if_it_has_key_and_value(row: dict[str, Any]) -> None:
    # Name, description and time are covered by no signature, and not read here.
    given = json.loads(row["given"])
    if {"keyId", "value"} <= given.keys():
        assert msgspec.convert(given, WireSignature).key_id == given["keyId"]
    else:
        assert not row["theirs"]
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(given, WireSignature)
