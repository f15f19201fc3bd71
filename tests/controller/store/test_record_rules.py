"""Records as entries of the journal, and the table of what follows if one cannot be written."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pytest

from controller.dimming.dimming_limits import LimitSourceMemory, SourceFailsafe, SourceLimit
from controller.dimming.events import DimmingMemory
from controller.dimming.verification import CommandContext
from controller.model.journal import BootStored, ProfilesStored, Record, StoredProfile
from controller.model.observations import EvseRef
from controller.ocpp.frames import Version
from controller.offline.journal_records import (
    EntryQueued,
    EntryRemoved,
    EntryRequeued,
    EntrySent,
    EntrySetAside,
    LocalListVersion,
    NewestTransactionId,
    OutboxEntry,
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
from controller.store.eebus_records import EebusPartnerRemoved, EebusPartnerStored
from controller.store.evidence_records import EvidenceHead, EvidenceLine, EvidenceLinesWritten
from controller.store.record_rules import RULES, can_be_kept, changes_of
from controller.store.rule_types import WriteFailure
from controller.store.state_journal import Put
from controller.store.state_store import StateStore
from drivers.eebus import lpc

NOON = 1_795_262_400.0
ENTRY = OutboxEntry(
    number=7,
    id="m7",
    version=Version.V16,
    action="StartTransaction",
    payload=b'{"connectorId": 1, "idTag":"\\u00e4"}',
    kind=RecordKind.TRANSACTION,
    taken=1.5,
    transaction=2_100_000_000,
)
LIMIT = SourceLimit(
    source="dso",
    watts=4200.0,
    begins=NOON,
    until=NOON + 3600,
    evse=EvseRef("CS01", 1),
    phases_w=(1400.0, None, 1400.0),
    proof="command 1",
)
DIMMING = DimmingMemory(
    saved=NOON,
    limits={"dso": LimitSourceMemory(limits=(LIMIT,), failsafe=SourceFailsafe(4200, 7200), away_since=NOON)},
    obeyed={"dso": CommandContext(7, ("a", "b"))},
    failsafes={"box": lpc.Failsafe(5000, 8000)},
)
STORED: list[Record] = [
    EntryQueued("CS01", "cpo", ENTRY),
    EntrySent("CS01", "cpo", 7),
    EntrySetAside("CS01", "cpo", 7, "FormationViolation"),
    OutboxRequest("CS01", "cpo", 7, True),
    ResponseStored("CS01", "print", b"\xff{}"),
    TransactionMapped("CS01", "cpo", 2_100_000_000, None),
    TransactionMapped("CS01", "cpo", 2_100_000_001, 7, is_over=True),
    NewestTransactionId("CS01", "cpo", 2_100_000_000),
    TransactionMapped("CS01", "fleet", 2**63, -(10**30)),
    SnapshotDelivered("CS01", "boot", Version.V21, "BootNotification", b'{ "reason":"PowerUp"}'),
    TokenAuthorized("CS01", "cache", "hash", "Accepted", 99.5, "group"),
    LocalListVersion("CS01", 3),
    BootStored("CS01", "ACME", 'One "quoted"', "1.2"),
    ProfilesStored("CS01", "ocpp1.6", (StoredProfile(1, b"{}"), StoredProfile(0, b"[]"))),
    ReceivedPolicy("UserRole", "a", b"{}"),
    DIMMING,
    EvidenceLine(12, b"{}\n"),
    EvidenceHead(13, "ab"),
    EebusPartnerStored("ab12", ""),
]


@pytest.mark.parametrize("record", STORED, ids=lambda record: type(record).__name__)
def test_record_comes_back_after_restart_as_it_was(tmp_path: Path, record: Record) -> None:
    store = StateStore(tmp_path)
    store.persist_now([record])
    store.close()
    assert StateStore(tmp_path).load(type(record)) == [record]


REMOVALS: list[tuple[Record, list[Record]]] = [
    (EntryQueued("CS01", "cpo", ENTRY), [EntryRemoved("CS01", "cpo", 7)]),
    (EntrySent("CS01", "cpo", 7), [EntryRemoved("CS01", "cpo", 7)]),
    (EntrySetAside("CS01", "cpo", 7, "why"), [EntryRequeued("CS01", "cpo", 7)]),
    (OutboxRequest("CS01", "cpo", 7, False), [OutboxRequestDone("CS01", "cpo", 7)]),
    (ResponseStored("CS01", "print", b"{}"), [ResponseDropped("CS01", "print")]),
    (TransactionMapped("CS01", "cpo", 5, 6), [TransactionUnmapped("CS01", "cpo", 5)]),
    (
        SnapshotDelivered("CS01", "boot", Version.V16, "BootNotification", b"{}"),
        [SnapshotDelivered("CS01", "boot", Version.V16, "BootNotification", None)],
    ),
    (
        TokenAuthorized("CS01", "cache", "hash", "Accepted"),
        [TokenAuthorized("CS01", "cache", "hash", None)],
    ),
    (ReceivedPolicy("UserRole", "a", b"{}"), [ReceivedPolicy("UserRole", "a", None)]),
    (EvidenceLine(12, b"{}\n"), [EvidenceLinesWritten(13)]),
    (EebusPartnerStored("ab12", ""), [EebusPartnerRemoved("ab12")]),
]


@pytest.mark.parametrize(("record", "removal"), REMOVALS, ids=lambda case: type(case).__name__)
def test_record_rules_removal_leaves_nothing_of_record(
    tmp_path: Path, record: Record, removal: list[Record]
) -> None:
    store = StateStore(tmp_path)
    store.persist_now([record])
    store.persist_now(removal)
    assert store.load(type(record)) == []


def test_dimming_memory_is_stored_under_its_older_names() -> None:
    [put] = changes_of([DIMMING])
    assert isinstance(put, Put)
    assert {"saved", "words", "said", "failsafes"} <= msgspec.json.decode(put.value).keys()


def test_later_record_of_same_key_replaces_earlier(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    store.persist_now([TransactionMapped("CS01", "cpo", 5, None), TransactionMapped("CS01", "cpo", 6, 1)])
    store.persist_now([TransactionMapped("CS01", "cpo", 5, 12)])
    assert store.load(TransactionMapped) == [
        TransactionMapped("CS01", "cpo", 6, 1),
        TransactionMapped("CS01", "cpo", 5, 12),
    ]


def test_record_rules_seen_texts_are_deleted_up_to_moment(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    times = [0.0, 1.5, NOON, math.nextafter(NOON, math.inf), NOON + 1000]
    store.persist_now([ReplayRecord(tuple(SeenText(b"%f" % at, at) for at in times), -math.inf)])
    store.persist_now([ReplayRecord((), NOON)])
    assert [seen.made for seen in store.load(SeenText)] == times[3:]
    assert [each.forgotten_until for each in store.load(ReplayRecord)] == [NOON]


def test_record_rules_provisional_wait_survives_a_restart(tmp_path: Path) -> None:
    StateStore(tmp_path).persist_now([ReplayRecord((), NOON, provisional=True)])
    assert StateStore(tmp_path).load(ReplayRecord) == [ReplayRecord((), NOON, provisional=True)]


def test_value_that_cannot_be_read_costs_only_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = StateStore(tmp_path)
    store.persist_now([BootStored("CS01", "ACME", "One", "1"), BootStored("CS02", "ACME", "Two", "2")])
    journal = store._journal
    assert journal is not None
    for broken in (b"\xff\xfe", b"{", b'{"station":7}', b"[" * 100_000):
        journal._connection.execute("UPDATE entries SET value = ? WHERE key LIKE '%CS01%'", (broken,))  # type: ignore[attr-defined]
        caplog.clear()
        assert store.load(BootStored) == [BootStored("CS02", "ACME", "Two", "2")]
        assert 'kind=boot key=["CS01"]' in caplog.text
        assert "lost=model and firmware" in caplog.text


def test_record_rules_each_rule_names_members_that_record_has() -> None:
    for record_type, rule in RULES.items():
        assert set(rule.key) <= {field.name for field in msgspec.structs.fields(record_type)} | {"number"}
        assert rule.loses
    assert len({rule.kind for rule in RULES.values()}) == len(RULES)


@pytest.mark.parametrize(
    ("record", "kept"),
    [
        (EntryQueued("CS01", "cpo", ENTRY), False),
        (EntryQueued("CS01", "cpo", msgspec.structs.replace(ENTRY, kind=RecordKind.STATUS)), True),
        (EntryRemoved("CS01", "cpo", 7), True),
        (ReplayRecord((), 0.0), False),
        (ReceivedPolicy("UserRole", "a", b"{}"), False),
        (DIMMING, True),
        (BootStored("CS01", "ACME", "One", "1"), True),
    ],
)
def test_record_is_kept_in_memory_where_rule_states_it(record: Record, *, kept: bool) -> None:
    assert can_be_kept(record) is kept


def test_limit_that_cannot_be_written_is_not_kept() -> None:
    rules = {rule.kind: rule.failure for rule in RULES.values()}
    assert rules["limit"] is WriteFailure.LIMIT_FALLS
