"""The seven files of earlier versions, as the code of that time wrote them (in `legacy/`)."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller.dimming.events import DimmingMemory
from controller.load_management.evse.learned_values import LearnedResponse
from controller.model.journal import BootStored, ProfilesStored, StoredProfile
from controller.ocpp.frames import Version
from controller.offline.journal_records import (
    EntryQueued,
    EntrySent,
    EntrySetAside,
    LocalListVersion,
    RecordKind,
    ResponseStored,
    SnapshotDelivered,
    TokenAuthorized,
    TransactionMapped,
)
from controller.offline.outbox import Outbox
from controller.offline.station_memory import STATION_RECORDS
from controller.signing.policy_messages import ReceivedPolicy
from controller.signing.replay_cache import ReplayRecord, SeenText
from controller.store.legacy_files import READERS
from controller.store.limit_records import LimitStored, StoredGoal
from controller.store.sqlite_journal import FILE
from controller.store.state_store import StateStore
from controller.store.store_files import KEY_FILE

LEGACY = Path(__file__).parent / "legacy"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for file in LEGACY.iterdir():
        shutil.copy(file, tmp_path)
    return tmp_path


def test_legacy_files_of_all_kinds_are_present_as_data() -> None:
    assert {path.name for path in LEGACY.iterdir()} == READERS.keys()


def test_legacy_relay_file_is_taken_over(folder: Path) -> None:
    store = StateStore(folder)
    start, status, rejected = (each.entry for each in store.load(EntryQueued))
    assert (start.number, start.id, start.action, start.kind) == (
        7,
        "m7",
        "StartTransaction",
        RecordKind.TRANSACTION,
    )
    assert (start.payload, start.transaction) == (b'{"connectorId": 1, "idTag":"\\u00e4"}', 2_100_000_000)
    assert (status.number, status.action, status.transaction) == (8, "StatusNotification", None)
    assert store.load(EntrySent) == [EntrySent("CS01", "cpo", 7)]
    assert store.load(EntrySetAside) == [EntrySetAside("CS01", "cpo", rejected.number, "FormationViolation")]
    assert store.load(ResponseStored) == [ResponseStored("CS01", "print", b"{}")]
    assert store.load(TransactionMapped) == [
        TransactionMapped("CS01", "cpo", 2_100_000_000, None),
        TransactionMapped("CS01", "fleet", 5, 6),
    ]
    assert store.load(SnapshotDelivered) == [
        SnapshotDelivered("CS01", "boot", Version.V21, "BootNotification", b'{ "reason":"PowerUp"}')
    ]
    assert store.load(TokenAuthorized) == [
        TokenAuthorized("CS01", "cache", "hash", "Accepted", 99.5, "group")
    ]
    assert store.load(LocalListVersion) == [LocalListVersion("CS01", 3)]


def test_legacy_outbox_waits_on_in_order(folder: Path) -> None:
    outbox = Outbox("CS01", "cpo")
    outbox.restore(StateStore(folder).load_all(STATION_RECORDS, "CS01"))
    assert (len(outbox), outbox.set_aside_count) == (2, 1)
    assert outbox.head is not None
    assert (outbox.head.number, outbox.head.sent) == (7, True)


def test_legacy_limits_boots_profiles_and_policies_are_taken_over(folder: Path) -> None:
    store = StateStore(folder)
    noon = datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert store.load(LimitStored) == [
        LimitStored(
            station="CS01",
            evse=1,
            has_fallback=True,
            fallback_a=6.0,
            held_a=16.0,
            until=noon.replace(minute=3),
            saved=noon,
            written_ago_s=(600.0, 100.0),
            goal=StoredGoal(20_000.0, 7200.0, 360.0, 16.0, 10.0),
            learned=LearnedResponse(reaction_s=22.0, step_a=2.0, obeys=True),
        )
    ]
    assert store.load(BootStored) == [BootStored("CS01", "ACME", "One", "1.2")]
    assert store.load(ProfilesStored) == [
        ProfilesStored(
            "CS01",
            "ocpp1.6",
            (StoredProfile(1, b'{"chargingProfileId":1}'), StoredProfile(0, b'{"chargingProfileId":2}')),
        )
    ]
    assert store.load(ReceivedPolicy) == [
        ReceivedPolicy("SignaturePolicy", "a", b'{"x":1}'),
        ReceivedPolicy("UserRole", "b", b'{"y":2}'),
    ]


def test_legacy_memory_of_signed_messages_and_dimming_is_taken_over(folder: Path) -> None:
    store = StateStore(folder)
    assert store.load(SeenText) == [
        SeenText(b"\x01token", 1_795_269_600.0),
        SeenText(b"\x02token", 1_795_269_601.5),
    ]
    assert [each.forgotten_until for each in store.load(ReplayRecord)] == [1_795_269_000.0]
    [memory] = store.load(DimmingMemory)
    assert memory.obeyed["dso"].sequence == 7
    assert memory.limits["dso"].limits[0].watts == 4200.0


def test_legacy_files_are_renamed_and_taken_over_once(folder: Path) -> None:
    StateStore(folder).close()
    assert {path.name for path in folder.iterdir()} == {FILE} | {f"{name}.taken-over" for name in READERS}
    again = StateStore(folder)
    assert len(again.load(EntryQueued)) == 3
    assert again.status.damaged == ()


def test_legacy_files_beside_evidence_are_no_lost_store(folder: Path) -> None:
    before = StateStore(folder)
    [memory] = before.load(DimmingMemory)
    before.close()
    (folder / FILE).unlink()
    for file in LEGACY.iterdir():
        shutil.copy(file, folder)
    (folder / KEY_FILE).touch()
    store = StateStore(folder)
    assert not store.status.was_lost
    assert store.load(DimmingMemory) == [memory]
    store.close()
    (folder / FILE).unlink()
    assert StateStore(folder).status.was_lost, "what was taken over is not read again"


def test_legacy_file_from_before_there_was_knowledge_is_read(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "limits.sqlite")) as database:
        database.execute("DROP TABLE knowledge")
        database.execute("CREATE TABLE knowledge (station TEXT, evse INTEGER, words TEXT)")
    [limit] = StateStore(folder).load(LimitStored)
    assert (limit.held_a, limit.goal) == (16.0, None)


@pytest.mark.parametrize("damage", [b"no database" * 1000, b"", b"\xff" * 10_000])
@pytest.mark.parametrize("name", READERS)
def test_legacy_file_that_is_damaged_costs_only_itself(
    folder: Path, caplog: pytest.LogCaptureFixture, name: str, damage: bytes
) -> None:
    (folder / name).write_bytes(damage)
    store = StateStore(folder)
    [aside] = store.status.damaged
    assert Path(aside).read_bytes() == damage
    assert f"path={folder / name}" in caplog.text
    # Which signed messages it had accepted is unknown.
    assert [each.provisional for each in store.load(ReplayRecord)] == [True]
    assert [each.unknown_until for each in store.load(DimmingMemory)] == [None]
    assert sum(len(store.load(kind)) for kind in (EntryQueued, LimitStored, BootStored)) >= 2
