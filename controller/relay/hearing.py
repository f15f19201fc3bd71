"""A text that came over a link: a frame, or what to say and to log about one that is none."""

from __future__ import annotations

import msgspec

from controller.ocpp.frames import Frame, MalformedFrame, UnknownMessageType, Version, malformed_answer, parse


class UnreadableText(msgspec.Struct, frozen=True):
    """No frame. `note` is for the log; `answer`, if any, for the sender."""

    note: str
    answer: str | None = None


def parse_text(version: Version, text: str, sender: str) -> Frame | UnreadableText:
    """Read a text. An unknown message type is to be ignored (OCPP-J 2.x Part 4, 4.1.3)."""
    frame = parse(text)
    if isinstance(frame, UnknownMessageType):
        return UnreadableText(f"{sender} sent a frame of unknown type {frame.type}: ignored")
    if isinstance(frame, MalformedFrame):
        return UnreadableText(
            f"{sender} sent a frame that we cannot read: {frame.reason} ({len(text)} characters)",
            malformed_answer(version, frame),
        )
    return frame
