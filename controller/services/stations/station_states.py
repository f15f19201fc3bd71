"""States of the stations' EVSEs as their messages show them: they outlive links, and are restored."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from controller.config import Config, StationConfig
from controller.model.journal import EvseStatesStored
from controller.model.observations import EvseRating, Observation
from controller.ocpp.frames import Version
from controller.ocpp.station_state import StationStateTracker
from controller.store.state_store import StateStore


class StationStates:
    """State trackers of the stations of a configuration, one a station and OCPP version."""

    def __init__(self, config: Config, store: StateStore) -> None:
        self._voltage = config.site.voltage
        self._store = store
        self._trackers: dict[str, tuple[Version, StationStateTracker]] = {}

    def replace_stations(self, config: Config) -> None:
        """Track the stations of another configuration."""
        self._voltage = config.site.voltage
        for station in self._trackers.keys() - {each.id for each in config.station}:
            del self._trackers[station]
        for each in config.station:
            if each.id in self._trackers:
                self._trackers[each.id][1].set_ratings(_find_ratings(each, self._voltage))

    def restore(
        self, added: Iterable[StationConfig], on_observation: Callable[[str, Observation], object]
    ) -> None:
        """Restore the stored states and transactions of the EVSEs of these stations. Raises StoreError."""
        stations = {station.id: station for station in added}
        versions = {version.value: version for version in Version}
        for stored in self._store.load(EvseStatesStored):
            station, version = stations.get(stored.station), versions.get(stored.version)
            if station is None or version is None:
                continue
            for seen in self.find_tracker(station, version).restore(stored.evses):
                on_observation(stored.station, seen)

    def find_transaction(self, station: str, evse: int) -> int | str | None:
        """Return the id of the transaction that runs at an EVSE, as the station has it; None without one."""
        known = self._trackers.get(station)
        return None if known is None else known[1].find_transaction(evse)

    def find_tracker(self, station: StationConfig, version: Version) -> StationStateTracker:
        """Return the tracker of a station: it outlives the links, as transactions do."""
        known = self._trackers.get(station.id)
        if known is None or known[0] is not version:
            ratings = _find_ratings(station, self._voltage)
            known = version, StationStateTracker(version, self._voltage, ratings)
            self._trackers[station.id] = known
        return known[1]


def _find_ratings(station: StationConfig, voltage: float) -> dict[int, EvseRating]:
    """Return the rating of each EVSE of a station by its number."""
    return {
        evse.id: EvseRating(len(evse.phases), evse.max_a, evse.dc_watts_per_ampere(voltage))
        for evse in station.evse
    }
