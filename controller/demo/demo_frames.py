"""OCPP-J frames as the simulated peers write and read them, each in a hand of its own.

The peers are strangers to the controller: nothing here is shared with its own frames.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

CALL, CALL_RESULT, CALL_ERROR, CALL_RESULT_ERROR, SEND = 2, 3, 4, 5, 6
ANSWERS = frozenset({CALL_RESULT, CALL_ERROR, CALL_RESULT_ERROR})

Payload = dict[str, Any]
"""A message's members, as JSON has them."""


class FrameStyle(NamedTuple):
    """How a peer writes JSON: spaces after comma and colon, or none; characters, or escapes."""

    separators: tuple[str, str]
    ascii_only: bool

    def write(self, *parts: object) -> str:
        """A frame's text."""
        return json.dumps(parts, separators=self.separators, ensure_ascii=self.ascii_only)


HANDS = (
    FrameStyle((",", ":"), False),
    FrameStyle((", ", ": "), True),
    FrameStyle((" ,\t", " :  "), False),
    FrameStyle((",\n ", ":"), True),
)


class FrameHead(NamedTuple):
    """A frame's type and id."""

    kind: int
    id: str

    @property
    def asks(self) -> bool:
        """Whether the frame says something by itself, and answers nothing."""
        return self.kind not in ANSWERS


class PeerFrame(NamedTuple):
    """A frame; `action` for CALL and SEND, and the error's code for the two kinds of error."""

    kind: int
    id: str
    action: str
    payload: Payload


_HEAD = re.compile(r'\s*\[\s*(\d+)\s*,\s*"((?:[^"\\]|\\.)*)"')


def head(text: str) -> FrameHead:
    """A frame's type and id, without reading the rest. Raises ValueError where it has none."""
    match = _HEAD.match(text)
    if match is None:
        raise ValueError(f"no OCPP-J frame: {text[:80]}")
    return FrameHead(int(match[1]), match[2])


def read(text: str) -> PeerFrame:
    """The whole frame. Raises ValueError for what is none."""
    match json.loads(text):
        case [int(kind), str(message_id), str(action), dict(payload)] if kind in (CALL, SEND):
            return PeerFrame(kind, message_id, action, payload)
        case [int(kind), str(message_id), dict(payload)] if kind == CALL_RESULT:
            return PeerFrame(kind, message_id, "", payload)
        case [int(kind), str(message_id), str(code), str(_), dict(payload)] if kind in ANSWERS:
            return PeerFrame(kind, message_id, code, payload)
    raise ValueError(f"no OCPP-J frame: {text[:80]}")


def not_implemented(hand: FrameStyle, message_id: str, action: str) -> str:
    """The CALLERROR for an action that a peer does not know."""
    details: Mapping[str, str] = {}
    return hand.write(CALL_ERROR, message_id, "NotImplemented", f"{action} is not known here", details)
