"""Frames: what is read of a message, what is refused and in which words, and that nothing raises."""

from __future__ import annotations

import json
import uuid

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from controller.ocpp.frames import (
    Call,
    CallError,
    CallResult,
    CallResultError,
    MalformedFrame,
    Send,
    UnknownMessageType,
    Version,
    call,
    call_error,
    call_result,
    malformed_answer,
    parse,
)

ON_ANY_MACHINE = settings(deadline=None, derandomize=True)

READ = [
    ('[2,"1","Heartbeat",{}]', Call, {"id": "1", "action": "Heartbeat", "payload": b"{}"}),
    (
        ' [ 2 ,\t"a b" , "X-Signed",\r\n{"b": 1.50,  "a":[ ]} ] ',
        Call,
        {"id": "a b", "action": "X-Signed", "payload": b'{"b": 1.50,  "a":[ ]}'},
    ),
    ('[2,"\\u00e4\\"","Grüße",{"ß":"\\n"}]', Call, {"id": 'ä"', "action": "Grüße"}),
    ('[2,"","",null]', Call, {"id": "", "action": "", "payload": b"null"}),
    ('[2,"1","Big",{"n":123456789012345678901234567890}]', Call, {"action": "Big"}),
    ('[3,"1",{"status":"Accepted"}]', CallResult, {"id": "1", "payload": b'{"status":"Accepted"}'}),
    (
        '[4,"1","NotImplemented","nö",{"x":1}]',
        CallError,
        {"id": "1", "code": "NotImplemented", "description": "nö"},
    ),
    ('[4,"1","GenericError"]', CallError, {"code": "GenericError", "description": ""}),
    ('[4,"1","GenericError","why"]', CallError, {"description": "why"}),
    ('[5,"1","FormatViolation","",{}]', CallResultError, {"id": "1"}),
    ('[6,"1","NotifyPeriodicEventStream",{"id":1}]', Send, {"action": "NotifyPeriodicEventStream"}),
]


@pytest.mark.parametrize(("text", "kind", "members"), READ)
def test_parse_valid_frame_is_read(text: str, kind: type, members: dict[str, object]) -> None:
    frame = parse(text)
    assert type(frame) is kind
    assert {name: getattr(frame, name) for name in members} == members
    assert frame.text is text  # type: ignore[union-attr]  # all that passes is the very text that came


REFUSED = [
    ("", "it is not JSON", None),
    ("hello", "it is not JSON", None),
    ('[2,"1","Heartbeat",{}', "it is not JSON", "1"),
    ('[2,"1","Heartbeat",{}] ]', "it is not JSON", "1"),
    ('[2,"1","Heartbeat",{"x":NaN}]', "it is not JSON", "1"),
    ("[" * 100_000, "it is not JSON", None),
    ("\ud800", "it is not JSON", None),
    ("{}", "it is JSON, but no array", None),
    ('"[2]"', "it is JSON, but no array", None),
    ("[]", "it does not begin with a message type", None),
    ('["2","1","Heartbeat",{}]', "it does not begin with a message type", "1"),
    ("[true]", "it does not begin with a message type", None),
    ("[2.5]", "it does not begin with a message type", None),
    ("[" + "9" * 5000 + "]", "it does not begin with a message type", None),
    ("[2]", "its CALL has no message id", None),
    ('[2,1,"Heartbeat",{}]', "its CALL has no message id", "1"),
    ("[3,null,{}]", "its CALLRESULT has no message id", None),
    ('[2,"1"]', "its CALL has 2 elements", "1"),
    ('[2,"1","Heartbeat"]', "its CALL has 3 elements", "1"),
    ('[2,"1","Heartbeat",{},{}]', "its CALL has 5 elements", "1"),
    ('[2,"1",7,{}]', "its CALL has no action in words", "1"),
    ('[3,"1"]', "its CALLRESULT has 2 elements", None),
    ('[3,"1",{},{}]', "its CALLRESULT has 4 elements", None),
    ('[4,"1"]', "its CALLERROR has 2 elements", None),
    ('[4,"1",7,"",{}]', "its CALLERROR has no error code in words", None),
    ('[5,"1"]', "its CALLRESULTERROR has 2 elements", None),
    ('[6,"1","X"]', "its SEND has 3 elements", None),
    ('[6,"1",{},{}]', "its SEND has no action in words", None),
]


@pytest.mark.parametrize(("text", "reason", "message_id"), REFUSED, ids=[row[0][:30] for row in REFUSED])
def test_parse_invalid_frame_is_refused(text: str, reason: str, message_id: str | None) -> None:
    frame = parse(text)
    assert isinstance(frame, MalformedFrame)
    assert (frame.reason, frame.id) == (reason, message_id)


