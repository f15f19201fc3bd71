"""The relays' memory on disk: the same words come back, many at once in few commits, all or none."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from controller.model.journal import Record
from controller.ocpp.frames import Version
from controller.offline.journal_records import (
    EntryQueued,
    EntryRemoved,
    EntrySent,
    EntrySetAside,
    LocalListVersion,
    OutboxEntry,
    RecordKind,
    ResponseStored,
    SnapshotDelivered,
    TokenAuthorized,
    TransactionMapped,
    TransactionUnmapped,
)
from controller.offline.response_cache import MOST_REMEMBERED
from controller.store.relay_store import RelayStore

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
LASTING: list[Record] = [
    EntryQueued("CS01", "cpo", ENTRY),
    ResponseStored("CS01", "print", b"{}"),
    TransactionMapped("CS01", "cpo", 2_100_000_000, None),
    TransactionMapped("CS01", "fleet", 5, 6),
    SnapshotDelivered("CS01", "boot", Version.V21, "BootNotification", b'{ "reason":"PowerUp"}'),
    TokenAuthorized("CS01", "cache", "hash", "Accepted", 99.5, "group"),
    LocalListVersion("CS01", 3),
]


def test_what_is_saved_comes_back_as_it_was(tmp_path: Path) -> None:
    RelayStore(tmp_path).write(LASTING)
    assert list(RelayStore(tmp_path).load("CS01").records) == LASTING


def test_one_station_is_loaded_alone(tmp_path: Path) -> None:
    store = RelayStore(tmp_path)
    store.write([*LASTING, TransactionMapped("CS02", "cpo", 1, 2)])
    assert list(store.load("CS01").records) == LASTING
    assert list(store.load("CS02").records) == [TransactionMapped("CS02", "cpo", 1, 2)]


def test_a_later_word_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    store = RelayStore(tmp_path)
    store.write(LASTING)
    store.write(
        [
            EntrySent("CS01", "cpo", 7),
            TransactionMapped("CS01", "cpo", 2_100_000_000, 12),
            LocalListVersion("CS01", 4),
        ]
    )
    words = list(store.load("CS01").records)
    assert EntryQueued("CS01", "cpo", msgspec.structs.replace(ENTRY, sent=True)) in words
    assert TransactionMapped("CS01", "cpo", 2_100_000_000, 12) in words
    assert [word for word in words if isinstance(word, LocalListVersion)] == [LocalListVersion("CS01", 4)]


def test_what_is_over_is_gone(tmp_path: Path) -> None:
    store = RelayStore(tmp_path)
    store.write(LASTING)
    store.write(
        [
            EntryRemoved("CS01", "cpo", 7),
            TransactionUnmapped("CS01", "cpo", 2_100_000_000),
            TransactionUnmapped("CS01", "fleet", 5),
            SnapshotDelivered("CS01", "boot", Version.V21, "BootNotification", None),
            TokenAuthorized("CS01", "cache", "hash", None),
        ]
    )
    assert list(store.load("CS01").records) == [
        ResponseStored("CS01", "print", b"{}"),
        LocalListVersion("CS01", 3),
    ]


def test_what_is_set_aside_waits_no_more_and_is_kept(tmp_path: Path) -> None:
    store = RelayStore(tmp_path)
    store.write(LASTING[:1])
    store.write([EntrySetAside("CS01", "cpo", 7, "FormationViolation")])
    assert not any(isinstance(word, EntryQueued) for word in store.load("CS01").records)
    assert RelayStore(tmp_path).set_aside() == [(LASTING[0], "FormationViolation")]


def test_entries_come_back_in_their_order(tmp_path: Path) -> None:
    store = RelayStore(tmp_path)
    entries = [msgspec.structs.replace(ENTRY, number=number, id=f"m{number}") for number in (1, 2, 10)]
    store.write([EntryQueued("CS01", "cpo", entry) for entry in reversed(entries)])
    loaded = [word.entry for word in list(store.load("CS01").records) if isinstance(word, EntryQueued)]
    assert loaded == entries


def test_the_answers_that_are_kept_are_bounded_and_the_newest(tmp_path: Path) -> None:
    store = RelayStore(tmp_path)
    store.write([ResponseStored("CS01", f"p{number}", b"{}") for number in range(MOST_REMEMBERED + 3)])
    store.write([ResponseStored("CS02", "other", b"{}")])
    prints = [
        word.fingerprint for word in list(store.load("CS01").records) if isinstance(word, ResponseStored)
    ]
    assert prints == [f"p{number}" for number in range(3, MOST_REMEMBERED + 3)]


def test_a_damaged_file_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "relay.sqlite").write_bytes(b"no database" * 1000)
    store = RelayStore(tmp_path)
    assert store.moved_aside is not None
    assert "relay.sqlite is damaged" in caplog.text


def test_a_number_that_is_used_again_takes_no_place_of_what_was_set_aside(tmp_path: Path) -> None:
    store = RelayStore(tmp_path)
    for reason in ("FormationViolation", "NotSupported"):
        store.write([LASTING[0], EntrySetAside("CS01", "cpo", 7, reason)])
    assert [why for _, why in store.set_aside()] == ["FormationViolation", "NotSupported"]


@pytest.mark.parametrize("big", [2**63, -(10**30)])
def test_numbers_of_others_may_have_any_size(tmp_path: Path, big: int) -> None:
    words: list[Record] = [TransactionMapped("CS01", "cpo", big, big), LocalListVersion("CS01", big)]
    RelayStore(tmp_path).write(words)
    assert list(RelayStore(tmp_path).load("CS01").records) == words
