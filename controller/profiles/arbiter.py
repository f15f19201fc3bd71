"""Profile arbitration: a backend's commands about charging profiles against the limits of the controller.

The controller owns one thing: how much current each station may take. A backend's profile passes untouched
wherever it cannot loosen that. A profile in a purpose that the controller uses itself is absorbed
(`absorbed_profiles`): our own limits never rise above what it allows, and the backend is answered as soon as
the limits in the station obey it. A command that can be read in more than one way is refused, for the station
may read it in another. No peer can clear our profiles, not for an instant: a ClearChargingProfile that might
is sent on per purpose.
"""

from __future__ import annotations

import functools
import math
import uuid
from collections.abc import Iterable

import msgspec

from controller.chargers.quirks import LimitScope, limit_purpose
from controller.model.deadlines import earliest
from controller.model.observations import Observation, ProfilesTouched
from controller.ocpp.actions import SIGNED, plain
from controller.ocpp.frames import Answer, Call, CallResult, Version, call, call_error, call_result
from controller.ocpp.payloads import is_accepted
from controller.profiles import profile_messages as messages
from controller.profiles.absorbed_profiles import AbsorbedProfiles
from controller.profiles.limit_profiles import is_ours
from controller.profiles.profile_messages import (
    BackendProfile,
    ClearingCriteria,
    ProfileCommand,
    ProfileError,
)
from controller.profiles.profile_reports import CHANGE_A, LimitNotices, ProfileReports, SchedulePulls
from controller.profiles.settings_guard import RefusedSettings, check_settings
from controller.profiles.station_clock import StationClock

LONGEST_COMPOSITE_S = 8 * 86_400
"""A composite schedule has at most this length: a week, and the day on which it begins."""
CONFIRM_S = 20.0
"""Time that a backend waits for its answer until the station has taken the limit that follows."""

_NO_EVSES: frozenset[int] = frozenset()
"""One for all stations: an empty set takes 216 bytes."""

_RAISING = {"LocalGeneration", "PriorityCharging"}
"""2.1: purposes that lift what others allow. No station of ours supports them where they could lift ours."""
_CALLS_NAMESPACE = uuid.UUID("6f1c6c1e-3f0b-4c57-9b6a-0c9d5b2f7a11")


class ProfileDecision(msgspec.Struct, frozen=True, kw_only=True):
    """Decision on a command: `call` is sent to the station, or else `answer` to the backend.

    With neither the answer follows in `responses`. `reason`: why it was refused. The rest is for the
    station's answer: a profile to absorb or to record, or one that only replaces others; profiles to clear,
    a request for reports, refused settings; `further` CALLs with their payloads to send one after the other,
    after which the answer is that to the message `reply_to`; `has_cleared`: one of them has cleared.
    """

    call: Call | None = None
    answer: str = ""
    reason: str = ""
    absorbs: BackendProfile | None = None
    forwards: BackendProfile | None = None
    supersedes: ProfileCommand | None = None
    clears: ClearingCriteria | None = None
    reports: int | None = None
    refused: RefusedSettings | None = None
    reply_to: str = ""
    further: tuple[bytes, ...] = ()
    has_cleared: bool = False


class _Unconfirmed(msgspec.Struct, frozen=True):
    """An absorbed profile whose limit the station has not taken yet."""

    origin: str
    message_id: str
    profile: BackendProfile
    replaced: tuple[BackendProfile, ...]
    until: float


@functools.cache
def owned_purposes(version: Version, scope: LimitScope) -> frozenset[str]:
    """Return the purposes that the controller uses in a station, and those that would rise above its limits.

    LocalGeneration (2.1) adds to what limits allow. With limits per EVSE, a transaction's own profile
    replaces the default that is ours (1.6 ed. 2, 3.13.1), and so does PriorityCharging (2.1).
    """
    owned = frozenset((limit_purpose(version, scope), "LocalGeneration"))
    return owned if scope is LimitScope.STATION else owned | {"TxProfile", "PriorityCharging"}


