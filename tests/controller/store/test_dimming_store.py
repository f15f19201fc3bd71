"""The dimming desk's memory on disk."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from controller.dimming.effective_limit import SourceLimit
from controller.dimming.events import DimmingMemory
from controller.dimming.limit_source import LimitSourceMemory, SourceFailsafe
from controller.dimming.verification import CommandContext
from controller.model.observations import EvseRef
from controller.store.database import StoreError
from controller.store.dimming_store import FILE, DimmingStore
from drivers.eebus import lpc
from tests.controller.dimming.commands import NOON

LIMIT = SourceLimit(
    source="dso",
    watts=4200.0,
    begins=NOON,
    until=NOON + 3600,
    evse=EvseRef("CS01", 1),
    phases_w=(1400.0, None, 1400.0),
    proof="command 1",
)
MEMORY = DimmingMemory(
    saved=NOON,
    words={"dso": LimitSourceMemory(limits=(LIMIT,), failsafe=SourceFailsafe(4200, 7200), away_since=NOON)},
    said={"dso": CommandContext(7, ("a", "b"))},
    failsafes={"box": lpc.Failsafe(5000, 8000)},
)


def test_it_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    store = DimmingStore(tmp_path)
    assert store.load() is None
    store.save(DimmingMemory(saved=0))
    store.save(MEMORY)
    store.close()
    assert DimmingStore(tmp_path).load() == MEMORY


def test_what_cannot_be_read_is_not_forgotten_silently(tmp_path: Path) -> None:
    DimmingStore(tmp_path).save(MEMORY)
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("UPDATE desk SET memory = ?", (b"{",))
    with pytest.raises(StoreError, match=FILE):
        DimmingStore(tmp_path).load()
