"""Addresses and ports of a configuration, held against this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from controller.config.loader import check_config
from controller.config.schema import Config, EebusConfig, MeterConfig, MeterShareConfig, WebConfig
from controller.services.configuration import machine_rules
from controller.services.configuration.machine_rules import check_addresses, find_port_hints

TEXT = """
[site]
id = "lc"
[listen]
host = "HOST"
port = PORT
[[backend]]
id = "cpo"
url = "wss://csms.example/{station}"
[[circuit]]
id = "grid"
limit_a = 63
[[station]]
id = "CS01"
circuit = "grid"
owner = "cpo"
"""


def config(host: str, port: int = 8887) -> Config:
    found, errors, _ = check_config(TEXT.replace("HOST", host).replace("PORT", str(port)), "site.toml")
    assert found is not None, errors
    return found


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::", "localhost"])
def test_own_address_is_valid(host: str) -> None:
    assert list(check_addresses(config(host))) == []


@pytest.mark.parametrize("host", ["192.0.2.77", "no-such-host.invalid"])
def test_address_of_another_machine_is_error(host: str) -> None:
    (problem,) = check_addresses(config(host))
    assert problem.path == ("listen", "host")
    assert "is not an address of this machine" in problem.what


@pytest.mark.parametrize(
    ("port", "user", "expected"), [(443, 1000, 1), (443, 0, 0), (8887, 1000, 0), (0, 1000, 0)]
)
def test_machine_rules_port_below_1024_is_hint_for_users_only(
    port: int, user: int, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_rules, "_UNPRIVILEGED", tmp_path / "none")
    monkeypatch.setattr("os.geteuid", lambda: user)
    assert len(list(find_port_hints(config("127.0.0.1", port)))) == expected


def test_low_port_that_systemd_has_opened_gets_no_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert len(list(find_port_hints(config("127.0.0.1", 443)))) == 1
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert list(find_port_hints(config("127.0.0.1", 443))) == []


def test_machine_rules_each_listener_is_at_an_own_address() -> None:
    there = "192.0.2.77"
    share = MeterShareConfig(port=1502, host=there)
    meter = MeterConfig(
        id="grid", driver="janitza-umg604", transport="tcp", host="192.0.2.20", share=(share,)
    )
    found = replace(
        config("127.0.0.1"), web=WebConfig(host=there), eebus=EebusConfig(host=there), meter=(meter,)
    )
    assert [problem.path for problem in check_addresses(found)] == [
        ("web", "host"),
        ("eebus", "host"),
        ("meter", 0, "share", 0, "host"),
    ]
