"""The table of all durable records: under which kind and key each is stored, and what follows if it is not.

| when it cannot be written | what the controller does |
|---|---|
| CLOSE_STATION | closes the station unanswered, so that the station keeps the message itself |
| LIMIT_FALLS   | sends only limits that what is stored already covers; the others run out to the fallback |
| REJECT        | rejects the message that would have changed it |
| KEEP          | goes on with the value in memory, and stores it as soon as that is possible |
"""

from __future__ import annotations

import logging
import math
import struct
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from controller.dimming.events import DimmingMemory
from controller.model.journal import BootStored, EvseStatesStored, ProfilesStored, Record
from controller.offline.journal_records import (
    EntryQueued,
    EntryRemoved,
    EntryRequeued,
    EntrySent,
    EntrySetAside,
    LocalListVersion,
    NewestTransactionId,
    OutboxRequest,
    OutboxRequestDone,
    RecordKind,
    ResponseDropped,
    ResponseStored,
    SnapshotDelivered,
    TokenAuthorized,
    TransactionMapped,
    TransactionUnmapped,
)
from controller.signing.policy_messages import ReceivedPolicy
from controller.signing.replay_cache import ReplayRecord, SeenText
from controller.store.access_rules import ACCESS_RULES, removals_of
from controller.store.eebus_records import (
    EebusIdentityStored,
    EebusPartnerRemoved,
    EebusPartnerStored,
    ProductionFailsafeStored,
)
from controller.store.evidence_records import (
    EvidenceFileRetired,
    EvidenceFileStarted,
    EvidenceHead,
    EvidenceLine,
    EvidenceLinesWritten,
    TrustRecorded,
)
from controller.store.load_rules import LOAD_RULES
from controller.store.rule_types import RecordRule, WriteFailure, key_of
from controller.store.session_rules import COMPOUND_SESSION_RECORDS, SESSION_RULES, session_changes
from controller.store.state_journal import Change, Delete, DeleteBelow, JournalEntry, Put

log = logging.getLogger("controller.store")


_ENTRY = ("station", "backend", "number")

RULES: Mapping[type[Record], RecordRule] = {
    EntryQueued: RecordRule(
        "outbox", _ENTRY, WriteFailure.CLOSE_STATION, "a message that waits for its backend"
    ),
    EntrySent: RecordRule(
        "outbox-sent", _ENTRY, WriteFailure.KEEP, "the note that a message has been sent before"
    ),
    EntrySetAside: RecordRule(
        "outbox-set-aside", _ENTRY, WriteFailure.KEEP, "the note that a backend rejects a message"
    ),
    OutboxRequest: RecordRule(
        "outbox-request", _ENTRY, WriteFailure.REJECT, "a person's request about a message set aside"
    ),
    ResponseStored: RecordRule(
        "response",
        ("station", "fingerprint"),
        WriteFailure.KEEP,
        "the answer to a transaction message, if the station repeats it",
    ),
    TransactionMapped: RecordRule(
        "transaction-id",
        ("station", "backend", "own"),
        WriteFailure.KEEP,
        "the backend's id of a running transaction",
    ),
    NewestTransactionId: RecordRule(
        "newest-transaction-id",
        ("station", "backend"),
        WriteFailure.KEEP,
        "the newest transaction id: with a clock that was set back it may be given again",
    ),
    SnapshotDelivered: RecordRule(
        "snapshot", ("station", "topic"), WriteFailure.KEEP, "the last state that a station reported"
    ),
    TokenAuthorized: RecordRule(
        "authorization",
        ("station", "source", "token"),
        WriteFailure.KEEP,
        "the authorization of a token while the backend is away",
    ),
    LocalListVersion: RecordRule(
        "local-list", ("station",), WriteFailure.KEEP, "the version of a local authorization list"
    ),
    BootStored: RecordRule(
        "boot", ("station",), WriteFailure.KEEP, "model and firmware of a station until it boots again"
    ),
    EvseStatesStored: RecordRule(
        "evse-states",
        ("station",),
        WriteFailure.KEEP,
        "states and transactions of a station: its EVSEs count as charging until it reports them",
    ),
    ProfilesStored: RecordRule(
        "profiles",
        ("station",),
        WriteFailure.KEEP,
        "charging profiles of a backend: it has to set them again",
    ),
    DimmingMemory: RecordRule(
        "dimming", (), WriteFailure.KEEP, "the limits and commands of the grid operator"
    ),
    ReceivedPolicy: RecordRule(
        "policy", ("kind", "id"), WriteFailure.REJECT, "a signature policy received from a backend"
    ),
    SeenText: RecordRule("replay-seen", (), WriteFailure.REJECT, "the memory of one signed message"),
    ReplayRecord: RecordRule("replay-forgotten", (), WriteFailure.REJECT, "the memory of signed messages"),
    EebusIdentityStored: RecordRule(
        "eebus-identity",
        (),
        WriteFailure.KEEP,
        "the EEBUS identity: partners have to be paired again",
        secret=True,
    ),
    EebusPartnerStored: RecordRule(
        "eebus-partner", ("ski",), WriteFailure.REJECT, "a trusted EEBUS partner: it has to be paired again"
    ),
    ProductionFailsafeStored: RecordRule(
        "eebus-production-failsafe", (), WriteFailure.KEEP, "the failsafe value of production"
    ),
    EvidenceLine: RecordRule("evidence-line", ("number",), WriteFailure.KEEP, "a record of the evidence log"),
    EvidenceHead: RecordRule("evidence-head", (), WriteFailure.KEEP, "the end of the evidence chain"),
    TrustRecorded: RecordRule(
        "trust-recorded",
        (),
        WriteFailure.KEEP,
        "which certificates are in the evidence: they are recorded again",
    ),
    EvidenceFileStarted: RecordRule(
        "evidence-file", ("name",), WriteFailure.KEEP, "the name of a file of the evidence log"
    ),
    **ACCESS_RULES,
    **LOAD_RULES,
    **SESSION_RULES,
}
"""The rule of each record that is stored as a value. Those that only remove values are in `_changes`."""

