"""Rules of the records of people and their access: users, tokens, passwords, overrides, audit."""

from __future__ import annotations

from collections.abc import Mapping

from controller.access.access_records import AuditStored, AuditTrimmed, TokenStored, UserStored
from controller.commands.overrides import OverrideRemoved, OverrideStored
from controller.model.journal import Record
from controller.store.credential_records import CredentialStored
from controller.store.rule_types import RecordRule, WriteFailure, key_of
from controller.store.state_journal import Change, Delete, DeleteBelow

ACCESS_RULES: Mapping[type[Record], RecordRule] = {
    OverrideStored: RecordRule(
        "override", ("station", "evse"), WriteFailure.KEEP, "the pause or limit that a person set for an EVSE"
    ),
    UserStored: RecordRule(
        "user",
        ("name",),
        WriteFailure.REJECT,
        "a user: add it again with `local-controller user add`",
        secret=True,
    ),
    TokenStored: RecordRule(
        "api-token",
        ("name",),
        WriteFailure.REJECT,
        "a bearer token: the program needs a new one",
        secret=True,
    ),
    AuditStored: RecordRule("audit", ("number",), WriteFailure.KEEP, "an entry of the audit"),
    CredentialStored: RecordRule(
        "credential",
        ("station", "origin"),
        WriteFailure.REJECT,
        "the hash of a station's password: it is served again once its backend answers",
        secret=True,
    ),
}
"""The rule of each record that is stored as a value."""


def removal_of(record: Record) -> Change | None:
    """Return the change of a record that only removes values; None for all others."""
    match record:
        case OverrideRemoved(station, evse):
            return Delete("override", key_of(station, evse))
        case AuditTrimmed(number):
            return DeleteBelow("audit", key_of(number))
    return None
