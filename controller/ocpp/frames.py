"""OCPP-J frames: what we need to know of a message to route it, and the message itself untouched.

A frame keeps the text that arrived; its payload stays undecoded bytes until somebody needs it.
Source: OCPP-J 1.6 section 4.2; OCPP 2.0.1 and 2.1 Part 4 section 4.2 (SEND and CALLRESULTERROR: 2.1).
"""

from __future__ import annotations

import enum

import msgspec


class Version(enum.StrEnum):
    """An OCPP version, named by its WebSocket subprotocol."""

    V16 = "ocpp1.6"
    V201 = "ocpp2.0.1"
    V21 = "ocpp2.1"


class Call(msgspec.Struct, frozen=True):
    """A request that wants exactly one answer (message type 2)."""

    text: str
    id: str
    action: str
    payload: bytes


class CallResult(msgspec.Struct, frozen=True):
    """A good answer (message type 3)."""

    text: str
    id: str
    payload: bytes


class CallError(msgspec.Struct, frozen=True):
    """A bad answer (message type 4)."""

    text: str
    id: str
    code: str
    description: str = ""


class CallResultError(msgspec.Struct, frozen=True):
    """Word back to the author of a CALLRESULT that it was not understood (message type 5)."""

    text: str
    id: str


class Send(msgspec.Struct, frozen=True):
    """A message that wants no answer (message type 6)."""

    text: str
    id: str
    action: str
    payload: bytes


class MalformedFrameError(msgspec.Struct, frozen=True):
    """No OCPP-J frame. `reason` never quotes the content: it may name a driver.

    `id` is set where the frame is a CALL whose sender waits for an answer to it.
    """

    reason: str
    id: str | None = None


class UnknownMessageTypeError(msgspec.Struct, frozen=True):
    """A well-formed frame of a message type that OCPP-J does not have: to be ignored (Part 4, 4.1.3)."""

    type: int


Frame = Call | CallResult | CallError | CallResultError | Send
Answer = CallResult | CallError

_ENVELOPE = msgspec.json.Decoder(list[msgspec.Raw])
_TYPE = msgspec.json.Decoder(int)
_TEXT = msgspec.json.Decoder(str)
_NAMES = {2: "CALL", 3: "CALLRESULT", 4: "CALLERROR", 5: "CALLRESULTERROR", 6: "SEND"}
_LENGTHS = {2: range(4, 5), 3: range(3, 4), 4: range(3, 6), 5: range(3, 6), 6: range(4, 5)}


def parse(text: str) -> Frame | MalformedFrameError | UnknownMessageTypeError:
    """Read one text frame. Never raises: what cannot be read is a `Malformed`."""
    try:
        parts = _ENVELOPE.decode(text)
    except msgspec.ValidationError:
        return MalformedFrameError("it is JSON, but no array")
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return MalformedFrameError("it is not JSON")
    try:
        kind = _TYPE.decode(parts[0])
    except (IndexError, msgspec.DecodeError):
        return MalformedFrameError("it does not begin with a message type")
    if kind not in _NAMES:
        return UnknownMessageTypeError(kind)
    return _read(kind, parts, text)


def _read(kind: int, parts: list[msgspec.Raw], text: str) -> Frame | MalformedFrameError:
    name = _NAMES[kind]
    try:
        message_id = _TEXT.decode(parts[1])
    except (IndexError, msgspec.DecodeError):
        return MalformedFrameError(f"its {name} has no message id")
    waiting = message_id if kind == 2 else None
    if len(parts) not in _LENGTHS[kind]:
        return MalformedFrameError(f"its {name} has {len(parts)} elements", waiting)
    if kind == 3:
        return CallResult(text, message_id, bytes(parts[2]))
    if kind == 5:
        return CallResultError(text, message_id)
    try:
        word = _TEXT.decode(parts[2])
        if kind == 4:
            description = _TEXT.decode(parts[3]) if len(parts) > 3 else ""
            return CallError(text, message_id, word, description)
    except msgspec.DecodeError:
        return MalformedFrameError(
            f"its {name} has no {'error code' if kind == 4 else 'action'} in words", waiting
        )
    return (Call if kind == 2 else Send)(text, message_id, word, bytes(parts[3]))


def call(message_id: str, action: str, payload: bytes) -> str:
    """The text of a CALL that we make, or make anew. `payload` is a JSON object, already encoded."""
    return f"[2,{_quote(message_id)},{_quote(action)},{payload.decode()}]"


def call_result(message_id: str, payload: bytes) -> str:
    """The text of a CALLRESULT of our own. `payload` is a JSON object, already encoded."""
    return f"[3,{_quote(message_id)},{payload.decode()}]"


def call_error(message_id: str, code: str, description: str) -> str:
    """The text of a CALLERROR of our own. OCPP allows 255 characters of description."""
    return f"[4,{_quote(message_id)},{_quote(code)},{_quote(description[:255])},{{}}]"


def malformed_answer(version: Version, frame: MalformedFrameError) -> str | None:
    """The answer that a malformed frame's sender is owed, if any.

    With a readable id that is a CALLERROR to it; without, 2.x has the id "-1" for it
    (Part 4, 4.2.3), 1.6 has nothing.
    """
    if frame.id is not None:
        code = "FormationViolation" if version is Version.V16 else "FormatViolation"
        return call_error(frame.id, code, frame.reason)
    if version is Version.V16:
        return None
    return call_error("-1", "RpcFrameworkError", frame.reason)


def _quote(text: str) -> str:
    return msgspec.json.encode(text).decode()
