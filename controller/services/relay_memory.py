"""Durable parts of the stations' relays: they outlive a link, and are restored from the store."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from controller.config.backend_rules import (
    backend_names,
    endpoints_by_backend,
    owner_names,
    permitted_commands,
)
from controller.config.schema import LOCAL_CSMS, BackendConfig, Config, StationConfig
from controller.model.journal import EvseStatesStored, Record
from controller.model.observations import EvseRecord
from controller.ocpp.actions import reports
from controller.ocpp.frames import Version
from controller.offline.journal_records import EntryQueued, EntryRemoved, OutboxRequest, OutboxRequestDone
from controller.offline.offline_handler import OfflineHandler
from controller.offline.offline_responder import OfflineRules
from controller.offline.station_memory import STATION_RECORDS, QueueStatus, StationMemory, add_up_queues
from controller.offline.station_snapshot import StationSnapshot
from controller.relay.secondary_backend import CommandPermissions, SecondaryBackend
from controller.store.rule_types import key_prefix
from controller.store.state_journal import StoreError
from controller.store.state_store import StateStore

log = logging.getLogger("controller.store")

KEY_FILE = "authorisations.key"
KEY_BYTES = 32


class RelayJournals:
    """Durable parts of all stations' relays, in one store. Raises StoreError."""

    def __init__(self, config: Config, store: StateStore) -> None:
        self._store = store
        self._key = open_token_key(Path(config.store.directory) / KEY_FILE)
        self._call_timeout_s = config.listen.call_timeout_s
        self._backends: dict[str, BackendConfig] = {}
        self._observers: dict[str, list[str]] = {}
        self._former: dict[str, list[str]] = {}
        self._owners: dict[str, str] = {}
        self._stations: dict[str, StationMemory] = {}
        self.replace_stations(config)
        self._requests_read = 0
        self.on_drop_station: Callable[[str], None] = lambda _: None
        """Called with a station whose last changes could not be written."""

    def replace_stations(self, config: Config) -> None:
        """Use the stations of a configuration, with what is stored of new ones. Raises StoreError.

        What waits of stations that it does not have stays in the store.
        """
        names = backend_names(config)
        self._backends = {name: endpoints[0] for name, endpoints in endpoints_by_backend(config).items()}
        self._observers = {
            station.id: [names[observer] for observer in station.observers] for station in config.station
        }
        self._owners = owner_names(config)
        self._former = self._find_former()
        for station in self._stations.keys() - self._owners.keys():
            del self._stations[station]
        for station in self._owners.keys() - self._stations.keys():
            self._stations[station] = self._restore(station)
        for station, memory in self._stations.items():
            backends = self._backends_of(station)
            if set(backends) != memory.waiting.keys():
                memory.set_backends(backends, load_station_records(self._store, station))

    def _find_former(self) -> dict[str, list[str]]:
        """Return the backends for which messages of a station wait that it no longer has, by station."""
        found: dict[str, dict[str, None]] = {}
        for record in self._store.load(EntryQueued):
            station, backend = record.station, record.backend
            if station not in self._owners or backend not in self._backends:
                continue
            if backend != self._owners[station] and backend not in self._observers[station]:
                found.setdefault(station, {})[backend] = None
        return {station: list(backends) for station, backends in found.items()}

    def _backends_of(self, station: str) -> list[str]:
        return [self._owners[station], *self._observers[station], *self._former.get(station, ())]

    def find_observers(self, station: str) -> list[str]:
        """Return the observers of a station, and former backends for which messages of it still wait."""
        waiting = self._stations[station].waiting
        former = [name for name in self._former.get(station, ()) if waiting[name].outbox.head is not None]
        return [*self._observers[station], *former]

    # -- the session's journal: see `stations.session.SessionJournal` ----------------------------------

    async def save(self, records: Sequence[Record]) -> None:
        """Persist records; see StateStore.persist. Raises StoreError."""
        await self._store.persist(records)

    def drop_station(self, station: str) -> None:
        """Restore a station's parts from the store: their last changes could not be written."""
        if station not in self._owners:
            return
        with contextlib.suppress(StoreError):  # the store cannot be read either, which it logs itself
            self._stations[station] = self._restore(station)
        self.on_drop_station(station)

    # -- requests of a person: `local-controller outbox` ------------------------------------------------

    def follow_requests(self) -> None:
        """Carry out the requests about messages that were set aside."""
        self._requests_read, requests = self._store.follow(OutboxRequest, self._requests_read)
        for request in requests:
            self._carry_out(request)

    def _carry_out(self, request: OutboxRequest) -> None:
        station, backend, number, drop = request.station, request.backend, request.number, request.drop
        done: list[Record] = [OutboxRequestDone(station, backend, number)]
        memory = self._stations.get(station)
        waiting = None if memory is None else memory.waiting.get(backend)
        if waiting is None:  # the configuration no longer has them: nothing of it is in memory
            changed: list[Record] = [EntryRemoved(station, backend, number)] if drop else []
        elif drop:
            changed = waiting.outbox.drop_set_aside(number)
        else:
            changed = waiting.outbox.requeue_entry(number)
        log.warning(
            "outbox request done action=%s station=%s backend=%s number=%d found=%s",
            "drop" if drop else "retry",
            station,
            backend,
            number,
            bool(changed),
        )
        self._store.persist_soon([*changed, *done])

    # -- the parts of a link's relay --------------------------------------------------------------------

    def owner_permissions(self, station: str) -> CommandPermissions:
        """Return which actions the station's owner may command."""
        owner = self._owners[station]
        if owner == LOCAL_CSMS:
            return CommandPermissions(owner, None)
        return CommandPermissions(owner, permitted_commands(self._backends[owner], owner=True))

    def find_snapshot(self, station: StationConfig) -> StationSnapshot | None:
        """Return the station's snapshot if a backend may need it later, else None."""
        is_needed = station.observers or station.when_backend_away == "autonomous"
        return self._stations[station.id].snapshot if is_needed else None

    def make_offline_handler(
        self, station: StationConfig, version: Version, utc_of: Callable[[float], float]
    ) -> OfflineHandler | None:
        """Return the handler for the owner's absences, or None if the station is not autonomous."""
        if station.when_backend_away != "autonomous" or station.owner is None:
            return None
        rules = OfflineRules(
            authorise=station.authorise_when_away, stop_unauthorised=station.stop_unauthorised
        )
        memory = self._stations[station.id]
        return memory.make_offline_handler(self._owners[station.id], version, rules, utc_of)

    def make_secondary_backends(self, station: str, version: Version) -> dict[str, SecondaryBackend]:
        """Return the secondary backends of a station, for a link of it that begins now."""
        memory = self._stations[station]
        return {
            name: self._make_secondary_backend(station, version, name, memory)
            for name in (*self._observers[station], *self._former.get(station, ()))
        }

    def _make_secondary_backend(
        self, station: str, version: Version, backend: str, memory: StationMemory
    ) -> SecondaryBackend:
        table, waiting = self._backends[backend], memory.waiting[backend]
        is_former = backend in self._former.get(station, ())  # it only gets what waits for it
        return SecondaryBackend(
            station,
            version,
            CommandPermissions(backend, frozenset() if is_former else permitted_commands(table, owner=False)),
            frozenset() if is_former else reports(table.observe),
            memory.make_sender(backend, version),
            waiting.outbox,
            waiting.ids,
            self._call_timeout_s,
        )

    def load_evse_states(self) -> list[tuple[str, Version, tuple[EvseRecord, ...]]]:
        """Return the stored states of EVSEs by station, with the OCPP version of their transaction ids."""
        versions = {version.value: version for version in Version}
        return [
            (each.station, versions[each.version], each.evses)
            for each in self._store.load(EvseStatesStored)
            if each.version in versions
        ]

    # -- queues ----------------------------------------------------------------------------------------

    def backends_waited_for(self, station: str) -> dict[str, Version]:
        """Return the backends for which messages of a station wait, with the version of the first one."""
        memory = self._stations.get(station)
        if memory is None:  # it was removed from the configuration
            return {}
        heads = {backend: each.outbox.head for backend, each in memory.waiting.items()}
        return {backend: head.version for backend, head in heads.items() if head is not None}

    def queue_statuses(self) -> dict[str, QueueStatus]:
        """Return what waits for each backend."""
        memories = self._stations.values()
        return {
            backend: add_up_queues([each.waiting[backend] for each in memories if backend in each.waiting])
            for backend in self._backends
        }

    def _restore(self, station: str) -> StationMemory:
        return StationMemory(
            station, self._backends_of(station), self._key, load_station_records(self._store, station)
        )


