"""The lock on the store: one controller works in it, and a bad disk keeps none from starting."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path

import pytest

from controller.store.store_lock import StoreLockedError, hold_store


def test_hold_store_excludes_other_process_until_released(tmp_path: Path) -> None:
    store = tmp_path / "var" / "store"
    other = f"another controller works in {store}; stop it"
    with hold_store(store), pytest.raises(StoreLockedError, match=other), hold_store(store):
        raise AssertionError("both hold it")
    with hold_store(store):
        pass


def test_hold_store_without_directory_starts_anyway(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    with hold_store(tmp_path / "file" / "below"):
        assert "store directory cannot be opened" in caplog.text


def test_hold_store_without_room_for_file_still_locks(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with hold_store(tmp_path), pytest.raises(StoreLockedError), hold_store(tmp_path):
        raise AssertionError("both hold it")
    tmp_path.chmod(0o700)
    assert list(tmp_path.iterdir()) == []


def test_hold_store_without_file_locks_starts_anyway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(file: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with hold_store(tmp_path):
        assert "reason=No locks available: use a local disk" in caplog.text
