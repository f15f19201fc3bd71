"""A house with a gate: those who hold keys, and messages on their way through it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from controller.ocpp.frames import Version, parse
from controller.signing import wire
from controller.signing.gate import Drop, Gate, Pass, Passage, Refuse, Ruling
from controller.signing.keys import Keyring, KnownKey, OwnKey
from controller.signing.policy import Policy
from controller.signing.signatures import key_id
from controller.signing.tables import Grant, Role, Sign, Verify
from controller.signing.wire import Direction, Kind
from tests.controller.signing.authors import Author, compact

NOW = 1_795_269_600.0
OLGA, TOM, TINA, MALLORY = Author(), Author("secp384r1"), Author(), Author()
HOLDERS = {"olga": OLGA, "tom": TOM, "tina": TINA}
ROLES = (
    Role(id="operator", holders=("olga",), may=(Grant(actions=("*",)),)),
    Role(id="technician", holders=("tom", "tina"), approvals=1, may=(
        Grant(actions=("SetChargingProfile",), max_a=16, evses=("CS01", "CS01/*")),
    )),
)  # fmt: skip


def policy(verify: Iterable[Verify] = (), sign: Iterable[Sign] = (), roles: Iterable[Role] = ROLES) -> Policy:
    keys = [KnownKey(id=key_id(each.key.public_key()), holder=name) for name, each in HOLDERS.items()]
    return Policy(keyring=Keyring(keys), roles=roles, verify=verify, sign=sign)


def gate(
    verify: Iterable[Verify] = (),
    sign: Iterable[Sign] = (),
    own: Iterable[OwnKey] = (),
    roles: Iterable[Role] = ROLES,
) -> Gate:
    return Gate(policy(verify, sign, roles), tuple(own), name="LC01")


def limit(amps: float = 16.0, evse: int = 1, made: float | None = NOW) -> dict[str, Any]:
    """A SetChargingProfile of OCPP 2.0.1."""
    payload: dict[str, Any] = {
        "evseId": evse,
        "chargingProfile": {"id": 7, "stackLevel": 0, "chargingSchedule": [
            {"chargingRateUnit": "A", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": amps}]},
        ]},
    }  # fmt: skip
    if made is not None:
        payload["customData"] = {"vendorId": "house", "timestamp": wire.moment(made)}
    return payload


def signed(
    payload: dict[str, Any],
    *authors: Author,
    action: str = "SetChargingProfile",
    direction: Direction = Direction.DOWN,
    kind: Kind = Kind.REQUEST,
    version: Version = Version.V201,
) -> bytes:
    context = wire.context(version, direction, kind, action)
    elements = [json.loads(author.signed(payload, context))["signatures"][0] for author in authors]
    return compact({**payload, "signatures": elements})


def passes(
    gate: Gate,
    payload: bytes,
    *,
    action: str = "SetChargingProfile",
    station: str = "CS01",
    link: str = "cpo",
    direction: Direction = Direction.DOWN,
    version: Version = Version.V201,
    utc: float = NOW,
    kind: Kind = Kind.REQUEST,
) -> Ruling:
    """What the gate says of a payload that comes in a frame."""
    body = payload.decode()
    text = {
        Kind.REQUEST: f'[2,"1","{action}",{body}]',
        Kind.RESPONSE: f'[3,"1",{body}]',
        Kind.SEND: f'[6,"1","{action}",{body}]',
    }[kind]
    passage = Passage(version=version, direction=direction, link=link, station=station, action=action)
    return gate.look(passage, parse(text), utc)  # type: ignore[arg-type]


def why(ruling: Ruling) -> str:
    """In one line: pass, mark, refuse or drop, the rule and the reason."""
    match ruling:
        case Pass(marked=True):
            return f"mark {ruling.rule}: {ruling.why}"
        case Pass():
            return f"pass {ruling.rule}: {ruling.why}" if ruling.rule else "pass"
        case Refuse():
            return f"refuse {ruling.rule}: {ruling.why}"
        case Drop():
            return f"drop {ruling.rule}: {ruling.why}"
