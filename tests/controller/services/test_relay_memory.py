"""What sessions want saved: which file it goes to, and that a failure of either is one of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from controller.model.journal import Record
from controller.ocpp.frames import Version
from controller.offline.journal_records import SnapshotDelivered
from controller.services.relay_memory import RelayJournals
from controller.signing.replay_cache import ReplayRecord, SeenText
from controller.store.database import StoreError
from controller.store.relay_store import RelayStore
from tests.controller.services.test_app import configured
from tests.controller.transport.rig import Backend

TOLD = SnapshotDelivered("CS01", "boot", Version.V16, "BootNotification", b"{}")
SEEN = ReplayRecord((SeenText(b"token", 7.0),), 1.0)


async def saved(
    folder: Path, records: Sequence[Record], remembered: list[ReplayRecord]
) -> tuple[Record, ...]:
    """What is on disk of the station after these records."""
    memory = RelayJournals(configured(folder, Backend()), remembered.extend)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(memory.run)
        await memory.save(records)
        nursery.cancel_scope.cancel()
    return RelayStore(folder).load("CS01").records


async def test_each_word_goes_to_its_file(tmp_path: Path) -> None:
    remembered: list[ReplayRecord] = []
    assert await saved(tmp_path, [SEEN, TOLD], remembered) == (TOLD,)
    assert remembered == [SEEN]


@pytest.mark.parametrize("word", [SEEN, TOLD])
async def test_a_word_alone_is_saved_too(tmp_path: Path, word: Record) -> None:
    remembered: list[ReplayRecord] = []
    kept = await saved(tmp_path, [word], remembered)
    assert [*remembered, *kept] == [word]


async def test_what_cannot_be_remembered_is_not_saved(tmp_path: Path) -> None:
    def full(_words: Sequence[ReplayRecord]) -> None:
        raise StoreError("the disk is full")

    memory = RelayJournals(configured(tmp_path, Backend()), full)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(memory.run)
        with pytest.raises(StoreError, match="the disk is full"):
            await memory.save([SEEN, TOLD])
        await memory.save([TOLD])  # a message that nobody has signed does not wait for that
        nursery.cancel_scope.cancel()