def load_station_records(store: StateStore, station: str) -> list[Record]:
    """Return what is stored of a station's relay. Raises StoreError."""
    prefix = key_prefix(station)
    return [record for record_type in STATION_RECORDS for record in store.load(record_type, prefix)]


def open_token_key(file: Path) -> bytes:
    """Return the key under which idTokens are hashed, made at the first start; for its owner alone.

    A key that is not whole is moved aside: who may charge while a backend is away is then learned anew. If
    the file cannot be used, a key of this run takes its place.
    """
    try:
        with contextlib.suppress(FileExistsError), open(_create(file), "wb") as made:
            made.write(secrets.token_bytes(KEY_BYTES))
        key = file.read_bytes()
        if len(key) == KEY_BYTES:
            return key
        aside = file.with_name(f"{file.name}.corrupt")
        file.replace(aside)
        log.error(
            "key of stored authorizations damaged path=%s moved_to=%s: the cached authorizations are lost",
            file,
            aside.name,
        )
        key = secrets.token_bytes(KEY_BYTES)
        with open(_create(file), "wb") as made:
            made.write(key)
    except OSError as error:
        log.error(
            "key of stored authorizations cannot be used path=%s reason=%s: the cached "
            "authorizations are lost",
            file,
            error.strerror,
        )
        return secrets.token_bytes(KEY_BYTES)
    return key


def _create(file: Path) -> int:
    """Create a file for its owner alone. Raises FileExistsError."""
    return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
