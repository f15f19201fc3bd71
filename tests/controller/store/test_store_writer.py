"""Group commit: who shares a wait for the disk, who hears what of it, and that nobody waits for ever."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from controller.model.journal import Record
from controller.ocpp.frames import Version
from controller.offline.journal_records import (
    EntryQueued,
    LocalListVersion,
    OutboxEntry,
    RecordKind,
)
from controller.store.database import StoreError
from controller.store.relay_store import FILE, RelayStore
from controller.store.store_writer import MOST_WORDS, StoreWriter


class Disk:
    """A disk whose commits end when the test lets them: `commits` are those that it has been given."""

    def __init__(self) -> None:
        self.commits: list[list[Record]] = []
        self.failing: StoreError | None = None
        self.begun = threading.Event()
        self._may_end = threading.Semaphore(0)

    def commit(self, words: Sequence[Record]) -> None:
        self.commits.append(list(words))
        self.begun.set()
        assert self._may_end.acquire(timeout=5)
        if self.failing is not None:
            raise self.failing

    def let_end(self, commits: int = 1) -> None:
        self._may_end.release(commits)

    async def is_busy(self) -> None:
        assert await trio.to_thread.run_sync(self.begun.wait, 5)
        self.begun.clear()


@asynccontextmanager
async def running(commit: Callable[[Sequence[Record]], None]) -> AsyncIterator[StoreWriter]:
    writer = StoreWriter(commit)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.run)
            yield writer
            nursery.cancel_scope.cancel()


def words(*versions: int) -> list[Record]:
    return [LocalListVersion("CS01", version) for version in versions]


async def test_what_comes_while_the_disk_is_busy_is_one_commit_in_order() -> None:
    disk = Disk()
    async with running(disk.commit) as writer, trio.open_nursery() as writers:
        writers.start_soon(writer.write, words(0))
        await disk.is_busy()
        for number in range(1, 100):
            writers.start_soon(writer.write, words(number))
            await trio.testing.wait_all_tasks_blocked()
        disk.let_end(2)
    assert disk.commits == [words(0), words(*range(1, 100))]


async def test_nobody_hears_of_a_success_before_it_is_one() -> None:
    disk, heard = Disk(), trio.Event()

    async def write() -> None:
        await writer.write(words(1))
        heard.set()

    async with running(disk.commit) as writer, trio.open_nursery() as writers:
        writers.start_soon(write)
        await disk.is_busy()
        await trio.testing.wait_all_tasks_blocked()
        assert not heard.is_set()
        disk.let_end()
    assert heard.is_set()


async def test_a_failure_is_told_to_everybody_in_the_commit_and_to_nobody_after() -> None:
    disk, told = Disk(), []
    disk.failing = StoreError("relay.sqlite: disk is full")

    async def write(number: int) -> None:
        try:
            await writer.write(words(number))
        except StoreError as failed:
            told.append((number, str(failed)))

    async with running(disk.commit) as writer:
        async with trio.open_nursery() as writers:
            writers.start_soon(write, 0)
            await disk.is_busy()
            for number in (1, 2):
                writers.start_soon(write, number)
            await trio.testing.wait_all_tasks_blocked()
            disk.let_end(2)
        assert sorted(told) == [(number, "relay.sqlite: disk is full") for number in range(3)]
        disk.failing = None
        disk.let_end()
        await writer.write(words(3))
    assert disk.commits[-1] == words(3)


async def test_a_group_has_an_end() -> None:
    disk = Disk()
    async with running(disk.commit) as writer, trio.open_nursery() as writers:
        writers.start_soon(writer.write, words(0))
        await disk.is_busy()
        for _ in range(3):
            writers.start_soon(writer.write, words(*range(MOST_WORDS)))
        await trio.testing.wait_all_tasks_blocked()
        disk.let_end(4)
    assert [len(commit) for commit in disk.commits] == [1, MOST_WORDS, MOST_WORDS, MOST_WORDS]


async def test_nothing_to_write_waits_for_nothing() -> None:
    with trio.fail_after(1):
        await StoreWriter(Disk().commit).write([])


async def test_who_waits_when_the_writer_stops_is_told_so_and_who_comes_after() -> None:
    disk, told = Disk(), []
    writer = StoreWriter(disk.commit)

    async def write(number: int) -> None:
        try:
            await writer.write(words(number))
            told.append((number, "written"))
        except StoreError as failed:
            told.append((number, str(failed)))

    with trio.fail_after(10):
        async with trio.open_nursery() as writers, trio.open_nursery() as nursery:
            nursery.start_soon(writer.run)
            writers.start_soon(write, 0)
            await disk.is_busy()
            writers.start_soon(write, 1)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
            disk.let_end()
        await write(2)
    assert [number for number, how in told if "stopping" in how] == [1, 2]
    assert (0, "written") in told  # its commit had begun, and so it was waited for


async def test_one_who_loses_patience_holds_up_nobody() -> None:
    disk = Disk()
    async with running(disk.commit) as writer, trio.open_nursery() as writers:
        writers.start_soon(writer.write, words(0))
        await disk.is_busy()
        async with trio.open_nursery() as impatient:
            impatient.start_soon(writer.write, words(1))
            await trio.testing.wait_all_tasks_blocked()
            impatient.cancel_scope.cancel()
        writers.start_soon(writer.write, words(2))
        await trio.testing.wait_all_tasks_blocked()
        disk.let_end(2)
    assert words(2)[0] in disk.commits[1]


# -- with the file itself ---------------------------------------------------------------------------


def entry(number: int, payload: bytes = b"{}") -> EntryQueued:
    waiting = OutboxEntry(
        number=number,
        id=f"m{number}",
        version=Version.V16,
        action="StopTransaction",
        payload=payload,
        kind=RecordKind.TRANSACTION,
        taken=1.0,
    )
    return EntryQueued("CS01", "cpo", waiting)


async def test_what_was_written_is_there_for_the_next_start(tmp_path: Path) -> None:
    async with running(RelayStore(tmp_path).write) as writer:
        async with trio.open_nursery() as writers:
            for number in range(1, 50):
                writers.start_soon(writer.write, [entry(number)])
        # a copy, as a crash would leave the files: nothing was closed, and nobody has said good-bye
        other = sqlite3.connect(f"file:{tmp_path / FILE}?mode=ro", uri=True)
        assert other.execute("SELECT count(*) FROM outbox").fetchone() == (49,)
        other.close()


async def test_a_full_disk_takes_nothing_of_a_group_and_is_left_behind(tmp_path: Path) -> None:
    store = RelayStore(tmp_path)
    store.write([entry(1)])
    database = store._database
    ((pages,),) = database.rows("PRAGMA page_count")
    database.rows(f"PRAGMA max_page_count = {pages}")
    async with running(store.write) as writer:
        with pytest.raises(StoreError, match="full"):
            await writer.write([entry(2), entry(3, b"x" * 100_000)])
        assert [
            word.entry.number for word in store.load("CS01").records if isinstance(word, EntryQueued)
        ] == [1]
        database.rows("PRAGMA max_page_count = 100000")
        await writer.write([entry(2), entry(3, b"x" * 100_000)])
    assert len(RelayStore(tmp_path).load("CS01").records) == 3
