"""Counters of connections and messages since the start, and the latest messages."""

from __future__ import annotations

from collections import deque

import msgspec

from controller.model.effects import LogEntry
from controller.relay.events import UnansweredCall
from controller.stations.recent_messages import RecentMessages
from controller.stations.unknown_stations import UnknownStations

UNANSWERED_S = 600.0
"""Time for which a CALL without an answer counts (s)."""
MOST_UNANSWERED = 100
"""CALLs without an answer that are counted of one backend."""


class UnansweredCalls:
    """CALLs that a backend has not answered in the last `UNANSWERED_S`; times are s, monotonic."""

    def __init__(self) -> None:
        self._ended: deque[float] = deque(maxlen=MOST_UNANSWERED)
        self.action = ""
        """Action of the last one."""

    def add(self, action: str, now: float) -> None:
        """Add a CALL whose time to be answered has ended."""
        self._ended.append(now)
        self.action = action

    def count(self, now: float) -> int:
        """Return the number of CALLs, at most `MOST_UNANSWERED`."""
        while self._ended and now - self._ended[0] >= UNANSWERED_S:
            self._ended.popleft()
        return len(self._ended)


class ConnectionStats(msgspec.Struct):
    """Upgrade requests of stations accepted and refused, messages received, and unknown stations.

    `recent`: the latest messages by station, of those in the configuration that have been connected.
    `unanswered`: by backend.
    """

    accepted: int = 0
    refused: int = 0
    from_stations: int = 0
    from_backends: int = 0
    unknown_stations: UnknownStations = msgspec.field(default_factory=UnknownStations)
    recent: dict[str, RecentMessages] = msgspec.field(default_factory=dict)
    unanswered: dict[str, UnansweredCalls] = msgspec.field(default_factory=dict)

    def recent_messages(self, station: str) -> RecentMessages:
        """Return the latest messages of a station, to which more may be added."""
        return self.recent.setdefault(station, RecentMessages())

    def count_entry(self, entry: LogEntry, now: float) -> None:
        """Count the CALL without an answer that a line of the log is about, if it is."""
        if isinstance(entry, UnansweredCall):
            self.unanswered.setdefault(entry.backend, UnansweredCalls()).add(entry.action, now)
