"""The durable state of the controller: what was stored before, and the one writer of what is to be stored.

A store that cannot be written ends nothing. What may be kept in memory is kept there, and stored with the
first commit that succeeds again; for everything else the caller gets a StoreError and follows
`record_rules`. The state of the store is part of `status`, of the metrics and of the log.

    store = StateStore(Path("/var/lib/local-controller"))
    limits = store.load(LimitStored)
    await store.persist([record, ...])     # durable, or kept, or StoreError
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
import trio

from controller.model.journal import Record, StoreState
from controller.store.disk_space import DiskSpace, read_disk_space
from controller.store.legacy_files import LegacyFiles
from controller.store.memory_loss import is_memory_readable, mark_memory_lost
from controller.store.record_rules import can_be_kept, changes_of, kind_of_type, read_entry
from controller.store.rule_types import key_prefix
from controller.store.sqlite_journal import FILE, DamagedFileError, SqliteJournal, move_aside
from controller.store.state_journal import (
    Change,
    Delete,
    DeleteBelow,
    Journal,
    JournalEntry,
    KeepLast,
    Put,
    StoreError,
)
from controller.store.store_files import has_remains
from controller.store.store_writer import StoreWriter
from drivers.coded_text import text_of

log = logging.getLogger("controller.store")

RETRY_S = 2.0
"""Interval of checks of the file, and between two tries to write to a store that failed."""

LOST_WITH_STATE = (
    "messages that waited for a backend, transactions among them; limits of the stations, which count at "
    "their worst case; charging profiles of backends; what is known of drivers; the memory of signed "
    "messages and of dimming commands"
)

Stored = TypeVar("Stored", bound=Record)


class StoreStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the store.

    `error`: why it cannot be written, since `failing_since` (POSIX s); empty and None if it can. `kept`:
    number of changes that are in memory alone. `damaged`: where files that were found damaged are now.
    `was_lost`: there was a state before this start, and it cannot be read. `space`: of its disk, None where
    unknown, and `is_low`: too little of it is free.
    """

    error: str = ""
    failing_since: float | None = None
    kept: int = 0
    damaged: tuple[str, ...] = ()
    was_lost: bool = False
    space: DiskSpace | None = None
    is_low: bool = False


