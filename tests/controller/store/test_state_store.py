"""The state of the controller on a full, removed, damaged or foreign disk: it goes on, and recovers."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from controller.dimming.dimming_limits import LimitSourceMemory
from controller.dimming.events import DimmingMemory
from controller.history.history_records import HistoryMinutes, HistoryTrimmed
from controller.model.journal import BootStored
from controller.ocpp.frames import Version
from controller.offline.journal_records import (
    EntryQueued,
    EntryRemoved,
    OutboxEntry,
    RecordKind,
    ResponseStored,
    TransactionMapped,
)
from controller.signing.replay_cache import ReplayRecord, SeenText
from controller.store import state_store
from controller.store.sqlite_journal import FILE, SqliteJournal
from controller.store.state_journal import Change, StoreError
from controller.store.state_store import StateStore
from controller.store.store_files import FOLDER, KEY_FILE
from tests.bounds import HANG_S

BOOT = BootStored("CS01", "ACME", "One", "1")


def test_store_revision_rises_with_changes_of_its_kinds_alone(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    assert store.revision(BootStored, EntryQueued) == 0
    store.persist_now([BOOT, entry(1)])
    store.persist_soon([BOOT])
    assert (store.revision(BootStored), store.revision(EntryQueued)) == (2, 1)
    assert store.revision(BootStored, EntryQueued) == 3
    store.close()


def entry(number: int) -> EntryQueued:
    waiting = OutboxEntry(
        number=number,
        id=f"m{number}",
        version=Version.V16,
        action="StopTransaction",
        payload=b"{}",
        kind=RecordKind.TRANSACTION,
        taken=1.0,
    )
    return EntryQueued("CS01", "cpo", waiting)


class FullDisk:
    """Blocks commits of a store until `free`."""

    def __init__(self, store: StateStore) -> None:
        assert isinstance(store._journal, SqliteJournal)
        self._connection = store._journal._connection

    def fill(self) -> None:
        self._connection.execute("PRAGMA query_only = 1")

    def free(self) -> None:
        self._connection.execute("PRAGMA query_only = 0")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    store = StateStore(tmp_path)
    yield store
    store.close()


def test_state_store_transaction_message_on_full_disk_is_error(store: StateStore) -> None:
    FullDisk(store).fill()
    with pytest.raises(StoreError, match="make room on the disk"):
        store.persist_now([entry(1), TransactionMapped("CS01", "cpo", 1, None)])
    assert store.load(EntryQueued) == store.load(TransactionMapped) == []
    assert store.status.error
    assert store.status.failing_since is not None


def test_record_that_may_be_kept_is_stored_when_there_is_room_again(
    store: StateStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = FullDisk(store)
    disk.fill()
    store.persist_now([BOOT])
    assert store.load(BootStored) == [BOOT]
    assert store.status.kept == 1
    store.check()
    assert store.status.kept == 1
    disk.free()
    store.check()
    assert (store.status.kept, store.status.error, store.status.failing_since) == (0, "", None)
    assert StateStore(tmp_path).load(BootStored) == [BOOT]
    texts = [record.getMessage() for record in caplog.records]
    assert sum("store cannot be written" in text for text in texts) == 1
    assert sum("store written again" in text for text in texts) == 1


def test_state_store_kept_records_come_before_those_of_next_commit(store: StateStore, tmp_path: Path) -> None:
    disk = FullDisk(store)
    disk.fill()
    newer = BootStored("CS01", "ACME", "One", "2")
    store.persist_now([BOOT])
    disk.free()
    store.persist_now([newer])
    assert StateStore(tmp_path).load(BootStored) == [newer]


def test_pending_removal_counts_when_state_is_loaded(store: StateStore) -> None:
    store.persist_now([entry(1), entry(2), ResponseStored("CS01", "a", b"1")])
    FullDisk(store).fill()
    store.persist_now([EntryRemoved("CS01", "cpo", 1), ResponseStored("CS01", "a", b"2")])
    assert store.load(EntryQueued) == [entry(2)]
    assert store.load(ResponseStored) == [ResponseStored("CS01", "a", b"2")]


def test_state_store_signed_message_on_full_disk_is_error(store: StateStore) -> None:
    FullDisk(store).fill()
    with pytest.raises(StoreError):
        store.persist_now([ReplayRecord((SeenText(b"a", 1.0),), 0.0)])


async def test_state_store_persist_soon_shares_next_commit(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    async with trio.open_nursery() as nursery:
        store.persist_soon([BOOT])
        assert store.load(BootStored) == [BOOT]
        assert SqliteJournal(tmp_path / FILE).load("boot") == []
        nursery.start_soon(store.run)
        await store.persist([entry(1)])
        assert [each.kind for each in SqliteJournal(tmp_path / FILE).load("boot")] == ["boot"]
        assert store.status.kept == 0
        nursery.cancel_scope.cancel()


async def test_state_store_persist_soon_is_written_at_the_end(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.run)
        await trio.testing.wait_all_tasks_blocked()
        store.persist_soon([BOOT])
        nursery.cancel_scope.cancel()
    assert StateStore(tmp_path).load(BootStored) == [BOOT]


def test_state_store_trims_kept_entries_while_disk_is_full(store: StateStore) -> None:
    disk = FullDisk(store)
    store.persist_now([HistoryMinutes(900, {})])
    disk.fill()
    store.persist_now([HistoryMinutes(1800, {}), HistoryTrimmed(1, 1)])
    assert [each.start for each in store.load(HistoryMinutes)] == [1800]
    disk.free()
    store.check()
    assert [each.start for each in store.load(HistoryMinutes)] == [1800]


def test_state_store_persist_soon_newer_value_survives_running_commit(
    store: StateStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = BootStored("CS01", "ACME", "One", "2")
    commit = SqliteJournal.commit

    def commit_slowly(journal: SqliteJournal, changes: Sequence[Change], token: int) -> None:
        commit(journal, changes, token)
        monkeypatch.undo()
        store.persist_soon([newer])  # while the disk was busy

    store.persist_soon([BOOT])
    monkeypatch.setattr(SqliteJournal, "commit", commit_slowly)
    store.check()
    assert store.status.kept == 1
    store.check()
    assert StateStore(tmp_path).load(BootStored) == [newer]


def test_state_store_persist_soon_rejects_what_must_be_durable(store: StateStore) -> None:
    with pytest.raises(ValueError, match="EntryQueued"):
        store.persist_soon([BOOT, entry(1)])
    assert store.load(BootStored) == []


async def test_persist_waits_until_records_are_durable_and_recovers_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_store, "RETRY_S", 0.02)
    store = StateStore(tmp_path)
    disk = FullDisk(store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.run)
        await store.persist([entry(1)])
        assert SqliteJournal(tmp_path / FILE).load("outbox")
        disk.fill()
        with pytest.raises(StoreError):
            await store.persist([entry(2)])
        await store.persist([BOOT])
        disk.free()
        with trio.fail_after(HANG_S):
            while store.status.error:  # noqa: ASYNC110  (a thread writes)
                await trio.sleep(0.01)
        assert store.status.kept == 0
        await store.persist([entry(2)])
        nursery.cancel_scope.cancel()


async def test_removed_file_is_noticed_while_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(state_store, "RETRY_S", 0.02)
    store = StateStore(tmp_path)
    store.persist_now([BOOT])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.run)
        shutil.rmtree(tmp_path)
        with trio.fail_after(HANG_S):
            while not (tmp_path / FILE).exists():  # noqa: ASYNC110  (a thread writes)
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert "store file removed" in caplog.text
    assert StateStore(tmp_path).load(BootStored) == [BOOT]


def test_damaged_file_is_moved_aside_and_what_is_lost_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE).write_bytes(b"no database" * 1000)
    store = StateStore(tmp_path)
    assert store.status.was_lost
    [aside] = store.status.damaged
    assert Path(aside).read_bytes() == b"no database" * 1000
    assert "lost=messages that waited for a backend" in caplog.text
    store.persist_now([entry(1)])
    again = StateStore(tmp_path)
    assert again.load(EntryQueued) == [entry(1)]
    assert not again.status.was_lost


@contextmanager
def read_only_disk(monkeypatch: pytest.MonkeyPatch, directory: Path) -> Iterator[None]:
    """Let no database in this directory be opened for writing; a copy elsewhere can be."""
    opened = SqliteJournal.__init__

    def refuse(journal: SqliteJournal, path: Path, *, migrates: bool = False) -> None:
        if path.parent == directory:
            raise StoreError("the disk is read-only")
        opened(journal, path, migrates=migrates)

    with monkeypatch.context() as patched:
        patched.setattr(SqliteJournal, "__init__", refuse)
        yield


def is_marked(store: StateStore) -> bool:
    """Return True if the memory of signed messages and of dimming commands counts as lost."""
    replays, memories = store.load(ReplayRecord), store.load(DimmingMemory)
    marks = {*(each.provisional for each in replays), *(each.unknown_until is None for each in memories)}
    assert len(marks) <= 1
    return marks == {True}


def test_store_of_new_installation_has_lost_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "last-valid.toml").touch()
    (tmp_path / FOLDER).mkdir()
    for _ in range(2):
        store = StateStore(tmp_path)
        assert not store.status.was_lost
        assert not is_marked(store)
        store.close()
    assert caplog.messages == []


@pytest.mark.parametrize("remains", ["evidence", "evidence.before-20261201T120000Z", "key", "setup"])
def test_removed_store_is_logged_and_its_memory_marked_as_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, remains: str
) -> None:
    if remains in ("key", "setup"):
        (tmp_path / KEY_FILE).touch()
    else:
        (tmp_path / remains).mkdir()
        (tmp_path / remains / "evidence-000000000-2026-11.jsonl").touch()
    if remains == "setup":  # it stores an administrator before a controller runs
        SqliteJournal(tmp_path / FILE).close()
    store = StateStore(tmp_path)
    assert store.status.was_lost
    assert "store file missing" in caplog.text
    assert is_marked(store)
    assert [each.saved for each in store.load(DimmingMemory)] == [pytest.approx(time.time(), abs=HANG_S)]
    store.close()
    again = StateStore(tmp_path)  # e.g. after a start that an invalid policy has ended
    assert not again.status.was_lost
    assert is_marked(again)


def test_damaged_store_marks_memory_as_lost_until_its_users_know_it(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database" * 1000)
    StateStore(tmp_path).close()
    store = StateStore(tmp_path)
    assert is_marked(store)
    store.persist_now([ReplayRecord((), 5.0), DimmingMemory(saved=5.0, unknown_until=5.0)])
    assert not is_marked(StateStore(tmp_path))


@pytest.mark.parametrize("kind", ["dimming", "replay-forgotten", "replay-seen"])
def test_store_with_unreadable_memory_marks_it_as_lost(tmp_path: Path, kind: str) -> None:
    limits = {"dso": LimitSourceMemory()}
    store = StateStore(tmp_path)
    store.persist_now([DimmingMemory(saved=5.0, limits=limits), ReplayRecord((SeenText(b"a", 7.0),), 1.0)])
    store.close()
    with closing(sqlite3.connect(tmp_path / FILE)) as database:
        database.execute("UPDATE entries SET value = CAST('{' AS BLOB) WHERE kind = ?", (kind,))
        database.commit()
    again = StateStore(tmp_path)
    assert is_marked(again)
    [memory] = again.load(DimmingMemory)
    assert memory.limits == ({} if kind == "dimming" else limits)


def test_removed_store_on_read_only_disk_is_marked_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / KEY_FILE).touch()
    with read_only_disk(monkeypatch, tmp_path):
        store = StateStore(tmp_path)
        assert is_marked(store)
        with pytest.raises(StoreError, match="read-only"):
            store.persist_now([entry(1)])
    store.check()
    assert store.status.error == ""
    assert is_marked(StateStore(tmp_path))


def test_store_that_cannot_be_opened_is_read_from_copy_and_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    StateStore(tmp_path).persist_now([entry(1)])
    with closing(sqlite3.connect(tmp_path / FILE)) as reader:  # keeps the write-ahead log in place
        reader.execute("SELECT count(*) FROM entries").fetchone()
        with read_only_disk(monkeypatch, tmp_path):
            store = StateStore(tmp_path)
            assert store.load(EntryQueued) == [entry(1)]
            assert not store.status.was_lost
            store.persist_now([BOOT])
            with pytest.raises(StoreError, match="read-only"):
                store.persist_now([entry(2)])
            store.check()
            assert store.status.kept == 1
    store.check()
    assert store.status.error == ""
    store.persist_now([entry(2)])
    assert StateStore(tmp_path).load(EntryQueued) == [entry(1), entry(2)]
    assert StateStore(tmp_path).load(BootStored) == [BOOT]


def test_store_that_was_unreadable_at_start_is_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    StateStore(tmp_path).persist_now([entry(1)])

    def refuse(journal: SqliteJournal, path: Path, *, migrates: bool = False) -> None:
        raise StoreError("an input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(SqliteJournal, "__init__", refuse)
        store = StateStore(tmp_path)
        assert store.status.was_lost
        assert store.load(EntryQueued) == []
    store.check()
    assert "restart the controller" in store.status.error
    with pytest.raises(StoreError):
        store.persist_now([entry(1)])
    assert StateStore(tmp_path).load(EntryQueued) == [entry(1)]


def test_second_controller_on_same_store_stops_first_from_writing(tmp_path: Path) -> None:
    first = StateStore(tmp_path)
    first.persist_now([entry(1)])
    second = StateStore(tmp_path)
    with pytest.raises(StoreError, match="another controller writes"):
        first.persist_now([entry(2)])
    second.persist_now([entry(3)])
    assert [each.entry.number for each in second.load(EntryQueued)] == [1, 3]


def test_state_store_follow_returns_what_another_process_has_put(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    store.persist_now([BOOT])
    place, found = store.follow(BootStored, 0)
    assert found == [BOOT]
    assert store.follow(BootStored, place) == (place, [])
