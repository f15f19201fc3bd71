"""Export of charging sessions: rows for CSV and JSON, and sums per card and month."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from datetime import datetime, tzinfo

import msgspec

from controller.session_ledger.charging_session import ChargingSession

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""Characters that make a spreadsheet read a text as a formula."""


class SessionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One session as it is exported. Times are ISO 8601 in the site's time zone; empty: it runs.

    `energy_kwh` null: the station has not reported it. `duration_s` in s. `clock_synchronised` false: the
    gateway's clock was not synchronised at the begin or the end, so date and times may be wrong.
    """

    station: str
    evse: int | None
    transaction: str
    start: str
    end: str
    duration_s: int
    energy_kwh: float | None
    card: str
    end_reason: str
    clock_synchronised: bool = True


class SessionSum(msgspec.Struct, frozen=True, kw_only=True):
    """The sessions of one card in one month ("2026-11", the site's time zone).

    `energy_kwh` is the sum of those that are known, `without_energy` the number of the others.
    `clock_not_synchronised`: number of sessions whose date and times may be wrong.
    """

    month: str
    card: str
    sessions: int
    energy_kwh: float
    duration_s: int
    without_energy: int
    clock_not_synchronised: int = 0


def make_rows(sessions: Iterable[ChargingSession], zone: tzinfo) -> list[SessionRow]:
    """Return the rows of sessions, the earliest first."""
    return [_make_row(session, zone) for session in sorted(sessions, key=lambda each: each.started_at)]


def sum_by_card(sessions: Iterable[ChargingSession], zone: tzinfo) -> list[SessionSum]:
    """Return the sums per month and card, by month and name of the card."""
    groups: dict[tuple[str, str, str], list[ChargingSession]] = {}
    for session in sessions:
        month = datetime.fromtimestamp(session.started_at, zone).strftime("%Y-%m")
        card = session.card
        groups.setdefault((month, card.name, card.label or card.token_hash), []).append(session)
    return [
        SessionSum(
            month=month,
            card=name,
            sessions=len(group),
            energy_kwh=round(sum(each.energy_wh or 0.0 for each in group) / 1000, 3),
            duration_s=round(sum(each.duration_s for each in group)),
            without_energy=sum(each.energy_wh is None for each in group),
            clock_not_synchronised=sum(not each.clock_synchronised for each in group),
        )
        for (month, name, _), group in sorted(groups.items())
    ]


def write_csv(rows: Iterable[SessionRow] | Iterable[SessionSum], row_type: type[msgspec.Struct]) -> str:
    """Return the rows as CSV (RFC 4180) with a header line."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(row_type.__struct_fields__)
    for row in rows:
        writer.writerow([_cell(getattr(row, name)) for name in row_type.__struct_fields__])
    return text.getvalue()


def _make_row(session: ChargingSession, zone: tzinfo) -> SessionRow:
    energy_wh = session.energy_wh
    return SessionRow(
        station=session.station,
        evse=session.evse,
        transaction=session.transaction,
        start=_format_time(session.started_at, zone),
        end="" if session.ended_at is None else _format_time(session.ended_at, zone),
        duration_s=round(session.duration_s),
        energy_kwh=None if energy_wh is None else round(energy_wh / 1000, 3),
        card=session.card.name,
        end_reason=session.end_reason,
        clock_synchronised=session.clock_synchronised,
    )


def _format_time(utc: float, zone: tzinfo) -> str:
    return datetime.fromtimestamp(utc, zone).isoformat(timespec="seconds")


def _cell(value: object) -> object:
    """Return a cell; a text of a station or a card never becomes a formula of a spreadsheet."""
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return f"'{value}"
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else value
