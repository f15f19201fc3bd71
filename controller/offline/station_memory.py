"""Durable parts of one station's relay, for all its backends: they outlive its links, restored from records.

memory = StationMemory("CS01", ["csms", "observer"], key, records, store.state)
handler = make_offline_handler(memory, Version.V16, OfflineRules(), utc_of)
sender = memory.make_sender("observer", Version.V16)
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from controller.model.journal import Record, StoreState
from controller.ocpp.frames import Version
from controller.offline.authorization_cache import AuthorizationCache
from controller.offline.journal_records import (
    EntryQueued,
    EntrySent,
    EntrySetAside,
    LocalListVersion,
    ResponseStored,
    SnapshotDelivered,
    TokenAuthorized,
    TransactionMapped,
)
from controller.offline.outbox import Outbox
from controller.offline.outbox_sender import OutboxSender
from controller.offline.response_cache import ResponseCache
from controller.offline.station_snapshot import StationSnapshot
from controller.offline.transaction_id_map import TransactionIdMap

STATION_RECORDS: tuple[type[Record], ...] = (
    EntryQueued,
    EntrySent,
    EntrySetAside,
    ResponseStored,
    TransactionMapped,
    SnapshotDelivered,
    TokenAuthorized,
    LocalListVersion,
)
"""The stored records of one station; their keys begin with its id."""


class BackendMemory(msgspec.Struct):
    """Outbox and transaction ids of one station towards one backend."""

    outbox: Outbox
    ids: TransactionIdMap


class OwnerMemory(msgspec.Struct, frozen=True, kw_only=True):
    """Durable parts of one station towards its owner: they outlive a link."""

    snapshot: StationSnapshot
    authorizations: AuthorizationCache
    answers: ResponseCache
    outbox: Outbox
    ids: TransactionIdMap


class StationMemory:
    """Durable parts of one station's relay, restored from its records.

    `key` hashes its idTokens; `store` is the state of the store in which its changes are kept.
    """

    def __init__(
        self,
        station: str,
        backends: Sequence[str],
        key: bytes,
        records: Sequence[Record],
        store: StoreState,
    ) -> None:
        self._store = store
        self.snapshot = StationSnapshot(station)
        self.waiting = {
            backend: BackendMemory(Outbox(station, backend), TransactionIdMap(station, backend))
            for backend in backends
        }
        """Messages that wait for each backend."""
        self._unused: dict[str, BackendMemory] = {}
        """Memories of backends that the station has no more: the session before may still write into them."""
        self.owner = backends[0]
        self._is_new_owner = False
        """True until a link is made for an owner that has not seen the station's boot."""
        self.station = station
        self._answers = ResponseCache(station)
        self._authorizations = AuthorizationCache(station, key)
        self.snapshot.restore(records)
        self._answers.restore(records)
        self._authorizations.restore(records)
        for each in self.waiting.values():
            each.outbox.restore(records)
            each.ids.restore(records)

    def set_backends(self, backends: Sequence[str], records: Sequence[Record]) -> None:
        """Use these backends, the owner first, from the next link on; `records`: those of the station."""
        self._is_new_owner |= backends[0] != self.owner
        self.owner = backends[0]
        known = self._unused | self.waiting
        for backend in backends:
            if backend not in known:
                known[backend] = made = BackendMemory(
                    Outbox(self.station, backend), TransactionIdMap(self.station, backend)
                )
                made.outbox.restore(records)
                made.ids.restore(records)
        self.waiting = {backend: known.pop(backend) for backend in backends}
        self._unused = known

    def make_sender(self, backend: str, version: Version) -> OutboxSender:
        """Return the sender of what waits for a backend, for a link of the station that begins now."""
        waiting = self.waiting[backend]
        return OutboxSender(waiting.outbox, self.snapshot, waiting.ids, version, backend, store=self._store)

    def take_owner(self) -> tuple[OwnerMemory, bool]:
        """Return the parts towards the owner, and True if no link was made for it yet."""
        waiting = self.waiting[self.owner]
        kept = OwnerMemory(
            snapshot=self.snapshot,
            authorizations=self._authorizations,
            answers=self._answers,
            outbox=waiting.outbox,
            ids=waiting.ids,
        )
        is_new_owner, self._is_new_owner = self._is_new_owner, False
        return kept, is_new_owner


class QueueStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Messages that wait for a backend, over all stations.

    `oldest`: when the oldest was received (POSIX s). `dropped`: messages that were dropped because
    room was short. `set_aside`: messages that the backend rejects.
    """

    messages: int
    oldest: float | None
    dropped: int
    set_aside: int


def add_up_queues(waiting: Sequence[BackendMemory]) -> QueueStatus:
    """Return what waits for one backend, over all stations."""
    boxes = [each.outbox for each in waiting]
    return QueueStatus(
        messages=sum(map(len, boxes)),
        oldest=min((box.oldest_at for box in boxes if box.oldest_at is not None), default=None),
        dropped=sum(sum(box.dropped.values()) for box in boxes),
        set_aside=sum(box.set_aside_count for box in boxes),
    )
