"""Our own keys and certificates on disk: keys are made here and never leave.

    NAME.pem            key and certificate chain in one file, for TLS: replaced in one step
    NAME.next.key.pem   key that waits for its certificate
    NAME.next.csr.pem   its certificate request, to be exported

The certificate is matched to the waiting key by its public key, independent of its file name. Until it is
there the old pair serves; a full disk leaves the old pair as it was.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from controller.pki import PkiError
from controller.pki.certificate_requests import RequestContent, build_request, key_fingerprint
from controller.pki.object_ids import ObjectIds
from controller.pki.protected_files import (
    CERTIFICATE_MODE,
    KEY_MODE,
    PkiFileError,
    make_folder,
    read_file,
    replace_file,
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_WAITING = ".next.key.pem"
_PRIVATE = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")


class IdentityError(PkiError):
    """A key or certificate of our own cannot be made or imported."""


class ImportedIdentity(msgspec.Struct, frozen=True):
    """A pair that was put into use. `not_after` is POSIX s."""

    name: str
    file: Path
    serial: str
    not_after: float


class IdentityFolder:
    """Our own identities in `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def new_request(self, name: str, common_name: str, content: RequestContent, ids: ObjectIds) -> bytes:
        """Make a key that waits for its certificate; returns its request in PEM. Raises PkiError.

        A key that waits already is kept and its request is written anew: a request that
        is being signed stays usable.
        """
        if not _NAME.fullmatch(name):
            raise IdentityError(f'"{name}" is no name of an identity: use letters, digits, "-" and "_"')
        make_folder(self.path)
        file = self.path / f"{name}{_WAITING}"
        if file.exists():
            key = _private_key(file)
        else:
            key = ec.generate_private_key(ec.SECP256R1())
            replace_file(file, _key_pem(key), KEY_MODE)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        request = build_request(key, subject, content, ids)
        replace_file(self.path / f"{name}.next.csr.pem", request, CERTIFICATE_MODE)
        return request

    def import_certificates(self, data: bytes, utc: float) -> list[ImportedIdentity]:
        """Put certificates into use whose keys wait here; `data` is PEM of one or many.

        Raises PkiError: nothing was imported from `data` if it has a private key or no fitting certificate.
        """
        if _PRIVATE.search(data):
            raise IdentityError(
                "the file has a private key: keys are made here and never imported; destroy it"
            )
        try:
            certificates = x509.load_pem_x509_certificates(data)
        except ValueError:
            raise IdentityError(
                "the file has no certificates in PEM; convert one in DER with `openssl x509 -inform DER`"
            ) from None
        waiting = self._waiting()
        fitting = [
            (each, waiting[found]) for each in certificates if (found := _fingerprint(each)) in waiting
        ]
        if not fitting:
            raise IdentityError(
                "no certificate in the file fits a key that waits here; `pki renew` writes the requests"
            )
        for certificate, _ in fitting:
            if certificate.not_valid_after_utc.timestamp() <= utc:
                raise IdentityError(f"certificate {certificate.serial_number:x} has expired already")
            if certificate.not_valid_before_utc.timestamp() > utc:
                raise IdentityError(
                    f"certificate {certificate.serial_number:x} is not valid before "
                    f"{certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}; import it then"
                )
        return [self._put_into_use(*each, certificates) for each in fitting]

    def names(self) -> list[str]:
        """Return the names of all identities in use."""
        return sorted(
            name
            for file in self.path.glob("*.pem")
            if _NAME.fullmatch(name := file.name.removesuffix(".pem"))
        )

    def certificate(self, name: str) -> x509.Certificate:
        """Return the certificate in use. Raises PkiError."""
        file = self.path / f"{name}.pem"
        if not file.exists():
            raise IdentityError(f"{file} is missing: there is no identity {name}; make it with `pki issue`")
        try:
            return x509.load_pem_x509_certificates(read_file(file))[0]
        except ValueError:
            raise IdentityError(f"{file} has no certificate in PEM") from None

    def common_name(self, name: str) -> str:
        """Return the common name of the certificate in use. Raises PkiError."""
        names = self.certificate(name).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        if len(names) != 1:
            raise IdentityError(f"the certificate of {name} has no common name: pass one")
        return str(names[0].value)

    def request(self, name: str) -> bytes:
        """Return the request that waits for its certificate, in PEM. Raises PkiError."""
        if not _NAME.fullmatch(name):
            raise IdentityError(f'"{name}" is no name of an identity')
        return read_file(self.path / f"{name}.next.csr.pem")

    def _waiting(self) -> dict[str, tuple[str, ec.EllipticCurvePrivateKey]]:
        """Return the waiting keys with their names, by fingerprint."""
        found = {}
        for file in self.path.glob(f"*{_WAITING}"):
            key = _private_key(file)
            found[key_fingerprint(key.public_key())] = (file.name.removesuffix(_WAITING), key)
        return found

    def _put_into_use(
        self,
        certificate: x509.Certificate,
        waiting: tuple[str, ec.EllipticCurvePrivateKey],
        others: Sequence[x509.Certificate],
    ) -> ImportedIdentity:
        name, key = waiting
        file = self.path / f"{name}.pem"
        chain = [certificate, *_issuers(certificate, others)]
        pair = _key_pem(key) + b"".join(each.public_bytes(serialization.Encoding.PEM) for each in chain)
        replace_file(file, pair, KEY_MODE)
        for suffix in (_WAITING, ".next.csr.pem"):
            try:
                (self.path / f"{name}{suffix}").unlink(missing_ok=True)
            except OSError as error:
                raise PkiFileError(f"{name}{suffix} cannot be removed: {error.strerror}") from None
        return ImportedIdentity(
            name, file, f"{certificate.serial_number:x}", certificate.not_valid_after_utc.timestamp()
        )


def _issuers(certificate: x509.Certificate, others: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """Return the chain above a certificate out of `others`, without a self-signed root."""
    chain: list[x509.Certificate] = []
    below = certificate
    for _ in others:
        above = next(
            (each for each in others if each.subject == below.issuer and each.subject != each.issuer), None
        )
        if above is None or above in chain:
            break
        chain.append(above)
        below = above
    return chain


def _fingerprint(certificate: x509.Certificate) -> str | None:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None
    return key_fingerprint(key) if isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey) else None


def _private_key(file: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(read_file(file), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise IdentityError(f"{file} is no private key in PEM; remove it and make a new request") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise IdentityError(f"{file} is no ECC key; remove it and make a new request")
    return key


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
