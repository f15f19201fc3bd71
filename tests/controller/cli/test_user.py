"""`user`: without a running controller, and beside a running one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from controller.access.permissions import Actor
from controller.cli import main
from controller.config.schema import WebConfig
from tests.controller.services.test_app import running, site

CONFIG = """
[site]
id = "lc"
[store]
directory = "."
[[circuit]]
id = "grid"
limit_a = 40
[[station]]
id = "CS01"
circuit = "grid"
[[web.role]]
name = "service"
permissions = ["stations:*"]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "controller.toml"
    path.write_text(CONFIG.replace("[[web.role]]", "[web]\n[[web.role]]"))
    return path


def run(config: Path, *arguments: str) -> int:
    return main.main(["user", *arguments, "-c", str(config)])


def test_user_first_administrator_gets_password_that_is_shown_once(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(config, "add", "anna") == 0
    shown = capsys.readouterr().out
    assert "user anna with the role administrator" in shown
    password = shown.rpartition("shown this once: ")[2].strip()
    assert len(password) == 23
    assert password not in (config.parent / "state.sqlite").read_bytes().decode("latin-1")
    assert run(config, "list") == 0
    assert capsys.readouterr().out == "user   anna  administrator\n"


def test_user_list_without_users_states_how_to_add_one(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(config, "list") == 0
    assert "user add NAME" in capsys.readouterr().out


def test_removed_user_is_gone_and_unknown_afterwards(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(config, "add", "anna", "--role", "service")
    assert run(config, "remove", "anna") == 0
    capsys.readouterr()
    assert run(config, "list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"users": [], "tokens": []}
    assert run(config, "remove", "anna") == 1
    assert "user 'anna' is unknown" in capsys.readouterr().err


def test_user_unknown_role_is_rejected_with_known_ones(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(config, "add", "anna", "--role", "king") == 1
    assert "viewer, operator, administrator, service" in capsys.readouterr().err


def test_weak_password_is_rejected(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: SIM115
    assert run(config, "add", "anna", "--ask-password") == 1
    assert "characters" in capsys.readouterr().err


def test_user_token_without_controller_is_error(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(config, "token", "grafana", "status:read") == 1
    assert "not running" in capsys.readouterr().err


async def test_running_controller_takes_users_and_tokens_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "controller.toml"
    path.write_text(CONFIG.replace("[[web.role]]", "[web]\n[[web.role]]"))
    async with site(tmp_path) as (config, _):
        config = replace(config, web=WebConfig(port=0))
        async with running(config) as controller:
            assert await trio.to_thread.run_sync(run, path, "add", "anna", "--role", "operator") == 0
            password = capsys.readouterr().out.rpartition("shown this once: ")[2].strip()
            access = controller._web._access
            secret = await access.login("anna", password, "192.0.2.1")
            actor = access.find_login(secret)
            assert isinstance(actor, Actor)
            assert actor.name == "anna"
            assert await trio.to_thread.run_sync(run, path, "token", "grafana", "status:read") == 0
            token = capsys.readouterr().out.rpartition("shown this once: ")[2].strip()
            found = access.find_token(token)
            assert found is not None
            assert sorted(map(str, found.permissions)) == ["status:read"]
            assert await trio.to_thread.run_sync(run, path, "revoke", "grafana") == 0
            assert access.find_token(token) is None
            assert await trio.to_thread.run_sync(run, path, "remove", "anna") == 0
            assert access.find_login(secret) is None
            commands = [each.command for each in controller._operations.audit.latest()]
            assert commands == ["user.remove", "token.revoke", "token.create", "user.add"]
            assert all(password not in each.subject for each in controller._operations.audit.latest())
