"""Every subcommand that prints a table prints it as JSON, too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from controller.cli import status
from controller.cli.main import main
from controller.offline.journal_records import EntrySetAside
from controller.store.state_store import StateStore
from tests.controller.cli.command_line import write_config
from tests.controller.services.test_relay_memory import queued
from tests.controller.web.examples import STATUS


def print_json_of(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Any:
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_json_of_meter_models_has_all(capsys: pytest.CaptureFixture[str]) -> None:
    models = {each["model"]: each for each in print_json_of(capsys, "meter", "list")}
    assert models["janitza-umg604"]["phases"] == 3
    assert "current_l1" in models["janitza-umg604"]["quantities"]


def test_json_of_keys_names_one_that_signs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "new", "--holder", "lc", str(tmp_path)]) == 0
    capsys.readouterr()
    [key] = print_json_of(capsys, "keys", "list", tmp_path)
    assert (key["holder"], key["state"], key["signs_now"]) == ("lc", "valid", True)


def test_json_of_outbox_has_waiting_and_set_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = StateStore(tmp_path)
    store.persist_now([queued(1), queued(2), EntrySetAside("CS01", "cpo", 1, "FormationViolation")])
    store.close()
    found = print_json_of(capsys, "outbox", "list", "-c", write_config(tmp_path))
    assert [(each["number"], each["set_aside"]) for each in found] == [(1, "FormationViolation"), (2, None)]


def test_json_of_status_is_that_of_page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(status, "fetch", lambda url: STATUS)
    assert print_json_of(capsys, "status") == json.loads(STATUS.json())


def test_json_of_certificates_has_their_states(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ["--folder", str(tmp_path)]
    assert main(["pki", "init", "--name", "site", *folder]) == 0
    issue = ["pki", "issue", "listener", "--profile", "controller", "--id", "gateway", *folder]
    assert main([*issue, "--host", "gateway.example"]) == 0
    capsys.readouterr()
    [found] = print_json_of(capsys, "pki", "list", *folder)
    assert found["state"] == "valid"
    assert found["purpose"] == "controller"
