"""A table without rows is one line, and an empty list with `--json`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from controller.cli import station, status
from controller.cli.main import main
from controller.store.state_store import StateStore
from tests.controller.cli.command_line import write_config
from tests.controller.web.examples import STATUS


def printed_by(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert main([*map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_empty_outbox_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    StateStore(tmp_path).close()
    config = write_config(tmp_path)
    printed = printed_by(capsys, "outbox", "list", "-c", config)
    assert printed == "no message waits for a backend, and none is set aside\n"
    assert json.loads(printed_by(capsys, "outbox", "list", "--json", "-c", config)) == []


def test_empty_list_of_stations_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(station, "_fetch_details", lambda _: [])
    assert printed_by(capsys, "station", "list").startswith("no station is configured; add one with ")
    assert json.loads(printed_by(capsys, "station", "list", "--json")) == []


def test_status_without_stations_names_that(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(status, "fetch", lambda _: replace(STATUS, evses=[]))
    assert "no station is configured\n" in printed_by(capsys, "status")
    monkeypatch.setattr(status, "fetch", lambda _: STATUS)
    assert "no station is configured" not in printed_by(capsys, "status")


def test_empty_list_of_certificates_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ("--folder", tmp_path)
    printed_by(capsys, "pki", "init", "--name", "site", *folder)
    assert printed_by(capsys, "pki", "list", *folder) == "no certificate has been issued yet\n"
    assert printed_by(capsys, "pki", "list", "--due", *folder) == "no certificate is to be renewed now\n"
    assert json.loads(printed_by(capsys, "pki", "list", "--json", *folder)) == []


def test_meters_to_read_without_any_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path)
    assert main(["meter", "read", "-c", str(config)]) == 1
    assert f"{config}: has no meter to read; add [[meter]], or name one" in capsys.readouterr().err
