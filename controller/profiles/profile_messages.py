"""Messages about charging profiles: strict reading of a backend's commands, and our answers, per version.

What commands a limit is read in one way or not at all. A name that stands twice in an object, a name in other
letter case, or a value of another type are read differently by different stations: such a command is
answered with a CALLERROR. A profile that can be read is then judged as a station judges it: what no station
takes is rejected with one of OCPP's reason codes (OCPP 2.0.1 Part 2, appendix 5; in 1.6 it is logged).
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, TypeVar

import msgspec

from controller.model.effects import LogEntry
from controller.model.journal import ProfilesStored, StoredProfile
from controller.ocpp import v2, v16
from controller.ocpp.frames import Version
from controller.ocpp.payloads import format_time, is_accepted, read_payload
from controller.profiles.schedule import (
    DAY_S,
    PHASES,
    LimitPeriod,
    LimitProfile,
    LimitSchedule,
    LimitSpan,
    ProfilePurpose,
)
from controller.signing.jws import extract_payload
from controller.signing.signed_text import SignedTextError

MOST_PERIODS = 1024
"""Periods of a schedule (2.x)."""
MOST_SCHEDULES = 3
"""Schedules of a profile (2.x)."""

ACCEPTED = b'{"status":"Accepted"}'
UNKNOWN = b'{"status":"Unknown"}'
NO_PROFILES = b'{"status":"NoProfiles"}'

SOURCE_BACKEND = "CSO"
"""OCPP 2.0.1 Part 2, ChargingLimitSourceEnumType: set by the backend."""
SOURCE_US = "EMS"
"""The same: set by a site's energy management."""
SOURCE_GRID = "SO"
"""The same: set by the grid operator (system operator)."""

_PURPOSES = {
    "ChargePointMaxProfile": ProfilePurpose.STATION,
    "ChargingStationMaxProfile": ProfilePurpose.STATION,
    "TxDefaultProfile": ProfilePurpose.DEFAULT,
    "TxProfile": ProfilePurpose.TRANSACTION,
    "ChargingStationExternalConstraints": ProfilePurpose.EXTERNAL,
}
_PURPOSES_201 = frozenset(_PURPOSES) - {"ChargePointMaxProfile"}
_PURPOSES_OF: dict[Version, frozenset[str]] = {
    Version.V16: frozenset({"ChargePointMaxProfile", "TxDefaultProfile", "TxProfile"}),
    Version.V201: _PURPOSES_201,
    Version.V21: _PURPOSES_201 | {"PriorityCharging", "LocalGeneration"},
}
DYNAMIC = "Dynamic"
PULL = "PullDynamicScheduleUpdate"
"""Request of a station for the update of a Dynamic profile (2.1)."""
"""Kind of a profile whose one limit the backend updates (2.1 Part 2, K28)."""
_KINDS = ("Absolute", "Recurring", "Relative", DYNAMIC)
_EVERY_S = {"Daily": DAY_S, "Weekly": 7 * DAY_S}

_Profile = v16.ChargingProfileV16 | v2.ChargingProfileV2
_Schedule = v16.ChargingScheduleV16 | v2.ChargingScheduleV2
_Command = (
    v16.SetChargingProfileV16
    | v16.RemoteStartTransactionV16
    | v2.SetChargingProfileV2
    | v2.RequestStartTransactionV2
)
_COMMANDS: dict[tuple[bool, str], type[_Command]] = {
    (True, "SetChargingProfile"): v16.SetChargingProfileV16,
    (True, "RemoteStartTransaction"): v16.RemoteStartTransactionV16,
    (False, "SetChargingProfile"): v2.SetChargingProfileV2,
    (False, "RequestStartTransaction"): v2.RequestStartTransactionV2,
}
REMOTE_STARTS = {"RemoteStartTransaction", "RequestStartTransaction"}
_CommandT = TypeVar("_CommandT", bound=msgspec.Struct)


