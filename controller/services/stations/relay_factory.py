"""Makes the relay of a station for one connection, of the parts that outlive it."""

from __future__ import annotations

import trio

from controller.config import StationConfig
from controller.ocpp.frames import Version
from controller.relay.events import LocalScope
from controller.relay.policy_check import PolicyCheck
from controller.relay.station_relay import StationRelay
from controller.services.session_ledger.session_ledger_service import SessionLedger
from controller.services.stations.relay_backends import RelayBackends
from controller.services.stations.station_profiles import StationProfiles
from controller.services.stations.station_states import StationStates
from controller.signing.policy_enforcer import PolicyEnforcer


class RelayFactory:
    """Makes relays for the stations of a configuration; `enforcer`: the policy, if there is one."""

    def __init__(
        self,
        states: StationStates,
        backends: RelayBackends,
        profiles: StationProfiles,
        ledger: SessionLedger,
        enforcer: PolicyEnforcer | None,
        local: LocalScope | None,
    ) -> None:
        self._states = states
        self._backends = backends
        self._profiles = profiles
        self._ledger = ledger
        self._enforcer = enforcer
        self._local = local

    def make_relay(self, station: StationConfig, version: Version, *, is_present: bool) -> StationRelay:
        """Return a relay; not `is_present`: it only delivers what waits for the station's backends."""
        profiles = self._profiles
        make_arbiter = profiles.make_arbiter if is_present else profiles.make_absent_arbiter
        return StationRelay(
            station.id,
            version,
            self._backends.make_owner(station, version),
            self._states.find_tracker(station, version),
            make_arbiter(station.id, version),
            self._backends.call_timeout_s,
            trio.current_time(),
            observers=self._backends.make_observers(station, version),
            is_present=is_present,
            policy=None if self._enforcer is None else PolicyCheck(self._enforcer, version, station.id),
            local=self._local,
            recorder=self._ledger.find_recorder(station.id, version),
        )
