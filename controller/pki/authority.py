"""The site CA: root, issuing CA, certificates and revocation lists (RFC 5280).

The root signs issuing CAs only and may be kept offline. Each issuing CA has its own name, so that two can be
valid at once while stations still show certificates of the older one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from controller.pki import asn1
from controller.pki.certificate_ledger import IssuedCertificate, RevokedCertificate
from controller.pki.certificate_profiles import DAY_S, key_usage
from controller.pki.certificate_requests import PrivateKey, PublicKey
from controller.pki.issuance import SKEW_S, Grant
from controller.pki.object_ids import MODBUS_ROLE, ObjectIds

ROOT_DAYS = 3650.0
ISSUING_DAYS = 730.0
CRL_DAYS = 7.0

_CA_USAGE = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


class Issuer(msgspec.Struct, frozen=True):
    """A CA certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def name(self) -> str:
        """Common name, by which the ledger refers to the issuer."""
        return str(self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)

    @property
    def not_before(self) -> float:
        """Begin of the validity (POSIX s)."""
        return self.certificate.not_valid_before_utc.timestamp()

    @property
    def not_after(self) -> float:
        """End of the validity (POSIX s)."""
        return self.certificate.not_valid_after_utc.timestamp()


def new_ca_key() -> ec.EllipticCurvePrivateKey:
    """Generate the key of a CA: ECC P-384."""
    return ec.generate_private_key(ec.SECP384R1())


def self_sign_root(name: str, key: ec.EllipticCurvePrivateKey, utc: float) -> Issuer:
    """Build a root that may sign issuing CAs, and no CA below them."""
    subject = _subject(name)
    builder = _builder(subject, subject, key.public_key(), utc - SKEW_S, utc + ROOT_DAYS * DAY_S)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
    builder = builder.add_extension(_CA_USAGE, critical=True)
    return Issuer(_sign(builder, key, key.public_key()), key)


def sign_issuing_ca(root: Issuer, name: str, key: ec.EllipticCurvePrivateKey, utc: float) -> Issuer:
    """Build an issuing CA that signs end entities only. It ends no later than its root."""
    end = min(utc + ISSUING_DAYS * DAY_S, root.not_after)
    builder = _builder(
        _subject(name), root.certificate.subject, key.public_key(), max(utc - SKEW_S, root.not_before), end
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_CA_USAGE, critical=True)
    return Issuer(_sign(builder, root.key, root.key.public_key()), key)


def issue_certificate(
    issuer: Issuer, grant: Grant, ids: ObjectIds, utc: float, *, must_be_installed: bool = False
) -> tuple[x509.Certificate, IssuedCertificate]:
    """Sign the certificate of a grant; returns it with its record for the ledger.

    The subject is the common name alone: the rest of the request's subject is not proven.
    """
    applicant, content, key = grant.applicant, grant.request.content, grant.request.public_key
    builder = _builder(
        _subject(applicant.id), issuer.certificate.subject, key, grant.not_before, grant.not_after
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    usage = key_usage(grant.profile, is_rsa=isinstance(key, rsa.RSAPublicKey))
    builder = builder.add_extension(usage, critical=True)
    if grant.profile.extended_key_usage:
        oids = [x509.ObjectIdentifier(oid) for oid in grant.profile.extended_key_usage]
        builder = builder.add_extension(x509.ExtendedKeyUsage(oids), critical=False)
    if grant.profile.named_hosts:
        names = x509.SubjectAlternativeName([_host(host) for host in applicant.hosts])
        builder = builder.add_extension(names, critical=False)
    own = {
        ids.key_group: asn1.text_value(grant.key_group),
        ids.station_id: asn1.text_value(applicant.id) if applicant.purpose == "station" else None,
        ids.party_ids: asn1.text_list(content.party_ids) if content.party_ids else None,
        ids.sub_cpo_ids: asn1.text_list(content.sub_cpo_ids) if content.sub_cpo_ids else None,
        ids.sub_emsp_ids: asn1.text_list(content.sub_emsp_ids) if content.sub_emsp_ids else None,
        ids.evse_ids: asn1.text_list(applicant.evses) if applicant.evses else None,
        ids.connection_points: asn1.text_list(applicant.connection_points)
        if applicant.connection_points
        else None,
        MODBUS_ROLE: asn1.text_value(applicant.modbus_role) if applicant.modbus_role else None,
    }
    for oid, value in own.items():
        if value is not None:
            extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
            builder = builder.add_extension(extension, critical=False)
    certificate = _sign(builder, issuer.key, issuer.key.public_key())
    return certificate, IssuedCertificate(
        serial=f"{certificate.serial_number:x}",
        subject=applicant.id,
        purpose=applicant.purpose,
        key_group=grant.key_group,
        key=grant.request.fingerprint,
        issuer=issuer.name,
        issued_at=utc,
        not_before=certificate.not_valid_before_utc.timestamp(),
        not_after=certificate.not_valid_after_utc.timestamp(),
        must_be_installed=must_be_installed,
    )


def is_signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Return True if `issuer` has signed a certificate; its name alone proves nothing."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def sign_revocation_list(
    issuer: Issuer, revoked: Iterable[RevokedCertificate], number: int, utc: float
) -> x509.CertificateRevocationList:
    """Sign a revocation list. `number` rises with each list of this issuer."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(_moment(utc))
        .next_update(_moment(utc + CRL_DAYS * DAY_S))
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False
        )
    )
    for each in revoked:
        entry = (
            x509.RevokedCertificateBuilder()
            .serial_number(int(each.serial, 16))
            .revocation_date(_moment(each.at))
            .add_extension(x509.CRLReason(x509.ReasonFlags(each.reason.value)), critical=False)
        )
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(issuer.key, hashes.SHA384())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PublicKey, begin: float, end: float
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_moment(begin))
        .not_valid_after(_moment(end))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _sign(
    builder: x509.CertificateBuilder, key: PrivateKey, public_key: ec.EllipticCurvePublicKey
) -> x509.Certificate:
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(public_key)
    return builder.add_extension(authority, critical=False).sign(key, hashes.SHA384())


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _moment(utc: float) -> datetime:
    return datetime.fromtimestamp(int(utc), UTC)
