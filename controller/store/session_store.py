"""The stored charging sessions: those that run, and those that ended, by month."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from controller.session_ledger.charging_session import (
    ChargingSession,
    EndedSessionStored,
    RunningSessionStored,
    months_before,
)
from controller.store.record_rules import kind_of_type, read_entry
from controller.store.rule_types import key_prefix
from controller.store.state_store import Stored
from controller.store.store_transfer import open_store_file

_FIRST_MONTH = "1970-01"


class _Reader(Protocol):
    def load(self, record_type: type[Stored], prefix: str = "") -> list[Stored]: ...


class SessionStore:
    """Reads charging sessions from a `StateStore`, or from its file; all methods raise StoreError."""

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader

    def running(self, station: str = "") -> list[ChargingSession]:
        """Return the sessions that run, as they were last stored; of one station or of all."""
        prefix = key_prefix(station) if station else ""
        return [each.session for each in self._reader.load(RunningSessionStored, prefix)]

    def ended(self, first_month: str, last_month: str) -> list[ChargingSession]:
        """Return the sessions that began in these months (UTC, like "2026-11")."""
        return [
            each.session
            for month in _months(first_month, last_month)
            for each in self._reader.load(EndedSessionStored, key_prefix(month))
        ]


def open_session_file(directory: Path) -> SessionStore:
    """Open the sessions in a store's directory, also while a controller runs there. Raises StoreError."""
    return SessionStore(_FileReader(directory))


class _FileReader:
    def __init__(self, directory: Path) -> None:
        self._journal = open_store_file(directory)

    def load(self, record_type: type[Stored], prefix: str = "") -> list[Stored]:
        records = map(read_entry, self._journal.load(kind_of_type(record_type), prefix))
        return [each for each in records if isinstance(each, record_type)]


def _months(first: str, last: str) -> Iterator[str]:
    """Yield the months from the last to the first."""
    while last >= max(first, _FIRST_MONTH):
        yield last
        last = months_before(last, 1)
