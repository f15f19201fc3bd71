"""Unknown stations that tried to connect, for a person to adopt; bounded, as anybody can try. Sans-IO."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from controller.model.observations import Booted

MOST_UNKNOWN = 50
MOST_PROTOCOLS = 8


class ConnectionAttempts(msgspec.Struct):
    """One station id that is not in the configuration. Times are POSIX s; `peer`: the last address.

    `boot`: what its BootNotification reports, None where it could not send one.
    """

    station: str
    peer: str
    first_seen: float
    last_seen: float
    tries: int
    protocols: tuple[str, ...]
    boot: Booted | None = None


class UnknownStations:
    """The unknown stations of late; a new one replaces the station that was seen longest ago."""

    def __init__(self) -> None:
        self._by_id: dict[str, ConnectionAttempts] = {}

    def on_unknown(self, station: str, peer: str, protocols: Sequence[str], utc: float) -> None:
        """Count an attempt to connect; `protocols`: the subprotocols that were offered."""
        offered = tuple(each[:20] for each in protocols[:MOST_PROTOCOLS])
        known = self._by_id.pop(station, None)
        if known is None:
            known = ConnectionAttempts(station, peer, utc, utc, 0, offered)
            if len(self._by_id) >= MOST_UNKNOWN:
                del self._by_id[next(iter(self._by_id))]
        known.peer, known.last_seen, known.protocols = peer, utc, offered
        known.tries += 1
        self._by_id[station] = known

    def on_boot(self, station: str, boot: Booted) -> None:
        """Store what the BootNotification of a station that tried to connect reports."""
        known = self._by_id.get(station)
        if known is not None:
            known.boot = boot

    def count_tries(self, station: str) -> int:
        """Return how often a station has tried to connect; 0 if it has not, or was replaced since."""
        known = self._by_id.get(station)
        return 0 if known is None else known.tries

    def remove(self, station: str) -> bool:
        """Remove a station; return False if it has not tried."""
        return self._by_id.pop(station, None) is not None

    @property
    def latest_first(self) -> list[ConnectionAttempts]:
        """Return the unknown stations, the latest first."""
        return list(reversed(self._by_id.values()))
