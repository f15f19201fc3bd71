"""OCPP-J frames: the parts of a message that routing needs, and the message itself untouched.

A frame keeps the text that arrived; its payload stays undecoded bytes until it is needed.
Source: OCPP-J 1.6 section 4.2; OCPP 2.0.1 and 2.1 Part 4 section 4.2 (SEND and CALLRESULTERROR: 2.1).
"""

from __future__ import annotations

import enum
import re

import msgspec


class Version(enum.StrEnum):
    """An OCPP version, named by its WebSocket subprotocol."""

    V16 = "ocpp1.6"
    V201 = "ocpp2.0.1"
    V21 = "ocpp2.1"


class Call(msgspec.Struct, frozen=True, gc=False):
    """A request that requires exactly one answer (message type 2)."""

    text: str
    id: str
    action: str
    payload: bytes


class CallResult(msgspec.Struct, frozen=True, gc=False):
    """The response to a CALL (message type 3)."""

    text: str
    id: str
    payload: bytes


class CallError(msgspec.Struct, frozen=True, gc=False):
    """The error response to a CALL (message type 4)."""

    text: str
    id: str
    code: str
    description: str = ""


class CallResultError(msgspec.Struct, frozen=True, gc=False):
    """The error response to a CALLRESULT (message type 5)."""

    text: str
    id: str


class Send(msgspec.Struct, frozen=True, gc=False):
    """A message without an answer (message type 6)."""

    text: str
    id: str
    action: str
    payload: bytes


Frame = Call | CallResult | CallError | CallResultError | Send
Answer = CallResult | CallError


class MalformedFrame(msgspec.Struct, frozen=True):
    """A text that is not a valid OCPP-J frame. `reason` never quotes the content: it may name a driver.

    `id` is set where the text is a CALL with a readable id, so that it can be answered. `frame` is the
    text read leniently, where type, id and action can be found in it: a station's message of that kind
    is relayed as it is, and an answer of that kind ends the CALL that it answers.
    """

    reason: str
    id: str | None = None
    frame: Call | Answer | None = None


class UnknownMessageType(msgspec.Struct, frozen=True):
    """A valid frame of a message type that OCPP-J does not define: to be ignored (Part 4, 4.1.3)."""

    type: int


_FRAME = msgspec.json.Encoder()
_CALL = msgspec.json.Decoder(tuple[int, str, str, msgspec.Raw])
_CALL_RESULT = msgspec.json.Decoder(tuple[int, str, msgspec.Raw])
_ENVELOPE = msgspec.json.Decoder(list[msgspec.Raw])
_TYPE = msgspec.json.Decoder(int)
_TEXT = msgspec.json.Decoder(str)
_NAMES = {2: "CALL", 3: "CALLRESULT", 4: "CALLERROR", 5: "CALLRESULTERROR", 6: "SEND"}
_LENGTHS = {2: range(4, 5), 3: range(3, 4), 4: range(3, 6), 5: range(3, 6), 6: range(4, 5)}
_NOT_JSON = (msgspec.DecodeError, RecursionError, UnicodeError)

_PADDING = "\ufeff\0 \t\r\n"
"""Characters around a message that some firmware adds: byte-order mark, NUL, line ends."""
_BINARY_PADDING = _PADDING.encode()
_STRING = r'"(?:[^"\\]++|\\.)*+"'
_HEAD = re.compile(
    rf'\[\s*"?([234])(?:\.0)?"?\s*,\s*({_STRING}|-?\d{{1,32}})\s*(?:,\s*({_STRING}))?\s*,?', re.DOTALL
)


def decode_binary(message: bytes) -> str | None:
    """Return the text of an OCPP-J message that was sent in a binary frame; None where it is none.

    OCPP-J uses text frames (1.6-J, 3.3); some firmware sends the same JSON in binary ones. Binary messages of
    an overlay begin with a message type, never with a bracket.
    """
    if not message.lstrip(_BINARY_PADDING).startswith(b"["):
        return None
    try:
        return message.decode()
    except UnicodeDecodeError:
        return None


def parse(text: str) -> Frame | MalformedFrame | UnknownMessageType:
    """Parse one text message. Never raises: a text that is not a frame gives a `MalformedFrame`."""
    # Nearly all messages are compact CALLs and CALLRESULTs: one typed decoding each. What does
    # not fit is read element by element below, which finds the reason as well.
    head = text[:3]
    try:
        if head == "[2,":
            _, message_id, action, payload = _CALL.decode(text)
            return Call(text, message_id, action, bytes(payload))
        if head == "[3,":
            _, message_id, payload = _CALL_RESULT.decode(text)
            return CallResult(text, message_id, bytes(payload))
    except _NOT_JSON:
        pass
    return _parse_elements(text)


