"""What is verified is exactly what was signed, however its author writes JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from controller.signing import signed_text
from controller.signing.signed_text import SignedTextError
from tests.controller.signing.authors import CONTEXT, blanks, expected_text, members

Member = tuple[bytes, tuple[bytes, bytes]]


def text_of(payload: bytes) -> bytes:
    return signed_text.build_signed_text(signed_text.tokenize_payload(payload), CONTEXT)


def received(parts: list[Member], blank: bytes, signatures_at: int | None) -> bytes:
    """A payload with white space everywhere, and `signatures` somewhere."""
    written = [name + blank + b":" + blank + loose for name, (_, loose) in parts]
    if signatures_at is not None:
        written.insert(signatures_at, b'"signatures":' + blank + b'[{"value" : "x"} ]')
    return blank + b"{" + blank + (blank + b"," + blank).join(written) + blank + b"}" + blank


@given(members, blanks, st.none() | st.integers(0, 5))
def test_signed_text_of_any_notation_is_that_of_author(
    parts: list[Member], blank: bytes, signatures_at: int | None
) -> None:
    signed = expected_text([name + b":" + tight for name, (tight, _) in parts], CONTEXT)
    assert text_of(received(parts, blank, signatures_at)) == signed


@given(members, st.data())
def test_signed_text_changes_with_every_byte(parts: list[Member], data: st.DataObject) -> None:
    payload = received(parts, b"", None)
    at = data.draw(st.integers(0, len(payload) - 1))
    byte = data.draw(st.integers(0, 255))
    assume(payload[at] != byte and byte not in b" \t\r\n")
    changed = payload[:at] + bytes([byte]) + payload[at + 1 :]
    try:
        text = text_of(changed)
    except SignedTextError:
        return
    assert text != text_of(payload)


@given(members, blanks, st.none() | st.integers(0, 5))
def test_insert_signature_leaves_every_other_byte(
    parts: list[Member], blank: bytes, signatures_at: int | None
) -> None:
    payload = received(parts, blank, signatures_at)
    element = b'{"value":"new"}'
    signed = signed_text.insert_signature(payload, signed_text.tokenize_payload(payload), element)
    assert text_of(signed) == text_of(payload)
    assert json.loads(signed)["signatures"][-1] == {"value": "new"}
    start = signed.index(element)
    before, after = signed[:start], signed[start + len(element) :]
    if signatures_at is None:
        before = before.removesuffix(b'"signatures":[')
        after = after.removeprefix(b"]")
        before, after = (before, after[1:]) if after[:1] == b"," else (before.removesuffix(b","), after)
    else:
        before = before.removesuffix(b",")
    assert before + after == payload


@pytest.mark.parametrize(
    ("payload", "with_another"),
    [
        (b"{}", b'{"signatures":[S]}'),
        (b' { "a" : 1 } ', b' { "a" : 1,"signatures":[S] } '),
        (b'{"a":1,"customData":{"vendorId":"x"}}', b'{"a":1,"signatures":[S],"customData":{"vendorId":"x"}}'),
        (b'{"customData":{}}', b'{"signatures":[S],"customData":{}}'),
        (b'{"signatures":[],"a":1}', b'{"signatures":[S],"a":1}'),
        (b'{"signatures":[ ]}', b'{"signatures":[ S]}'),
        (b'{"signatures":[{"a":[]}]}', b'{"signatures":[{"a":[]},S]}'),
        (b'{"x":{"signatures":[]}}', b'{"x":{"signatures":[]},"signatures":[S]}'),
    ],
)
def test_insert_signature_comes_before_custom_data(payload: bytes, with_another: bytes) -> None:
    element = b'"S"'
    assert signed_text.insert_signature(
        payload, signed_text.tokenize_payload(payload), element
    ) == with_another.replace(b"S", element)


def test_signed_text_keeps_place_of_context() -> None:
    payload = b'{"a":1,"@context":"mine","signatures":[]}'
    assert text_of(payload) == b'{"a":1,"@context":"mine"}'


def test_signed_text_leaves_out_outermost_signatures_only() -> None:
    assert text_of(b'{"inner":{"signatures":[1]},"signatures":[2]}').endswith(b',"inner":{"signatures":[1]}}')


def test_signed_text_finds_escaped_member_name() -> None:
    assert b"2" not in text_of(rb'{"\u0073ignatures":[2]}').removeprefix(b'{"@context":"' + CONTEXT.encode())


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b'{"a":1,"a":2}', "one name twice"),
        (b'{"a":1,"\\u0061":2}', "one name twice"),
        ('{"é":1,"\\u00E9":2}'.encode(), "one name twice"),
        (b'{"a":[{"limit":16,"limit":32}]}', "one name twice"),
        (b'{"signatures":[],"signatures":[]}', "one name twice"),
        (b'{"signatures":[{"keyId":"a","keyId":"b"}]}', "one name twice"),
        (b'{"a":' + b"[" * 64 + b"]" * 64 + b"}", "nests deeper than 64"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "nests deeper than 64"),
        (b'{"a":' + b"[" * 100_000, "nests deeper than 64"),
        (b'{"a":"\xff"}', "not UTF-8"),
        (b'{"a":"\xc0\xaf"}', "not UTF-8"),
        (b'{"a":"\xed\xa0\x80"}', "not UTF-8"),
        (b'{"a":"\\ud800"}', "not valid JSON"),
        (b'{"a":"\\udc00x"}', "not valid JSON"),
        (b'{"a":1e999}', "number out of range"),
        (b'{"a":' + b"9" * 41 + b"}", "more than 40 characters"),
        (b'{"a":0.' + b"0" * 50 + b"1}", "more than 40 characters"),
        (b'{"a":' + b"9" * 10_000 + b"}", "number out of range"),
        (b'{"a":"' + b"x" * 262_137 + b'"}', "262145 bytes, at most 262144 are read"),
        (b'{"a":01}', "not valid JSON"),
        (b'{"a":NaN}', "not valid JSON"),
        (b'{"a":1,}', "not valid JSON"),
        (b'{"a":1}{}', "not valid JSON"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
        (b'{"a":1} // c', "not valid JSON"),
        (b"", "not valid JSON"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
    ],
)
def test_tokenize_payload_rejects_ambiguous_json(payload: bytes, reason: str) -> None:
    with pytest.raises(SignedTextError, match=reason):
        signed_text.tokenize_payload(payload)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"a":' + b"[" * 63 + b"]" * 63 + b"}",
        b'{"a":{"b":1},"c":{"b":1}}',
        b'{"a":' + b"9" * 40 + b"}",
        b'{"a":"' + b"9" * 400 + b'"}',
        b'{"a":-0.0e-9,"":1}',
        b'{"a":"' + b"x" * 262_136 + b'"}',
    ],
)
def test_tokenize_payload_accepts_unusual_json(payload: bytes) -> None:
    assert payload[1:] in text_of(payload)


@pytest.mark.parametrize("signatures", [b"{}", b"null", b'"x"', b"1"])
def test_insert_signature_rejects_signatures_that_are_no_list(signatures: bytes) -> None:
    payload = b'{"signatures":' + signatures + b"}"
    with pytest.raises(SignedTextError, match="not a list"):
        signed_text.insert_signature(payload, signed_text.tokenize_payload(payload), b"{}")
