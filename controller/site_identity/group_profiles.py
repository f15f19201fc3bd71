"""The charging profiles that a backend sets for the site as a whole, through the controller's own identity.

A group limit comes as a station's profile for all of itself: ChargePointMaxProfile on connector 0
(OCPP 1.6 ed. 2, 3.13.4), ChargingStationMaxProfile on EVSE 0 in 2.x. It is judged, kept and answered here
as a station would; what it allows is a limit of the connection, all that draws there included.
ChargingStationExternalConstraints is taken as well (2.x): who speaks for the grid knows no other word for
its limit, though a CSMS shall not send it to a station (2.0.1 Part 2, K01.FR.22). The lower one holds.

Times are POSIX seconds, limits A per phase.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from controller.ocpp import v2, v16
from controller.ocpp.frames import Version
from controller.ocpp.payloads import read_payload
from controller.profiles.profile_messages import (
    ACCEPTED,
    SOURCE_BACKEND,
    UNKNOWN,
    ClearingCriteria,
    HeldProfile,
    ProfileError,
    composite_schedule,
    read_clearing,
    read_profile,
    rejected,
)
from controller.profiles.schedule import (
    DAY_S,
    PHASES,
    LimitProfile,
    LimitSchedule,
    LimitSpan,
    ProfilePurpose,
    ScheduleContext,
    composite,
    limit_at,
    lowest,
)

MOST_KEPT = 20
"""Profiles that a backend may have for the site; stations hold about ten."""
HIGHEST_STACK_LEVEL = 1000
HORIZON_S = 2 * DAY_S
"""How far ahead changes are looked for at a time."""

_OF_A_SITE = (ProfilePurpose.STATION, ProfilePurpose.EXTERNAL)
_NO_PROFILES = b'{"status":"NoProfiles"}'


class GroupProfiles:
    """The site's, in one OCPP version. `voltage`: V, line to neutral; `connection_a`: what the fuse bears."""

    def __init__(self, version: Version, voltage: float, connection_a: float) -> None:
        self._version = version
        self._connection_a = connection_a
        self._context = ScheduleContext(evse=0, phases=PHASES, voltage=voltage)
        self._kept: dict[int, HeldProfile] = {}

    @property
    def kept(self) -> tuple[HeldProfile, ...]:
        """All that must survive a restart, in the order in which it came."""
        return tuple(self._kept.values())

    def recall(self, kept: Iterable[HeldProfile]) -> None:
        """Take over what was kept before a restart."""
        self._kept = {held.profile.id: held for held in kept}

    def limits_a(self, utc: float) -> tuple[float | None, float | None]:
        """What the backend allows the site at a moment, and what somebody outside does; None: no limit."""
        own, outside = (
            limit_at([each for each in self._profiles() if each.purpose is purpose], utc, self._context)
            for purpose in _OF_A_SITE
        )
        return own, outside

    def limit_a(self, utc: float) -> float | None:
        """The lower of the two."""
        return lowest(*self.limits_a(utc))

    def next_change(self, utc: float) -> float | None:
        """When `limit_a` should be asked for next; None: not before a profile is set."""
        if not self._kept:
            return None
        spans = composite(self._profiles(), utc, HORIZON_S, self._context)
        return spans[1].start if len(spans) > 1 else utc + HORIZON_S / 2

    def answer(self, action: str, payload: bytes, utc: float) -> bytes | None:
        """The answer to a CALL about profiles, a JSON object; None where it is about something else."""
        match action:
            case "SetChargingProfile":
                return self._set(payload)
            case "ClearChargingProfile":
                return self._clear(payload)
            case "GetCompositeSchedule":
                return self._composite(payload, utc)
            case _:
                return None

    def _set(self, payload: bytes) -> bytes:
        try:
            held = read_profile(self._version, payload)
            self._check(held)
        except ProfileError as wrong:
            return rejected(self._version, wrong.code, str(wrong))
        self._kept = {number: other for number, other in self._kept.items() if not _replaced(other, held)}
        self._kept[held.profile.id] = held
        return ACCEPTED

    def _check(self, held: HeldProfile) -> None:
        """Raise ProfileWrong for what is no limit of a whole site."""
        if held.profile.purpose not in _OF_A_SITE or held.profile.evse != 0:
            raise ProfileError("UnsupportedRequest", f"{held.purpose} is for a station, this is the site")
        if held.profile.stack_level > HIGHEST_STACK_LEVEL:
            raise ProfileError("InvalidStackLevel", f"the highest is {HIGHEST_STACK_LEVEL}")
        if any(_never_ends_as_told(schedule) for schedule in held.profile.schedules):
            raise ProfileError("InvalidSchedule", "the site has no transaction: it needs a startSchedule")
        if sum(not _replaced(other, held) for other in self._kept.values()) >= MOST_KEPT:
            raise ProfileError("TooManyElements", f"{MOST_KEPT} profiles are kept already")

    def report(self, payload: bytes) -> tuple[bytes, list[bytes]] | None:
        """The answer to a GetChargingProfiles of 2.x, and the ReportChargingProfiles that follow it."""
        request = read_payload(v2.GetChargingProfilesV2, payload)
        if request is None:
            return None
        wanted = request.charging_profile
        criteria = ClearingCriteria(
            ids=wanted.charging_profile_id,
            evse=request.evse_id,
            purpose=wanted.charging_profile_purpose,
            stack_level=wanted.stack_level,
        )
        found = [held for held in self._kept.values() if criteria.fit(held)]
        if wanted.charging_limit_source is not None and SOURCE_BACKEND not in wanted.charging_limit_source:
            found = []
        if not found:
            return _NO_PROFILES, []
        told = v2.ReportChargingProfilesV2(
            request_id=request.request_id,
            charging_limit_source=SOURCE_BACKEND,
            charging_profile=tuple(msgspec.Raw(held.sent) for held in found),
            evse_id=0,
        )
        return ACCEPTED, [msgspec.json.encode(told)]

    def _clear(self, payload: bytes) -> bytes:
        criteria = read_clearing(self._version, payload)
        cleared = [n for n, held in self._kept.items() if criteria is not None and criteria.fit(held)]
        for number in cleared:
            del self._kept[number]
        return ACCEPTED if cleared else UNKNOWN

    def _composite(self, payload: bytes, utc: float) -> bytes:
        asked = self._asked(payload)
        if asked is None:
            return rejected(self._version, "InvalidValue", "a site has EVSE 0 alone, and time goes forward")
        duration_s, unit = asked
        spans = [
            LimitSpan(span.start, lowest(span.limit_a, self._connection_a))
            for span in composite(self._profiles(), utc, duration_s, self._context)
        ]
        watts_per_amp = self._context.voltage * PHASES if unit == "W" else None
        return composite_schedule(self._version, 0, spans, duration_s, watts_per_amp)

    def _asked(self, payload: bytes) -> tuple[int, str | None] | None:
        """Duration (s) and unit of a GetCompositeSchedule for the site; None where it is for none."""
        if self._version is Version.V16:
            old = read_payload(v16.GetCompositeScheduleV16, payload)
            asked = None if old is None else (old.connector_id, old.duration, old.charging_rate_unit)
        else:
            new = read_payload(v2.GetCompositeScheduleV2, payload)
            asked = None if new is None else (new.evse_id, new.duration, new.charging_rate_unit)
        if asked is None or asked[0] != 0 or asked[1] <= 0:
            return None
        return asked[1], asked[2]

    def _profiles(self) -> list[LimitProfile]:
        return [held.profile for held in self._kept.values()]


def _replaced(old: HeldProfile, new: HeldProfile) -> bool:
    """Whether a new profile takes an old one's place: the same id, or the same purpose and stack level."""
    a, b = old.profile, new.profile
    return a.id == b.id or (a.purpose, a.stack_level) == (b.purpose, b.stack_level)


def _never_ends_as_told(schedule: LimitSchedule) -> bool:
    """Whether it changes over time, and nobody knows from when on: its end would never come."""
    return schedule.start is None and (len(schedule.periods) > 1 or schedule.duration_s < math.inf)
