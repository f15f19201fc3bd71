"""Reports and requests to a backend in 2.x: GetChargingProfiles, charging limits, Dynamic profiles.

A backend gets the profiles that it has set, absorbed or forwarded, and not the controller's. The station's
answer and its ReportChargingProfiles are collected; the backend gets its answer and the reports when the last
has come (OCPP 2.0.1 Part 2, K09). Only then is it known if anything is left to report, and which report
is the last.

A notice that a transaction is held back (K12, K13) is sent for what lasts: a change of more than `CHANGE_A`
that stood for `SETTLE_S`, so that a limit on its way from one value to the next makes one message, not ten.

A Dynamic profile with a dynUpdateInterval (2.1) that is absorbed never reaches the station. Its update is
asked for in the station's place (PullDynamicScheduleUpdate): so long after each update, and after each
request that brought none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import msgspec

from controller.ocpp import v2
from controller.ocpp.frames import CallResult, call_result
from controller.ocpp.payloads import is_accepted, read_payload
from controller.profiles.limit_profiles import is_ours
from controller.profiles.profile_messages import ACCEPTED, NO_PROFILES, SOURCE_BACKEND, BackendProfile

REPORT_S = 30.0
"""Time that a station's next report is waited for."""
MOST_OPEN = 4
"""Requests at once."""
CHANGE_A = 1.0
"""Smallest change that is reported (A per phase)."""
SETTLE_S = 10.0


class _OpenRequest:
    """A request, and the profiles to report, by EVSE and source."""

    def __init__(self, absorbed: list[BackendProfile]) -> None:
        self.answer_id: str | None = None
        self.until: float | None = None
        self.found: dict[tuple[int, str], list[msgspec.Raw]] = {}
        for each in absorbed:
            self.add(each.profile.evse, SOURCE_BACKEND, msgspec.Raw(each.raw))

    def add(self, evse: int, source: str, profile: msgspec.Raw) -> None:
        self.found.setdefault((evse, source), []).append(profile)


class ProfileReports:
    """The requests of one link that are not fully answered."""

    def __init__(self) -> None:
        self._open: dict[int, _OpenRequest] = {}
        self._answers: list[str] = []
        self._reports: list[bytes] = []

    @property
    def deadline(self) -> float | None:
        """End of the wait for a station's reports (s, monotonic)."""
        if not self._open:
            return None
        return min((each.until for each in self._open.values() if each.until is not None), default=None)

    def open_request(self, request: v2.GetChargingProfilesV2, absorbed: list[BackendProfile]) -> bool:
        """Begin a request with the absorbed profiles that match; False if too many are open already."""
        if len(self._open) >= MOST_OPEN or request.request_id in self._open:
            return False
        sources = request.charging_profile.charging_limit_source
        matching = absorbed if sources is None or SOURCE_BACKEND in sources else []
        self._open[request.request_id] = _OpenRequest(matching)
        return True

    def on_result(self, request_id: int, answer: CallResult, now: float) -> None:
        """Take the station's answer to the request."""
        self._open[request_id].answer_id = answer.id
        if is_accepted(answer.payload):
            self._open[request_id].until = now + REPORT_S
        else:
            self._finish(request_id)

    def on_error(self, request_id: int) -> None:
        """Drop a request that has failed: its error is the whole answer."""
        self._open.pop(request_id, None)

    def on_report(self, payload: bytes, now: float) -> bool:
        """Take a station's report; return True if it belongs to one of these requests."""
        report = read_payload(v2.ReportChargingProfilesV2, payload)
        if report is None or (request := self._open.get(report.request_id)) is None:
            return False
        for profile in report.charging_profile:
            head = read_payload(v2.ProfileHeadV2, bytes(profile))
            if head is None or head.number is None or not is_ours(head.number):
                request.add(report.evse_id, report.charging_limit_source, profile)
        if request.answer_id is not None:
            request.until = now + REPORT_S
            if not report.tbc:
                self._finish(report.request_id)
        return True

    def tick(self, now: float) -> None:
        """End the requests whose station does not report any more."""
        for number in [n for n, each in self._open.items() if each.until is not None and now >= each.until]:
            self._finish(number)

    def finish(self) -> None:
        """End all requests that have an answer: the link ends."""
        for number in [number for number, each in self._open.items() if each.answer_id is not None]:
            self._finish(number)

    def answers(self) -> list[str]:
        """Return the answers for the backend since the last call."""
        answers, self._answers = self._answers, []
        return answers

    def reports(self) -> list[bytes]:
        """Return the payloads of our ReportChargingProfiles since the last call, in order."""
        reports, self._reports = self._reports, []
        return reports

    def _finish(self, request_id: int) -> None:
        request = self._open.pop(request_id)
        if request.answer_id is not None:
            self._answers.append(call_result(request.answer_id, ACCEPTED if request.found else NO_PROFILES))
        for count, ((evse, source), profiles) in enumerate(request.found.items(), start=1):
            report = v2.ReportChargingProfilesV2(
                request_id=request_id,
                charging_limit_source=source,
                charging_profile=tuple(profiles),
                tbc=count < len(request.found),
                evse_id=evse,
            )
            self._reports.append(msgspec.json.encode(report))


class _Notice(msgspec.Struct):
    limit: float | None = None
    differs_since: float | None = None


class LimitNotices:
    """The limits that the backend of one link was last notified of, by EVSE."""

    def __init__(self) -> None:
        self._sent: dict[int, _Notice] = {}

    @property
    def deadline(self) -> float | None:
        """Time at which a change has settled (s, monotonic)."""
        since = [notice.differs_since for notice in self._sent.values() if notice.differs_since is not None]
        return min(since) + SETTLE_S if since else None

    def due(
        self, held_back: Mapping[int, float | None], now: float, step: float = CHANGE_A
    ) -> list[tuple[int, float | None]]:
        """Return the notices to send now: EVSE and limit, None where there is none any more.

        `step`: smallest change that is reported, in the unit of the limits.
        """
        due: list[tuple[int, float | None]] = []
        for evse, limit in held_back.items():
            notice = self._sent.setdefault(evse, _Notice())
            if not _differ(notice.limit, limit, step):
                notice.differs_since = None
            elif notice.differs_since is None:
                notice.differs_since = now
            elif now >= notice.differs_since + SETTLE_S:
                notice.limit, notice.differs_since = limit, None
                due.append((evse, limit))
        return due


class SchedulePulls:
    """Requests over one link for updates of absorbed Dynamic profiles.

    `deadline`: time of the next one (s, monotonic), as of the last `due`.
    """

    def __init__(self) -> None:
        self._asked: dict[int, float] = {}
        """UTC of the last request, by profile."""
        self.deadline: float | None = None

    def due(self, pulled: Iterable[BackendProfile], now: float, utc: float) -> list[int]:
        """Return the ids of the profiles whose update is to be asked for now."""
        asked, self._asked = self._asked, {}
        due: list[int] = []
        next_at = math.inf
        for each in pulled:
            number, every_s = each.profile.id, each.pull_every_s or 0.0
            last = max(each.profile.schedules[0].start or 0.0, asked.get(number, 0.0))
            if utc >= last + every_s or utc < last:  # the clock was set back
                due.append(number)
                last = utc
            self._asked[number] = last
            next_at = min(next_at, last + every_s)
        self.deadline = now + next_at - utc if next_at < math.inf else None
        return due


def _differ(one: float | None, other: float | None, step: float) -> bool:
    if one is None or other is None:
        return one is not other
    return abs(one - other) > step
