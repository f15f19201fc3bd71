"""Numbers are set anew, and not a byte besides: over any JSON that a station may write."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.ocpp.json_members import Path, has_member, integers_at, with_integers

TOP: Path = ("transactionId",)
_BLANKS = st.text(" \t\r\n", max_size=3).map(str.encode)
_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()
)
_NAMES = st.one_of(
    st.text(max_size=8), st.sampled_from(['a"b', "\\", "{", "}", ":,", "id", "größe", "transactionIds"])
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(_NAMES | st.just("transactionId"), inner, max_size=3)
    ),
    max_leaves=12,
)
_FORMS = st.sampled_from([b"%d", b"%d.0", b"%d.00", b"%de0", b"%dE+0", b"%d.0e-0"])


@st.composite
def _spelt(draw: st.DrawFn, value: Any) -> bytes:
    """The value as JSON, as some encoder might write it."""
    if isinstance(value, dict):
        members = [
            draw(_spelt(name)) + draw(_BLANKS) + b":" + draw(_spelt(inner)) for name, inner in value.items()
        ]
        body = b"{" + b",".join(members) + draw(_BLANKS) + b"}"
    elif isinstance(value, list):
        body = b"[" + b",".join([draw(_spelt(inner)) for inner in value]) + draw(_BLANKS) + b"]"
    else:
        body = json.dumps(value, ensure_ascii=draw(st.booleans())).encode()
    return draw(_BLANKS) + body + draw(_BLANKS)


@st.composite
def _messages(draw: st.DrawFn) -> tuple[bytes, bytes, bytes, int]:
    """What stands before the id, the id as written, what stands after it, and the id."""
    before, after = (draw(st.dictionaries(_NAMES, _VALUES, max_size=3)) for _ in range(2))
    name = draw(st.sampled_from([b'"transactionId"', b'"transaction\\u0049d"', b'"\\u0074ransactionId"']))
    number = draw(st.integers(-1, 2**31 - 1))
    written = draw(_FORMS) % number
    head = b"".join([draw(_spelt(key)) + b":" + draw(_spelt(value)) + b"," for key, value in before.items()])
    tail = b"".join([b"," + draw(_spelt(key)) + b":" + draw(_spelt(value)) for key, value in after.items()])
    start = b"{" + head + draw(_BLANKS) + name + draw(_BLANKS) + b":" + draw(_BLANKS)
    return start, written, draw(_BLANKS) + tail + b"}", number


@given(_messages(), st.integers(0, 2**31 - 1))
def test_json_members_nothing_but_digits_changes(message: tuple[bytes, bytes, bytes, int], new: int) -> None:
    before, written, after, number = message
    payload = before + written + after
    assert integers_at(payload, TOP) == [number]
    changed = with_integers(payload, TOP, lambda _: new)
    expected = written if new == number else b"%d" % new
    assert changed == before + expected + after
    assert msgspec.json.decode(changed)["transactionId"] == new


@pytest.mark.parametrize(
    ("payload", "found"),
    [
        (b"{}", []),
        (b"[1,2]", []),
        (b"7", []),
        (b'{"transactionId":null}', []),
        (b'{"transactionId":"7"}', []),
        (b'{"transactionId":7.5}', []),
        (b'{"transactionId":1e400}', []),
        (b'{"transactionId":%s}' % (b"9" * 5000), []),
        (b'{"transactionId":{"transactionId":7}}', []),
        (b'{"transactionId":[7]}', []),
        (b'{"x":"\\"transactionId\\":7"}', []),
        (b'{"transactionId":-1}', [-1]),
        (b'{"transactionId":7,"transactionId":8}', [7, 8]),
    ],
)
def test_json_members_message_id_forms_are_read(payload: bytes, found: list[int]) -> None:
    assert integers_at(payload, TOP) == found


def test_json_members_deeper_member_is_found_by_path() -> None:
    payload = b'{"transactionId":1,"p":{"transactionId":2,"q":[{"transactionId":3}]}}'
    assert with_integers(payload, ("p", "transactionId"), lambda _: 9) == payload.replace(b":2", b":9")


@pytest.mark.parametrize(
    ("payload", "there"),
    [
        (b'{"signatures":[]}', True),
        (b'{"a":[{"b":{"signatures":1}}]}', True),
        (b'{"a":"signatures"}', False),
        (b'{"a":["signatures"]}', False),
        (b'{"a":"{\\"signatures\\":1}"}', False),
    ],
)
def test_json_members_member_is_found_by_name(payload: bytes, there: bool) -> None:
    assert has_member(payload, "signatures") is there
