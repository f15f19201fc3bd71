"""Counters of connections and messages since the start, and the latest messages."""

from __future__ import annotations

import msgspec

from controller.stations.recent_messages import RecentMessages
from controller.stations.unknown_stations import UnknownStations


class ConnectionStats(msgspec.Struct):
    """Upgrade requests of stations accepted and refused, messages received, and unknown stations.

    `recent`: the latest messages by station, of those in the configuration that have been connected.
    """

    accepted: int = 0
    refused: int = 0
    from_stations: int = 0
    from_backends: int = 0
    unknown_stations: UnknownStations = msgspec.field(default_factory=UnknownStations)
    recent: dict[str, RecentMessages] = msgspec.field(default_factory=dict)

    def recent_messages(self, station: str) -> RecentMessages:
        """Return the latest messages of a station, to which more may be added."""
        return self.recent.setdefault(station, RecentMessages())
