"""Frames of OCPP-J as peers write them, and checks of those that peers receive."""

from __future__ import annotations

import json
from typing import Any

from controller.ocpp.frames import Call, parse


def call(message_id: str, action: str = "DataTransfer", payload: str = "{}") -> str:
    """Return a CALL; the payload is JSON."""
    return f'[2,"{message_id}","{action}",{payload}]'


def result(message_id: str, payload: str = "{}") -> str:
    """Return a CALLRESULT; the payload is JSON."""
    return f'[3,"{message_id}",{payload}]'


def expect_call(text: str, action: str, payload: Any = None) -> Call:
    """Return the CALL in `text`, which has this action, and this payload if one is given."""
    frame = parse(text)
    assert isinstance(frame, Call), f"expected a CALL {action}: {text}"
    assert frame.action == action, f"expected a CALL {action}: {text}"
    if payload is not None:
        assert json.loads(frame.payload) == payload
    return frame


def expect_result(text: str, message_id: str) -> dict[str, Any]:
    """Return the payload of the CALLRESULT in `text`, which answers the CALL with this id."""
    kind, answered_id, payload, *_ = json.loads(text)
    assert (kind, answered_id) == (3, message_id), f"expected a CALLRESULT {message_id}: {text}"
    assert isinstance(payload, dict)
    return payload


def expect_error(text: str, message_id: str, code: str, words: str = "") -> None:
    """Check that `text` is a CALLERROR for this id with this code, and with `words` in its description."""
    kind, answered_id, answered_code, description, _details = json.loads(text)
    assert (kind, answered_id, answered_code) == (4, message_id, code)
    assert words in description
