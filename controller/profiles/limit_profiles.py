"""The controller's limits as charging profiles: the fallback and the lease in a station.

The *fallback* is permanent, at stack level 0: the limit that holds when the controller is gone. The *lease*
is above it, at stack level 1, and ends by itself (OCPP 1.6 ed. 2, 3.13; OCPP 2.0.1 Part 2, K01: the highest
valid stack level of a purpose prevails; the minimum across purposes).

A station with one EVSE gets them with the whole-station purpose, so that its backend can use TxDefaultProfile
and TxProfile. A station with several EVSEs, which need a limit each, gets them as TxDefaultProfile per EVSE.

For a station that cannot hold both, its quirk has another `LeaseForm`.
"""

from __future__ import annotations

import enum
import math
from datetime import UTC, datetime, timedelta

import msgspec

from controller.chargers.quirks import NO_QUIRK, LeaseForm, LimitScope, Quirk, limit_purpose
from controller.ocpp import v2, v16
from controller.ocpp.frames import Version

CLOCK_SLACK = timedelta(seconds=NO_QUIRK.start_slack_s)
"""Our leases start so much in the past, for a station whose clock is behind its estimate."""

ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)
"""Start of a limit without an end: in the past even for a station without a battery for its clock."""

_FIRST_ID = 1_600_000_000
"""The first of our profile ids: a signed 32-bit integer, far from those of backends."""
_IDS = 2 * 1000


class LimitKind(enum.IntEnum):
    """The two profiles of the controller in a station; the value is the stack level."""

    FALLBACK = 0
    LEASE = 1


def profile_id(evse: int, kind: LimitKind) -> int:
    """Return the chargingProfileId of our fallback or lease at an EVSE (0: the whole station)."""
    return _FIRST_ID + 2 * evse + kind


def is_ours(charging_profile_id: int) -> bool:
    """Return True if an id is in the range that is reserved for our profiles."""
    return _FIRST_ID <= charging_profile_id < _FIRST_ID + _IDS


class LimitTerms(msgspec.Struct, frozen=True, kw_only=True):
    """Terms under which a limit is encoded for a station.

    `fallback`: what holds after a lease, in the unit of the limit, where one profile has both.
    `number_phases`: of the limit; None: all.
    """

    quirk: Quirk = NO_QUIRK
    fallback: float = 0.0
    number_phases: int | None = None


class _Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A profile independent of the version; `periods` are (start in s, limit).

    `number_phases` and `phase_to_use` are those of the first period: after a lease it is all phases.
    """

    number: int
    stack_level: int
    kind: str
    purpose: str
    unit: str
    periods: tuple[tuple[int, float], ...]
    start: str | None = None
    duration: int | None = None
    valid_to: str | None = None
    number_phases: int | None = None
    phase_to_use: int | None = None


def set_limit(
    version: Version,
    scope: LimitScope,
    evse: int,
    kind: LimitKind,
    limit: float,
    now: datetime,
    duration_s: float | None,
    terms: LimitTerms | None = None,
) -> bytes:
    """Return the payload of a SetChargingProfile with a limit from now on.

    `limit` is A per phase, or W of all phases together where the station's quirk is in W.
    `now` is the time of the station's clock. `duration_s` is the lease's length in s; None for a fallback,
    which has no end and is valid in any clock.
    """
    target = 0 if scope is LimitScope.STATION else evse
    plan = _plan(limit_purpose(version, scope), target, kind, limit, now, duration_s, terms or LimitTerms())
    return msgspec.json.encode(
        _message_16(target, plan) if version is Version.V16 else _message_2(target, plan)
    )


def _plan(
    named: str,
    target: int,
    kind: LimitKind,
    limit: float,
    now: datetime,
    duration_s: float | None,
    terms: LimitTerms,
) -> _Plan:
    quirk = terms.quirk
    slack_s = quirk.start_slack_s
    form, in_watts = quirk.form, quirk.in_watts
    stacked = form is LeaseForm.STACKED
    rank = kind if stacked else LimitKind.FALLBACK
    lease_s = None if duration_s is None else int(duration_s + slack_s)
    duration, valid_to = None, None
    periods = [(0, _rounded(limit, quirk))]
    if lease_s is not None and form is LeaseForm.STEPPED:
        periods.append((lease_s, _rounded(terms.fallback, quirk)))
    elif duration_s is not None and stacked and quirk.kind == "Relative":
        valid_to = _moment(now + timedelta(seconds=duration_s))
    elif stacked:
        duration = lease_s
    return _Plan(
        number=profile_id(target, rank),
        stack_level=rank,
        kind=quirk.kind,
        purpose=named,
        unit="W" if in_watts else "A",
        periods=tuple(periods),
        start=_start(now, quirk, has_end=len(periods) > 1 or duration is not None),
        duration=duration,
        valid_to=valid_to,
        number_phases=terms.number_phases,
        # phaseToUse is allowed only where the station has reported that it can switch (2.0.1 Part 2, 2.8)
        phase_to_use=1 if terms.number_phases == 1 and quirk.phase_switching else None,
    )


def _rounded(limit: float, quirk: Quirk) -> float:
    """Return the limit to send, an integer where the station accepts no decimals."""
    if quirk.in_watts:
        return math.floor(limit + 1e-6)
    limit = quirk.rounded_a(limit) if quirk.steps_a or not quirk.decimals else round(limit, 1)
    return limit if quirk.decimals else int(limit)


def _start(now: datetime, quirk: Quirk, *, has_end: bool) -> str | None:
    """Return the start of a schedule; without an end it begins before the time of any clock."""
    if quirk.kind != "Absolute":
        return None
    start = now - timedelta(seconds=quirk.start_slack_s)
    return _moment(max(start, ALWAYS) if has_end else ALWAYS)


def _moment(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _message_16(target: int, plan: _Plan) -> v16.SetChargingProfileV16:
    return v16.SetChargingProfileV16(
        connector_id=target,
        cs_charging_profiles=v16.ChargingProfileV16(
            charging_profile_id=plan.number,
            stack_level=plan.stack_level,
            charging_profile_purpose=plan.purpose,
            charging_profile_kind=plan.kind,
            valid_to=plan.valid_to,
            charging_schedule=v16.ChargingScheduleV16(
                duration=plan.duration,
                start_schedule=plan.start,
                charging_rate_unit=plan.unit,
                charging_schedule_period=tuple(
                    [
                        v16.ChargingSchedulePeriodV16(
                            start_period=start,
                            limit=limit,
                            number_phases=plan.number_phases if start == 0 else None,
                        )
                        for start, limit in plan.periods
                    ]
                ),
            ),
        ),
    )


def _message_2(target: int, plan: _Plan) -> v2.SetChargingProfileV2:
    schedule = v2.ChargingScheduleV2(
        id=plan.number,
        duration=plan.duration,
        start_schedule=plan.start,
        charging_rate_unit=plan.unit,
        charging_schedule_period=tuple(
            [
                v2.ChargingSchedulePeriodV2(
                    start_period=start,
                    limit=limit,
                    number_phases=plan.number_phases if start == 0 else None,
                    phase_to_use=plan.phase_to_use if start == 0 else None,
                )
                for start, limit in plan.periods
            ]
        ),
    )
    return v2.SetChargingProfileV2(
        evse_id=target,
        charging_profile=v2.ChargingProfileV2(
            id=plan.number,
            stack_level=plan.stack_level,
            charging_profile_purpose=plan.purpose,
            charging_profile_kind=plan.kind,
            valid_to=plan.valid_to,
            charging_schedule=(schedule,),
        ),
    )
