"""A bare LF in an HTTP head is read as CRLF, wherever the stream is split."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.transport.line_ends import LineEndReader

WWCP = (
    b"GET /LC01 HTTP/1.1\nHost: 127.0.0.1:9402\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Protocol: ocpp2.1, ocpp2.0.1\r\n\r\n"
)
STRICT = WWCP.replace(b"HTTP/1.1\n", b"HTTP/1.1\r\n")
FRAMES = b"\x81\x02\n\n\r\n\x00\n"
HEADS = {
    "first line": WWCP,
    "every line": STRICT.replace(b"\r\n", b"\n"),
    "empty line only": STRICT[:-2] + b"\n",
    "none": STRICT,
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@given(cuts=st.lists(st.integers(0, len(STRICT) + len(FRAMES)), max_size=6))
def test_head_with_bare_line_feeds_is_converted_in_any_parts(head: bytes, cuts: list[int]) -> None:
    stream, reader = head + FRAMES, LineEndReader()
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    parts = [stream[begin:end] for begin, end in itertools.pairwise(places)]
    assert b"".join(map(reader.convert, parts)) == STRICT + FRAMES


@given(st.lists(st.sampled_from((b"a", b"\r", b"\n", b"\r\n", b"\r\n\r\n")), max_size=12))
def test_line_ends_read_at_once_are_those_read_byte_by_byte(parts: list[bytes]) -> None:
    stream, reader = b"".join(parts), LineEndReader()
    by_bytes = b"".join(reader.convert(bytes((byte,))) for byte in stream)
    assert LineEndReader().convert(stream) == by_bytes


def test_line_ends_end_of_stream_is_passed_on() -> None:
    assert LineEndReader().convert(b"") == b""
