"""Writer task that commits queued records: many stations share each wait for the disk.

    write("a") --+            +-- commit(a) --+   +-- commit(b, c, d) --+
    write("b") --+--queue-----+               +---+                     +---> each writer gets its outcome
    write("c") --+            while it runs, b, c and d gather

There is no timer: a lone batch waits for no other, and under load the disk's own pace makes the groups. A
group that fails is committed batch by batch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import trio

from controller.model.journal import Record
from controller.store.state_journal import StoreError

MOST_QUEUED_BATCHES = 4096
"""Batches in the queue; a writer waits for a free place."""

MOST_GROUPED_RECORDS = 2000
"""Records after which a group is full: this bounds the time that a commit takes."""


class _Batch:
    """Records whose writer waits; once `done` is set, `failure` is None if they are durable."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self.done = trio.Event()
        self.failure: StoreError | None = None

    def finish(self, failure: StoreError | None) -> None:
        """Set the outcome, and wake the waiting task."""
        self.failure = failure
        self.done.set()


class StoreWriter:
    """Commits batches in groups by `commit`, which runs in a thread.

    `commit` makes all of its records durable, or none and raises StoreError.
    """

    def __init__(self, commit: Callable[[Sequence[Record]], None]) -> None:
        self._commit = commit
        self._entrance, self._queue = trio.open_memory_channel[_Batch](MOST_QUEUED_BATCHES)

    async def write(self, records: Sequence[Record]) -> None:
        """Wait until `run` has made the records durable, or ends.

        Raises StoreError if none of them is durable. After a cancellation they may be durable or not.
        """
        if not records:
            return
        batch = _Batch(records)
        try:
            self._entrance.send_nowait(batch)
        except trio.WouldBlock:
            await self._wait_entered(batch)
        except trio.BrokenResourceError:
            raise _stopping() from None
        await batch.done.wait()
        if batch.failure is not None:
            raise StoreError(str(batch.failure)) from batch.failure

    async def _wait_entered(self, batch: _Batch) -> None:
        """Wait until a full queue has taken the batch. Raises StoreError."""
        try:
            await self._entrance.send(batch)
        except trio.BrokenResourceError:
            raise _stopping() from None

    def request_commit(self) -> None:
        """Have `run` call `commit` soon, also without any records. A full queue already does so."""
        with contextlib.suppress(trio.WouldBlock, trio.BrokenResourceError):
            self._entrance.send_nowait(_Batch(()))

    async def run(self) -> None:
        """Commit until cancelled. Batches that have not begun by then fail."""
        try:
            while True:
                await self._commit_group(self._collect_group(await self._queue.receive()))
        finally:
            self._fail_queued()

    def _collect_group(self, first: _Batch) -> list[_Batch]:
        """Return all that waits, up to a full group."""
        group, size = [first], len(first.records)
        while size < MOST_GROUPED_RECORDS:
            try:
                group.append(self._queue.receive_nowait())
            except trio.WouldBlock:
                break
            size += len(group[-1].records)
        return group

    async def _commit_group(self, group: list[_Batch]) -> None:
        """Commit a group as a whole; a cancellation waits for the outcome.

        If that fails, each batch is committed by itself: one may be kept in memory where another cannot.
        """
        with trio.CancelScope(shield=True):
            failure = await self._try_commit([record for batch in group for record in batch.records])
            for batch in group:
                is_retried = failure is not None and len(group) > 1
                batch.finish(await self._try_commit(batch.records) if is_retried else failure)

    async def _try_commit(self, records: Sequence[Record]) -> StoreError | None:
        """Commit records in a thread; return why they could not be."""
        try:
            await trio.to_thread.run_sync(self._commit, records)
        except StoreError as error:
            return error
        return None

    def _fail_queued(self) -> None:
        while True:
            try:
                self._queue.receive_nowait().finish(_stopping())
            except trio.WouldBlock:
                break
        self._queue.close()


def _stopping() -> StoreError:
    return StoreError("the controller is stopping and writes nothing more")
