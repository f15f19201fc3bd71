"""The site's own identity: the controller as a charging station of the backend that limits the whole site.

Sans-IO: events of one link go in, messages and the site's limit come out. It boots until it is accepted,
sends its status and its heartbeats, and answers every CALL exactly once (OCPP-J 4.1). One of its own CALLs at
most is without an answer; reports wait for their turn. Times are s: `now` monotonic, `utc` POSIX.

While the gateway's clock is not synchronised, it may be wrong by any time. Then the site's limit is the lower
one of two: by that clock, and by the time of the backend's last answer, or before the first answer by that of
the last write before the restart.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from controller.model.deadlines import earliest
from controller.model.effects import BackendLost, BackendUp, LogEntry, TimePassed, ToBackend
from controller.model.journal import Persist, ProfilesStored
from controller.ocpp.frames import (
    Answer,
    Call,
    CallError,
    CallResult,
    Frame,
    MalformedFrame,
    UnknownMessageType,
    Version,
    call_error,
    call_frame,
    malformed_answer,
    result_frame,
)
from controller.ocpp.payloads import Int32, format_time, read_payload
from controller.profiles.profile_messages import (
    UnreadableCommandError,
    read_stored_profiles,
    record_profiles,
    rejected,
)
from controller.profiles.schedule import lowest
from controller.profiles.station_clock import read_current_time
from controller.site_identity import variables
from controller.site_identity.group_profiles import GroupProfiles

RETRY_S = 60.0
"""Interval of the boot where the backend gave none, or no answer at all."""
MOST_REPORTS = 20
"""Reports that wait for their turn; the oldest is dropped for a newer one."""
CLOCK_SET_S = 0.5
"""Change of the difference between UTC and the monotonic clock from which on the clock counts as set."""
SHORTEST_S = 1.0
"""Shortest time between two heartbeats or boots, even if the backend's interval is less."""
SERVED_ACTIONS = frozenset({"DataTransfer", "CertificateSigned"})
"""CALLs of the backend that other services answer: about dimming, and certificates of the controller."""
CERTIFICATE_TRIGGERS = frozenset({"SignChargingStationCertificate", "SignChargePointCertificate"})
"""Messages of a trigger that a service answers, too (2.x and 1.6)."""
MOST_MESSAGES = 64
"""Messages that wait for the backend; the oldest is dropped for a newer one."""


class SiteFrame(msgspec.Struct, frozen=True):
    """A text of the backend, parsed."""

    frame: Frame | MalformedFrame | UnknownMessageType


class OwnFrame(msgspec.Struct, frozen=True):
    """Send the backend this CALL of the site, or its answer, signed where the policy requires it."""

    frame: Call | CallResult


class SiteMessage(msgspec.Struct, frozen=True):
    """Send the backend a CALL, now or once it is there."""

    action: str
    payload: bytes


class SiteReply(msgspec.Struct, frozen=True):
    """The answer to a `SiteRequest`, a JSON object."""

    id: str
    result: bytes


class SiteRequest(msgspec.Struct, frozen=True):
    """A CALL of the backend that a service answers: `SiteReply`. See `SERVED_ACTIONS`."""

    id: str
    payload: bytes
    action: str = "DataTransfer"


class SiteBackendReached(msgspec.Struct, frozen=True):
    """The backend has accepted the site, or was lost."""

    there: bool


class SiteLimited(msgspec.Struct, frozen=True):
    """The backend's limit of the site from now on (A per phase); None: no limit.

    `outside_a`: its limit by ChargingStationExternalConstraints.
    """

    limit_a: float | None
    outside_a: float | None = None

    @property
    def lowest_a(self) -> float | None:
        """The lower of both limits; None: no limit."""
        return lowest(self.limit_a, self.outside_a)


IdentityEvent = BackendUp | BackendLost | SiteFrame | TimePassed | SiteMessage | SiteReply
IdentityAction = OwnFrame | ToBackend | Persist | SiteLimited | SiteRequest | SiteBackendReached | LogEntry


class SiteIdentitySettings(msgspec.Struct, frozen=True, kw_only=True):
    """The site as its backend has it: its id, OCPP version and firmware, and its grid connection.

    `voltage`: V, line to neutral; `connection_a`: rating (A per phase).
    """

    id: str
    version: Version
    firmware: str
    voltage: float
    connection_a: float


class _BootAnswer(msgspec.Struct):
    status: str
    interval: Int32 = 0


class _Trigger(msgspec.Struct, rename="camel"):
    requested_message: str = ""


def _is_certificate_trigger(command: Call) -> bool:
    """Return True for a trigger of a new certificate request."""
    if command.action not in ("TriggerMessage", "ExtendedTriggerMessage"):
        return False
    read = read_payload(_Trigger, command.payload)
    return read is not None and read.requested_message in CERTIFICATE_TRIGGERS


