"""The controller as a station of its own: the conversation with the backend that limits the site as a whole.

Pure: events of one link go in, messages and the site's limit come out. It boots until it is accepted,
tells that it is there, keeps its heartbeat, and gives every CALL exactly one answer (OCPP-J 4.1). Of its
own CALLs one at most is without its answer; reports that were asked for wait for their turn.
Times are s: `now` monotonic, `utc` POSIX.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from controller.model.deadlines import earliest
from controller.model.effects import BackendLost, BackendUp, FromBackend, LogEntry, TimePassed, ToBackend
from controller.ocpp.frames import (
    Answer,
    Call,
    CallError,
    CallResult,
    MalformedFrame,
    Version,
    call,
    call_error,
    call_result,
    malformed_answer,
    parse,
)
from controller.ocpp.payloads import format_time, read_payload
from controller.profiles.profile_messages import ProfilesAbsorbed, UnreadableCommandError, rejected
from controller.site_identity import variables
from controller.site_identity.group_profiles import GroupProfiles

RETRY_S = 60.0
"""When a backend is asked again that gave no interval, or no answer at all."""
MOST_REPORTS = 20
"""That wait for their turn; the oldest is given up for a newer one."""
SHORTEST_S = 1.0
"""No heartbeat or boot follows another sooner, whatever interval the backend tells."""


MOST_WORDS = 64
"""Of the controller, that wait for the backend; the oldest is given up for a newer one."""


class SiteMessage(msgspec.Struct, frozen=True):
    """Tell the backend this with a CALL, now or once it is there."""

    action: str
    payload: bytes


class SiteReply(msgspec.Struct, frozen=True):
    """The answer to `Asked`, a JSON object."""

    id: str
    result: bytes


class SiteRequest(msgspec.Struct, frozen=True):
    """A DataTransfer came, which others than the identity understand: `SiteReply` ends it."""

    id: str
    payload: bytes


class SiteBackendReached(msgspec.Struct, frozen=True):
    """From now on the backend is there and accepts the site, or it is not."""

    there: bool


class SiteLimited(msgspec.Struct, frozen=True):
    """The backend limits the site to this from now on (A per phase); None: no longer.

    `outside_a`: what it says that somebody outside allows (ChargingStationExternalConstraints).
    """

    limit_a: float | None
    outside_a: float | None = None


IdentityEvent = BackendUp | BackendLost | FromBackend | TimePassed | SiteMessage | SiteReply
IdentityAction = ToBackend | ProfilesAbsorbed | SiteLimited | SiteRequest | SiteBackendReached | LogEntry


class _BootAnswer(msgspec.Struct):
    status: str
    interval: int = 0


class SiteIdentity:
    """One identity over all its links. `new_id` gives each of its CALLs an id that no other has."""

    def __init__(
        self, version: Version, firmware: str, profiles: GroupProfiles, new_id: Callable[[], str]
    ) -> None:
        self._version = version
        self._firmware = firmware
        self._profiles = profiles
        self._new_id = new_id
        self._accepted = False
        self._interval_s = RETRY_S
        self._say_at: float | None = None
        self._asked: tuple[str, str] | None = None
        """Id and action of the CALL that waits for its answer."""
        self._reports: deque[bytes] = deque(maxlen=MOST_REPORTS)
        self._words: deque[SiteMessage] = deque(maxlen=MOST_WORDS)
        self._said: SiteMessage | None = None
        """The word that waits for its answer: it is said again on the next link."""
        self._told = SiteLimited(None)
        self._look_at: float | None = None

    @property
    def deadline(self) -> float | None:
        """When a Tick is wanted (s, monotonic)."""
        return earliest(self._say_at, self._look_at)

    def handle(self, event: IdentityEvent, now: float, utc: float) -> list[IdentityAction]:
        """Take in one event; what to do because of it, in this order. Limits outlive a lost link."""
        actions: list[IdentityAction] = []
        match event:
            case BackendUp():
                self._accepted = False
                actions += self._say("BootNotification", self._boot(), now)
            case BackendLost():
                actions += [SiteBackendReached(False)] if self._accepted else []
                self._accepted, self._say_at = False, None
                self._asked = None
                self._reports.clear()
                self._take_back()
            case FromBackend(text=text):
                actions += self._heard(text, now, utc)
            case TimePassed():
                actions += self._due(now)
            case SiteMessage():
                self._words.append(event)
            case SiteReply():
                actions.append(ToBackend(call_result(event.id, event.result)))
        return actions + self._next(now) + self._limited(now, utc)

    def _due(self, now: float) -> list[IdentityAction]:
        if self._say_at is None or now < self._say_at:
            return []
        if not self._accepted:
            return self._say("BootNotification", self._boot(), now)
        self._take_back()
        return self._say("Heartbeat", {}, now)

    def _say(self, action: str, payload: dict[str, Any] | msgspec.Raw, now: float) -> list[IdentityAction]:
        """Send a CALL; what had no answer until now gets none that counts."""
        self._asked = (self._new_id(), action)
        self._say_at = now + self._interval_s
        return [ToBackend(call(self._asked[0], action, msgspec.json.encode(payload)))]

    def _next(self, now: float) -> list[IdentityAction]:
        """Whatever waits for its turn: what the backend has asked for, then what we have to tell."""
        if self._asked is not None:
            return []
        if self._reports:
            return self._say("ReportChargingProfiles", msgspec.Raw(self._reports.popleft()), now)
        if not (self._accepted and self._words):
            return []
        self._said = self._words.popleft()
        return self._say(self._said.action, msgspec.Raw(self._said.payload), now)

    def _take_back(self) -> None:
        """What was said last has no answer: it is said again."""
        if self._said is not None and len(self._words) < MOST_WORDS:
            self._words.appendleft(self._said)
        self._said = None

    def _boot(self) -> dict[str, Any]:
        if self._version is Version.V16:
            return {
                "chargePointVendor": "local-controller",
                "chargePointModel": "site",
                "firmwareVersion": self._firmware,
            }
        station = {"vendorName": "local-controller", "model": "site", "firmwareVersion": self._firmware}
        return {"reason": "PowerUp", "chargingStation": station}

    def _heard(self, text: str, now: float, utc: float) -> list[IdentityAction]:
        frame = parse(text)
        if isinstance(frame, Call):
            return self._answer(frame, utc)
        if isinstance(frame, MalformedFrame):
            owed = malformed_answer(self._version, frame)
            note = LogEntry(logging.WARNING, f"the site's backend sent what is no OCPP: {frame.reason}")
            return [note] if owed is None else [note, ToBackend(owed)]
        if isinstance(frame, CallResult | CallError) and self._asked and frame.id == self._asked[0]:
            action, self._asked, self._said = self._asked[1], None, None
            return self._answered(action, frame, now, utc)
        return []

    def _answered(self, action: str, answer: Answer, now: float, utc: float) -> list[IdentityAction]:
        if action != "BootNotification":
            return []
        told = read_payload(_BootAnswer, answer.payload) if isinstance(answer, CallResult) else None
        self._interval_s = max(SHORTEST_S, told.interval) if told and told.interval > 0 else RETRY_S
        self._say_at = now + self._interval_s
        self._accepted = told is not None and told.status == "Accepted"
        if not self._accepted:
            return [
                LogEntry(logging.WARNING, f"the site's backend does not accept it: {told and told.status}")
            ]
        news: list[IdentityAction] = [
            SiteBackendReached(True),
            LogEntry(logging.INFO, "the site's backend accepts it"),
        ]
        if self._version is Version.V16:  # 2.x has no status but that of an EVSE, and the site has none
            status = {"connectorId": 0, "errorCode": "NoError", "status": "Available"}
            news += self._say("StatusNotification", status | {"timestamp": format_time(utc)}, now)
        return news

    def _answer(self, asked: Call, utc: float) -> list[IdentityAction]:
        before = self._profiles.stored
        try:
            result = self._profiles.answer(asked.action, asked.payload, utc) or self._other(asked)
        except UnreadableCommandError as error:
            return [ToBackend(call_error(asked.id, error.code, str(error)))]
        if result is None and asked.action == "DataTransfer":
            return [SiteRequest(asked.id, asked.payload)]
        if result is None:
            return [ToBackend(call_error(asked.id, "NotImplemented", "a site has no such thing"))]
        kept = self._profiles.stored
        saved: list[IdentityAction] = [ProfilesAbsorbed(kept)] if kept != before else []
        return [*saved, ToBackend(call_result(asked.id, result))]

    def _other(self, asked: Call) -> bytes | None:
        action = asked.action
        if action == "GetChargingProfiles" and self._version is not Version.V16:
            told = self._profiles.report(asked.payload)
            if told is not None:
                self._reports.extend(told[1])
            return None if told is None else told[0]
        if action == "Reset":
            return rejected(self._version, "NotEnabled", "the site is not restarted by its backend")
        if action == "TriggerMessage":
            return b'{"status":"NotImplemented"}'
        return variables.answer(self._version, action, asked.payload)

    def _limited(self, now: float, utc: float) -> list[IdentityAction]:
        """The site's limit, where it is another than was told."""
        limited, change = SiteLimited(*self._profiles.limits_a(utc)), self._profiles.next_change(utc)
        self._look_at = None if change is None else now + change - utc
        if limited == self._told:
            return []
        self._told = limited
        return [limited]
