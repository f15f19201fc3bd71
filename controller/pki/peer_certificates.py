"""Check of a peer's certificate after the TLS handshake, against the ledger and the name it uses.

TLS has verified the chain. The rest is checked here: certificates that were replaced or revoked,
and that a station's certificate is for the station whose path it opens.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec
from cryptography import x509
from cryptography.x509.oid import NameOID

from controller.pki import PkiError, asn1
from controller.pki.asn1 import Asn1Error
from controller.pki.certificate_ledger import CertificateLedger, CertificateState
from controller.pki.object_ids import PLACEHOLDERS, ObjectIds


class PeerCertificateError(PkiError):
    """A peer's certificate is not accepted."""


class PeerCertificateUnreadableError(PeerCertificateError):
    """A certificate has not the form of those of the site CA."""


class PeerCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """The members of a peer's certificate that are checked. `serial` is hexadecimal."""

    serial: str
    issuer: str
    common_name: str
    key_group: str | None = None
    station_id: str | None = None
    evses: tuple[str, ...] = ()
    connection_points: tuple[str, ...] = ()
    party_ids: tuple[str, ...] = ()


def read_peer_certificate(der: bytes, ids: ObjectIds) -> PeerCertificate:
    """Read a certificate in DER. Raises PeerCertificateUnreadableError."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        values = _own_extensions(certificate)
        return PeerCertificate(
            serial=f"{certificate.serial_number:x}",
            issuer=_common_name(certificate.issuer),
            common_name=_common_name(certificate.subject),
            key_group=_first(values, ids.key_group, PLACEHOLDERS.key_group),
            station_id=_first(values, ids.station_id),
            evses=_all(values, ids.evse_ids),
            connection_points=_all(values, ids.connection_points),
            party_ids=_all(values, ids.party_ids) or _all(values, PLACEHOLDERS.party_ids),
        )
    except (ValueError, Asn1Error) as error:
        raise PeerCertificateUnreadableError(f"the certificate cannot be read: {error}") from None


def check_issuance(
    certificate: PeerCertificate, ledger: CertificateLedger, issuers: Collection[str], utc: float
) -> None:
    """Check a certificate of the site CA against its ledger at `utc`. Raises PeerCertificateError.

    `issuers`: names of the site's issuing CAs; certificates of other CAs pass.
    """
    if certificate.issuer not in issuers:
        return
    state = ledger.state(certificate.serial, utc)
    if state is not CertificateState.VALID:
        raise PeerCertificateError(
            f"certificate {certificate.serial} of {certificate.common_name} is {state}"
        )
    record = ledger.find(certificate.serial)
    if record.key_group != certificate.key_group:
        raise PeerCertificateError(
            f"certificate {certificate.serial} names key group {certificate.key_group}, "
            f"the ledger {record.key_group}"
        )


def check_names(
    certificate: PeerCertificate,
    station: str,
    evses: Collection[str],
    connection_points: Collection[str],
) -> None:
    """Check the names in the certificate that a station shows. Raises PeerCertificateError.

    `station`, `evses`, `connection_points`: the identity in the path, its EVSEs, and the grid connection
    points of the site, by the configuration.
    """
    named = certificate.common_name if certificate.station_id is None else certificate.station_id
    if named != station:
        raise PeerCertificateError(f'the certificate is for "{named}", the path is for "{station}"')
    foreign = set(certificate.evses) - set(evses)
    if foreign:
        raise PeerCertificateError(
            f"the certificate names EVSEs that {station} does not have: {', '.join(sorted(foreign))}"
        )
    other_points = set(certificate.connection_points) - set(connection_points)
    if other_points:
        raise PeerCertificateError(
            f"the certificate names connection points of other sites: {', '.join(sorted(other_points))}"
        )


def _own_extensions(certificate: x509.Certificate) -> dict[str, bytes]:
    return {
        extension.oid.dotted_string: extension.value.value
        for extension in certificate.extensions
        if isinstance(extension.value, x509.UnrecognizedExtension)
    }


def _common_name(name: x509.Name) -> str:
    names = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(names) != 1 or isinstance(names[0].value, bytes):
        raise ValueError("not exactly one common name")
    return names[0].value


def _all(values: dict[str, bytes], oid: str) -> tuple[str, ...]:
    return asn1.texts([values[oid]]) if oid in values else ()


def _first(values: dict[str, bytes], *oids: str) -> str | None:
    return next((text for oid in oids for text in _all(values, oid)), None)
