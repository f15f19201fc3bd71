"""Self-signed certificates of SHIP partners, and the SKI that identifies them (SHIP 1.0.1, 12.1), sans-IO.

The SKI is the SHA-1 of the public key's bit string (RFC 5280, 4.2.1.2, method 1). It must stand in the
certificate as SubjectKeyIdentifier as well: a certificate where the two differ is refused.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from drivers.eebus.array_json import EebusError

VALIDITY = timedelta(days=36_500)
"""Partners trust the key, not the certificate's dates: a renewal would end all pairings."""

_SKI = re.compile(r"[0-9a-f]{40}")


def make_identity(common_name: str, utc: datetime) -> tuple[bytes, bytes]:
    """Return a new P-256 key and its self-signed certificate, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(utc - timedelta(days=1))
        .not_valid_after(utc + VALIDITY)
        .add_extension(identifier, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return key_pem, certificate.public_bytes(serialization.Encoding.PEM)


def ski_of(certificate: x509.Certificate) -> str:
    """Return the SKI of a certificate. Raises EebusError where it is missing or not that of the key."""
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise EebusError("its key is not on the curve P-256")
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError) as error:
        raise EebusError("it has no SubjectKeyIdentifier") from error
    if extension.digest != x509.SubjectKeyIdentifier.from_public_key(key).digest:
        raise EebusError("its SubjectKeyIdentifier is not that of its key")
    return extension.digest.hex()


def normalize_ski(text: str) -> str:
    """Return an SKI as 40 lower-case digits; blanks, colons and hyphens are left out. Raises EebusError."""
    ski = re.sub(r"[\s:-]", "", text).lower()
    if _SKI.fullmatch(ski) is None:
        raise EebusError(f"{text!r:.80} is not an SKI: it has 40 hexadecimal digits")
    return ski