class StateStore:
    """The state in a directory. Opening it raises nothing: what cannot be read is logged and reported.

    `load` and `persist_now` may be called from any thread; `run` must run for `persist` to return and for
    what `persist_soon` takes to become durable.
    """

    def __init__(
        self,
        directory: Path,
        utc: Callable[[], float] = time.time,
        read_space: Callable[[Path], DiskSpace | None] = read_disk_space,
    ) -> None:
        self.state = StoreState()
        self._directory = directory
        self._read_space = read_space
        self._space: DiskSpace | None = None
        self._is_low = False
        self._path = directory / FILE
        self._utc = utc
        self._lock = threading.Lock()
        """Held while the journal is written: for as long as the disk takes."""
        self._revisions: Counter[str] = Counter()
        """Number of changes of each kind of record since the start."""
        self._kept_lock = threading.Lock()
        """Held while `_kept` is read or changed: never for longer."""
        self._kept: dict[tuple[str, str, str], Change] = {}
        """Changes that wait for a commit, by operation, kind and key, the oldest first."""
        self._error = ""
        self._failing_since: float | None = None
        self._damaged: list[str] = []
        self._was_lost = False
        self._has_remains = has_remains(directory)
        """True if a controller has run here before this start."""
        self._is_marked = False
        """True once the memory of received messages is marked as lost: its users may end that at any time."""
        self._journal: Journal | None = None
        self._copy: SqliteJournal | None = None
        """A copy of a store that can be read but not opened for writing."""
        self._token = 0
        self._writer = StoreWriter(self._persist_batch)
        self._open()

    @property
    def status(self) -> StoreStatus:
        """Return the state of the store now."""
        return StoreStatus(
            error=self._error,
            failing_since=self._failing_since,
            kept=len(self._kept),
            damaged=tuple(self._damaged),
            was_lost=self._was_lost,
            space=self._space,
            is_low=self._is_low,
        )

    def load(self, record_type: type[Stored], *prefixes: str) -> list[Stored]:
        """Return the records of a type whose keys begin with one of `prefixes`, the oldest first.

        Without a prefix, all records of the type. Raises StoreError if the file can no longer be read.
        """
        source, kind = self._journal or self._copy, kind_of_type(record_type)
        entries = [] if source is None else source.load(kind, *prefixes)
        with self._kept_lock:
            entries = self._with_kept(entries, kind, prefixes or ("",))
        records = map(read_entry, entries)
        return [record for record in records if isinstance(record, record_type)]

    def load_all(self, record_types: Iterable[type[Record]], *members: str | int) -> list[Record]:
        """Return the stored records of these types whose keys begin with `members`. Raises StoreError."""
        prefix = key_prefix(*members)
        return [record for record_type in record_types for record in self.load(record_type, prefix)]

    def revision(self, *record_types: type[Record]) -> int:
        """Return a number that rises with each change of records of these types since the start."""
        return sum(self._revisions[kind_of_type(each)] for each in record_types)

    def _with_kept(
        self, entries: list[JournalEntry], kind: str, prefixes: tuple[str, ...]
    ) -> list[JournalEntry]:
        """Return the entries as they will be once the kept changes are written."""
        for change in self._kept.values():
            match change:
                case Put(kind=put, key=key, value=value) if put == kind and key.startswith(prefixes):
                    entries = [each for each in entries if each.key != key]
                    entries.append(JournalEntry(0, kind, key, value))
                case Delete(kind=deleted, key=key) if deleted == kind:
                    entries = [each for each in entries if each.key != key]
                case DeleteBelow(kind=deleted, key=key) if deleted == kind:
                    entries = [each for each in entries if each.key >= key]
                case KeepLast(kind=trimmed, count=count) if trimmed == kind:
                    last = {each.key for each in sorted(entries, key=lambda each: each.key)[-count:]}
                    entries = [each for each in entries if each.key in last]
        return entries

    async def persist(self, records: Sequence[Record]) -> None:
        """Make records durable, all or none, or keep them in memory where `record_rules` allows it.

        Waits for `run`, and ends with it. Raises StoreError if the records are neither.
        """
        await self._writer.write(records)

    def persist_soon(self, records: Sequence[Record]) -> None:
        """Make records durable with the next commit, while the caller goes on.

        Only for records that may be kept in memory: a failure of the store keeps them there. What must be
        durable before something else happens is for `persist`. Raises ValueError for other records.
        """
        if unfit := {type(each).__name__ for each in records if not can_be_kept(each)}:
            raise ValueError(f"records that cannot be kept in memory: {', '.join(sorted(unfit))}")
        changes = changes_of(records)
        self._revisions.update(each.kind for each in changes)
        self._keep(changes)
        self._writer.request_commit()

    def persist_now(self, records: Sequence[Record]) -> None:
        """Make records durable in the calling thread, which waits for the disk. Raises StoreError.

        For a start, when `run` does not run yet, and for threads and processes without an event loop.
        """
        self._persist_batch(records)

    async def run(self, on_request: Callable[[], None] = lambda: None) -> None:
        """Write, watch the file and retry until cancelled; `on_request` is called every RETRY_S."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._writer.run)
                while True:
                    await trio.sleep(RETRY_S)
                    await trio.to_thread.run_sync(self.check)
                    on_request()
        finally:
            self.check()  # what `persist_soon` has taken since the last commit

    def follow(self, record_type: type[Stored], after: int) -> tuple[int, list[Stored]]:
        """Return the records that anybody has put since `after`, and the new value for `after`."""
        if self._journal is None:
            return after, []
        try:
            entries = self._journal.follow(kind_of_type(record_type), after)
        except StoreError:
            return after, []  # `check` reports it
        records = [record for entry in entries if isinstance(record := read_entry(entry), record_type)]
        return max([after, *(entry.place for entry in entries)]), records

    def check(self) -> None:
        """Write what was kept if the store failed before, notice a removed file, and read the free space."""
        self._space = self._read_space(self._directory)
        self._is_low = self._space is not None and self._space.is_low(was_low=self._is_low)
        with self._lock:
            try:
                if self._journal is None:
                    self._reopen()
                elif self._failing_since is not None or self._kept or not self._path.exists():
                    self._commit([])
            except StoreError as error:
                self._note_failure(error)

    def close(self) -> None:
        """Close the file."""
        for journal in (self._journal, self._copy):
            if journal is not None:
                journal.close()

    # -- writing ------------------------------------------------------------------------------------

    def _persist_batch(self, records: Sequence[Record]) -> None:
        changes = changes_of(records)
        self._revisions.update(each.kind for each in changes)
        with self._lock:
            if not changes and not self._kept:
                return
            try:
                self._commit(changes)
            except StoreError as error:
                self._note_failure(error)
                if not all(map(can_be_kept, records)):
                    raise
                self._keep(changes)

    def _commit(self, changes: Sequence[Change]) -> None:
        """Commit what was kept and then the changes: a later value must not be overwritten by a kept one."""
        if self._journal is None:
            raise StoreError(self._error)
        with self._kept_lock:
            kept = dict(self._kept)
        self._journal.commit([*kept.values(), *changes], self._token)
        with self._kept_lock:
            for place, change in kept.items():
                if self._kept[place] is change:  # else it was replaced while this commit ran
                    del self._kept[place]
        if self._failing_since is not None:
            log.warning(
                "store written again path=%s after=%.0fs", self._path, self._utc() - self._failing_since
            )
        self._error, self._failing_since, self.state.is_writable = "", None, True

    def _keep(self, changes: Sequence[Change]) -> None:
        """Keep the last change of each entry; a Put and a Delete of one entry replace each other."""
        with self._kept_lock:
            for change in changes:
                match change:
                    case KeepLast(kind=kind):
                        place = ("last", kind, "")
                    case DeleteBelow(kind=kind, key=key):
                        place = ("below", kind, key)
                    case Put(kind=kind, key=key) | Delete(kind=kind, key=key):
                        place = ("entry", kind, key)
                self._kept.pop(place, None)
                self._kept[place] = change

    def _note_failure(self, error: StoreError) -> None:
        if self._failing_since is None:
            self._failing_since = self._utc()
            log.error(
                "store cannot be written, state is kept in memory, queued transactions wait reason=%s", error
            )
        self._error, self.state.is_writable = text_of(error), False

    # -- opening ------------------------------------------------------------------------------------

    def _open(self) -> None:
        try:
            journal = self._open_journal()
        except StoreError as error:
            self._note_failure(error)
            self._read_copy()
            return
        self._start(journal)

    def _open_journal(self) -> SqliteJournal:
        """Open the file; a damaged one is moved aside. Raises StoreError."""
        try:
            return SqliteJournal(self._path, migrates=True)
        except DamagedFileError as damage:
            try:
                aside = move_aside(self._path, "corrupt")
            except OSError as error:
                raise StoreError(f"store.directory: {self._path} is damaged ({damage}): {error}") from error
            self._damaged.append(str(aside))
            self._was_lost = True
            log.error(
                "store file damaged path=%s reason=%s moved_to=%s lost=%s: if there is a backup, stop the "
                "controller and put it in place; look for the cause (a worn out card, a full disk, power "
                "lost)",
                self._path,
                damage,
                aside.name,
                LOST_WITH_STATE,
            )
            return SqliteJournal(self._path, migrates=True)

    def _start(self, journal: SqliteJournal) -> None:
        """Take a token above all before, and take over the files of an earlier version."""
        self._journal, self._token = journal, journal.token + 1
        legacy = LegacyFiles(self._directory)
        self._damaged += legacy.damaged
        changes = [*legacy.changes]
        if not self._was_lost and not legacy.is_present:
            self._check_removed(journal)
        try:
            if self._was_lost or legacy.damaged or not is_memory_readable(journal):
                changes += self._mark_lost(changes, journal)
            self._commit(changes)
        except StoreError as error:
            self._note_failure(error)
            self._keep(changes)
            return
        legacy.retire()

    def _mark_lost(self, changes: Sequence[Change], journal: Journal | None = None) -> list[Change]:
        """Return what marks the memory of received messages as lost, once in a run. Raises StoreError."""
        if self._is_marked:
            return []
        marks = mark_memory_lost(changes, journal)
        self._is_marked = True
        return marks

    def _check_removed(self, journal: SqliteJournal) -> None:
        """Log a file that is new although a controller has run here before."""
        if journal.token > 0 or not self._has_remains:
            return
        self._was_lost = True
        log.error(
            "store file missing path=%s lost=%s: if there is a backup, stop the controller and restore it",
            self._path,
            LOST_WITH_STATE,
        )

    def _read_copy(self) -> None:
        """Read a store that cannot be opened for writing (full or read-only disk) from a copy of it."""
        try:
            folder = Path(tempfile.mkdtemp(prefix="local-controller-"))
            try:
                for side in ("", "-wal"):
                    if (part := Path(f"{self._path}{side}")).exists():
                        shutil.copyfile(part, folder / part.name)
                self._copy = SqliteJournal(folder / FILE, migrates=True)
            finally:
                shutil.rmtree(folder, ignore_errors=True)  # SQLite holds the files open
        except (OSError, StoreError) as error:
            self._was_lost = self._path.exists()
            log.error("store cannot be read path=%s lost=%s reason=%s", self._path, LOST_WITH_STATE, error)
        if self._copy is not None:
            self._check_removed(self._copy)
        if self._was_lost:
            self._keep(self._mark_lost(()))

    def _reopen(self) -> None:
        """Open a store that could not be opened at the start. Raises StoreError.

        Only if nothing of it is unread: its entries must not be overwritten by those of this run.
        """
        journal = SqliteJournal(self._path, migrates=True)
        if self._copy is None and journal.token > 0:
            journal.close()
            raise StoreError(
                f"store.directory: {self._path} can be read again, but was not at the start; restart the "
                "controller to use what is stored there"
            )
        self._start(journal)