class ProfileArbiter:
    """Decides about the commands of backends to one station, over one link. `scope` is that of our limits."""

    def __init__(
        self,
        version: Version,
        scope: LimitScope,
        absorbed: AbsorbedProfiles,
        clock: StationClock | None = None,
    ) -> None:
        self._version = version
        self.absorbed = self._absorbed = absorbed
        self.set_scope(scope)
        self._clock = clock or StationClock()
        absorbed.set_version(version)
        self._reports = ProfileReports()
        self._notices = LimitNotices()
        self._pulls = SchedulePulls()
        self._dimmed = _NO_EVSES
        self._notice_sources: dict[int, str] = {}
        """Source of the limit that was reported to the backend."""
        self._unconfirmed: list[_Unconfirmed] = []
        self._confirmed_revision = -1
        self._is_registered = True
        self._noticed: tuple[int, float | None] = (-1, None)
        """Revision of the absorbed profiles when notices were computed last, and until when that holds."""
        self.shared_revision = -1
        """Revision of `absorbed` up to which everything that follows has been asked for."""

    @property
    def has_changed(self) -> bool:
        """True from any change on until `mark_shared`: something may follow from it."""
        return self.shared_revision != self.absorbed.revision

    def mark_shared(self) -> None:
        """Take note that what follows from all changes so far is being asked for."""
        self.shared_revision = self.absorbed.revision

    def set_scope(self, scope: LimitScope) -> None:
        """Take the scope of our limits in the station."""
        self.absorbed.revision += 1
        self._scope = scope
        self._owned = owned_purposes(self._version, scope)

    def set_dimmed(self, evses: Iterable[int]) -> None:
        """Take the EVSEs that the grid operator limits."""
        dimmed = frozenset(evses) or _NO_EVSES
        if dimmed != self._dimmed:
            self.absorbed.revision += 1
            self._dimmed = dimmed

    # -- commands -----------------------------------------------------------------------------------

    def decide(self, frame: Call, now: float, origin: str = "") -> ProfileDecision:
        """Decide about one CALL of a backend; `origin` comes back with an answer that follows later."""
        self.absorbed.revision += 1
        action = plain(frame.action)
        try:
            if frame.action.endswith(SIGNED):
                return self._decide_signed(frame, action)
            match action:
                case "SetChargingProfile" | "RemoteStartTransaction" | "RequestStartTransaction":
                    return self._decide_profile(frame, now, origin)
                case "ClearChargingProfile":
                    return self._decide_clearing(frame)
                case "GetCompositeSchedule":
                    return self._answer_composite(frame, now)
                case "GetChargingProfiles":
                    return self._decide_report(frame)
                case "UpdateDynamicSchedule":
                    return self._decide_update(frame, now, origin)
                case "ChangeConfiguration" | "SetVariables":
                    return self._decide_settings(frame)
        except messages.UnreadableCommandError as error:
            return _error(frame, error.code, str(error))
        return ProfileDecision(call=frame)

    def on_result(
        self, decision: ProfileDecision, answer: Answer, now: float
    ) -> str | ProfileDecision | None:
        """Take the station's answer to a CALL that was sent on.

        Return the answer for the backend, the decision about a further CALL, or None: the answer follows.
        """
        self.absorbed.revision += 1
        if decision.clears is not None:
            return self._on_cleared(decision, decision.clears, answer)
        if not isinstance(answer, CallResult):
            if decision.reports is not None:
                self._reports.on_error(decision.reports)
            return answer.text
        if decision.reports is not None:
            self._reports.on_result(decision.reports, answer, now)
            return None
        if decision.refused is not None:
            merged = decision.refused.merge(answer.payload)
            return answer.text if merged is None else call_result(answer.id, merged)
        if is_accepted(answer.payload):
            if decision.absorbs is not None:
                self._absorbed.absorb(decision.absorbs, awaits_start=True)
            if decision.forwards is not None:
                self._absorbed.record_forwarded(decision.forwards)
            if decision.supersedes is not None:
                self._absorbed.forget_forwarded(decision.supersedes)
        return answer.text

    def on_no_result(self, decision: ProfileDecision) -> None:
        """Take the end of the wait for a station's answer."""
        self.absorbed.revision += 1
        if decision.reports is not None:
            self._reports.on_error(decision.reports)

    # -- the station's messages -----------------------------------------------------------------------

    def on_observation(self, seen: Observation, now: float) -> None:
        """Take an observation of the station."""
        self._absorbed.on_observation(seen, now)

    def on_station_call(self, frame: Call, now: float) -> bool:
        """Take a CALL of the station; return True if it is for us alone."""
        if frame.action == "BootNotification":
            self._is_registered = False
        utc = self._absorbed.utc_of(now)
        self._clock.follow(now, utc)
        self._clock.on_call(frame.action, frame.payload, utc)
        is_report = frame.action == "ReportChargingProfiles" and self._reports.on_report(frame.payload, now)
        if is_report or self._clock.has_moved:
            self.absorbed.revision += 1
        return is_report

    def on_sampled(self, sampled_at: float | None, now: float, utc: float) -> None:
        """Take the timestamp (POSIX s) of the newest meter values at `utc`; None: it is not readable."""
        self._clock.follow(now, utc)
        if sampled_at is not None and self._clock.on_sampled(sampled_at, utc) and self._clock.has_moved:
            self.absorbed.revision += 1

    def on_settled(self, frame: Call, result: bytes, now: float) -> None:
        """Take the backend's answer to a CALL of the station."""
        utc = self._absorbed.utc_of(now)
        self._clock.follow(now, utc)
        self._clock.on_result(frame.action, result, utc)
        if frame.action != "Heartbeat" or self._clock.has_moved:
            self.absorbed.revision += 1
        if frame.action == "BootNotification":
            self._is_registered = is_accepted(result)
        if frame.action == messages.PULL:
            self._on_pulled(frame.payload, result, utc)
        if frame.action == "StartTransaction":
            started = messages.read_started_transaction(frame.payload, result)
            if started is not None:
                self._absorbed.set_transaction_id(*started)

    def _on_pulled(self, payload: bytes, result: bytes, utc: float) -> None:
        """Update a Dynamic profile as its backend has answered, to us or to the station."""
        pulled = messages.read_pulled_update(payload, result)
        if pulled is None:
            return
        number, update = pulled
        absorbed, forwarded = self._absorbed.find(number)
        if (profile := absorbed or forwarded) is None:
            return
        try:
            updated = messages.update_profile(profile, update, utc)
        except ProfileError:
            return  # the limit of before holds on
        if absorbed is None:
            self._absorbed.record_forwarded(updated)
        else:
            self._absorbed.absorb(updated)

    # -- what follows -------------------------------------------------------------------------------

    def find_deadline(self, *, sends_calls: bool) -> float | None:
        """Return the time of the arbiter's next action (s, monotonic); `sends_calls`: of `own_calls`, too."""
        confirm = min((each.until for each in self._unconfirmed), default=None)
        if confirm is not None and self._confirmed_revision != self._absorbed.revision:
            confirm = -math.inf
        calls: tuple[float | None, ...] = ()
        if sends_calls and self._is_registered:
            calls = (self._notices.deadline, self._pulls.deadline)
        return earliest(self._absorbed.deadline, self._reports.deadline, confirm, *calls)

    def observations(self, now: float) -> list[Observation]:
        """Return what has changed for load management."""
        found = self._absorbed.observations(now)
        if self._clock.has_moved:
            self._clock.write_offset()
            found.append(ProfilesTouched("the station's clock"))
        return found

    def changed_profiles(self, now: float) -> list[BackendProfile] | None:
        """Return all profiles to store, once after a change; None: there is nothing to store."""
        return self._absorbed.changed_profiles(now)

    def responses(self, now: float) -> list[tuple[str, str]]:
        """Return the answers that backends have waited for: origin of the command, and text."""
        self._reports.tick(now)
        found = [("", text) for text in self._reports.answers()]
        if self._unconfirmed:
            self._confirmed_revision = self._absorbed.revision
            open_ = self._unconfirmed
            self._unconfirmed = []
            for each in open_:
                evses = [each.profile.profile.evse] if each.profile.profile.evse else self._absorbed.evses
                if any(map(self._absorbed.refuses_limits, evses)):
                    found.append(self._withdraw(each, "the station refused the limit"))
                elif self._absorbed.is_in_force(each.profile, now):
                    found.append((each.origin, call_result(each.message_id, messages.ACCEPTED)))
                elif now >= each.until:
                    found.append(self._withdraw(each, "the station did not take the limit in time"))
                else:
                    self._unconfirmed.append(each)
        return found

    def final_responses(self) -> list[tuple[str, str]]:
        """Return the same when the link ends."""
        self._reports.finish()
        found = [("", text) for text in self._reports.answers()]
        found += [self._withdraw(each, "the station is gone") for each in self._unconfirmed]
        self._unconfirmed.clear()
        return found

    def _withdraw(self, each: _Unconfirmed, reason: str) -> tuple[str, str]:
        self._absorbed.withdraw(each.profile, each.replaced)
        answer = messages.rejected(self._version, "InternalError", reason)
        return each.origin, call_result(each.message_id, answer)

    def own_calls(self, now: float) -> list[tuple[str, bytes]]:
        """Return our own CALLs to the backend: actions and payloads.

        A station that is not accepted sends nothing but its boot (2.0.1 Part 2, B02 and B03).
        """
        if not self._is_registered:
            return []
        calls = [("ReportChargingProfiles", payload) for payload in self._reports.reports()]
        if self._version is not Version.V16 and self._notices_due(now):
            held_back = {evse: self._absorbed.held_back(evse, now) for evse in self._absorbed.evses}
            step = min((self._absorbed.in_unit(evse, CHANGE_A) for evse in held_back), default=CHANGE_A)
            calls += [self._notice(evse, limit) for evse, limit in self._notices.due(held_back, now, step)]
        due = self._pulls.due(self._absorbed.pulled, now, self._absorbed.utc_of(now))
        return calls + [(messages.PULL, messages.pull_request(number)) for number in due]

    def _notices_due(self, now: float) -> bool:
        """Return True if limits have changed since the last notices, or one has settled or ended."""
        revision, until = self._noticed
        settles = self._notices.deadline
        due = revision != self._absorbed.revision or any(
            each is not None and now >= each for each in (until, settles)
        )
        if due:
            self._noticed = (self._absorbed.revision, self._absorbed.next_lease_end(now))
        return due

    def _notice(self, evse: int, limit: float | None) -> tuple[str, bytes]:
        if limit is None:
            source = self._notice_sources.pop(evse, messages.SOURCE_US)
            return messages.limit_notice(evse, None, source)
        self._notice_sources[evse] = messages.SOURCE_GRID if evse in self._dimmed else messages.SOURCE_US
        unit = "W" if self._absorbed.in_watts else "A"
        return messages.limit_notice(evse, limit, self._notice_sources[evse], unit)

    # -- SetChargingProfile, remote starts, UpdateDynamicSchedule -------------------------------------

    def _decide_profile(self, frame: Call, now: float, origin: str) -> ProfileDecision:
        if not self._is_of_version(frame.action):
            return ProfileDecision(call=frame)
        command = messages.read_profile_command(self._version, frame.action, frame.payload)
        if command is None:
            return ProfileDecision(call=frame)
        if command.purpose in self._owned:
            return self._absorb(frame, command, now, origin)
        if is_ours(command.number):
            reason = f"chargingProfileId {command.number} is reserved for the site's load management"
            return self._reject(frame, "DuplicateProfile", reason)
        if frame.action in messages.REMOTE_STARTS:
            return ProfileDecision(call=frame)
        try:
            forwards = messages.accept_profile(self._version, command, self._absorbed.utc_of(now))
        except ProfileError:
            # It can be read: whether it is accepted is up to the station.
            return ProfileDecision(call=frame, supersedes=command)
        return ProfileDecision(call=frame, forwards=forwards)

    def _is_of_version(self, action: str) -> bool:
        """Return False for a command of another version: no station obeys it."""
        other = {True: "RequestStartTransaction", False: "RemoteStartTransaction"}
        return action != other[self._version is Version.V16]

    def _absorb(self, frame: Call, command: ProfileCommand, now: float, origin: str) -> ProfileDecision:
        if command.purpose in _RAISING:
            reason = f"{command.purpose} would rise above the limits of the site's load management"
            return self._reject(frame, "UnsupportedRequest", reason)
        starts = frame.action in messages.REMOTE_STARTS
        if starts and _is_signed(frame.payload):
            return _error(frame, "NotSupported", "its profile is for load management: send it unsigned")
        try:
            messages.check_followed(command, may_pull=True)
            added = messages.accept_profile(self._version, command, self._absorbed.utc_of(now))
            self._absorbed.check(added)
            if command.purpose == "TxProfile" and not starts:
                self._absorbed.check_transaction(added)
        except ProfileError as error:
            return self._reject(frame, error.code, str(error))
        if starts:  # its profile stays here, and holds if the station starts
            return ProfileDecision(call=_rewrite(frame, {"chargingProfile": None}), absorbs=added)
        return self._hold(frame, added, now, origin)

    def _hold(self, frame: Call, added: BackendProfile, now: float, origin: str) -> ProfileDecision:
        """Absorb a profile, and answer once the limits in the station obey it."""
        evses = [added.profile.evse] if added.profile.evse else list(self._absorbed.evses)
        if any(map(self._absorbed.refuses_limits, evses)):
            return self._reject(frame, "UnsupportedRequest", "the station refuses limits")
        replaced = self._absorbed.absorb(added)
        if self._absorbed.is_in_force(added, now):
            return ProfileDecision(answer=call_result(frame.id, messages.ACCEPTED))
        waiting = _Unconfirmed(origin, frame.id, added, tuple(replaced), now + CONFIRM_S)
        self._unconfirmed.append(waiting)
        return ProfileDecision()

    def _decide_update(self, frame: Call, now: float, origin: str) -> ProfileDecision:
        command = messages.read_update(self._version, frame.payload)
        number, utc = command.charging_profile_id, self._absorbed.utc_of(now)
        if is_ours(number):
            reason = f"chargingProfileId {number} is reserved for load management"
            return self._reject(frame, "InvalidProfile", reason)
        absorbed, forwarded = self._absorbed.find(number)
        if (profile := absorbed or forwarded) is None:
            return ProfileDecision(call=frame)
        try:
            updated = messages.update_profile(profile, command.schedule_update, utc)
        except ProfileError as error:
            if absorbed is None:  # whether it is accepted is up to the station
                return ProfileDecision(call=frame)
            return self._reject(frame, error.code, str(error))
        if absorbed is None:
            return ProfileDecision(call=frame, forwards=updated)
        return self._hold(frame, updated, now, origin)

    def _reject(self, frame: Call, code: str, reason: str) -> ProfileDecision:
        answer = call_result(frame.id, messages.rejected(self._version, code, reason))
        return ProfileDecision(answer=answer, reason=reason)

    # -- signed commands (2.x Part 4, section 7) ----------------------------------------------------

    def _decide_signed(self, frame: Call, action: str) -> ProfileDecision:
        """Decide about a `-Signed` command: only its author can change it, so it passes or is refused."""
        if action not in _GOVERNING:
            return ProfileDecision(call=frame)
        try:
            payload = messages.read_signed_payload(frame.payload)
        except messages.UnreadableCommandError:
            if action in _SETTINGS and frame.payload.count(b"payload") < 2:
                return ProfileDecision(call=frame)  # it is no JWS for any reader
            raise
        inner = Call(frame.text, frame.id, action, payload)
        reason = self._refuse_signed(inner)
        return ProfileDecision(call=frame) if reason is None else _error(frame, "NotSupported", reason)

    def _refuse_signed(self, inner: Call) -> str | None:
        """Return why a signed command may not pass as it is; None if it may."""
        version = self._version
        match inner.action:
            case "ClearChargingProfile":
                criteria = messages.read_clearing(version, inner.payload)
                if self._further_clearings(criteria) is not None:
                    return "it would clear limits of the site's load management: name a purpose or an id"
                if self._is_owned(criteria):
                    return "it is for the site's load management: send it without this signature"
                self._absorbed.clear(criteria)
                return None
            case "ChangeConfiguration" | "SetVariables":
                refused = check_settings(version, inner.action, inner.payload)
                return None if refused is None else f"{', '.join(refused.names)} governs the site's limits"
            case "UpdateDynamicSchedule":
                number = messages.read_update(version, inner.payload).charging_profile_id
                absorbed, _ = self._absorbed.find(number)
                if absorbed is not None:
                    return "its profile is with the site's load management: send it without this signature"
                return "the profile is load management's" if is_ours(number) else None
        if not self._is_of_version(inner.action):
            return None
        command = messages.read_profile_command(version, inner.action, inner.payload)
        if command is None or not (command.purpose in self._owned or is_ours(command.number)):
            return None
        return f"{command.purpose} is for the site's load management: send it without this signature"

    # -- ClearChargingProfile -----------------------------------------------------------------------

    def _decide_clearing(self, frame: Call) -> ProfileDecision:
        criteria = messages.read_clearing(self._version, frame.payload)
        if self._is_owned(criteria):
            cleared = self._absorbed.clear(criteria)
            status = messages.ACCEPTED if cleared else messages.UNKNOWN
            return ProfileDecision(answer=call_result(frame.id, status))
        purposes = self._further_clearings(criteria)
        if purposes is None:
            sent = frame if criteria.ids is None else self._by_id_alone(frame)
            return ProfileDecision(call=sent, clears=criteria, reply_to=frame.id)
        if _is_signed(frame.payload):
            return _error(frame, "NotSupported", "it would clear limits of load management: name a purpose")
        first, *further = (self._narrow(frame, purpose) for purpose in purposes)
        sent = Call(call(frame.id, frame.action, first), frame.id, frame.action, first)
        return ProfileDecision(call=sent, clears=criteria, reply_to=frame.id, further=tuple(further))

    def _is_owned(self, criteria: ClearingCriteria) -> bool:
        """Return True if only profiles in our purposes match: they are cleared here, or are ours."""
        if criteria.ids is not None:
            return bool(self._absorbed.matching(criteria)) or any(map(is_ours, criteria.ids))
        if criteria.purpose is not None:
            return criteria.purpose in self._owned
        # With limits per EVSE, all purposes above EVSE 0 are ours.
        return self._scope is LimitScope.EVSE and criteria.evse is not None and criteria.evse > 0

    def _further_clearings(self, criteria: ClearingCriteria) -> list[str] | None:
        """Return the purposes by which to clear where no id or purpose keeps ours; None where one does.

        An EVSE alone does not keep ours: a station may clear what holds at the EVSE, that of the whole
        station included, or read EVSE 0 as all EVSEs. No transaction is at EVSE 0, and so no TxProfile.
        """
        if criteria.ids is not None or criteria.purpose is not None:
            return None
        if self._scope is LimitScope.EVSE:
            return [limit_purpose(self._version, LimitScope.STATION)]
        if criteria.evse == 0:
            return ["TxDefaultProfile"]
        purposes = ["TxDefaultProfile", "TxProfile"]
        return [*purposes, "PriorityCharging"] if self._version is Version.V21 else purposes

    def _narrow(self, frame: Call, purpose: str) -> bytes:
        """Return the payload of a ClearChargingProfile with a purpose."""
        named: dict[str, object] = {"chargingProfilePurpose": purpose}
        if self._version is Version.V16:
            return _rewrite(frame, named).payload
        payload = msgspec.json.decode(frame.payload, type=dict[str, msgspec.Raw])
        inner = bytes(payload.get("chargingProfileCriteria") or b"{}")
        if inner == b"null":
            inner = b"{}"
        criteria: dict[str, object] = {**msgspec.json.decode(inner, type=dict[str, msgspec.Raw]), **named}
        return _rewrite(frame, {"chargingProfileCriteria": criteria}).payload

    def _by_id_alone(self, frame: Call) -> Call:
        """Return the clearing by id without criteria beside it, which a station might take instead."""
        names = msgspec.json.decode(frame.payload, type=dict[str, msgspec.Raw]).keys()
        beside = names & {
            "connectorId",
            "chargingProfilePurpose",
            "stackLevel",
            "chargingProfileCriteria",
        }
        return frame if not beside or _is_signed(frame.payload) else _rewrite(frame, dict.fromkeys(beside))

    def _on_cleared(
        self, decision: ProfileDecision, clears: ClearingCriteria, answer: Answer
    ) -> str | ProfileDecision:
        """Take the answer to one clearing; the backend is answered after the last."""
        good = isinstance(answer, CallResult) and is_accepted(answer.payload)
        has_cleared = decision.has_cleared or good
        if decision.further:
            payload, *rest = decision.further
            message_id = str(uuid.uuid5(_CALLS_NAMESPACE, f"{decision.reply_to} {len(rest)} {answer.id}"))
            text = call(message_id, "ClearChargingProfile", payload)
            following = Call(text, message_id, "ClearChargingProfile", payload)
            return msgspec.structs.replace(
                decision, call=following, further=tuple(rest), has_cleared=has_cleared
            )
        if self._absorbed.clear(clears) or has_cleared:
            if good and answer.id == decision.reply_to:
                return answer.text
            return call_result(decision.reply_to, messages.ACCEPTED)
        if isinstance(answer, CallResult):
            is_own = answer.id == decision.reply_to
            return answer.text if is_own else call_result(decision.reply_to, answer.payload)
        return call_error(decision.reply_to, answer.code, answer.description)

    # -- settings -----------------------------------------------------------------------------------

    def _decide_settings(self, frame: Call) -> ProfileDecision:
        refused = check_settings(self._version, frame.action, frame.payload)
        if refused is None:
            return ProfileDecision(call=frame)
        reason = f"{', '.join(refused.names)} governs the limits of the site's load management"
        if self._version is Version.V16:
            return self._reject(frame, "", reason)
        if refused.rest is None:
            answer = refused.merge(None) or messages.UNKNOWN
            return ProfileDecision(answer=call_result(frame.id, answer), reason=reason)
        if _is_signed(frame.payload):
            return _error(frame, "NotSupported", reason)
        sent = Call(call(frame.id, frame.action, refused.rest), frame.id, frame.action, refused.rest)
        return ProfileDecision(call=sent, refused=refused, reason=reason)

    # -- questions ----------------------------------------------------------------------------------

    def _answer_composite(self, frame: Call, now: float) -> ProfileDecision:
        request = messages.read_composite_request(self._version, frame.payload)
        if request is None:
            return ProfileDecision(call=frame)
        evse, duration_s, unit = request
        target = evse
        if evse == 0 and self._scope is LimitScope.STATION:
            target = next(iter(self._absorbed.evses))
        if target not in self._absorbed.evses or duration_s <= 0:
            return ProfileDecision(call=frame)
        found = self._absorbed.composite_limits(target, min(duration_s, LONGEST_COMPOSITE_S), now)
        if found is None:
            return ProfileDecision(call=frame)
        own_unit = "W" if self._absorbed.in_watts else "A"
        unit = own_unit if unit is None else "W" if unit == "W" else "A"
        scale = 1.0
        if unit != own_unit:
            watts_per_amp = self._absorbed.watts_per_amp(target)
            scale = watts_per_amp if unit == "W" else 1 / watts_per_amp
        answer = messages.composite_schedule(
            self._version, evse, found.spans, round(found.end - found.spans[0].start), unit, scale
        )
        return ProfileDecision(answer=call_result(frame.id, answer))

    def _decide_report(self, frame: Call) -> ProfileDecision:
        request = messages.read_report_request(self._version, frame.payload)
        if request is None:
            return ProfileDecision(call=frame)
        criteria = messages.report_criteria(request)
        taken = self._reports.open_request(request, self._absorbed.matching(criteria))
        return ProfileDecision(call=frame, reports=request.request_id if taken else None)


_SETTINGS = {"ChangeConfiguration", "SetVariables"}
_GOVERNING = (
    messages.REMOTE_STARTS
    | _SETTINGS
    | {
        "SetChargingProfile",
        "ClearChargingProfile",
        "UpdateDynamicSchedule",
    }
)
"""Actions that set, clear or switch off limits."""


def _error(frame: Call, code: str, reason: str) -> ProfileDecision:
    return ProfileDecision(answer=call_error(frame.id, code, reason), reason=reason)


def _is_signed(payload: bytes) -> bool:
    """Return True if a payload has signatures of its own, which a change would make invalid."""
    members = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
    return bool(msgspec.json.decode(members.get("signatures") or b"[]"))


def _rewrite(frame: Call, members: dict[str, object]) -> Call:
    """Return the CALL with members of its payload replaced, or removed (None)."""
    payload = msgspec.json.decode(frame.payload, type=dict[str, msgspec.Raw])
    changed: dict[str, object] = {**payload, **members}
    encoded = msgspec.json.encode({name: value for name, value in changed.items() if value is not None})
    return Call(call(frame.id, frame.action, encoded), frame.id, frame.action, encoded)
