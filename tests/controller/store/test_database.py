"""A small database: durable, private, and never silently empty where it was not."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from controller.store.boot_store import BootStore
from controller.store.database import Database, StoreError
from controller.store.limit_store import LimitStore
from controller.store.profile_store import ProfileStore
from controller.store.relay_store import RelayStore

SCHEMA = "CREATE TABLE IF NOT EXISTS t (n INTEGER NOT NULL PRIMARY KEY, text TEXT NOT NULL) STRICT"
PUT = "INSERT INTO t VALUES (?, ?)"

Store = BootStore | LimitStore | ProfileStore | RelayStore


def damage_header(path: Path) -> None:
    path.write_bytes(b"this is no database" * 1000)


def damage_page(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[4096:8192] = b"\xff" * 4096
    path.write_bytes(whole)


@pytest.mark.parametrize("damage", [damage_header, damage_page])
def test_a_damaged_file_is_kept_aside_loudly_and_a_new_one_is_begun(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: object
) -> None:
    path = tmp_path / "a.sqlite"
    first = Database(path, SCHEMA, "all numbers")
    first.write((PUT, [(number, "x" * 100) for number in range(500)]))
    first.close()
    assert callable(damage)
    damage(path)
    damaged = path.read_bytes()

    second = Database(path, SCHEMA, "all numbers")
    assert second.rows("SELECT * FROM t") == []
    assert second.moved_aside is not None
    assert second.moved_aside.read_bytes() == damaged
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert second.moved_aside.name in record.getMessage()
    assert "all numbers" in record.getMessage()
    second.write((PUT, [(1, "new")]))
    assert second.rows("SELECT text FROM t WHERE n = ?", (1,)) == [("new",)]


def test_a_damaged_file_that_cannot_be_done_without_stops_us_with_the_mend(tmp_path: Path) -> None:
    damage_header(tmp_path / "a.sqlite")
    with pytest.raises(StoreError, match="move a damaged file away"):
        Database(tmp_path / "a.sqlite", SCHEMA)


def test_a_whole_file_is_not_moved_aside(tmp_path: Path) -> None:
    Database(tmp_path / "a.sqlite", SCHEMA).write((PUT, [(1, "kept")]))
    again = Database(tmp_path / "a.sqlite", SCHEMA)
    assert again.moved_aside is None
    assert again.rows("SELECT text FROM t") == [("kept",)]


def test_nobody_else_reads_the_file(tmp_path: Path) -> None:
    Database(tmp_path / "a.sqlite", SCHEMA)
    assert (tmp_path / "a.sqlite").stat().st_mode & 0o077 == 0


def test_of_a_write_that_fails_nothing_is_there_and_the_next_one_works(tmp_path: Path) -> None:
    database = Database(tmp_path / "a.sqlite", SCHEMA)
    with pytest.raises(StoreError, match="UNIQUE"):
        database.write((PUT, [(1, "a"), (2, "b")]), (PUT, [(1, "again")]))
    assert database.rows("SELECT * FROM t") == []
    database.write((PUT, [(1, "a")]))


def test_a_full_disk_is_told_and_takes_nothing_with_it(tmp_path: Path) -> None:
    database = Database(tmp_path / "a.sqlite", SCHEMA)
    database.write((PUT, [(1, "a")]))
    (pages,) = database.rows("PRAGMA page_count")
    database.rows(f"PRAGMA max_page_count = {pages[0]}")
    with pytest.raises(StoreError, match="full"):
        database.write((PUT, [(number, "x" * 1000) for number in range(2, 100)]))
    assert database.rows("SELECT n FROM t") == [(1,)]
    database.rows("PRAGMA max_page_count = 1000000")
    database.write((PUT, [(2, "there is room again")]))


def test_a_directory_that_cannot_be_used_is_told_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"store\.directory"):
        Database(tmp_path / "file" / "a.sqlite", SCHEMA)


def test_what_is_written_is_there_for_another_connection(tmp_path: Path) -> None:
    Database(tmp_path / "a.sqlite", SCHEMA).write((PUT, [(1, "a")]))
    with sqlite3.connect(tmp_path / "a.sqlite") as other:
        assert other.execute("SELECT text FROM t").fetchall() == [("a",)]


@pytest.mark.parametrize("store", [BootStore, LimitStore, ProfileStore, RelayStore])
def test_of_a_damaged_file_the_log_tells_what_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, store: Callable[[Path], Store]
) -> None:
    store(tmp_path).close()
    (file,) = tmp_path.glob("*.sqlite")
    damage_header(file)
    store(tmp_path)
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert re.search(r"Lost with it: .{20}", record.getMessage())
    assert len(list(tmp_path.glob(f"{file.name}.corrupt-*"))) == 1


def test_damage_after_damage_loses_nothing_of_the_first(tmp_path: Path) -> None:
    path, asides = tmp_path / "a.sqlite", set()
    for _ in range(3):
        damage_header(path)
        database = Database(path, SCHEMA, "all numbers")
        database.close()
        assert database.moved_aside is not None
        asides.add(database.moved_aside)
    assert len(asides) == 3
    assert all(aside.exists() for aside in asides)
