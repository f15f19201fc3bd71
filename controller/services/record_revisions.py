"""Revisions of what is recorded: by them the page requests lists again that have changed."""

from __future__ import annotations

from controller.access.access_records import AuditStored, ConfigurationStored
from controller.services.web_service import WebService
from controller.session_ledger.charging_session import EndedSessionStored, RunningSessionStored
from controller.store.state_store import StateStore
from controller.web.status_model import RevisionStatus


def read_revisions(store: StateStore, web: WebService) -> RevisionStatus:
    """Return the revisions of now."""
    return RevisionStatus(
        sessions=store.revision(RunningSessionStored, EndedSessionStored),
        events=store.revision(AuditStored) + web.alarms.reported,
        configuration=store.revision(ConfigurationStored) + web.configuration_revision,
        users=web.access_revision,
    )
