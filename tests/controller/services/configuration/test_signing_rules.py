"""`check` looks into the files that [signing] names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from controller.config.loader import InvalidConfigError
from controller.services.configuration.configuration import load_configuration
from controller.signing import signing_keys

PUBLIC = "BFxi1B6XXJR9zpUDgdjht2eOxRK3mi9bg1IB/7RfZ092wuN0dTVWT0hLBHvKMJbWibUIzoxCDzZ1i5Yz8RTFUlw="
CONFIG = """
[site]
id = "lc"
[[backend]]
id = "cpo"
url = "ws://127.0.0.1:1/{station}"
[[circuit]]
id = "grid"
limit_a = 63
[[station]]
id = "CS01"
circuit = "grid"
owner = "cpo"
[signing]
key = "keys"
policy = "signing.toml"
"""


def test_valid_files_are_named_in_full(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "lc.pem").write_bytes(signing_keys.new_private_key("secp256r1", "lc", 0, 1))
    (tmp_path / "keys" / "lc.pem").chmod(0o600)
    (tmp_path / "signing.toml").write_text("version = 1")
    (tmp_path / "controller.toml").write_text(CONFIG)
    config, _ = load_configuration(tmp_path / "controller.toml")
    assert config.signing is not None
    assert (config.signing.key, config.signing.policy) == (
        str(tmp_path / "keys"),
        str(tmp_path / "signing.toml"),
    )


def test_signing_rules_errors_in_files_are_reported(tmp_path: Path) -> None:
    (tmp_path / "signing.toml").write_text('version = 1\n[[verify]]\nid = "a"\n[[sign]]\nid = "a"\n')
    (tmp_path / "controller.toml").write_text(CONFIG)
    with pytest.raises(InvalidConfigError) as wrong:
        load_configuration(tmp_path / "controller.toml")
    messages = [re.sub(str(tmp_path), "", str(mistake)) for mistake in wrong.value.errors]
    assert messages == [
        "/controller.toml:15: signing.key: /keys cannot be read: No such file or directory; "
        "name a key or a folder of keys; `local-controller keys new` makes one",
        '/controller.toml:16: signing.policy: /signing.toml:2: verify "a" require: is missing; '
        "add require = ... (one of acceptUnverified, verifyAny, verifyAll, reject, drop)",
        '/controller.toml:16: signing.policy: /signing.toml:5: sign "a" id: "a" is already defined; '
        "give each its own id",
    ]


def test_signing_rules_missing_policy_is_error(tmp_path: Path) -> None:
    (tmp_path / "controller.toml").write_text(CONFIG.replace('key = "keys"\n', ""))
    with pytest.raises(InvalidConfigError) as wrong:
        load_configuration(tmp_path / "controller.toml")
    (mistake,) = wrong.value.errors
    assert "signing.toml: cannot be read: No such file" in mistake.what


def test_signing_rules_sign_rule_needs_a_key(tmp_path: Path) -> None:
    (tmp_path / "controller.toml").write_text(CONFIG.replace('key = "keys"\n', ""))
    (tmp_path / "signing.toml").write_text('version = 1\n[[sign]]\nid = "a"\n')
    with pytest.raises(InvalidConfigError) as wrong:
        load_configuration(tmp_path / "controller.toml")
    (mistake,) = wrong.value.errors
    assert (mistake.key, mistake.what) == (
        "signing.key",
        "is missing, but the policy has something to sign",
    )
    (tmp_path / "signing.toml").write_text('version = 1\n[[sign]]\nid = "a"\ndo = "forwardUnsigned"\n')
    load_configuration(tmp_path / "controller.toml")


def test_signing_rules_dimming_role_without_holder_is_hint(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "lc.pem").write_bytes(signing_keys.new_private_key("secp256r1", "lc", 0, 1))
    (tmp_path / "keys" / "lc.pem").chmod(0o600)
    key = 'holder = "dso"\npublic = "' + PUBLIC + '"\n'
    role = '[[role]]\nid = "grid-operator"\nholders = ["dso"]\n[[role.may]]\nactions = ["*"]\n'
    (tmp_path / "signing.toml").write_text(f"version = 1\n[[key]]\n{key}{role}")
    text = CONFIG.replace('owner = "cpo"', 'owner = "cpo"\n[[station.evse]]\nid = 1\nsteuve = true')
    text = text.replace('id = "lc"', 'id = "lc"\nbackend = "cpo"')
    source = '[dimming]\n[[dimming.source]]\nid = "dso"\nkind = "signed"\nrole = "grid-operator"\n'
    for named, noted in (("grid-operator", []), ("gridop", ['no key has the role "gridop" in the policy'])):
        (tmp_path / "controller.toml").write_text(text + source.replace("grid-operator", named))
        _, notes = load_configuration(tmp_path / "controller.toml")
        assert [note.what.partition(":")[0] for note in notes] == noted


ROLE = '[[role]]\nid = "r"\nholders = ["cpo"]\n[[role.may]]\nactions = ["*"]\n'


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        (ROLE, []),
        (ROLE + 'evses = ["CS01", "CS*/1", "*"]\n', []),
        (
            ROLE + 'evses = ["CS02*"]\n',
            [
                'role "r": "CS02*" is no station and no EVSE; write STATION or STATION/EVSE, as in the '
                "configuration"
            ],
        ),
        (
            '[[role]]\nid = "r"\nholders = ["cpo"]\n',
            ['role "r" permits nothing; add a [[role.may]] with its actions, or remove it'],
        ),
        (
            "",
            [
                'the key of "cpo" has no effect: its holder has no role; add the holder to a [[role]], or '
                "remove the key"
            ],
        ),
        (
            ROLE + '[[verify]]\nid = "v"\nrequire = "verifyAny"\nlinks = ["CS1", "cpo", "CS*"]\n',
            [
                'rule "v": "CS1" is no station and no backend; write the id of a station or backend; * '
                "stands for any characters"
            ],
        ),
        (
            ROLE + '[[verify]]\nid = "v"\nrequire = "reject"\nnot_after = 2026-01-01T00:00:00Z\n',
            ['rule "v" has ended; remove it, or let it end later'],
        ),
    ],
)
def test_signing_rules_policy_without_effect_is_hint(
    tmp_path: Path, tables: str, expected: list[str]
) -> None:
    text = CONFIG.replace('key = "keys"\n', "")
    (tmp_path / "controller.toml").write_text(text)
    key = f'[[key]]\nholder = "cpo"\npublic = "{PUBLIC}"\n'
    (tmp_path / "signing.toml").write_text(f"version = 1\n{key}{tables}")
    _, hints = load_configuration(tmp_path / "controller.toml")
    found = [f"{hint.what}; {hint.remedy}" for hint in hints if hint.key == "signing.policy"]
    assert found == expected


@pytest.mark.parametrize("learn", ["signed", "all"])
def test_signing_rules_key_of_overlay_neighbor_needs_no_role(tmp_path: Path, learn: str) -> None:
    text = CONFIG.replace('key = "keys"\n', "").replace('owner = "cpo"', 'owner = "cpo"\nmode = "overlay"')
    (tmp_path / "controller.toml").write_text(f'{text}[overlay]\nlearn = "{learn}"\n')
    for holder, expected in (
        ("CS01", {"signed": [], "all": ['the key of "CS01" has no effect: its holder has no role']}),
        (
            "CS02",
            {
                "signed": [
                    'no key has the holder "CS01": its reports of the nodes behind it are rejected',
                    'the key of "CS02" has no effect: its holder has no role',
                ],
                "all": ['the key of "CS02" has no effect: its holder has no role'],
            },
        ),
    ):
        (tmp_path / "signing.toml").write_text(
            f'version = 1\n[[key]]\nholder = "{holder}"\npublic = "{PUBLIC}"\n'
        )
        _, hints = load_configuration(tmp_path / "controller.toml")
        assert [hint.what for hint in hints if hint.key == "signing.policy"] == expected[learn]


def test_signing_rules_key_that_has_ended_is_hint(tmp_path: Path) -> None:
    (tmp_path / "controller.toml").write_text(CONFIG.replace('key = "keys"\n', ""))
    key = f'[[key]]\nholder = "cpo"\npublic = "{PUBLIC}"\nnot_after = 2026-01-01T00:00:00Z\n'
    (tmp_path / "signing.toml").write_text(f"version = 1\n{key}{ROLE}")
    _, hints = load_configuration(tmp_path / "controller.toml")
    assert 'the key of "cpo" has ended' in [hint.what for hint in hints]
