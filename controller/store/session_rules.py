"""Rules of the records of charging sessions and of the local CSMS."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from controller.local_csms.csms_records import (
    LocalTransactionEnded,
    LocalTransactionStored,
    TransactionIdAllocated,
)
from controller.model.journal import Record
from controller.session_ledger.charging_session import (
    EndedSessionStored,
    RunningSessionStored,
    SessionsExpired,
)
from controller.store.rule_types import RecordRule, WriteFailure, key_of, key_prefix
from controller.store.state_journal import Change, Delete, DeleteBelow, Put

SESSION_RULES: Mapping[type[Record], RecordRule] = {
    LocalTransactionStored: RecordRule(
        "local-transaction",
        ("station", "transaction"),
        WriteFailure.CLOSE_STATION,
        "a running transaction of a station without backend",
    ),
    TransactionIdAllocated: RecordRule(
        "last-transaction-id",
        (),
        WriteFailure.CLOSE_STATION,
        "the newest id of a transaction: an id may be given twice if the clock was set back",
    ),
    RunningSessionStored: RecordRule(
        "session-running", ("station", "number"), WriteFailure.KEEP, "the start of a charging session"
    ),
    EndedSessionStored: RecordRule(
        "session", ("month", "station", "number"), WriteFailure.KEEP, "a charging session"
    ),
}
"""The rule of each record that is stored as a value."""


COMPOUND_SESSION_RECORDS = frozenset({EndedSessionStored})
"""Types with a rule whose records change more than the one value of it."""


def session_changes(record: Record) -> list[Change]:
    """Return the changes of a record that does more than store a value; none for all others."""
    match record:
        case LocalTransactionEnded(station, transaction):
            return [Delete("local-transaction", key_of(station, transaction))]
        case EndedSessionStored(month, station, number):
            return [
                Put("session", key_of(month, station, number), msgspec.json.encode(record)),
                Delete("session-running", key_of(station, number)),
            ]
        case SessionsExpired(before_month):
            return [DeleteBelow("session", key_prefix(before_month))]
    return []
