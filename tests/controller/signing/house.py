"""A house with a gate: those who hold keys, and messages on their way through it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from controller.ocpp.frames import Version, parse
from controller.signing import signing_wire
from controller.signing.keyring import Keyring, KnownKey, OwnKey
from controller.signing.policy_enforcer import (
    DropDecision,
    ForwardDecision,
    MessageContext,
    PolicyEnforcer,
    RejectDecision,
    Ruling,
)
from controller.signing.policy_schema import GrantConfig, RoleConfig, SignConfig, VerifyConfig
from controller.signing.signature_policy import SignaturePolicy
from controller.signing.signatures import key_id
from controller.signing.signing_wire import Direction, SignatureKind
from tests.controller.signing.authors import Author, compact

NOW = 1_795_269_600.0
OLGA, TOM, TINA, MALLORY = Author(), Author("secp384r1"), Author(), Author()
HOLDERS = {"olga": OLGA, "tom": TOM, "tina": TINA}
ROLES = (
    RoleConfig(id="operator", holders=("olga",), may=(GrantConfig(actions=("*",)),)),
    RoleConfig(
        id="technician",
        holders=("tom", "tina"),
        approvals=1,
        may=(GrantConfig(actions=("SetChargingProfile",), max_a=16, evses=("CS01", "CS01/*")),),
    ),
)


def policy(
    verify: Iterable[VerifyConfig] = (), sign: Iterable[SignConfig] = (), roles: Iterable[RoleConfig] = ROLES
) -> SignaturePolicy:
    keys = [KnownKey(id=key_id(each.key.public_key()), holder=name) for name, each in HOLDERS.items()]
    return SignaturePolicy(keyring=Keyring(keys), roles=roles, verify=verify, sign=sign)


def gate(
    verify: Iterable[VerifyConfig] = (),
    sign: Iterable[SignConfig] = (),
    own: Iterable[OwnKey] = (),
    roles: Iterable[RoleConfig] = ROLES,
) -> PolicyEnforcer:
    return PolicyEnforcer(policy(verify, sign, roles), tuple(own), name="LC01")


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
        payload["customData"] = {"vendorId": "house", "timestamp": signing_wire.moment(made)}
    return payload


def signed(
    payload: dict[str, Any],
    *authors: Author,
    action: str = "SetChargingProfile",
    direction: Direction = Direction.DOWN,
    kind: SignatureKind = SignatureKind.REQUEST,
    version: Version = Version.V201,
) -> bytes:
    context = signing_wire.context(version, direction, kind, action)
    elements = [json.loads(author.signed(payload, context))["signatures"][0] for author in authors]
    return compact({**payload, "signatures": elements})


def passes(
    gate: PolicyEnforcer,
    payload: bytes,
    *,
    action: str = "SetChargingProfile",
    station: str = "CS01",
    link: str = "cpo",
    direction: Direction = Direction.DOWN,
    version: Version = Version.V201,
    utc: float = NOW,
    kind: SignatureKind = SignatureKind.REQUEST,
) -> Ruling:
    """What the gate says of a payload that comes in a frame."""
    body = payload.decode()
    text = {
        SignatureKind.REQUEST: f'[2,"1","{action}",{body}]',
        SignatureKind.RESPONSE: f'[3,"1",{body}]',
        SignatureKind.SEND: f'[6,"1","{action}",{body}]',
    }[kind]
    passage = MessageContext(version=version, direction=direction, link=link, station=station, action=action)
    return gate.look(passage, parse(text), utc)  # type: ignore[arg-type]


def why(ruling: Ruling) -> str:
    """In one line: pass, mark, refuse or drop, the rule and the reason."""
    match ruling:
        case ForwardDecision(marked=True):
            return f"mark {ruling.rule}: {ruling.why}"
        case ForwardDecision():
            return f"pass {ruling.rule}: {ruling.why}" if ruling.rule else "pass"
        case RejectDecision():
            return f"refuse {ruling.rule}: {ruling.why}"
        case DropDecision():
            return f"drop {ruling.rule}: {ruling.why}"
