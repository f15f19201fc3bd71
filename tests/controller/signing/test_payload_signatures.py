"""Payload signatures made without code of the controller, and forged ones."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import utils
from hypothesis import given
from hypothesis import strategies as st

from controller.signing import payload_signatures, signature_format
from controller.signing.payload_signatures import KeyId, SignatureCheck
from controller.signing.signed_text import SignedTextError
from tests.controller.signing.authors import (
    CONTEXT,
    Author,
    blanks,
    compact,
    expected_text,
    members,
)

LIMIT: dict[str, object] = {"evseId": 1, "limit": 16.50, "customData": {"vendorId": "x", "größe": "1/2"}}
ALICE = Author()
BOB = Author("secp384r1")


def key_of(author: Author) -> KeyId:
    return KeyId(author.curve, author.point)


def key_table(*authors: Author) -> Callable[[KeyId], bool]:
    known = {key_of(author) for author in authors}
    return known.__contains__


def only(payload: bytes, *authors: Author) -> SignatureCheck:
    (checked,) = payload_signatures.verify_payload(
        payload, CONTEXT, key_table(*(authors or (ALICE, BOB)))
    ).signatures
    return checked


def forged(change: Callable[[dict[str, object]], object]) -> bytes:
    """A message of Alice's with something changed after she signed."""
    message = json.loads(ALICE.signed(LIMIT))
    change(message)
    return compact(message)


def with_signature(**changes: object) -> bytes:
    message = json.loads(ALICE.signed(LIMIT))
    message["signatures"][0] |= changes
    return compact(message)


@pytest.mark.parametrize("curve", ["secp256r1", "secp384r1", "secp521r1", "secp256k1"])
def test_verify_payload_accepts_author_on_each_curve(curve: str) -> None:
    author = Author(curve)
    payload = author.signed(LIMIT)
    assert only(payload, author) == SignatureCheck(key_of(author))
    assert only(payload.replace(b"16.5", b"26.5"), author).wrong is not None


def test_signature_covers_unknown_members() -> None:
    payload = ALICE.signed({**LIMIT, "nobody": {"knows": "this"}})
    assert only(payload).valid
    assert not only(payload.replace(b"this", b"that")).valid
    assert not only(payload.replace(b',"nobody":{"knows":"this"}', b"")).valid


def test_signature_covers_order_numbers_and_escapes() -> None:
    assert not only(forged(lambda it: it.update(evseId=it.pop("evseId")))).valid
    assert not only(ALICE.signed(LIMIT).replace(b"16.5", b"16.50")).valid
    assert not only(ALICE.signed(LIMIT).replace(b'"1/2"', b'"1\\/2"')).valid
    assert only(ALICE.signed(LIMIT).replace(b":", b" : ").replace(b" : //", b"://")).valid


def test_verify_payload_reports_each_of_several_signatures() -> None:
    text = expected_text([compact({name: value})[1:-1] for name, value in LIMIT.items()], CONTEXT)
    payload = compact(
        {**LIMIT, "signatures": [ALICE.signature_of(text), BOB.signature_of(text), ALICE.signature_of(b"x")]}
    )
    examined = payload_signatures.verify_payload(payload, CONTEXT, key_table(ALICE, BOB))
    assert [each.valid for each in examined.signatures] == [True, True, False]
    assert examined.keys == {key_of(ALICE), key_of(BOB)}


def test_signature_of_another_message_is_invalid() -> None:
    element = json.loads(ALICE.signed(LIMIT))["signatures"]
    assert not only(compact({**LIMIT, "evseId": 2, "signatures": element})).valid


def test_signature_under_another_context_is_invalid() -> None:
    other = signature_format.context(
        signature_format.Version.V21,
        signature_format.Direction.DOWN,
        signature_format.MessageKind.REQUEST,
        "RequestStartTransaction",
    )
    (checked,) = payload_signatures.verify_payload(ALICE.signed(LIMIT), other, key_table(ALICE)).signatures
    assert not checked.valid


def test_context_in_payload_must_be_that_of_message() -> None:
    own = {"@context": CONTEXT, **LIMIT}
    text = compact(own)
    payload = compact({**own, "signatures": [ALICE.signature_of(text)]})
    assert only(payload).valid
    with pytest.raises(SignedTextError, match="made for another message"):
        payload_signatures.verify_payload(payload, CONTEXT.replace("set", "clear"), key_table(ALICE))
    with pytest.raises(SignedTextError, match="made for another message"):
        only(compact({"@context": 7, **LIMIT}))


