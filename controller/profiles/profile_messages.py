"""A backend's messages about charging profiles, read into the arithmetic of `schedule`, whatever the version.

A profile is judged here as a station judges it: what it cannot be is refused with one of OCPP's reason
codes (OCPP 2.0.1 Part 2, appendix 5; 1.6 has none, there it goes into the log).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from controller.ocpp import v2, v16
from controller.ocpp.frames import Version
from controller.ocpp.payloads import format_time, read_payload
from controller.profiles.schedule import (
    DAY_S,
    PHASES,
    LimitPeriod,
    LimitProfile,
    LimitSchedule,
    LimitSpan,
    ProfilePurpose,
)

MOST_PERIODS = 1024
"""OCPP 2.x allows so many in a schedule."""

ACCEPTED = b'{"status":"Accepted"}'
UNKNOWN = b'{"status":"Unknown"}'

SOURCE_BACKEND = "CSO"
"""OCPP 2.0.1 Part 2, ChargingLimitSourceEnumType: the backend set it."""
SOURCE_US = "EMS"
"""The same: a site's energy management set it."""
SOURCE_GRID = "SO"
"""The same: the grid operator (system operator) set it."""

_PURPOSES = {
    "ChargePointMaxProfile": ProfilePurpose.STATION,
    "ChargingStationMaxProfile": ProfilePurpose.STATION,
    "TxDefaultProfile": ProfilePurpose.DEFAULT,
    "TxProfile": ProfilePurpose.TRANSACTION,
    "ChargingStationExternalConstraints": ProfilePurpose.EXTERNAL,
}
_EVERY_S = {"Daily": DAY_S, "Weekly": 7 * DAY_S}