class ProfileError(Exception):
    """A profile that no station takes. `code` is OCPP's reason code, the text states what is wrong."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class UnreadableCommandError(ProfileError):
    """A command that stations may read differently, or that breaks OCPP's types and ranges.

    `code` is that of a CALLERROR.
    """


class BackendProfile(msgspec.Struct, frozen=True, kw_only=True):
    """A backend's profile: as arithmetic, and `raw`, its JSON as it came.

    `transaction`: the id of its transaction; None where it names none. `pull_every_s`: its updates are asked
    for so long after the last one; None: they are not.
    """

    profile: LimitProfile
    purpose: str
    raw: bytes
    transaction: str | None = None
    pull_every_s: float | None = None

    @property
    def period_count(self) -> int:
        """The number of periods of all its schedules."""
        return sum(len(schedule.periods) for schedule in self.profile.schedules)


class ProfileCommand(msgspec.Struct, frozen=True, kw_only=True):
    """The profile of a backend's command, with the EVSE that it is for. `raw`: its JSON as it came."""

    evse: int
    content: _Profile
    raw: bytes

    @property
    def number(self) -> int:
        """The profile's id."""
        content = self.content
        return content.charging_profile_id if isinstance(content, v16.ChargingProfileV16) else content.id

    @property
    def purpose(self) -> str:
        """The profile's purpose."""
        return self.content.charging_profile_purpose


class ClearingCriteria(msgspec.Struct, frozen=True, kw_only=True):
    """Criteria of profiles: all that are not None have to match."""

    ids: tuple[int, ...] | None = None
    evse: int | None = None
    purpose: str | None = None
    stack_level: int | None = None

    def matches(self, each: BackendProfile) -> bool:
        """Return True if a profile matches."""
        profile = each.profile
        return (
            (self.ids is None or profile.id in self.ids)
            and self.evse in (None, profile.evse)
            and self.purpose in (None, each.purpose)
            and self.stack_level in (None, profile.stack_level)
        )


class _RawProfile(msgspec.Struct, rename="camel"):
    cs_charging_profiles: msgspec.Raw = msgspec.Raw()
    charging_profile: msgspec.Raw = msgspec.Raw()


# -- strict reading -----------------------------------------------------------------------------------


def read_command(version: Version, kind: type[_CommandT], payload: bytes) -> _CommandT:
    """Read a command in the one way that all readers share. Raises UnreadableCommandError."""
    malformed = "FormationViolation" if version is Version.V16 else "FormatViolation"
    try:
        check_names(json.loads(payload, object_pairs_hook=_Members))
        return msgspec.json.decode(payload, type=kind)
    except ProfileError as error:
        raise UnreadableCommandError(malformed, str(error)) from None
    except msgspec.ValidationError as error:
        raise UnreadableCommandError("TypeConstraintViolation", str(error)) from error
    except (ValueError, RecursionError) as error:
        raise UnreadableCommandError(malformed, f"the payload cannot be read: {error}") from error


def read_profile_command(version: Version, action: str, payload: bytes) -> ProfileCommand | None:
    """Read the profile of a SetChargingProfile or of a remote start; None where it has none.

    Raises UnreadableCommandError.
    """
    kind = _COMMANDS[version is Version.V16, action]
    if action in REMOTE_STARTS and not _has_profile(payload):
        return None
    command = read_command(version, kind, payload)
    raw = msgspec.json.decode(payload, type=_RawProfile)
    content: _Profile | None
    match command:
        case v16.SetChargingProfileV16():
            evse, content = command.connector_id, command.cs_charging_profiles
        case v16.RemoteStartTransactionV16():
            evse, content = command.connector_id or 0, command.charging_profile
        case _:
            evse, content = command.evse_id or 0, command.charging_profile
    if content is None:
        return None
    if content.charging_profile_purpose not in _PURPOSES_OF[version]:
        purpose = content.charging_profile_purpose[:50]
        raise UnreadableCommandError("PropertyConstraintViolation", f"{purpose!r} is not a purpose")
    _check_lists(version, content)
    _check_numbers(evse, content)
    return ProfileCommand(
        evse=evse, content=content, raw=bytes(raw.cs_charging_profiles or raw.charging_profile)
    )


