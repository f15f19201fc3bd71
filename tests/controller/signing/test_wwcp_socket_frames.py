"""Frames between WWCP nodes over sockets: through a controller, between two nodes, and of a raw client.

A row of `wwcp/socket_frames.json`: its direction, the frame, for an answer the action it answers, and where
it was judged the verdict of the node that received it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from controller.ocpp.frames import Version
from controller.overlay import overlay_frames
from controller.overlay.overlay_frames import RoutedFrame
from controller.overlay.overlay_wire import ERRORS, OverlayMessageKind
from controller.signing import SigningError
from controller.signing.payload_signatures import SignatureReport, verify_payload
from controller.signing.rule_set import RuleKey
from controller.signing.signature_format import Direction, MessageKind

ROWS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "wwcp" / "socket_frames.json").read_text())[
    "frames"
]
KINDS = {
    OverlayMessageKind.CALL: MessageKind.REQUEST,
    OverlayMessageKind.RESULT: MessageKind.RESPONSE,
    OverlayMessageKind.SEND: MessageKind.SEND,
}
UNREADABLE = {"not-JSON", "object", "empty-array", "wrong-type-number"}
UNSIGNED = {"no-signature", "unknown-action", "missing-member", "answer-of-unknown-id"}
INVALID = {
    "bad-signature", "status-bad-signature", "datatransfer-bad-signature", "meter-bad-signature",
    "SEND-topology-bad", "heartbeat-signed-with-the-regular-spelling", "payload-array",
}  # fmt: skip


def _verify(row: dict[str, Any], frame: RoutedFrame) -> SignatureReport | None:
    """Verify the signatures of a frame; None if its payload cannot be read."""
    action = row.get("action") or frame.action or "Unknown"
    key = RuleKey.of_message(Version.V21, action, Direction(row["direction"]), KINDS[frame.kind], "link")
    try:
        return verify_payload(frame.payload, key.context, lambda _: True, free_data=action == "DataTransfer")
    except SigningError:
        return None


def _is_valid(report: SignatureReport | None) -> bool:
    return report is not None and bool(report.signatures) and all(each.valid for each in report.signatures)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_wwcp_socket_frame_has_right_verdict(row: dict[str, Any]) -> None:
    case = row["id"].rpartition("/")[2]
    frame = overlay_frames.parse(row["frame"])
    if case in UNREADABLE:
        assert not isinstance(frame, RoutedFrame)
        return
    assert isinstance(frame, RoutedFrame)
    if frame.kind in ERRORS:
        return
    report = _verify(row, frame)
    if case in UNSIGNED:
        assert report is not None
        assert not report.signatures
    else:
        assert _is_valid(report) is row.get("theirs", case not in INVALID)


def test_wwcp_controller_that_rewrote_decimal_is_named_as_reason() -> None:
    # 1.50 and 0.00001 leave their controller as other texts: they cannot be verified any more.
    rewritten = [row for row in ROWS if row.get("theirs") is False]
    assert len(rewritten) == 2
    for row in rewritten:
        frame = overlay_frames.parse(row["frame"])
        assert isinstance(frame, RoutedFrame)
        report = _verify(row, frame)
        assert report is not None
        assert "a controller on the way may have" in (report.signatures[0].wrong or "")
