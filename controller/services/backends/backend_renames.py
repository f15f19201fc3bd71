"""Stored records of backends that have another name since: those whose `group` was set.

A backend is named by its group, or by its id where it has none. What was stored while "cpo" stood alone
belongs to the backend "csms" once `group = "csms"` is set there: its messages are delivered by that, and the
ids of running transactions hold there. A name that no table has as its id any more is not resolved: what is
stored under it stays, as for a removed backend.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import msgspec

from controller.config.backend_rules import backend_names
from controller.config.schema import Config
from controller.model.journal import Record
from controller.offline.journal_records import (
    EntryQueued,
    EntryRemoved,
    EntrySent,
    EntrySetAside,
    NewestTransactionId,
    TransactionMapped,
    TransactionUnmapped,
)
from controller.store.state_store import StateStore

log = logging.getLogger("controller.store")


def rename_backends(config: Config, store: StateStore) -> None:
    """Store what is stored under a former name of a backend under its name. Raises StoreError.

    To be called before anything of it is restored. All changes are one transaction of the store.
    """
    names = {former: name for former, name in backend_names(config).items() if former != name}
    changed = [*_rename_messages(names, store), *_rename_ids(names, store)]
    if changed:
        store.persist_now(changed)
        renamed = {each.backend for each in changed if isinstance(each, EntryRemoved | TransactionUnmapped)}
        for former in sorted(renamed):
            log.info("queue of a backend renamed backend=%s former_name=%s", names[former], former)


def _rename_messages(names: dict[str, str], store: StateStore) -> Iterator[Record]:
    """Return the messages of each station behind those that its queue has under the new name by now."""
    queued = list(store.load(EntryQueued))
    last: dict[tuple[str, str], int] = {}
    for each in queued:
        place = each.station, each.backend
        last[place] = max(last.get(place, 0), each.entry.number)
    places = [place for place in last if place[1] in names]
    shifts = {(station, former): last.get((station, names[former]), 0) for station, former in places}
    for each in queued:
        shift = shifts.get((each.station, each.backend))
        if shift is not None:
            entry = msgspec.structs.replace(each.entry, number=each.entry.number + shift)
            yield EntryQueued(each.station, names[each.backend], entry)
    notes: list[EntrySent | EntrySetAside] = [*store.load(EntrySent), *store.load(EntrySetAside)]
    for note in notes:
        shift = shifts.get((note.station, note.backend))
        if shift is not None:
            yield msgspec.structs.replace(note, backend=names[note.backend], number=note.number + shift)
    for each in queued:
        if each.backend in names:
            yield EntryRemoved(each.station, each.backend, each.entry.number)


def _rename_ids(names: dict[str, str], store: StateStore) -> Iterator[Record]:
    for mapped in store.load(TransactionMapped):
        if mapped.backend in names:
            yield msgspec.structs.replace(mapped, backend=names[mapped.backend])
            yield TransactionUnmapped(mapped.station, mapped.backend, mapped.own)
    newest = {(each.station, each.backend): each.number for each in store.load(NewestTransactionId)}
    for (station, backend), number in newest.items():
        if backend in names and number > newest.get((station, names[backend]), 0):
            yield NewestTransactionId(station, names[backend], number)