def read_clearing(version: Version, payload: bytes) -> ClearingCriteria:
    """Read the criteria of a ClearChargingProfile. Raises UnreadableCommandError."""
    if version is Version.V16:
        old = read_command(version, v16.ClearChargingProfileV16, payload)
        if old.id is not None:  # an id is all that counts then (1.6 ed. 2, 5.5)
            return ClearingCriteria(ids=(old.id,))
        return ClearingCriteria(
            evse=old.connector_id, purpose=old.charging_profile_purpose, stack_level=old.stack_level
        )
    new = read_command(version, v2.ClearChargingProfileV2, payload)
    if new.charging_profile_id is not None:
        return ClearingCriteria(ids=(new.charging_profile_id,))
    criteria = new.charging_profile_criteria or v2.ClearingCriteriaV2()
    return ClearingCriteria(
        evse=criteria.evse_id, purpose=criteria.charging_profile_purpose, stack_level=criteria.stack_level
    )


def read_update(version: Version, payload: bytes) -> v2.UpdateDynamicScheduleV2:
    """Read an UpdateDynamicSchedule (2.1). Raises UnreadableCommandError."""
    command = read_command(version, v2.UpdateDynamicScheduleV2, payload)
    _check_ranges((name, limit, 0, math.inf) for name, limit in _limits_of(command.schedule_update))
    return command


def read_pulled_update(payload: bytes, result: bytes) -> tuple[int, v2.ScheduleUpdateV2] | None:
    """Read profile and update of a PullDynamicScheduleUpdate with its result (2.1); None: there is none."""
    asked = read_payload(v2.PullDynamicScheduleUpdateV2, payload)
    given = read_payload(v2.PullDynamicScheduleUpdateResultV2, result)
    if asked is None or given is None or given.schedule_update is None or not is_accepted(result):
        return None
    try:
        _check_ranges((name, limit, 0, math.inf) for name, limit in _limits_of(given.schedule_update))
    except UnreadableCommandError:
        return None
    return asked.charging_profile_id, given.schedule_update


def read_signed_payload(payload: bytes) -> bytes:
    """Return the command in a `-Signed` message. Raises UnreadableCommandError."""
    try:
        return extract_payload(payload)
    except SignedTextError as error:
        text = f"the signed command cannot be read: {error}"
        raise UnreadableCommandError("FormatViolation", text) from error


class _Members(list[tuple[str, Any]]):
    """The members of a JSON object in order, those of the same name, too."""


def _json_names(kind: Any) -> Iterator[str]:
    """Yield the JSON names of a Struct and of all Structs in its fields."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        for field in msgspec.structs.fields(kind):
            yield field.encode_name
            yield from _json_names(field.type)
    for inner in getattr(kind, "__args__", ()):
        yield from _json_names(inner)


_READ = (
    v2.UpdateDynamicScheduleV2,
    *_COMMANDS.values(),
    v16.ClearChargingProfileV16,
    v2.ClearChargingProfileV2,
)
_NAMES = {name.lower(): name for kind in _READ for name in _json_names(kind)}
_NAMES |= {"setvariabledata": "setVariableData"}


def check_names(value: object) -> None:
    """Raise ProfileError for a name that stands twice, or in other letter case. Vendor data is not read."""
    if isinstance(value, _Members):
        seen: set[str] = set()
        for name, member in value:
            if name in seen:
                raise ProfileError("FormationViolation", f"the member {name[:50]!r} stands twice")
            if _NAMES.get(name.lower(), name) != name:
                raise ProfileError("FormationViolation", f"the member {name[:50]!r} is misspelt")
            seen.add(name)
            if name != "customData":
                check_names(member)
    elif isinstance(value, list):
        for each in value:
            check_names(each)


def _has_profile(payload: bytes) -> bool:
    """Return True if a remote start has a profile in any spelling."""
    try:
        members = json.loads(payload, object_pairs_hook=_Members)
    except (ValueError, RecursionError):
        return True  # to be refused by its reader
    return isinstance(members, _Members) and any(name.lower() == "chargingprofile" for name, _ in members)


# -- profiles -------------------------------------------------------------------------------------------


def accept_profile(version: Version, command: ProfileCommand, utc: float) -> BackendProfile:
    """Turn a command's profile into arithmetic at `utc`. Raises ProfileError for what no station takes."""
    content = command.content
    is_dynamic = content.charging_profile_kind == DYNAMIC and version is Version.V21
    if is_dynamic and isinstance(content, v2.ChargingProfileV2):  # its duration begins with each update
        time = format_time(utc)
        command = ProfileCommand(
            evse=command.evse,
            content=msgspec.structs.replace(content, dyn_update_time=time),
            raw=msgspec.json.encode(msgspec.json.decode(command.raw) | {"dynUpdateTime": time}),
        )
    return to_backend_profile(command)


