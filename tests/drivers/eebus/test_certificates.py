"""Self-signed certificates of SHIP and the SKI that identifies their owner."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from drivers.eebus.array_json import EebusError
from drivers.eebus.certificates import make_identity, normalize_ski, ski_of

NOW = datetime(2026, 11, 27, tzinfo=UTC)


def test_certificates_identity_has_ski_of_key() -> None:
    key, text = make_identity("lc", NOW)
    certificate = x509.load_pem_x509_certificate(text)
    public = serialization.load_pem_private_key(key, None).public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert public.curve.name == "secp256r1"
    point = public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    assert ski_of(certificate) == hashlib.sha1(point).hexdigest()
    assert certificate.signature_hash_algorithm is not None
    assert certificate.signature_hash_algorithm.name == "sha256"
    assert certificate.not_valid_after_utc - NOW > timedelta(days=3650)


def test_two_identities_are_different() -> None:
    assert make_identity("lc", NOW) != make_identity("lc", NOW)


def signed(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, ski: bytes | None) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
    )
    if ski is not None:
        builder = builder.add_extension(x509.SubjectKeyIdentifier(ski), critical=False)
    return builder.sign(key, hashes.SHA256())


@pytest.mark.parametrize("ski", [None, b"", bytes(20), bytes(19)])
def test_tc_ship_sec_001_002_wrong_identifier_is_refused(ski: bytes | None) -> None:
    with pytest.raises(EebusError, match="SubjectKeyIdentifier"):
        ski_of(signed(ec.generate_private_key(ec.SECP256R1()), ski))


@pytest.mark.parametrize("kind", ["p384", "rsa"])
def test_key_of_another_kind_is_refused(kind: str) -> None:
    key = rsa.generate_private_key(65537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(EebusError, match="P-256"):
        ski_of(signed(key, bytes(20)))


@pytest.mark.parametrize(
    "text",
    [
        "0123456789ABCDEF0123456789ABCDEF01234567",
        "01:23:45:67:89:ab:cd:ef:01:23:45:67:89:ab:cd:ef:01:23:45:67",
        " 0123 4567 89ab cdef 0123 4567 89ab cdef 0123 4567\n",
    ],
)
def test_certificates_ski_is_normalized(text: str) -> None:
    assert normalize_ski(text) == "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize("text", ["", "0123", "g" * 40, "0" * 41])
def test_certificates_text_that_is_not_ski_is_error(text: str) -> None:
    with pytest.raises(EebusError):
        normalize_ski(text)
