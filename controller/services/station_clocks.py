"""Clocks of the stations, compared with those of their backends and of the gateway."""

from __future__ import annotations

import logging

from controller.config import Config
from controller.config.schema import LOCAL_CSMS
from controller.profiles.station_clock import ClockWatch, StationClock
from controller.services.clock_state import is_synchronised

log = logging.getLogger("controller")


class StationClocks:
    """Clock of each station of a configuration."""

    def __init__(self, config: Config) -> None:
        self._backends: dict[str, str] = {}
        self._clocks: dict[str, StationClock] = {}
        self._watch = ClockWatch()
        self.replace_stations(config)

    def replace_stations(self, config: Config) -> None:
        """Use the stations of a configuration; the clocks of those that were in the last one stay."""
        self._backends = {station.id: station.owner_or_local for station in config.station}
        for gone in self._clocks.keys() - self._backends.keys():
            del self._clocks[gone]
            self._watch.drop_station(gone)
        for station in self._backends:
            self._clocks.setdefault(station, StationClock())

    def find_clock(self, station: str) -> StationClock:
        """Return the clock of a station."""
        return self._clocks[station]

    def check(self, station: str) -> None:
        """Log clocks that differ from now on, or no longer do."""
        backend, clock = self._backends[station], self._clocks[station]
        other = None if backend == LOCAL_CSMS else backend
        for entry in self._watch.check(station, other, clock, _describe_ntp):
            log.log(entry.level, "%s", entry.text)

    def offsets(self) -> dict[str, float]:
        """Return the offset (s) of each clock that differs, by `station=` or `backend=` and its id."""
        return self._watch.offsets()


def _describe_ntp() -> str:
    return "synchronised" if is_synchronised() else "not-synchronised"
