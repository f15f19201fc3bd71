"""The seven SQLite files of earlier versions: their content becomes entries of the one store.

Each file is read whole or not at all. After the entries are committed it is renamed to
`<name>.taken-over`. A damaged file is moved aside, and what was in it is lost, loudly.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from controller.dimming.events import DimmingMemory
from controller.load_management.evse.learned_values import LearnedResponse
from controller.model.journal import BootStored, ProfilesStored, Record, StoredProfile
from controller.ocpp.frames import Version
from controller.offline.journal_records import (
    EntryQueued,
    EntrySent,
    EntrySetAside,
    LocalListVersion,
    OutboxEntry,
    RecordKind,
    ResponseStored,
    SnapshotDelivered,
    TokenAuthorized,
    TransactionMapped,
)
from controller.signing.policy_messages import ReceivedPolicy
from controller.signing.replay_cache import ReplayRecord, SeenText
from controller.store.limit_records import LimitStored, StoredGoal
from controller.store.record_rules import changes_of
from controller.store.sqlite_journal import move_aside
from controller.store.state_journal import Change

log = logging.getLogger("controller.store")

Row = tuple[Any, ...]
Reader = Callable[[sqlite3.Connection], Iterator[Record]]

_SUFFIX = ".taken-over"


class LegacyFiles:
    """The files of an earlier version in a directory, with the changes that take them over."""

    def __init__(self, directory: Path) -> None:
        self.damaged: list[str] = []
        self.changes: Sequence[Change] = ()
        self._read: list[Path] = []
        records: list[Record] = []
        for name, reader in READERS.items():
            if (path := directory / name).exists():
                records += self._read_file(path, reader)
        self.changes = changes_of(records)

    @property
    def is_present(self) -> bool:
        """True if there was a file."""
        return bool(self._read or self.damaged)

    def retire(self) -> None:
        """Rename the files whose content is in the store now."""
        for path in self._read:
            log.warning("file of an earlier version taken over path=%s now=%s%s", path, path.name, _SUFFIX)
            for side in ("", "-wal", "-shm"):
                if (part := Path(f"{path}{side}")).exists():
                    part.rename(f"{path}{_SUFFIX}{side}")

    def _read_file(self, path: Path, reader: Reader) -> list[Record]:
        try:
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                records = list(reader(connection))
        except (sqlite3.Error, ValueError, RecursionError, msgspec.DecodeError) as error:
            aside = move_aside(path, "corrupt")
            self.damaged.append(str(aside))
            log.error(
                "file of an earlier version damaged path=%s reason=%s moved_to=%s: its content is lost; "
                "if there is a backup, stop the controller and put it in place",
                path,
                error,
                aside.name,
            )
            return []
        self._read.append(path)
        return records


# -- one reader for each file -------------------------------------------------------------------------


def _read_relay(database: sqlite3.Connection) -> Iterator[Record]:
    for row in database.execute("SELECT * FROM outbox ORDER BY station, backend, number"):
        yield from _entry(row)
    last: dict[tuple[str, str], int] = {
        (station, backend): number
        for station, backend, number in database.execute(
            "SELECT station, backend, max(number) FROM outbox GROUP BY station, backend"
        )
    }
    # Messages set aside have left the outbox's numbering: each gets a number of its own behind the others.
    for _, *row, reason in database.execute("SELECT * FROM set_aside ORDER BY place"):
        station, backend = row[0], row[1]
        row[2] = last[station, backend] = last.get((station, backend), 0) + 1
        yield from _entry(tuple(row))
        yield EntrySetAside(station, backend, row[2], reason)
    for row in database.execute("SELECT * FROM answers ORDER BY rowid"):
        yield ResponseStored(*row)
    for station, backend, own, theirs in database.execute("SELECT * FROM transaction_ids ORDER BY rowid"):
        yield TransactionMapped(station, backend, int(own), None if theirs is None else int(theirs))
    for station, topic, version, action, payload in database.execute("SELECT * FROM told ORDER BY rowid"):
        yield SnapshotDelivered(station, topic, Version(version), action, payload)
    for row in database.execute("SELECT * FROM authorisations ORDER BY rowid"):
        yield TokenAuthorized(*row)
    for station, number in database.execute("SELECT * FROM list_versions"):
        yield LocalListVersion(station, int(number))


def _entry(row: Row) -> Iterator[Record]:
    station, backend, number, id_, version, action, payload, kind, taken, sent, own, answered = row
    entry = OutboxEntry(
        number=number,
        id=id_,
        version=Version(version),
        action=action,
        payload=payload,
        kind=RecordKind(kind),
        taken=taken,
        transaction=None if own is None else int(own),
        answered=bool(answered),
    )
    yield EntryQueued(station, backend, entry)
    if sent:
        yield EntrySent(station, backend, number)


class _Goal(msgspec.Struct, frozen=True):
    energy_wh: float
    leaves_in_s: float
    drawn_as: float
    current_a: float
    drawn_ago_s: float


class _Knowledge(msgspec.Struct, frozen=True):
    written_ago_s: tuple[float, ...] = ()
    goal: _Goal | None = None
    learned: LearnedResponse = msgspec.field(default=LearnedResponse(), name="habits")


def _read_limits(database: sqlite3.Connection) -> Iterator[Record]:
    query = (
        "SELECT station, evse, floor, floor_a, held_a, until, saved, words "
        "FROM limits LEFT JOIN knowledge USING (station, evse)"
    )
    for station, evse, floor, floor_a, held_a, until, saved, words in database.execute(query):
        known = msgspec.json.decode(words or b"{}", type=_Knowledge)
        yield LimitStored(
            station=station,
            evse=evse,
            has_fallback=bool(floor),
            fallback_a=floor_a,
            held_a=held_a,
            until=datetime.fromisoformat(until),
            saved=datetime.fromisoformat(saved),
            written_ago_s=known.written_ago_s,
            goal=None if known.goal is None else StoredGoal(**msgspec.structs.asdict(known.goal)),
            learned=known.learned,
        )


def _read_boots(database: sqlite3.Connection) -> Iterator[Record]:
    for row in database.execute("SELECT station, vendor, model, firmware FROM boots"):
        yield BootStored(*row)


def _read_profiles(database: sqlite3.Connection) -> Iterator[Record]:
    stored: dict[tuple[str, str], list[StoredProfile]] = {}
    for station, version, evse, profile in database.execute(
        "SELECT station, version, evse, profile FROM profiles ORDER BY rowid"
    ):
        stored.setdefault((station, version), []).append(StoredProfile(evse, profile))
    for (station, version), profiles in stored.items():
        yield ProfilesStored(station, version, tuple(profiles))


def _read_policies(database: sqlite3.Connection) -> Iterator[Record]:
    for row in database.execute("SELECT kind, id, content FROM policies ORDER BY number"):
        yield ReceivedPolicy(*row)


def _read_replay(database: sqlite3.Connection) -> Iterator[Record]:
    seen = tuple(SeenText(*row) for row in database.execute("SELECT token, made FROM seen"))
    until = database.execute("SELECT until FROM forgotten").fetchone()
    yield ReplayRecord(seen, float("-inf") if until is None else until[0])


def _read_dimming(database: sqlite3.Connection) -> Iterator[Record]:
    for (memory,) in database.execute("SELECT memory FROM desk"):
        yield msgspec.json.decode(memory, type=DimmingMemory)


READERS: dict[str, Reader] = {
    "relay.sqlite": _read_relay,
    "limits.sqlite": _read_limits,
    "boots.sqlite": _read_boots,
    "profiles.sqlite": _read_profiles,
    "policies.sqlite": _read_policies,
    "replay.sqlite": _read_replay,
    "dimming.sqlite": _read_dimming,
}
"""The reader of each file, by its name in the store's directory."""