class ProfileError(Exception):
    """A profile that no station takes. `code` is OCPP's reason code, the text says what is wrong."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class HeldProfile(msgspec.Struct, frozen=True, kw_only=True):
    """A backend's profile: as arithmetic, and `sent`, the JSON of the profile as it came.

    `transaction`: the id of the one that it is for, where it names one.
    """

    profile: LimitProfile
    purpose: str
    sent: bytes
    transaction: str | None = None


class ProfilesAbsorbed(msgspec.Struct, frozen=True):
    """All profiles that are absorbed for a backend from now on: to be stored.

    It comes in the same turn as the answer that accepts them: store before anything is sent.
    """

    profiles: tuple[HeldProfile, ...]


class ClearingCriteria(msgspec.Struct, frozen=True, kw_only=True):
    """Which profiles a command is about: those that agree with everything that is not None."""

    ids: tuple[int, ...] | None = None
    evse: int | None = None
    purpose: str | None = None
    stack_level: int | None = None

    def fit(self, held: HeldProfile) -> bool:
        """Whether they are about this profile."""
        profile = held.profile
        return (
            (self.ids is None or profile.id in self.ids)
            and self.evse in (None, profile.evse)
            and self.purpose in (None, held.purpose)
            and self.stack_level in (None, profile.stack_level)
        )


class _Sent(msgspec.Struct, rename="camel"):
    cs_charging_profiles: msgspec.Raw = msgspec.Raw()
    charging_profile: msgspec.Raw = msgspec.Raw()
    connector_id: int = 0
    evse_id: int = 0


def read_profile(version: Version, payload: bytes) -> HeldProfile:
    """The profile of a SetChargingProfile, or of a remote start that brings one.

    Raises ProfileWrong.
    """
    try:
        sent = msgspec.json.decode(payload, type=_Sent)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise ProfileError("InvalidProfile", str(error)) from error
    raw = bytes(sent.cs_charging_profiles or sent.charging_profile)
    return as_held(version, sent.connector_id if version is Version.V16 else sent.evse_id, raw)


def as_held(version: Version, evse: int, profile: bytes) -> HeldProfile:
    """A profile by itself, as `Held.sent` has it. Raises ProfileWrong."""
    try:
        if version is Version.V16:
            return _held_16(msgspec.json.decode(profile, type=v16.ChargingProfileV16), evse, profile)
        return _held_2(msgspec.json.decode(profile, type=v2.ChargingProfileV2), evse, profile)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise ProfileError("InvalidProfile", str(error)) from error


def read_clearing(version: Version, payload: bytes) -> ClearingCriteria | None:
    """What a ClearChargingProfile is about; None where it cannot be read."""
    if version is Version.V16:
        named = read_payload(v16.ClearChargingProfileV16, payload)
        if named is None:
            return None
        if named.id is not None:  # an id is all that counts then (1.6 ed. 2, 5.5)
            return ClearingCriteria(ids=(named.id,))
        return ClearingCriteria(
            evse=named.connector_id, purpose=named.charging_profile_purpose, stack_level=named.stack_level
        )
    asked = read_payload(v2.ClearChargingProfileV2, payload)
    if asked is None:
        return None
    if asked.charging_profile_id is not None:
        return ClearingCriteria(ids=(asked.charging_profile_id,))
    criteria = asked.charging_profile_criteria or v2.ClearingCriteriaV2()
    return ClearingCriteria(
        evse=criteria.evse_id, purpose=criteria.charging_profile_purpose, stack_level=criteria.stack_level
    )


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
    start = format_time(spans[0].start)
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


def _held_16(profile: v16.ChargingProfileV16, connector: int, raw: bytes) -> HeldProfile:
    schedule = profile.charging_schedule
    periods = tuple(
        LimitPeriod(each.start_period, each.limit, each.number_phases or PHASES)
        for each in schedule.charging_schedule_period
    )
    return _held(
        profile, profile.charging_profile_id, connector, raw, (_schedule(profile, schedule, periods),)
    )


def _held_2(profile: v2.ChargingProfileV2, evse: int, raw: bytes) -> HeldProfile:
    if not profile.charging_schedule:
        raise ProfileError("InvalidSchedule", "it has no schedule")
    if profile.charging_profile_kind == "Relative" and profile.charging_profile_purpose.endswith(
        "MaxProfile"
    ):
        raise ProfileError("InvalidProfile", "the whole station has no transaction to be relative to")
    return _held(
        profile,
        profile.id,
        evse,
        raw,
        tuple(
            _schedule(profile, schedule, tuple(_period_2(each) for each in schedule.charging_schedule_period))
            for schedule in profile.charging_schedule
        ),
    )


def _period_2(period: v2.ChargingSchedulePeriodV2) -> LimitPeriod:
    # What a phase may take is one number in here: 2.1's lowest of three.
    limits = (period.limit, period.limit_l2, period.limit_l3)
    return LimitPeriod(
        period.start_period, min(each for each in limits if each is not None), period.number_phases or PHASES
    )


def _held(
    profile: v16.ChargingProfileV16 | v2.ChargingProfileV2,
    number: int,
    evse: int,
    raw: bytes,
    schedules: tuple[LimitSchedule, ...],
) -> HeldProfile:
    purpose = _PURPOSES.get(profile.charging_profile_purpose)
    if purpose is None:
        raise ProfileError("UnsupportedRequest", f"{profile.charging_profile_purpose} is not supported")
    if profile.stack_level < 0:
        raise ProfileError("InvalidStackLevel", f"stackLevel {profile.stack_level} is below 0")
    if (purpose is ProfilePurpose.STATION and evse != 0) or (
        purpose is ProfilePurpose.TRANSACTION and evse == 0
    ):
        raise ProfileError("InvalidProfile", f"{profile.charging_profile_purpose} is not for EVSE {evse}")
    recurs = profile.charging_profile_kind == "Recurring"
    every_s = _EVERY_S.get(profile.recurrency_kind or "") if recurs else None
    if recurs and (every_s is None or any(schedule.start is None for schedule in schedules)):
        raise ProfileError("InvalidProfile", "a recurring profile needs a recurrencyKind and a startSchedule")
    return HeldProfile(
        profile=LimitProfile(
            id=number,
            evse=evse,
            purpose=purpose,
            stack_level=profile.stack_level,
            schedules=schedules,
            every_s=every_s,
            valid_from=_moment(profile.valid_from, -math.inf),
            valid_to=_moment(profile.valid_to, math.inf),
        ),
        purpose=profile.charging_profile_purpose,
        sent=raw,
        transaction=None if profile.transaction_id is None else str(profile.transaction_id),
    )


def _schedule(
    profile: v16.ChargingProfileV16 | v2.ChargingProfileV2,
    schedule: v16.ChargingScheduleV16 | v2.ChargingScheduleV2,
    periods: tuple[LimitPeriod, ...],
) -> LimitSchedule:
    kind = profile.charging_profile_kind
    if kind not in ("Absolute", "Recurring", "Relative"):
        raise ProfileError("UnsupportedParam", f"chargingProfileKind {kind} is not supported")
    if schedule.charging_rate_unit not in ("A", "W"):
        raise ProfileError(
            "UnsupportedRateUnit", f"chargingRateUnit {schedule.charging_rate_unit} is unknown"
        )
    starts = [period.start_s for period in periods]
    if not starts or starts[0] != 0 or starts != sorted(set(starts)) or len(starts) > MOST_PERIODS:
        raise ProfileError("InvalidSchedule", "its periods do not ascend from startPeriod 0")
    if any(not (0 <= period.limit < math.inf) or not 1 <= period.phases <= PHASES for period in periods):
        raise ProfileError("InvalidSchedule", "a limit is below 0, or there are not 1 to 3 phases")
    if schedule.duration is not None and schedule.duration <= 0:
        raise ProfileError("InvalidSchedule", "its duration is not above 0")
    relative = kind == "Relative" or schedule.start_schedule is None
    return LimitSchedule(
        start=None if relative else _moment(schedule.start_schedule, 0.0),
        periods=periods,
        duration_s=math.inf if schedule.duration is None else schedule.duration,
        watts=schedule.charging_rate_unit == "W",
    )


def _moment(text: str | None, otherwise: float) -> float:
    """A time of OCPP as POSIX seconds; one without a zone is UTC."""
    if text is None:
        return otherwise
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise ProfileError("InvalidSchedule", f"{text} is no time: {error}") from error
