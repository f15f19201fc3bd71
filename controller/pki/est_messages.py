"""Messages of EST (RFC 7030): a certificate request out, certificates in.

Only the renewal of a certificate in use is done (simplereenroll, 4.2.2): the client shows it in the TLS
handshake. Bodies are base64 of DER, responses a PKCS#7 without signature.
"""

from __future__ import annotations

import base64
import binascii

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7

from controller.pki import PkiError

MAX_RESPONSE_BYTES = 1_048_576
REQUEST_TYPE = "application/pkcs10"
_RESPONSE_TYPE = "application/pkcs7-mime"
_ACCEPTED = 202


class EstError(PkiError):
    """An EST server has not issued a certificate."""


class EstPending(msgspec.Struct, frozen=True):
    """The server has accepted the request and has not decided yet: ask again after `retry_after_s`."""

    retry_after_s: float


def write_reenroll(request_pem: bytes) -> bytes:
    """Return the body of a simplereenroll with a request in PEM."""
    der = x509.load_pem_x509_csr(request_pem).public_bytes(serialization.Encoding.DER)
    return base64.encodebytes(der)


def read_response(status: int, content_type: str, retry_after: str, body: bytes) -> bytes | EstPending:
    """Return the certificates of a response in PEM, or when to ask again. Raises EstError."""
    if status == _ACCEPTED:
        return EstPending(float(retry_after[:9]) if retry_after.isdecimal() else 3600.0)
    if status != 200:
        raise EstError(f"the EST server answered with status {status}")
    if content_type.partition(";")[0].strip().lower() != _RESPONSE_TYPE:
        raise EstError(f"the EST server answered with {content_type or 'no content type'}")
    try:
        der = base64.b64decode(b"".join(body.split()), validate=True)
        certificates = pkcs7.load_der_pkcs7_certificates(der)
    except (binascii.Error, ValueError, UnsupportedAlgorithm) as error:
        raise EstError(f"the certificates of the EST server cannot be read: {error}") from None
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates)
