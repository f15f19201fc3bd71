"""Makes the relay of a station for one connection, of the parts that outlive it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import trio

from controller.config import Config, StationConfig
from controller.config.backend_rules import owner_names
from controller.model.observations import EvseRating, Observation
from controller.ocpp.frames import Version
from controller.ocpp.station_state import StationStateTracker
from controller.profiles.arbiter import ProfileArbiter
from controller.relay.events import LocalScope
from controller.relay.policy_check import PolicyCheck
from controller.relay.station_relay import StationRelay
from controller.services.relay_memory import RelayJournals
from controller.services.session_ledger_service import SessionLedger
from controller.signing.policy_enforcer import PolicyEnforcer


class RelayFactory:
    """Makes relays for the stations of a configuration; `enforcer`: the policy, if there is one."""

    def __init__(
        self,
        config: Config,
        journals: RelayJournals,
        ledger: SessionLedger,
        enforcer: PolicyEnforcer | None,
        utc_of: Callable[[float], float],
    ) -> None:
        self._config = config
        self._journals = journals
        self._ledger = ledger
        self._enforcer = enforcer
        self._utc_of = utc_of
        self._owners = owner_names(config)
        self._trackers: dict[str, tuple[Version, StationStateTracker]] = {}

    def make_relay(
        self,
        station: StationConfig,
        version: Version,
        arbiter: ProfileArbiter,
        *,
        is_present: bool,
        local: LocalScope | None = None,
    ) -> StationRelay:
        """Return a relay; not `is_present`: it only delivers what waits for the station's backends."""
        is_graced = station.when_backend_away == "grace" and station.owner is not None
        return StationRelay(
            station.id,
            self._owners[station.id],
            version,
            self._state_tracker(station, version),
            arbiter,
            self._config.listen.call_timeout_s,
            trio.current_time(),
            grace_s=station.grace_s if is_graced else 0.0,
            offline=self._journals.make_offline_handler(station, version, self._utc_of),
            observers=self._journals.make_secondary_backends(station.id, version),
            snapshot=self._journals.find_snapshot(station),
            permissions=self._journals.owner_permissions(station.id),
            is_present=is_present,
            policy=None if self._enforcer is None else PolicyCheck(self._enforcer, version, station.id),
            local=local,
            recorder=self._ledger.find_recorder(station.id, version),
        )

    def replace_stations(self, config: Config) -> None:
        """Make relays for the stations of another configuration from now on."""
        self._config = config
        self._owners = owner_names(config)
        for station in self._trackers.keys() - self._owners.keys():
            del self._trackers[station]
        for each in config.station:
            if each.id in self._trackers:
                self._trackers[each.id][1].set_ratings(_find_ratings(each, config.site.voltage))

    def restore_states(
        self, added: Iterable[StationConfig], on_observation: Callable[[str, Observation], object]
    ) -> None:
        """Restore the stored states and transactions of the EVSEs of these stations."""
        stations = {station.id: station for station in added}
        for name, version, stored in self._journals.load_evse_states():
            station = stations.get(name)
            if station is None:
                continue
            for seen in self._state_tracker(station, version).restore(stored):
                on_observation(name, seen)

    def find_transaction(self, station: str, evse: int) -> int | str | None:
        """Return the id of the transaction that runs at an EVSE, as the station has it; None without one."""
        known = self._trackers.get(station)
        return None if known is None else known[1].find_transaction(evse)

    def _state_tracker(self, station: StationConfig, version: Version) -> StationStateTracker:
        """Return the tracker of a station: it outlives the links, as transactions do."""
        known = self._trackers.get(station.id)
        if known is None or known[0] is not version:
            volts = self._config.site.voltage
            known = version, StationStateTracker(version, volts, _find_ratings(station, volts))
            self._trackers[station.id] = known
        return known[1]


def _find_ratings(station: StationConfig, voltage: float) -> dict[int, EvseRating]:
    """Return the rating of each EVSE of a station by its number."""
    return {
        evse.id: EvseRating(len(evse.phases), evse.max_a, evse.dc_watts_per_ampere(voltage))
        for evse in station.evse
    }
