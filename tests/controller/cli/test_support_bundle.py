"""`support-bundle`: no secret, no driver identity and no address leaves the site; shown before written."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import msgspec
import pytest

from controller.cli import support_bundle
from controller.cli.main import main
from controller.cli.redaction import Redactor
from controller.store.credential_records import CredentialStored
from controller.store.state_store import StateStore
from tests.controller.web.examples import STATUS

CARD, LABEL = "04A2B3C4D5E680", "Erika Mustermann"
CANARIES = (
    CARD,
    LABEL,
    "s3cret-pass",
    "user:pass",
    "csms.example",
    "192.0.2.20",
    "canary-hash",
    "2001:db8::7",
)

CONFIG = """
[site]
id = "lc"
[store]
directory = "."
[[backend]]
id = "cpo"
url = "wss://user:pass@csms.example/ocpp/{{station}}"
password = "s3cret-pass"
[[circuit]]
id = "grid"
limit_a = 63
[[meter]]
id = "grid"
host = "192.0.2.20"
[[station]]
id = "CS01"
circuit = "grid"
[local_csms]
cards_file = "cards.csv"
[[card]]
token = "{card}"
label = "{label}"
"""
FILED_CARD = "04FFEE11223344"

LOG = f"""
2026-11-27T04:00:00 local-controller[1]: connected station=CS01 peer=192.0.2.20:40512
2026-11-27T04:00:01 local-controller[1]: card accepted card={CARD} label="{LABEL}"
2026-11-27T04:00:02 lc[1]: link lost url=wss://user:pass@csms.example/ocpp/CS01 password=s3cret-pass
2026-11-27T04:00:03 local-controller[1]: peer 2001:db8::7 rejected 04FFEE11223344 after 5.0 s at 04:00:03
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "controller.toml"
    path.write_text(CONFIG.format(card=CARD, label=LABEL))
    (tmp_path / "cards.csv").write_text(f"token,label\n{FILED_CARD},\n")
    store = StateStore(tmp_path)
    store.persist_now([CredentialStored("CS01", "owner", "canary-hash")])
    store.close()
    monkeypatch.setattr(support_bundle, "_log_lines", lambda: LOG)
    return path


def test_support_bundle_contains_no_canary(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bundle.zip"
    assert main(["support-bundle", "-c", str(site), "--out", str(out), "--yes"]) == 0
    shown = capsys.readouterr().out
    with zipfile.ZipFile(out) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    assert {"versions.txt", "configuration.json", "doctor.json", "store.txt", "log.txt"} <= set(texts)
    for text in (*texts.values(), shown):
        assert [canary for canary in CANARIES if canary in text] == []
    assert all(text.rstrip() in shown for text in texts.values()), "everything is shown before it is written"
    assert '"limit_a": 63' in texts["configuration.json"]
    assert "1  credential" in texts["store.txt"]
    assert "connected station=CS01" in texts["log.txt"]
    assert "at 04:00:03" in texts["log.txt"]
    assert out.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(("answer", "written"), [("y\n", True), ("\n", False), ("", False)])
def test_support_bundle_is_written_after_confirmation_only(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, *, written: bool
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    out = tmp_path / "bundle.zip"
    assert main(["support-bundle", "-c", str(site), "--out", str(out)]) == (0 if written else 1)
    assert out.exists() is written


def test_support_bundle_without_configuration_has_rest(tmp_path: Path) -> None:
    members = support_bundle.collect_members(tmp_path / "missing.toml")
    assert "versions.txt" in members
    assert "No such file" in members["doctor.json"]


def test_support_bundle_redactor_keeps_status_useful() -> None:
    redacted = Redactor(key=b"1").redact_struct(STATUS)
    assert isinstance(redacted, dict)
    assert redacted["circuits"][0]["id"] == STATUS.circuits[0].id
    assert redacted["evses"][0]["station"] == STATUS.evses[0].station
    assert msgspec.json.encode(redacted)


def test_redactor_pseudonyms_are_equal_in_one_bundle_only() -> None:
    first, second = Redactor(), Redactor()
    assert first.redact_text("peer=192.0.2.1") == first.redact_text("peer=192.0.2.1")
    assert first.redact_text("peer=192.0.2.1") != second.redact_text("peer=192.0.2.1")
    assert first.redact_text("on 127.0.0.1 at 12:30:45") == "on 127.0.0.1 at 12:30:45"


def test_redactor_removes_keys_in_any_form() -> None:
    pem = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----"
    redacted = Redactor(key=b"1").redact_text(f"{pem} Authorization: Basic bGM6czNjcmV0 {'A1' * 20}")
    assert "MIGH" not in redacted
    assert "A1A1" not in redacted
    assert "Basic bGM6" not in redacted
