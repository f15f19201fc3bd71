"""Handover of transactions from the local CSMS to a backend that was added to the configuration."""

from __future__ import annotations

import logging
import uuid

from controller.config.backend_rules import owner_names
from controller.config.schema import Config, StationConfig
from controller.local_csms.csms_records import LocalTransactionEnded, LocalTransactionStored
from controller.model.journal import Record
from controller.ocpp.frames import Version
from controller.offline.journal_records import (
    EntryQueued,
    EntrySent,
    EntrySetAside,
    NewestTransactionId,
    RecordKind,
    TransactionMapped,
)
from controller.offline.outbox import Outbox, OutboxFullError
from controller.offline.transaction_id_map import TransactionIdMap
from controller.store.rule_types import key_prefix
from controller.store.state_store import StateStore

log = logging.getLogger("controller")


def hand_over_transactions(config: Config, store: StateStore) -> None:
    """Hand the transactions of the local CSMS over to backends that own their stations now.

    The start of each is queued for the backend, with the station's own bytes, and in 1.6 with a mapping of
    the transaction's id. That needs an outbox (when_backend_away = "autonomous"); else the backend gets the
    end of the transaction alone, and a WARNING names it. Raises StoreError.
    """
    owners = owner_names(config)
    stations = {station.id: station for station in config.station}
    for transaction in store.load(LocalTransactionStored):
        station = stations.get(transaction.station)
        if station is None or station.owner is None:
            continue
        owner = owners[station.id]
        ended = LocalTransactionEnded(station.id, transaction.transaction)
        about = f"station={station.id} transaction={transaction.transaction} backend={owner}"
        if station.when_backend_away != "autonomous":
            store.persist_now([ended])
            log.warning(
                "running transaction not handed over %s: the backend gets its end alone, the ledger has it "
                'whole; with when_backend_away = "autonomous" the start is handed over, too',
                about,
            )
            continue
        try:
            queued = _queue_start(store, station, owner, transaction)
        except OutboxFullError as full:
            log.error("running transaction not handed over %s reason=%s", about, full)
            continue
        store.persist_now([*queued, ended])
        log.info("running transaction handed over %s", about)


def _queue_start(
    store: StateStore, station: StationConfig, owner: str, transaction: LocalTransactionStored
) -> list[Record]:
    """Return the records that put the start of a transaction into the outbox of its new owner."""
    prefix = key_prefix(station.id)
    outbox, ids = Outbox(station.id, owner), TransactionIdMap(station.id, owner)
    for kind in (EntryQueued, EntrySent, EntrySetAside):
        outbox.restore(store.load(kind, prefix))
    for id_kind in (TransactionMapped, NewestTransactionId):
        ids.restore(store.load(id_kind, prefix))
    own = int(transaction.transaction) if transaction.version is Version.V16 else None
    records = outbox.queue_message(
        transaction.version,
        transaction.action,
        transaction.payload,
        RecordKind.TRANSACTION,
        str(uuid.uuid4()),
        transaction.received,
        own,
    )
    return records if own is None else [*records, *ids.expect_backend_id(own)]
