"""What a backend's command means to the limits that the controller keeps in a station.

The controller owns one thing: how much current each station may take. A backend's profiles pass
untouched wherever they cannot loosen that. A profile in a purpose that is ours is taken by us, as the
station would take it, and kept (`kept_profiles`): our own limits never rise above what it allows. What
the backend asks about its profiles is answered for both. A command that would take ours away is narrowed
to what is the backend's; where no one command says that, it passes, and ours are asserted again at once.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from controller.chargers.quirks import LimitScope, limit_purpose
from controller.model.deadlines import earliest
from controller.model.observations import Observation
from controller.ocpp import v2, v16
from controller.ocpp.actions import SIGNED, plain
from controller.ocpp.frames import Answer, Call, CallResult, Version, call, call_error, call_result
from controller.ocpp.payloads import is_accepted, read_payload
from controller.profiles.absorbed_profiles import AbsorbedProfiles
from controller.profiles.limit_profiles import is_ours
from controller.profiles.profile_messages import (
    ACCEPTED,
    SOURCE_GRID,
    SOURCE_US,
    UNKNOWN,
    ClearingCriteria,
    HeldProfile,
    ProfileError,
    composite_schedule,
    limit_notice,
    read_clearing,
    read_profile,
    rejected,
)
from controller.profiles.profile_reports import LimitNotices, ProfileReports
from controller.profiles.schedule import DAY_S, ProfilePurpose
from controller.signing.jws import extract_payload
from controller.signing.signed_text import SignedTextError

MOST_ASKED_S = int(8 * DAY_S)
"""A composite schedule is told for so long at most: a week, and the day that it begins on."""

REMOTE_STARTS = {"RemoteStartTransaction", "RequestStartTransaction"}


class ProfileDecision(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a command: `call` goes to the station, or else `answer` to the backend.

    `reason`: why it was refused. `wipes`: it may take our limits away. The rest is for its answer:
    a profile to keep or to remember, profiles to give up, a request for reports.
    """

    call: Call | None = None
    answer: str = ""
    reason: str = ""
    wipes: bool = False
    keeps: HeldProfile | None = None
    passes: HeldProfile | None = None
    clears: ClearingCriteria | None = None
    reports: int | None = None


_Carrier = v16.SetChargingProfileHeadV16 | v16.RemoteStartTransactionHeadV16 | v2.ProfileCarrierV2
_CARRIERS_16: dict[str, type[_Carrier]] = {
    "SetChargingProfile": v16.SetChargingProfileHeadV16,
    "RemoteStartTransaction": v16.RemoteStartTransactionHeadV16,
}
_CARRIERS_2: dict[str, type[_Carrier]] = {
    "SetChargingProfile": v2.ProfileCarrierV2,
    "RequestStartTransaction": v2.ProfileCarrierV2,
}
_RISING = {"LocalGeneration", "PriorityCharging"}
"""2.1: purposes that lift what others allow. No station of ours supports them where they could lift ours."""


def _owned(version: Version, scope: LimitScope) -> set[str]:
    """The purposes that are ours in a station, and those that would rise above our limits.

    LocalGeneration (2.1) adds to what limits allow. With limits per EVSE, a transaction's own profile
    takes the place of the default that is ours (1.6 ed. 2, 3.13.1), and so does PriorityCharging (2.1).
    """
    owned = {limit_purpose(version, scope), "LocalGeneration"}
    return owned if scope is LimitScope.STATION else owned | {"TxProfile", "PriorityCharging"}


