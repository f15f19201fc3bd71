"""Policies that come over the site's own link: from whom they are taken, and what goes back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from controller.ocpp.frames import Version
from controller.services.policy_service import PolicyService
from controller.services.site_link_policy import SiteLinkPolicy
from controller.signing import payload_signatures, signature_format, signing_keys
from controller.signing.policy_messages import ReceivedPolicy
from controller.signing.signature_format import Direction, MessageKind
from controller.signing.signing_keys import write_key_file
from controller.store.state_store import StateStore
from tests.controller.signing.authors import compact
from tests.controller.signing.files import write_policy
from tests.controller.signing.house import NOW, OLGA, TOM, limit, passes, signed, why

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


class House:
    """A guard, and what it has sent."""

    def __init__(self, folder: Path, key: Path | None = None) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.store = StateStore(folder)
        self.keeper = PolicyService("lc", folder / "signing.toml", key, self.store)
        self.guard = SiteLinkPolicy(
            self.keeper, Version.V201, "lc", "cpo", self.said.append, lambda now: NOW + now
        )

    def answers(self, action: str, payload: bytes, number: str = "1") -> Any:
        """The answer that went back at once; None: the identity is to answer."""
        text = f'[2,"{number}","{action}",{payload.decode()}]'
        passed = self.guard.on_text(text, 0.0)
        assert passed in (None, text)
        assert (passed is None) == bool(self.said)
        return json.loads(self.said.pop()) if self.said else None

    def asks(self, action: str, message: dict[str, Any], author: Any = OLGA) -> Any:
        """The answer to a change of policies that somebody has signed."""
        dated = {**message, "customData": limit()["customData"]}
        return self.answers(
            action, compact(dated) if author is None else signed(dated, author, action=action)
        )

    def reset(self) -> str:
        return why(passes(self.keeper.gate, b"{}", action="Reset"))


@pytest.fixture
def house(tmp_path: Path) -> House:
    write_policy(tmp_path)
    return House(tmp_path)


def test_policy_is_in_force_changed_and_gone(house: House) -> None:
    assert house.asks("AddSignaturePolicy", {"signaturePolicy": POLICY}) == [3, "1", {"status": "Accepted"}]
    assert house.reset().startswith("refuse p/verify/0")
    house = House(house.folder)  # after a restart
    assert house.reset().startswith("refuse p/verify/0")
    lax = {**POLICY, "verificationRules": []}
    assert house.asks("UpdateSignaturePolicy", {"signaturePolicy": lax}) == [3, "1", {"status": "Accepted"}]
    assert house.reset() == "pass"
    gone = house.asks("DeleteSignaturePolicy", {"signaturePolicyId": "p"})
    assert gone == [3, "1", {"status": "Accepted"}]
    assert house.store.load(ReceivedPolicy) == []


def test_site_link_policy_role_comes_and_goes(house: House) -> None:
    assert house.asks("AddUserRole", {"userRole": ROLE}) == [3, "1", {"status": "Accepted"}]
    assert house.asks("DeleteUserRole", {"userRoleId": "helper"}) == [3, "1", {"status": "Accepted"}]


@pytest.mark.parametrize(
    ("author", "words"),
    [
        (None, "rule safe-policies: it is not signed"),
        (TOM, "rule safe-policies: tom"),
    ],
)
def test_site_link_policy_policies_are_taken_from_no_one_else(house: House, author: Any, words: str) -> None:
    kind, _, code, description, _ = house.asks("AddUserRole", {"userRole": ROLE}, author)
    assert (kind, code) == (4, "SecurityError")
    assert words in description
    assert house.store.load(ReceivedPolicy) == []


def test_site_link_policy_same_change_twice_is_no_change(house: House) -> None:
    text = signed({"userRole": ROLE, "customData": limit()["customData"]}, OLGA, action="AddUserRole")
    assert house.answers("AddUserRole", text) == [3, "1", {"status": "Accepted"}]
    assert "it was received before" in house.answers("AddUserRole", text)[3]
    assert "it was received before" in House(house.folder).answers("AddUserRole", text)[3]


def test_policy_that_states_nothing_is_refused_with_reason(house: House) -> None:
    answer = house.asks("AddUserRole", {"userRole": {**ROLE, "holders": ["nobody"]}})
    assert answer[2]["status"] == "Rejected"
    assert "nobody" in answer[2]["statusInfo"]["additionalInfo"]


def test_site_link_policy_where_no_role_may_change_policies_no_one_may(tmp_path: Path) -> None:
    (tmp_path / "signing.toml").write_text("version = 1")
    answer = House(tmp_path).asks("AddUserRole", {"userRole": ROLE})
    assert answer[2]["status"] == "Rejected"


def test_limit_for_site_is_held_to_policy(house: House) -> None:
    assert house.answers("SetChargingProfile", signed(limit(evse=0), OLGA)) is None  # it goes on
    assert "it is not signed" in house.answers("SetChargingProfile", compact(limit(evse=0)))[3]
    assert house.answers("GetVariables", b"{}") is None


def test_site_link_policy_refused_answer_of_backend_is_error_for_identity(tmp_path: Path) -> None:
    write_policy(
        tmp_path,
        '[[verify]]\nid = "answers"\nkinds = ["response"]\nrequire = "verifyAny"\ndirection = "down"\n',
    )
    house = House(tmp_path)
    house.guard.send_text('[2,"7","BootNotification",{}]', 0.0)
    heard = house.guard.on_text('[3,"7",{"status":"Accepted"}]', 0.0)
    assert heard is not None
    assert json.loads(heard)[:3] == [4, "7", "SecurityError"]
    assert house.guard.on_text("[3,", 0.0) == "[3,"  # what is no frame is for others to tell


def test_site_message_is_signed_where_the_policy_requires_it(tmp_path: Path) -> None:
    write_policy(tmp_path, SIGN)
    file = write_key_file(
        tmp_path / "keys", "a", signing_keys.new_private_key("secp256r1", "lc", NOW - 10, NOW + 10)
    )
    own = signing_keys.parse_private_key(file.read_bytes()).known.id
    house = House(tmp_path, file)

    def signers(payload: Any, action: str, kind: MessageKind) -> object:
        context = signature_format.context(Version.V201, Direction.UP, kind, action)
        return payload_signatures.verify_payload(compact(payload), context, lambda _: True).keys

    house.guard.send_text('[2,"7","BootNotification",{}]', 0.0)
    assert signers(json.loads(house.said.pop())[3], "BootNotification", MessageKind.REQUEST) == {own}
    _, _, answer = house.asks("AddUserRole", {"userRole": ROLE})
    assert signers(answer, "AddUserRole", MessageKind.RESPONSE) == {own}
    assert house.answers("GetVariables", b"{}") is None
    house.guard.send_text('[3,"1",{"getVariableResult":[]}]', 0.0)
    assert signers(json.loads(house.said.pop())[2], "GetVariables", MessageKind.RESPONSE) == {own}
