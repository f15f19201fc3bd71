"""Signatures of JSON payloads: read, verified over the received bytes, and our own added."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from controller.signing import curves, signature_format, signed_text
from controller.signing.curves import CURVES, CurveKeyError, EllipticCurve
from controller.signing.signature_format import WireSignature
from controller.signing.signed_text import PayloadTokens, SignedTextError

_MISMATCH = "it is not that key's signature of this payload"
_MISMATCH_DECIMALS = f"{_MISMATCH}; a controller on the way may have rewritten a decimal (1.50 as 1.5)"
_DECIMAL = re.compile(rb"[:,\[]-?\d+(?:\.\d|[eE])")
"""A decimal in a text; WWCP controllers pass all numbers through a double."""

_signatures = msgspec.json.Decoder(list[WireSignature])


class KeyId(msgspec.Struct, frozen=True):
    """Identity of a signer: the public key.

    For an RSA key, which only certificates of `jws` have, `curve` is "rsa" and `point` the key in DER.
    """

    curve: str
    point: bytes

    def __str__(self) -> str:
        return f"{self.curve} {signature_format.encode_base64(self.point)}"


class SignatureCheck(msgspec.Struct, frozen=True):
    """Result of the check of one signature. `wrong`: why it proves nothing; None if it is valid.

    `key` is None if it cannot be read. A signature of an unknown key is not verified: anybody can make a
    key and sign with it. `mismatch`: the key is known and readable, but has not signed this text.
    """

    key: KeyId | None
    wrong: str | None = None
    mismatch: bool = False

    @property
    def valid(self) -> bool:
        """True if this key has signed the text."""
        return self.wrong is None


class SignatureReport(msgspec.Struct, frozen=True):
    """Result of the check of all signatures of a payload.

    `digest`: SHA-256 of the signed text. `payload`: the values that are covered, to be used for decisions.
    `text`: the text that was hashed; empty if there is no signature.
    """

    digest: bytes
    signatures: tuple[SignatureCheck, ...]
    payload: bytes
    text: bytes = b""

    @property
    def keys(self) -> frozenset[KeyId]:
        """Keys of the valid signatures: keys are counted, not signatures."""
        return frozenset(
            [each.key for each in self.signatures if each.key is not None and each.wrong is None]
        )


def verify_payload(
    payload: bytes, context: str, is_known: Callable[[KeyId], bool], *, free_data: bool = False
) -> SignatureReport:
    """Verify the signatures of a payload as it was received, else with its times restored.

    `context` follows from the message that carries the payload; a payload with another one was made for
    another message. `free_data`: its member `data` is free JSON (DataTransfer). Raises SignedTextError.
    """
    tokens = signed_text.tokenize_payload(payload)
    found = tokens.member(signature_format.CONTEXT)
    if found is not None and _string(found) != context:
        raise SignedTextError(
            f"the payload's {signature_format.CONTEXT} is not {context}: it was made for another message"
        )
    signatures = _read_signatures(tokens)
    if not signatures:
        return SignatureReport(b"", (), payload)
    text = signed_text.build_signed_text(tokens, context)
    first = SignatureReport(_sha256(text), _check_all(signatures, text, is_known), payload, text)
    if not any(each.mismatch for each in first.signatures):
        return first
    restored = signed_text.restore_times(tokens, free_data=free_data)
    if restored is None:
        return first
    text = signed_text.build_signed_text(restored, context)
    second = SignatureReport(_sha256(text), _check_all(signatures, text, is_known), text, text)
    return second if len(second.keys) > len(first.keys) else first


def add_signature(
    payload: bytes,
    key: ec.EllipticCurvePrivateKey,
    context: str,
    name: str | None = None,
    timestamp: str | None = None,
) -> bytes:
    """Add a signature of `key` beside those that a payload has; every other byte stays.

    `name` and `timestamp` are not covered by any signature. Raises SignedTextError, CurveKeyError.
    """
    tokens = signed_text.tokenize_payload(payload)
    public = key.public_key()
    curve = curves.curve_of(public)
    value = curves.sign_text(key, signed_text.build_signed_text(tokens, context), curve)
    signature = WireSignature(
        key_id=signature_format.encode_base64(curves.encode_point(public)),
        value=signature_format.encode_base64(value),
        algorithm=curve.name,
        name=name,
        timestamp=timestamp,
    )
    return signed_text.insert_signature(payload, tokens, msgspec.json.encode(signature))


def key_id(key: ec.EllipticCurvePublicKey) -> KeyId:
    """Return the identity of a key. Raises CurveKeyError if it is on a curve that is not used here."""
    return KeyId(curves.curve_of(key).name, curves.encode_point(key))


def check_signature(curve: EllipticCurve, key: KeyId, value: bytes, text: bytes) -> SignatureCheck:
    """Verify one signature of a text with a known key."""
    try:
        public = curves.decode_point(curve, key.point)
    except CurveKeyError as error:
        return SignatureCheck(key, f"its key {error}")
    if not curves.is_valid_signature(curve, public, value, text):
        rewritten = _DECIMAL.search(text) is not None
        return SignatureCheck(key, _MISMATCH_DECIMALS if rewritten else _MISMATCH, mismatch=True)
    return SignatureCheck(key)


def _sha256(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()


def _string(raw: bytes) -> str | None:
    return msgspec.json.decode(raw, type=str) if raw[:1] == b'"' else None


def _read_signatures(payload: PayloadTokens) -> list[WireSignature]:
    raw = payload.member(signature_format.SIGNATURES)
    if raw is None:
        return []
    try:
        signatures = _signatures.decode(raw)
    except msgspec.DecodeError:
        raise SignedTextError("the payload's signatures are not a list of signatures") from None
    if len(signatures) > signature_format.MAX_SIGNATURES:
        raise SignedTextError(f"the payload has more than {signature_format.MAX_SIGNATURES} signatures")
    return signatures


def _check_all(
    signatures: Iterable[WireSignature], text: bytes, is_known: Callable[[KeyId], bool]
) -> tuple[SignatureCheck, ...]:
    return tuple([_check(each, text, is_known) for each in signatures])


def _check(signature: WireSignature, text: bytes, is_known: Callable[[KeyId], bool]) -> SignatureCheck:
    curve = CURVES.get(signature.algorithm.lower())
    if curve is None:
        return SignatureCheck(
            None, f"algorithm {signature.algorithm[:20]!r} is not accepted; {', '.join(CURVES)} are"
        )
    for encoding in (signature.encoding, signature.encoding_mode):
        if encoding.lower() != signature_format.ENCODING:
            return SignatureCheck(
                None, f"encoding {encoding[:20]!r} is not accepted; {signature_format.ENCODING} is"
            )
    if signature.signing_method.lower() != signature_format.METHOD:
        return SignatureCheck(
            None,
            f"signing method {signature.signing_method[:20]!r} is not accepted; {signature_format.METHOD} is",
        )
    point = signature_format.decode_base64(signature.key_id)
    value = signature_format.decode_base64(signature.value)
    if point is None or value is None:
        return SignatureCheck(None, "keyId or value is not base64 with padding")
    key = KeyId(curve.name, point)
    if not is_known(key):
        return SignatureCheck(key, "its key is unknown")
    return check_signature(curve, key, value, text)
