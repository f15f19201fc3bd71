"""Which sockets have something to read, or room to write: one epoll set for all of them, under trio.

Trio arms a socket for each wait anew, and wakes a task for it. Here each is armed once and for good
(edge-triggered), one task waits for all of them, and reads in their place: a message that is relayed wakes
no other task. With hundreds of stations that is a third of all that a message costs.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from typing import TypeVar, cast

import outcome
import trio
from trio.lowlevel import (
    Abort,
    RaiseCancelT,
    RunVar,
    Task,
    current_task,
    reschedule,
    spawn_system_task,
    wait_readable,
    wait_task_rescheduled,
)

T = TypeVar("T")

ENDING = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
READ = select.EPOLLIN | ENDING
WRITE = select.EPOLLOUT | select.EPOLLHUP | select.EPOLLERR


class FdWatcher:
    """What is known of one socket. One task at a time waits to read, one to write.

    `is_readable`: something may have come; whoever finds nothing takes that back, and is told when there
    is. `is_ending`: nothing more will come than what there is.
    """

    def __init__(self, hub: Poller, sock: socket.socket) -> None:
        self.is_readable = True
        self.is_ending = False
        self._has_room = True
        self._hub = hub
        self._file = sock.fileno()
        self._read: Callable[[], object] | None = None
        self._reader: Task | None = None
        self._writer: Task | None = None
        hub.add(self._file, self)

    async def until_read(self, read: Callable[[], T | None]) -> T:
        """Call `read` each time something has come, until it gives something, or raises: both come out here.

        It is called from another task. Raises trio.ClosedResourceError once the socket is closed.
        """
        if self._file < 0:
            raise trio.ClosedResourceError
        self._reader, self._read = current_task(), read
        return cast(T, await wait_task_rescheduled(self._reads_no_more))

    async def has_room(self) -> None:
        """Wait until there may be room to write. Raises trio.ClosedResourceError where it is closed."""
        if self._file < 0:
            raise trio.ClosedResourceError
        if self._has_room:
            self._has_room = False
        else:
            self._writer = current_task()
            await wait_task_rescheduled(self._writes_no_more)

    def _reads_no_more(self, _: RaiseCancelT) -> Abort:
        self._reader = self._read = None
        return Abort.SUCCEEDED

    def _writes_no_more(self, _: RaiseCancelT) -> Abort:
        self._writer = None
        return Abort.SUCCEEDED

    def happened(self, events: int) -> None:
        """Let it be read, and written."""
        if events & READ:
            self.is_readable = True
            self.is_ending |= bool(events & ENDING)
            if self._read is not None:
                found = outcome.capture(self._read)
                if self._reader is not None and (isinstance(found, outcome.Error) or found.value is not None):
                    reschedule(self._reader, found)
                    self._reader = self._read = None
        if events & WRITE:
            if self._writer is None:
                self._has_room = True
            else:
                reschedule(self._writer)
                self._writer = None

    def close(self) -> None:
        """Before its socket closes; who waits is woken with trio.ClosedResourceError."""
        if self._file < 0:
            return
        self._hub.remove(self._file)
        self._file = -1
        for task in (self._reader, self._writer):
            if task is not None:
                reschedule(task, outcome.Error(trio.ClosedResourceError()))
        self._reader = self._read = self._writer = None


class Poller:
    """One edge-triggered epoll set for all watched sockets of a trio run."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watches: dict[int, FdWatcher] = {}

    def add(self, file: int, watch: FdWatcher) -> None:
        """Register a file descriptor."""
        self._watches[file] = watch
        self._epoll.register(file, READ | WRITE | select.EPOLLET)

    def remove(self, file: int) -> None:
        """Unregister a file descriptor."""
        del self._watches[file]
        self._epoll.unregister(file)

    async def run(self) -> None:
        """Tell what happens to whom it concerns, for as long as trio runs."""
        try:
            while True:
                await wait_readable(self._epoll)
                for file, events in self._epoll.poll(0):
                    if (watch := self._watches.get(file)) is not None:  # another may have closed it just now
                        watch.happened(events)
        finally:
            self._epoll.close()


_hub: RunVar[Poller] = RunVar("controller.transport.poller")


def watch_socket(sock: socket.socket) -> FdWatcher:
    """Watch a socket of the present run of trio."""
    try:
        hub = _hub.get()
    except LookupError:
        hub = Poller()
        _hub.set(hub)
        spawn_system_task(hub.run)
    return FdWatcher(hub, sock)
