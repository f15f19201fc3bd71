"""The limits that a restart remembers."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controller.load_management.evse.charger_response import ResponseHabits
from controller.load_management.evse.departure_goal import GoalMemory
from controller.load_management.evse.limit_delivery import DeliveryMemory
from controller.model.observations import EvseRef
from controller.store.database import StoreError
from controller.store.limit_store import FILE, LimitStore

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
REF = EvseRef("CS01", 1)
HELD = DeliveryMemory(floor=True, floor_a=6.0, held_a=16.0, until=1180.0)


def saved(folder: Path) -> LimitStore:
    store = LimitStore(folder)
    store.save({REF: HELD}, NOON, 1000.0)
    store.close()
    return LimitStore(folder)


@pytest.mark.parametrize(
    ("later", "left_s"),
    [
        (timedelta(seconds=60), 120.0),
        (timedelta(hours=1), 180.0 - 3600.0),
        (timedelta(days=-1), 180.0),  # a gateway without a clock battery: held for as long again
        (timedelta(days=-20_000), 180.0),
    ],
)
def test_what_is_held_is_held_until_its_end_on_the_wall_clock(
    tmp_path: Path, later: timedelta, left_s: float
) -> None:
    loaded = saved(tmp_path).load(NOON + later, 5.0)
    assert loaded[REF] == DeliveryMemory(
        floor=True, floor_a=6.0, held_a=16.0, until=pytest.approx(5.0 + left_s)
    )


def test_the_newest_word_counts(tmp_path: Path) -> None:
    store = saved(tmp_path)
    newer = DeliveryMemory(floor=False, floor_a=6.0, held_a=32.0, until=2000.0)
    store.save({REF: newer}, NOON, 1900.0)
    assert store.load(NOON, 1900.0) == {REF: newer}


def test_a_directory_that_cannot_be_is_told_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"store\.directory"):
        LimitStore(tmp_path / "file" / "below")


def test_what_was_learnt_and_asked_for_comes_back_at_its_time_of_the_new_clock(tmp_path: Path) -> None:
    known = DeliveryMemory(
        floor=True,
        floor_a=6.0,
        held_a=16.0,
        until=1180.0,
        written=(400.0, 900.0),
        goal=GoalMemory(20_000.0, 8200.0, 360.0, 16.0, 990.0),
        habits=ResponseHabits(reaction_s=22.0, step_a=2.0, obeys=True),
    )
    store = LimitStore(tmp_path)
    store.save({REF: known}, NOON, 1000.0)
    store.close()
    loaded = LimitStore(tmp_path).load(NOON + timedelta(seconds=60), 5.0)[REF]
    assert loaded == DeliveryMemory(
        floor=True,
        floor_a=6.0,
        held_a=16.0,
        until=125.0,
        written=(-655.0, -155.0),
        goal=GoalMemory(20_000.0, 7145.0, 360.0, 16.0, -65.0),
        habits=known.habits,
    )


def test_a_file_from_before_there_was_knowledge_is_read(tmp_path: Path) -> None:
    saved(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE) as file:
        file.execute("DROP TABLE knowledge")
    file.close()
    assert LimitStore(tmp_path).load(NOON, 1000.0) == {REF: HELD}
