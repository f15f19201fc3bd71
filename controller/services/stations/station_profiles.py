"""Charging profiles at each station: those absorbed for its backend, arbitrated with the limits."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from controller.config import Config, StationConfig
from controller.model.journal import ProfilesStored
from controller.model.observations import DrawSeen, EvseRef, Observation
from controller.ocpp.frames import Version
from controller.profiles.absorbed_profiles import AbsorbedProfiles, EvseWiring
from controller.profiles.arbiter import ProfileArbiter, owned_purposes
from controller.profiles.overdraw_watch import OverdrawWatch
from controller.profiles.profile_messages import read_stored_profiles
from controller.services.machine.wall_clock import utc
from controller.services.stations.station_capabilities import StationCapabilities, StationClocks
from controller.store.state_store import StateStore

log = logging.getLogger("controller")


class StationProfiles:
    """Profiles of all stations, those that were stored before a restart included."""

    def __init__(
        self, config: Config, capabilities: StationCapabilities, clocks: StationClocks, store: StateStore
    ) -> None:
        self._config = config
        self._stations: dict[str, StationConfig] = {}
        self._capabilities = capabilities
        self._clocks = clocks
        self._store = store
        self._arbiters: dict[str, ProfileArbiter] = {}
        self._dimmed: Mapping[str, set[int]] = {}
        self._overdraw: dict[str, OverdrawWatch] = {}
        self._absorbed: dict[str, AbsorbedProfiles] = {}
        self.replace_stations(config)

    def replace_stations(self, config: Config) -> None:
        """Use the stations of a configuration; profiles of those that were in the last one stay."""
        self._config = config
        added = {station.id: station for station in config.station if station.id not in self._stations}
        self._stations = {station.id: station for station in config.station}
        for station in added.values():
            self._overdraw[station.id] = OverdrawWatch()
            self._absorbed[station.id] = _make_absorbed(config, station)
            self.apply_quirk(station.id)
        for station in config.station:
            self._absorbed[station.id].set_wiring(_find_wiring(config, station))
        self._restore(added)

    def _restore(self, stations: Collection[str]) -> None:
        """Restore the backends' profiles that are stored for these stations."""
        stored = [each for each in self._store.load(ProfilesStored) if each.station in stations]
        found, entries = read_stored_profiles(stored)
        for (station, version), profiles in found.items():
            owned = owned_purposes(version, self._capabilities.find_scope(station))
            self._absorbed[station].restore(version, owned, profiles)
        for entry in entries:
            log.log(entry.level, "%s", entry.text)

    def find_absorbed(self, station: str) -> AbsorbedProfiles:
        """Return the profiles that are absorbed for the backend of a station."""
        return self._absorbed[station]

    def make_arbiter(self, station: str, version: Version) -> ProfileArbiter:
        """Return the arbiter of charging profiles for a session of the station that begins now."""
        scope, clock = self._capabilities.find_scope(station), self._clocks.find_clock(station)
        arbiter = ProfileArbiter(version, scope, self._absorbed[station], clock)
        arbiter.set_dimmed(self._dimmed.get(station, ()))
        self._arbiters[station] = arbiter
        return arbiter

    def make_absent_arbiter(self, station: str, version: Version) -> ProfileArbiter:
        """Return an arbiter for deliveries while the station is absent: it decides nothing."""
        scope = self._capabilities.find_scope(station)
        return ProfileArbiter(version, scope, _make_absorbed(self._config, self._stations[station]))

    def apply_quirk(self, station: str) -> None:
        """Use the unit and the scope of limits that follow from the station's quirk by now."""
        self._absorbed[station].set_in_watts(self._capabilities.find_quirk(station).in_watts)
        if station in self._arbiters:
            self._arbiters[station].set_scope(self._capabilities.find_scope(station))

    def mark_dimmed(self, evses: Iterable[EvseRef]) -> None:
        """Mark the EVSEs that are dimmed from now on: their backends are notified with that reason."""
        dimmed: defaultdict[str, set[int]] = defaultdict(set)
        for ref in evses:
            dimmed[ref.station].add(ref.evse)
        self._dimmed = dimmed
        for station, arbiter in self._arbiters.items():
            arbiter.set_dimmed(dimmed.get(station, ()))

    def check_station(self, station: str, observation: Observation, now: float) -> bool:
        """Check the clock and the draw of a station that has sent something.

        Returns True if it draws more than a limit that it has accepted: it has other profiles in our purpose.
        """
        self._clocks.check(station)
        return isinstance(observation, DrawSeen) and self._is_overdrawn(station, observation, now)

    def _is_overdrawn(self, station: str, seen: DrawSeen, now: float) -> bool:
        absorbed = self._absorbed[station]
        if seen.evse not in absorbed.evses:
            return False
        limit_a = absorbed.limit_in_force_a(seen.evse, now)
        drawn_a = self._overdraw[station].on_draw(seen.evse, seen.current_a, limit_a, now)
        if drawn_a is None:
            return False
        log.warning(
            "draw above the accepted limit station=%s evse=%d drawn=%.1fA limit=%.1fA: other profiles in "
            "our purpose are cleared and ours set anew; if it goes on, check the station's firmware",
            station,
            seen.evse,
            drawn_a,
            limit_a,
        )
        return True


def _find_wiring(config: Config, station: StationConfig) -> dict[int, EvseWiring]:
    """Return the phases and currents of each EVSE of a station by its number."""
    return {
        evse.id: EvseWiring(phases=len(evse.phases), max_a=evse.max_a, fallback_a=config.fallback_a(evse))
        for evse in station.evse
    }


def _make_absorbed(config: Config, station: StationConfig) -> AbsorbedProfiles:
    volts = max((evse.watts_per_phase_ampere(config.site.voltage) for evse in station.evse), default=0.0)
    return AbsorbedProfiles(_find_wiring(config, station), volts, config.load_management.lease_s, utc)
