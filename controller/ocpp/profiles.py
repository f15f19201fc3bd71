"""Amperes as charging profiles: the floor and the lease that we keep in a station.

The *floor* is permanent, at stack level 0: what the station takes by itself when we are gone. The
*lease* stands above it, at stack level 1, and ends by itself (OCPP 1.6 ed. 2, 3.13; OCPP 2.0.1
Part 2, K01: the highest valid stack level of a purpose prevails; the minimum across purposes).

A station with one EVSE gets them with the whole-station purpose, so that its backend keeps
TxDefaultProfile and TxProfile for itself. A station with several EVSEs, which need a limit each, gets
them as TxDefaultProfile per EVSE.
"""

from __future__ import annotations

import enum
from datetime import datetime, timedelta

import msgspec

from controller.ocpp import v2, v16
from controller.ocpp.frames import Version

CLOCK_SLACK = timedelta(seconds=60)
"""Our schedules start so much in the past: for a station whose clock is slow, now is the future."""

_FIRST_ID = 1_600_000_000
"""Our profile ids begin here: inside a signed 32-bit integer, far from what backends count."""
_IDS = 2 * 1000


class LimitKind(enum.IntEnum):
    """The two profiles that we keep in a station; the value is the stack level."""

    FLOOR = 0
    LEASE = 1


class Scope(enum.Enum):
    """What one of our limits holds for."""

    STATION = "station"
    EVSE = "evse"


_PURPOSES = {
    (Version.V16, Scope.STATION): "ChargePointMaxProfile",
    (Version.V201, Scope.STATION): "ChargingStationMaxProfile",
    (Version.V21, Scope.STATION): "ChargingStationMaxProfile",
}


def purpose(version: Version, scope: Scope) -> str:
    """The charging profile purpose that is ours in a station."""
    return _PURPOSES.get((version, scope), "TxDefaultProfile")


def profile_id(evse: int, kind: LimitKind) -> int:
    """The chargingProfileId of our floor or lease at an EVSE (0: the whole station)."""
    return _FIRST_ID + 2 * evse + kind


def is_ours(charging_profile_id: int) -> bool:
    """Whether an id lies in the range that we keep for ourselves."""
    return _FIRST_ID <= charging_profile_id < _FIRST_ID + _IDS


def set_limit(
    version: Version,
    scope: Scope,
    evse: int,
    kind: LimitKind,
    limit_a: float,
    now: datetime,
    duration_s: float | None,
) -> bytes:
    """The payload of a SetChargingProfile that limits each phase to `limit_a` (A) from now on.

    `now` is UTC. `duration_s` is the lease's length in s; None for a floor, which has no end.
    """
    target = 0 if scope is Scope.STATION else evse
    start = (now - CLOCK_SLACK).strftime("%Y-%m-%dT%H:%M:%SZ")
    duration = None if duration_s is None else int(duration_s + CLOCK_SLACK.total_seconds())
    limit = round(limit_a, 1)
    number = profile_id(target, kind)
    message: msgspec.Struct
    if version is Version.V16:
        message = v16.SetChargingProfile(
            connector_id=target,
            cs_charging_profiles=v16.ChargingProfile(
                charging_profile_id=number,
                stack_level=kind,
                charging_profile_purpose=purpose(version, scope),
                charging_profile_kind="Absolute",
                charging_schedule=v16.ChargingSchedule(
                    duration=duration,
                    start_schedule=start,
                    charging_rate_unit="A",
                    charging_schedule_period=(v16.ChargingSchedulePeriod(start_period=0, limit=limit),),
                ),
            ),
        )
    else:
        message = v2.SetChargingProfile(
            evse_id=target,
            charging_profile=v2.ChargingProfile(
                id=number,
                stack_level=kind,
                charging_profile_purpose=purpose(version, scope),
                charging_profile_kind="Absolute",
                charging_schedule=(
                    v2.ChargingSchedule(
                        id=number,
                        duration=duration,
                        start_schedule=start,
                        charging_rate_unit="A",
                        charging_schedule_period=(v2.ChargingSchedulePeriod(start_period=0, limit=limit),),
                    ),
                ),
            ),
        )
    return msgspec.json.encode(message)