class SiteIdentity:
    """The site's identity over all its links. `new_id` returns a unique message id."""

    def __init__(self, settings: SiteIdentitySettings, new_id: Callable[[], str]) -> None:
        self._settings = settings
        self._version = settings.version
        self._profiles = GroupProfiles(settings.version, settings.voltage, settings.connection_a)
        self._new_id = new_id
        self._accepted = False
        self._interval_s = RETRY_S
        self._send_at: float | None = None
        self._asked: tuple[str, str] | None = None
        """Id and action of the CALL without an answer."""
        self._reports: deque[bytes] = deque(maxlen=MOST_REPORTS)
        self._messages: deque[SiteMessage] = deque(maxlen=MOST_MESSAGES)
        self._unanswered: SiteMessage | None = None
        """The message without an answer: it is sent again on the next link."""
        self._reported = SiteLimited(None)
        self._change_at: float | None = None
        """Time of the next change of the limit (s, monotonic); None: not before a profile is set."""
        self._limit_basis: tuple[int, tuple[float, ...]] | None = None
        """Revision of the profiles, and the clocks by which the limit was computed."""
        self._other_clock: float | None = None
        """Clock that counts beside the gateway's while that is not synchronised: UTC at 0 s monotonic."""

    @property
    def deadline(self) -> float | None:
        """Time of the next TimePassed (s, monotonic)."""
        return earliest(self._send_at, self._change_at)

    def restore(self, records: Iterable[ProfilesStored], last_clock: float | None = None) -> list[LogEntry]:
        """Take over the profiles that were stored before a restart; return what to log of them.

        `last_clock`: UTC at 0 s monotonic by the last write before it; None: there was none.
        """
        self._other_clock = last_clock
        found, entries = read_stored_profiles(each for each in records if each.station == self._settings.id)
        self._profiles.restore(found.get((self._settings.id, self._version), ()))
        return entries

    def handle(
        self, event: IdentityEvent, now: float, utc: float, *, is_synchronised: bool = True
    ) -> list[IdentityAction]:
        """Handle one event and return the effects in order. Limits outlive a lost link.

        `is_synchronised`: the gateway's clock is.
        """
        actions: list[IdentityAction] = []
        match event:
            case BackendUp():
                self._accepted = False
                actions += self._send("BootNotification", self._boot_payload(), now)
            case BackendLost():
                actions += [SiteBackendReached(False)] if self._accepted else []
                self._accepted, self._send_at = False, None
                self._asked = None
                self._reports.clear()
                self._requeue()
            case SiteFrame(frame=frame):
                actions += self._on_frame(frame, now, utc)
            case TimePassed():
                actions += self._send_due(now)
            case SiteMessage():
                self._messages.append(event)
            case SiteReply():
                actions.append(OwnFrame(result_frame(event.id, event.result)))
        if is_synchronised:
            self._other_clock = None
        return actions + self._send_next(now) + self._changed_limit(now, utc)

    def _send_due(self, now: float) -> list[IdentityAction]:
        if self._send_at is None or now < self._send_at:
            return []
        if not self._accepted:
            return self._send("BootNotification", self._boot_payload(), now)
        self._requeue()
        return self._send("Heartbeat", {}, now)

    def _send(self, action: str, payload: dict[str, Any] | msgspec.Raw, now: float) -> list[IdentityAction]:
        """Send a CALL; a late answer to the one before is dropped."""
        self._asked = (self._new_id(), action)
        self._send_at = now + self._interval_s
        return [OwnFrame(call_frame(self._asked[0], action, msgspec.json.encode(payload)))]

    def _send_next(self, now: float) -> list[IdentityAction]:
        """Send what waits for its turn: reports that were requested, then messages."""
        if self._asked is not None:
            return []
        if self._reports:
            return self._send("ReportChargingProfiles", msgspec.Raw(self._reports.popleft()), now)
        if not (self._accepted and self._messages):
            return []
        self._unanswered = self._messages.popleft()
        return self._send(self._unanswered.action, msgspec.Raw(self._unanswered.payload), now)

    def _requeue(self) -> None:
        """Queue the message without an answer again."""
        if self._unanswered is not None and len(self._messages) < MOST_MESSAGES:
            self._messages.appendleft(self._unanswered)
        self._unanswered = None

    def _boot_payload(self) -> dict[str, Any]:
        if self._version is Version.V16:
            return {
                "chargePointVendor": "local-controller",
                "chargePointModel": "site",
                "firmwareVersion": self._settings.firmware,
            }
        station = {
            "vendorName": "local-controller",
            "model": "site",
            "firmwareVersion": self._settings.firmware,
        }
        return {"reason": "PowerUp", "chargingStation": station}

    def _on_frame(
        self, frame: Frame | MalformedFrame | UnknownMessageType, now: float, utc: float
    ) -> list[IdentityAction]:
        if isinstance(frame, Call):
            return self._on_call(frame, utc)
        if isinstance(frame, MalformedFrame):
            owed = malformed_answer(self._version, frame)
            note = LogEntry(logging.WARNING, f"malformed frame of the site's backend reason={frame.reason}")
            return [note] if owed is None else [note, ToBackend(owed)]
        if isinstance(frame, CallResult | CallError) and self._asked and frame.id == self._asked[0]:
            action, self._asked, self._unanswered = self._asked[1], None, None
            return self._on_answer(action, frame, now, utc)
        return []

    def _on_answer(self, action: str, answer: Answer, now: float, utc: float) -> list[IdentityAction]:
        if isinstance(answer, CallResult) and (backend_utc := read_current_time(answer.payload)) is not None:
            self._other_clock = backend_utc - now
        if action != "BootNotification":
            return []
        answered = read_payload(_BootAnswer, answer.payload) if isinstance(answer, CallResult) else None
        self._interval_s = (
            max(SHORTEST_S, answered.interval) if answered and answered.interval > 0 else RETRY_S
        )
        self._send_at = now + self._interval_s
        self._accepted = answered is not None and answered.status == "Accepted"
        if not self._accepted:
            return [
                LogEntry(
                    logging.WARNING, f"boot of the site not accepted status={answered and answered.status}"
                )
            ]
        actions: list[IdentityAction] = [
            SiteBackendReached(True),
            LogEntry(logging.INFO, "boot of the site accepted"),
        ]
        if self._version is Version.V16:  # 2.x has no status but that of an EVSE, and the site has none
            status = {"connectorId": 0, "errorCode": "NoError", "status": "Available"}
            actions += self._send("StatusNotification", status | {"timestamp": format_time(utc)}, now)
        return actions

    def _on_call(self, command: Call, utc: float) -> list[IdentityAction]:
        if command.action in SERVED_ACTIONS or _is_certificate_trigger(command):
            return [SiteRequest(command.id, command.payload, command.action)]
        before = self._profiles.stored
        try:
            result = self._profiles.answer(command.action, command.payload, utc) or self._answer_other(
                command
            )
        except UnreadableCommandError as error:
            return [ToBackend(call_error(command.id, error.code, str(error)))]
        if result is None:
            return [ToBackend(call_error(command.id, "NotImplemented", "a site does not support this"))]
        stored = self._profiles.stored
        saved: list[IdentityAction] = []
        if stored != before:
            saved.append(Persist((record_profiles(self._settings.id, self._version, stored),)))
        return [*saved, OwnFrame(result_frame(command.id, result))]

    def _answer_other(self, command: Call) -> bytes | None:
        action = command.action
        if action == "GetChargingProfiles" and self._version is not Version.V16:
            report = self._profiles.report(command.payload)
            if report is not None:
                self._reports.extend(report[1])
            return None if report is None else report[0]
        if action == "Reset":
            return rejected(self._version, "NotEnabled", "the site is not restarted by its backend")
        if action in ("TriggerMessage", "ExtendedTriggerMessage"):
            return b'{"status":"NotImplemented"}'
        return variables.answer_variables(self._version, action, command.payload)

    def _changed_limit(self, now: float, utc: float) -> list[IdentityAction]:
        """Return the site's limit if it has changed: by a profile, by time, or by a clock that was set."""
        clocks = (utc - now,) if self._other_clock is None else (utc - now, self._other_clock)
        is_due = self._change_at is not None and now >= self._change_at
        if not is_due and self._is_computed_by(clocks):
            return []
        self._limit_basis = (self._profiles.revision, clocks)
        own, outside = zip(*(self._profiles.limits_a(now + clock) for clock in clocks), strict=True)
        changes = [(self._profiles.next_change(now + clock), clock) for clock in clocks]
        self._change_at = earliest(*(None if at is None else at - clock for at, clock in changes))
        limited = SiteLimited(lowest(*own), lowest(*outside))
        if limited == self._reported:
            return []
        self._reported = limited
        return [limited]

    def _is_computed_by(self, clocks: tuple[float, ...]) -> bool:
        """Return True if the limit was computed by the same profiles and clocks."""
        revision, before = self._limit_basis or (-1, ())
        return (
            revision == self._profiles.revision
            and len(before) == len(clocks)
            and all(abs(was - clock) < CLOCK_SET_S for was, clock in zip(before, clocks, strict=True))
        )
