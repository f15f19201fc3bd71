"""What the gate of signatures costs a message: CPU time on one core, the frame's reading included.

Beside each other in one run: no gate, a policy that names nothing of this traffic, each message verified
(signature, roles, replay) on each curve, and our own signature put on each.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from controller.ocpp.frames import Frame, Version, parse
from controller.signing import keys
from controller.signing.gate import Gate, Pass, Passage
from controller.signing.keys import Keyring, KnownKey
from controller.signing.policy import Policy
from controller.signing.signatures import key_id
from controller.signing.tables import Grant, Require, Role, Sign, Verify
from controller.signing.wire import Direction
from tests.controller.signing.authors import Author
from tests.controller.signing.house import NOW, limit, signed

ROUNDS = 2000
CURVES = ("secp256r1", "secp384r1", "secp521r1", "secp256k1")
PASSAGE = Passage(version=Version.V201, direction=Direction.DOWN, link="cpo", station="CS01")
ROLES = (Role(id="operator", holders=("olga",), may=(Grant(actions=("SetChargingProfile",), max_a=32),)),)


def bench() -> list[dict[str, object]]:
    """One row a policy."""
    author = Author()
    frames = [_frame(author, number) for number in range(ROUNDS)]
    other = Verify(id="other", require=Require.ANY, links=("fleet",))
    every = Verify(id="every", require=Require.ANY, fresh=True)
    own = keys.read_private(keys.new_private("secp256r1", "lc", NOW - 10, NOW + 10))
    rows = [_row("read the frame, no gate", None, frames)]
    rows.append(_row("gate, no policy", Gate(Policy(keyring=Keyring())), frames))
    rows.append(_row("gate, policy for another link", Gate(_policy(author, other, roles=())), frames))
    for curve in CURVES:
        signer = Author(curve)
        theirs = [_frame(signer, number) for number in range(ROUNDS // 2)]
        rows.append(_row(f"verify each, {curve}", Gate(_policy(signer, every)), theirs))
    sign = _policy(author, sign=(Sign(id="too", passing=True),), roles=())
    rows.append(_row("sign each, secp256r1", Gate(sign, (own,)), frames))
    return rows


def _frame(author: Author, number: int) -> str:
    payload = signed(limit(16 + number / 1000, made=NOW), author).decode()
    return f'[2,"{number}","SetChargingProfile",{payload}]'


def _policy(
    author: Author, *verify: Verify, sign: Sequence[Sign] = (), roles: Sequence[Role] = ROLES
) -> Policy:
    known = KnownKey(id=key_id(author.key.public_key()), holder="olga")
    return Policy(keyring=Keyring((known,)), roles=roles, verify=verify, sign=sign)


def _row(what: str, gate: Gate | None, texts: Sequence[str]) -> dict[str, object]:
    start = time.process_time()
    for text in texts:
        frame = parse(text)
        assert isinstance(frame, Frame)
        if gate is not None:
            assert isinstance(gate.look(PASSAGE, frame, NOW), Pass)
    spent = (time.process_time() - start) / len(texts)
    return {
        "what": what,
        "bytes": len(texts[0]),
        "us per message": round(spent * 1e6, 1),
        "messages/s": round(1 / spent),
    }
