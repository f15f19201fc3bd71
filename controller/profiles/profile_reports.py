"""GetChargingProfiles of 2.x: the backend sees what it has set, kept or passed, and not what is ours.

The station's answer and its ReportChargingProfiles are collected; the backend gets its answer and the
reports when the last has come (OCPP 2.0.1 Part 2, K09). Only then is it known whether anything is left to
report, and which report is the last.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from controller.ocpp import v2
from controller.ocpp.frames import CallResult, call_result
from controller.ocpp.payloads import is_accepted, read_payload
from controller.profiles.limit_profiles import is_ours
from controller.profiles.profile_messages import ACCEPTED, SOURCE_BACKEND, HeldProfile

REPORT_S = 30.0
"""How long a station's next report is waited for."""
MOST_OPEN = 4
"""Requests at once."""

_NO_PROFILES = b'{"status":"NoProfiles"}'


class _Open:
    """A request, and what there is to report, by EVSE and source."""

    def __init__(self, kept: list[HeldProfile]) -> None:
        self.answer_id: str | None = None
        self.until: float | None = None
        self.found: dict[tuple[int, str], list[msgspec.Raw]] = {}
        for held in kept:
            self.add(held.profile.evse, SOURCE_BACKEND, msgspec.Raw(held.sent))

    def add(self, evse: int, source: str, profile: msgspec.Raw) -> None:
        self.found.setdefault((evse, source), []).append(profile)


class ProfileReports:
    """The requests of one link that are not fully answered."""

    def __init__(self) -> None:
        self._open: dict[int, _Open] = {}
        self._answers: list[str] = []
        self._reports: list[bytes] = []

    @property
    def deadline(self) -> float | None:
        """When a station has had its time to report (s, monotonic)."""
        if not self._open:
            return None
        return min((each.until for each in self._open.values() if each.until is not None), default=None)

    def asked(self, request: v2.GetChargingProfilesV2, kept: list[HeldProfile]) -> bool:
        """The backend asks, and these kept ones fit; False where there are too many requests already."""
        if len(self._open) >= MOST_OPEN or request.request_id in self._open:
            return False
        sources = request.charging_profile.charging_limit_source
        self._open[request.request_id] = _Open(kept if sources is None or SOURCE_BACKEND in sources else [])
        return True

    def answered(self, request_id: int, answer: CallResult, now: float) -> None:
        """The station's answer to the request."""
        self._open[request_id].answer_id = answer.id
        if is_accepted(answer.payload):
            self._open[request_id].until = now + REPORT_S
        else:
            self._finish(request_id)

    def dropped(self, request_id: int) -> None:
        """The request has failed: its error is all there is to tell."""
        self._open.pop(request_id, None)

    def reported(self, payload: bytes, now: float) -> bool:
        """The station reports; whether that was for one of these requests."""
        report = read_payload(v2.ReportChargingProfilesV2, payload)
        if report is None or (asked := self._open.get(report.request_id)) is None:
            return False
        for profile in report.charging_profile:
            head = read_payload(v2.ProfileHeadV2, bytes(profile))
            if head is None or head.number is None or not is_ours(head.number):
                asked.add(report.evse_id, report.charging_limit_source, profile)
        if asked.answer_id is not None:
            asked.until = now + REPORT_S
            if not report.tbc:
                self._finish(report.request_id)
        return True

    def tick(self, now: float) -> None:
        """Time has passed."""
        for number in [n for n, each in self._open.items() if each.until is not None and now >= each.until]:
            self._finish(number)

    def finish(self) -> None:
        """The link ends: what has its answer is told now."""
        for number in [number for number, each in self._open.items() if each.answer_id is not None]:
            self._finish(number)

    def answers(self) -> list[str]:
        """Answers for the backend."""
        answers, self._answers = self._answers, []
        return answers

    def reports(self) -> list[bytes]:
        """Payloads of our ReportChargingProfiles, in order."""
        reports, self._reports = self._reports, []
        return reports

    def _finish(self, request_id: int) -> None:
        asked = self._open.pop(request_id)
        if asked.answer_id is not None:
            self._answers.append(call_result(asked.answer_id, ACCEPTED if asked.found else _NO_PROFILES))
        for count, ((evse, source), profiles) in enumerate(asked.found.items(), start=1):
            report = v2.ReportChargingProfilesV2(
                request_id=request_id,
                charging_limit_source=source,
                charging_profile=tuple(profiles),
                tbc=count < len(asked.found),
                evse_id=evse,
            )
            self._reports.append(msgspec.json.encode(report))


CHANGE_A = 1.0
SETTLE_S = 10.0


class _Told(msgspec.Struct):
    limit_a: float | None = None
    differs_since: float | None = None


class LimitNotices:
    """What the backend of one link was told about each EVSE."""

    def __init__(self) -> None:
        self._told: dict[int, _Told] = {}

    @property
    def deadline(self) -> float | None:
        """When a change will have settled (s, monotonic)."""
        since = [told.differs_since for told in self._told.values() if told.differs_since is not None]
        return min(since) + SETTLE_S if since else None

    def due(self, held_back_a: Mapping[int, float | None], now: float) -> list[tuple[int, float | None]]:
        """What to tell now, by EVSE: our limit (A per phase), or None where there is none any more."""
        due: list[tuple[int, float | None]] = []
        for evse, limit_a in held_back_a.items():
            told = self._told.setdefault(evse, _Told())
            if not _differ(told.limit_a, limit_a):
                told.differs_since = None
            elif told.differs_since is None:
                told.differs_since = now
            elif now >= told.differs_since + SETTLE_S:
                told.limit_a, told.differs_since = limit_a, None
                due.append((evse, limit_a))
        return due


def _differ(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is not other
    return abs(one - other) > CHANGE_A
