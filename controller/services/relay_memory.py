"""What outlives a station's link: the machines of its relay that remember, and the file behind them."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from controller.config import Config, StationConfig
from controller.config.backend_rules import backend_names, endpoints_by_backend, permitted_commands
from controller.model.journal import Record
from controller.ocpp.actions import reports
from controller.ocpp.frames import Version
from controller.offline.authorization_cache import AuthorizationCache
from controller.offline.journal_records import EntrySetAside
from controller.offline.offline_handler import MessageQueued, OfflineHandler
from controller.offline.offline_responder import OfflineResponder, OfflineRules
from controller.offline.outbox import Outbox
from controller.offline.outbox_sender import OutboxSender
from controller.offline.response_cache import ResponseCache
from controller.offline.station_snapshot import StationSnapshot
from controller.offline.transaction_id_map import TransactionIdMap
from controller.relay.command_permissions import CommandPermissions
from controller.relay.secondary_backend import SecondaryBackend
from controller.signing.replay_cache import ReplayRecord
from controller.store.database import StoreError
from controller.store.relay_store import RelayStore
from controller.store.store_writer import StoreWriter

KEY_FILE = "authorisations.key"
KEY_BYTES = 32


class _Waiting(msgspec.Struct):
    """What one backend has not heard yet of one station."""

    outbox: Outbox
    ids: TransactionIdMap


class _Remembered:
    """The machines of one station, as they were saved."""

    def __init__(self, station: str, backends: Sequence[str], key: bytes, records: Sequence[Record]) -> None:
        self.story = StationSnapshot(station)
        self.answers = ResponseCache(station)
        self.authorisations = AuthorizationCache(station, key)
        self.waiting = {
            backend: _Waiting(Outbox(station, backend), TransactionIdMap(station, backend))
            for backend in backends
        }
        self.story.restore(records)
        self.answers.restore(records)
        self.authorisations.restore(records)
        for each in self.waiting.values():
            each.outbox.restore(records)
            each.ids.restore(records)


class QueueStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What waits for a backend, over all stations.

    `oldest`: when the oldest came (POSIX s). `dropped`: how many less important ones had no room.
    `set_aside`: how many it will not take.
    """

    messages: int
    oldest: float | None
    dropped: int
    set_aside: int


