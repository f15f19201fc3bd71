"""Signatures in binary payloads of WWCP: files, secure and binary data transfer.

The signed bytes are the payload as it is written without signatures, their count zero; there is no context.
An algorithm is not named: the length of a key gives its curve. A WWCP node signs with secp384r1 and
secp521r1 as well, but verifies secp256r1 only. Lengths are big-endian but those marked `<`.

    SendFile request             name 8, content 8, type 1, SHA-256 1, SHA-512 1, file signatures, signatures
    GetFile response             name 8, status 2, then as SendFile from content on
    SecureDataTransfer request   parameter, key id, nonce, counter (20 bytes), ciphertext 8, signatures
    SecureDataTransfer response  status (2 bytes), info 4 (characters), then as the request
    BinaryDataTransfer response  format (2 bytes), status 2, info 2, data 8, signatures <2

A list of signatures has a count of one byte and each signature a length of 2, in the last case both `<2`. A
signature is key id <2 and value <2. The request of BinaryDataTransfer has a count only: its signatures are
not written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from controller.signing import SigningError
from controller.signing.curves import CURVES, EllipticCurve
from controller.signing.payload_signatures import KeyId, SignatureCheck, SignatureReport, check_signature
from controller.signing.signature_format import MAX_SIGNATURES, MessageKind

_ByteOrder = Literal["big", "little"]
_TEXT_IDS = b"\x00\x65"
"""Format of BinaryDataTransfer with text ids, the only one that WWCP nodes read back."""
_CURVES: Mapping[int, EllipticCurve] = {
    CURVES[name].point_bytes: CURVES[name] for name in ("secp256r1", "secp384r1", "secp521r1")
}
"""By the length of a key in bytes. secp256k1, as long as secp256r1, is left out: WWCP does not read it."""


class BinaryPayloadError(SigningError):
    """A binary payload cannot be read."""


class _Layout(msgspec.Struct, frozen=True):
    """Fields before the signatures: their fixed lengths, or the size of their length; see `_skip`."""

    fields: tuple[int | str, ...]
    count_bytes: int = 1
    order: _ByteOrder = "big"


_FILE = (8, 1, 1, 1, "signatures")
_SECURE = ("20 bytes", 8)
_LAYOUTS: Mapping[tuple[str, MessageKind], _Layout] = {
    ("SendFile", MessageKind.REQUEST): _Layout((8, *_FILE)),
    ("GetFile", MessageKind.RESPONSE): _Layout((8, 2, *_FILE)),
    ("SecureDataTransfer", MessageKind.REQUEST): _Layout(_SECURE),
    ("SecureDataTransfer", MessageKind.RESPONSE): _Layout(("2 bytes", "ascii", *_SECURE)),
    ("BinaryDataTransfer", MessageKind.RESPONSE): _Layout(("text ids", 2, 2, 8), 2, "little"),
}


def verify_binary_payload(
    payload: bytes, action: str, kind: MessageKind, is_known: Callable[[KeyId], bool]
) -> SignatureReport:
    """Verify the signatures of a binary payload. Raises BinaryPayloadError if it cannot be read."""
    layout = _LAYOUTS.get((action, kind))
    if layout is None:
        raise BinaryPayloadError(f"a binary {action} {kind} has no signatures that can be verified")
    reader = _Reader(payload)
    for field in layout.fields:
        _skip(reader, field)
    text = payload[: reader.at] + bytes(layout.count_bytes)
    signatures = reader.signatures(layout.count_bytes, layout.order)
    if reader.at != len(payload):
        raise BinaryPayloadError("the payload has bytes after its signatures")
    if not signatures:
        return SignatureReport(b"", (), payload)
    checks = tuple(_check(each, text, is_known) for each in signatures)
    return SignatureReport(hashlib.sha256(text).digest(), checks, payload, text)


def _skip(reader: _Reader, field: int | str) -> None:
    match field:
        case int():
            reader.read(reader.number(field, "big"))
        case "signatures":
            reader.signatures(1, "big")
        case "text ids":
            if reader.read(2) != _TEXT_IDS:
                raise BinaryPayloadError("the format of the payload is not the one with text ids")
        case "ascii":
            # The length counts characters: with others than ASCII the end of the text is not known.
            if not reader.read(reader.number(4, "big")).isascii():
                raise BinaryPayloadError("the information is not ASCII")
        case _:
            reader.read(int(field.partition(" ")[0]))


class _Reader:
    """Position in a payload."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def read(self, count: int) -> bytes:
        """Return the next bytes. Raises BinaryPayloadError if the payload is shorter."""
        if self.at + count > len(self._data):
            raise BinaryPayloadError("the payload ends too early")
        begin, self.at = self.at, self.at + count
        return self._data[begin : self.at]

    def number(self, size: int, order: _ByteOrder) -> int:
        """Return the next number."""
        return int.from_bytes(self.read(size), order)

    def signatures(self, count_bytes: int, order: _ByteOrder) -> list[bytes]:
        """Return the next list of signatures."""
        count = self.number(count_bytes, order)
        if count > MAX_SIGNATURES:
            raise BinaryPayloadError(f"the payload has more than {MAX_SIGNATURES} signatures")
        return [self.read(self.number(2, order)) for _ in range(count)]


def _check(signature: bytes, text: bytes, is_known: Callable[[KeyId], bool]) -> SignatureCheck:
    reader = _Reader(signature)
    try:
        point = reader.read(reader.number(2, "little"))
        value = reader.read(reader.number(2, "little"))
    except BinaryPayloadError:
        return SignatureCheck(None, "its bytes end too early")
    curve = _CURVES.get(len(point))
    if curve is None:
        return SignatureCheck(
            None, "its key is not an uncompressed point of secp256r1, secp384r1 or secp521r1"
        )
    key = KeyId(curve.name, point)
    if reader.at != len(signature):
        return SignatureCheck(key, "it has bytes after its value")
    if not is_known(key):
        return SignatureCheck(key, "its key is unknown")
    return check_signature(curve, key, value, text)
