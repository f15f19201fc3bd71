"""Frames of both forms: what is read is what was sent, and no byte of a payload changes."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.ocpp.frames import MalformedFrame, UnknownMessageType
from controller.overlay import overlay_frames
from controller.overlay.overlay_frames import RoutedFrame
from controller.overlay.overlay_wire import (
    MAX_HOPS,
    MAX_ID_LENGTH,
    NetworkingMode,
    OverlayMessageKind,
    mode_of,
)

WORDS = {
    OverlayMessageKind.CALL: '"Reset",{"b" : 1.0,"a":[]}',
    OverlayMessageKind.RESULT: '{"b" : 1.0,"a":[]}',
    OverlayMessageKind.ERROR: '"GenericError","why",{"b" : 1.0}',
    OverlayMessageKind.RESULT_ERROR: '"GenericError","why",{"b" : 1.0}',
    OverlayMessageKind.SEND: '"NotifyPeriodicEventStream",{"b" : 1.0}',
}


def read(message: str | bytes) -> RoutedFrame:
    frame = overlay_frames.parse(message)
    assert isinstance(frame, RoutedFrame), frame
    return frame


@pytest.mark.parametrize("kind", OverlayMessageKind)
def test_frame_is_converted_between_both_forms(kind: OverlayMessageKind) -> None:
    plain = f'[{kind:d},"m1",{WORDS[kind]}]'
    frame = read(plain)
    assert (frame.kind, frame.id, frame.is_overlay) == (kind, "m1", False)
    overlay = overlay_frames.to_overlay(frame, ("LC02", "CS01"), ("CSMS", "LC01"))
    assert isinstance(overlay, str)
    assert overlay.endswith(f'"m1",{WORDS[kind]}]')
    again = read(overlay)
    assert (again.kind, again.id, again.path, again.body) == (kind, "m1", ("CSMS", "LC01"), frame.body)
    assert again.is_overlay
    assert overlay_frames.to_plain(again) == plain


@pytest.mark.parametrize("kind", OverlayMessageKind)
def test_destination_and_path_are_written_as_wwcp_reads_them(kind: OverlayMessageKind) -> None:
    frame = read(f'[{kind:d},"m1",{WORDS[kind]}]')
    one = json.loads(overlay_frames.to_overlay(frame, ("CSMS",), ("CS01",)))
    two = json.loads(overlay_frames.to_overlay(frame, ("LC02", "CS01"), ("CSMS", "LC01")))
    if kind in (OverlayMessageKind.ERROR, OverlayMessageKind.RESULT_ERROR):
        assert (one[1], one[2], two[1], two[2]) == ("CSMS", ["CS01"], "LC02", ["CSMS", "LC01"])
    else:
        assert (one[1], one[2], two[1], two[2]) == ("CSMS", "CS01", ["LC02", "CS01"], ["CSMS", "LC01"])


@pytest.mark.parametrize(
    "text",
    [
        '[4,"CSMS",["CS01"],"m1","GenericError"]',  # as long as a whole plain one
        '[4,["CSMS"],"CS01","m1","GenericError"]',
        '[4,"CSMS","CS01","m1","GenericError","why"]',
        '[5,["CSMS"],["CS01"],"m1","GenericError","why",{}]',
    ],
)
def test_overlay_frames_short_error_frame_keeps_form(text: str) -> None:
    frame = read(text)
    assert (frame.id, frame.destination, frame.path) == ("m1", ("CSMS",), ("CS01",))
    assert frame.body[0] == b'"GenericError"'


def test_plain_error_of_five_members_is_no_overlay_frame() -> None:
    assert not read('[4,"m1","GenericError","why",{}]').is_overlay


BAD = [
    ("", "not JSON"),
    ("{}", "no array"),
    ("[" * 100_000, "not JSON"),
    ("[]", "message type"),
    ('["2","m","Reset",{}]', "message type"),
    ('[2,"m"]', "elements"),
    ('[2,"CSMS","CS01","m","Reset"]', "elements"),
    ("[2,[],[],7,8,9]", "no message id"),
    ('[2,[],"CS01","m","Reset",{}]', "destination or path"),
    ('[2,"","CS01","m","Reset",{}]', "destination or path"),
    ('[2,"CSMS",[""],"m","Reset",{}]', "destination or path"),
    ('[2,"CSMS",["CS01",7],"m","Reset",{}]', "destination or path"),
    ('[2,"CSMS",{"a":"b"},"m","Reset",{}]', "destination or path"),
    ('[2,"CSMS",null,"m","Reset",{}]', "destination or path"),
    ('[2,"CSMS",[["CS01"]],"m","Reset",{}]', "destination or path"),
    ('[2,"CSMS","\\ud800","m","Reset",{}]', "not JSON"),
    (f'[2,"CSMS","{"x" * (MAX_ID_LENGTH + 1)}","m","Reset",{{}}]', "destination or path"),
    (f'[2,"CSMS",{json.dumps(["x"] * (MAX_HOPS + 1))},"m","Reset",{{}}]', "destination or path"),
    (f'[2,{json.dumps(["x"] * 100_000)},"CS01","m","Reset",{{}}]', "destination or path"),
    ('[2,"CSMS","CS01","m",{},{}]', "no action"),
    ('[6,"m",null,{}]', "no action"),
    (b"", "empty"),
    (b"\x02\x00", "cannot be read"),
    (b"\x02\x00\x04CS", "cannot be read"),
    (b"\x02\x00\x01\xff\x00\x00\x01m", "cannot be read"),
    (b"\x02\x00\x04CSMS\x01\x00\x00\x00\x01m", "none"),
    (b"\x02\x00\x04CSMS\x11" + b"\x00\x01x" * 17 + b"\x00\x01m", "more than 16"),
    (b"\x02\x00\x04CSMS\xff\x00\x01x", "cannot be read"),
]


@pytest.mark.parametrize(("message", "reason"), BAD)
def test_overlay_frames_malformed_frame_has_reason(message: str | bytes, reason: str) -> None:
    frame = overlay_frames.parse(message)
    assert isinstance(frame, MalformedFrame)
    assert reason in frame.reason


def test_overlay_frames_malformed_call_keeps_id() -> None:
    assert overlay_frames.parse('[2,"CSMS",[7],"m7","Reset",{}]') == MalformedFrame(
        "its CALL has no valid destination or path: one id, or 1 to 16 of them", "m7"
    )


@pytest.mark.parametrize("message", ['[9,"CSMS","CS01","m",{}]', b"\x09\x00\x00"])
def test_unknown_message_type_is_reported(message: str | bytes) -> None:
    assert overlay_frames.parse(message) == UnknownMessageType(9)


def test_binary_frame_is_read_byte_by_byte() -> None:
    sealed = b"\x00\x12SecureDataTransfer" + bytes(7) + b"\x05\xff\x00\xfe\x01\x02"
    plain = b"\x02\x00\x00\x00\x00\x02m1" + sealed
    overlay = b"\x02\x00\x04CSMS\x02\x00\x04CS01\x00\x04LC01\x00\x02m1" + sealed
    assert overlay_frames.to_overlay(read(plain), ("CSMS",), ("CS01", "LC01")) == overlay
    assert overlay_frames.to_plain(read(overlay)) == plain


def test_overlay_frames_binary_source_route_names_last_hop() -> None:
    asked = read(b"\x02\x00\x00\x00\x00\x01m\x00\x01A" + bytes(8))
    answer = read(b"\x03\x00\x00\x00\x00\x01m" + bytes(8))
    assert read(overlay_frames.to_overlay(asked, ("LC01", "CS01"), ("CSMS",))).destination == ("CS01",)
    assert read(overlay_frames.to_overlay(answer, ("LC01", "CS01"), ("CSMS",))).destination == ("LC01",)


def test_binary_frame_without_destination_or_path_is_read() -> None:
    assert read(b"\x02\x00\x04CSMS\x00\x00\x01m").destination == ("CSMS",)
    assert read(b"\x02\x00\x00\x01\x00\x04CS01\x00\x01m").destination == ("0",)


# -- at random ------------------------------------------------------------------------------------------

node_ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=MAX_ID_LENGTH)
hops = st.lists(node_ids, min_size=1, max_size=MAX_HOPS).map(tuple)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
loose = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
payloads = st.tuples(st.dictionaries(words, loose, max_size=4), st.sampled_from([None, 1, "\t"])).map(
    lambda drawn: json.dumps(drawn[0], indent=drawn[1], ensure_ascii=False)
)


def plain_text(kind: OverlayMessageKind, message_id: str, word: str, payload: str) -> str:
    head = f"[{kind:d} , {json.dumps(message_id)}, "
    if kind is OverlayMessageKind.RESULT:
        return head + payload + " ]"
    if kind in (OverlayMessageKind.CALL, OverlayMessageKind.SEND):
        return head + f"{json.dumps(word)} ,{payload}]"
    return head + f'"GenericError",{json.dumps(word)},{payload}]'


@given(st.sampled_from(OverlayMessageKind), words, words, payloads, hops, hops)
def test_overlay_frames_random_frame_is_same_in_both_forms(
    kind: OverlayMessageKind,
    message_id: str,
    word: str,
    payload: str,
    destination: overlay_frames.Hops,
    path: overlay_frames.Hops,
) -> None:
    frame = read(plain_text(kind, message_id, word, payload))
    overlay = read(overlay_frames.to_overlay(frame, destination, path))
    assert frame.body[-1] == overlay.body[-1] == payload.encode()
    if kind not in (OverlayMessageKind.ERROR, OverlayMessageKind.RESULT_ERROR):
        assert overlay.destination == destination
    assert overlay == msgspec.structs.replace(frame, destination=overlay.destination, path=path)
    assert json.loads(overlay_frames.to_plain(overlay)) == json.loads(
        plain_text(kind, message_id, word, payload)
    )


@given(st.sampled_from(OverlayMessageKind), words, st.binary(max_size=200), node_ids, hops)
def test_overlay_frames_random_binary_frame_keeps_bytes(
    kind: OverlayMessageKind, message_id: str, rest: bytes, destination: str, path: overlay_frames.Hops
) -> None:
    plain = overlay_frames.to_plain(RoutedFrame(kind, message_id, (rest,), binary=True))
    frame = read(plain)
    overlay = read(overlay_frames.to_overlay(frame, (destination,), path))
    assert overlay == msgspec.structs.replace(frame, destination=(destination,), path=path)
    assert overlay_frames.to_plain(overlay) == plain


@given(st.binary(max_size=60) | st.text(max_size=60) | loose.map(lambda value: json.dumps([2, value, value])))
def test_parse_of_random_input_never_raises(message: str | bytes) -> None:
    frame = overlay_frames.parse(message)
    if isinstance(frame, RoutedFrame):
        assert overlay_frames.parse(overlay_frames.to_plain(frame)) == msgspec.structs.replace(
            frame, destination=(), path=()
        )


@pytest.mark.parametrize(
    ("headers", "mode"),
    [
        ("OverlayNetwork", NetworkingMode.OVERLAY),
        (" overlaynetwork ", NetworkingMode.OVERLAY),
        ("STANDARD", NetworkingMode.STANDARD),
        ("", None),
        ("mesh", None),
    ],
)
def test_mode_header_is_read_without_case(headers: str, mode: NetworkingMode | None) -> None:
    assert mode_of(headers) is mode
