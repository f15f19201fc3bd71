"""The charging profiles that a backend sets for the site as a whole, through the site's own identity.

A group limit is a profile for a whole station: ChargePointMaxProfile on connector 0 (OCPP 1.6 ed. 2, 3.13.4),
ChargingStationMaxProfile on EVSE 0 in 2.x. It is checked, stored and answered as a station does it; its limit
is one of the grid connection, for all loads there. ChargingStationExternalConstraints is accepted as well
(2.x): a grid operator's system has no other purpose for its limit, although a CSMS must not send it to a
station (2.0.1 Part 2, K01.FR.22). The lower of the two holds.

Times are POSIX seconds, limits A per phase.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from controller.ocpp import v2
from controller.ocpp.frames import Version
from controller.profiles import profile_messages as messages
from controller.profiles.absorbed_profiles import MOST_PERIODS_OF_ALL, is_replaced
from controller.profiles.profile_messages import BackendProfile, ClearingCriteria, ProfileError
from controller.profiles.schedule import (
    DAY_S,
    PHASES,
    LimitProfile,
    LimitSchedule,
    LimitSpan,
    ProfilePurpose,
    ScheduleContext,
    changes_after,
    composite,
    limit_at,
    lowest,
)

MOST_GROUP_PROFILES = 20
"""Profiles that a backend may set for the site; stations hold about ten."""
HIGHEST_STACK_LEVEL = 1000
HORIZON_S = 2 * DAY_S
"""Time ahead in which the next change is searched."""

_PURPOSES = (ProfilePurpose.STATION, ProfilePurpose.EXTERNAL)


class GroupProfiles:
    """The profiles of a site, in one OCPP version.

    `voltage`: V, line to neutral; `connection_a`: rating of the grid connection (A per phase).
    """

    def __init__(self, version: Version, voltage: float, connection_a: float) -> None:
        self._version = version
        self._connection_a = connection_a
        self._context = ScheduleContext(evse=0, phases=PHASES, voltage=voltage, is_site=True)
        self._profiles: dict[int, BackendProfile] = {}
        self.revision = 0
        """Rises with each change of the profiles."""

    @property
    def stored(self) -> tuple[BackendProfile, ...]:
        """All profiles, in the order in which they were set: to be stored."""
        return tuple(self._profiles.values())

    def restore(self, profiles: Iterable[BackendProfile]) -> None:
        """Take over the profiles that were stored before a restart."""
        self._profiles = {each.profile.id: each for each in profiles}
        self.revision += 1

    def limits_a(self, utc: float) -> tuple[float | None, float | None]:
        """Return the limits of the backend and of the outside purpose at a moment; None: no limit."""
        if not self._profiles:
            return None, None
        own, outside = (
            limit_at([each for each in self._limit_profiles() if each.purpose is purpose], utc, self._context)
            for purpose in _PURPOSES
        )
        return own, outside

    def limit_a(self, utc: float) -> float | None:
        """Return the lower of the two."""
        return lowest(*self.limits_a(utc))

    def next_change(self, utc: float) -> float | None:
        """Return when `limit_a` may change next; None: not before a profile is set."""
        if not self._profiles:
            return None
        return changes_after(self._limit_profiles(), utc, [utc], self._context, HORIZON_S)[0]

    def answer(self, action: str, payload: bytes, utc: float) -> bytes | None:
        """Return the answer to a CALL about profiles; None for another action.

        Raises UnreadableCommandError where the answer is a CALLERROR.
        """
        match action:
            case "SetChargingProfile":
                return self._set(payload, utc)
            case "UpdateDynamicSchedule" if self._version is Version.V21:
                return self._update(payload, utc)
            case "ClearChargingProfile":
                return self._clear(payload)
            case "GetCompositeSchedule":
                return self._composite(payload, utc)
            case _:
                return None

    def _set(self, payload: bytes, utc: float) -> bytes:
        command = messages.read_profile_command(self._version, "SetChargingProfile", payload)
        try:
            if command is None:
                raise ProfileError("InvalidProfile", "there is no profile")
            messages.check_followed(command, may_pull=False)
            added = messages.accept_profile(self._version, command, utc)
            self._check(added)
        except ProfileError as error:
            return messages.rejected(self._version, error.code, str(error))
        self._profiles = {n: each for n, each in self._profiles.items() if not is_replaced(each, added)}
        self._profiles[added.profile.id] = added
        self.revision += 1
        return messages.ACCEPTED

    def _update(self, payload: bytes, utc: float) -> bytes:
        update = messages.read_update(self._version, payload)
        number = update.charging_profile_id
        try:
            if number not in self._profiles:
                raise ProfileError("InvalidProfile", f"there is no profile {number}")
            updated = messages.update_profile(self._profiles[number], update.schedule_update, utc)
        except ProfileError as error:
            return messages.rejected(self._version, error.code, str(error))
        self._profiles[number] = updated
        self.revision += 1
        return messages.ACCEPTED

    def _check(self, added: BackendProfile) -> None:
        """Raise ProfileError for a profile that is no limit of a whole site."""
        if added.profile.purpose not in _PURPOSES or added.profile.evse != 0:
            raise ProfileError("UnsupportedRequest", f"{added.purpose} is for a station, this is the site")
        if added.profile.stack_level > HIGHEST_STACK_LEVEL:
            raise ProfileError("InvalidStackLevel", f"the highest is {HIGHEST_STACK_LEVEL}")
        if any(_changes_from_unknown_start(schedule) for schedule in added.profile.schedules):
            raise ProfileError("InvalidSchedule", "the site has no transaction: it needs a startSchedule")
        others = [each for each in self._profiles.values() if not is_replaced(each, added)]
        if len(others) >= MOST_GROUP_PROFILES:
            raise ProfileError("TooManyElements", f"{MOST_GROUP_PROFILES} profiles are set already")
        if sum(each.period_count for each in others) + added.period_count > MOST_PERIODS_OF_ALL:
            raise ProfileError("TooManyElements", f"the most of all periods is {MOST_PERIODS_OF_ALL}")

    def report(self, payload: bytes) -> tuple[bytes, list[bytes]] | None:
        """Return the answer to a GetChargingProfiles (2.x), and the reports that follow it."""
        request = messages.read_report_request(self._version, payload)
        if request is None:
            return None
        criteria = messages.report_criteria(request)
        found = [each for each in self._profiles.values() if criteria.matches(each)]
        sources = request.charging_profile.charging_limit_source
        if sources is not None and messages.SOURCE_BACKEND not in sources:
            found = []
        if not found:
            return messages.NO_PROFILES, []
        report = v2.ReportChargingProfilesV2(
            request_id=request.request_id,
            charging_limit_source=messages.SOURCE_BACKEND,
            charging_profile=tuple(msgspec.Raw(each.raw) for each in found),
            evse_id=0,
        )
        return messages.ACCEPTED, [msgspec.json.encode(report)]

    def _clear(self, payload: bytes) -> bytes:
        criteria: ClearingCriteria = messages.read_clearing(self._version, payload)
        cleared = [number for number, each in self._profiles.items() if criteria.matches(each)]
        for number in cleared:
            del self._profiles[number]
        self.revision += 1
        return messages.ACCEPTED if cleared else messages.UNKNOWN

    def _composite(self, payload: bytes, utc: float) -> bytes:
        request = messages.read_composite_request(self._version, payload)
        if request is None or request[0] != 0 or request[1] <= 0:
            reason = "the site has EVSE 0 only, and the duration must be above 0"
            return messages.rejected(self._version, "InvalidValue", reason)
        _, duration_s, unit = request
        found = composite(self._limit_profiles(), utc, duration_s, self._context)
        spans = [LimitSpan(span.start, lowest(span.limit, self._connection_a)) for span in found.spans]
        scale = self._context.voltage * PHASES if unit == "W" else 1.0
        return messages.composite_schedule(
            self._version, 0, spans, round(found.end - utc), "W" if unit == "W" else "A", scale
        )

    def _limit_profiles(self) -> list[LimitProfile]:
        return [each.profile for each in self._profiles.values()]


def _changes_from_unknown_start(schedule: LimitSchedule) -> bool:
    """Return True if a schedule changes over time and has no start: its end would never come."""
    return schedule.start is None and (len(schedule.periods) > 1 or schedule.duration_s < math.inf)
