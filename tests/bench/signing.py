"""What the gate of signatures costs a message: CPU time on one core, the frame's reading included.

Beside each other in one run: no gate, a policy that names nothing of this traffic, each message verified
(signature, roles, replay) on each curve, and our own signature put on each.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from controller.chargers.quirks import LimitScope
from controller.model.effects import BackendUp, FromBackend, ToBackend
from controller.ocpp.frames import Frame, Version, parse
from controller.ocpp.station_state import StationStateTracker
from controller.profiles.arbiter import ProfileArbiter
from controller.relay.events import FromStation, ToStation
from controller.relay.policy_check import PolicyCheck
from controller.relay.station_relay import StationRelay
from controller.relay.upstream import OwnerSide
from controller.signing import signing_keys
from controller.signing.payload_signatures import key_id
from controller.signing.policy_enforcer import ForwardDecision, MessageContext, PolicyEnforcer
from controller.signing.policy_schema import (
    Permission,
    SignerRole,
    SigningRule,
    VerificationMode,
    VerificationRule,
)
from controller.signing.signature_format import Direction, MessageKind
from controller.signing.signature_policy import SignaturePolicy
from controller.signing.signing_keys import Keyring, KnownKey, OwnKey
from tests.controller.signing.authors import Author
from tests.controller.signing.policy_examples import NOW, limit, signed
from tests.scenario.relay_harness import make_absorbed_profiles

ROUNDS = 2000
CURVES = ("secp256r1", "secp384r1", "secp521r1", "secp256k1")
PASSAGE = MessageContext(version=Version.V201, direction=Direction.DOWN, link="cpo", station="CS01")
ROLES = (
    SignerRole(
        id="operator", holders=("olga",), may=(Permission(actions=("SetChargingProfile",), max_a=32),)
    ),
)


def bench() -> list[dict[str, object]]:
    """One row a policy."""
    author = Author()
    frames = [_frame(author, number) for number in range(ROUNDS)]
    other = VerificationRule(id="other", require=VerificationMode.ANY, links=("fleet",))
    every = VerificationRule(id="every", require=VerificationMode.ANY, fresh=True)
    own = signing_keys.parse_private_key(signing_keys.new_private_key("secp256r1", "lc", NOW - 10, NOW + 10))
    rows = [_row("read the frame, no gate", None, frames)]
    rows.append(_row("gate, no policy", PolicyEnforcer(SignaturePolicy(keyring=Keyring())), frames))
    rows.append(
        _row("gate, policy for another link", PolicyEnforcer(_policy(author, other, roles=())), frames)
    )
    for curve in CURVES:
        signer = Author(curve)
        theirs = [_frame(signer, number) for number in range(ROUNDS // 2)]
        rows.append(_row(f"verify each, {curve}", PolicyEnforcer(_policy(signer, every)), theirs))
    sign = _policy(author, sign=(SigningRule(id="too", passing=True),), roles=())
    rows.append(_row("sign each, secp256r1", PolicyEnforcer(sign, (own,)), frames))
    return rows + _in_the_relay(author, own)


def _in_the_relay(author: Author, own: OwnKey) -> list[dict[str, object]]:
    """The same in the whole state machine of a station: its CALLs pass up, the answers down."""
    scenario = [_round_trip(author, number) for number in range(ROUNDS // 2)]
    every = VerificationRule(
        id="every", require=VerificationMode.ANY, kinds=tuple(MessageKind), holders=("olga",)
    )
    sign = SigningRule(id="too", passing=True, kinds=tuple(MessageKind))
    other = VerificationRule(id="other", require=VerificationMode.ANY, links=("fleet",))
    return [
        _relayed("no gate", None, scenario),
        _relayed("policy for another link", PolicyEnforcer(_policy(author, other, roles=())), scenario),
        _relayed("verify each, secp256r1", PolicyEnforcer(_policy(author, every, roles=())), scenario),
        _relayed(
            "sign each, secp256r1", PolicyEnforcer(_policy(author, sign=(sign,), roles=()), (own,)), scenario
        ),
    ]


def _round_trip(author: Author, number: int) -> tuple[str, str]:
    up = {"vendorId": "bench", "data": f"{number:0100}"}
    asked = signed(up, author, action="DataTransfer", direction=Direction.UP)
    down = {"status": "Accepted", "data": f"{number:0100}"}
    answer = signed(down, author, action="DataTransfer", kind=MessageKind.RESPONSE)
    return f'[2,"{number}","DataTransfer",{asked.decode()}]', f'[3,"{number}",{answer.decode()}]'


def _relayed(
    what: str, gate: PolicyEnforcer | None, scenario: Sequence[tuple[str, str]]
) -> dict[str, object]:
    relay = StationRelay(
        "CS01",
        Version.V201,
        OwnerSide("cpo"),
        StationStateTracker(Version.V201, 230),
        ProfileArbiter(Version.V201, LimitScope.STATION, make_absorbed_profiles(LimitScope.STATION)),
        30,
        0.0,
        policy=None if gate is None else PolicyCheck(gate, Version.V201, "CS01"),
    )
    relay.handle(BackendUp(), 0.0, 0.0)
    start = time.process_time()
    for asked, answer in scenario:
        assert any(isinstance(action, ToBackend) for action in relay.handle(FromStation(asked), 1.0, 1.0))
        assert any(isinstance(action, ToStation) for action in relay.handle(FromBackend(answer), 1.0, 1.0))
    spent = (time.process_time() - start) / len(scenario) / 2
    return _format_row(f"the whole relay: {what}", len(scenario[0][0]), spent)


def _frame(author: Author, number: int) -> str:
    payload = signed(limit(16 + number / 1000, made=NOW), author).decode()
    return f'[2,"{number}","SetChargingProfile",{payload}]'


def _policy(
    author: Author,
    *verify: VerificationRule,
    sign: Sequence[SigningRule] = (),
    roles: Sequence[SignerRole] = ROLES,
) -> SignaturePolicy:
    known = KnownKey(id=key_id(author.key.public_key()), holder="olga")
    return SignaturePolicy(keyring=Keyring((known,)), roles=roles, verify=verify, sign=sign)


def _row(what: str, gate: PolicyEnforcer | None, texts: Sequence[str]) -> dict[str, object]:
    start = time.process_time()
    for text in texts:
        frame = parse(text)
        assert isinstance(frame, Frame)
        if gate is not None:
            assert isinstance(gate.decide(PASSAGE, frame, NOW), ForwardDecision)
    spent = (time.process_time() - start) / len(texts)
    return _format_row(what, len(texts[0]), spent)


def _format_row(what: str, size: int, spent: float) -> dict[str, object]:
    return {
        "what": what,
        "bytes": size,
        "us per message": round(spent * 1e6, 1),
        "messages/s": round(1 / spent),
    }
