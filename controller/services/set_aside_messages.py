"""Messages of stations that backends reject, as the page and the API show them."""

from __future__ import annotations

from datetime import UTC, datetime

from controller.offline.journal_records import EntryQueued, EntrySetAside
from controller.store.state_store import StateStore
from controller.web.site_interface import SetAsideMessage


def read_set_aside(store: StateStore) -> list[SetAsideMessage]:
    """Return what was set aside, by station and backend, the oldest first. Raises StoreError."""
    rejected = {(each.station, each.backend, each.number): each.reason for each in store.load(EntrySetAside)}
    if not rejected:
        return []  # the queues are not read: they may be long
    found = [
        SetAsideMessage(
            station=each.station,
            backend=each.backend,
            number=each.entry.number,
            action=each.entry.action,
            received=datetime.fromtimestamp(each.entry.taken, UTC).isoformat(timespec="seconds"),
            reason=rejected[each.station, each.backend, each.entry.number],
        )
        for each in store.load(EntryQueued)
        if (each.station, each.backend, each.entry.number) in rejected
    ]
    return sorted(found, key=lambda each: (each.station, each.backend, each.number))
