"""Stations that were removed from the configuration while the controller runs. Sans-IO.

A removed station is not admitted any more, but it may still be connected to its circuit: its last limit holds
until it ends, and its fallback after that. So its EVSEs stay booked at the most that they may draw, and what
waits for its backends is delivered. It is gone once it has not tried to connect for `booked_s` and nothing of
it waits. A station with power tries again within minutes; one without a network that draws on cannot be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec


class _Removed(msgspec.Struct):
    seen_at: float
    tries: int = 0


class RemovedStations:
    """Removed stations that are not gone yet.

    `booked_s`: time since its last attempt to connect for which a station is booked (s).
    """

    def __init__(self, booked_s: float) -> None:
        self._booked_s = booked_s
        self._removed: dict[str, _Removed] = {}

    @property
    def stations(self) -> Collection[str]:
        """Return the ids of the stations."""
        return self._removed.keys()

    def set_stations(self, stations: Collection[str], now: float) -> None:
        """Take these stations and no others to be removed; one that is not listed is back or gone."""
        self._removed = {station: self._removed.get(station) or _Removed(now) for station in stations}

    def note_tries(self, count_tries: Callable[[str], int], now: float) -> list[str]:
        """Note the attempts to connect so far of each station; return those with the first one."""
        first = []
        for station, removed in self._removed.items():
            tries = count_tries(station)
            if tries == removed.tries:
                continue
            first += [station] if removed.tries == 0 else []
            removed.tries, removed.seen_at = tries, now
        return first

    def find_gone(self, now: float) -> list[str]:
        """Return the stations that have not tried to connect for so long that nothing of them draws."""
        return [
            station for station, removed in self._removed.items() if now >= removed.seen_at + self._booked_s
        ]
