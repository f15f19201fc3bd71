"""The signed messages of OCPP itself: `-Signed` actions, whose payload is a flattened JWS.

Source: OCPP 2.0.1 and 2.1 Part 4, section 7; RFC 7515, section 7.2.2. The protected header says which
message is in it, and names the certificate of the signer. They pass untouched. A certificate that is not
known here is no error of theirs: such a message only proves nothing to us.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from controller.ocpp.actions import plain
from controller.signing import canonical, signatures
from controller.signing.canonical import NotSignableError
from controller.signing.curves import BadKeyError
from controller.signing.signatures import CheckedSignature, ExaminedMessage, KeyId
from controller.signing.signing_wire import SignatureKind

ALGORITHMS = ("ES256", "RS256", "RS384")
LEAST_RSA_BITS = 2048
_RSA = "rsa"
_THUMBPRINT = "x5t#S256"
_TYPES = {SignatureKind.REQUEST: 2, SignatureKind.RESPONSE: 3, SignatureKind.SEND: 6}
_CANNOT_CHECK = "its certificate is not known here"


class Certificate(msgspec.Struct, frozen=True):
    """A signer's certificate, its key's name here, and from when until when it is valid (POSIX s)."""

    thumbprint: str
    key: KeyId
    jose: ECKey | RSAKey
    not_before: float
    not_after: float


class _Flattened(msgspec.Struct):
    payload: str
    protected: str
    signature: str


class _Header(
    msgspec.Struct, rename={"action": "OCPPAction", "kind": "OCPPMessageTypedId", "print": _THUMBPRINT}
):
    action: str | None = None
    kind: int | str | None = None
    print: str | None = None


def read_certificate(pem: bytes) -> Certificate:
    """A certificate of a PEM file's bytes. Raises BadKey with what is wrong."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise BadKeyError("is no certificate in PEM") from None
    public = certificate.public_key()
    text = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    if isinstance(public, ec.EllipticCurvePublicKey):
        key: KeyId = signatures.key_id(public)
        jose: ECKey | RSAKey = ECKey.import_key(text)
    elif isinstance(public, rsa.RSAPublicKey) and public.key_size >= LEAST_RSA_BITS:
        key = KeyId(_RSA, public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
        jose = RSAKey.import_key(text)
    else:
        raise BadKeyError(f"has a key that is neither on a curve nor RSA of {LEAST_RSA_BITS} bits")
    der = certificate.public_bytes(Encoding.DER)
    return Certificate(
        base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode(),
        key,
        jose,
        certificate.not_valid_before_utc.timestamp(),
        certificate.not_valid_after_utc.timestamp(),
    )


class Verifier:
    """Verifies signed messages by the certificates that are known."""

    def __init__(self, certificates: Iterable[Certificate] = ()) -> None:
        self._certificates = {each.thumbprint: each for each in certificates}

    def examine(self, payload: bytes, action: str, kind: SignatureKind) -> tuple[ExaminedMessage, bytes]:
        """What the signature of a `-Signed` message proves, and the OCPP payload in it.

        Raises NotSignable where there is no JWS to be read.
        """
        canonical.read(payload)
        written, header, inner = _read(payload)
        canonical.read(inner)
        digest = hashlib.sha256(f"{written.protected}.{written.payload}".encode()).digest()
        return ExaminedMessage(digest, (self._check(written, header, action, kind),)), inner

    def _check(
        self, written: _Flattened, header: _Header, action: str, kind: SignatureKind
    ) -> CheckedSignature:
        certificate = self._certificates.get(header.print or "")
        if certificate is None:
            return CheckedSignature(None, _CANNOT_CHECK)
        if header.action not in (None, plain(action), action):
            return CheckedSignature(certificate.key, "it was made for another action")
        if header.kind not in (None, _TYPES[kind], str(_TYPES[kind])):
            return CheckedSignature(certificate.key, "it was made for another type of message")
        if not _is_valid(written, certificate):
            return CheckedSignature(certificate.key, "it is not that certificate's signature of this payload")
        return CheckedSignature(certificate.key)


def inside(payload: bytes) -> bytes:
    """The OCPP payload in a `-Signed` message, whoever has signed it. Raises NotSignable."""
    canonical.read(payload)
    inner = _read(payload)[2]
    canonical.read(inner)
    return inner


def _read(payload: bytes) -> tuple[_Flattened, _Header, bytes]:
    try:
        written = msgspec.json.decode(payload, type=_Flattened)
        protected = _base64url(written.protected)
        canonical.read(protected)
        return written, msgspec.json.decode(protected, type=_Header), _base64url(written.payload)
    except (msgspec.DecodeError, binascii.Error, ValueError):
        raise NotSignableError("the payload is no flattened JWS") from None


def _base64url(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _is_valid(written: _Flattened, certificate: Certificate) -> bool:
    value: Any = msgspec.to_builtins(written)
    try:
        jws.deserialize_json(value, certificate.jose, registry=_registry)
    except (JoseError, ValueError):
        return False
    return True


_registry = jws.JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)
"""OCPP's own header members are none that it knows."""
