"""OCPP messages about the certificate of a station, and which of them the site CA handles.

Where the site CA issues the certificates of stations, a station's SignCertificate for its own connection is
answered here, and its owner may neither install such a certificate nor remove the roots that the connection
depends on. Everything about other certificates (ISO 15118, manufacturer) stays with the owner.

Sources: OCPP 1.6 security whitepaper, edition 3; OCPP 2.x Part 2, A02 to A04 and M03 to M06.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

import msgspec
from cryptography import x509
from msgspec import Meta

from controller.ocpp.actions import plain
from controller.ocpp.frames import Version
from controller.ocpp.payloads import Int32, read_payload
from controller.pki.certificate_status import CertificateHash

STATION_USES = frozenset({None, "ChargingStationCertificate"})
"""Uses of a certificate that secure the connection of a station; None: also ISO 15118 (2.x, A02)."""
CONNECTION_ROOTS = frozenset({"CSMSRootCertificate", "CentralSystemRootCertificate"})
"""Types of roots that a station trusts for its connection (2.x and 1.6)."""

ACCEPTED = b'{"status":"Accepted"}'
REJECTED = b'{"status":"Rejected"}'
FAILED = b'{"status":"Failed"}'

_Text = Annotated[str, Meta(max_length=10_000)]


class SignCertificateCall(msgspec.Struct, frozen=True, rename="camel"):
    """Payload of a SignCertificate: a request in PEM, its use, and in 2.1 an id to be repeated."""

    csr: _Text
    certificate_type: str | None = None
    request_id: Int32 | None = None


class _Use(msgspec.Struct, frozen=True, rename="camel"):
    certificate_type: str | None = None


class CertificateSignedCall(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Payload of a CertificateSigned: the chain in PEM, the leaf first."""

    certificate_chain: _Text
    certificate_type: str | None = None
    request_id: Int32 | None = None


class _StatusCall(msgspec.Struct, frozen=True, rename="camel"):
    ocsp_request_data: CertificateHash


class DeleteCertificateCall(msgspec.Struct, frozen=True, rename="camel"):
    """Payload of a DeleteCertificate."""

    certificate_hash_data: CertificateHash


class _HashChain(msgspec.Struct, frozen=True, rename="camel"):
    certificate_hash_data: CertificateHash


class _InstalledIds(msgspec.Struct, frozen=True, rename="camel"):
    status: str
    certificate_hash_data: tuple[CertificateHash, ...] = ()
    certificate_hash_data_chain: tuple[_HashChain, ...] = ()


def read_sign_certificate(payload: bytes) -> SignCertificateCall | None:
    """Read a SignCertificate; None if it is invalid."""
    return read_payload(SignCertificateCall, payload)


def write_certificate_signed(version: Version, chain: bytes, request: SignCertificateCall | None) -> bytes:
    """Write a CertificateSigned with the type and the id of `request`, if they are known."""
    use, request_id = None, None
    if version is not Version.V16:
        use = "ChargingStationCertificate"
    if version is Version.V21 and request is not None:
        request_id = request.request_id
    return msgspec.json.encode(CertificateSignedCall(chain.decode("ascii"), use, request_id))


def write_renewal_trigger(version: Version) -> tuple[str, bytes]:
    """Return action and payload that ask a station for a new SignCertificate (1.6 A02; 2.x A02.FR.04)."""
    if version is Version.V16:
        return "ExtendedTriggerMessage", b'{"requestedMessage":"SignChargePointCertificate"}'
    return "TriggerMessage", b'{"requestedMessage":"SignChargingStationCertificate"}'


def write_root_query(version: Version) -> bytes:
    """Write a GetInstalledCertificateIds for the roots of the connection."""
    if version is Version.V16:
        return b'{"certificateType":"CentralSystemRootCertificate"}'
    return b'{"certificateType":["CSMSRootCertificate"]}'


def read_installed(result: bytes) -> tuple[CertificateHash, ...] | None:
    """Return the certificates in a response to GetInstalledCertificateIds; None if it is invalid."""
    read = read_payload(_InstalledIds, result)
    if read is None or read.status not in ("Accepted", "NotFound"):
        return None
    return (
        *read.certificate_hash_data,
        *(each.certificate_hash_data for each in read.certificate_hash_data_chain),
    )