def check_followed(command: ProfileCommand, *, may_pull: bool) -> None:
    """Raise ProfileError for a profile that the controller would not follow as its station does (2.1).

    A profile that is absorbed never reaches the station. `may_pull`: its updates can be asked for.
    """
    content = command.content
    if not isinstance(content, v2.ChargingProfileV2):
        return
    if not may_pull and _pull_every_s(content) is not None:
        raise _unfollowed("dynUpdateInterval", "send updates by UpdateDynamicSchedule")
    if content.max_offline_duration is not None:
        raise _unfollowed("maxOfflineDuration", "use a duration or validTo, or clear the profile")
    for schedule in content.charging_schedule:
        if schedule.use_local_time:
            raise _unfollowed("useLocalTime", "send times with their offset")
        if schedule.limit_at_soc is not None:
            raise _unfollowed("limitAtSoC", "send another profile when its state of charge is reached")
        for period in schedule.charging_schedule_period:
            if period.operation_mode not in (None, "ChargingOnly"):
                raise _unfollowed(f"operationMode {period.operation_mode}", "send a limit for ChargingOnly")
            if period.setpoint is not None:
                raise _unfollowed("setpoint", "send a limit")


def _unfollowed(member: str, remedy: str) -> ProfileError:
    return ProfileError("UnsupportedParam", f"{member[:50]} is not supported: {remedy}")


def read_stored_profile(version: Version, evse: int, raw: bytes) -> BackendProfile:
    """Read `BackendProfile.raw` again. Raises ProfileError."""
    kind: type[_Profile] = v16.ChargingProfileV16 if version is Version.V16 else v2.ChargingProfileV2
    try:
        content = msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise ProfileError("InvalidProfile", str(error)) from error
    _check_lists(version, content)
    _check_numbers(evse, content)
    return to_backend_profile(ProfileCommand(evse=evse, content=content, raw=raw))


def record_profiles(station: str, version: Version, profiles: Iterable[BackendProfile]) -> ProfilesStored:
    """Return the record of all profiles that are absorbed for a station's backend."""
    stored = tuple(StoredProfile(each.profile.evse, each.raw) for each in profiles)
    return ProfilesStored(station, version, stored)


def read_stored_profiles(
    records: Iterable[ProfilesStored],
) -> tuple[dict[tuple[str, Version], list[BackendProfile]], list[LogEntry]]:
    """Return the stored profiles by station and version, and a log entry for each that is unreadable."""
    found: dict[tuple[str, Version], list[BackendProfile]] = {}
    entries: list[LogEntry] = []
    for record in records:
        profiles = found.setdefault((record.station, Version(record.version)), [])
        for each in record.profiles:
            try:
                profiles.append(read_stored_profile(Version(record.version), each.evse, each.profile))
            except ProfileError as error:
                line = f"stored profile dropped station={record.station} reason={error}"
                entries.append(LogEntry(logging.WARNING, line))
    return found, entries


