"""Issuing: what is granted, what is refused, and what stands in the certificate."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import HealthCheck, given, settings

from controller.pki import asn1
from controller.pki.ca_folder import CaFolder, CaFolderError
from controller.pki.certificate_ledger import CertificateState, LedgerError, RevocationReason
from controller.pki.certificate_profiles import Purpose
from controller.pki.certificate_requests import RequestContent
from controller.pki.issuance import Applicant, IssuanceError, is_host
from controller.pki.object_ids import MODBUS_ROLE
from controller.pki.peer_certificates import (
    PeerCertificateError,
    check_issuance,
    check_names,
    read_peer_certificate,
)
from tests.controller.pki.examples import DAY_S, IDS, NOW, new_key, request_pem, site_ca, station
from tests.controller.pki.test_certificate_requests import CONTENT, OCPI
from tests.examples import examples

VECTOR_NOW = 1796119200.0 - DAY_S
"""A day before the begin that the OCPI requests ask for."""


def _issue(
    ca: CaFolder, content: RequestContent | None = None, applicant: Applicant | None = None, utc: float = NOW
) -> x509.Certificate:
    applicant = applicant or station()
    chain, _ = ca.sign(ca.read_request(request_pem(applicant.id, content)), applicant, None, utc)
    return x509.load_pem_x509_certificates(chain)[0]


def _value(certificate: x509.Certificate, oid: str) -> bytes:
    extension = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier(oid))
    assert isinstance(extension.value, x509.UnrecognizedExtension)
    return extension.value.value


@pytest.mark.parametrize("vector", OCPI, ids=lambda vector: vector["id"])
def test_ocpi_request_is_copied_to_certificate(vector: dict[str, Any], tmp_path: Path) -> None:
    ca = site_ca(tmp_path)
    request = ca.read_request(vector["csr"].encode())
    server = vector["id"].startswith("server")
    applicant = Applicant(
        id=request.common_name,
        purpose=Purpose.CONTROLLER if server else Purpose.STATION,
        hosts=("lc01.example",) if server else (),
    )
    chain, record = ca.sign(request, applicant, None, VECTOR_NOW)
    certificate = x509.load_pem_x509_certificates(chain)[0]
    content = request.content
    if content.not_before is not None:
        assert certificate.not_valid_before_utc.timestamp() == content.not_before
    if content.not_after is not None:
        assert certificate.not_valid_after_utc.timestamp() == content.not_after
    expected_group = content.key_group or f"station/{request.common_name}"
    assert record.key_group == expected_group
    assert asn1.texts([_value(certificate, IDS.key_group)]) == (expected_group,)
    if content.party_ids:
        assert asn1.texts([_value(certificate, IDS.party_ids)]) == content.party_ids
    if content.sub_cpo_ids:
        assert asn1.texts([_value(certificate, IDS.sub_cpo_ids)]) == content.sub_cpo_ids
    if content.sub_emsp_ids:
        assert asn1.texts([_value(certificate, IDS.sub_emsp_ids)]) == content.sub_emsp_ids
    assert all("1.2.3.4.5.6.7." not in each.oid.dotted_string for each in certificate.extensions)


@given(CONTENT)
@settings(max_examples=examples(15), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_issued_certificate_is_verified_by_openssl(tmp_path_factory: Any, content: RequestContent) -> None:
    folder = tmp_path_factory.mktemp("pki")
    ca = site_ca(folder)
    begin = None if content.not_before is None else NOW + content.not_before % (20 * DAY_S)
    end = None if content.not_after is None else (begin or NOW) + 60 + content.not_after % (29 * DAY_S)
    asked = RequestContent(
        key_group=content.key_group,
        not_before=begin,
        not_after=end,
        party_ids=content.party_ids,
        sub_cpo_ids=content.sub_cpo_ids,
        sub_emsp_ids=content.sub_emsp_ids,
    )
    certificate = _issue(ca, asked)
    file = folder / "certificate.pem"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    at = str(int(certificate.not_valid_before_utc.timestamp()) + 30)
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-attime", at]
    command += ["-CAfile", str(ca.path / "root.pem"), "-untrusted", str(ca.path / "issuing-1.pem"), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_server_certificate_has_hosts_and_server_usage(tmp_path: Path) -> None:
    hosts = ("gateway.example", "192.0.2.7", "2001:db8::7")
    applicant = Applicant(id="gateway", purpose=Purpose.CONTROLLER, hosts=hosts)
    certificate = _issue(site_ca(tmp_path), applicant=applicant)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert tuple(str(name.value) for name in names) == hosts
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_issuance_modbus_client_certificate_has_role(tmp_path: Path) -> None:
    applicant = Applicant(id="gateway", purpose=Purpose.MODBUS_CLIENT, modbus_role="ReadOnlySunSpec")
    certificate = _issue(site_ca(tmp_path), applicant=applicant)
    assert _value(certificate, MODBUS_ROLE) == b"\x0c\x0fReadOnlySunSpec"


def test_signing_certificate_cannot_be_used_for_tls(tmp_path: Path) -> None:
    certificate = _issue(site_ca(tmp_path), applicant=Applicant(id="site", purpose=Purpose.SIGNING))
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert not usage.key_encipherment
    with pytest.raises(x509.ExtensionNotFound):
        certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)


def _ca_request() -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CS01")])
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=3), critical=True)
    return builder.sign(new_key(), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


REFUSED: dict[str, tuple[bytes, str]] = {
    "another station": (request_pem("CS02"), '"CS02", the applicant is "CS01"'),
    "ten years": (request_pem(content=RequestContent(not_after=NOW + 3650 * DAY_S)), "30 are allowed"),
    "forty days": (request_pem(content=RequestContent(not_after=NOW + 40 * DAY_S)), "30 are allowed"),
    "begin in the past": (request_pem(content=RequestContent(not_before=NOW - DAY_S)), "in the past"),
    "begin far ahead": (request_pem(content=RequestContent(not_before=NOW + 31 * DAY_S)), "ahead"),
    "end before begin": (
        request_pem(content=RequestContent(not_before=NOW + 9, not_after=NOW + 8)),
        "not after the begin",
    ),
    "end in the past": (request_pem(content=RequestContent(not_after=NOW - 1)), "over already"),
    "foreign party": (request_pem(content=RequestContent(party_ids=("DE*XX",))), "not allowed here: DE\\*XX"),
    "foreign sub-eMSP": (request_pem(content=RequestContent(sub_emsp_ids=("DE-X",))), "not allowed here"),
    "CA": (_ca_request(), "asks for a CA"),
}


@pytest.mark.parametrize(("request_bytes", "reason"), REFUSED.values(), ids=REFUSED)
def test_request_outside_of_policy_is_refused(request_bytes: bytes, reason: str, tmp_path: Path) -> None:
    ca = site_ca(tmp_path, party_ids=frozenset({"DE*GDF"}))
    with pytest.raises(IssuanceError, match=reason):
        ca.sign(ca.read_request(request_bytes), station(), None, NOW)
    assert list(ca.ledger()) == []


def test_issuance_request_with_key_of_another_station_is_refused(tmp_path: Path) -> None:
    ca, key = site_ca(tmp_path), new_key()
    ca.sign(ca.read_request(request_pem("CS01", key=key)), station("CS01"), None, NOW)
    with pytest.raises(IssuanceError, match="key of CS01"):
        ca.sign(ca.read_request(request_pem("CS02", key=key)), station("CS02"), None, NOW)
    with pytest.raises(IssuanceError, match="make a new key"):
        ca.sign(ca.read_request(request_pem("CS01", key=key)), station("CS01"), None, NOW)


def test_issuance_request_with_revoked_key_is_refused(tmp_path: Path) -> None:
    ca, key = site_ca(tmp_path), new_key()
    request = ca.read_request(request_pem("CS01", key=key))
    _, record = ca.sign(request, station("CS01"), None, NOW)
    ca.revoke(record.serial, RevocationReason.KEY_COMPROMISE, None, NOW)
    with pytest.raises(IssuanceError, match="revoked"):
        ca.sign(request, station("CS01"), None, NOW)


def test_key_group_of_another_station_is_refused(tmp_path: Path) -> None:
    ca, group = site_ca(tmp_path), RequestContent(key_group="keys-1")
    _issue(ca, group)
    with pytest.raises(IssuanceError, match='"keys-1" belongs to CS01'):
        _issue(ca, group, station("CS02"))


def test_successor_in_key_group_ends_predecessor_after_grace(tmp_path: Path) -> None:
    ca = site_ca(tmp_path, grace_s=600.0)
    old = f"{_issue(ca).serial_number:x}"
    begin = NOW + DAY_S
    new = f"{_issue(ca, RequestContent(not_before=begin), utc=NOW + 60).serial_number:x}"
    ledger = ca.ledger()
    valid, replaced = CertificateState.VALID, CertificateState.REPLACED
    times = (NOW, begin - 1, begin, begin + 599, begin + 600)
    assert [ledger.state(old, utc) for utc in times] == [valid, valid, valid, valid, replaced]
    assert [ledger.state(new, utc) for utc in times[1:3]] == [CertificateState.NOT_YET_VALID, valid]
    assert [ledger.current("station/CS01", utc) for utc in (NOW, begin)] == [
        ledger.find(old),
        ledger.find(new),
    ]


def test_successor_revoked_before_taking_over_leaves_predecessor(tmp_path: Path) -> None:
    ca = site_ca(tmp_path)
    old = f"{_issue(ca).serial_number:x}"
    new = f"{_issue(ca, utc=NOW + 60).serial_number:x}"
    ca.revoke(new, RevocationReason.KEY_COMPROMISE, None, NOW + 120)
    assert ca.ledger().state(old, NOW + DAY_S) is CertificateState.VALID


def test_issuance_certificate_is_due_after_two_thirds_of_validity(tmp_path: Path) -> None:
    ca = site_ca(tmp_path)
    _issue(ca)
    assert not ca.ledger().due(NOW + 19 * DAY_S)
    assert [each.subject for each in ca.ledger().due(NOW + 21 * DAY_S)] == ["CS01"]


def test_issuance_revoked_certificate_is_on_revocation_list(tmp_path: Path) -> None:
    ca = site_ca(tmp_path)
    certificate = _issue(ca)
    ca.revoke(f"{certificate.serial_number:x}", RevocationReason.KEY_COMPROMISE, None, NOW + 60)
    crl = x509.load_pem_x509_crl((ca.path / "crl-1.pem").read_bytes())
    entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
    assert entry is not None
    assert entry.extensions.get_extension_for_class(x509.CRLReason).value.reason is (
        x509.ReasonFlags.key_compromise
    )
    issuing = x509.load_pem_x509_certificate((ca.path / "issuing-1.pem").read_bytes())
    assert crl.is_signature_valid(issuing.public_key())  # type: ignore[arg-type]
    file = tmp_path / "certificate.pem"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    command = ["openssl", "verify", "-crl_check", "-CRLfile", str(ca.path / "crl-1.pem"), "-attime"]
    command += [str(int(NOW + 90)), "-CAfile", str(ca.path / "root.pem"), "-untrusted"]
    done = subprocess.run(
        [*command, str(ca.path / "issuing-1.pem"), str(file)], capture_output=True, text=True, check=False
    )
    assert "certificate revoked" in done.stderr


def test_revocation_of_unknown_serial_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="pki list"):
        site_ca(tmp_path).revoke("abc", RevocationReason.UNSPECIFIED, None, NOW)


def test_issuance_certificates_of_older_issuing_ca_stay_accepted(tmp_path: Path) -> None:
    ca = site_ca(tmp_path)
    old = _issue(ca)
    assert ca.rotate_issuing_ca(None, NOW + 60) == "depot issuing 2"
    new = _issue(ca, applicant=station("CS02"), utc=NOW + 120)
    assert {each.issuer.rfc4514_string() for each in (old, new)} == {
        "CN=depot issuing 1",
        "CN=depot issuing 2",
    }
    assert len(x509.load_pem_x509_certificates((ca.path / "trust.pem").read_bytes())) == 3
    for certificate, name in ((old, "CS01"), (new, "CS02")):
        _check(ca, certificate, name, NOW + 200)


def test_issuance_root_stored_elsewhere_is_read_from_file(tmp_path: Path) -> None:
    ca = site_ca(tmp_path, passphrase=b"correct horse")
    offline = tmp_path / "usb-stick.pem"
    (ca.path / "root.key.pem").rename(offline)
    chain, _ = ca.sign(ca.read_request(request_pem()), station(), b"correct horse", NOW)
    assert chain
    assert ca.rotate_issuing_ca(b"correct horse", NOW, offline) == "depot issuing 2"


@pytest.mark.parametrize(("passphrase", "reason"), [(None, "encrypted"), (b"wrong", "decrypted")])
def test_issuance_encrypted_ca_key_without_passphrase_is_refused(
    passphrase: bytes | None, reason: str, tmp_path: Path
) -> None:
    ca = site_ca(tmp_path, passphrase=b"correct horse")
    with pytest.raises(CaFolderError, match=reason):
        ca.sign(ca.read_request(request_pem()), station(), passphrase, NOW)


def _check(ca: CaFolder, certificate: x509.Certificate, name: str, utc: float = NOW, **evses: Any) -> None:
    peer = read_peer_certificate(certificate.public_bytes(serialization.Encoding.DER), ca.ids)
    check_issuance(peer, ca.ledger(), ca.issuer_names(), utc)
    check_names(peer, name, evses.get("evses", ()), {"DE001"})


def test_issuance_peer_certificate_of_own_station_is_accepted(tmp_path: Path) -> None:
    ca = site_ca(tmp_path)
    _check(ca, _issue(ca, applicant=station(evses=("1",))), "CS01", evses=("1", "2"))


def test_issuance_peer_certificate_on_path_of_another_is_refused(tmp_path: Path) -> None:
    ca = site_ca(tmp_path)
    with pytest.raises(PeerCertificateError, match='for "CS01", the path is for "CS02"'):
        _check(ca, _issue(ca), "CS02")


def test_peer_certificate_with_foreign_evse_is_refused(tmp_path: Path) -> None:
    ca = site_ca(tmp_path)
    with pytest.raises(PeerCertificateError, match="EVSEs that CS01 does not have: 3"):
        _check(ca, _issue(ca, applicant=station(evses=("1", "3"))), "CS01", evses=("1", "2"))


def test_peer_certificate_with_another_connection_point_is_refused(tmp_path: Path) -> None:
    ca = site_ca(tmp_path)
    _check(ca, _issue(ca, applicant=station(connection_points=("DE001",))), "CS01")
    with pytest.raises(PeerCertificateError, match="connection points of other sites: DE002"):
        _check(ca, _issue(ca, applicant=station(connection_points=("DE001", "DE002"))), "CS01")


def test_peer_certificate_is_refused_once_revoked(tmp_path: Path) -> None:
    ca = site_ca(tmp_path)
    certificate = _issue(ca)
    _check(ca, certificate, "CS01", NOW + 60)
    ca.revoke(f"{certificate.serial_number:x}", RevocationReason.CESSATION, None, NOW + 60)
    with pytest.raises(PeerCertificateError, match="is revoked"):
        _check(ca, certificate, "CS01", NOW + 60)


def test_certificate_revoked_by_clock_ahead_stays_revoked(tmp_path: Path) -> None:
    ca = site_ca(tmp_path)
    certificate = _issue(ca)
    serial = f"{certificate.serial_number:x}"
    ca.revoke(serial, RevocationReason.KEY_COMPROMISE, None, NOW + 20 * DAY_S)
    with pytest.raises(PeerCertificateError, match="is revoked"):
        _check(ca, certificate, "CS01", NOW + 60)
    [entry] = ca.ledger().revocations("depot issuing 1", NOW + 60)
    assert (entry.serial, entry.at) == (serial, NOW + 60)


def test_certificate_renewed_by_clock_ahead_is_accepted_once_it_is_set(tmp_path: Path) -> None:
    ca = site_ca(tmp_path)
    old = _issue(ca)
    ahead = NOW + 300 * DAY_S
    csr = request_pem("CS01").decode()
    chain, record = ca.sign_for_station(csr, "CS01", (), None, ahead, is_clock_trusted=False)
    ca.note_installed(record.serial, ahead)
    renewed = x509.load_pem_x509_certificates(chain)[0]
    for utc in (NOW + 60, NOW + 20 * DAY_S, ahead):
        _check(ca, renewed, "CS01", utc)
    _check(ca, old, "CS01", NOW + 60)
    current = ca.ledger().current("station/CS01", NOW + 60)
    assert current is not None
    assert current.serial == f"{old.serial_number:x}"


def test_clock_before_issuing_ca_issues_nothing(tmp_path: Path) -> None:
    ca = site_ca(tmp_path)
    with pytest.raises(IssuanceError, match="clock is before the begin of the issuing CA"):
        ca.sign_for_station(request_pem("CS01").decode(), "CS01", (), None, 3000.0, is_clock_trusted=False)


@pytest.mark.parametrize(("utc", "state"), [(NOW + 31 * DAY_S, "expired"), (NOW - DAY_S, "not yet valid")])
def test_issuance_peer_certificate_outside_validity_is_refused(
    utc: float, state: str, tmp_path: Path
) -> None:
    ca = site_ca(tmp_path)
    with pytest.raises(PeerCertificateError, match=state):
        _check(ca, _issue(ca), "CS01", utc)


def test_issuance_peer_certificate_that_is_not_in_ledger_is_refused(tmp_path: Path) -> None:
    ca = site_ca(tmp_path)
    certificate = _issue(ca)
    (ca.path / "ledger.jsonl").unlink()
    with pytest.raises(PeerCertificateError, match="is unknown"):
        _check(ca, certificate, "CS01")


def test_issuance_torn_last_line_of_ledger_is_cut_off(tmp_path: Path) -> None:
    ca = site_ca(tmp_path)
    _issue(ca)
    with (ca.path / "ledger.jsonl").open("ab") as file:
        file.write(b'{"type":"issued","ser')
    assert len(list(ca.ledger())) == 1
    _issue(ca, applicant=station("CS02"))
    assert [each.subject for each in ca.ledger()] == ["CS01", "CS02"]


def test_issuance_ledger_altered_in_middle_is_refused(tmp_path: Path) -> None:
    ca = site_ca(tmp_path)
    _issue(ca)
    file = ca.path / "ledger.jsonl"
    file.write_bytes(b"nonsense\n" + file.read_bytes())
    with pytest.raises(CaFolderError, match="restore it"):
        ca.ledger()


@pytest.mark.parametrize(
    ("host", "is_valid"),
    [
        ("gateway", True), ("gw.example", True), ("*.example", True), ("192.0.2.1", True),
        ("2001:db8::1", True), ("a b", False), ("gw.example:8887", False), ("wss://gw.example", False),
        ("", False), ("-x", False), ("a..b", False), ("x" * 64, False), ("a." * 126 + "a", True),
        ("a." * 126 + "aa", False),
    ],
)  # fmt: skip
def test_issuance_host_is_dns_name_or_address(host: str, is_valid: bool) -> None:
    assert is_host(host) is is_valid


def test_issuance_of_server_with_invalid_host_is_refused(tmp_path: Path) -> None:
    ca = site_ca(tmp_path)
    applicant = Applicant(id="CS01", purpose=Purpose.CONTROLLER, hosts=("a b",))
    with pytest.raises(IssuanceError, match="is no DNS name and no IP address"):
        ca.sign(ca.read_request(request_pem()), applicant, None, NOW)
