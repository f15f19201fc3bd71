"""A policy's file: its meaning, and every mistake with its line and remedy."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

from controller.ocpp.frames import Version
from controller.signing import policy_schema
from controller.signing.policy_enforcer import FORWARD, PolicyEnforcer
from controller.signing.policy_file import PolicyFileError, check_policy, read_policy
from controller.signing.rule_set import RuleKey
from controller.signing.signature_format import Direction, MessageKind
from controller.tomlcheck.diagnostics import FileUnreadableError
from tests.controller.signing.policy_examples import NOW, OLGA, TOM, decide, describe_decision, limit, signed
from tests.controller.signing.test_jws import EC_PEM

POINT, POINT_384 = (base64.b64encode(author.point).decode() for author in (OLGA, TOM))
HEAD = f"""\
version = 1
[[key]]
holder = "olga"
public = "{POINT}"
"""
GOOD = (
    HEAD
    + f"""
[[key]]
holder = "tom"
public = "{POINT_384}"
curve = "secp384r1"
not_after = 2026-11-21T15:00:00Z
[[key]]
holder = "cpo"
certificate = "cpo.pem"
[[role]]
id = "technician"
holders = ["olga", "tom"]
approvals = 1
[[role.may]]
actions = ["SetChargingProfile"]
max_a = 16
evses = ["CS01/*"]
[[verify]]
id = "limits"
actions = ["profiles"]
direction = "down"
require = "verifyAny"
roles = ["technician"]
[[sign]]
id = "own"
passing = true
"""
)


def mistakes(text: str, folder: Path = Path("/nowhere")) -> list[str]:
    return [str(each) for each in check_policy(text, "signing.toml", folder)[1]]


def test_valid_policy_file_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "cpo.pem").write_bytes(EC_PEM)
    (tmp_path / "signing.toml").write_text(GOOD)
    loaded = read_policy(tmp_path / "signing.toml")
    enforcer = PolicyEnforcer(loaded.policy(), jws=loaded.verifier())
    assert (
        describe_decision(decide(enforcer, signed(limit(), TOM), link="CS01")) == "pass limits: signed by tom"
    )
    facts = RuleKey(
        version=Version.V201,
        action="SetChargingProfile",
        direction=Direction.DOWN,
        kind=MessageKind.REQUEST,
        link="CS01",
    )
    assert "no key of the controller is valid" in enforcer.sign_forwarded(facts, b"{}", NOW).unsigned_reason
    assert "technician" in describe_decision(decide(enforcer, signed(limit(17), TOM)))
    assert "is not valid at" in describe_decision(decide(enforcer, signed(limit(), TOM), utc=NOW + 3600))
    assert [key.holder for key in loaded.keys] == ["olga", "tom", "cpo"]
    assert loaded.keys[2].not_after == loaded.certificates[0].not_after


def test_empty_policy_has_no_rules() -> None:
    loaded, _ = check_policy("version = 1", "signing.toml", Path())
    assert loaded is not None
    assert decide(PolicyEnforcer(loaded.policy()), b"no JSON") is FORWARD


RULE = '[[verify]]\nid = "r"\nrequire = "verifyAny"\n'
ROLE = '[[role]]\nid = "r"\nholders = ["olga"]\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("version = ", "1: TOML: Invalid value; write a value after ="),
        ("", "1: version: is missing; add version = ... (1)"),
        ("version = 2", "1: version: cannot be 2; write 1"),
        (HEAD + "colour = 1", "5: key[0].colour: is not a known key; remove it"),
        ("version = 1\nwindow_s = 0", "2: window_s: cannot be 0; write a number above 0, at most 86400 s"),
        ('version = 1\nwindow_s = "5 min"', '2: window_s: cannot be "5 min"; did you mean 300?'),
        (
            HEAD + "valid_until = 2027-01-01T00:00:00Z",
            "valid_until: is not a known key; did you mean not_after?",
        ),
        (HEAD + 'curve = "P-384"', '5: key[0].curve: cannot be "P-384"; did you mean "secp384r1"?'),
        ('version = 1\n[[key]]\npublic = "' + POINT + '"', "2: key[0].holder: is missing; add holder = ..."),
        ('version = 1\n[[key]]\nholder = "a"', "2: key[0]: has neither public nor certificate; give it one"),
        (HEAD + 'certificate = "x.pem"', "2: key[0]: has both public and certificate"),
        (
            HEAD.replace(POINT, "ä"),
            "4: key[0].public: is not base64; copy key and curve from `local-controller keys export`",
        ),
        (
            HEAD.replace(POINT, POINT_384),
            "4: key[0].public: is not an uncompressed point of secp256r1 (65 bytes, 0x04 first); ",
        ),
        (HEAD + 'curve = "secp192r1"', '5: key[0].curve: cannot be "secp192r1"; did you mean "secp521r1"?'),
        (HEAD + 'curve = "secp256k1"', "4: key[0].public: is not a point on secp256k1; copy key and curve"),
        (
            HEAD + HEAD.removeprefix("version = 1\n"),
            "5: key[1]: is the key of olga, too; remove one of the two",
        ),
        (
            HEAD + "not_after = 2026-11-21T15:00:00",
            "5: key[0].not_after: cannot be 2026-11-21 15:00:00; write a time with its zone",
        ),
        (
            HEAD + "not_before = 2026-11-21T15:00:00Z\nnot_after = 2026-11-21T14:00:00Z",
            "6: key[0].not_after: is not after not_before",
        ),
        (
            'version = 1\n[[key]]\nholder = "a"\ncertificate = "a.pem"',
            "4: key[0].certificate: /nowhere/a.pem cannot be read: No such file",
        ),
        (
            HEAD + ROLE.replace("olga", "olha"),
            '7: role "r" holders[0]: key "olha" does not exist; did you mean "olga"?',
        ),
        (
            HEAD + ROLE + "approvals = 2",
            '8: role "r" approvals: is more than the number of holders, 1; name more',
        ),
        (HEAD + ROLE + ROLE, '9: role "r" id: "r" is already defined'),
        (
            HEAD + ROLE + '[[role.may]]\nactions = ["profile"]',
            '9: role "r" may[0].actions[0]: "profile" is not an action of OCPP; did you mean "profiles"?',
        ),
        (
            HEAD + ROLE + '[[role.may]]\nactions = ["*"]\nat_least = 3\nat_most = 2',
            "at_most: is below at_least",
        ),
        (HEAD + RULE + 'actions = ["SetChargingProfil"]', 'did you mean "SetChargingProfile"?'),
        (
            HEAD + RULE + 'roles = ["tech"]',
            '8: verify "r" roles[0]: role "tech" does not exist; add a [[role]]',
        ),
        (HEAD + RULE + 'holders = ["olha"]', 'did you mean "olga"?'),
        (HEAD + RULE + '[[sign]]\nid = "r"', '9: sign "r" id: "r" is already defined'),
        (
            HEAD + RULE.replace("verifyAny", "verify"),
            'require: cannot be "verify"; did you mean "verifyAny"?',
        ),
        (HEAD + RULE.replace("verifyAny", "none"), 'cannot be "none"; did you mean "acceptUnverified"?'),
        (HEAD + RULE + 'direction = "sideways"', 'direction: cannot be "sideways"; write one of up, down'),
        (HEAD + RULE + 'versions = ["1.6"]', 'versions: cannot be "1.6"; did you mean "ocpp1.6"?'),
    ],
)
def test_policy_error_has_line_and_remedy(text: str, expected: str) -> None:
    (found,) = mistakes(text)
    assert found.startswith("signing.toml:")
    assert expected in found


def test_policy_file_unknown_action_may_be_vendors() -> None:
    assert mistakes(HEAD + RULE + 'actions = ["VendorThing", "Set*", "profiles", "DataTransfer"]') == []


def test_policy_errors_are_reported_together() -> None:
    assert len(mistakes(HEAD + ROLE.replace("olga", "a") + RULE + 'roles = ["b"]\nholders = ["c"]')) == 3


def test_missing_or_invalid_policy_file_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "signing.toml"
    with pytest.raises(FileUnreadableError, match="cannot be read"):
        read_policy(file)
    file.write_text("version = 2")
    with pytest.raises(PolicyFileError, match="version: cannot be 2"):
        read_policy(file)
    (tmp_path / "cpo.pem").write_text("nothing")
    (found,) = mistakes('version = 1\n[[key]]\nholder = "a"\ncertificate = "cpo.pem"', tmp_path)
    assert "cpo.pem is not a certificate in PEM" in found


EXAMPLE = Path(__file__).parents[3] / "etc" / "signing.example.toml"


def test_example_policy_is_valid_and_has_every_key() -> None:
    assert len(read_policy(EXAMPLE).keys) == 2
    text = EXAMPLE.read_text()
    for table in (
        policy_schema.PolicyFile,
        policy_schema.KeyEntry,
        policy_schema.KeyApproval,
        policy_schema.SignerRole,
        policy_schema.Permission,
        policy_schema.VerificationRule,
        policy_schema.SigningRule,
    ):
        for name in table.__struct_fields__:
            assert re.search(rf"^(# )?({name} = |\[\[([a-z]+\.)?{name}\]\])", text, re.MULTILINE), name


def test_example_policy_is_valid_with_all_comments_in(tmp_path: Path) -> None:
    (tmp_path / "cpo.pem").write_bytes(EC_PEM)
    text = re.sub(r"^# ((\[\[|[a-z_]+ = ).*)$", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE)
    assert check_policy(text, "signing.toml", tmp_path)[1] == []
