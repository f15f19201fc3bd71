"""`pki`: the site CA from the first root to a revoked certificate, and own identities."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from controller.cli.main import main
from tests.controller.pki.examples import request_pem


def _pki(folder: Path, *arguments: str) -> int:
    return main(["pki", *arguments, "--folder", str(folder / "pki")])


@pytest.fixture
def site(tmp_path: Path) -> Path:
    assert _pki(tmp_path, "init", "--name", "depot", "--party-id", "DE*GDF") == 0
    return tmp_path


def _request(folder: Path, name: str = "CS01") -> str:
    file = folder / f"{name}.csr"
    file.write_bytes(request_pem(name))
    return str(file)


def _serial(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert _pki(folder, "list") == 0
    return capsys.readouterr().out.split()[0]


def test_pki_request_is_signed_and_openssl_verifies_chain(site: Path) -> None:
    out = str(site / "CS01.pem")
    command = ["sign", _request(site), "--profile", "station", "--id", "CS01", "-o", out]
    assert _pki(site, *command) == 0
    folder = site / "pki"
    verify = ["openssl", "verify", "-CAfile", str(folder / "root.pem"), "-untrusted", out, out]
    assert subprocess.run(verify, capture_output=True, check=False).returncode == 0


def test_pki_second_init_in_same_folder_is_refused(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _pki(site, "init", "--name", "other") == 1
    assert "has a site CA already" in capsys.readouterr().err


def test_pki_request_for_another_station_is_refused_with_reason(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _pki(site, "sign", _request(site, "CS02"), "--profile", "station", "--id", "CS01") == 1
    assert 'the request is for "CS02", the applicant is "CS01"' in capsys.readouterr().err


def test_pki_revoked_certificate_is_listed_and_on_exported_list(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _pki(site, "sign", _request(site), "--profile", "station", "--id", "CS01") == 0
    serial = _serial(site, capsys)
    assert _pki(site, "revoke", serial, "--reason", "keyCompromise") == 0
    assert _pki(site, "list") == 0
    assert "revoked" in capsys.readouterr().out
    assert _pki(site, "export", "crl") == 0
    crl = capsys.readouterr().out
    shown = subprocess.run(
        ["openssl", "crl", "-noout", "-text"], input=crl, capture_output=True, text=True, check=True
    )
    assert serial.upper() in shown.stdout.replace(":", "")


def test_pki_unknown_serial_is_refused_with_remedy(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _pki(site, "revoke", "abc") == 1
    assert "`local-controller pki list` shows all" in capsys.readouterr().err


def test_issued_identity_has_key_and_chain_in_one_file(site: Path) -> None:
    command = ["issue", "listener", "--profile", "controller", "--id", "gateway", "--host", "gateway.example"]
    assert _pki(site, *command) == 0
    pair = (site / "pki" / "identities" / "listener.pem").read_text()
    assert pair.count("BEGIN PRIVATE KEY") == 1
    assert pair.count("BEGIN CERTIFICATE") == 2


def test_renewed_identity_is_signed_elsewhere_and_imported(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["issue", "listener", "--profile", "controller", "--id", "gateway", "--host", "gateway.example"]
    assert _pki(site, *command) == 0
    before = (site / "pki" / "identities" / "listener.pem").read_text()
    capsys.readouterr()
    assert _pki(site, "renew", "listener") == 0
    request = site / "listener.csr"
    request.write_text(capsys.readouterr().out)
    out = str(site / "listener.chain")
    sign = ["sign", str(request), "--profile", "controller", "--id", "gateway", "--host", "gateway.example"]
    assert _pki(site, *sign, "-o", out) == 0
    assert _pki(site, "import", out) == 0
    assert (site / "pki" / "identities" / "listener.pem").read_text() != before


def test_pki_encrypted_ca_asks_for_passphrase(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "passphrase").write_text("correct horse\n")
    secret = ["--passphrase-file", str(tmp_path / "passphrase")]
    assert _pki(tmp_path, "init", "--name", "depot", *secret) == 0
    sign = ["sign", _request(tmp_path), "--profile", "station", "--id", "CS01"]
    assert _pki(tmp_path, *sign) == 1
    assert "is encrypted" in capsys.readouterr().err
    assert _pki(tmp_path, *sign, *secret) == 0


def test_pki_weak_passphrase_makes_no_ca(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "passphrase").write_text("abc\n")
    assert _pki(tmp_path, "init", "--name", "depot", "--passphrase-file", str(tmp_path / "passphrase")) == 1
    assert "the passphrase has 3 characters; use at least 12" in capsys.readouterr().err
    assert not (tmp_path / "pki").exists()


def test_pki_passphrase_comes_from_systemd_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pki-passphrase").write_text("correct horse")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert _pki(tmp_path, "init", "--name", "depot") == 0
    assert "ENCRYPTED" in (tmp_path / "pki" / "issuing-1.key.pem").read_text()
    assert _pki(tmp_path, "sign", _request(tmp_path), "--profile", "station", "--id", "CS01") == 0


def test_issuing_ca_is_rotated_and_both_are_trusted(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _pki(site, "rotate") == 0
    assert "depot issuing 2 signs from now on" in capsys.readouterr().out
    assert _pki(site, "export", "trust") == 0
    assert capsys.readouterr().out.count("BEGIN CERTIFICATE") == 3


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["list", "--folder", "none"], "none has no site CA; make one with `pki init`"),
        (["sign", "text", "--profile", "station", "--id", "CS01"], "openssl req -new"),
        (["import", "text"], "the file has no certificates in PEM; convert one in DER"),
        (["renew", "nobody"], "there is no identity nobody; make it with `pki issue`"),
        (["issue", "gw", "--profile", "controller", "--id", "gw", "--host", "a b"], "'a b' is no DNS name"),
        (
            ["issue", "gw", "--profile", "controller", "--id", "gw"],
            "at least one host name or address: --host",
        ),
        (["revoke", "zz"], "certificate zz is unknown; `local-controller pki list` shows all"),
    ],
)
def test_pki_error_states_fault_and_remedy(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    text: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("{")
    assert main(["pki", "init", "--name", "depot", "--folder", "pki"]) == 0
    folder = [] if "--folder" in arguments else ["--folder", "pki"]
    assert main(["pki", *arguments, *folder]) != 0
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert text in line
    assert "Error" not in line