def test_unknown_key_is_not_verified() -> None:
    mallory = Author()
    checked = only(mallory.signed(LIMIT), ALICE)
    assert checked == SignatureCheck(key_of(mallory), "its key is unknown")


def test_payload_signatures_signature_with_foreign_key_id_is_invalid() -> None:
    mallory = Author()
    value = json.loads(mallory.signed(LIMIT))["signatures"][0]["value"]
    assert "not that key's" in str(only(with_signature(value=value)).wrong)


def test_payload_signatures_malleated_signature_has_same_digest() -> None:
    payload = ALICE.signed(LIMIT)
    r, s = utils.decode_dss_signature(base64.b64decode(json.loads(payload)["signatures"][0]["value"]))
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    other = with_signature(value=signature_format.encode_base64(utils.encode_dss_signature(r, order - s)))
    one, two = (
        payload_signatures.verify_payload(each, CONTEXT, key_table(ALICE)) for each in (payload, other)
    )
    assert one.keys == two.keys == {key_of(ALICE)}
    assert one.digest == two.digest
    assert payload != other


def _not_canonical(text: str) -> str:
    """The same bytes as base64 with bits in the padding."""
    return text[:-2] + chr(ord(text[-2]) + 1) + "="


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"algorithm": "secp384r1"}, "unknown"),
        ({"algorithm": "secp256k1"}, "unknown"),
        ({"algorithm": "secp192r1"}, "algorithm '"),
        ({"algorithm": ""}, "algorithm '"),
        ({"algorithm": "none"}, "algorithm '"),
        ({"keyId": ""}, "unknown"),
        ({"keyId": "*"}, "not base64"),
        ({"keyId": signature_format.encode_base64(ALICE.point) + "\n"}, "not base64"),
        ({"keyId": signature_format.encode_base64(ALICE.point).rstrip("=")}, "not base64"),
        ({"keyId": _not_canonical(signature_format.encode_base64(ALICE.point))}, "not base64"),
        ({"keyId": signature_format.encode_base64(BOB.point)}, "unknown"),
        ({"value": ""}, "not that key's"),
        ({"value": "é"}, "not base64"),
        ({"value": signature_format.encode_base64(bytes(100_000))}, "not that key's"),
        ({"signingMethod": "Binary"}, "not accepted"),
        ({"encoding": "hex"}, "not accepted"),
        ({"encodingMethod": "hex"}, "not accepted"),
    ],
)
def test_altered_signature_members_are_rejected(changes: dict[str, object], why: str) -> None:
    checked = only(with_signature(**changes))
    assert checked.wrong is not None
    assert why in checked.wrong


def test_signature_members_are_read_without_case() -> None:
    assert only(
        with_signature(algorithm="SECP256R1", signingMethod="JSON", encoding="base64", unknown=[1])
    ).valid


def test_known_key_that_is_no_point_is_invalid() -> None:
    nowhere = KeyId("secp256r1", b"\x04" + bytes(64))
    payload = with_signature(keyId=signature_format.encode_base64(nowhere.point))
    (checked,) = payload_signatures.verify_payload(payload, CONTEXT, {nowhere}.__contains__).signatures
    assert "not a point on secp256r1" in str(checked.wrong)


@pytest.mark.parametrize("signed", [7, "x", {}, [7], [{"keyId": 1, "value": "x"}], [{"value": "x"}], None])
def test_malformed_signatures_are_rejected(signed: object) -> None:
    with pytest.raises(SignedTextError, match="not a list of signatures"):
        only(forged(lambda it: it.update(signatures=signed)))


def test_too_many_signatures_are_rejected_unread() -> None:
    with pytest.raises(SignedTextError, match="more than 16"):
        only(forged(lambda it: it.update(signatures=it["signatures"] * 17)))  # type: ignore[operator]


def test_payload_without_signatures_is_reported() -> None:
    assert payload_signatures.verify_payload(compact(LIMIT), CONTEXT, key_table(ALICE)).signatures == ()
    assert (
        payload_signatures.verify_payload(compact({"signatures": []}), CONTEXT, key_table(ALICE)).keys
        == frozenset()
    )


