from __future__ import annotations

import pytest

from controller.config.loader import check_config

SITE = """
[site]
id = "lc"
[[circuit]]
id = "grid"
limit_a = 40
[[station]]
id = "CS01"
circuit = "grid"
"""


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('[web]\ncertificate = "a.pem"', "web.key: is missing"),
        ('[web]\n[[web.role]]\nname = "viewer"\npermissions = ["*:read"]', '"viewer" exists'),
        (
            '[web]\n[[web.role]]\nname = "a"\npermissions = ["moon:read"]',
            'permission "moon:read"; write RESOURCE:VERB',
        ),
        (
            '[mqtt]\nhost = "b"\npermissions = ["stations:fly"]',
            'permission "stations:fly"; write RESOURCE:VERB',
        ),
        ('[web]\n[[web.role]]\nname = "a"\npermissions = ["station:write"]', 'did you mean "stations:edit"?'),
        (
            '[web]\n[[web.role]]\nname = "a"\npermissions = ["stations: read"]',
            'did you mean "stations:read"?',
        ),
        ('[web]\n[[web.role]]\nname = "a"\npermissions = ["read:stations"]', 'did you mean "stations:read"?'),
        ('[mqtt]\nhost = "b"\ntopic = "lc"', "mqtt.topic: is not a known key; did you mean root?"),
        ('[mqtt]\nhost = "b"\nca = "ca.pem"', "set tls = true"),
        ('[mqtt]\nhost = "b"\npassword_file = "p"', "mqtt.username: is missing"),
        ('[mqtt]\nhost = "b"\ntls = true\nkey = "k"', "mqtt.certificate: is missing"),
        ('[mqtt]\nhost = "b"\nroot = "a/#"', "mqtt.root"),
        ('[[webhook]]\nurl = "ftp://x"', "https://"),
    ],
)
def test_web_rules_wrong_setting_is_error_with_place(text: str, error: str) -> None:
    config, errors, _ = check_config(SITE + text, "controller.toml")
    assert config is None
    assert any(error in str(each) for each in errors), [str(each) for each in errors]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('[web]\nhost = "0.0.0.0"', "passwords and tokens pass in the clear"),
        ('[mqtt]\nhost = "b"\npermissions = ["stations:run"]', "the commands pass in the clear"),
    ],
)
def test_web_rules_unprotected_password_is_hint(text: str, hint: str) -> None:
    _, errors, hints = check_config(SITE + text, "controller.toml")
    assert errors == []
    assert any(hint in str(each) for each in hints)


def test_valid_settings_have_no_finding() -> None:
    text = (
        '[web]\n[[web.role]]\nname = "service"\npermissions = ["stations:*", "sessions:read"]\n'
        '[mqtt]\nhost = "192.0.2.50"\n[[webhook]]\nurl = "https://alarms.example/lc"\n'
    )
    config, errors, _ = check_config(SITE + text, "controller.toml")
    assert errors == []
    assert config is not None
    assert config.mqtt is not None
