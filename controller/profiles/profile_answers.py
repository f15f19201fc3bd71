"""Our answers to a backend's commands about charging profiles that are kept for it, per version."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from controller.ocpp import v2, v16
from controller.ocpp.frames import Version
from controller.profiles.profile_messages import moment_text
from controller.profiles.schedule import LimitSpan

ACCEPTED = b'{"status":"Accepted"}'
UNKNOWN = b'{"status":"Unknown"}'

SOURCE_BACKEND = "CSO"
"""OCPP 2.0.1 Part 2, ChargingLimitSourceEnumType: the backend set it."""
SOURCE_US = "EMS"
"""The same: a site's energy management set it."""
SOURCE_GRID = "SO"
"""The same: the grid operator (system operator) set it."""


def rejected(version: Version, code: str, reason: str) -> bytes:
    """No, and in 2.x why: `code` is one of appendix 5."""
    if version is Version.V16:
        return b'{"status":"Rejected"}'
    info = {"reasonCode": code, "additionalInfo": reason[:512]}
    return msgspec.json.encode({"status": "Rejected", "statusInfo": info})


def composite_schedule(
    version: Version, evse: int, spans: Sequence[LimitSpan], duration_s: int, watts_per_amp: float | None
) -> bytes:
    """The answer to a GetCompositeSchedule. Every span has its limit.

    `watts_per_amp` turns A per phase into W; None: the answer is in A.
    """
    start = moment_text(spans[0].start)
    periods = [
        (round(span.start - spans[0].start), round((span.limit_a or 0.0) * (watts_per_amp or 1.0), 1))
        for span in spans
    ]
    unit = "A" if watts_per_amp is None else "W"
    answer: msgspec.Struct
    if version is Version.V16:
        answer = v16.CompositeScheduleV16(
            status="Accepted",
            connector_id=evse,
            schedule_start=start,
            charging_schedule=v16.ChargingScheduleV16(
                duration=duration_s,
                start_schedule=start,
                charging_rate_unit=unit,
                charging_schedule_period=tuple(
                    v16.ChargingSchedulePeriodV16(start_period=begin, limit=limit) for begin, limit in periods
                ),
            ),
        )
    else:
        answer = v2.CompositeScheduleV2(
            status="Accepted",
            schedule=v2.CompositePeriodsV2(
                evse_id=evse,
                duration=duration_s,
                schedule_start=start,
                charging_rate_unit=unit,
                charging_schedule_period=tuple(
                    v2.ChargingSchedulePeriodV2(start_period=begin, limit=limit) for begin, limit in periods
                ),
            ),
        )
    return msgspec.json.encode(answer)


def limit_notice(evse: int, limit_a: float | None, source: str = SOURCE_US) -> tuple[str, bytes]:
    """What a 2.x backend is told of an EVSE that is held back, or no longer is: action and payload.

    `source`: on whose behalf.
    """
    if limit_a is None:
        cleared = v2.ClearedChargingLimitV2(charging_limit_source=source, evse_id=evse)
        return "ClearedChargingLimit", msgspec.json.encode(cleared)
    notice = v2.NotifyChargingLimitV2(
        evse_id=evse,
        charging_limit=v2.ChargingLimitV2(charging_limit_source=source),
        charging_schedule=(
            v2.ChargingScheduleV2(
                id=evse,
                charging_rate_unit="A",
                charging_schedule_period=(v2.ChargingSchedulePeriodV2(start_period=0, limit=limit_a),),
            ),
        ),
    )
    return "NotifyChargingLimit", msgspec.json.encode(notice)
