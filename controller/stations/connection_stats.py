"""Counters of connections and messages since the start."""

from __future__ import annotations

import msgspec


class ConnectionStats(msgspec.Struct):
    """Upgrade requests of stations accepted and refused, and messages received."""

    accepted: int = 0
    refused: int = 0
    from_stations: int = 0
    from_backends: int = 0
