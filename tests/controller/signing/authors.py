"""Authors of signed messages without code of the controller, and many notations of a JSON document."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import strategies as st

HASHES: dict[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA512(),
    "secp521r1": hashes.SHA512(),
    "secp256k1": hashes.SHA256(),
}
GROUPS: dict[str, ec.EllipticCurve] = {
    "secp256r1": ec.SECP256R1(),
    "secp384r1": ec.SECP384R1(),
    "secp521r1": ec.SECP521R1(),
    "secp256k1": ec.SECP256K1(),
}
CONTEXT = "https://open.charging.cloud/context/ocpp/v2.1/csms/setChargingProfileRequest"


class Author:
    """Somebody with a key. `signature_of` is one element of `signatures`, as a dict."""

    def __init__(self, curve: str = "secp256r1") -> None:
        self.curve = curve
        self.key = ec.generate_private_key(GROUPS[curve])
        numbers = self.key.public_key().public_numbers()
        length = (self.key.key_size + 7) // 8
        self.point = b"\x04" + numbers.x.to_bytes(length, "big") + numbers.y.to_bytes(length, "big")

    def der(self, text: bytes) -> bytes:
        return self.key.sign(text, ec.ECDSA(HASHES[self.curve]))

    def signature_of(self, text: bytes) -> dict[str, str]:
        return self.written(self.der(text))

    def written(self, der: bytes) -> dict[str, str]:
        element = {"keyId": base64.b64encode(self.point).decode(), "value": base64.b64encode(der).decode()}
        return element if self.curve == "secp256r1" else {**element, "algorithm": self.curve}

    def signed(self, payload: dict[str, object], context: str = CONTEXT) -> bytes:
        """A payload as they send it: compact, `signatures` at the end."""
        text = expected_text([compact_member(name, value) for name, value in payload.items()], context)
        return compact({**payload, "signatures": [self.signature_of(text)]})


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def compact_member(name: str, value: object) -> bytes:
    return compact({name: value})[1:-1]


def expected_text(members: Sequence[bytes], context: str) -> bytes:
    """What an author signs, of members that carry no context of their own."""
    return b"{" + b",".join([b'"@context":"' + context.encode() + b'"', *members]) + b"}"


_DIGITS = st.text("0123456789", min_size=1, max_size=12)
_numbers = st.builds(
    lambda sign, whole, fraction, exponent: (sign + whole + fraction + exponent).encode(),
    st.sampled_from(["", "-"]),
    st.one_of(st.just("0"), st.builds(lambda a, b: a + b, st.sampled_from("123456789"), _DIGITS)),
    st.one_of(st.just(""), _DIGITS.map(lambda digits: "." + digits)),
    st.one_of(
        st.just(""),
        st.builds(
            lambda e, sign, n: f"{e}{sign}{n}",
            st.sampled_from("eE"),
            st.sampled_from(["", "+", "-"]),
            st.integers(0, 99),
        ),
    ),
)
_characters = st.one_of(
    st.characters(codec="utf-8", exclude_characters='"\\', exclude_categories=("Cc", "Cs")).map(str.encode),
    st.sampled_from(
        [
            rb"\"",
            rb"\\",
            rb"\/",
            rb"\b",
            rb"\f",
            rb"\n",
            rb"\r",
            rb"\t",
            rb"\u0041",
            rb"\u00e9",
            rb"\u00E9",
            rb"\u0000",
            rb"\ud83d\ude00",
            rb"\uD83D\uDE00",
            "é😀\u2028".encode(),
            b" ",
            b"  ",
            b",",
            b"}",
            b"]",
            b":",
            b"signatures",
        ]
    ),
)
texts = st.lists(_characters, max_size=6).map(lambda parts: b'"' + b"".join(parts) + b'"')
"""Strings of JSON, as they may be written."""

blanks = st.text(" \t\r\n", max_size=3).map(str.encode)


def _unique(members: list[tuple[bytes, tuple[bytes, bytes]]]) -> list[tuple[bytes, tuple[bytes, bytes]]]:
    seen = {json.loads(name): (name, value) for name, value in reversed(members)}
    return [member for name, member in seen.items() if name not in ("signatures", "@context")]


def _list(elements: list[tuple[bytes, bytes]], blank: bytes) -> tuple[bytes, bytes]:
    return (
        b"[" + b",".join(tight for tight, _ in elements) + b"]",
        b"[" + blank + (blank + b"," + blank).join(loose for _, loose in elements) + blank + b"]",
    )


def _object(members: list[tuple[bytes, tuple[bytes, bytes]]], blank: bytes) -> tuple[bytes, bytes]:
    members = _unique(members)
    return (
        b"{" + b",".join(name + b":" + tight for name, (tight, _) in members) + b"}",
        b"{"
        + blank
        + (blank + b"," + blank).join(name + blank + b":" + blank + loose for name, (_, loose) in members)
        + blank
        + b"}",
    )


_scalars = st.one_of(texts, _numbers, st.sampled_from([b"true", b"false", b"null"])).map(
    lambda scalar: (scalar, scalar)
)
values = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        st.builds(_list, st.lists(inner, max_size=3), blanks),
        st.builds(_object, st.lists(st.tuples(texts, inner), max_size=3), blanks),
    ),
    max_leaves=8,
)
"""A value twice: as its author serialized it, and as it may have been received."""

members = st.lists(st.tuples(texts, values), max_size=5).map(_unique)
"""The members of a payload: name, and value twice."""