@pytest.mark.parametrize("author", [ALICE, BOB], ids=["P-256", "P-384"])
def test_added_signature_is_valid_beside_others(author: Author) -> None:
    payload = BOB.signed(LIMIT).replace(b":", b": ").replace(b": //", b"://")
    ours = payload_signatures.add_signature(payload, author.key, CONTEXT, "LC01", "2026-11-21T14:00:00.000Z")
    examined = payload_signatures.verify_payload(ours, CONTEXT, key_table(author, BOB))
    assert [each.key for each in examined.signatures] == [key_of(BOB), key_of(author)]
    assert all(each.valid for each in examined.signatures)
    element = json.loads(ours)["signatures"][1]
    assert element["name"] == "LC01"
    assert element["timestamp"] == "2026-11-21T14:00:00.000Z"
    assert element.get("algorithm") == (None if author is ALICE else "secp384r1")
    assert element.keys().isdisjoint({"encoding", "encodingMethod", "signingMethod"})


@given(members, blanks)
def test_random_signed_payloads_are_verified(
    parts: list[tuple[bytes, tuple[bytes, bytes]]], blank: bytes
) -> None:
    payload = b"{" + (b"," + blank).join(name + blank + b":" + loose for name, (_, loose) in parts) + b"}"
    assert only(payload_signatures.add_signature(payload, ALICE.key, CONTEXT)).valid


@given(
    st.binary(max_size=60) | st.text(max_size=30).map(lambda text: compact({"a": text, "signatures": [text]}))
)
def test_random_bytes_are_verified_or_rejected(payload: bytes) -> None:
    with contextlib.suppress(SignedTextError):
        assert payload_signatures.verify_payload(payload, CONTEXT, key_table(ALICE)).keys == frozenset()


@pytest.mark.parametrize(
    ("version", "direction", "kind", "action", "context"),
    [
        ("ocpp2.1", "up", "request", "BootNotification", "v2.1/cs/bootNotificationRequest"),
        ("ocpp2.1", "down", "request", "SetChargingProfile", "v2.1/csms/setChargingProfileRequest"),
        ("ocpp2.1", "up", "response", "SetChargingProfile", "v2.1/cs/setChargingProfileResponse"),
        ("ocpp2.1", "up", "send", "NotifyNetworkTopology", "csms/notifyNetworkTopologyRequest"),
        ("ocpp2.0.1", "down", "response", "Heartbeat", "v2.1/csms/HeartbeatResponse"),
        ("ocpp1.6", "down", "request", "Reset", "v1.6/cs/resetRequest"),
    ],
)
def test_context_is_that_of_wwcp(version: str, direction: str, kind: str, action: str, context: str) -> None:
    made = signature_format.context(
        signature_format.Version(version),
        signature_format.Direction(direction),
        signature_format.MessageKind(kind),
        action,
    )
    assert made == "https://open.charging.cloud/context/ocpp/" + context


@pytest.mark.parametrize(
    ("payload", "utc"),
    [
        (b'{"timestamp":"1970-01-01T00:01:40.500Z"}', 100.5),
        (b'{"timestamp":"1970-01-01T02:00:00+02:00"}', 0.0),
        (b'{"timestamp":"1970-01-01T00:00:07Z","customData":{"timestamp":"1970-01-01T00:00:09Z"}}', 9.0),
        (b'{"timestamp":"1970-01-01T00:00:07Z","customData":{"vendorId":"x"}}', 7.0),
        (b'{"timestamp":"1970-01-01T00:00:07"}', None),
        (b'{"timestamp":7}', None),
        (b'{"timestamp":"9999-99-99T00:00:00Z"}', None),
        (b'{"timestamp":"0001-01-01T00:00:00+14:00"}', -62135647200.0),
        (b'{"customData":7}', None),
        (b'{"signatures":[{"timestamp":"1970-01-01T00:00:07Z"}]}', None),
        (b"[]", None),
        (b"\xff", None),
    ],
)
def test_payload_signatures_creation_time_is_read_from_signed_part(payload: bytes, utc: float | None) -> None:
    assert signature_format.creation_time(payload) == utc


def test_format_time_has_milliseconds() -> None:
    assert signature_format.format_time(1_795_269_600.0015) == "2026-11-21T14:00:00.001Z"
