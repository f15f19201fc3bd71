"""Binary messages on plain links: they pass, unless a rule is for their action."""

from __future__ import annotations

import pytest

from controller.model.journal import Persist
from controller.ocpp.frames import Version
from controller.overlay.binary_messages import BinaryMessages, ForwardBinary
from controller.overlay.overlay_wire import OverlayMessageKind
from controller.signing.policy_enforcer import ForwardDecision, PolicyEnforcer
from controller.signing.policy_schema import FailureAction, VerificationMode, VerificationRule
from controller.signing.replay_cache import ReplayRecord, SeenText
from controller.signing.signature_format import Direction
from tests.controller.signing.policy_examples import NOW, make_enforcer


def binary(action: str, kind: OverlayMessageKind = OverlayMessageKind.CALL) -> bytes:
    word = action.encode()
    return bytes((kind, 0, 0, 0)) + b"\0\2m1" + len(word).to_bytes(2, "big") + word + b"\xff\0"


def sealed(enforcer: PolicyEnforcer | None) -> BinaryMessages:
    return BinaryMessages(enforcer, lambda now: now, Version.V201, "CS01", "cpo")


def passes_up(messages: BinaryMessages, message: bytes) -> bool:
    return ForwardBinary(message, is_up=True) in messages.check_from_station(message, NOW)


def passes_down(messages: BinaryMessages, message: bytes) -> bool:
    return ForwardBinary(message, is_up=False) in messages.check_from_owner(message, NOW)


def rules(**more: object) -> PolicyEnforcer:
    usual = {"id": "r", "actions": ("FileTransfer",), "require": VerificationMode.ANY}
    return make_enforcer([VerificationRule(**(usual | more))])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("enforcer", "up", "down"),
    [
        (None, True, True),
        (rules(), False, False),
        (rules(actions=("Other",)), True, True),
        (rules(direction=Direction.DOWN), True, False),
        (rules(links=("cpo",)), True, False),
        (rules(links=("CS01",)), False, True),
        (rules(require=VerificationMode.DROP), False, False),
        (rules(require=VerificationMode.REJECT), False, False),
        (rules(failing=FailureAction.MARK), True, True),
        (rules(require=VerificationMode.UNVERIFIED), True, True),
    ],
)
def test_binary_message_is_decided_by_rule(enforcer: PolicyEnforcer | None, up: bool, down: bool) -> None:
    messages = sealed(enforcer)
    assert passes_up(messages, binary("FileTransfer")) is up
    assert passes_down(messages, binary("FileTransfer")) is down


@pytest.mark.parametrize(
    "message", [b"", b"\x07", b"\x02\0\0", binary("FileTransfer", OverlayMessageKind.RESULT)]
)
def test_binary_messages_answer_passes(message: bytes) -> None:
    assert passes_down(sealed(rules()), message)


def test_binary_messages_unreadable_action_is_matched_by_rule_for_all() -> None:
    message = binary("FileTransfer").replace(b"File", b"\xff\xff\xff\xff")
    assert passes_down(sealed(rules()), message)
    assert not passes_down(sealed(rules(actions=("*",))), message)


def test_binary_messages_signed_one_follows_its_replay_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    enforcer, message = rules(), binary("FileTransfer")
    record = ReplayRecord((SeenText("digest", NOW),), NOW)
    monkeypatch.setattr(enforcer, "decide", lambda *_: ForwardDecision(record=record))
    effects = sealed(enforcer).check_from_owner(message, NOW)
    assert effects == [Persist((record,)), ForwardBinary(message, is_up=False)]
