"""Unknown stations that tried to connect, for a person to adopt; bounded, as anybody can try. Sans-IO."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from controller.model.observations import Booted

MOST_KNOCKS = 50
MOST_PROTOCOLS = 8


class Knock(msgspec.Struct):
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


class KnockBook:
    """The unknown stations of late; a new one replaces the station that was seen longest ago."""

    def __init__(self) -> None:
        self._knocks: dict[str, Knock] = {}

    def on_unknown(self, station: str, peer: str, protocols: Sequence[str], utc: float) -> None:
        """Count an attempt to connect; `protocols`: the subprotocols that were offered."""
        offered = tuple(each[:20] for each in protocols[:MOST_PROTOCOLS])
        known = self._knocks.pop(station, None)
        if known is None:
            known = Knock(station, peer, utc, utc, 0, offered)
            if len(self._knocks) >= MOST_KNOCKS:
                del self._knocks[next(iter(self._knocks))]
        known.peer, known.last_seen, known.protocols = peer, utc, offered
        known.tries += 1
        self._knocks[station] = known

    def on_boot(self, station: str, boot: Booted) -> None:
        """Store what the BootNotification of a station that tried to connect reports."""
        known = self._knocks.get(station)
        if known is not None:
            known.boot = boot

    def count_tries(self, station: str) -> int:
        """Return how often a station has tried to connect; 0 if it has not, or was replaced since."""
        known = self._knocks.get(station)
        return 0 if known is None else known.tries

    def remove(self, station: str) -> bool:
        """Remove a station; return False if it has not tried."""
        return self._knocks.pop(station, None) is not None

    @property
    def knocks(self) -> list[Knock]:
        """Return the unknown stations, the latest first."""
        return list(reversed(self._knocks.values()))
