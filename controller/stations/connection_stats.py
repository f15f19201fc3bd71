"""Counters of connections and messages since the start."""

from __future__ import annotations

import msgspec

from controller.stations.knock_book import KnockBook


class ConnectionStats(msgspec.Struct):
    """Upgrade requests of stations accepted and refused, messages received, and unknown stations."""

    accepted: int = 0
    refused: int = 0
    from_stations: int = 0
    from_backends: int = 0
    knocks: KnockBook = msgspec.field(default_factory=KnockBook)
