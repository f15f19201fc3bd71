"""The policy enforcer decides on any input, signed or not, without an exception."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.ocpp.frames import Call, Version, parse
from controller.signing.payload_signatures import key_id
from controller.signing.policy_enforcer import (
    DropDecision,
    ForwardDecision,
    MessageContext,
    PolicyEnforcer,
    RejectDecision,
)
from controller.signing.policy_messages import ReceivedPolicies
from controller.signing.policy_schema import PolicyFile, SigningRule, VerificationMode, VerificationRule
from controller.signing.signature_format import POLICY_ACTIONS, Direction
from tests.controller.signing.authors import compact, members
from tests.controller.signing.policy_examples import NOW, OLGA, make_enforcer, signed

ACTIONS = (
    "SetChargingProfile",
    "SetVariables",
    "ChangeConfiguration",
    "ClearChargingProfile",
    "ChangeAvailability",
    "UpdateDynamicSchedule",
    "SetChargingProfile-Signed",
    "AddUserRole",
    "Unheard",
)
WORDS = (
    "connectorId",
    "evseId",
    "evse",
    "id",
    "key",
    "value",
    "chargingProfile",
    "csChargingProfiles",
    "chargingSchedule",
    "chargingRateUnit",
    "chargingSchedulePeriod",
    "limit",
    "setVariableData",
    "component",
    "variable",
    "name",
    "instance",
    "attributeValue",
    "attributeType",
    "scheduleUpdate",
    "customData",
    "timestamp",
    "chargingProfileCriteria",
    "signatures",
    "payload",
    "protected",
    "signature",
    "signaturePolicy",
    "userRole",
    "verificationRules",
    "signingRules",
    "keyPair",
    "public",
    "context",
    "action",
    "priority",
    "keys",
    "may",
    "actions",
    "holders",
    "notBefore",
)
_leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 40),
    st.floats(-40, 40),
    st.text(max_size=4),
    st.sampled_from(["A", "W", "2026-11-21T14:00:00Z", "*", "verifyAny", "sign", "olga"]),
)
_values = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5),
    max_leaves=12,
)
payloads: st.SearchStrategy[dict[str, Any]] = st.dictionaries(st.sampled_from(WORDS), _values, max_size=6)

EVERY = make_enforcer(
    [VerificationRule(id="every", require=VerificationMode.ANY, fresh=True)],
    [SigningRule(id="sign", passing=True)],
)


def look(
    policies: PolicyEnforcer, action: str, version: Version, payload: bytes
) -> ForwardDecision | RejectDecision | DropDecision | None:
    frame = parse(f'[2,"1","{action}",{payload.decode()}]')
    if not isinstance(frame, Call):
        return None
    return policies.decide(
        MessageContext(version=version, direction=Direction.DOWN, link="cpo", station="CS01"), frame, NOW
    )


@given(st.sampled_from(ACTIONS), st.sampled_from(Version), payloads)
def test_random_signed_messages_are_decided(action: str, version: Version, payload: dict[str, Any]) -> None:
    payload.pop("signatures", None)
    raw = signed(payload, OLGA, action=action, version=version)
    assert isinstance(look(EVERY, action, version, raw), ForwardDecision | RejectDecision)
    assert isinstance(look(EVERY, action, version, compact(payload)), RejectDecision)


@given(members, st.sampled_from(ACTIONS))
def test_random_unsigned_messages_are_decided(
    parts: list[tuple[bytes, tuple[bytes, bytes]]], action: str
) -> None:
    payload = b"{" + b",".join(name + b":" + loose for name, (_, loose) in parts) + b"}"
    assert isinstance(look(EVERY, action, Version.V201, payload), RejectDecision)


@pytest.mark.parametrize("action", sorted(POLICY_ACTIONS))
@given(payload=payloads)
def test_random_policies_are_rejected_with_errors(action: str, payload: dict[str, Any]) -> None:
    received = ReceivedPolicies(PolicyFile(version=1), Path("/nowhere"))
    answer = received.handle_message(
        action, compact(payload), ForwardDecision(signers=frozenset({key_id(OLGA.key.public_key())}))
    )
    assert answer.payload.startswith((b'{"status":"Accepted"', b'{"status":"Rejected"'))
