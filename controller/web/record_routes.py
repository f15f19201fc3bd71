"""Routes of the REST API to what the site has recorded: sessions, history, events, evidence of dimming."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from controller.access.permissions import AccessPermission, Resource, Verb
from controller.web.api_route import ApiCall, ApiRoute, QueryMember
from controller.web.http_messages import CSV, JSON_LINES, ProblemError, Response
from controller.web.site_interface import (
    EventEntry,
    EvidenceInterface,
    EvidenceVerification,
    HistorySeries,
    SessionEntry,
    SiteInterface,
)
from drivers.coded_text import coded

MOST_EVENTS = 500
LONGEST_HISTORY_S = 400 * 86_400
LONGEST_CHANNEL = 100
LAST_SECOND = 253_402_300_799
"""31 December 9999, the last that dates have (POSIX s)."""

_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")


_MONTH_SCHEMA = {"type": "string", "pattern": f"^{_MONTH.pattern}$"}
_SECOND_SCHEMA = {"type": "integer", "minimum": 0, "maximum": LAST_SECOND}
_CHANNEL_SCHEMA = {"type": "string", "maxLength": LONGEST_CHANNEL}
_MONTHS = (
    QueryMember("first", _MONTH_SCHEMA, "first month; default: this one"),
    QueryMember("last", _MONTH_SCHEMA, "last month; default: this one"),
)


_SPAN = (
    QueryMember("since", _SECOND_SCHEMA, "records from this time on (POSIX s); default: all"),
    QueryMember("until", _SECOND_SCHEMA, "records before this time (POSIX s); default: now"),
)


class RecordRoutes:
    """Routes to the records of the site."""

    SESSION_COLUMNS: ClassVar = (
        "station",
        "evse",
        "transaction",
        "started",
        "ended",
        "energy_wh",
        "card",
        "reason",
        "clock_synchronised",
    )

    def __init__(self, site: SiteInterface) -> None:
        self._site = site

    def make_routes(self) -> tuple[ApiRoute, ...]:
        """Return the routes."""

        def get(path: str, text: str, resource: Resource, handler: Any, result: Any, **more: Any) -> ApiRoute:
            permission = AccessPermission(resource, Verb.READ)
            return ApiRoute(
                method="GET",
                path=path,
                text=text,
                permission=permission,
                handler=handler,
                result=result,
                **more,
            )

        return (
            get("/events", "Latest events", Resource.EVENTS, self._events, list[EventEntry]),
            get(
                "/sessions",
                "Charging sessions by month",
                Resource.SESSIONS,
                self._sessions,
                list[SessionEntry],
                query=_MONTHS,
            ),
            get(
                "/sessions.csv",
                "Charging sessions by month as CSV",
                Resource.SESSIONS,
                self._sessions_csv,
                str,
                query=_MONTHS,
                content_type=CSV,
            ),
            get(
                "/history",
                "Stored values: minutes of the last days, quarter hours before",
                Resource.HISTORY,
                self._history,
                list[HistorySeries],
                query=(
                    QueryMember("channel", _CHANNEL_SCHEMA, "one channel; default: all"),
                    QueryMember("start", _SECOND_SCHEMA, "POSIX s; default: a day ago"),
                    QueryMember("end", _SECOND_SCHEMA, "POSIX s; default: now"),
                ),
            ),
            get(
                "/evidence.jsonl",
                "Evidence of dimming, as `evidence verify --part` takes it",
                Resource.EVENTS,
                self._evidence,
                str,
                query=_SPAN,
                content_type=JSON_LINES,
            ),
            get(
                "/evidence/verification",
                "Verification of all evidence of dimming that the site has",
                Resource.EVENTS,
                self._verify_evidence,
                EvidenceVerification,
            ),
        )

    async def _events(self, _: ApiCall) -> object:
        return self._site.events(MOST_EVENTS)

    async def _sessions(self, call: ApiCall) -> object:
        return await self._site.sessions(*_months(call.request.query))

    async def _sessions_csv(self, call: ApiCall) -> object:
        first, last = _months(call.request.query)
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(self.SESSION_COLUMNS)
        for entry in await self._site.sessions(first, last):
            writer.writerow(_guard_cell(getattr(entry, name)) for name in self.SESSION_COLUMNS)
        name = f'attachment; filename="sessions-{first}-{last}.csv"'
        return Response(200, CSV, text.getvalue().encode(), (("Content-Disposition", name),))

    async def _history(self, call: ApiCall) -> object:
        query, now = call.request.query, int(datetime.now(UTC).timestamp())
        end = _second(query, "end", now)
        start = _second(query, "start", max(0, end - 86_400))
        if not start <= end <= start + LONGEST_HISTORY_S:
            raise ProblemError(
                422,
                coded(
                    "end: from start to {count} days after it",
                    count=LONGEST_HISTORY_S // 86400,
                ),
            )
        channels = [query["channel"]] if "channel" in query else []
        if any(len(name) > LONGEST_CHANNEL for name in channels):
            raise ProblemError(422, coded("channel: at most {most} characters", most=LONGEST_CHANNEL))
        return await self._site.history(channels, start, end)

    async def _evidence(self, call: ApiCall) -> object:
        query = call.request.query
        since, until = _second(query, "since", 0), _second(query, "until", LAST_SECOND)
        if since > until:
            raise ProblemError(422, coded("until: a time after since"))
        lines = await self._find_evidence().export(since, until)
        name = f'attachment; filename="evidence-{datetime.now(UTC):%Y-%m-%d}.jsonl"'
        return Response(200, JSON_LINES, lines, (("Content-Disposition", name),))

    async def _verify_evidence(self, _: ApiCall) -> object:
        return await self._find_evidence().verify()

    def _find_evidence(self) -> EvidenceInterface:
        if self._site.evidence is None:
            raise ProblemError(404, coded("there is no evidence: the configuration has no [dimming]"))
        return self._site.evidence


def _months(query: Mapping[str, str]) -> tuple[str, str]:
    this_month = f"{datetime.now(UTC):%Y-%m}"
    last = query.get("last", this_month)
    first = query.get("first", min(this_month, last))
    for name, value in (("first", first), ("last", last)):
        if not _MONTH.fullmatch(value):
            raise ProblemError(
                422, coded("{name}: a month like {this_month}", name=name, this_month=this_month)
            )
    return first, last


def _second(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 12 and int(text) <= LAST_SECOND):
        raise ProblemError(422, coded("{name}: a time in POSIX s", name=name))
    return int(text)


def _guard_cell(value: object) -> object:
    """Return a cell of a CSV file that a spreadsheet does not take for a formula."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + value
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else value
