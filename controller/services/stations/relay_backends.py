"""A station's backends as its relay has them: the owner, what is done in its absence, and observers."""

from __future__ import annotations

from collections.abc import Callable

from controller.config import BackendConfig, Config, StationConfig
from controller.config.backend_rules import (
    backend_names,
    endpoints_by_backend,
    owner_names,
    permitted_commands,
)
from controller.ocpp.actions import reports
from controller.ocpp.frames import Version
from controller.ocpp.payloads import StationTime
from controller.offline.offline_handler import make_offline_handler
from controller.offline.offline_responder import OfflineRules
from controller.relay.secondary_backend import CommandPermissions, SecondaryBackend
from controller.relay.upstream import OwnerSide
from controller.services.stations.relay_memory import RelayJournals


class RelayBackends:
    """Makes the backends' sides of relays, of the configuration and of the parts that outlive a link.

    `utc_of` turns monotonic s into POSIX s.
    """

    def __init__(
        self,
        config: Config,
        journals: RelayJournals,
        utc_of: Callable[[float], float],
        station_time: StationTime,
    ) -> None:
        self._journals = journals
        self._utc_of = utc_of
        self._station_time = station_time
        self.set_config(config)

    def set_config(self, config: Config) -> None:
        """Use the backends of another configuration for the links that begin from now on."""
        self.call_timeout_s = config.listen.call_timeout_s
        self._owners = owner_names(config)
        self._tables = {name: endpoints[0] for name, endpoints in endpoints_by_backend(config).items()}

    def make_owner(self, station: StationConfig, version: Version) -> OwnerSide:
        """Return the owner's side of a relay, for a link of the station that begins now."""
        owner, memory = self._owners[station.id], self._journals.find_memory(station.id)
        table = self._tables.get(owner)
        away = "" if station.owner is None else station.when_backend_away
        offline = None
        if away == "autonomous":
            rules = OfflineRules(
                authorize=station.authorise_when_away,
                stop_unauthorized=station.stop_unauthorised,
                station_time=self._station_time,
            )
            offline = make_offline_handler(memory, version, rules, self._utc_of)
        return OwnerSide(
            owner,
            None if table is None else permitted_commands(table, owner=True),
            grace_s=station.grace_s if away == "grace" else 0.0,
            offline=offline,
            snapshot=memory.snapshot if station.observers or away == "autonomous" else None,
        )

    def make_observers(self, station: StationConfig, version: Version) -> dict[str, SecondaryBackend]:
        """Return the observers' sides by backend, for a link of the station that begins now.

        A former backend only gets what waits for it.
        """
        memory, former = self._journals.find_memory(station.id), self._journals.former_backends(station.id)
        return {
            name: self._make_observer(station.id, version, self._tables[name], is_former=name in former)
            for name in memory.waiting
            if name != memory.owner
        }

    def _make_observer(
        self, station: str, version: Version, table: BackendConfig, *, is_former: bool
    ) -> SecondaryBackend:
        name, memory = table.name, self._journals.find_memory(station)
        return SecondaryBackend(
            station,
            version,
            CommandPermissions(name, frozenset() if is_former else permitted_commands(table, owner=False)),
            frozenset() if is_former else reports(table.observe),
            memory.make_sender(name, version),
            memory.waiting[name].outbox,
            memory.waiting[name].ids,
            self.call_timeout_s,
        )


def find_backend_rules(config: Config) -> dict[str, tuple[object, ...]]:
    """Return what a session of each station is made for: another one is needed where this differs."""
    names = backend_names(config)
    rules = {
        name: (name, tables[0].observe, tables[0].commands)
        for name, tables in endpoints_by_backend(config).items()
    }
    return {
        station.id: (
            None if station.owner is None else rules[names[station.owner]],
            [rules[names[observer]] for observer in station.observers],
            station.when_backend_away,
            station.grace_s,
            station.authorise_when_away,
            station.stop_unauthorised,
            station.ping_s,
        )
        for station in config.station
    }
