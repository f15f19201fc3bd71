"""What sessions want saved: which file it goes to, and that a failure of either is one of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from controller.desks.relay_memory import RelayMemory
from controller.ocpp.frames import Version
from controller.relay.saving import Told, Word
from controller.signing.replay import Remember, Seen
from controller.store.database import StoreFailed
from controller.store.relay import RelayStore
from tests.controller.links.rig import Backend
from tests.controller.test_daemon import configured

TOLD = Told("CS01", "boot", Version.V16, "BootNotification", b"{}")
SEEN = Remember((Seen(b"token", 7.0),), 1.0)


async def saved(folder: Path, words: Sequence[Word], remembered: list[Remember]) -> tuple[Word, ...]:
    """What is on disk of the station after these words."""
    memory = RelayMemory(configured(folder, Backend()), remembered.extend)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(memory.run)
        await memory.save(words)
        nursery.cancel_scope.cancel()
    return RelayStore(folder).load("CS01").words


async def test_each_word_goes_to_its_file(tmp_path: Path) -> None:
    remembered: list[Remember] = []
    assert await saved(tmp_path, [SEEN, TOLD], remembered) == (TOLD,)
    assert remembered == [SEEN]


@pytest.mark.parametrize("word", [SEEN, TOLD])
async def test_a_word_alone_is_saved_too(tmp_path: Path, word: Word) -> None:
    remembered: list[Remember] = []
    kept = await saved(tmp_path, [word], remembered)
    assert [*remembered, *kept] == [word]


async def test_what_cannot_be_remembered_is_not_saved(tmp_path: Path) -> None:
    def full(_words: Sequence[Remember]) -> None:
        raise StoreFailed("the disk is full")

    memory = RelayMemory(configured(tmp_path, Backend()), full)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(memory.run)
        with pytest.raises(StoreFailed, match="the disk is full"):
            await memory.save([SEEN, TOLD])
        await memory.save([TOLD])  # a message that nobody has signed does not wait for that
        nursery.cancel_scope.cancel()
