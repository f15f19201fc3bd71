"""Elliptic curves as WWCP OCPP uses them: its names, its hashes, and one form of each key and signature.

A key is its point on the curve, uncompressed: 0x04, X, Y (SEC 1, 2.3.3). A signature is ECDSA in strict DER
(X.690, 10.1). The hash is SHA-256, and SHA-512 for secp384r1 as well as for secp521r1: this is WWCP's
choice, not what FIPS 186-5 suggests.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from controller.signing import SigningError

_UNCOMPRESSED = 0x04


class EllipticCurve(msgspec.Struct, frozen=True):
    """A curve by its name on the wire."""

    name: str
    group: ec.EllipticCurve
    hash: hashes.HashAlgorithm

    @property
    def point_bytes(self) -> int:
        """Length of a key in bytes."""
        return 1 + 2 * ((self.group.key_size + 7) // 8)


CURVES: Mapping[str, EllipticCurve] = {
    curve.name: curve
    for curve in (
        EllipticCurve("secp256r1", ec.SECP256R1(), hashes.SHA256()),
        EllipticCurve("secp384r1", ec.SECP384R1(), hashes.SHA512()),
        EllipticCurve("secp521r1", ec.SECP521R1(), hashes.SHA512()),
        EllipticCurve("secp256k1", ec.SECP256K1(), hashes.SHA256()),
    )
}
"""secp192r1, which WWCP writes too, is missing on purpose: 96 bits of security are not enough."""


class CurveKeyError(SigningError):
    """Bytes are not a key on a curve that is used here."""


def curve_of(key: ec.EllipticCurvePublicKey) -> EllipticCurve:
    """Return the curve of a key. Raises CurveKeyError if it is not one of `CURVES`."""
    try:
        return CURVES[key.curve.name]
    except KeyError:
        raise CurveKeyError(f"curve {key.curve.name} is not used here; {', '.join(CURVES)} are") from None


def encode_point(key: ec.EllipticCurvePublicKey) -> bytes:
    """Encode a key as its uncompressed point."""
    numbers = key.public_numbers()
    length = (key.key_size + 7) // 8
    return b"\x04" + numbers.x.to_bytes(length, "big") + numbers.y.to_bytes(length, "big")


def decode_point(curve: EllipticCurve, point: bytes) -> ec.EllipticCurvePublicKey:
    """Decode an uncompressed point. Raises CurveKeyError."""
    if len(point) != curve.point_bytes or point[0] != _UNCOMPRESSED:
        raise CurveKeyError(
            f"is not an uncompressed point of {curve.name} ({curve.point_bytes} bytes, 0x04 first)"
        )
    try:
        return _decode_cached(curve.name, point)
    except ValueError:
        raise CurveKeyError(f"is not a point on {curve.name}") from None


@lru_cache(maxsize=4096)
def _decode_cached(curve: str, point: bytes) -> ec.EllipticCurvePublicKey:
    """Decode a point; cached, because the check that it is on its curve is expensive."""
    return ec.EllipticCurvePublicKey.from_encoded_point(CURVES[curve].group, point)


def sign_text(key: ec.EllipticCurvePrivateKey, text: bytes, curve: EllipticCurve | None = None) -> bytes:
    """Sign a text; returns DER. `curve`: that of the key, where the caller has it.

    Raises CurveKeyError if the key is on another curve than those that are used here.
    """
    if curve is None:
        curve = curve_of(key.public_key())
    return key.sign(text, ec.ECDSA(curve.hash))


def is_valid_signature(
    curve: EllipticCurve, key: ec.EllipticCurvePublicKey, signature: bytes, text: bytes
) -> bool:
    """Return True if a signature in strict DER is this key's for this text.

    From a valid signature (r, s) anybody can make (r, n - s), which is valid too: a replay is therefore
    recognized by its text, never by its signature.
    """
    try:
        key.verify(signature, text, ec.ECDSA(curve.hash))
    except InvalidSignature:
        return False
    return True