_TYPES: Mapping[str, type[Record]] = {rule.kind: type_ for type_, rule in RULES.items()}


_VALUES = frozenset(RULES.keys()) - {
    EntryQueued,
    SnapshotDelivered,
    TokenAuthorized,
    ReceivedPolicy,
    ReplayRecord,
    *COMPOUND_SESSION_RECORDS,
}
"""Types of records that each replace one stored value, and do nothing else."""


def changes_of(records: Iterable[Record]) -> list[Change]:
    """Return the changes that make records durable, in their order."""
    changes: list[Change] = []
    for record in records:
        if type(record) in _VALUES:  # nothing but a value: most of all that is stored
            rule = RULES[type(record)]
            key = key_of(*map(record.__getattribute__, rule.key))
            changes.append(Put(rule.kind, key, msgspec.json.encode(record)))
        else:
            changes += _changes(record)
    return changes


def can_be_kept(record: Record) -> bool:
    """Return True if the controller keeps a record in memory that cannot be written."""
    if isinstance(record, EntryQueued):  # what may be dropped when room is short may also wait in memory
        return record.entry.kind is not RecordKind.TRANSACTION
    rule = RULES.get(type(record))
    return rule is None or rule.failure is WriteFailure.KEEP  # a removal may be repeated at any time


def kind_of_type(record_type: type[Record]) -> str:
    """Return the kind under which records of a type are stored."""
    return RULES[record_type].kind


def read_entry(entry: JournalEntry) -> Record | None:
    """Return the record in an entry; None, logged as an error, if its value cannot be read."""
    type_ = _TYPES[entry.kind]
    try:
        return msgspec.json.decode(entry.value, type=type_)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        log.error(
            "stored value cannot be read kind=%s key=%s lost=%s reason=%s",
            entry.kind,
            entry.key,
            RULES[type_].loses,
            error,
        )
        return None


def _changes(record: Record) -> Iterator[Change]:
    removals = removals_of(record)
    if removals is not None:
        yield from removals
        return
    if changes := session_changes(record):
        yield from changes
        return
    match record:
        case EntryQueued(station=station, backend=backend, entry=entry):
            key = key_of(station, backend, entry.number)
            yield Put("outbox", key, msgspec.json.encode(record))
        case EntryRemoved(station, backend, number):
            key = key_of(station, backend, number)
            for kind in ("outbox", "outbox-sent", "outbox-set-aside"):
                yield Delete(kind, key)
        case EntryRequeued(station, backend, number):
            yield Delete("outbox-set-aside", key_of(station, backend, number))
        case OutboxRequestDone(station, backend, number):
            yield Delete("outbox-request", key_of(station, backend, number))
        case ResponseDropped(station, fingerprint):
            yield Delete("response", key_of(station, fingerprint))
        case TransactionUnmapped(station, backend, own):
            yield Delete("transaction-id", key_of(station, backend, own))
        case SnapshotDelivered(station, topic, payload=None):
            yield Delete("snapshot", key_of(station, topic))
        case TokenAuthorized(station, source, token, None):
            yield Delete("authorization", key_of(station, source, token))
        case ReceivedPolicy(kind, id_, None):
            yield Delete("policy", key_of(kind, id_))
        case ReplayRecord():
            yield from _replay_changes(record)
        case EebusPartnerRemoved(ski):
            yield Delete("eebus-partner", key_of(ski))
        case EvidenceLinesWritten(below):
            yield DeleteBelow("evidence-line", key_of(below))
        case EvidenceFileRetired(name):
            yield Delete("evidence-file", key_of(name))
        case _:
            rule = RULES[type(record)]
            key = key_of(*map(record.__getattribute__, rule.key))
            yield Put(rule.kind, key, msgspec.json.encode(record))


def _replay_changes(replay: ReplayRecord) -> Iterator[Change]:
    if math.isfinite(replay.forgotten_until):
        forgotten = ReplayRecord((), replay.forgotten_until, replay.provisional)
        yield Put("replay-forgotten", "[]", msgspec.json.encode(forgotten))
        # All keys whose time is at most `forgotten_until` sort below this one: a quote ends the time.
        yield DeleteBelow("replay-seen", f'["{_time_key(replay.forgotten_until)}~')
    for seen in replay.seen:
        yield Put("replay-seen", key_of(_time_key(seen.made), seen.token.hex()), msgspec.json.encode(seen))


def _time_key(time: float) -> str:
    """Return a text that sorts as the time does: IEEE 754 doubles above 0 sort by their bytes."""
    return struct.pack(">d", max(0.0, time)).hex()
