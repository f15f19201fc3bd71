"""Signatures in binary payloads: those of WWCP nodes, and altered ones."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from controller.signing import curves
from controller.signing.binary_signatures import BinaryPayloadError, verify_binary_payload
from controller.signing.curves import CURVES
from controller.signing.payload_signatures import KeyId
from controller.signing.signature_format import MessageKind

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "wwcp" / "binary_payloads.json").read_text()
)
VALID = {
    "sendfile-req/signed", "sendfile-req/signed384", "getfile-res/signed", "securedt-req/signed",
    "securedt-res/signed", "bdt-res/BinaryTextIds/signed",
}  # fmt: skip
UNSIGNED = {
    "sendfile-req/unsigned", "sendfile-req/minimal", "sendfile-req/filesignature", "getfile-res/unsigned",
    "getfile-res/notfound", "securedt-req/unsigned", "securedt-res/ascii", "bdt-res/BinaryTextIds/unsigned",
}  # fmt: skip


def _by_id(name: str) -> dict[str, Any]:
    return next(vector for vector in VECTORS if vector["id"] == name)


def _verify(vector: dict[str, Any], payload: bytes | None = None) -> Any:
    data = bytes.fromhex(vector["payload"]) if payload is None else payload
    return verify_binary_payload(data, vector["action"], MessageKind(vector["kind"]), lambda key: True)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_binary_payload_of_wwcp_node_is_verified(vector: dict[str, Any]) -> None:
    name = vector["id"]
    if name in VALID:
        report = _verify(vector)
        assert [each.wrong for each in report.signatures] == [None]
        assert [key.point.hex() for key in report.keys] == [vector["keyId"]]
        assert report.text.hex() == vector["signedBytes"]
    elif name in UNSIGNED:
        assert _verify(vector).signatures == ()
    else:
        with pytest.raises(BinaryPayloadError):
            _verify(vector)


def test_binary_signatures_signature_of_unknown_key_proves_nothing() -> None:
    vector = _by_id("sendfile-req/signed")
    payload = bytes.fromhex(vector["payload"])
    report = verify_binary_payload(payload, "SendFile", MessageKind.REQUEST, lambda key: False)
    assert [each.wrong for each in report.signatures] == ["its key is unknown"]


@pytest.mark.parametrize("curve", ["secp256r1", "secp384r1", "secp521r1", "secp256k1"])
def test_binary_signature_is_verified_on_curve_of_its_length(curve: str) -> None:
    key = ec.generate_private_key(CURVES[curve].group)
    point = curves.encode_point(key.public_key())
    text = bytes.fromhex(_by_id("sendfile-req/signed")["signedBytes"])
    value = curves.sign_text(key, text)
    sized = (len(each).to_bytes(2, "little") + each for each in (point, value))
    signature = b"".join(sized)
    payload = text[:-1] + b"\x01" + len(signature).to_bytes(2, "big") + signature
    report = verify_binary_payload(payload, "SendFile", MessageKind.REQUEST, lambda key: True)
    # A point of secp256k1 has the length of one of secp256r1, and is none of it.
    assert (report.keys == {KeyId(curve, point)}) is (curve != "secp256k1")


@pytest.mark.parametrize("length", [0, 33, 64, 66, 96, 200])
def test_binary_signature_key_of_other_length_is_invalid(length: int) -> None:
    text = bytes.fromhex(_by_id("sendfile-req/signed")["signedBytes"])
    signature = length.to_bytes(2, "little") + bytes(length) + b"\0\0"
    payload = text[:-1] + b"\x01" + len(signature).to_bytes(2, "big") + signature
    report = verify_binary_payload(payload, "SendFile", MessageKind.REQUEST, lambda key: True)
    assert "is not an uncompressed point" in (report.signatures[0].wrong or "")


SIGNED = bytes.fromhex(_by_id("sendfile-req/signed")["payload"])


@given(st.integers(0, len(SIGNED) - 1), st.integers(1, 255))
def test_altered_binary_payload_is_never_valid(place: int, change: int) -> None:
    altered = SIGNED[:place] + bytes([SIGNED[place] ^ change]) + SIGNED[place + 1 :]
    try:
        report = _verify(_by_id("sendfile-req/signed"), altered)
    except BinaryPayloadError:
        return
    assert not report.keys


@given(st.binary(max_size=80), st.sampled_from([vector for vector in VECTORS if vector["id"] in VALID]))
def test_random_bytes_are_read_or_rejected(data: bytes, vector: dict[str, Any]) -> None:
    with contextlib.suppress(BinaryPayloadError):
        assert not _verify(vector, data).keys


def test_bytes_after_signatures_are_rejected() -> None:
    with pytest.raises(BinaryPayloadError, match="after its signatures"):
        _verify(_by_id("sendfile-req/signed"), SIGNED + b"\0")
