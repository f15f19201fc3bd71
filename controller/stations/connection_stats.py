"""What has happened on all links, counted for people."""

from __future__ import annotations

import msgspec


class ConnectionStats(msgspec.Struct):
    """Since the start: upgrade requests of stations accepted and refused, and messages received."""

    accepted: int = 0
    refused: int = 0
    from_stations: int = 0
    from_backends: int = 0
