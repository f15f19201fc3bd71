"""A signature policy with holders of keys, and messages that it decides on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from controller.ocpp.frames import Version, parse
from controller.signing import signature_format
from controller.signing.payload_signatures import key_id
from controller.signing.policy_enforcer import (
    Decision,
    DropDecision,
    ForwardDecision,
    MessageContext,
    PolicyEnforcer,
    RejectDecision,
)
from controller.signing.policy_schema import Permission, SignerRole, SigningRule, VerificationRule
from controller.signing.signature_format import Direction, MessageKind
from controller.signing.signature_policy import SignaturePolicy
from controller.signing.signing_keys import Keyring, KnownKey, OwnKey
from tests.controller.signing.authors import Author, compact

NOW = 1_795_269_600.0
OLGA, TOM, TINA, MALLORY = Author(), Author("secp384r1"), Author(), Author()
HOLDERS = {"olga": OLGA, "tom": TOM, "tina": TINA}
ROLES = (
    SignerRole(id="operator", holders=("olga",), may=(Permission(actions=("*",)),)),
    SignerRole(
        id="technician",
        holders=("tom", "tina"),
        approvals=1,
        may=(Permission(actions=("SetChargingProfile",), max_a=16, evses=("CS01", "CS01/*")),),
    ),
)


def make_policy(
    verify: Iterable[VerificationRule] = (),
    sign: Iterable[SigningRule] = (),
    roles: Iterable[SignerRole] = ROLES,
) -> SignaturePolicy:
    keys = [KnownKey(id=key_id(each.key.public_key()), holder=name) for name, each in HOLDERS.items()]
    return SignaturePolicy(keyring=Keyring(keys), roles=roles, verify=verify, sign=sign)


def make_enforcer(
    verify: Iterable[VerificationRule] = (),
    sign: Iterable[SigningRule] = (),
    own: Iterable[OwnKey] = (),
    roles: Iterable[SignerRole] = ROLES,
) -> PolicyEnforcer:
    return PolicyEnforcer(make_policy(verify, sign, roles), tuple(own), name="LC01")


def limit(amps: float = 16.0, evse: int = 1, made: float | None = NOW) -> dict[str, Any]:
    """A SetChargingProfile of OCPP 2.0.1."""
    payload: dict[str, Any] = {
        "evseId": evse,
        "chargingProfile": {
            "id": 7,
            "stackLevel": 0,
            "chargingSchedule": [
                {"chargingRateUnit": "A", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": amps}]},
            ],
        },
    }
    if made is not None:
        payload["customData"] = {"vendorId": "example", "timestamp": signature_format.format_time(made)}
    return payload


def signed(
    payload: dict[str, Any],
    *authors: Author,
    action: str = "SetChargingProfile",
    direction: Direction = Direction.DOWN,
    kind: MessageKind = MessageKind.REQUEST,
    version: Version = Version.V201,
) -> bytes:
    context = signature_format.context(version, direction, kind, action)
    elements = [json.loads(author.signed(payload, context))["signatures"][0] for author in authors]
    return compact({**payload, "signatures": elements})


def decide(
    enforcer: PolicyEnforcer,
    payload: bytes,
    *,
    action: str = "SetChargingProfile",
    station: str = "CS01",
    link: str = "cpo",
    direction: Direction = Direction.DOWN,
    version: Version = Version.V201,
    utc: float = NOW,
    kind: MessageKind = MessageKind.REQUEST,
) -> Decision:
    """Return the decision on a payload that comes in a frame."""
    body = payload.decode()
    text = {
        MessageKind.REQUEST: f'[2,"1","{action}",{body}]',
        MessageKind.RESPONSE: f'[3,"1",{body}]',
        MessageKind.SEND: f'[6,"1","{action}",{body}]',
    }[kind]
    context = MessageContext(version=version, direction=direction, link=link, station=station, action=action)
    return enforcer.decide(context, parse(text), utc)  # type: ignore[arg-type]


def describe_decision(decision: Decision) -> str:
    """Return the decision in one line: pass, mark, refuse or drop, the rule and the reason."""
    match decision:
        case ForwardDecision(marked=True):
            return f"mark {decision.rule}: {decision.reason}"
        case ForwardDecision():
            return f"pass {decision.rule}: {decision.reason}" if decision.rule else "pass"
        case RejectDecision():
            return f"refuse {decision.rule}: {decision.reason}"
        case DropDecision():
            return f"drop {decision.rule}: {decision.reason}"
