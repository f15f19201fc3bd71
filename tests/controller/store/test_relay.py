"""The relays' memory on disk: the same words come back, many at once in few commits, all or none."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import trio

from controller.ocpp.frames import Version
from controller.relay.answers import MOST_REMEMBERED
from controller.relay.saving import (
    Answered,
    Authorised,
    Entry,
    Gone,
    Kind,
    ListVersion,
    Mapped,
    Queued,
    Sent,
    SetAside,
    Told,
    Unmapped,
    Word,
)
from controller.store.database import StoreFailed
from controller.store.relay import RelayStore

ENTRY = Entry(
    number=7, id="m7", version=Version.V16, action="StartTransaction",
    payload=b'{"connectorId": 1, "idTag":"\\u00e4"}', kind=Kind.TRANSACTION, taken=1.5,
    transaction=2_100_000_000,
)  # fmt: skip
LASTING: list[Word] = [
    Queued("CS01", "cpo", ENTRY),
    Answered("CS01", "print", b"{}"),
    Mapped("CS01", "cpo", 2_100_000_000, None),
    Mapped("CS01", "fleet", 5, 6),
    Told("CS01", "boot", Version.V21, "BootNotification", b'{ "reason":"PowerUp"}'),
    Authorised("CS01", "cache", "hash", "Accepted", 99.5, "group"),
    ListVersion("CS01", 3),
]


async def test_what_is_saved_comes_back_as_it_was(tmp_path: Path) -> None:
    await RelayStore(tmp_path).save(LASTING)
    assert RelayStore(tmp_path).load() == LASTING


async def test_one_station_is_loaded_alone(tmp_path: Path) -> None:
    store = RelayStore(tmp_path)
    await store.save([*LASTING, Mapped("CS02", "cpo", 1, 2)])
    assert store.load("CS01") == LASTING
    assert store.load("CS02") == [Mapped("CS02", "cpo", 1, 2)]


async def test_a_later_word_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    store = RelayStore(tmp_path)
    await store.save(LASTING)
    await store.save(
        [Sent("CS01", "cpo", 7), Mapped("CS01", "cpo", 2_100_000_000, 12), ListVersion("CS01", 4)]
    )
    words = store.load()
    assert Queued("CS01", "cpo", msgspec.structs.replace(ENTRY, sent=True)) in words
    assert Mapped("CS01", "cpo", 2_100_000_000, 12) in words
    assert [word for word in words if isinstance(word, ListVersion)] == [ListVersion("CS01", 4)]


async def test_what_is_over_is_gone(tmp_path: Path) -> None:
    store = RelayStore(tmp_path)
    await store.save(LASTING)
    await store.save([
        Gone("CS01", "cpo", 7), Unmapped("CS01", "cpo", 2_100_000_000), Unmapped("CS01", "fleet", 5),
        Told("CS01", "boot", Version.V21, "BootNotification", None),
        Authorised("CS01", "cache", "hash", None),
    ])  # fmt: skip
    assert store.load() == [Answered("CS01", "print", b"{}"), ListVersion("CS01", 3)]


async def test_what_is_set_aside_waits_no_more_and_is_kept(tmp_path: Path) -> None:
    store = RelayStore(tmp_path)
    await store.save(LASTING[:1])
    await store.save([SetAside("CS01", "cpo", 7)])
    assert store.load() == []
    assert RelayStore(tmp_path).count_set_aside() == 1


async def test_entries_come_back_in_their_order(tmp_path: Path) -> None:
    store = RelayStore(tmp_path)
    entries = [msgspec.structs.replace(ENTRY, number=number, id=f"m{number}") for number in (1, 2, 10)]
    await store.save([Queued("CS01", "cpo", entry) for entry in reversed(entries)])
    loaded = [word.entry for word in store.load() if isinstance(word, Queued)]
    assert loaded == entries


async def test_the_answers_that_are_kept_are_bounded_and_the_newest(tmp_path: Path) -> None:
    store = RelayStore(tmp_path)
    await store.save([Answered("CS01", f"p{number}", b"{}") for number in range(MOST_REMEMBERED + 3)])
    await store.save([Answered("CS02", "other", b"{}")])
    prints = [word.fingerprint for word in store.load("CS01") if isinstance(word, Answered)]
    assert prints == [f"p{number}" for number in range(3, MOST_REMEMBERED + 3)]


async def test_many_who_save_at_once_share_commits(tmp_path: Path) -> None:
    store = RelayStore(tmp_path)
    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(store.save, [Mapped("CS01", "cpo", number, None)])
    assert len(store.load()) == 100
    assert store.commits <= 3


async def test_each_who_saved_in_a_batch_that_failed_is_told_and_the_next_batch_works(tmp_path: Path) -> None:
    store = RelayStore(tmp_path)
    told: list[str] = []
    poison = Queued("CS01", "cpo", msgspec.structs.replace(ENTRY, payload=None))  # type: ignore[arg-type]

    async def save(word: Word) -> None:
        try:
            await store.save([word])
        except StoreFailed as failed:
            told.append(str(failed))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(save, Mapped("CS01", "cpo", 1, None))
        nursery.start_soon(save, poison)
    assert len(told) in (1, 2)  # whoever was in the poisoned batch, and nobody else
    assert len(store.load()) == 2 - len(told)
    await store.save([Mapped("CS01", "cpo", 2, None)])
    assert Mapped("CS01", "cpo", 2, None) in store.load()


async def test_a_cancelled_save_holds_up_nobody(tmp_path: Path) -> None:
    store = RelayStore(tmp_path)
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.save([Mapped("CS01", "cpo", 1, None)])
    with trio.fail_after(5):
        await store.save([Mapped("CS01", "cpo", 2, None)])
    assert Mapped("CS01", "cpo", 2, None) in store.load()


async def test_a_damaged_file_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "relay.sqlite").write_bytes(b"no database" * 1000)
    store = RelayStore(tmp_path)
    assert store.set_aside is not None
    assert "relay.sqlite is damaged" in caplog.text
