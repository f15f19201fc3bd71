"""OCPP-J frames as the simulated peers write and read them, each in its own style of JSON.

The peers are independent of the controller: nothing here is shared with its frames.
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


class DemoError(Exception):
    """Base class of the errors of the simulated peers."""


class FrameStyle(NamedTuple):
    """JSON style of a peer: spaces after comma and colon, or none; characters, or escapes."""

    separators: tuple[str, str]
    ascii_only: bool

    def write(self, *parts: object) -> str:
        """Return the text of a frame."""
        return json.dumps(parts, separators=self.separators, ensure_ascii=self.ascii_only)


STYLES = (
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
    def is_call(self) -> bool:
        """Return whether the frame is a CALL or SEND."""
        return self.kind not in ANSWERS


class PeerFrame(NamedTuple):
    """A frame; `action` for CALL and SEND, and the error's code for the two kinds of error."""

    kind: int
    id: str
    action: str
    payload: Payload


_HEAD = re.compile(r'\s*\[\s*(\d+)\s*,\s*"((?:[^"\\]|\\.)*)"')


def read_head(text: str) -> FrameHead:
    """Return type and id of a frame without parsing the rest. Raises ValueError."""
    match = _HEAD.match(text)
    if match is None:
        raise ValueError(f"no OCPP-J frame: {text[:80]}")
    return FrameHead(int(match[1]), match[2])


def read_frame(text: str) -> PeerFrame:
    """Parse a whole frame. Raises ValueError."""
    match json.loads(text):
        case [int(kind), str(message_id), str(action), dict(payload)] if kind in (CALL, SEND):
            return PeerFrame(kind, message_id, action, payload)
        case [int(kind), str(message_id), dict(payload)] if kind == CALL_RESULT:
            return PeerFrame(kind, message_id, "", payload)
        case [int(kind), str(message_id), str(code), str(_), dict(payload)] if kind in ANSWERS:
            return PeerFrame(kind, message_id, code, payload)
    raise ValueError(f"no OCPP-J frame: {text[:80]}")


def not_implemented(style: FrameStyle, message_id: str, action: str) -> str:
    """Return the CALLERROR for an unknown action."""
    details: Mapping[str, str] = {}
    return style.write(CALL_ERROR, message_id, "NotImplemented", f"{action} is unknown", details)