class ProfileArbiter:
    """Judges the commands of a backend to one station, over one link. `scope` is that of our limits in it."""

    def __init__(self, version: Version, scope: LimitScope, kept: AbsorbedProfiles) -> None:
        self._version = version
        self.rescope(scope)
        self._carriers = _CARRIERS_16 if version is Version.V16 else _CARRIERS_2
        self._kept = kept
        kept.speaks(version)
        self._reports = ProfileReports()
        self._notices = LimitNotices()
        self._dimmed: frozenset[int] = frozenset()
        self._told_by: dict[int, str] = {}
        """On whose behalf the backend was told that an EVSE is held back."""

    def rescope(self, scope: LimitScope) -> None:
        """Our limits in the station hold for this from now on."""
        self._scope = scope
        self._owned = _owned(self._version, scope)

    def dim(self, evses: Iterable[int]) -> None:
        """The grid operator limits these EVSEs from now on, and no others."""
        self._dimmed = frozenset(evses)

    # -- commands -----------------------------------------------------------------------------------

    def judge(self, frame: Call, now: float) -> ProfileDecision:
        """The ruling on one CALL of the backend."""
        if frame.action.endswith(SIGNED):
            return self._signed(frame)
        match frame.action:
            case "ClearChargingProfile":
                return self._clear(frame)
            case "GetCompositeSchedule":
                return self._composite(frame, now)
            case "GetChargingProfiles":
                return self._report(frame)
        profile = self._brought(frame)
        if profile is None:
            return ProfileDecision(call=frame)
        if profile.purpose in self._owned:
            return self._keep(frame, profile.purpose)
        if profile.number is not None and is_ours(profile.number):
            reason = f"chargingProfileId {profile.number} is reserved for the site's load management"
            return self._refuse(frame, "DuplicateProfile", reason)
        return self._pass(frame)

    def answered(self, ruling: ProfileDecision, answer: Answer, now: float) -> str | None:
        """The station answers a call that was let pass: what the backend hears of it. None: it waits."""
        if not isinstance(answer, CallResult):
            if ruling.reports is not None:
                self._reports.dropped(ruling.reports)
            return answer.text
        if ruling.reports is not None:
            self._reports.answered(ruling.reports, answer, now)
            return None
        good = is_accepted(answer.payload)
        if good and ruling.keeps is not None:
            self._kept.keep(ruling.keeps, awaits_transaction=True)
        if good and ruling.passes is not None:
            self._kept.passed(ruling.passes)
        if ruling.clears is not None and self._kept.clear(ruling.clears) and not good:
            return call_result(answer.id, ACCEPTED)
        return answer.text

    def unanswered(self, ruling: ProfileDecision) -> None:
        """The station has not answered a call that was let pass."""
        if ruling.reports is not None:
            self._reports.dropped(ruling.reports)

    # -- what the station tells ---------------------------------------------------------------------

    def saw(self, seen: Observation, now: float) -> None:
        """The station told something."""
        self._kept.saw(seen, now)

    def settled(self, frame: Call, result: bytes) -> None:
        """A CALL of the station is answered well: so a 1.6 station learns the number of its transaction."""
        if frame.action != "StartTransaction":
            return
        start = read_payload(v16.StartTransactionV16, frame.payload)
        given = read_payload(v16.StartTransactionResultV16, result)
        if start is not None and given is not None:
            self._kept.numbered(start.connector_id, str(given.transaction_id))

    def takes(self, frame: Call, now: float) -> bool:
        """Whether a CALL of the station is for us, and has been taken."""
        return frame.action == "ReportChargingProfiles" and self._reports.reported(frame.payload, now)

    # -- what follows -------------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """When something has to be looked at again (s, monotonic)."""
        return earliest(self._kept.deadline, self._reports.deadline, self._notices.deadline)

    def news(self, now: float) -> list[Observation]:
        """What the site has to know."""
        return self._kept.news(now)

    def to_save(self) -> list[HeldProfile] | None:
        """All that is kept, once after each change of it; None: nothing has changed."""
        return self._kept.to_save()

    def answers(self, now: float) -> list[str]:
        """Answers that the backend has waited for."""
        self._reports.tick(now)
        return self._reports.answers()

    def last_answers(self) -> list[str]:
        """The same, when the link ends."""
        self._reports.finish()
        return self._reports.answers()

    def calls(self, now: float) -> list[tuple[str, bytes]]:
        """What we say to the backend by ourselves: actions and payloads."""
        calls = [("ReportChargingProfiles", payload) for payload in self._reports.reports()]
        if self._version is not Version.V16:
            held_back = {evse: self._kept.held_back_a(evse, now) for evse in self._kept.evses}
            calls += [self._notice(evse, limit) for evse, limit in self._notices.due(held_back, now)]
        return calls

    def _notice(self, evse: int, limit_a: float | None) -> tuple[str, bytes]:
        if limit_a is None:
            return limit_notice(evse, None, self._told_by.pop(evse, SOURCE_US))
        self._told_by[evse] = SOURCE_GRID if evse in self._dimmed else SOURCE_US
        return limit_notice(evse, limit_a, self._told_by[evse])

    # -- SetChargingProfile -------------------------------------------------------------------------

    def _brought(self, frame: Call) -> v16.ProfileHeadV16 | v2.ProfileHeadV2 | None:
        """The profile that a CALL brings; None where it has none, or one that the station will refuse."""
        carrier = self._carriers.get(frame.action)
        message = None if carrier is None else read_payload(carrier, frame.payload)
        return None if message is None else message.profile

    def _keep(self, frame: Call, named: str) -> ProfileDecision:
        if named in _RISING:
            reason = f"{named} would rise above the limits of the site's load management"
            return self._refuse(frame, "UnsupportedRequest", reason)
        starts = frame.action in REMOTE_STARTS
        try:
            held = read_profile(self._version, frame.payload)
            self._kept.check(held)
            if held.profile.purpose is ProfilePurpose.TRANSACTION and not starts:
                self._kept.check_running(held)
        except ProfileError as wrong:
            return self._refuse(frame, wrong.code, str(wrong))
        if starts:  # its profile stays here, and holds if the station starts
            return ProfileDecision(call=_rewritten(frame, {"chargingProfile": None}), keeps=held)
        self._kept.keep(held)
        return ProfileDecision(answer=call_result(frame.id, ACCEPTED))

    def _pass(self, frame: Call) -> ProfileDecision:
        try:
            passes = read_profile(self._version, frame.payload)
        except ProfileError:
            return ProfileDecision(call=frame)  # not a form that we know: the station's to judge
        return ProfileDecision(call=frame, passes=None if frame.action in REMOTE_STARTS else passes)

    def _refuse(self, frame: Call, code: str, reason: str) -> ProfileDecision:
        return ProfileDecision(
            answer=call_result(frame.id, rejected(self._version, code, reason)), reason=reason
        )

    # -- signed commands (2.x Part 4, section 7) ----------------------------------------------------

    def _signed(self, frame: Call) -> ProfileDecision:
        """Nobody but its author can change it, or answer what he wants signed: it passes as it is, or not."""
        action = plain(frame.action)
        if action not in self._carriers and action != "ClearChargingProfile":
            return ProfileDecision(call=frame)
        try:
            inner = Call(frame.text, frame.id, action, extract_payload(frame.payload))
        except SignedTextError as wrong:
            return _unacceptable(frame, "FormatViolation", f"nobody can tell what it brings: {wrong}")
        if action == "ClearChargingProfile":
            criteria = read_clearing(self._version, inner.payload)
            if criteria is not None:
                self._kept.clear(criteria)
            return ProfileDecision(call=frame, wipes=True)
        profile = self._brought(inner)
        if profile is None or not (profile.purpose in self._owned or is_ours(profile.number or 0)):
            return ProfileDecision(call=frame)
        reason = (
            f"{profile.purpose} is for the site's load management to keep: send it without this signature"
        )
        return _unacceptable(frame, "NotSupported", reason)

    # -- ClearChargingProfile -----------------------------------------------------------------------

    def _clear(self, frame: Call) -> ProfileDecision:
        criteria = read_clearing(self._version, frame.payload)
        if criteria is None:
            return ProfileDecision(call=frame, wipes=True)  # whatever the station makes of it
        if criteria.ids is not None:
            if self._kept.kept(criteria) or is_ours(criteria.ids[0]):
                return self._clear_kept(frame, criteria)
            return ProfileDecision(call=frame, clears=criteria)
        if criteria.purpose is not None:
            if criteria.purpose in self._owned:
                return self._clear_kept(frame, criteria)
            return ProfileDecision(call=frame, clears=criteria)
        return self._clear_any(frame, criteria)

    def _clear_any(self, frame: Call, criteria: ClearingCriteria) -> ProfileDecision:
        """A clearing that names no purpose. Ours are at EVSE 0 for the whole station, else above it."""
        evse = criteria.evse
        if self._scope is LimitScope.STATION:
            if evse is None:  # two purposes are the backend's there: no one command clears just these
                return ProfileDecision(call=frame, clears=criteria, wipes=True)
            foreign = "TxDefaultProfile" if evse == 0 else None
        else:
            if evse is not None and evse > 0:
                return self._clear_kept(frame, criteria)  # all purposes there are ours
            foreign = limit_purpose(self._version, LimitScope.STATION) if evse is None else None
        if foreign is None:
            return ProfileDecision(call=frame, clears=criteria)
        return ProfileDecision(call=self._narrowed(frame, foreign), clears=criteria)

    def _clear_kept(self, frame: Call, criteria: ClearingCriteria) -> ProfileDecision:
        cleared = self._kept.clear(criteria)
        return ProfileDecision(answer=call_result(frame.id, ACCEPTED if cleared else UNKNOWN))

    def _narrowed(self, frame: Call, foreign: str) -> Call:
        named: dict[str, object] = {"chargingProfilePurpose": foreign}
        if self._version is Version.V16:
            return _rewritten(frame, named)
        payload = msgspec.json.decode(frame.payload, type=dict[str, msgspec.Raw])
        inner = bytes(payload.get("chargingProfileCriteria") or b"{}")
        criteria: dict[str, object] = {**msgspec.json.decode(inner, type=dict[str, msgspec.Raw]), **named}
        return _rewritten(frame, {"chargingProfileCriteria": criteria})

    # -- questions ----------------------------------------------------------------------------------

    def _composite(self, frame: Call, now: float) -> ProfileDecision:
        evse, duration_s, in_watts = self._asked(frame)
        if evse == 0 and self._scope is LimitScope.STATION:
            asked = next(iter(self._kept.evses))
        elif evse in self._kept.evses:
            asked = evse
        else:
            return ProfileDecision(call=frame)
        duration_s = min(duration_s, MOST_ASKED_S)
        spans = self._kept.schedule(asked, duration_s, now)
        if spans is None:
            return ProfileDecision(call=frame)
        watts_per_amp = self._kept.watts_per_amp(asked) if in_watts else None
        answer = composite_schedule(self._version, evse, spans, duration_s, watts_per_amp)
        return ProfileDecision(answer=call_result(frame.id, answer))

    def _asked(self, frame: Call) -> tuple[int, int, bool]:
        """EVSE, duration (s), and whether in W. An EVSE below 0: it cannot be read."""
        if self._version is Version.V16:
            old = read_payload(v16.GetCompositeScheduleV16, frame.payload)
            return (-1, 0, False) if old is None else (old.connector_id, old.duration, old.in_watts)
        new = read_payload(v2.GetCompositeScheduleV2, frame.payload)
        return (-1, 0, False) if new is None else (new.evse_id, new.duration, new.in_watts)

    def _report(self, frame: Call) -> ProfileDecision:
        request = (
            None if self._version is Version.V16 else read_payload(v2.GetChargingProfilesV2, frame.payload)
        )
        if request is None:
            return ProfileDecision(call=frame)
        wanted = request.charging_profile
        criteria = ClearingCriteria(
            ids=wanted.charging_profile_id,
            evse=request.evse_id,
            purpose=wanted.charging_profile_purpose,
            stack_level=wanted.stack_level,
        )
        taken = self._reports.asked(request, self._kept.kept(criteria))
        return ProfileDecision(call=frame, reports=request.request_id if taken else None)


def _unacceptable(frame: Call, code: str, reason: str) -> ProfileDecision:
    return ProfileDecision(answer=call_error(frame.id, code, reason), reason=reason)


def _rewritten(frame: Call, members: dict[str, object]) -> Call:
    """The CALL with members of its payload set anew, or taken out (None)."""
    payload = msgspec.json.decode(frame.payload, type=dict[str, msgspec.Raw])
    changed: dict[str, object] = {**payload, **members}
    encoded = msgspec.json.encode({name: value for name, value in changed.items() if value is not None})
    return Call(call(frame.id, frame.action, encoded), frame.id, frame.action, encoded)
