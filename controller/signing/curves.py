"""Elliptic curves as WWCP OCPP uses them: its names, its hashes, and nothing that may be read in two ways.

A key is its point on the curve, uncompressed: 0x04, X, Y (SEC 1, 2.3.3). A signature is ECDSA in strict
DER (X.690, 10.1). The hash is SHA-256, and SHA-512 for secp384r1 as well as for secp521r1: that is how
they do it, not what FIPS 186-5 would suggest.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

_UNCOMPRESSED = 0x04


class EllipticCurve(msgspec.Struct, frozen=True):
    """A curve by its name on the wire."""

    name: str
    group: ec.EllipticCurve
    hash: hashes.HashAlgorithm

    @property
    def point_bytes(self) -> int:
        """How long a key is."""
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
"""Not secp192r1, which the format knows, too: 96 bits of security are no proof of anything any more."""


class BadKeyError(Exception):
    """These bytes are no key on this curve. The text says why."""


def curve_of(key: ec.EllipticCurvePublicKey) -> EllipticCurve:
    """The curve that a key is on. Raises BadKey where it is none of `CURVES`."""
    try:
        return CURVES[key.curve.name]
    except KeyError:
        raise BadKeyError(f"{key.curve.name} is not used here; known are {', '.join(CURVES)}") from None


def point_of(key: ec.EllipticCurvePublicKey) -> bytes:
    """A key as its point."""
    numbers = key.public_numbers()
    length = (key.key_size + 7) // 8
    return b"\x04" + numbers.x.to_bytes(length, "big") + numbers.y.to_bytes(length, "big")


def public_key(curve: EllipticCurve, point: bytes) -> ec.EllipticCurvePublicKey:
    """The key that a point is. Raises BadKey."""
    if len(point) != curve.point_bytes or point[0] != _UNCOMPRESSED:
        raise BadKeyError(f"is no uncompressed point of {curve.name} ({curve.point_bytes} bytes, 0x04 first)")
    try:
        return _public_key(curve.name, point)
    except ValueError:
        raise BadKeyError(f"is no point on {curve.name}") from None


@lru_cache(maxsize=4096)
def _public_key(curve: str, point: bytes) -> ec.EllipticCurvePublicKey:
    """Kept: to see that a point is on its curve is dear, and known keys come again and again."""
    return ec.EllipticCurvePublicKey.from_encoded_point(CURVES[curve].group, point)


def sign(key: ec.EllipticCurvePrivateKey, text: bytes) -> bytes:
    """The signature of a text, in DER. Raises BadKey where the key is on no curve of ours."""
    return key.sign(text, ec.ECDSA(curve_of(key.public_key()).hash))


def is_valid(curve: EllipticCurve, key: ec.EllipticCurvePublicKey, signature: bytes, text: bytes) -> bool:
    """Whether a signature is this key's for this text. The library takes strict DER alone.

    Of a valid signature (r, s) anybody can make (r, n - s), which is as valid: what has been seen before
    is therefore known by its text, never by its signature.
    """
    try:
        key.verify(signature, text, ec.ECDSA(curve.hash))
    except InvalidSignature:
        return False
    return True
