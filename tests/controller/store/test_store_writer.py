"""Group commit: which writes share a commit, what each gets of it, and that none waits for ever."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import trio
import trio.testing

from controller.model.journal import Record
from controller.offline.journal_records import LocalListVersion
from controller.store.state_journal import StoreError
from controller.store.store_writer import MOST_GROUPED_RECORDS, StoreWriter
from tests.bounds import HANG_S


class Disk:
    """A disk whose commits end when the test releases them; `commits` are those that it got."""

    def __init__(self) -> None:
        self.commits: list[list[Record]] = []
        self.failing: StoreError | None = None
        self.begun = threading.Event()
        self._may_end = threading.Semaphore(0)

    def commit(self, batch: Sequence[Record]) -> None:
        self.commits.append(list(batch))
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
    with trio.fail_after(HANG_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.run)
            yield writer
            nursery.cancel_scope.cancel()


def records(*versions: int) -> list[Record]:
    return [LocalListVersion("CS01", version) for version in versions]


async def test_store_writer_writes_during_commit_become_one_commit_in_order() -> None:
    disk = Disk()
    async with running(disk.commit) as writer, trio.open_nursery() as writers:
        writers.start_soon(writer.write, records(0))
        await disk.is_busy()
        for number in range(1, 100):
            writers.start_soon(writer.write, records(number))
            await trio.testing.wait_all_tasks_blocked()
        disk.let_end(2)
    assert disk.commits == [records(0), records(*range(1, 100))]


async def test_store_writer_write_returns_after_commit_and_not_before() -> None:
    disk, returned = Disk(), trio.Event()

    async def write() -> None:
        await writer.write(records(1))
        returned.set()

    async with running(disk.commit) as writer, trio.open_nursery() as writers:
        writers.start_soon(write)
        await disk.is_busy()
        await trio.testing.wait_all_tasks_blocked()
        assert not returned.is_set()
        disk.let_end()
    assert returned.is_set()


async def test_failed_commit_fails_each_write_in_it_and_no_later_one() -> None:
    disk, outcomes = Disk(), []
    disk.failing = StoreError("state.sqlite: disk is full")

    async def write(number: int) -> None:
        try:
            await writer.write(records(number))
        except StoreError as failed:
            outcomes.append((number, str(failed)))

    async with running(disk.commit) as writer:
        async with trio.open_nursery() as writers:
            writers.start_soon(write, 0)
            await disk.is_busy()
            for number in (1, 2):
                writers.start_soon(write, number)
            await trio.testing.wait_all_tasks_blocked()
            disk.let_end(4)  # the first, both together, and each of these by itself
        assert sorted(outcomes) == [(number, "state.sqlite: disk is full") for number in range(3)]
        disk.failing = None
        disk.let_end()
        await writer.write(records(3))
    assert disk.commits[-1] == records(3)


async def test_failed_group_fails_no_write_that_succeeds_by_itself() -> None:
    """The store keeps some records in memory while it cannot be written, but no group with others in it."""
    failed, begun, may_end = [], threading.Event(), threading.Event()

    def commit(batch: Sequence[Record]) -> None:
        begun.set()
        assert may_end.wait(HANG_S)
        if any(each in batch for each in records(2)):
            raise StoreError("state.sqlite: disk is full")

    async def write(number: int) -> None:
        try:
            await writer.write(records(number))
        except StoreError:
            failed.append(number)

    async with running(commit) as writer, trio.open_nursery() as writers:
        writers.start_soon(write, 0)
        assert await trio.to_thread.run_sync(begun.wait, HANG_S)
        for number in (1, 2, 3):
            writers.start_soon(write, number)
        await trio.testing.wait_all_tasks_blocked()
        may_end.set()
    assert failed == [2]


async def test_group_of_commits_is_bounded() -> None:
    disk = Disk()
    async with running(disk.commit) as writer, trio.open_nursery() as writers:
        writers.start_soon(writer.write, records(0))
        await disk.is_busy()
        for _ in range(3):
            writers.start_soon(writer.write, records(*range(MOST_GROUPED_RECORDS)))
        await trio.testing.wait_all_tasks_blocked()
        disk.let_end(4)
    assert [len(commit) for commit in disk.commits] == [
        1,
        MOST_GROUPED_RECORDS,
        MOST_GROUPED_RECORDS,
        MOST_GROUPED_RECORDS,
    ]


async def test_write_of_nothing_returns_at_once() -> None:
    with trio.fail_after(1):
        await StoreWriter(Disk().commit).write([])


async def test_write_fails_if_writer_stops_before_it_or_has_stopped() -> None:
    disk, outcomes = Disk(), []
    writer = StoreWriter(disk.commit)

    async def write(number: int) -> None:
        try:
            await writer.write(records(number))
            outcomes.append((number, "written"))
        except StoreError as failed:
            outcomes.append((number, str(failed)))

    with trio.fail_after(HANG_S):
        async with trio.open_nursery() as writers, trio.open_nursery() as nursery:
            nursery.start_soon(writer.run)
            writers.start_soon(write, 0)
            await disk.is_busy()
            writers.start_soon(write, 1)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
            disk.let_end()
        await write(2)
    assert [number for number, how in outcomes if "stopping" in how] == [1, 2]
    assert (0, "written") in outcomes  # its commit had begun, and so it was waited for


async def test_cancelled_write_holds_up_no_other() -> None:
    disk = Disk()
    async with running(disk.commit) as writer, trio.open_nursery() as writers:
        writers.start_soon(writer.write, records(0))
        await disk.is_busy()
        async with trio.open_nursery() as impatient:
            impatient.start_soon(writer.write, records(1))
            await trio.testing.wait_all_tasks_blocked()
            impatient.cancel_scope.cancel()
        writers.start_soon(writer.write, records(2))
        await trio.testing.wait_all_tasks_blocked()
        disk.let_end(2)
    assert records(2)[0] in disk.commits[1]