class RelayJournals:
    """All stations'. Raises StoreFailed where the store cannot be used.

    `remember` makes durable which signed messages were here; it is called in a thread.
    """

    def __init__(
        self, config: Config, remember: Callable[[Sequence[ReplayRecord]], None] | None = None
    ) -> None:
        directory = Path(config.store.directory)
        self._store = RelayStore(directory)
        self._remember = remember
        self._writer = StoreWriter(self._write)
        self._key = _key(directory / KEY_FILE)
        self._call_timeout_s = config.listen.call_timeout_s
        self._backends = {name: uplinks[0] for name, uplinks in endpoints_by_backend(config).items()}
        names = backend_names(config)
        self._observers = {
            station.id: [names[observer] for observer in station.observers] for station in config.station
        }
        self._owners = {station.id: names[station.owner] for station in config.station}
        self._stations = {station: self._recalled(station) for station in self._owners}
        self._set_aside = Counter(queued.backend for queued, _ in self._store.set_aside())

    @property
    def moved_aside(self) -> Path | None:
        """Where a damaged file has gone that was there when we began."""
        return self._store.moved_aside

    async def run(self) -> None:
        """Write what is to be saved, until cancelled."""
        await self._writer.run()

    # -- what sessions ask: see `links.session.Memory` ------------------------------------------------

    async def save(self, records: Sequence[Record]) -> None:
        """Save the records; they are on disk when it returns. Raises StoreFailed where they are not."""
        await self._writer.write(records)
        self._set_aside.update(word.backend for word in records if isinstance(word, EntrySetAside))

    def forget(self, station: str) -> None:
        """What the station's machines believe is on disk is not: read it anew. Raises StoreFailed."""
        self._stations[station] = self._recalled(station)

    def _write(self, records: Sequence[Record]) -> None:
        seen = [word for word in records if isinstance(word, ReplayRecord)]
        if self._remember is not None and seen:
            self._remember(seen)
        if len(seen) < len(records):
            self._store.write([word for word in records if not isinstance(word, ReplayRecord)])

    # -- what a link's relay is made of ---------------------------------------------------------------

    def commands(self, station: str) -> CommandPermissions:
        """What the station's owner may command."""
        owner = self._owners[station]
        return CommandPermissions(owner, permitted_commands(self._backends[owner], owner=True))

    def story(self, station: StationConfig) -> StationSnapshot | None:
        """What the station last said of itself, where anybody may have to be told later."""
        wanted = station.observers or station.when_backend_away == "autonomous"
        return self._stations[station.id].story if wanted else None

    def stead(
        self, station: StationConfig, version: Version, utc_of: Callable[[float], float]
    ) -> OfflineHandler | None:
        """What serves the station in its owner's place, where it is to be served so."""
        if station.when_backend_away != "autonomous":
            return None
        remembered = self._stations[station.id]
        waiting = remembered.waiting[self._owners[station.id]]
        rules = OfflineRules(
            authorise=station.authorise_when_away, stop_unauthorised=station.stop_unauthorised
        )
        story, authorisations = remembered.story, remembered.authorisations
        kept = MessageQueued(
            story=story,
            authorisations=authorisations,
            answers=remembered.answers,
            outbox=waiting.outbox,
            ids=waiting.ids,
        )
        autonomy = OfflineResponder(station.id, version, authorisations, waiting.ids, story, rules)
        courier = OutboxSender(waiting.outbox, story, waiting.ids, version)
        return OfflineHandler(version, autonomy, courier, kept, utc_of)

    def observers(self, station: str, version: Version) -> dict[str, SecondaryBackend]:
        """The conversations with those who observe the station, for a link of it that begins now."""
        remembered = self._stations[station]
        return {
            name: self._observing(station, version, name, remembered) for name in self._observers[station]
        }

    def _observing(
        self, station: str, version: Version, backend: str, remembered: _Remembered
    ) -> SecondaryBackend:
        table, waiting = self._backends[backend], remembered.waiting[backend]
        return SecondaryBackend(
            station,
            version,
            CommandPermissions(backend, permitted_commands(table, owner=False)),
            reports(table.observe),
            OutboxSender(waiting.outbox, remembered.story, waiting.ids, version),
            waiting.outbox,
            waiting.ids,
            self._call_timeout_s,
        )

    # -- what waits -----------------------------------------------------------------------------------

    def waiting(self, station: str) -> dict[str, Version]:
        """The backends for whom something of this station waits, each with the version of what goes first."""
        heads = {backend: each.outbox.head for backend, each in self._stations[station].waiting.items()}
        return {backend: head.version for backend, head in heads.items() if head is not None}

    def queues(self) -> dict[str, QueueStatus]:
        """What waits for each backend."""
        boxes: defaultdict[str, list[Outbox]] = defaultdict(list)
        for remembered in self._stations.values():
            for backend, waiting in remembered.waiting.items():
                boxes[backend].append(waiting.outbox)
        return {backend: self._queue(backend, boxes[backend]) for backend in self._backends}

    def _queue(self, backend: str, boxes: Sequence[Outbox]) -> QueueStatus:
        return QueueStatus(
            messages=sum(map(len, boxes)),
            oldest=min((box.oldest_at for box in boxes if box.oldest_at is not None), default=None),
            dropped=sum(sum(box.dropped.values()) for box in boxes),
            set_aside=self._set_aside[backend],
        )

    def _recalled(self, station: str) -> _Remembered:
        backends = [self._owners[station], *self._observers[station]]
        return _Remembered(station, backends, self._key, self._store.load(station).records)


def _key(file: Path) -> bytes:
    """The key under which idTokens are kept, made at the first start; nobody else may read it."""
    try:
        with contextlib.suppress(FileExistsError), open(_new(file), "wb") as made:
            made.write(secrets.token_bytes(KEY_BYTES))
        key = file.read_bytes()
    except OSError as error:
        raise StoreError(f"store.directory: {file} cannot be used: {error.strerror}") from error
    if len(key) != KEY_BYTES:
        raise StoreError(
            f"store.directory: {file} is not whole; remove it: who may charge while a backend is away is "
            "then learnt anew"
        )
    return key


def _new(file: Path) -> int:
    """A file that was not there, for its owner alone. Raises FileExistsError."""
    return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
