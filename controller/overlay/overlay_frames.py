"""Frames in both forms: plain OCPP-J, and with destination and path behind the message type.

    plain    [2, id, action, payload]
    overlay  [2, destination, path, id, action, payload]

A destination or a path is one id, or a list: the next hop first, and the oldest node first. The forms are
distinguished by the length of the array and the types in it. What follows the message id is never encoded
anew: a payload's bytes are those received. Binary frames (files, BinaryDataTransfer, SecureDataTransfer)
are forwarded the same way; none is made here. Source: see `overlay_wire`; OCPP-J 1.6 section 4.2; OCPP 2.1
Part 4 section 4.2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from controller.model.peer_text import peer_word
from controller.ocpp.frames import MalformedFrame, UnknownMessageType
from controller.overlay import OverlayError
from controller.overlay.overlay_wire import (
    BYTE_ORDER,
    ERRORS,
    MAX_HOPS,
    MAX_ID_LENGTH,
    NO_DESTINATION,
    UNREACHED,
    OverlayMessageKind,
)
from controller.signing.signature_format import Direction

Hops = tuple[str, ...]
Message = str | bytes
"""A text frame or a binary one."""

_Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_LENGTH)]
_Listed = Annotated[tuple[_Id, ...], Meta(max_length=MAX_HOPS)]
"""Empty as the path of a WWCP station in overlay mode: it comes from the other end of the link."""

_ENVELOPE = msgspec.json.Decoder(list[msgspec.Raw])
_TYPE = msgspec.json.Decoder(int)
_TEXT = msgspec.json.Decoder(str)
_HOPS = msgspec.json.Decoder(_Id | _Listed)
_KINDS = {kind.value: kind for kind in OverlayMessageKind}
_LENGTHS = {
    OverlayMessageKind.CALL: range(4, 5),
    OverlayMessageKind.RESULT: range(3, 4),
    OverlayMessageKind.ERROR: range(3, 6),
    OverlayMessageKind.RESULT_ERROR: range(3, 6),
    OverlayMessageKind.SEND: range(4, 5),
}
"""Elements of the plain form. The overlay form has two more."""

_Requested = tuple[int, str, msgspec.Raw, msgspec.Raw]
_RoutedRequest = tuple[int, _Id | _Listed, _Id | _Listed, str, msgspec.Raw, msgspec.Raw]
_Answered = tuple[int, str, msgspec.Raw]
_RoutedAnswer = tuple[int, _Id | _Listed, _Id | _Listed, str, msgspec.Raw]
_EXPECTED: Mapping[tuple[str, bool], tuple[OverlayMessageKind, msgspec.json.Decoder[Any]]] = {
    (f"[{kind:d},", is_overlay): (kind, msgspec.json.Decoder(form))
    for kind, is_overlay, form in (
        (OverlayMessageKind.CALL, False, _Requested),
        (OverlayMessageKind.CALL, True, _RoutedRequest),
        (OverlayMessageKind.SEND, False, _Requested),
        (OverlayMessageKind.SEND, True, _RoutedRequest),
        (OverlayMessageKind.RESULT, False, _Answered),
        (OverlayMessageKind.RESULT, True, _RoutedAnswer),
    )
}
"""By the first characters of a compact frame and its form: its kind and elements."""

ReadRoute = str | Hops
"""A destination or a path as it was written: one id, or a list."""

PLAIN_ROUTE = ()
"""Destination and path of a plain frame."""

_COMPACT: Mapping[bool, Mapping[str, msgspec.json.Decoder[Any]]] = {
    False: {
        "[2,": msgspec.json.Decoder(tuple[int, str, str, msgspec.Raw]),
        "[3,": msgspec.json.Decoder(tuple[int, str, msgspec.Raw]),
    },
    True: {
        "[2,": msgspec.json.Decoder(tuple[int, _Id | _Listed, _Id | _Listed, str, str, msgspec.Raw]),
        "[3,": msgspec.json.Decoder(tuple[int, _Id | _Listed, _Id | _Listed, str, msgspec.Raw]),
    },
}
"""By form and first characters: the elements of a CALL and of a CALLRESULT, without copies of their bytes."""

_STRING = r'"(?:[^"\\]++|\\.)*+"'
_ROUTE_ELEMENT = rf"\s*+(?:{_STRING}|\[(?:\s|,|{_STRING})*+\])\s*+,"
_ROUTED_HEAD = re.compile(rf"\[[23],{_ROUTE_ELEMENT}{_ROUTE_ELEMENT}\s*+")

PAYLOAD_LENGTH_BYTES = 8
_ROUTE = 2
"""Elements: destination and path."""


class RoutedFrame(msgspec.Struct, frozen=True):
    """A frame of either form; a plain one has no `destination` and `path`.

    `body`: what follows the message id as it was received: the elements of a text frame, the rest of a
    `binary` one. `action` is that of a CALL or a SEND; None if it cannot be read. `cleared`: directions in
    which the policy permits a request to leave; None before the check.
    """

    kind: OverlayMessageKind
    id: str
    body: tuple[bytes, ...]
    destination: Hops = ()
    path: Hops = ()
    action: str | None = None
    binary: bool = False
    cleared: frozenset[Direction] | None = None

    @property
    def is_overlay(self) -> bool:
        """True if the frame has a destination."""
        return bool(self.destination)

    @property
    def payload(self) -> bytes:
        """Payload of a CALL, RESULT or SEND; of a binary frame what follows its length, empty if cut."""
        rest = self.body[-1]
        if not self.binary:
            return rest
        try:
            at = (
                _read_text(rest, 0)[1]
                if self.kind in (OverlayMessageKind.CALL, OverlayMessageKind.SEND)
                else 0
            )
        except (_CutFrameError, UnicodeDecodeError):
            return b""
        length = int.from_bytes(rest[at : at + PAYLOAD_LENGTH_BYTES], BYTE_ORDER)
        payload = rest[at + PAYLOAD_LENGTH_BYTES :]
        return payload if len(payload) == length else b""

    @property
    def reports_unreached(self) -> bool:
        """True for the error of a node on the way: the receiver of the CALL may never have got it."""
        return self.kind is OverlayMessageKind.ERROR and self.body[2:] == (UNREACHED,)

    def describe(self, action: str | None = None, station: str | None = None) -> str:
        """Return what a log line names of the frame; `action`: of the CALL that it answers.

        Ids and actions are texts of peers: each is bounded, and cannot add a pair to the line.
        """
        origin = self.path[0] if self.path else "self"
        words = {"action": self.action or action, "id": self.id, "from": origin, "station": station}
        pairs = (f" {name}={peer_word(word)}" for name, word in words.items() if word)
        return f"type={self.kind.name}{''.join(pairs)}"


def parse(message: Message, *, is_overlay: bool = False) -> RoutedFrame | MalformedFrame | UnknownMessageType:
    """Read one frame of either form; what cannot be read is a `MalformedFrame`.

    `is_overlay`: the form that is expected, and read faster.
    """
    if isinstance(message, bytes):
        return _parse_binary(message)
    return _parse_expected(message, is_overlay=is_overlay) or _parse_text(message)


def read_compact(text: str, *, is_overlay: bool) -> tuple[ReadRoute, ReadRoute, str, str | None] | None:
    """Read destination, path, id and action of a CALL or CALLRESULT (no action) of the expected form.

    None: it has another form, or is no such frame.
    """
    decoder = _COMPACT[is_overlay].get(text[:3])
    if decoder is None:
        return None
    try:
        parts = decoder.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None
    if not is_overlay:
        return PLAIN_ROUTE, PLAIN_ROUTE, parts[1], parts[2] if len(parts) == 4 else None
    return parts[1], parts[2], parts[3], parts[4] if len(parts) == 6 else None


def find_head(text: str, *, is_overlay: bool) -> str:
    """Return what stands before the message id, in a frame that `read_compact` has read."""
    if not is_overlay:
        return text[:3]
    head = _ROUTED_HEAD.match(text)
    assert head is not None
    return head[0]


def write_head(kind: OverlayMessageKind, destination: ReadRoute, path: ReadRoute) -> str:
    """Write a compact frame that is no error up to its message id; a plain one has PLAIN_ROUTE for both."""
    if not destination:
        return f"[{kind:d},"
    return (b"[%d,%b,%b," % (kind, msgspec.json.encode(destination), msgspec.json.encode(path))).decode()


def to_plain(frame: RoutedFrame) -> Message:
    """Write a frame without destination and path."""
    if frame.binary:
        return bytes((frame.kind, 0, 0, 0)) + _sized(frame.id) + frame.body[0]
    return _text(frame, ())


def to_overlay(frame: RoutedFrame, destination: Hops, path: Hops) -> Message:
    """Write a frame with destination and path; neither is empty."""
    if frame.binary:
        count = bytes((len(path),))
        ids = b"".join(_sized(each) for each in path)
        # A WWCP frame has one destination only, and that of a CALL is the last hop.
        whither = (
            destination[-1]
            if frame.kind in (OverlayMessageKind.CALL, OverlayMessageKind.SEND)
            else destination[0]
        )
        return bytes((frame.kind,)) + _sized(whither) + count + ids + _sized(frame.id) + frame.body[0]
    if frame.kind in ERRORS:
        return _text(frame, (msgspec.json.encode(destination[0]), msgspec.json.encode(path)))
    return _text(frame, (_hops(destination), _hops(path)))


def error(message_id: str, code: str, description: str, *, unreached: bool = False) -> RoutedFrame:
    """Make a CALLERROR of our own; see `reports_unreached`. OCPP allows 255 characters of description."""
    details = UNREACHED if unreached else b"{}"
    body = (msgspec.json.encode(code), msgspec.json.encode(description[:255]), details)
    return RoutedFrame(OverlayMessageKind.ERROR, message_id, body)


def result(message_id: str, payload: bytes) -> RoutedFrame:
    """Make a CALLRESULT of our own; `payload` is an encoded JSON object."""
    return RoutedFrame(OverlayMessageKind.RESULT, message_id, (payload,))


def request(kind: OverlayMessageKind, message_id: str, action: str, payload: bytes) -> RoutedFrame:
    """Make a CALL or a SEND of our own; `payload` is an encoded JSON object."""
    return RoutedFrame(kind, message_id, (msgspec.json.encode(action), payload), action=action)


# -- text -----------------------------------------------------------------------------------------------


def _text(frame: RoutedFrame, route: tuple[bytes, ...]) -> str:
    elements = (b"%d" % frame.kind, *route, msgspec.json.encode(frame.id), *frame.body)
    return (b"[" + b",".join(elements) + b"]").decode()


def _hops(hops: Hops) -> bytes:
    return msgspec.json.encode(written_route(hops))


def written_route(hops: Hops) -> ReadRoute:
    """Return the form in which a CALL or CALLRESULT names ids: one alone is no list."""
    return hops[0] if len(hops) == 1 else hops


def _parse_expected(text: str, *, is_overlay: bool) -> RoutedFrame | None:
    """Read a frame in one typed decoding; None if it has another form, which `_parse_text` finds out.

    Nearly all frames are requests and answers in the form of their link.
    """
    expected = _EXPECTED.get((text[:3], is_overlay))
    if expected is None:
        return None
    kind, decoder = expected
    try:
        parts = decoder.decode(text)
        destination, path = parts[1:3] if is_overlay else ((), ())
        if is_overlay and not destination:
            return None
        message_id, *body = parts[3:] if is_overlay else parts[1:]
        action = None if kind is OverlayMessageKind.RESULT else _TEXT.decode(body[0])
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None
    return RoutedFrame(kind, message_id, tuple(map(bytes, body)), as_hops(destination), as_hops(path), action)


def as_hops(read: ReadRoute) -> Hops:
    """Return the ids of a destination or a path."""
    return (read,) if isinstance(read, str) else read


def _parse_text(text: str) -> RoutedFrame | MalformedFrame | UnknownMessageType:
    try:
        parts = [bytes(part) for part in _ENVELOPE.decode(text)]
    except msgspec.ValidationError:
        return MalformedFrame("it is JSON, but no array")
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return MalformedFrame("it is not JSON")
    try:
        number = _TYPE.decode(parts[0])
    except (IndexError, msgspec.DecodeError):
        return MalformedFrame("it does not begin with a message type")
    if number not in _KINDS:
        return UnknownMessageType(number)
    kind = _KINDS[number]
    return _read(kind, parts, _ROUTE if _has_route(kind, parts) else 0)


def _has_route(kind: OverlayMessageKind, parts: list[bytes]) -> bool:
    """Return True for the overlay form; errors may lack their last elements, then a list shows it."""
    if len(parts) in _LENGTHS[kind]:
        return any(part[:1] == b"[" for part in parts[1 : 1 + _ROUTE])
    return len(parts) - _ROUTE in _LENGTHS[kind]


def _read(kind: OverlayMessageKind, parts: list[bytes], route: int) -> RoutedFrame | MalformedFrame:
    name = kind.name
    try:
        message_id = _TEXT.decode(parts[1 + route])
    except (IndexError, msgspec.DecodeError, UnicodeError):
        return MalformedFrame(f"its {name} has no message id")
    waiting = message_id if kind is OverlayMessageKind.CALL else None
    if len(parts) - route not in _LENGTHS[kind]:
        return MalformedFrame(f"its {name} has {len(parts)} elements", waiting)
    body = tuple(parts[2 + route :])
    try:
        destination, path = (_read_hops(part) for part in parts[1:3]) if route else ((), ())
        if route and not destination:
            raise msgspec.ValidationError
    except (msgspec.DecodeError, UnicodeError):
        return MalformedFrame(
            f"its {name} has no valid destination or path: one id, or 1 to {MAX_HOPS} of them", waiting
        )
    action = None
    if kind in (OverlayMessageKind.CALL, OverlayMessageKind.SEND):
        try:
            action = _TEXT.decode(body[0])
        except (msgspec.DecodeError, UnicodeError):
            return MalformedFrame(f"its {name} has no action", waiting)
    return RoutedFrame(kind, message_id, body, destination, path, action)


def _read_hops(part: bytes) -> Hops:
    return as_hops(_HOPS.decode(part))


# -- binary ---------------------------------------------------------------------------------------------


def _sized(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, BYTE_ORDER) + data


class _CutFrameError(OverlayError):
    """A binary frame ends too early."""


def _parse_binary(data: bytes) -> RoutedFrame | MalformedFrame | UnknownMessageType:
    if not data:
        return MalformedFrame("it is empty")
    if data[0] not in _KINDS:
        return UnknownMessageType(data[0])
    try:
        destination, at = _read_text(data, 1)
        count, at = _byte(data, at)
        path = []
        for _ in range(count):
            hop, at = _read_text(data, at)
            path.append(hop)
        message_id, at = _read_text(data, at)
    except (_CutFrameError, UnicodeDecodeError):
        return MalformedFrame("its destination, path or message id cannot be read")
    if not all(0 < len(hop) <= MAX_ID_LENGTH for hop in path) or len(destination) > MAX_ID_LENGTH:
        return MalformedFrame("its destination or path has an id that is none")
    if count > MAX_HOPS:
        return MalformedFrame(f"its path has more than {MAX_HOPS} ids")
    whither = (destination or NO_DESTINATION,) if destination or path else ()
    kind = _KINDS[data[0]]
    action = _action(data, at) if kind in (OverlayMessageKind.CALL, OverlayMessageKind.SEND) else None
    return RoutedFrame(kind, message_id, (data[at:],), whither, tuple(path), action, binary=True)


def _action(data: bytes, at: int) -> str | None:
    try:
        return _read_text(data, at)[0]
    except (_CutFrameError, UnicodeDecodeError):
        return None


def _byte(data: bytes, at: int) -> tuple[int, int]:
    if at >= len(data):
        raise _CutFrameError
    return data[at], at + 1


def _read_text(data: bytes, at: int) -> tuple[str, int]:
    end = at + 2 + int.from_bytes(data[at : at + 2], BYTE_ORDER)
    if at + 2 > len(data) or end > len(data):
        raise _CutFrameError
    return data[at + 2 : end].decode(), end
