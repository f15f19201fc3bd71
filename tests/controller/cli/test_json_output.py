"""Every subcommand that prints a table prints it as JSON, too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from controller.cli import commission, status
from controller.cli.main import main
from controller.offline.journal_records import EntrySetAside
from controller.store.state_store import StateStore
from tests.controller.cli.command_line import CONFIG, NETWORK_CONFIG, write_config
from tests.controller.cli.test_commission import SITE, SimulatedSite, signed_report
from tests.controller.cli.test_meter import MODEL, served_meter
from tests.controller.cli.test_policy import AT, POLICY
from tests.controller.services.stations.test_relay_memory import queued
from tests.controller.signing.policy_examples import OLGA, limit, signed
from tests.controller.web.examples import STATUS


def print_json_of(capsys: pytest.CaptureFixture[str], *arguments: str | Path, exit_status: int = 0) -> Any:
    assert main([*map(str, arguments), "--json"]) == exit_status
    return json.loads(capsys.readouterr().out)


def test_json_of_meter_models_has_all(capsys: pytest.CaptureFixture[str]) -> None:
    models = {each["model"]: each for each in print_json_of(capsys, "meter", "list")}
    assert models["janitza-umg604"]["phases"] == 3
    assert "current_l1" in models["janitza-umg604"]["quantities"]


def test_json_of_keys_names_signing_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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


def test_json_of_check_has_summary_and_hints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_config(tmp_path, NETWORK_CONFIG)
    found = print_json_of(capsys, "check", "-c", file)
    assert (found["file"], found["valid"]) == (str(file), True)
    assert found["summary"] == {"stations": 1, "evses": 1, "circuits": 1, "meters": 0, "backends": 1}
    [hint] = found["diagnostics"]
    assert (hint["severity"], hint["line"], hint["key"]) == ("hint", None, 'station "CS01"')
    assert "has never connected" in hint["what"]
    assert "connect it" in hint["remedy"]


def test_json_of_check_of_invalid_file_has_located_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_config(tmp_path, CONFIG.replace('circuit = "grid"', 'circuit = "gird"'))
    found = print_json_of(capsys, "check", "-c", file, exit_status=1)
    assert (found["valid"], found["summary"]) == (False, None)
    [error] = [each for each in found["diagnostics"] if each["severity"] == "error"]
    assert error == {
        "severity": "error",
        "file": str(file),
        "line": 17,
        "key": 'station "CS01" circuit',
        "what": 'circuit "gird" does not exist',
        "remedy": 'did you mean "grid"?',
    }


def test_json_of_check_names_unusable_certificate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "page.pem").write_text("no certificate")
    web = f'[web]\ncertificate = "{tmp_path}/page.pem"\nkey = "{tmp_path}/page.pem"\n'
    file = write_config(tmp_path, NETWORK_CONFIG + web)
    found = print_json_of(capsys, "check", "-c", file, exit_status=1)
    assert not found["valid"]
    assert {each["severity"] for each in found["diagnostics"]} == {"error"}
    assert all(each["what"] and each["remedy"] for each in found["diagnostics"])


def test_json_of_check_without_file_is_line_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--json", "-c", str(tmp_path / "none.toml")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "does not exist" in printed.err


def test_json_of_meter_model_has_registers(capsys: pytest.CaptureFixture[str]) -> None:
    model = print_json_of(capsys, "meter", "show", "eastron-sdm630-v2")
    registers = {each["quantity"]: each for each in model["registers"]}
    assert registers["current_l1"]["address"] == 6
    assert (registers["current_l1"]["unit"], model["phases"]) == ("A", 3)
    assert set(registers["current_l1"]["sources"]) <= set(model["sources"])


def test_json_of_meter_check_has_located_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "own.toml"
    file.write_text(MODEL)
    assert print_json_of(capsys, "meter", "check", file)["valid"]
    file.write_text(MODEL.replace('"current_l2", function = 3', '"curent_l2", function = 3'))
    found = print_json_of(capsys, "meter", "check", file, exit_status=1)
    assert [(each["severity"], each["line"]) for each in found["diagnostics"]] == [("error", 10)]
    file.write_text("= 1")
    found = print_json_of(capsys, "meter", "check", file, exit_status=1)
    assert [(each["key"], each["line"]) for each in found["diagnostics"]] == [("TOML", 1)]


def test_json_of_identified_meter_has_candidates(capsys: pytest.CaptureFixture[str]) -> None:
    with served_meter("siemens-pac2200") as port:
        where = ("--host", "127.0.0.1", "--port", str(port), "--units", "1")
        [found] = print_json_of(capsys, "meter", "identify", *where)
    assert (found["transport"], found["host"], found["port"], found["unit"]) == ("tcp", "127.0.0.1", port, 1)
    assert found["candidates"][0]["name"] == "siemens-pac2200"
    assert found["candidates"][0]["reasons"]


def test_json_of_meter_reading_has_values(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = ("--driver", "eastron-sdm630-v2", "--host", "127.0.0.1")
    with served_meter() as port:
        [state] = print_json_of(capsys, "meter", "read", "--once", *meter, "--port", str(port))
    assert (state["meter"], state["quality"]) == ("eastron-sdm630-v2", "good")
    assert state["current_a"][1] == pytest.approx(20.2)
    assert 0 <= state["age_s"] < 15
    monkeypatch.setattr("controller.cli.meter.READ_WAIT_S", 2.0)
    [state] = print_json_of(capsys, "meter", "read", "--once", *meter, "--port", "1", exit_status=1)
    assert (state["quality"], state["age_s"]) == ("dead", None)
    assert "nothing listens there" in state["problem"]


def test_json_of_policy_check_has_summary_or_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "signing.toml"
    file.write_text(POLICY)
    found = print_json_of(capsys, "policy", "check", file)
    assert found["summary"] == {"keys": 1, "roles": 1, "rules_to_verify": 1, "rules_to_sign": 1}
    assert (found["valid"], found["diagnostics"], found["unapproved"]) == (True, [], [])
    file.write_text(POLICY.replace("verifyAll", "verifyal"))
    found = print_json_of(capsys, "policy", "check", file, exit_status=1)
    [error] = found["diagnostics"]
    assert (error["line"], error["key"], found["valid"]) == (16, 'verify "resets" require', False)
    assert error["remedy"] == 'did you mean "verifyAll"?'


def test_json_of_policy_explanation_has_rule_and_decision(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, message = tmp_path / "signing.toml", tmp_path / "message.json"
    file.write_text(POLICY)
    found = print_json_of(capsys, "policy", "explain", "--action", "Reset", "--link", "fleet", file)
    assert (found["rule"]["id"], found["rule"]["require"]) == ("resets", "verifyAll")
    assert found["signing"]["passing"] == {"id": "ours", "do": "sign"}
    assert found["decision"] is None
    message.write_bytes(signed(limit(17), OLGA))
    command = ("policy", "explain", "--action", "SetChargingProfile", "--link", "cpo", "--station", "CS01")
    found = print_json_of(capsys, *command, "--message", message, "--at", AT, file, exit_status=1)
    assert (found["decision"]["do"], found["decision"]["rule"]) == ("refuse", "safe-profiles")
    assert "has no permission" in found["decision"]["reason"]


def test_json_of_commissioning_is_report_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = SimulatedSite()
    monkeypatch.setattr(commission, "fetch", lambda url: site.fetch())
    monkeypatch.setattr("builtins.input", lambda: "s")
    file = tmp_path / "controller.toml"
    file.write_text(SITE + "[web]\nport = 1\n")
    stem = tmp_path / "report"
    assert main(["commission", "-c", str(file), "--report", str(stem), "--json"]) in (0, 1)
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["files"] == [str(stem.with_suffix(".json")), str(stem.with_suffix(".html"))]
    assert found["report"] == json.loads(stem.with_suffix(".json").read_text())
    assert "SKIPPED" in printed.err
    assert "switch it on" not in printed.out


def test_json_of_verified_report_is_that_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, _ = signed_report(tmp_path)
    found = print_json_of(capsys, "commission", "--verify", file)
    assert found == {"files": [str(file)], "report": json.loads(file.read_text())}
