"""The evidence log on disk: months, crashes, and a full disk."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from controller.dimming.evidence_audit import EvidenceAudit, audit
from controller.dimming.evidence_chain import ChainHead, EvidenceKind, read_record
from controller.store.evidence_files import evidence_files
from controller.store.state_journal import StoreError
from controller.store.state_store import StateStore
from tests.scenario.evidence import WrittenEvidenceLog

KEY = ec.derive_private_key(7, ec.SECP256R1())
NOVEMBER = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC).timestamp()


def opened(folder: Path, utc: float = NOVEMBER) -> WrittenEvidenceLog:
    return WrittenEvidenceLog(folder / "evidence", KEY, utc, StateStore(folder))


def look(folder: Path, *checkpoints: bytes) -> EvidenceAudit:
    files = [(path.name, path.read_bytes()) for path in evidence_files(folder / "evidence")]
    return audit(files, [KEY.public_key()], [("kept", each) for each in checkpoints])


def test_evidence_files_chain_continues_after_restart(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.append(EvidenceKind.COMMAND, {"bytes": "e30="}, NOVEMBER)
    first.close()
    again = opened(tmp_path)
    again.append(EvidenceKind.VERDICT, {"reason": None}, NOVEMBER)
    assert look(tmp_path).good
    assert look(tmp_path).records == again.head.count == 2


def test_empty_log_has_no_file_until_first_record(tmp_path: Path) -> None:
    assert opened(tmp_path).head == ChainHead()
    assert evidence_files(tmp_path / "evidence") == []


def test_evidence_files_each_month_has_file_of_one_chain(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append(EvidenceKind.LIMIT, {}, NOVEMBER)
    log.append(EvidenceKind.RELEASE, {}, DECEMBER)
    log.append(EvidenceKind.LIMIT, {}, NOVEMBER)  # the clock was put back: a new file, in its place
    names = [path.name for path in evidence_files(tmp_path / "evidence")]
    assert names == [
        "evidence-000000000-2026-11.jsonl",
        "evidence-000000001-2026-12.jsonl",
        "evidence-000000003-2026-11.jsonl",
    ]
    assert look(tmp_path).good
    assert look(tmp_path).records == 5


def test_files_past_time_are_removed_and_rest_is_whole(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append(EvidenceKind.LIMIT, {}, NOVEMBER)
    log.append(EvidenceKind.RELEASE, {}, DECEMBER)
    two_years = timedelta(days=730)
    assert log.remove_old_files(NOVEMBER + two_years.total_seconds(), two_years) == []
    later = NOVEMBER + timedelta(days=760).total_seconds()
    assert log.remove_old_files(later, two_years) == ["evidence-000000000-2026-11.jsonl"]
    assert look(tmp_path).good
    assert look(tmp_path).first == 1
    assert log.remove_old_files(later * 2, two_years) == []  # the file in use stays, whatever its age


@pytest.mark.parametrize(
    "end", [b"", b"{", b'{"half":', b"\x00" * 4096, b"{}\n", b"\n", b"{}\n{", b"\xff\xff\n\n"]
)
def test_evidence_files_torn_end_is_moved_aside_and_recorded(tmp_path: Path, end: bytes) -> None:
    log = opened(tmp_path)
    log.append(EvidenceKind.COMMAND, {}, NOVEMBER)
    log.append(EvidenceKind.VERDICT, {}, NOVEMBER)
    log.close()
    [path] = evidence_files(tmp_path / "evidence")
    path.write_bytes(path.read_bytes() + end)
    opened(tmp_path).append(EvidenceKind.LIMIT, {}, NOVEMBER)
    assert look(tmp_path).good
    kinds = [read_record(line).kind for line in path.read_bytes().splitlines()]
    assert kinds == ["command", "verdict", *(["torn"] if end else []), "limit"]
    aside = [each.read_bytes() for each in path.parent.glob("*.torn-*")]
    assert aside == ([end] if end else [])


@pytest.mark.parametrize("cut", [1, 2, 50, 300])
def test_evidence_files_record_that_was_cut_short_is_set_aside(tmp_path: Path, cut: int) -> None:
    log = opened(tmp_path)
    for kind in (EvidenceKind.COMMAND, EvidenceKind.VERDICT):
        log.append(kind, {}, NOVEMBER)
    log.close()
    [path] = evidence_files(tmp_path / "evidence")
    path.write_bytes(path.read_bytes()[:-cut])
    opened(tmp_path)
    assert look(tmp_path).good
    kinds = [read_record(line).kind for line in path.read_bytes().splitlines()]
    assert kinds == ["command", "verdict", "torn"]  # the journal still has what was cut off


def test_unreadable_file_is_moved_aside_whole(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append(EvidenceKind.LIMIT, {}, NOVEMBER)
    log.append(EvidenceKind.LIMIT, {}, DECEMBER)
    log.close()
    first, second = evidence_files(tmp_path / "evidence")
    second.write_bytes(b"\x00" * 100)
    opened(tmp_path, DECEMBER)
    assert look(tmp_path).good
    kinds = [
        read_record(line).kind
        for path in evidence_files(first.parent)
        for line in path.read_bytes().splitlines()
    ]
    assert kinds == ["limit", "rotation", "limit", "torn"]


def test_cut_end_is_found_by_checkpoint_though_chain_went_on(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append(EvidenceKind.LIMIT, {}, NOVEMBER)
    kept = log.checkpoint(NOVEMBER)
    log.close()
    assert look(tmp_path, kept).good
    [path] = evidence_files(tmp_path / "evidence")
    path.write_bytes(path.read_bytes().removesuffix(kept))
    assert not look(tmp_path, kept).good
    for file in tmp_path.glob("state.sqlite*"):
        file.unlink()  # the journal would write it again
    opened(tmp_path).append(EvidenceKind.RELEASE, {}, NOVEMBER)
    assert look(tmp_path).good
    assert not look(tmp_path, kept).good


def test_line_that_crash_kept_from_file_is_written_at_next_start(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append(EvidenceKind.COMMAND, {}, NOVEMBER)
    store = log._store
    store.persist_now([*log.prepare([(EvidenceKind.VERDICT, {})], NOVEMBER)])
    store.persist_now([*log.prepare([(EvidenceKind.LIMIT, {})], DECEMBER)])
    opened(tmp_path, DECEMBER)
    kinds = [
        read_record(line).kind
        for path in evidence_files(tmp_path / "evidence")
        for line in path.read_bytes().splitlines()
    ]
    assert kinds == ["command", "verdict", "rotation", "limit"]
    assert look(tmp_path).good


@pytest.mark.parametrize("how", ["removed", "renamed"])
def test_evidence_files_file_that_is_missing_is_found_at_next_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    log = opened(tmp_path)
    log.append(EvidenceKind.LIMIT, {}, NOVEMBER)
    log.append(EvidenceKind.RELEASE, {}, DECEMBER)
    log.close()
    first, second = evidence_files(tmp_path / "evidence")
    if how == "removed":
        first.unlink()
    else:
        first.rename(first.with_suffix(".old"))
    again = opened(tmp_path, DECEMBER)
    assert again.missing == (first.name,)
    assert f"evidence file missing path={first}" in caplog.text
    last = read_record(second.read_bytes().splitlines()[-1])
    assert (last.kind, last.body) == ("torn", {"file": first.name, "missing": True})


def test_file_that_goes_missing_while_running_is_found_once(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append(EvidenceKind.LIMIT, {}, NOVEMBER)
    log.append(EvidenceKind.RELEASE, {}, DECEMBER)
    first, _ = evidence_files(tmp_path / "evidence")
    first.unlink()
    count = log.head.count
    log.record_missing_files(DECEMBER)
    log.record_missing_files(DECEMBER)
    assert log.head.count == count + 1


def test_retired_file_is_not_missed(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append(EvidenceKind.LIMIT, {}, NOVEMBER)
    log.append(EvidenceKind.RELEASE, {}, DECEMBER)
    log.remove_old_files(NOVEMBER + 760 * 86_400, timedelta(days=730))
    log.close()
    assert opened(tmp_path, DECEMBER).missing == ()


@pytest.mark.parametrize("wrong", [3000.0, NOVEMBER + 10 * 365 * 86_400], ids=["1970", "2036"])
def test_file_of_wrong_clock_is_kept_as_long_as_others(tmp_path: Path, wrong: float) -> None:
    log = opened(tmp_path, wrong)
    log.append(EvidenceKind.LIMIT, {"clockTrusted": False}, wrong)
    log.append(EvidenceKind.RELEASE, {}, NOVEMBER)  # the clock was set
    log.append(EvidenceKind.LIMIT, {}, DECEMBER)
    first, second, _ = (path.name for path in evidence_files(tmp_path / "evidence"))
    two_years = timedelta(days=730)
    assert log.remove_old_files(DECEMBER, two_years) == []
    assert log.remove_old_files(DECEMBER + 729 * 86_400, two_years) == []
    assert log.remove_old_files(DECEMBER + 760 * 86_400, two_years) == [first, second]
    assert look(tmp_path).good


def test_last_file_removed_is_found_and_chain_does_not_begin_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = opened(tmp_path)
    for _ in range(3):
        log.append(EvidenceKind.LIMIT, {}, NOVEMBER)
    head = log.head
    log.close()
    [path] = evidence_files(tmp_path / "evidence")
    path.unlink()
    again = opened(tmp_path)
    assert "evidence records missing" in caplog.text
    assert again.head.count > head.count
    assert not look(tmp_path).good


def test_files_of_earlier_version_are_continued(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append(EvidenceKind.LIMIT, {}, NOVEMBER)
    log.close()
    for file in tmp_path.glob("state.sqlite*"):
        file.unlink()
    again = opened(tmp_path, DECEMBER)
    again.append(EvidenceKind.RELEASE, {}, DECEMBER)
    assert again.missing == ()
    assert look(tmp_path).good


def test_evidence_files_full_disk_leaves_no_half_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = opened(tmp_path)
    log.append(EvidenceKind.COMMAND, {}, NOVEMBER)
    write = os.write

    def full(file: int, data: bytes) -> int:
        write(file, data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(StoreError, match="leave room on its disk"):
            log.append(EvidenceKind.VERDICT, {}, NOVEMBER)
    log.append(EvidenceKind.LIMIT, {}, NOVEMBER)
    assert look(tmp_path).good
    assert look(tmp_path).records == 3  # what had no room is there, too


def test_evidence_files_write_in_pieces_is_written_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:7]))
    opened(tmp_path).append(EvidenceKind.LIMIT, {"w": 4200}, NOVEMBER)
    assert look(tmp_path).good


def test_evidence_files_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "evidence").write_text("a file")
    log = opened(tmp_path)
    with pytest.raises(StoreError, match="evidence cannot be written to"):
        log.append(EvidenceKind.LIMIT, {}, NOVEMBER)
    (tmp_path / "evidence").unlink()
    log.append(EvidenceKind.RELEASE, {}, NOVEMBER)
    assert look(tmp_path).records == 2


WRITER = """
import sys
from pathlib import Path
from cryptography.hazmat.primitives.asymmetric import ec
from controller.dimming.evidence_chain import EvidenceKind
from tests.scenario.evidence import WrittenEvidenceLog
from controller.store.state_store import StateStore

folder = Path(sys.argv[1])
key = ec.derive_private_key(7, ec.SECP256R1())
log = WrittenEvidenceLog(folder, key, 1795262400.0, StateStore(folder.parent))
while True:
    log.append(EvidenceKind.READINGS, {"padding": "x" * 5000}, 1795262400.0)
    print(log.head.count, flush=True)
"""


def test_evidence_files_written_line_survives_a_kill(tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    with subprocess.Popen([sys.executable, "-c", WRITER, folder], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        printed = [int(writer.stdout.readline()) for _ in range(20)][-1]
        writer.kill()
        printed = max([printed, *(int(line) for line in writer.stdout if line.endswith(b"\n"))])
    log = opened(tmp_path)
    assert log.head.count >= printed
    log.append(EvidenceKind.RELEASE, {}, NOVEMBER)
    assert look(tmp_path).good
