"""One epoll set for all sockets of a trio run: which of them can be read or written.

Trio registers a socket again for each wait, and wakes a task for it. Here each is registered once
(edge-triggered), one task waits for the whole set and runs the reader's callback itself, so that a message
which is relayed wakes no other task. With hundreds of stations that is a third of a message's cost.

What the callbacks send is sent when all sockets of a batch have been read: their peers are woken once for
all of it, and frames for one peer go together. A send on its own costs half as much again. Work that no
message waits for, as load management's on what a station has reported, follows the sends.
"""

from __future__ import annotations

import select
import socket
from collections import deque
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

BATCH = 64
"""Sockets that are read before what follows from them is sent: it waits for less than 2 ms."""

BATCHES = 4
"""Batches in a row before other tasks run: fewer system calls while messages keep coming."""


class FdWatcher:
    """Readiness of one socket; at most one task waits to read and one to write.

    `is_readable`: data may be there; the reader that finds none resets it, and epoll sets it again.
    `is_ending`: the peer has closed its direction, nothing follows the data that is there.
    """

    __slots__ = (
        "_failure",
        "_file",
        "_poller",
        "_read",
        "_reader",
        "_writer",
        "is_ending",
        "is_readable",
    )

    def __init__(self, poller: Poller, sock: socket.socket) -> None:
        self.is_readable = True
        self.is_ending = False
        self._poller = poller
        self._file = sock.fileno()
        self._failure: BaseException | None = None
        """Error that is raised in the next task that waits to read."""
        self._read: Callable[[], object] | None = None
        self._reader: Task | None = None
        self._writer: Task | None = None
        poller.add(self._file, self)

    async def wait_read(self, read: Callable[[], T | None]) -> T:
        """Call `read` whenever data came, until it returns a value or raises: both end the wait.

        `read` runs in the poller's task. Raises trio.ClosedResourceError once the socket is closed.
        """
        if self._file < 0:
            raise trio.ClosedResourceError
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        self._reader, self._read = current_task(), read
        return cast(T, await wait_task_rescheduled(self._abort_read))

    async def wait_writable(self) -> None:
        """Wait until there may be room to write. Raises trio.ClosedResourceError once it is closed."""
        if self._file < 0:
            raise trio.ClosedResourceError
        # Most sockets never wait: only now are they watched for it. Room that is there already is reported.
        self._poller.watch_writing(self._file)
        self._writer = current_task()
        await wait_task_rescheduled(self._abort_write)

    def _abort_read(self, _: RaiseCancelT) -> Abort:
        self._reader = self._read = None
        return Abort.SUCCEEDED

    def _abort_write(self, _: RaiseCancelT) -> Abort:
        self._writer = None
        return Abort.SUCCEEDED

    def defer(self, send: Callable[[], object]) -> bool:
        """Let the poller call `send` after the present batch; return False, with nothing done, without one.

        What `send` raises is raised in the task that waits to read, or in the next one.
        """
        poller = self._poller
        if not poller.is_dispatching:
            return False
        poller.deferred.append((self, send))
        return True

    def dispatch(self, events: int) -> None:
        """Handle epoll events: run the reader's callback and wake the writer."""
        if events & READ:
            self.is_readable = True
            if events & ENDING:
                self.is_ending = True
            if self._read is not None:
                try:
                    found = self._read()
                except BaseException as error:  # noqa: BLE001  # raised in the task that waits
                    self._end_read(outcome.Error(error))
                else:
                    if found is not None:  # not so for a message that passes: no task is woken
                        self._end_read(outcome.Value(found))
        if events & WRITE and self._writer is not None:
            reschedule(self._writer)
            self._writer = None

    def fail(self, error: BaseException) -> None:
        """Raise an error in the task that waits to read, or in the next one that does."""
        if self._reader is None:
            self._failure = error
        else:
            self._end_read(outcome.Error(error))

    def _end_read(self, found: outcome.Outcome[object]) -> None:
        """Wake the reader, unless the callback has cancelled it: then it has been rescheduled already."""
        if self._reader is not None:
            reschedule(self._reader, found)
            self._reader = self._read = None

    def close(self) -> None:
        """Unregister before the socket closes; waiting tasks get trio.ClosedResourceError."""
        if self._file < 0:
            return
        self._poller.remove(self._file)
        self._file = -1
        for task in (self._reader, self._writer):
            if task is not None:
                reschedule(task, outcome.Error(trio.ClosedResourceError()))
        self._reader = self._read = self._writer = None


