"""Binary messages on plain links: they pass, unless a rule is for their action."""

from __future__ import annotations

import pytest

from controller.ocpp.frames import Version
from controller.overlay.sealed import Sealed
from controller.overlay.wire import Kind
from controller.signing.gate import Gate
from controller.signing.tables import Failing, Require, Verify
from controller.signing.wire import Direction
from tests.controller.signing.house import NOW, gate


def binary(action: str, kind: Kind = Kind.CALL) -> bytes:
    word = action.encode()
    return bytes((kind, 0, 0, 0)) + b"\0\2m1" + len(word).to_bytes(2, "big") + word + b"\xff\0"


def sealed(gate: Gate | None) -> Sealed:
    return Sealed(gate, lambda now: now, Version.V201, "CS01", "cpo")


def rules(**more: object) -> Gate:
    usual = {"id": "r", "actions": ("FileTransfer",), "require": Require.ANY}
    return gate([Verify(**(usual | more))])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("gate", "up", "down"),
    [
        (None, True, True),
        (rules(), False, False),
        (rules(actions=("Other",)), True, True),
        (rules(direction=Direction.DOWN), True, False),
        (rules(links=("cpo",)), True, False),
        (rules(links=("CS01",)), False, True),
        (rules(require=Require.DROP), False, False),
        (rules(require=Require.REJECT), False, False),
        (rules(failing=Failing.MARK), True, True),
        (rules(require=Require.UNVERIFIED), True, True),
    ],
)
def test_what_passes(gate: Gate | None, up: bool, down: bool) -> None:
    door = sealed(gate)
    assert door.goes_up(binary("FileTransfer"), NOW) is up
    assert door.goes_down(binary("FileTransfer"), NOW) is down


@pytest.mark.parametrize("message", [b"", b"\x07", b"\x02\0\0", binary("FileTransfer", Kind.RESULT)])
def test_what_names_no_action_passes(message: bytes) -> None:
    assert sealed(rules()).goes_down(message, NOW)


def test_an_action_in_no_language_is_one_that_a_rule_for_all_is_for() -> None:
    message = binary("FileTransfer").replace(b"File", b"\xff\xff\xff\xff")
    assert sealed(rules()).goes_down(message, NOW)
    assert not sealed(rules(actions=("*",))).goes_down(message, NOW)