def to_backend_profile(command: ProfileCommand) -> BackendProfile:
    """Turn a command's profile into arithmetic. Raises ProfileError for what no station takes."""
    content = command.content
    schedules = _schedules(content)
    purpose = _PURPOSES.get(command.purpose)
    if purpose is None:
        raise ProfileError("UnsupportedRequest", f"{command.purpose} is not supported")
    if not 1 <= len(schedules) <= MOST_SCHEDULES:
        raise ProfileError("InvalidSchedule", f"it has {len(schedules)} schedules, not 1 to {MOST_SCHEDULES}")
    evse = command.evse
    if (purpose is ProfilePurpose.STATION and evse != 0) or (
        purpose is ProfilePurpose.TRANSACTION and evse == 0
    ):
        raise ProfileError("InvalidProfile", f"{command.purpose} is not for EVSE {evse}")
    if purpose is ProfilePurpose.STATION and content.charging_profile_kind == "Relative":
        raise ProfileError("InvalidProfile", "the whole station has no transaction to be relative to")
    read = tuple(_schedule(content, each) for each in schedules)
    recurs = content.charging_profile_kind == "Recurring"
    every_s = _EVERY_S.get(content.recurrency_kind or "") if recurs else None
    if recurs and (every_s is None or any(schedule.start is None for schedule in read)):
        raise ProfileError("InvalidProfile", "a recurring profile needs a recurrencyKind and a startSchedule")
    return BackendProfile(
        profile=LimitProfile(
            id=command.number,
            evse=evse,
            purpose=purpose,
            stack_level=content.stack_level,
            schedules=read,
            every_s=every_s,
            valid_from=_moment(content.valid_from, -math.inf),
            valid_to=_moment(content.valid_to, math.inf),
        ),
        purpose=command.purpose,
        raw=command.raw,
        transaction=None if content.transaction_id is None else str(content.transaction_id),
        pull_every_s=_pull_every_s(content),
    )


def _pull_every_s(content: _Profile) -> float | None:
    if isinstance(content, v16.ChargingProfileV16) or content.charging_profile_kind != DYNAMIC:
        return None
    interval_s = content.dyn_update_interval or 0
    return float(interval_s) if interval_s > 0 else None


def update_profile(profile: BackendProfile, update: v2.ScheduleUpdateV2, utc: float) -> BackendProfile:
    """Return a Dynamic profile with the limits of an update, which replace all of its period.

    Raises ProfileError where the profile is of another kind, or where the update has no limit or a setpoint.
    """
    content = msgspec.json.decode(profile.raw)
    if content["chargingProfileKind"] != DYNAMIC:
        number = profile.profile.id
        raise ProfileError("InvalidProfile", f"profile {number} is not {DYNAMIC}: replace it as a whole")
    limits = dict(_limits_of(update))
    if update.setpoint is not None:
        raise _unfollowed("setpoint", "send a limit")
    if update.limit is None:
        raise ProfileError("UnsupportedParam", "an update without a limit is not supported")
    schedule = content["chargingSchedule"][0]
    [period] = schedule["chargingSchedulePeriod"]
    kept = {name: value for name, value in period.items() if name not in limits}
    given = {name: value for name, value in limits.items() if value is not None}
    schedule["chargingSchedulePeriod"] = [kept | given]
    content["dynUpdateTime"] = format_time(utc)
    return read_stored_profile(Version.V21, profile.profile.evse, msgspec.json.encode(content))


def _schedules(content: _Profile) -> tuple[_Schedule, ...]:
    if isinstance(content, v16.ChargingProfileV16):
        return (content.charging_schedule,)
    return content.charging_schedule


def _check_lists(version: Version, content: _Profile) -> None:
    """Raise UnreadableCommandError for a schedule without a period, or a profile without a schedule (2.x).

    One station refuses it, another reads it as "no limit". Sources: OCPP 1.6 edition 2, 7.13; 2.1 Part 2,
    ChargingScheduleType: 1 to n periods; ChargingProfileType: 1 to 3 schedules.
    """
    code = "OccurenceConstraintViolation" if version is Version.V16 else "OccurrenceConstraintViolation"
    schedules = _schedules(content)
    if not schedules:
        raise UnreadableCommandError(
            code, "chargingSchedule is empty: send a schedule, or a ClearChargingProfile to remove the limit"
        )
    for number, schedule in enumerate(schedules):
        if not schedule.charging_schedule_period:
            place = "chargingSchedule" if version is Version.V16 else f"chargingSchedule[{number}]"
            raise UnreadableCommandError(
                code,
                f"{place}.chargingSchedulePeriod is empty: send a period with startPeriod 0, or a "
                "ClearChargingProfile to remove the limit",
            )


