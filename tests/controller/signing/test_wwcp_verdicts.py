"""Our verdict beside that of a WWCP node for altered and odd payloads, and why they differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from controller.ocpp.frames import Call, CallResult, Send, Version
from controller.signing import signature_format
from controller.signing.payload_signatures import KeyId
from controller.signing.policy_enforcer import (
    Decision,
    ForwardDecision,
    MessageContext,
    PolicyEnforcer,
    RejectDecision,
)
from controller.signing.policy_schema import Moment, VerificationMode, VerificationRule
from controller.signing.signature_format import Direction, MessageKind
from controller.signing.signature_policy import SignaturePolicy
from controller.signing.signing_keys import Keyring, KnownKey
from tests.controller.signing.policy_examples import NOW, OLGA, make_enforcer

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "wwcp" / "verdicts.json").read_text())
ROOT = "https://open.charging.cloud/context/ocpp/"
VERSIONS = {"2.1": Version.V21, "1.6": Version.V16}
UTC = 1_800_000_000.0

DIFFERENCES = {
    "nosig/": "theirs asks only the default action about unsigned messages, ours the rule",
    "emptysigs/": "an empty list of signatures is no signature",
    "signatures-null": "signatures must be a list",
    "rule-good/drop": "drop drops, valid or not",
    "rule-bad/drop": "drop drops",
    "rule-good/reject": "reject rejects, valid or not",
    "rule-bad/reject": "reject rejects",
    "default-good/": "a default action is a rule of lowest priority, and does what it says",
    "default-bad/": "a default action is a rule of lowest priority, and does what it says",
    "default-verifyAll-nokey": "theirs cannot build the policy",
    "unknown-member": "what is added is signed or the signature is invalid",
    "reordered": "the received bytes are verified",
    "num-": "the received bytes are verified",
    "int-": "the received bytes are verified",
    "duplicate-member": "readers may differ in which of two members counts",
    "escaped": "the received bytes are verified",
    "enum-case": "the received bytes are verified",
    "comment": "not JSON",
    "trailing-comma": "not JSON",
    "single-quotes": "not JSON",
    "unquoted-name": "not JSON",
    "time-": "the received bytes are verified; only decimals of a time are restored",
    "context-wrong-on-wire": "it was made for another message",
    "context-last-on-wire": "the received bytes are verified",
    "alg": "algorithm names are read as WWCP writes them, and must fit the key",
    "value-nopad": "base64 has one form",
    "keyid-compressed": "a key has one form",
    "keyid-hybrid": "a key has one form",
    "any-key-accepted": "only known keys count",
    "broken-good/verifyAny": "one valid signature of a known key is enough, in any order",
    "enc/": "an encoding that is named must be base64",
    "signingMethod/": "a signing method that is named must be json",
    "match/star": "a star in our rules matches any text",
    "policy/": "rules outside of their validity are not in force",
    "16/": "as in 2.1",
}
"""Cases, by the beginning of their id, in which the controller differs from WWCP."""


def _rules(case: dict[str, Any]) -> list[VerificationRule]:
    modes = {mode.value: mode for mode in VerificationMode}
    times = {
        ours: msgspec.convert(case["times"][theirs], Moment)
        for ours, theirs in (("not_before", "notBefore"), ("not_after", "notAfter"))
        if theirs in case["times"]
    }
    rules = [
        VerificationRule(
            id=f"rule-{number}",
            priority=rule["priority"],
            require=modes[rule["action"]],
            contexts=(_pattern(rule["context"]),),
            kinds=tuple(MessageKind),
            holders=("author",),
            **times,
        )
        for number, rule in enumerate(case["rules"])
    ]
    if case["default"]:
        default = modes[case["default"]]
        rules.append(
            VerificationRule(
                id="default", priority=-1000, require=default, kinds=tuple(MessageKind), holders=("author",)
            )
        )
    return rules


def _pattern(context: str) -> str:
    return f"{context[:-3]}*" if context.endswith("...") else context


def _decide(case: dict[str, Any]) -> Decision:
    points = {(key["curve"], signature_format.decode_base64(key["point"])) for key in case["keys"]}
    known = [KnownKey(id=KeyId(curve, point or b""), holder="author") for curve, point in points]
    enforcer = PolicyEnforcer(SignaturePolicy(keyring=Keyring(known), verify=_rules(case)))
    payload, action, kind = case["wire"].encode("utf-8", "surrogatepass"), case["action"], case["kind"]
    frame = (
        CallResult("", "1", payload)
        if kind == "response"
        else (Send if kind == "send" else Call)("", "1", action, payload)
    )
    context = MessageContext(
        version=VERSIONS[case["version"]],
        direction=Direction.DOWN,
        link="peer",
        station="CS01",
        action=action if kind == "response" else None,
    )
    return enforcer.decide(context, frame, UTC)


def _name(decision: Decision) -> str:
    if isinstance(decision, ForwardDecision):
        return "pass" if decision.signers else "pass unverified"
    return "reject" if isinstance(decision, RejectDecision) else "drop"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_wwcp_verdicts_verdict_is_own_and_differs_from_theirs_with_reason(case: dict[str, Any]) -> None:
    decision = _decide(case)
    assert (_name(decision), decision.reason) == (case["ours"], case["reason"])
    if isinstance(decision, ForwardDecision) != bool(case["theirs"]):
        assert any(case["id"].startswith(prefix) for prefix in DIFFERENCES)


def test_wwcp_verdicts_every_difference_has_case() -> None:
    differing = [case["id"] for case in CASES if case["ours"].startswith("pass") != bool(case["theirs"])]
    assert all(any(name.startswith(prefix) for name in differing) for prefix in DIFFERENCES)


def test_request_whose_context_is_shared_is_refused() -> None:
    """A battery swap and a frequency signal have one context: a signature does not tell them apart."""
    payload = OLGA.signed({"signal": 7}, f"{ROOT}v2.1/csms/aFRRSignalRequest")
    rules = [VerificationRule(id="any", require=VerificationMode.ANY)]
    context = MessageContext(version=Version.V21, direction=Direction.DOWN, link="peer", station="CS01")
    decision = make_enforcer(rules).decide(context, Call("", "1", "BatterySwap", payload), NOW)
    assert isinstance(decision, RejectDecision)
    assert "does not distinguish BatterySwap from AFRRSignal, RequestBatterySwap" in decision.reason