def _parse_elements(text: str) -> Frame | MalformedFrame | UnknownMessageType:
    try:
        parts = _ENVELOPE.decode(text)
    except msgspec.ValidationError:
        return MalformedFrame("it is JSON, but no array")
    except _NOT_JSON:
        stripped = text.strip(_PADDING)
        if stripped != text and stripped.startswith("["):
            return parse(stripped)
        return _malformed("it is not JSON", text)
    try:
        kind = _TYPE.decode(parts[0])
    except (IndexError, msgspec.DecodeError):
        return _malformed("it does not begin with a message type", text)
    if kind not in _NAMES:
        return UnknownMessageType(kind)
    return _read(kind, parts, text)


def _read(kind: int, parts: list[msgspec.Raw], text: str) -> Frame | MalformedFrame:
    name = _NAMES[kind]
    try:
        message_id = _TEXT.decode(parts[1])
    except (IndexError, msgspec.DecodeError):
        return _malformed(f"its {name} has no message id", text)
    call_id = message_id if kind == 2 else None
    if len(parts) not in _LENGTHS[kind]:
        # A CALL with elements missing is not relayed: its receiver may fail on it.
        is_cut = kind == 2 and len(parts) < 4
        return MalformedFrame(
            f"its {name} has {len(parts)} elements", call_id, None if is_cut else _read_head(text)
        )
    if kind == 3:
        return CallResult(text, message_id, bytes(parts[2]))
    if kind == 5:
        return CallResultError(text, message_id)
    try:
        name_or_code = _TEXT.decode(parts[2])
        if kind == 4:
            description = _TEXT.decode(parts[3]) if len(parts) > 3 else ""
            return CallError(text, message_id, name_or_code, description)
    except msgspec.DecodeError:
        missing = "error code" if kind == 4 else "action"
        return MalformedFrame(f"its {name} has no {missing} in words", call_id, _read_head(text))
    return (Call if kind == 2 else Send)(text, message_id, name_or_code, bytes(parts[3]))


def _malformed(reason: str, text: str) -> MalformedFrame:
    frame = _read_head(text)
    return MalformedFrame(reason, frame.id if isinstance(frame, Call) else None, frame)


def _read_head(text: str) -> Call | Answer | None:
    """Read type, id and action of a text that is not a valid frame; None where one is missing.

    The payload is everything between the action and the last bracket: not always JSON.
    """
    stripped = text.strip(_PADDING)
    if (head := _HEAD.match(stripped)) is None:
        return None
    message_id = _unquote(head[2])
    rest = stripped[head.end() :].removesuffix("]").strip()
    payload = rest.encode(errors="surrogatepass") or b"{}"
    if head[1] == "2":
        return None if head[3] is None else Call(text, message_id, _unquote(head[3]), payload)
    if head[1] == "3":
        return CallResult(text, message_id, payload)
    return CallError(text, message_id, "GenericError" if head[3] is None else _unquote(head[3]))


def _unquote(token: str) -> str:
    """Decode a JSON string; a number, and a string with invalid escapes, stay as they are written."""
    try:
        return _TEXT.decode(token)
    except _NOT_JSON:
        return token.strip('"')


def call(message_id: str, action: str, payload: bytes) -> str:
    """Build a CALL. `payload` is a JSON object, already encoded."""
    return _FRAME.encode((2, message_id, action, msgspec.Raw(payload))).decode(errors="surrogatepass")


def call_result(message_id: str, payload: bytes) -> str:
    """Build a CALLRESULT. `payload` is a JSON object, already encoded."""
    return _FRAME.encode((3, message_id, msgspec.Raw(payload))).decode(errors="surrogatepass")


def call_error(message_id: str, code: str, description: str) -> str:
    """Build a CALLERROR. OCPP allows 255 characters of description."""
    return _FRAME.encode((4, message_id, code, description[:255], {})).decode()


def call_frame(message_id: str, action: str, payload: bytes) -> Call:
    """Build a CALL as a frame."""
    return Call(call(message_id, action, payload), message_id, action, payload)


def result_frame(message_id: str, payload: bytes) -> CallResult:
    """Build a CALLRESULT as a frame."""
    return CallResult(call_result(message_id, payload), message_id, payload)


def error_frame(message_id: str, code: str, description: str) -> CallError:
    """Build a CALLERROR as a frame."""
    return CallError(call_error(message_id, code, description), message_id, code, description)


def malformed_code(version: Version) -> str:
    """Return the error code for a frame that cannot be read (OCPP-J 1.6, 4.2.3; 2.x Part 4, 4.3)."""
    return "FormationViolation" if version is Version.V16 else "FormatViolation"


def malformed_answer(version: Version, frame: MalformedFrame) -> str | None:
    """Build the answer to a malformed frame; None where OCPP has none.

    With a readable id that is a CALLERROR to it; without, 2.x has the id "-1" for it
    (Part 4, 4.2.3), 1.6 has nothing.
    """
    if frame.id is not None:
        return call_error(frame.id, malformed_code(version), frame.reason)
    if version is Version.V16:
        return None
    return call_error("-1", "RpcFrameworkError", frame.reason)
