"""Signature policy on the link of the site: who may change policies, and the answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from controller.model.effects import LogEntry, ToBackend
from controller.model.journal import Persist
from controller.ocpp.frames import Call, CallError, CallResult, Version, call_frame, result_frame
from controller.services.signing.policy_service import PolicyService
from controller.signing import payload_signatures, signature_format, signing_keys
from controller.signing.policy_messages import ReceivedPolicy
from controller.signing.signature_format import Direction, MessageKind
from controller.signing.signing_keys import write_key_file
from controller.site_identity.identity import SiteFrame
from controller.site_identity.site_link_policy import LinkAction, PolicyRequest, SiteLinkPolicy
from controller.store.state_store import StateStore
from tests.controller.signing.authors import compact
from tests.controller.signing.files import write_policy
from tests.controller.signing.policy_examples import NOW, OLGA, TOM, decide, describe_decision, limit, signed
from tests.controller.site_identity.test_identity import received

POLICY = {
    "id": "p",
    "priority": 5,
    "notBefore": "2026-01-01T00:00:00Z",
    "verificationRules": [
        {
            "context": signature_format.context(Version.V201, Direction.DOWN, MessageKind.REQUEST, "Reset"),
            "priority": 1,
            "action": "reject",
        }
    ],
    "signingRules": [],
}
ROLE = {"id": "helper", "holders": ["tom"], "may": [{"actions": ["Reset"]}]}
SIGN = '[[sign]]\nid = "own"\nkinds = ["request", "response"]\ndirection = "up"\n'


class PolicyHarness:
    """A site whose policy lets Olga change policies, and the messages that it has sent."""

    def __init__(self, folder: Path, nursery: trio.Nursery, key: Path | None = None) -> None:
        self.folder = folder
        self.sent: list[str] = []
        self.store = StateStore(folder)
        self.nursery = nursery
        nursery.start_soon(self.store.run)
        self.keeper = PolicyService("lc", folder / "signing.toml", key, self.store, lambda: True)
        self.guard = SiteLinkPolicy(self.keeper.enforcer, Version.V201, "lc", "cpo")

    async def answers(self, action: str, payload: bytes, number: str = "1") -> Any:
        """The answer that went back at once; None: the identity is to answer."""
        text = f'[2,"{number}","{action}",{payload.decode()}]'
        passed = [await self.follow(effect) for effect in self.guard.check_frame(received(text), NOW)]
        assert (text in passed) is not bool(self.sent)
        return json.loads(self.sent.pop()) if self.sent else None

    async def follow(self, effect: LinkAction) -> str | None:
        """Execute an effect; return the text of one that passes."""
        match effect:
            case Persist(records=records):
                await self.store.persist(records)
            case ToBackend(text=text):
                self.sent.append(text)
            case PolicyRequest():
                answer = await self.keeper.answer_policy_message(
                    effect.action, effect.payload, effect.decision
                )
                self.send(result_frame(effect.id, answer))
            case SiteFrame(frame=frame):
                assert isinstance(frame, Call)
                return frame.text
        return None

    def send(self, frame: Call | CallResult) -> None:
        self.sent.append(self.guard.sign_frame(frame, NOW).text)

    async def asks(self, action: str, message: dict[str, Any], author: Any = OLGA) -> Any:
        """Return the answer to a signed change of policies."""
        dated = {**message, "customData": limit()["customData"]}
        return await self.answers(
            action, compact(dated) if author is None else signed(dated, author, action=action)
        )

    def reset(self) -> str:
        return describe_decision(decide(self.keeper.enforcer, b"{}", action="Reset"))


@pytest.fixture
async def harness(tmp_path: Path, nursery: trio.Nursery) -> PolicyHarness:
    write_policy(tmp_path)
    return PolicyHarness(tmp_path, nursery)


async def test_policy_is_added_changed_and_removed(harness: PolicyHarness) -> None:
    assert await harness.asks("AddSignaturePolicy", {"signaturePolicy": POLICY}) == [
        3,
        "1",
        {"status": "Accepted"},
    ]
    assert harness.reset().startswith("refuse p/verify/0")
    harness = PolicyHarness(harness.folder, harness.nursery)  # after a restart
    assert harness.reset().startswith("refuse p/verify/0")
    other = signature_format.context(Version.V201, Direction.DOWN, MessageKind.REQUEST, "ClearCache")
    lax = {**POLICY, "verificationRules": [{"context": other, "priority": 1, "action": "reject"}]}
    assert await harness.asks("UpdateSignaturePolicy", {"signaturePolicy": lax}) == [
        3,
        "1",
        {"status": "Accepted"},
    ]
    assert harness.reset() == "pass"
    gone = await harness.asks("DeleteSignaturePolicy", {"signaturePolicyId": "p"})
    assert gone == [3, "1", {"status": "Accepted"}]
    assert harness.store.load(ReceivedPolicy) == []


async def test_site_link_policy_role_is_added_and_removed(harness: PolicyHarness) -> None:
    assert await harness.asks("AddUserRole", {"userRole": ROLE}) == [3, "1", {"status": "Accepted"}]
    assert await harness.asks("DeleteUserRole", {"userRoleId": "helper"}) == [3, "1", {"status": "Accepted"}]


@pytest.mark.parametrize(
    ("author", "words"),
    [
        (None, "rule safe-policies: it is not signed"),
        (TOM, "rule safe-policies: tom"),
    ],
)
async def test_site_link_policy_accepts_policies_from_permitted_role_only(
    harness: PolicyHarness, author: Any, words: str
) -> None:
    kind, _, code, description, _ = await harness.asks("AddUserRole", {"userRole": ROLE}, author)
    assert (kind, code) == (4, "SecurityError")
    assert words in description
    assert harness.store.load(ReceivedPolicy) == []


async def test_site_link_policy_same_change_twice_is_no_change(harness: PolicyHarness) -> None:
    text = signed({"userRole": ROLE, "customData": limit()["customData"]}, OLGA, action="AddUserRole")
    assert await harness.answers("AddUserRole", text) == [3, "1", {"status": "Accepted"}]
    assert "it was received before" in (await harness.answers("AddUserRole", text))[3]
    assert (
        "it was received before"
        in (await PolicyHarness(harness.folder, harness.nursery).answers("AddUserRole", text))[3]
    )


async def test_empty_policy_is_refused_with_reason(harness: PolicyHarness) -> None:
    answer = await harness.asks("AddUserRole", {"userRole": {**ROLE, "holders": ["nobody"]}})
    assert answer[2]["status"] == "Rejected"
    assert "nobody" in answer[2]["statusInfo"]["additionalInfo"]


async def test_site_link_policy_without_permitted_role_rejects_changes(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    (tmp_path / "signing.toml").write_text("version = 1")
    answer = await PolicyHarness(tmp_path, nursery).asks("AddUserRole", {"userRole": ROLE})
    assert answer[2]["status"] == "Rejected"


async def test_limit_for_site_is_held_to_policy(harness: PolicyHarness) -> None:
    assert await harness.answers("SetChargingProfile", signed(limit(evse=0), OLGA)) is None  # it goes on
    assert "it is not signed" in (await harness.answers("SetChargingProfile", compact(limit(evse=0))))[3]
    assert await harness.answers("GetVariables", b"{}") is None


async def test_site_link_policy_refused_answer_of_backend_is_error_for_identity(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    write_policy(
        tmp_path,
        '[[verify]]\nid = "answers"\nkinds = ["response"]\nrequire = "verifyAny"\ndirection = "down"\n',
    )
    harness = PolicyHarness(tmp_path, nursery)
    harness.send(call_frame("7", "BootNotification", b"{}"))
    [logged, passed] = harness.guard.check_frame(received('[3,"7",{"status":"Accepted"}]'), NOW)
    assert isinstance(logged, LogEntry)
    assert isinstance(passed, SiteFrame)
    assert isinstance(passed.frame, CallError)
    assert json.loads(passed.frame.text)[:3] == [4, "7", "SecurityError"]
    malformed = received("[3,")
    assert harness.guard.check_frame(malformed, NOW) == [malformed]  # the identity answers it


async def test_site_message_is_signed_where_the_policy_requires_it(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    write_policy(tmp_path, SIGN)
    file = write_key_file(
        tmp_path / "keys", "a", signing_keys.new_private_key("secp256r1", "lc", NOW - 10, NOW + 10)
    )
    own = signing_keys.parse_private_key(file.read_bytes()).known.id
    harness = PolicyHarness(tmp_path, nursery, file)

    def signers(payload: Any, action: str, kind: MessageKind) -> object:
        context = signature_format.context(Version.V201, Direction.UP, kind, action)
        return payload_signatures.verify_payload(compact(payload), context, lambda _: True).keys

    harness.send(call_frame("7", "BootNotification", b"{}"))
    assert signers(json.loads(harness.sent.pop())[3], "BootNotification", MessageKind.REQUEST) == {own}
    _, _, answer = await harness.asks("AddUserRole", {"userRole": ROLE})
    assert signers(answer, "AddUserRole", MessageKind.RESPONSE) == {own}
    assert await harness.answers("GetVariables", b"{}") is None
    harness.send(result_frame("1", b'{"getVariableResult":[]}'))
    assert signers(json.loads(harness.sent.pop())[2], "GetVariables", MessageKind.RESPONSE) == {own}


async def test_site_link_policy_unstored_call_is_answered_with_error(harness: PolicyHarness) -> None:
    [refused] = harness.guard.reject_unstored(received('[2,"8","SetChargingProfile",{}]'))
    assert isinstance(refused, ToBackend)
    assert json.loads(refused.text)[:3] == [4, "8", "InternalError"]
    assert harness.guard.reject_unstored(received('[3,"8",{}]')) == []