LENIENT: list[tuple[str, Call | CallResult | CallError | None]] = [
    ('[2,"x","DataTransfer",{"a":NaN}]', Call("", "x", "DataTransfer", b'{"a":NaN}')),
    ('[2,"x","DataTransfer",{"a":"\\ud83d",}]', Call("", "x", "DataTransfer", b'{"a":"\\ud83d",}')),
    ("[2,\"x\",\"DataTransfer\",{'a':'b'}]", Call("", "x", "DataTransfer", b"{'a':'b'}")),
    ('[2,"x","DataTransfer",{"a":"\t"}]', Call("", "x", "DataTransfer", b'{"a":"\t"}')),
    ('[2,4711,"Heartbeat",{}]', Call("", "4711", "Heartbeat", b"{}")),
    ('["2","x","Heartbeat",{}]', Call("", "x", "Heartbeat", b"{}")),
    ('[2.0,"x","Heartbeat",{}]', Call("", "x", "Heartbeat", b"{}")),
    ('[2,"x","Heartbeat"]', None),
    ('[3,"x",{"a":[]', CallResult("", "x", b'{"a":[')),
    ('[3,"x"]', CallResult("", "x", b"{}")),
    ('["3","x",{}]', CallResult("", "x", b"{}")),
    ('[4,"x"]', CallError("", "x", "GenericError")),
    ('[2,"x"]', None),
    ("[7,1", None),
    ("hello", None),
]


@pytest.mark.parametrize(("text", "frame"), LENIENT, ids=[row[0] for row in LENIENT])
def test_frames_parse_of_malformed_text_finds_head(
    text: str, frame: Call | CallResult | CallError | None
) -> None:
    malformed = parse(text)
    assert isinstance(malformed, MalformedFrame)
    expected = None if frame is None else msgspec.structs.replace(frame, text=text)
    assert malformed.frame == expected


@pytest.mark.parametrize("padded", ["\ufeff%s", "%s\0", "\0 %s \r\n"])
def test_frames_parse_of_padded_text_drops_padding(padded: str) -> None:
    text = '[2,"x","Heartbeat",{}]'
    assert parse(padded % text) == Call(text, "x", "Heartbeat", b"{}")


@pytest.mark.parametrize("number", [-1, 0, 1, 7, 42])
def test_other_message_types_are_named(number: int) -> None:
    assert parse(f'[{number},"1",{{}}]') == UnknownMessageType(number)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
heads = st.lists(st.integers(-1, 8) | st.text(max_size=4) | values, max_size=3)


@ON_ANY_MACHINE
@given(st.text())
@example("[2,\x00]")
@example('[2,"\\ud800","X",{}]')
def test_frames_parse_of_any_text_never_raises(text: str) -> None:
    parse(text)


@ON_ANY_MACHINE
@given(heads, st.lists(values, max_size=3), st.sampled_from([None, 1]), st.booleans())
def test_frames_any_array_is_read_as_it_is_or_refused(
    head: list[object], tail: list[object], indent: int | None, ascii_only: bool
) -> None:
    array = [*head, *tail]
    text = json.dumps(array, indent=indent, ensure_ascii=ascii_only)
    frame = parse(text)
    if isinstance(frame, MalformedFrame):
        assert frame.id is None or frame.id == str(array[1])
    elif isinstance(frame, UnknownMessageType):
        assert frame.type == array[0]
    else:
        assert frame.text == text
        assert frame.id == array[1]
        if isinstance(frame, Call | CallResult | Send):
            assert json.loads(frame.payload) == array[-1]
            assert frame.payload.decode() in text


@ON_ANY_MACHINE
@given(st.uuids(version=4), st.from_regex(r"[A-Za-z]{1,40}", fullmatch=True), values)
def test_frames_own_calls_read_back(number: uuid.UUID, action: str, payload: object) -> None:
    text = call(str(number), action, json.dumps(payload).encode())
    frame = parse(text)
    assert isinstance(frame, Call)
    assert (frame.id, frame.action, json.loads(frame.payload)) == (str(number), action, payload)


@ON_ANY_MACHINE
@given(st.text(), values)
def test_frames_own_results_of_any_id_read_back(message_id: str, payload: object) -> None:
    frame = parse(call_result(message_id, json.dumps(payload).encode()))
    assert isinstance(frame, CallResult)
    assert (frame.id, json.loads(frame.payload)) == (message_id, payload)


@ON_ANY_MACHINE
@given(st.text(), st.text(), st.text(max_size=400))
def test_frames_own_errors_read_back_within_length(message_id: str, code: str, description: str) -> None:
    frame = parse(call_error(message_id, code, description))
    assert isinstance(frame, CallError)
    assert (frame.id, frame.code, frame.description) == (message_id, code, description[:255])


@pytest.mark.parametrize(
    ("version", "message_id", "answer"),
    [
        (Version.V16, "7", '[4,"7","FormationViolation","why",{}]'),
        (Version.V201, "7", '[4,"7","FormatViolation","why",{}]'),
        (Version.V21, "7", '[4,"7","FormatViolation","why",{}]'),
        (Version.V16, None, None),
        (Version.V201, None, '[4,"-1","RpcFrameworkError","why",{}]'),
        (Version.V21, None, '[4,"-1","RpcFrameworkError","why",{}]'),
    ],
)
def test_malformed_frame_has_the_error_answer_of_its_id(
    version: Version, message_id: str | None, answer: str | None
) -> None:
    assert malformed_answer(version, MalformedFrame("why", message_id)) == answer
