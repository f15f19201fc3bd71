"""Service of the stations: their connections, their sessions and the pools of their backends."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import trio

from controller.backends.pool import Endpoints
from controller.config import Config
from controller.config.password_files import StationSecret
from controller.model.observations import Observation
from controller.services.backends.backend_pools import BackendPools
from controller.services.stations.relay_backends import RelayBackends, find_backend_rules
from controller.services.stations.relay_memory import RelayJournals
from controller.services.stations.station_admission import StationAdmission
from controller.services.stations.station_connections import StationConnections
from controller.services.stations.station_sessions import StationSessions
from controller.services.stations.station_states import StationStates
from controller.transport.file_descriptors import raise_descriptor_limit


class StationService:
    """Serves the stations of a configuration, by parts that are made for them.

    `on_observation` takes what is stored of a station that is added. Raises StoreError.
    """

    def __init__(
        self,
        config: Config,
        passwords: Mapping[str, StationSecret | None],
        *,
        journals: RelayJournals,
        states: StationStates,
        backends: RelayBackends,
        pools: BackendPools,
        admission: StationAdmission,
        sessions: StationSessions,
        connections: StationConnections,
        on_observation: Callable[[str, Observation], object],
    ) -> None:
        self._config = config
        self._removed: frozenset[str] = frozenset()
        self._journals = journals
        self._states = states
        self._backends = backends
        self._pools = pools
        self._admission = admission
        self._sessions = sessions
        self._connections = connections
        self._on_observation = on_observation
        self._states.restore(config.station, on_observation)
        self._sessions.set_stations(config, ())
        self._admission.set_stations(config, passwords)

    def replace_stations(
        self,
        config: Config,
        passwords: Mapping[str, StationSecret | None],
        endpoints: Endpoints,
        removed: Collection[str] = (),
        renewed: Collection[str] = (),
    ) -> None:
        """Serve the stations of another configuration, with its backends.

        The sessions of stations whose backends, protocol and quirk stay are not touched; the others are
        closed (1012), and their stations connect again. `passwords`: of all its stations. `removed`: those of
        them whose sessions end, and that are not admitted any more, but for which messages may wait.
        `renewed`: stations with another row of quirks. Raises StoreError.
        """
        self._journals.replace_stations(config)
        before, after = find_backend_rules(self._config), find_backend_rules(config)
        known = {station.id: station.protocol for station in self._config.station}
        self._pools.replace_endpoints(config, endpoints)
        ending, self._removed = set(removed) - self._removed, frozenset(removed)
        self._admission.remove_stations(self._removed)
        self._backends.set_config(config)
        self._states.replace_stations(config)
        self._config = config
        added = [station for station in config.station if station.id not in known]
        self._states.restore(added, self._on_observation)
        self._sessions.set_stations(config, self._removed)
        admitted = {station: each for station, each in passwords.items() if station not in self._removed}
        self._admission.set_stations(config, admitted)
        self._connections.disconnect_adopted()
        self._raise_descriptor_limit()
        kept = before.keys() & after.keys() - self._removed
        changed = {each for each in kept if before[each] != after[each]}
        protocols = {station.id: station.protocol for station in config.station}
        changed |= {each for each in kept if known[each] != protocols[each] or each in renewed}
        self._sessions.end_sessions(ending, changed - self._removed)

    def stations(self) -> Sequence[str]:
        """Return the ids of the stations that are served."""
        return tuple(each.id for each in self._config.station if each.id not in self._removed)

    def find_busy_stations(self) -> set[str]:
        """Return the stations with a running transaction."""
        return {
            station.id
            for station in self._config.station
            if any(self._states.find_transaction(station.id, evse.id) is not None for evse in station.evse)
        }

    async def run(
        self, listeners: list[trio.SocketListener] | None = None, *, task_status: trio.TaskStatus[int]
    ) -> None:
        """Serve stations until cancelled, on `listeners` if there are open ones.

        Starts with the bound port; raises ListenError.
        """
        self._raise_descriptor_limit()
        async with trio.open_nursery() as nursery:
            await nursery.start(self._pools.run)
            await nursery.start(self._admission.run)
            await nursery.start(self._sessions.run)
            task_status.started(await nursery.start(self._connections.run, listeners))

    def _raise_descriptor_limit(self) -> None:
        raise_descriptor_limit(sum(2 + len(station.observers) for station in self._config.station))

    async def stop(self) -> None:
        """Accept no more stations, and wait some seconds at most for outstanding answers."""
        self._connections.stop()
        await self._sessions.stop()
