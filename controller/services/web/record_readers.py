"""Records of the store as the page and the API show them: messages that backends reject, and revisions."""

from __future__ import annotations

from datetime import UTC, datetime

from controller.access.access_records import AuditStored, ConfigurationStored
from controller.offline.journal_records import EntryQueued, EntrySetAside
from controller.services.web.web_service import WebService
from controller.session_ledger.charging_session import EndedSessionStored, RunningSessionStored
from controller.store.state_store import StateStore
from controller.web.site_interface import SetAsideMessage
from controller.web.status_model import RevisionStatus


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


def read_revisions(store: StateStore, web: WebService) -> RevisionStatus:
    """Return the revisions of now: by them the page requests lists again that have changed."""
    return RevisionStatus(
        sessions=store.revision(RunningSessionStored, EndedSessionStored),
        events=store.revision(AuditStored) + web.alarms.reported,
        configuration=store.revision(ConfigurationStored) + web.configuration_revision,
        users=web.access_revision,
    )
