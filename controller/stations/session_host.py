"""Receivers of what the sessions of the stations bring about, the same for all sessions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from controller.model.journal import Record
from controller.model.observations import Observation
from controller.ocpp.frames import Version
from controller.stations.connection_stats import ConnectionStats


class SessionSite(Protocol):
    """Receiver of a session's observations: the load management."""

    def on_station_up(self, station: str, version: Version) -> None:
        """Take note that the station may be sent limits."""

    def on_station_down(self, station: str) -> None:
        """Take note that the station is disconnected."""

    def on_observation(self, station: str, observation: Observation) -> None:
        """Take an observation of the station."""

    def on_call_answered(self, station: str, token: int, result: bytes | None, detail: str) -> None:
        """Take the result of a call of the controller; None: it failed, for the reason `detail`."""


class SessionJournal(Protocol):
    """Durable records of the sessions."""

    async def save(self, records: Sequence[Record]) -> None:
        """Commit the records; durable when it returns. Raises JournalError."""

    def drop_station(self, station: str) -> None:
        """Load the station's state machines again: what they hold is not durable."""


class SessionHost(msgspec.Struct, frozen=True):
    """Load management, durable records and counters of the sessions."""

    site: SessionSite
    journal: SessionJournal
    stats: ConnectionStats
