"""One thread that commits what has gathered: many stations share each wait for the disk.

    write("a") --+            +-- commit(a) --+   +-- commit(b, c, d) --+
    write("b") --+--queue-----+               +---+                     +---> each hears of its own
    write("c") --+            while it runs, b, c and d gather

There is no timer: a lone word waits for nobody, and under load the disk's own pace makes the groups.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from controller.model.journal import Record
from controller.store.database import StoreError

MOST_WAITING = 4096
"""Writes in the queue; further ones wait for a place there."""

MOST_WORDS = 2000
"""Words after which a group is full: it bounds the time that a commit takes."""


class _Write:
    """Words whose writer waits. Once `done`, `failed` says whether they are on disk."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self.done = trio.Event()
        self.failed: StoreError | None = None

    def end(self, failed: StoreError | None) -> None:
        """Let its writer go on."""
        self.failed = failed
        self.done.set()


class StoreWriter:
    """Commits by `commit`, which is called in a thread, makes all of its records durable or none, and
    raises StoreFailed for the latter.
    """

    def __init__(self, commit: Callable[[Sequence[Record]], None]) -> None:
        self._commit = commit
        self._entrance, self._queue = trio.open_memory_channel[_Write](MOST_WAITING)

    async def write(self, records: Sequence[Record]) -> None:
        """Write these; they are on disk when it returns. Waits for `run`, and ends with it.

        Raises StoreFailed where they are not on disk, none of them. If it is cancelled they may be or not.
        """
        if not records:
            return
        write = _Write(records)
        try:
            await self._entrance.send(write)
        except trio.BrokenResourceError:
            raise _closed() from None
        await write.done.wait()
        if write.failed is not None:
            raise StoreError(str(write.failed)) from write.failed

    async def run(self) -> None:
        """Commit until cancelled. What has not begun by then is told to have failed."""
        try:
            while True:
                await self._do(self._gathered(await self._queue.receive()))
        finally:
            self._close()

    def _gathered(self, first: _Write) -> list[_Write]:
        """All that waits, up to a full group."""
        group, records = [first], len(first.records)
        while records < MOST_WORDS:
            try:
                group.append(self._queue.receive_nowait())
            except trio.WouldBlock:
                break
            records += len(group[-1].records)
        return group

    async def _do(self, group: list[_Write]) -> None:
        """One commit. It is not left half way: who has begun to write hears how it ended."""
        records = [word for write in group for word in write.records]
        failed: StoreError | None = None
        with trio.CancelScope(shield=True):
            try:
                await trio.to_thread.run_sync(self._commit, records)
            except StoreError as failure:
                failed = failure
        for write in group:
            write.end(failed)

    def _close(self) -> None:
        while True:
            try:
                self._queue.receive_nowait().end(_closed())
            except trio.WouldBlock:
                break
        self._queue.close()


def _closed() -> StoreError:
    return StoreError("the controller is stopping, and writes nothing any more")
