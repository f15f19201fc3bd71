"""Identification of a certificate by hashes, as OCPP and OCSP have it, and signed status responses.

Sources: RFC 6960, 4.1.1 (CertID); OCPP 2.x Part 2, CertificateHashDataType and OCSPRequestDataType.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp

from controller.pki import asn1
from controller.pki.certificate_ledger import RevokedCertificate

STATUS_VALID = timedelta(hours=1)
"""Time for which a status response may be used: a revocation is known to its readers after that at most."""

HashName = Literal["SHA256", "SHA384", "SHA512"]
_HASHES: Mapping[str, hashes.HashAlgorithm] = {
    "SHA256": hashes.SHA256(),
    "SHA384": hashes.SHA384(),
    "SHA512": hashes.SHA512(),
}


class CertificateHash(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A certificate by the hashes of its issuer's name and key; all members but the first hexadecimal."""

    hash_algorithm: HashName
    issuer_name_hash: str
    issuer_key_hash: str
    serial_number: str

    def is_issued_by(self, issuer: x509.Certificate) -> bool:
        """Return True if the hashes are those of `issuer`."""
        name, key = _issuer_hashes(issuer, self.hash_algorithm)
        return (self.issuer_name_hash.lower(), self.issuer_key_hash.lower()) == (name, key)

    def has_issuer_name(self, name: x509.Name) -> bool:
        """Return True if the issuer has this name, with any key."""
        return self.issuer_name_hash.lower() == _digest(name.public_bytes(), self.hash_algorithm)

    @property
    def serial(self) -> str:
        """Serial number as the ledger has it."""
        return self.serial_number.lower().lstrip("0")


def sign_status(
    issuer: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
    subject: CertificateHash,
    revocation: RevokedCertificate | None,
    utc: float,
    *,
    is_known: bool,
) -> bytes:
    """Sign a basic OCSP response in DER; `revocation` None: the certificate is good if it `is_known`."""
    status = ocsp.OCSPCertStatus.UNKNOWN
    if revocation is not None:
        status = ocsp.OCSPCertStatus.REVOKED
    elif is_known:
        status = ocsp.OCSPCertStatus.GOOD
    now = datetime.fromtimestamp(int(utc), UTC)
    builder = ocsp.OCSPResponseBuilder().add_response_by_hash(
        issuer_name_hash=bytes.fromhex(subject.issuer_name_hash),
        issuer_key_hash=bytes.fromhex(subject.issuer_key_hash),
        serial_number=int(subject.serial_number, 16),
        algorithm=_HASHES[subject.hash_algorithm],
        cert_status=status,
        this_update=now,
        next_update=now + STATUS_VALID,
        revocation_time=None if revocation is None else datetime.fromtimestamp(int(revocation.at), UTC),
        revocation_reason=None if revocation is None else x509.ReasonFlags(revocation.reason.value),
    )
    response = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, issuer).sign(key, hashes.SHA384())
    return response.public_bytes(serialization.Encoding.DER)


def _issuer_hashes(issuer: x509.Certificate, algorithm: HashName) -> tuple[str, str]:
    """Hash the name (DER) and the key (content of the BIT STRING) of an issuer; both in hexadecimal."""
    key_info = issuer.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return (
        _digest(issuer.subject.public_bytes(), algorithm),
        _digest(asn1.public_key_bits(key_info), algorithm),
    )


def _digest(data: bytes, algorithm: HashName) -> str:
    digest = hashes.Hash(_HASHES[algorithm])
    digest.update(data)
    return digest.finalize().hex()
