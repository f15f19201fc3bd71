"""Certificate requests: those of the OCPI implementation, the controller's own, and hostile ones."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from controller.pki import PkiError, asn1
from controller.pki.asn1 import Attribute
from controller.pki.certificate_requests import (
    MAX_REQUEST_BYTES,
    RequestContent,
    RequestError,
    build_request,
    read_request,
)
from controller.pki.object_ids import OWN_ARC, PLACEHOLDER_ARC, PLACEHOLDERS, ObjectIds
from tests.controller.pki.examples import IDS, common_name, new_key, request_pem

OCPI: list[dict[str, Any]] = msgspec.json.decode((Path(__file__).parent / "ocpi_requests.json").read_bytes())
EXPECTED = {
    "server-full": RequestContent(
        key_group="station-keys-1", not_before=1796119200, not_after=1798279200, party_ids=("DE*GDF",),
        sub_cpo_ids=("DE*GD1", "DE*GD2"), sub_emsp_ids=("DE-GDE",), key_serial="42",
    ),
    "client-full": RequestContent(
        key_group="station-keys-1", not_before=1796119200, not_after=1798279200,
        party_ids=("AT*GDF", "DE*GDF"), sub_cpo_ids=("DE*GD1", "DE*GD2", "DE*GD3"),
        sub_emsp_ids=("DE-GDE", "DE-GDF"), key_serial="43",
    ),
    "client-rsa": RequestContent(key_group="k", not_after=1796597528, party_ids=("DE*GDF",)),
    "client-none": RequestContent(),
}  # fmt: skip


@pytest.mark.parametrize("vector", OCPI, ids=lambda vector: vector["id"])
def test_certificate_requests_ocpi_request_is_read_with_all_attributes(vector: dict[str, Any]) -> None:
    request = read_request(vector["csr"].encode(), IDS)
    assert request.content == EXPECTED[vector["id"]]
    assert request.common_name == vector["read"]["subject"]["2.5.4.3"]
    public = request.public_key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert public.decode() == vector["publicKey"]
    assert request.dns_names == ()
    assert "subject alternative name is wrapped twice, its names are not used" in request.ignored


@pytest.mark.parametrize("vector", OCPI, ids=lambda vector: vector["id"])
def test_ocpi_request_is_encoded_again_byte_for_byte(vector: dict[str, Any]) -> None:
    csr = x509.load_pem_x509_csr(vector["csr"].encode())
    attributes = asn1.request_attributes(csr.tbs_certrequest_bytes)
    key = csr.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert asn1.request_info(csr.subject.public_bytes(), key, attributes) == csr.tbs_certrequest_bytes


_IDS = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ*-0123456789äß", min_size=1, max_size=40)
_SETS = st.frozensets(_IDS, max_size=8).map(lambda each: tuple(sorted(each)))
_TIMES = st.none() | st.integers(0, 4_000_000_000).map(float)
CONTENT = st.builds(
    RequestContent, key_group=st.none() | _IDS, not_before=_TIMES, not_after=_TIMES, party_ids=_SETS,
    sub_cpo_ids=_SETS, sub_emsp_ids=_SETS, key_serial=st.none() | _IDS,
)  # fmt: skip
KEY = new_key()


@given(CONTENT, st.sampled_from([OWN_ARC, PLACEHOLDER_ARC, "1.3.6.1.4.1.99999.4"]))
def test_request_content_written_is_read_back(content: RequestContent, arc: str) -> None:
    ids = ObjectIds(arc)
    assert read_request(build_request(KEY, common_name("CS01"), content, ids), ids).content == content


@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_own_request_is_verified_by_openssl(kind: str) -> None:
    key = KEY if kind == "ec" else rsa.generate_private_key(65537, 2048)
    content = RequestContent(key_group="g", party_ids=("DE*A", "DE*B"), not_after=1_800_000_000)
    request = build_request(key, common_name("Säule 1"), content, IDS)
    done = subprocess.run(
        ["openssl", "req", "-verify", "-noout", "-text"], input=request, capture_output=True, check=True
    )
    assert b"verify OK" in done.stdout + done.stderr
    assert b"DE*A" in done.stdout
    assert OWN_ARC.encode() in done.stdout


def test_certificate_requests_request_of_openssl_is_read_with_names(tmp_path: Path) -> None:
    command = (
        "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k.pem -subj /CN=gateway "
        "-addext subjectAltName=DNS:gateway.example,IP:192.0.2.7 -addext extendedKeyUsage=serverAuth"
    )
    done = subprocess.run(command.split(), cwd=tmp_path, capture_output=True, check=True)
    request = read_request(done.stdout, IDS)
    assert request.dns_names == ("gateway.example",)
    assert request.extended_key_usage == ("1.3.6.1.5.5.7.3.1",)
    assert request.ignored == ("subject alternative name of kind ip_address is not used",)


def _raw_request(*attributes: Attribute) -> bytes:
    """Sign a request with any attributes."""
    public = KEY.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    info = asn1.request_info(common_name("CS01").public_bytes(), public, attributes)
    return asn1.signed_request(
        info, "1.2.840.10045.4.3.2", KEY.sign(info, ec.ECDSA(hashes.SHA256())), null=False
    )


def test_request_with_ids_in_sequence_is_read_as_with_set() -> None:
    sequence = _raw_request(Attribute(IDS.party_ids, (asn1.text_list(("DE*B", "DE*A")),)))
    assert read_request(sequence, IDS).content.party_ids == ("DE*A", "DE*B")


def test_request_with_generalized_time_is_read() -> None:
    end = datetime(2061, 5, 4, 3, 2, 1, tzinfo=UTC).timestamp()
    request = _raw_request(Attribute(PLACEHOLDERS.not_after, (asn1.time_value(end),)))
    assert read_request(request, IDS).content.not_after == end


def test_unknown_attribute_is_ignored_and_named() -> None:
    request = read_request(_raw_request(Attribute("1.2.3.4.5.6.7.9.9", (b"\x05\x00",))), IDS)
    assert request.ignored == ("attribute 1.2.3.4.5.6.7.9.9 is unknown",)


HOSTILE = {
    "two values for one key group": Attribute(IDS.key_group, (b"\x0c\x01a", b"\x0c\x01b")),
    "number as party id": Attribute(IDS.party_ids, (b"\x02\x01\x05",)),
    "empty string": Attribute(IDS.party_ids, (b"\x0c\x00",)),
    "control character": Attribute(IDS.party_ids, (b"\x0c\x03a\nb",)),
    "invalid UTF-8": Attribute(IDS.party_ids, (b"\x0c\x02\xc3\x28",)),
    "too many values": Attribute(IDS.party_ids, tuple(asn1.text_value(f"P{n}") for n in range(65))),
    "text as time": Attribute(IDS.not_after, (b"\x0c\x01a",)),
    "time without zone": Attribute(IDS.not_after, (b"\x18\x0e20610504030201",)),
    "time on 31 February": Attribute(IDS.not_after, (b"\x17\x0d260231000000Z",)),
}


@pytest.mark.parametrize("attribute", HOSTILE.values(), ids=HOSTILE)
def test_request_with_malformed_attribute_is_rejected(attribute: Attribute) -> None:
    with pytest.raises(RequestError, match="cannot be read"):
        read_request(_raw_request(attribute), IDS)


def test_attribute_under_both_arcs_with_two_values_is_rejected() -> None:
    attributes = [Attribute(ids.key_group, (asn1.text_value(ids.arc),)) for ids in (IDS, PLACEHOLDERS)]
    with pytest.raises(RequestError, match="key_group is there twice"):
        read_request(_raw_request(*attributes), IDS)


def test_certificate_requests_request_for_ca_is_recognized() -> None:
    builder = x509.CertificateSigningRequestBuilder().subject_name(common_name("CS01"))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    request = builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    assert read_request(request, IDS).requests_ca


def test_request_signed_with_another_key_is_rejected() -> None:
    der = bytearray(x509.load_pem_x509_csr(request_pem()).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    with pytest.raises(RequestError, match="proof of possession"):
        read_request(bytes(der), IDS)


KEYS: dict[str, Any] = {
    "RSA 1024": lambda: rsa.generate_private_key(65537, 1024),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
}


@pytest.mark.parametrize("make", KEYS.values(), ids=KEYS)
def test_request_with_weak_or_unknown_key_is_rejected(make: Any) -> None:
    key = make()
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    builder = x509.CertificateSigningRequestBuilder().subject_name(common_name("CS01"))
    with pytest.raises(RequestError, match="not accepted"):
        read_request(builder.sign(key, algorithm).public_bytes(serialization.Encoding.DER), IDS)


@pytest.mark.parametrize("names", [(), ("CS01", "CS02")])
def test_request_without_exactly_one_common_name_is_rejected(names: tuple[str, ...]) -> None:
    subject = x509.Name([each for name in names for each in common_name(name)])
    with pytest.raises(RequestError, match="common names"):
        read_request(build_request(KEY, subject, RequestContent(), IDS), IDS)


@given(st.binary(max_size=300))
def test_certificate_requests_random_bytes_are_rejected_with_request_error(data: bytes) -> None:
    with pytest.raises(RequestError):
        read_request(data, IDS)


WHOLE = x509.load_pem_x509_csr(OCPI[1]["csr"].encode()).public_bytes(serialization.Encoding.DER)


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_altered_request_is_rejected_and_never_raises_else(place: int, value: int) -> None:
    data = WHOLE[:place] + bytes([value]) + WHOLE[place + 1 :]
    if data == WHOLE:
        return
    with pytest.raises(RequestError):
        read_request(data, IDS)


def test_oversized_request_is_rejected_unread() -> None:
    with pytest.raises(RequestError, match="at most"):
        read_request(b"0" * (MAX_REQUEST_BYTES + 1), IDS)


@pytest.mark.parametrize("arc", ["", "3.1", "1.2.", "1.02.3", "2.25.264836228984741403557120940115184213845"])
def test_oid_arc_invalid_or_too_large_is_rejected(arc: str) -> None:
    with pytest.raises(PkiError, match="OID arc"):
        ObjectIds(arc)


def test_request_with_unknown_signature_algorithm_is_rejected() -> None:
    """Replace ecdsa-with-SHA256 by an unassigned object identifier."""
    der = x509.load_pem_x509_csr(request_pem()).public_bytes(serialization.Encoding.DER)
    known, unknown = bytes.fromhex("2a8648ce3d040302"), bytes.fromhex("2a8648ce3d04037f")
    assert der.count(known) == 1
    with pytest.raises(RequestError):
        read_request(der.replace(known, unknown), IDS)
