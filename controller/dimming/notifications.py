"""Notifications of a dimming limit to backends, and on the displays of stations.

OCPP 2.x has messages for both (2.0.1 Part 2, K12 and K13: NotifyChargingLimit, ClearedChargingLimit; O01 and
O05: SetDisplayMessage, ClearDisplayMessage). OCPP 1.6 has none: there a DataTransfer of ours has the same
content; a peer without it answers UnknownVendorId or UnknownMessageId.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from controller.dimming.dimming_messages import ACTION, VENDOR, moment
from controller.ocpp.frames import Version

Language = Literal["de", "en"]

DIMMED, DIMMED_NO_MORE = "dimmed", "dimmedNoMore"
"""The messageIds of the 1.6 DataTransfer."""

GRID_OPERATOR, BACKEND = "SO", "CSO"
"""OCPP 2.0.1 Part 2, ChargingLimitSourceEnumType."""

_LIMITED = {
    "de": "Der Netzbetreiber begrenzt die Ladeleistung",
    "en": "The grid operator limits the charging power",
}
_UNTIL = {"de": " bis {} Uhr", "en": " until {}"}


class DimmingNotice(msgspec.Struct, frozen=True):
    """A CALL: its action and its payload."""

    action: str
    payload: bytes


class DimmingSpan(msgspec.Struct, frozen=True, kw_only=True):
    """A limit over time: W, POSIX s; `until` None where its end is not known. `set_by` as in OCPP 2.x."""

    watts: float
    since: float
    until: float | None = None
    set_by: str = GRID_OPERATOR


def to_backend(version: Version, span: DimmingSpan, evse: int | None = None) -> DimmingNotice:
    """Return the notice of a limit; `evse`: of one EVSE."""
    if version is Version.V16:
        return _transfer(DIMMED, _span_members(span))
    schedule: dict[str, Any] = {
        "id": 0,
        "startSchedule": moment(span.since),
        "chargingRateUnit": "W",
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": round(span.watts, 1)}],
    }
    if span.until is not None:
        schedule["duration"] = max(1, round(span.until - span.since))
    payload = {
        "chargingLimit": {"chargingLimitSource": span.set_by, "isGridCritical": span.set_by == GRID_OPERATOR},
        "chargingSchedule": [schedule],
    }
    return _make_notice("NotifyChargingLimit", payload | _at(evse))


def to_backend_no_more(
    version: Version, set_by: str = GRID_OPERATOR, evse: int | None = None
) -> DimmingNotice:
    """Return the notice that the limit has ended."""
    if version is Version.V16:
        return _transfer(DIMMED_NO_MORE, {"setBy": set_by})
    return _make_notice("ClearedChargingLimit", {"chargingLimitSource": set_by} | _at(evse))


def on_display(
    version: Version, message_id: int, span: DimmingSpan, language: Language, until: str
) -> DimmingNotice:
    """Return the CALL that shows a text on a display. `until`: its end in local time, or empty."""
    text = _LIMITED[language] + (_UNTIL[language].format(until) if until else "")
    if version is Version.V16:
        return _transfer(DIMMED, _span_members(span) | {"text": text, "language": language})
    message: dict[str, Any] = {
        "id": message_id,
        "priority": "InFront",
        "startDateTime": moment(span.since),
        "message": {"format": "UTF8", "language": language, "content": text},
    }
    if span.until is not None:
        message["endDateTime"] = moment(span.until)
    return _make_notice("SetDisplayMessage", {"message": message})


def off_display(version: Version, message_id: int) -> DimmingNotice:
    """Return the CALL that removes the text from a display."""
    if version is Version.V16:
        return _transfer(DIMMED_NO_MORE, {})
    return _make_notice("ClearDisplayMessage", {"id": message_id})


def _span_members(span: DimmingSpan) -> dict[str, Any]:
    data = {"limitW": round(span.watts, 1), "from": moment(span.since), "setBy": span.set_by}
    return data if span.until is None else data | {"until": moment(span.until)}


def _at(evse: int | None) -> dict[str, int]:
    return {} if evse is None else {"evseId": evse}


def _make_notice(action: str, payload: dict[str, Any]) -> DimmingNotice:
    return DimmingNotice(action, msgspec.json.encode(payload))


def _transfer(message_id: str, data: dict[str, Any]) -> DimmingNotice:
    text = msgspec.json.encode(data).decode()
    return _make_notice(ACTION, {"vendorId": VENDOR, "messageId": message_id, "data": text})
