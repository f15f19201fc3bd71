"""Rules of the records of people and the page: users, tokens, passwords, overrides, audit, history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from controller.access.access_records import (
    AuditStored,
    AuditTrimmed,
    ConfigurationForgotten,
    ConfigurationStored,
    TokenStored,
    UserStored,
)
from controller.commands.overrides import OverrideRemoved, OverrideStored
from controller.history.history_records import HistoryMinutes, HistoryQuarter, HistoryTrimmed
from controller.model.journal import Record
from controller.store.credential_records import CredentialStored
from controller.store.rule_types import RecordRule, WriteFailure, key_of
from controller.store.state_journal import Change, Delete, DeleteBelow, KeepLast

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
    HistoryMinutes: RecordRule("history-minutes", ("start",), WriteFailure.KEEP, "a quarter hour of charts"),
    HistoryQuarter: RecordRule("history-quarter", ("start",), WriteFailure.KEEP, "a value of charts"),
    ConfigurationStored: RecordRule(
        "configuration", ("version",), WriteFailure.KEEP, "an earlier version of the configuration file"
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


def removals_of(record: Record) -> Sequence[Change] | None:
    """Return the changes of a record that only removes values; None for all others."""
    match record:
        case OverrideRemoved(station, evse):
            return [Delete("override", key_of(station, evse))]
        case ConfigurationForgotten(version):
            return [Delete("configuration", key_of(version))]
        case AuditTrimmed(number):
            return [DeleteBelow("audit", key_of(number))]
        case HistoryTrimmed(in_minutes, quarters):
            return [KeepLast("history-minutes", in_minutes), KeepLast("history-quarter", quarters)]
    return None
