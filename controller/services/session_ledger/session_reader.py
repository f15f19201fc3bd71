"""Charging sessions as the page and the API show them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from controller.services.session_ledger.session_ledger_service import SessionLedger
from controller.session_ledger.charging_session import ChargingSession
from controller.web.site_interface import SessionEntry


def make_session_reader(ledger: SessionLedger) -> Callable[[str, str], Sequence[SessionEntry]]:
    """Return a function that reads the sessions of months (YYYY-MM), the newest first.

    Sessions that run are among those of their month, and of the present one.
    """

    def read(first: str, last: str) -> list[SessionEntry]:
        this_month = f"{datetime.now(UTC):%Y-%m}"
        running = [each for each in ledger.running() if first <= each.month <= last or last >= this_month]
        found = [*ledger.ended(first, last), *running]
        return [_entry(each) for each in sorted(found, key=lambda each: each.started_at, reverse=True)]

    return read


def _entry(session: ChargingSession) -> SessionEntry:
    return SessionEntry(
        station=session.station,
        evse=session.evse,
        transaction=session.transaction,
        started=_moment(session.started_at),
        ended=None if session.ended_at is None else _moment(session.ended_at),
        energy_wh=session.energy_wh,
        card=session.card.name,
        reason=session.end_reason or None,
        clock_synchronised=session.clock_synchronised,
    )


def _moment(utc: float) -> str:
    return datetime.fromtimestamp(utc, UTC).isoformat(timespec="seconds")
