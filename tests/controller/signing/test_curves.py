"""Keys and signatures as numbers: invalid ones are rejected in any form."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, utils

from controller.signing import curves
from controller.signing.curves import CURVES, CurveKeyError
from tests.controller.signing.authors import GROUPS, Author

P256_PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@pytest.mark.parametrize(
    ("curve", "x", "y", "r", "s"),
    [
        (
            "secp256r1",
            "60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6",
            "7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299",
            "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716",
            "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8",
        ),
        (
            "secp384r1",
            "EC3A4E415B4E19A4568618029F427FA5DA9A8BC4AE92E02E06AAE5286B300C64"
            "DEF8F0EA9055866064A254515480BC13",
            "8015D9B72D7D57244EA8EF9AC0C621896708A59367F9DFB9F54CA84B3F1C9DB1"
            "288B231C3AE0D4FE7344FD2533264720",
            "ED0959D5880AB2D869AE7F6C2915C6D60F96507F9CB3E047C0046861DA4A799C"
            "FE30F35CC900056D7C99CD7882433709",
            "512C8CCEEE3890A84058CE1E22DBC2198F42323CE8ACA9135329F03C068E5112"
            "DC7CC3EF3446DEFCEB01A45C2667FDD5",
        ),
    ],
)
def test_is_valid_signature_accepts_vectors_of_rfc_6979(curve: str, x: str, y: str, r: str, s: str) -> None:
    key = curves.decode_point(CURVES[curve], bytes.fromhex("04" + x + y))
    signature = utils.encode_dss_signature(int(r, 16), int(s, 16))
    assert curves.is_valid_signature(CURVES[curve], key, signature, b"sample")
    assert not curves.is_valid_signature(CURVES[curve], key, signature, b"simple")


@pytest.mark.parametrize("curve", CURVES)
def test_sign_text_on_each_curve_is_valid(curve: str) -> None:
    author = Author(curve)
    public = author.key.public_key()
    assert curves.encode_point(public) == author.point
    assert curves.decode_point(curves.curve_of(public), author.point) == public
    assert curves.is_valid_signature(CURVES[curve], public, curves.sign_text(author.key, b"text"), b"text")
    assert curves.is_valid_signature(CURVES[curve], public, author.der(b"text"), b"text")


def _off_the_curve(point: bytes) -> bytes:
    return point[:-1] + bytes([point[-1] ^ 1])


def _compressed(point: bytes) -> bytes:
    return bytes([2 + point[-1] % 2]) + point[1:33]


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x00", id="the point at infinity"),
        pytest.param(b"\x04" + bytes(64), id="zero"),
        pytest.param(b"\x04" + P256_PRIME.to_bytes(32, "big") + bytes(32), id="outside the field"),
        pytest.param(b"\x04" + b"\xff" * 64, id="far outside the field"),
        pytest.param(Author("secp256k1").point, id="on another curve as long"),
        pytest.param(Author("secp384r1").point, id="on a longer curve"),
        pytest.param(_off_the_curve(Author().point), id="beside the curve"),
        pytest.param(_compressed(Author().point), id="compressed"),
        pytest.param(b"\x06" + Author().point[1:], id="hybrid"),
        pytest.param(Author().point + b"\x00", id="with more behind"),
    ],
)
def test_decode_point_rejects_bytes_that_are_no_key(bad: bytes) -> None:
    with pytest.raises(CurveKeyError, match="point"):
        curves.decode_point(CURVES["secp256r1"], bad)


def test_curves_curve_of_rejects_weak_curve() -> None:
    with pytest.raises(CurveKeyError, match="secp192r1 is not used"):
        curves.sign_text(ec.generate_private_key(ec.SECP192R1()), b"text")


def _integer(number: int, *, leading: int = 0) -> bytes:
    body = bytes(leading) + number.to_bytes(number.bit_length() // 8 + 1, "big")
    return b"\x02" + bytes([len(body)]) + body


def _sequence(body: bytes, *, long_length: bool = False) -> bytes:
    return b"\x30" + (b"\x81" if long_length else b"") + bytes([len(body)]) + body


def test_is_valid_signature_rejects_der_in_another_form() -> None:
    author = Author()
    r, s = utils.decode_dss_signature(author.der(b"text"))
    public = author.key.public_key()

    def is_valid(signature: bytes) -> bool:
        return curves.is_valid_signature(CURVES["secp256r1"], public, signature, b"text")

    strict = _sequence(_integer(r) + _integer(s))
    assert is_valid(strict)
    assert not is_valid(_sequence(_integer(r, leading=1) + _integer(s)))
    assert not is_valid(_sequence(_integer(r) + _integer(s), long_length=True))
    assert not is_valid(b"\x30\x80" + _integer(r) + _integer(s) + b"\x00\x00")
    assert not is_valid(strict + b"\x00")
    assert not is_valid(_sequence(b"\x02\x01\xff" + _integer(s)))
    assert not is_valid(_sequence(_integer(r) + _integer(s) + _integer(1)))
    assert not is_valid(strict[:-1])
    assert not is_valid(b"")
    assert not is_valid(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


@pytest.mark.parametrize(
    ("r", "s"),
    [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
        (P256_ORDER, 1),
        (1, P256_ORDER),
        (2**256, 2**256),
    ],
)
def test_is_valid_signature_rejects_invalid_numbers(r: int, s: int) -> None:
    signature = utils.encode_dss_signature(r, s)
    assert not curves.is_valid_signature(CURVES["secp256r1"], Author().key.public_key(), signature, b"text")


def test_curves_is_valid_signature_accepts_other_s() -> None:
    """ECDSA allows both; therefore messages are not distinguished by the bytes of their signature."""
    author = Author()
    r, s = utils.decode_dss_signature(author.der(b"text"))
    other = utils.encode_dss_signature(r, P256_ORDER - s)
    assert curves.is_valid_signature(CURVES["secp256r1"], author.key.public_key(), other, b"text")


def test_helpers_have_every_curve() -> None:
    assert GROUPS.keys() == CURVES.keys()