def _check_numbers(evse: int, content: _Profile) -> None:
    """Raise UnreadableCommandError for a number outside of its range in the standard.

    One station refuses it, another reads it as a large unsigned number or as "without end". Sources: OCPP 1.6
    edition 2, 7.8, 7.12 to 7.14; OCPP 2.1 Part 3, SetChargingProfileRequest.
    """
    numbers: list[tuple[str, float | None, int, float]] = [
        ("EVSE", evse, 0, math.inf),
        ("stackLevel", content.stack_level, 0, math.inf),
    ]
    for schedule in _schedules(content):
        numbers.append(("duration", schedule.duration, 1, math.inf))
        for period in schedule.charging_schedule_period:
            numbers += [
                ("startPeriod", period.start_period, 0, math.inf),
                ("limit", period.limit, 0, math.inf),
                ("numberPhases", period.number_phases, 0, PHASES),
            ]
            if isinstance(period, v2.ChargingSchedulePeriodV2):
                numbers += [(name, limit, 0, math.inf) for name, limit in _limits_of(period)[1:]]
                numbers.append(("phaseToUse", period.phase_to_use, 0, PHASES))
    _check_ranges(numbers)


def _limits_of(
    period: v2.ChargingSchedulePeriodV2 | v2.ScheduleUpdateV2,
) -> tuple[tuple[str, float | None], ...]:
    """Return the limits of a period with their names."""
    return ("limit", period.limit), ("limit_L2", period.limit_l2), ("limit_L3", period.limit_l3)


def _check_ranges(numbers: Iterable[tuple[str, float | None, int, float]]) -> None:
    """Raise UnreadableCommandError for a number that is not between its least and its most value."""
    for name, value, least, most in numbers:
        if value is not None and not least <= value <= most:
            bound = f"below {least}" if value < least else f"above {most:g}"
            raise UnreadableCommandError("PropertyConstraintViolation", f"{name} {value:g} is {bound}")


def _schedule(content: _Profile, schedule: _Schedule) -> LimitSchedule:
    kind = content.charging_profile_kind
    if kind not in _KINDS:
        raise ProfileError("UnsupportedParam", f"chargingProfileKind {kind} is not supported")
    start_time = schedule.start_schedule
    if kind == DYNAMIC:
        if isinstance(content, v16.ChargingProfileV16) or content.dyn_update_time is None:
            raise ProfileError("UnsupportedParam", f"chargingProfileKind {DYNAMIC} is one of OCPP 2.1")
        if len(_schedules(content)) > 1 or len(schedule.charging_schedule_period) > 1:
            raise ProfileError("InvalidSchedule", f"a {DYNAMIC} profile has one schedule of one period")
        start_time = content.dyn_update_time
    if schedule.charging_rate_unit not in ("A", "W"):
        raise ProfileError(
            "UnsupportedRateUnit", f"chargingRateUnit {schedule.charging_rate_unit} is unknown"
        )
    periods = tuple(_period(each) for each in schedule.charging_schedule_period)
    starts = [period.start_s for period in periods]
    if len(starts) > MOST_PERIODS:
        reason = f"chargingSchedulePeriod has {len(starts)} periods: at most {MOST_PERIODS} are supported"
        raise ProfileError("InvalidSchedule", reason)
    if starts[0] != 0:
        reason = f"the first startPeriod is {starts[0]}: the periods of a schedule begin at 0"
        raise ProfileError("InvalidSchedule", reason)
    if descent := next((each for each in pairwise(starts) if each[0] >= each[1]), None):
        reason = f"startPeriod {descent[1]} comes after {descent[0]}: the periods of a schedule ascend"
        raise ProfileError("InvalidSchedule", reason)
    relative = kind == "Relative" or start_time is None
    return LimitSchedule(
        start=None if relative else _moment(start_time, 0.0),
        periods=periods,
        duration_s=math.inf if schedule.duration is None else schedule.duration,
        watts=schedule.charging_rate_unit == "W",
    )


def _period(period: v16.ChargingSchedulePeriodV16 | v2.ChargingSchedulePeriodV2) -> LimitPeriod:
    limits: list[float | None] = [period.limit]
    if isinstance(period, v2.ChargingSchedulePeriodV2):
        limits = [
            limit for _, limit in _limits_of(period)
        ]  # one limit a phase is calculated with: the lowest
    given = [limit for limit in limits if limit is not None]
    if not given:
        raise ProfileError("UnsupportedParam", "a period without a limit is not supported")
    return LimitPeriod(period.start_period, min(given), period.number_phases or PHASES)