class Poller:
    """One edge-triggered epoll set for all watched sockets of a trio run."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watchers: dict[int, FdWatcher] = {}
        self.is_dispatching = False
        """True while the sockets of a batch are read."""
        self.deferred: list[tuple[FdWatcher, Callable[[], object]]] = []
        """Sends that wait for the end of the batch, each with the watcher of its socket."""
        self._following: deque[tuple[FdWatcher, Callable[[], object]]] = deque()
        """Calls that wait for these sends, each with the watcher that was dispatched."""
        self._dispatched: FdWatcher | None = None

    def add(self, file: int, watcher: FdWatcher) -> None:
        """Register a file descriptor."""
        self._watchers[file] = watcher
        self._epoll.register(file, READ | select.EPOLLET)

    def watch_writing(self, file: int) -> None:
        """Report once when a file descriptor can be written, at once if it can be now."""
        self._epoll.modify(file, READ | WRITE | select.EPOLLET)

    def remove(self, file: int) -> None:
        """Unregister a file descriptor."""
        del self._watchers[file]
        self._epoll.unregister(file)

    def call_after_sends(self, follow: Callable[[], object]) -> None:
        """Call `follow` once the sends of the present batch are made; at once without a batch."""
        if self._dispatched is None:
            follow()
        else:
            self._following.append((self._dispatched, follow))

    async def run(self) -> None:
        """Dispatch events to the watchers for as long as trio runs."""
        try:
            while True:
                await wait_readable(self._epoll)
                self._dispatch_batches()
        finally:
            self._epoll.close()

    def _dispatch_batches(self) -> None:
        """Read the sockets that are ready, then send what follows, until none is ready or after BATCHES.

        What follows the sends is called one by one: sockets that become ready meanwhile are read in between.
        All of it has been called when this returns, so that nothing that a task reports comes before it.
        """
        for _ in range(BATCHES):
            while not (events := self._epoll.poll(0, BATCH)):
                if not self._following:
                    return
                _call_each([self._following.popleft()])
            self.is_dispatching = True
            for file, ready in events:
                # A callback may close sockets that have events further on in the batch.
                if (watcher := self._watchers.get(file)) is not None:
                    self._dispatched = watcher
                    watcher.dispatch(ready)
            self._dispatched, self.is_dispatching = None, False
            if self.deferred:
                deferred, self.deferred = self.deferred, []
                _call_each(deferred)
        while self._following:
            _call_each([self._following.popleft()])


def _call_each(calls: list[tuple[FdWatcher, Callable[[], object]]]) -> None:
    for watcher, call in calls:
        try:
            call()
        except BaseException as error:  # noqa: BLE001  # as in `dispatch`
            watcher.fail(error)


_poller: RunVar[Poller] = RunVar("controller.transport.poller")


def watch_socket(sock: socket.socket) -> FdWatcher:
    """Register a socket with the poller of the present trio run, which is started if it is the first."""
    try:
        poller = _poller.get()
    except LookupError:
        poller = Poller()
        _poller.set(poller)
        spawn_system_task(poller.run)
    return FdWatcher(poller, sock)


def call_after_sends(follow: Callable[[], object]) -> None:
    """Call `follow` once what the present batch sends is sent; at once outside of the poller's batches.

    What it raises is raised in the task that reads the socket whose data led to the call.
    """
    try:
        poller = _poller.get()
    except LookupError:  # no socket is watched
        follow()
    else:
        poller.call_after_sends(follow)
