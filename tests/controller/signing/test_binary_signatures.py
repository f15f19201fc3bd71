"""Signatures in binary payloads: those of WWCP nodes, and altered ones."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.signing.binary_signatures import BinaryPayloadError, verify_binary_payload
from controller.signing.signature_format import MessageKind

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "wwcp" / "binary_payloads.json").read_text()
)
VALID = {
    "sendfile-req/signed", "getfile-res/signed", "securedt-req/signed", "securedt-res/signed",
    "bdt-res/BinaryTextIds/signed",
}  # fmt: skip
UNSIGNED = {
    "sendfile-req/unsigned", "sendfile-req/minimal", "sendfile-req/filesignature", "getfile-res/unsigned",
    "getfile-res/notfound", "securedt-req/unsigned", "securedt-res/ascii", "bdt-res/BinaryTextIds/unsigned",
}  # fmt: skip
OTHER_KEY = {"sendfile-req/signed384"}
"""Signed with a key that is not on secp256r1: the algorithm is not named, so it cannot be verified."""


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
    elif name in OTHER_KEY:
        assert "uncompressed point of secp256r1" in _verify(vector).signatures[0].wrong
    else:
        with pytest.raises(BinaryPayloadError):
            _verify(vector)


def test_binary_signatures_signature_of_unknown_key_proves_nothing() -> None:
    vector = _by_id("sendfile-req/signed")
    payload = bytes.fromhex(vector["payload"])
    report = verify_binary_payload(payload, "SendFile", MessageKind.REQUEST, lambda key: False)
    assert [each.wrong for each in report.signatures] == ["its key is unknown"]


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
