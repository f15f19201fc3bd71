"""Signed messages of OCPP itself: `-Signed` actions, whose payload is a flattened JWS.

Source: OCPP 2.0.1 and 2.1 Part 4, section 7; RFC 7515, section 7.2.2. The protected header names the
message in it and the certificate of the signer. They are forwarded untouched. An unknown certificate is no
error of the message: it only proves nothing.
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
from controller.signing import payload_signatures, signed_text
from controller.signing.curves import CurveKeyError
from controller.signing.payload_signatures import KeyId, SignatureCheck, SignatureReport
from controller.signing.signature_format import MessageKind
from controller.signing.signed_text import SignedTextError

ALGORITHMS = ("ES256", "RS256", "RS384")
MIN_RSA_BITS = 2048
_RSA = "rsa"
_THUMBPRINT = "x5t#S256"
_TYPES = {MessageKind.REQUEST: 2, MessageKind.RESPONSE: 3, MessageKind.SEND: 6}
_CANNOT_CHECK = "its certificate is unknown"


class JwsCertificate(msgspec.Struct, frozen=True):
    """Certificate of a signer, the identity of its key, and its validity (POSIX s)."""

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


def read_jws_certificate(pem: bytes) -> JwsCertificate:
    """Read a certificate in PEM. Raises CurveKeyError."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise CurveKeyError("is not a certificate in PEM") from None
    public = certificate.public_key()
    text = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    if isinstance(public, ec.EllipticCurvePublicKey):
        key: KeyId = payload_signatures.key_id(public)
        jose: ECKey | RSAKey = ECKey.import_key(text)
    elif isinstance(public, rsa.RSAPublicKey) and public.key_size >= MIN_RSA_BITS:
        key = KeyId(_RSA, public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
        jose = RSAKey.import_key(text)
    else:
        raise CurveKeyError(f"has a key that is neither on a curve nor RSA of {MIN_RSA_BITS} bits")
    der = certificate.public_bytes(Encoding.DER)
    return JwsCertificate(
        base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode(),
        key,
        jose,
        certificate.not_valid_before_utc.timestamp(),
        certificate.not_valid_after_utc.timestamp(),
    )


class JwsVerifier:
    """Verifier with the certificates that are known."""

    def __init__(self, certificates: Iterable[JwsCertificate] = ()) -> None:
        self._certificates = {each.thumbprint: each for each in certificates}

    def verify(self, payload: bytes, action: str, kind: MessageKind) -> tuple[SignatureReport, bytes]:
        """Verify the signature of a `-Signed` message; returns also the OCPP payload in it.

        Raises SignedTextError if there is no readable JWS.
        """
        signed_text.tokenize_payload(payload)
        written, header, inner = _read(payload)
        signed_text.tokenize_payload(inner)
        digest = hashlib.sha256(f"{written.protected}.{written.payload}".encode()).digest()
        return SignatureReport(digest, (self._check(written, header, action, kind),), inner), inner

    def _check(self, written: _Flattened, header: _Header, action: str, kind: MessageKind) -> SignatureCheck:
        certificate = self._certificates.get(header.print or "")
        if certificate is None:
            return SignatureCheck(None, _CANNOT_CHECK)
        if header.action not in (None, plain(action), action):
            return SignatureCheck(certificate.key, "it was made for another action")
        if header.kind not in (None, _TYPES[kind], str(_TYPES[kind])):
            return SignatureCheck(certificate.key, "it was made for another type of message")
        if not _is_valid(written, certificate):
            return SignatureCheck(certificate.key, "it is not that certificate's signature of this payload")
        return SignatureCheck(certificate.key)


def extract_payload(payload: bytes) -> bytes:
    """Return the OCPP payload in a `-Signed` message, unverified. Raises SignedTextError."""
    signed_text.tokenize_payload(payload)
    inner = _read(payload)[2]
    signed_text.tokenize_payload(inner)
    return inner


def _read(payload: bytes) -> tuple[_Flattened, _Header, bytes]:
    try:
        written = msgspec.json.decode(payload, type=_Flattened)
        protected = _base64url(written.protected)
        signed_text.tokenize_payload(protected)
        return written, msgspec.json.decode(protected, type=_Header), _base64url(written.payload)
    except (msgspec.DecodeError, binascii.Error, ValueError):
        raise SignedTextError("the payload is not a flattened JWS") from None


def _base64url(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _is_valid(written: _Flattened, certificate: JwsCertificate) -> bool:
    value: Any = msgspec.to_builtins(written)
    try:
        jws.deserialize_json(value, certificate.jose, registry=_registry)
    except (JoseError, ValueError):
        return False
    return True


_registry = jws.JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)
"""Not strict: the library rejects OCPP's own header members otherwise."""
