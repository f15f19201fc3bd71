"""Durable parts of the stations' relays: they outlive a link, and are restored from the store."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from controller.config import Config
from controller.config.backend_rules import backend_names, endpoints_by_backend, owner_names
from controller.model.journal import Record
from controller.ocpp.frames import Version
from controller.offline.journal_records import EntryQueued, EntryRemoved, OutboxRequest, OutboxRequestDone
from controller.offline.station_memory import STATION_RECORDS, QueueStatus, StationMemory, add_up_queues
from controller.store.state_journal import StoreError
from controller.store.state_store import StateStore

log = logging.getLogger("controller.store")

KEY_BYTES = 32


class RelayJournals:
    """Durable parts of all stations' relays, in one store; `key` hashes idTokens. Raises StoreError."""

    def __init__(self, config: Config, store: StateStore, key: bytes) -> None:
        self._store = store
        self._key = key
        self._backends: list[str] = []
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
        self._backends = list(endpoints_by_backend(config))
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
                memory.set_backends(backends, self._store.load_all(STATION_RECORDS, station))

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

    def find_memory(self, station: str) -> StationMemory:
        """Return the durable parts of one station's relay."""
        return self._stations[station]

    def former_backends(self, station: str) -> Sequence[str]:
        """Return the backends that a station had before, for which messages of it waited at the start."""
        return self._former.get(station, ())

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
            station,
            self._backends_of(station),
            self._key,
            self._store.load_all(STATION_RECORDS, station),
            self._store.state,
        )


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