def _moment(text: str | None, default: float) -> float:
    """Return an OCPP dateTime as POSIX seconds; one without a zone is UTC."""
    if text is None:
        return default
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise ProfileError("InvalidSchedule", f"{text[:50]} is no time: {error}") from error


# -- other messages, read leniently ---------------------------------------------------------------------


def read_started_transaction(call: bytes, result: bytes) -> tuple[int, str] | None:
    """Read connector and number of a transaction from a StartTransaction and its result (1.6)."""
    start = read_payload(v16.StartTransactionV16, call)
    given = read_payload(v16.StartTransactionResultV16, result)
    return None if start is None or given is None else (start.connector_id, str(given.transaction_id))


def read_composite_request(version: Version, payload: bytes) -> tuple[int, int, str | None] | None:
    """Read EVSE, duration (s) and unit of a GetCompositeSchedule; None where it cannot be read."""
    if version is Version.V16:
        old = read_payload(v16.GetCompositeScheduleV16, payload)
        return None if old is None else (old.connector_id, old.duration, old.charging_rate_unit)
    new = read_payload(v2.GetCompositeScheduleV2, payload)
    return None if new is None else (new.evse_id, new.duration, new.charging_rate_unit)


def read_report_request(version: Version, payload: bytes) -> v2.GetChargingProfilesV2 | None:
    """Read a GetChargingProfiles (2.x); None where it cannot be read."""
    return None if version is Version.V16 else read_payload(v2.GetChargingProfilesV2, payload)


def report_criteria(request: v2.GetChargingProfilesV2) -> ClearingCriteria:
    """Return the criteria of a GetChargingProfiles."""
    criterion = request.charging_profile
    return ClearingCriteria(
        ids=criterion.charging_profile_id,
        evse=request.evse_id,
        purpose=criterion.charging_profile_purpose,
        stack_level=criterion.stack_level,
    )


# -- answers --------------------------------------------------------------------------------------------


def rejected(version: Version, code: str, reason: str) -> bytes:
    """Return the answer Rejected, in 2.x with the reason: `code` is one of appendix 5."""
    if version is Version.V16:
        return b'{"status":"Rejected"}'
    info = {"reasonCode": code, "additionalInfo": reason[:512]}
    return msgspec.json.encode({"status": "Rejected", "statusInfo": info})


def composite_schedule(
    version: Version, evse: int, spans: Sequence[LimitSpan], duration_s: int, unit: str, scale: float = 1.0
) -> bytes:
    """Return the answer to a GetCompositeSchedule in `unit`, "A" or "W". Every span has its limit.

    `scale` turns the spans' limits into that unit.
    """
    start = format_time(spans[0].start)
    periods: list[tuple[int, float]] = []
    for span in spans:
        limit = round((span.limit or 0.0) * scale, 1)
        if not periods or periods[-1][1] != limit:
            periods.append((round(span.start - spans[0].start), limit))
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


def pull_request(number: int) -> bytes:
    """Return the payload of a PullDynamicScheduleUpdate for a profile (2.1)."""
    return msgspec.json.encode(v2.PullDynamicScheduleUpdateV2(charging_profile_id=number))


def limit_notice(
    evse: int, limit: float | None, source: str = SOURCE_US, unit: str = "A"
) -> tuple[str, bytes]:
    """Return action and payload of the notice that an EVSE is held back, or no longer is (2.x).

    `limit` in `unit`, "A" (per phase) or "W". `source`: who holds it back.
    """
    if limit is None:
        cleared = v2.ClearedChargingLimitV2(charging_limit_source=source, evse_id=evse)
        return "ClearedChargingLimit", msgspec.json.encode(cleared)
    notice = v2.NotifyChargingLimitV2(
        evse_id=evse,
        charging_limit=v2.ChargingLimitV2(charging_limit_source=source),
        charging_schedule=(
            v2.ChargingScheduleV2(
                id=evse,
                charging_rate_unit=unit,
                charging_schedule_period=(v2.ChargingSchedulePeriodV2(start_period=0, limit=limit),),
            ),
        ),
    )
    return "NotifyChargingLimit", msgspec.json.encode(notice)