def has_root(installed: tuple[CertificateHash, ...], root: x509.Certificate) -> bool:
    """Return True if a root is among the installed certificates."""
    serial = f"{root.serial_number:x}"
    return any(each.serial == serial and each.is_issued_by(root) for each in installed)


def find_earlier_roots(
    installed: tuple[CertificateHash, ...], root: x509.Certificate
) -> tuple[CertificateHash, ...]:
    """Return the roots among the installed certificates that have the name of `root`, but another key."""
    return tuple(
        each for each in installed if each.has_issuer_name(root.subject) and not each.is_issued_by(root)
    )


def write_delete(subject: CertificateHash) -> bytes:
    """Write a DeleteCertificate."""
    return msgspec.json.encode(DeleteCertificateCall(subject))


def write_install_root(version: Version, root: bytes) -> bytes:
    """Write an InstallCertificate of a root in PEM."""
    kind = "CentralSystemRootCertificate" if version is Version.V16 else "CSMSRootCertificate"
    return msgspec.json.encode({"certificateType": kind, "certificate": root.decode("ascii")})


def read_status_call(payload: bytes) -> CertificateHash | None:
    """Read a GetCertificateStatus; None if it is invalid."""
    read = read_payload(_StatusCall, payload)
    if read is None or not _is_hexadecimal(read.ocsp_request_data):
        return None
    return read.ocsp_request_data


def write_status_answer(response: bytes) -> bytes:
    """Write the response to a GetCertificateStatus with an OCSP response in DER."""
    return msgspec.json.encode({"status": "Accepted", "ocspResult": base64.b64encode(response).decode()})


class StationCertificateScope:
    """Certificate messages of stations that a site CA handles; `authorities`: its CAs, the root last.

    `listener_chain`: certificates that the stations' port presents. The CAs of both may not be deleted.
    """

    def __init__(
        self, authorities: tuple[x509.Certificate, ...], listener_chain: tuple[x509.Certificate, ...] = ()
    ) -> None:
        self._authorities = authorities
        self._needed_names = tuple(each.issuer for each in listener_chain)

    def takes_call(self, action: str, payload: bytes) -> bool:
        """Return True if the site CA answers a CALL of a station, and no backend gets it."""
        match plain(action):
            case "SignCertificate":
                use = read_payload(_Use, payload)
                return use is None or use.certificate_type in STATION_USES
            case "GetCertificateStatus":
                subject = read_status_call(payload)
                return subject is not None and self._is_issued_here(subject)
            case _:
                return False

    def refuse_command(self, action: str, payload: bytes) -> bytes | None:
        """Return the response that refuses a backend's command; None: it passes.

        A signed command cannot be read here: one that may be about the connection is refused.
        """
        match plain(action):
            case "CertificateSigned":
                use = read_payload(_Use, payload)
                return REJECTED if use is None or use.certificate_type in STATION_USES else None
            case "InstallCertificate":
                use = read_payload(_Use, payload)
                kind = None if use is None else use.certificate_type
                return REJECTED if kind is None or kind in CONNECTION_ROOTS else None
            case "DeleteCertificate":
                read = read_payload(DeleteCertificateCall, payload)
                is_needed = read is None or self._is_needed(read.certificate_hash_data)
                return FAILED if is_needed else None
            case _:
                return None

    def _is_needed(self, subject: CertificateHash) -> bool:
        """Return True for a certificate without which a station could not connect any more."""
        return self._is_issued_here(subject) or any(map(subject.has_issuer_name, self._needed_names))

    def _is_issued_here(self, subject: CertificateHash) -> bool:
        return any(subject.is_issued_by(each) for each in self._authorities)


def _is_hexadecimal(subject: CertificateHash) -> bool:
    try:
        binascii.unhexlify(subject.issuer_name_hash)
        binascii.unhexlify(subject.issuer_key_hash)
        return 0 < int(subject.serial_number, 16) < 1 << 160
    except ValueError:
        return False
