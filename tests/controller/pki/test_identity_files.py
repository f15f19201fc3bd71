"""Our own keys: made here, exported as requests, their certificates matched on import."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from controller.pki.ca_folder import CaFolder
from controller.pki.certificate_profiles import Purpose
from controller.pki.certificate_requests import RequestContent
from controller.pki.identity_files import IdentityError, IdentityFolder
from controller.pki.issuance import Applicant
from controller.pki.protected_files import PkiFileError
from tests.controller.pki.examples import DAY_S, IDS, NOW, new_key, request_pem, site_ca, station

LISTENER = Applicant(id="gateway", purpose=Purpose.CONTROLLER, hosts=("gateway.example",))


def _signed(ca: CaFolder, request: bytes, applicant: Applicant = LISTENER, utc: float = NOW) -> bytes:
    return ca.sign(ca.read_request(request), applicant, None, utc)[0]


def _new(folder: IdentityFolder, name: str = "listener", common_name: str = "gateway") -> bytes:
    return folder.new_request(name, common_name, RequestContent(), IDS)


def test_identity_files_imported_certificate_is_in_one_file_with_key(tmp_path: Path) -> None:
    ca, folder = site_ca(tmp_path), IdentityFolder(tmp_path / "identities")
    chain = _signed(ca, _new(folder))
    (imported,) = folder.import_certificates(chain, NOW)
    data = imported.file.read_bytes()
    key = serialization.load_pem_private_key(data, None)
    certificates = x509.load_pem_x509_certificates(data)
    assert certificates[0].public_key() == key.public_key()
    assert [each.subject.rfc4514_string() for each in certificates] == ["CN=gateway", "CN=depot issuing 1"]
    assert stat.S_IMODE(imported.file.stat().st_mode) == 0o600
    assert folder.names() == ["listener"]
    assert sorted(os.listdir(folder.path)) == ["listener.pem"]


def test_file_of_many_certificates_is_matched_to_each_key(tmp_path: Path) -> None:
    ca, folder = site_ca(tmp_path), IdentityFolder(tmp_path / "identities")
    requests = {name: _new(folder, name, name) for name in ("csms-a", "csms-b")}
    chains = [
        _signed(ca, each, Applicant(id=name, purpose=Purpose.CLIENT)) for name, each in requests.items()
    ]
    foreign = _signed(ca, request_pem(), station())
    imported = folder.import_certificates(b"".join([*reversed(chains), foreign]), NOW)
    assert sorted(each.name for each in imported) == ["csms-a", "csms-b"]


def test_request_with_private_key_is_refused(tmp_path: Path) -> None:
    ca, folder = site_ca(tmp_path), IdentityFolder(tmp_path / "identities")
    chain = _signed(ca, _new(folder))
    key = new_key().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    with pytest.raises(IdentityError, match="private key"):
        folder.import_certificates(chain + key, NOW)
    assert folder.names() == []


def test_certificate_for_no_waiting_key_is_refused(tmp_path: Path) -> None:
    ca, folder = site_ca(tmp_path), IdentityFolder(tmp_path / "identities")
    _new(folder)
    with pytest.raises(IdentityError, match="fits a key"):
        folder.import_certificates(_signed(ca, request_pem("gateway")), NOW)


def test_expired_certificate_is_refused_on_import(tmp_path: Path) -> None:
    ca, folder = site_ca(tmp_path), IdentityFolder(tmp_path / "identities")
    chain = _signed(ca, _new(folder))
    with pytest.raises(IdentityError, match="expired"):
        folder.import_certificates(chain, NOW + 100 * DAY_S)


def test_identity_files_old_pair_serves_until_successor_is_imported(tmp_path: Path) -> None:
    ca, folder = site_ca(tmp_path), IdentityFolder(tmp_path / "identities")
    (first,) = folder.import_certificates(_signed(ca, _new(folder)), NOW)
    before = first.file.read_bytes()
    request = _new(folder)
    assert first.file.read_bytes() == before
    assert _new(folder) != request  # ECDSA is randomized
    assert ca.read_request(_new(folder)).fingerprint == ca.read_request(request).fingerprint
    (second,) = folder.import_certificates(_signed(ca, request, utc=NOW + 60), NOW + 60)
    assert second.serial != first.serial
    assert f"{folder.certificate('listener').serial_number:x}" == second.serial


def test_identity_files_full_disk_on_renewal_leaves_old_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, folder = site_ca(tmp_path), IdentityFolder(tmp_path / "identities")
    folder.import_certificates(_signed(ca, _new(folder)), NOW)
    before = (folder.path / "listener.pem").read_bytes()
    chain = _signed(ca, _new(folder), utc=NOW + 60)

    def full(descriptor: int) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(PkiFileError, match="No space left"):
            folder.import_certificates(chain, NOW + 60)
    assert (folder.path / "listener.pem").read_bytes() == before
    assert not list(folder.path.glob(".*"))
    folder.import_certificates(chain, NOW + 60)  # once there is room
    assert (folder.path / "listener.pem").read_bytes() != before


@pytest.mark.parametrize("name", ["../root", "", "a.b", "x" * 65])
def test_identity_name_invalid_as_file_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="no name"):
        _new(IdentityFolder(tmp_path), name)
