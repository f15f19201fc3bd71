"""The signatures on a payload: read, verified over the received bytes, and our own added."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from controller.signing import canonical, curves, signing_wire
from controller.signing.canonical import NotSignableError, SignedDocument
from controller.signing.curves import CURVES, BadKeyError, EllipticCurve
from controller.signing.signing_wire import WireSignature

_decoder = msgspec.json.Decoder(list[WireSignature])


class KeyId(msgspec.Struct, frozen=True):
    """Who has signed: a public key, which is its own name.

    Of an RSA key, which only the certificates of `jws` have, `curve` is "rsa" and `point` the key in DER.
    """

    curve: str
    point: bytes

    def __str__(self) -> str:
        return f"{self.curve} {signing_wire.encoded(self.point)}"


class CheckedSignature(msgspec.Struct, frozen=True):
    """One signature after a look at it. `wrong`: why it proves nothing; None where it is valid.

    `key` is None where there is none to be read. A key that is not known is not looked at any further:
    anybody can make a key, and sign with it.
    """

    key: KeyId | None
    wrong: str | None = None

    @property
    def valid(self) -> bool:
        """Whether this key has signed the text."""
        return self.wrong is None


class ExaminedMessage(msgspec.Struct, frozen=True):
    """What the signatures of a payload prove. `digest` names the signed text (SHA-256)."""

    digest: bytes
    signatures: tuple[CheckedSignature, ...]

    @property
    def keys(self) -> frozenset[KeyId]:
        """Who has signed validly."""
        return frozenset(each.key for each in self.signatures if each.key is not None and each.valid)


def examine(payload: bytes, context: str, is_known: Callable[[KeyId], bool]) -> ExaminedMessage:
    """Verify the signatures of a payload as it was received.

    `context` is what follows from the message that carries it. A payload that says another one itself
    was made for another message. Raises NotSignable.
    """
    document = canonical.read(payload)
    said = document.member(signing_wire.CONTEXT)
    if said is not None and _string(said) != context:
        raise NotSignableError(
            f"the payload's {signing_wire.CONTEXT} is not {context}: it was made for another message"
        )
    written = _written(document)
    if not written:
        return ExaminedMessage(b"", ())
    text = canonical.text(document, context)
    checked = tuple(_check(each, text, is_known) for each in written)
    return ExaminedMessage(hashlib.sha256(text).digest(), checked)


def sign(
    payload: bytes,
    key: ec.EllipticCurvePrivateKey,
    context: str,
    name: str | None = None,
    timestamp: str | None = None,
) -> bytes:
    """The payload with a signature of `key`, beside those that it has; every other byte stays.

    `name` and `timestamp` are the signer's words, which no signature covers. Raises NotSignable, BadKey.
    """
    document = canonical.read(payload)
    curve = curves.curve_of(key.public_key())
    signature = WireSignature(
        key_id=signing_wire.encoded(curves.point_of(key.public_key())),
        value=signing_wire.encoded(curves.sign(key, canonical.text(document, context))),
        algorithm=curve.name,
        name=name,
        timestamp=timestamp,
    )
    return canonical.with_signature(payload, document, msgspec.json.encode(signature))


def key_id(key: ec.EllipticCurvePublicKey) -> KeyId:
    """A key as signatures name it. Raises BadKey where it is on no curve of ours."""
    return KeyId(curves.curve_of(key).name, curves.point_of(key))


def _string(raw: bytes) -> str | None:
    return msgspec.json.decode(raw, type=str) if raw[:1] == b'"' else None


def _written(document: SignedDocument) -> list[WireSignature]:
    raw = document.member(signing_wire.SIGNATURES)
    if raw is None:
        return []
    try:
        written = _decoder.decode(raw)
    except msgspec.DecodeError:
        raise NotSignableError("the payload's signatures are no list of signatures") from None
    if len(written) > signing_wire.MOST_SIGNATURES:
        raise NotSignableError(f"the payload has more than {signing_wire.MOST_SIGNATURES} signatures")
    return written


def _check(written: WireSignature, text: bytes, is_known: Callable[[KeyId], bool]) -> CheckedSignature:
    curve = CURVES.get(written.algorithm.lower())
    if curve is None:
        return CheckedSignature(None, f"its algorithm is none of {', '.join(CURVES)}")
    point, value = signing_wire.decoded(written.key_id), signing_wire.decoded(written.value)
    if point is None or value is None:
        return CheckedSignature(None, "its keyId or value is no base64")
    key = KeyId(curve.name, point)
    if not is_known(key):
        return CheckedSignature(key, "its key is not known here")
    if (written.signing_method, written.encoding, written.encoding_mode) != (
        signing_wire.METHOD,
        signing_wire.ENCODING,
        signing_wire.ENCODING,
    ):
        return CheckedSignature(key, f"it is not of method {signing_wire.METHOD} in {signing_wire.ENCODING}")
    return _verified(curve, key, value, text)


def _verified(curve: EllipticCurve, key: KeyId, value: bytes, text: bytes) -> CheckedSignature:
    try:
        public = curves.public_key(curve, key.point)
    except BadKeyError as bad:
        return CheckedSignature(key, f"its key {bad}")
    if not curves.is_valid(curve, public, value, text):
        return CheckedSignature(key, "it is not that key's signature of this payload")
    return CheckedSignature(key)
