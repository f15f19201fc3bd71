"""The journal in its SQLite file: all or none, in order, with a rising token, on a bad disk."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from controller.store.sqlite_journal import (
    FILE,
    MIGRATIONS,
    MOST_ASIDE,
    MOST_WAL_BYTES,
    DamagedFileError,
    SqliteJournal,
    move_aside,
    open_database,
)
from controller.store.state_journal import (
    Change,
    Delete,
    DeleteBelow,
    JournalEntry,
    KeepLast,
    Put,
    StaleTokenError,
    StoreError,
)


def values(journal: SqliteJournal, kind: str = "a", *prefixes: str) -> list[bytes]:
    return [entry.value for entry in journal.load(kind, *prefixes)]


def damage_header(path: Path) -> None:
    path.write_bytes(b"this is no database" * 1000)


def damage_page(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[4096:8192] = b"\xff" * 4096
    path.write_bytes(whole)


def test_sqlite_journal_commit_is_there_for_next_start(tmp_path: Path) -> None:
    first = SqliteJournal(tmp_path / FILE)
    first.commit([Put("a", "[1]", b"one"), Put("b", "[1]", b"other")], 1)
    first.close()
    again = SqliteJournal(tmp_path / FILE)
    assert again.load("a") == [JournalEntry(1, "a", "[1]", b"one")]
    assert again.token == 1


def test_commit_without_close_is_there_for_another_reader(tmp_path: Path) -> None:
    SqliteJournal(tmp_path / FILE).commit([Put("a", "[1]", b"one")], 1)
    with closing(sqlite3.connect(f"file:{tmp_path / FILE}?mode=ro", uri=True)) as other:
        assert other.execute("SELECT value FROM entries").fetchall() == [(b"one",)]


def test_sqlite_journal_put_of_known_key_replaces_it_as_last(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / FILE)
    journal.commit([Put("a", "[1]", b"one"), Put("a", "[2]", b"two"), Put("a", "[1]", b"new")], 1)
    assert values(journal) == [b"two", b"new"]


def test_delete_removes_one_key_and_delete_below_all_before_key(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / FILE)
    journal.commit([Put(kind, f"[{key}]", b"%d" % key) for kind in "ab" for key in range(5)], 1)
    journal.commit([Delete("a", "[4]"), DeleteBelow("a", "[2]")], 1)
    assert values(journal) == [b"2", b"3"]
    assert len(values(journal, "b")) == 5


@pytest.mark.parametrize(("count", "kept"), [(2, [b"3", b"4"]), (5, 5), (9, 5)])
def test_sqlite_journal_keep_last_removes_lowest_keys(
    tmp_path: Path, count: int, kept: list[bytes] | int
) -> None:
    journal = SqliteJournal(tmp_path / FILE)
    journal.commit([Put(kind, f"[{key}]", b"%d" % key) for kind in "ab" for key in (4, 0, 3, 1, 2)], 1)
    journal.commit([KeepLast("a", count)], 1)
    found = sorted(values(journal))
    assert kept in (found, len(found))
    assert len(values(journal, "b")) == 5


def test_sqlite_journal_load_with_prefix_returns_those_keys_alone(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / FILE)
    keys = ['["CS1","x"]', '["CS10","x"]', '["CS1","\U0010fffe"]']
    journal.commit([Put("a", key, key.encode()) for key in keys], 1)
    assert values(journal, "a", '["CS1",') == [keys[0].encode(), keys[2].encode()]
    assert values(journal, "a", '["CS10",', '["CS1","x') == [keys[0].encode(), keys[1].encode()]
    assert values(journal, "a", '["CS', '["CS1') == [key.encode() for key in keys]


def test_sqlite_journal_follow_returns_what_was_put_since(tmp_path: Path) -> None:
    journal, other = SqliteJournal(tmp_path / FILE), SqliteJournal(tmp_path / FILE)
    journal.commit([Put("a", "[1]", b"one")], 1)
    [seen] = journal.follow("a", 0)
    other.commit([Put("a", "[2]", b"two"), Put("b", "[3]", b"three")], 1)
    assert [entry.value for entry in journal.follow("a", seen.place)] == [b"two"]


def test_sqlite_journal_failed_commit_leaves_nothing_of_it(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / FILE)
    journal.commit([Put("a", "[1]", b"one")], 1)
    (pages,) = journal._connection.execute("PRAGMA page_count").fetchone()
    journal._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match="full"):
        journal.commit([Put("a", f"[{key}]", b"x" * 1000) for key in range(100)], 1)
    assert values(journal) == [b"one"]
    journal._connection.execute("PRAGMA max_page_count = 1000000")
    journal.commit([Put("a", "[2]", b"there is room again")], 1)
    assert len(values(journal)) == 2


class SlowChanges(list[Change]):
    """Changes on which a commit waits until `go_on` is set."""

    def __init__(self, *changes: Change) -> None:
        super().__init__(changes)
        self.is_open, self.go_on = threading.Event(), threading.Event()

    def __iter__(self) -> Iterator[Change]:
        self.is_open.set()
        self.go_on.wait(10)
        return super().__iter__()


def test_sqlite_journal_load_waits_for_no_commit(tmp_path: Path) -> None:
    with closing(SqliteJournal(tmp_path / FILE)) as journal:
        journal.commit([Put("a", "[1]", b"one")], 1)
        changes = SlowChanges(Put("a", "[2]", b"two"))
        commit = threading.Thread(target=journal.commit, args=(changes, 2))
        commit.start()
        assert changes.is_open.wait(10)
        assert values(journal) == [b"one"]
        assert commit.is_alive()
        changes.go_on.set()
        commit.join()
        assert values(journal) == [b"one", b"two"]


def test_sqlite_journal_stale_token_fails_whole_commit(tmp_path: Path) -> None:
    old, new = SqliteJournal(tmp_path / FILE), SqliteJournal(tmp_path / FILE)
    old.commit([Put("a", "[1]", b"old")], 1)
    new.commit([Put("a", "[1]", b"new")], 2)
    with pytest.raises(StaleTokenError, match="another controller writes"):
        old.commit([Put("a", "[1]", b"late"), Put("a", "[2]", b"late")], 1)
    assert values(new) == [b"new"]


@pytest.mark.parametrize("damage", [damage_header, damage_page])
def test_damaged_file_is_not_opened(tmp_path: Path, damage: object) -> None:
    path = tmp_path / FILE
    journal = SqliteJournal(path)
    journal.commit([Put("a", f"[{key}]", b"x" * 100) for key in range(500)], 1)
    journal.close()
    assert callable(damage)
    damage(path)
    with pytest.raises(DamagedFileError):
        SqliteJournal(path)


def test_move_aside_keeps_the_newest_of_each_reason(tmp_path: Path) -> None:
    file = tmp_path / FILE
    for number in range(MOST_ASIDE + 2):
        for part in (file, tmp_path / f"{FILE}-wal"):
            part.write_text(str(number))
        move_aside(file, "corrupt")
    file.touch()
    replaced = move_aside(file, "replaced")
    left = [each for each in tmp_path.iterdir() if each != replaced]
    assert len(left) == 2 * MOST_ASIDE, "each with its log"
    assert {each.read_text() for each in left} == {"2", "3", "4"}


def test_sqlite_journal_log_is_cut_after_a_long_reader(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / FILE)
    reader = open_database(tmp_path / FILE)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM entries").fetchone()
    for number in range(5):
        journal.commit([Put("outbox", str(number), b"x" * (MOST_WAL_BYTES // 4))], 1)
    reader.execute("COMMIT")
    reader.close()
    assert (tmp_path / f"{FILE}-wal").stat().st_size > MOST_WAL_BYTES
    for number in range(3):
        journal.commit([Put("outbox", str(number), b"y" * 4096)], 1)
    assert (tmp_path / f"{FILE}-wal").stat().st_size <= MOST_WAL_BYTES
    journal.close()


def test_sqlite_journal_file_is_readable_by_owner_alone(tmp_path: Path) -> None:
    SqliteJournal(tmp_path / FILE)
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0


def test_sqlite_journal_directory_that_cannot_be_used_is_named_with_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"store\.directory: .* let the controller's user write there"):
        SqliteJournal(tmp_path / "file" / FILE)


def test_sqlite_journal_file_of_newer_version_is_left_alone(tmp_path: Path) -> None:
    SqliteJournal(tmp_path / FILE).close()
    with closing(sqlite3.connect(tmp_path / FILE)) as database:
        database.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
        database.execute(f"PRAGMA application_id = {len(MIGRATIONS) + 1}")
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(StoreError, match="install the newer version again"):
        SqliteJournal(tmp_path / FILE)
    assert (tmp_path / FILE).read_bytes() == before


def test_sqlite_journal_newer_file_that_names_this_version_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = (*MIGRATIONS, "ALTER TABLE entries ADD COLUMN note TEXT;")
    with monkeypatch.context() as patch:
        patch.setattr("controller.store.sqlite_journal.MIGRATIONS", newer)
        patch.setattr("controller.store.sqlite_journal.READABLE_FROM", {len(newer): len(MIGRATIONS)})
        journal = SqliteJournal(tmp_path / FILE)
        journal.commit([Put("a", "[1]", b"one")], 1)
        journal.close()
    journal = SqliteJournal(tmp_path / FILE)  # the package was taken back
    assert values(journal) == [b"one"]
    journal.commit([Put("a", "[2]", b"two")], journal.token)
    assert journal._connection.execute("PRAGMA user_version").fetchone() == (len(newer),)
    journal.close()
    monkeypatch.setattr("controller.store.sqlite_journal.MIGRATIONS", newer)
    assert values(SqliteJournal(tmp_path / FILE)) == [b"one", b"two"]


def test_sqlite_journal_migrations_run_one_after_other_from_older_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SqliteJournal(tmp_path / FILE).commit([Put("a", "[1]", b"one")], 1)
    more = ("CREATE TABLE more (n INTEGER) STRICT;", "INSERT INTO more SELECT count(*) FROM entries;")
    monkeypatch.setattr("controller.store.sqlite_journal.MIGRATIONS", (*MIGRATIONS, *more))
    with pytest.raises(StoreError, match="is of an earlier version; restart the controller"):
        SqliteJournal(tmp_path / FILE)  # a subcommand beside the controller of the version before
    journal = SqliteJournal(tmp_path / FILE, migrates=True)
    assert journal._connection.execute("SELECT n FROM more").fetchall() == [(1,)]
    assert journal._connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 2,)
    assert values(journal) == [b"one"]


@pytest.mark.parametrize("replaced", [False, True])
def test_file_removed_while_open_is_written_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, *, replaced: bool
) -> None:
    journal = SqliteJournal(tmp_path / FILE)
    journal.commit([Put("a", "[1]", b"one")], 1)
    for path in tmp_path.iterdir():
        path.unlink()
    if replaced:
        (tmp_path / FILE).write_bytes(b"")
    journal.commit([Put("a", "[2]", b"two")], 1)
    journal.close()
    assert values(SqliteJournal(tmp_path / FILE)) == [b"one", b"two"]
    assert "store file removed or replaced while in use" in caplog.text


def test_text_that_is_not_utf_8_matches_no_key(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / FILE)
    journal.commit([Put("a", "[1]", b"one"), Put("a", "[2]", b"two")], 1)
    journal._connection.execute("UPDATE entries SET key = CAST(x'5bff5d' AS TEXT) WHERE key = '[1]'")
    assert [entry.key for entry in journal.load("a")] == ["[\\xff]", "[2]"]
