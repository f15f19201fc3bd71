"""The latest messages of a station with their payloads decoded, for a person."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec

from controller.ocpp.frames import (
    Call,
    CallError,
    CallResult,
    CallResultError,
    Frame,
    MalformedFrame,
    Send,
    UnknownMessageType,
    parse,
)
from controller.ocpp.payload_redaction import names_secret, redact_payload
from controller.services.web.web_adapters import ReadMessages
from controller.stations.connection_stats import ConnectionStats
from controller.stations.recent_messages import RecentMessage
from controller.web.http_messages import ProblemError
from controller.web.site_interface import MessageEntry
from drivers.coded_text import coded


def make_message_reader(read_stations: Callable[[], Sequence[str]], stats: ConnectionStats) -> ReadMessages:
    """Return the reader of the latest messages of the stations that the configuration names by now."""

    def read_messages(station: str, *, show_identities: bool) -> list[MessageEntry]:
        if station not in read_stations():
            raise ProblemError(
                404, coded("station {station} is not in the configuration", station=repr(station))
            )
        recent = stats.recent.get(station)
        return [] if recent is None else decode_messages(recent.messages, show_identities=show_identities)

    return read_messages


def decode_messages(recent: Sequence[RecentMessage], *, show_identities: bool) -> list[MessageEntry]:
    """Return messages as they are shown, the newest first.

    The action of an answer is that of its request, empty if that is older than what is kept. One that is
    no valid frame has its text as payload, for those who may see identities.
    """
    actions: dict[tuple[bool, str], str] = {}
    shown = []
    for message in recent:
        parsed = parse(message.text)
        frame = None if isinstance(parsed, UnknownMessageType) else parsed
        if isinstance(frame, MalformedFrame):
            frame = frame.frame
        if isinstance(frame, Call):
            actions[message.is_from_station, frame.id] = frame.action
        if isinstance(frame, Call | Send):
            action = frame.action
        else:
            action = "" if frame is None else actions.get((not message.is_from_station, frame.id), "")
        shown.append(
            MessageEntry(
                time=datetime.fromtimestamp(message.utc, UTC).isoformat(timespec="milliseconds"),
                direction="from-station" if message.is_from_station else "to-station",
                kind="unreadable" if frame is None else _KINDS[type(frame)],
                id="" if frame is None else frame.id[:64],
                action=action[:64],
                payload=_decode_payload(message, frame, show_identities=show_identities),
                length=message.length,
                cut=message.length > len(message.text),
            )
        )
    return shown[::-1]


_KINDS: dict[type[Frame], str] = {
    Call: "call",
    CallResult: "result",
    CallError: "error",
    CallResultError: "result-error",
    Send: "send",
}


def _decode_payload(message: RecentMessage, frame: Frame | None, *, show_identities: bool) -> object:
    if message.length > len(message.text):
        return None
    try:
        if isinstance(frame, Call | CallResult | Send):
            payload = msgspec.json.decode(frame.payload)
        elif frame is None:
            raise ValueError
        else:
            payload = msgspec.json.decode(message.text)[2:]
            payload = dict(zip(("errorCode", "errorDescription", "errorDetails"), payload, strict=False))
        return redact_payload(payload, show_identities=show_identities)
    except (ValueError, RecursionError, TypeError):
        # Nothing can be redacted in a text without structure: it is shown as it is, or not at all.
        return message.text if show_identities and not names_secret(message.text) else None
