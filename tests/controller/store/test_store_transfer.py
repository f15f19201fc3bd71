"""Export and import of the store: whole, verified, and all or none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from controller.dimming.events import DimmingMemory
from controller.dimming.verification import CommandContext
from controller.model.journal import BootStored, Record
from controller.offline.journal_records import TransactionMapped
from controller.signing.replay_cache import ReplayRecord, SeenText
from controller.store.sqlite_journal import FILE, SqliteJournal
from controller.store.state_journal import StoreError
from controller.store.state_store import StateStore
from controller.store.store_transfer import export_lines, import_entries, open_store_file, read_export
from tests.controller.store.test_record_rules import STORED

RECORDS: list[Record] = [*STORED, ReplayRecord((SeenText(b"\xff", 7.5),), 1.0)]


def exported(folder: Path, records: list[Record] = RECORDS) -> list[bytes]:
    store = StateStore(folder)
    store.persist_now(records)
    store.close()
    return list(export_lines(open_store_file(folder)))


def test_export_and_import_carry_everything_over(tmp_path: Path) -> None:
    lines = exported(tmp_path / "old")
    puts, summary = read_export(lines)
    import_entries(SqliteJournal(tmp_path / "new" / FILE), puts, replace=False)
    # Two values are changed: what was received since the export is not known.
    marked = {b'{"kind":"dimming"', b'{"kind":"replay-forgotten"'}
    for before, after in zip(lines[:-1], export_lines(open_store_file(tmp_path / "new")), strict=False):
        assert before == after or before.partition(b",")[0] in marked
    assert summary.counts["transaction-id"] == 3
    assert StateStore(tmp_path / "new").load(SeenText) == [SeenText(b"\xff", 7.5)]


def test_import_marks_memory_of_received_messages_as_lost(tmp_path: Path) -> None:
    memory = DimmingMemory(saved=5.0, obeyed={"dso": CommandContext(7)})
    puts, _ = read_export(exported(tmp_path / "old", [memory, ReplayRecord((SeenText(b"\xff", 9.0),), 8.0)]))
    import_entries(SqliteJournal(tmp_path / "new" / FILE), puts, replace=False)
    store = StateStore(tmp_path / "new")
    assert store.load(DimmingMemory) == [replace(memory, unknown_until=None)]
    assert store.load(ReplayRecord) == [ReplayRecord((), 8.0, provisional=True)]
    assert store.load(SeenText) == [SeenText(b"\xff", 9.0)]
    assert not store.status.was_lost


def test_export_is_json_lines_with_counts_and_digest(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in exported(tmp_path, [BootStored("CS01", "ACME", "One", "1")])]
    assert lines[0] == {"format": "local-controller store", "version": 1}
    assert lines[1]["key"] == ["CS01"]
    assert lines[1]["value"]["vendor"] == "ACME"
    assert (lines[2]["entries"], lines[2]["counts"]) == (1, {"boot": 1})


@pytest.mark.parametrize("edit", ["value", "line removed", "line doubled", "cut off", "more", "no JSON"])
def test_store_transfer_import_of_edited_export_is_rejected(tmp_path: Path, edit: str) -> None:
    lines = exported(tmp_path)
    match edit:
        case "value":
            lines[3] = lines[3].replace(b"CS01", b"CS02")
        case "line removed":
            del lines[2]
        case "line doubled":
            lines.insert(2, lines[2])
        case "cut off":
            del lines[-1]
        case "more":
            lines.append(lines[1])
        case _:
            lines[2] = b"\xff\n"
    with pytest.raises(StoreError):
        read_export(lines)


def test_import_leaves_filled_store_alone_unless_it_replaces(tmp_path: Path) -> None:
    puts, _ = read_export(exported(tmp_path / "old", [TransactionMapped("CS01", "cpo", 1, 2)]))
    exported(tmp_path / "new", [TransactionMapped("CS09", "cpo", 8, 9)])
    journal = open_store_file(tmp_path / "new")
    with pytest.raises(StoreError, match="--replace"):
        import_entries(journal, puts, replace=False)
    import_entries(journal, puts, replace=True)
    assert StateStore(tmp_path / "new").load(TransactionMapped) == [TransactionMapped("CS01", "cpo", 1, 2)]


def test_import_makes_controller_that_still_runs_on_it_stop_writing(tmp_path: Path) -> None:
    puts, _ = read_export(exported(tmp_path / "old"))
    running = StateStore(tmp_path / "new")
    import_entries(open_store_file(tmp_path / "new"), puts, replace=True)
    with pytest.raises(StoreError, match="another controller"):
        running.persist_now([ReplayRecord((), 5.0)])


def test_open_store_file_of_another_directory_is_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=f"there is no {tmp_path / FILE}"):
        open_store_file(tmp_path)
