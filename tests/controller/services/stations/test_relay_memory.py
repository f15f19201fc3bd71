"""What outlives a session: stored in one transaction, read again, and changed by a person's requests."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from controller.model.journal import Record
from controller.ocpp.frames import Version
from controller.offline.journal_records import (
    EntryQueued,
    EntrySetAside,
    OutboxEntry,
    OutboxRequest,
    RecordKind,
    SnapshotDelivered,
)
from controller.offline.station_memory import STATION_RECORDS
from controller.services.stations.relay_memory import RelayJournals, open_token_key
from controller.signing.replay_cache import ReplayRecord, SeenText
from controller.store.sqlite_journal import FILE
from controller.store.state_journal import StoreError
from controller.store.state_store import StateStore
from controller.store.store_files import KEY_FILE
from tests.controller.services.test_app import configured
from tests.scenario.link_harness import CsmsServer

BOOT = SnapshotDelivered("CS01", "boot", Version.V16, "BootNotification", b"{}")
SEEN = ReplayRecord((SeenText(b"token", 7.0),), 1.0)


def queued(number: int) -> EntryQueued:
    entry = OutboxEntry(
        number=number,
        id=f"m{number}",
        version=Version.V16,
        action="StopTransaction",
        payload=b"{}",
        kind=RecordKind.TRANSACTION,
        taken=1.0,
    )
    return EntryQueued("CS01", "cpo", entry)


async def save(store: StateStore, folder: Path, records: list[Record]) -> None:
    journals = RelayJournals(configured(folder, CsmsServer()), store, b"key")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.run)
        await journals.save(records)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("records", [[SEEN], [BOOT], [SEEN, BOOT]])
async def test_save_stores_signed_messages_and_station_records(tmp_path: Path, records: list[Record]) -> None:
    await save(StateStore(tmp_path), tmp_path, records)
    again = StateStore(tmp_path)
    assert again.load(SeenText) == (list(SEEN.seen) if SEEN in records else [])
    assert again.load_all(STATION_RECORDS, "CS01") == ([BOOT] if BOOT in records else [])


async def test_relay_memory_save_that_fails_stores_nothing_of_event(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    store._journal._connection.execute("PRAGMA query_only = 1")  # type: ignore[union-attr, attr-defined]
    with pytest.RaisesGroup(StoreError):
        await save(store, tmp_path, [SEEN, BOOT])
    assert store.load_all(STATION_RECORDS, "CS01") == []


def test_relay_memory_request_to_retry_queues_message_again(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    store.persist_now([queued(1), queued(2), EntrySetAside("CS01", "cpo", 1, "FormationViolation")])
    journals = RelayJournals(configured(tmp_path, CsmsServer()), store, b"key")
    assert (journals.queue_statuses()["cpo"].messages, journals.queue_statuses()["cpo"].set_aside) == (1, 1)
    store.persist_now([OutboxRequest("CS01", "cpo", 1, False)])
    journals.follow_requests()
    assert (journals.queue_statuses()["cpo"].messages, journals.queue_statuses()["cpo"].set_aside) == (2, 0)
    assert store.load(EntrySetAside) == store.load(OutboxRequest) == []


def test_relay_memory_request_to_drop_removes_message(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    store.persist_now([queued(1), EntrySetAside("CS01", "cpo", 1, "FormationViolation")])
    journals = RelayJournals(configured(tmp_path, CsmsServer()), store, b"key")
    store.persist_now([OutboxRequest("CS01", "cpo", 1, True)])
    journals.follow_requests()
    journals.follow_requests()
    assert journals.queue_statuses()["cpo"].set_aside == 0
    assert store.load(EntryQueued) == store.load(OutboxRequest) == []


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 33])
def test_damaged_key_of_authorizations_is_moved_aside_and_made_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: bytes
) -> None:
    (tmp_path / KEY_FILE).write_bytes(damage)
    assert len(open_token_key(tmp_path / KEY_FILE)) == 32
    assert (tmp_path / f"{KEY_FILE}.corrupt").read_bytes() == damage
    assert len((tmp_path / KEY_FILE).read_bytes()) == 32
    assert "cached authorizations are lost" in caplog.text


def test_relay_memory_of_damaged_store_is_empty_and_works(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database" * 100)
    journals = RelayJournals(configured(tmp_path, CsmsServer()), StateStore(tmp_path), b"key")
    assert journals.backends_waited_for("CS01") == {}
