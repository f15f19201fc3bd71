"""A store has one controller."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path

import pytest

from controller.store.database import StoreError
from controller.store.store_lock import FILE, held


def test_nobody_else_gets_in_until_it_is_given_back(tmp_path: Path) -> None:
    store = tmp_path / "var" / "store"
    other = f"another controller works in {store}; stop it"
    with held(store), pytest.raises(StoreError, match=other), held(store):
        raise AssertionError("there are two")
    with held(store):
        assert (store / FILE).stat().st_mode & 0o077 == 0


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StoreError, match=r"store\.directory: .*/lock cannot be used: "),
        held(tmp_path / "file"),
    ):
        raise AssertionError("nothing is held")


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StoreError, match="cannot be locked: No locks available"), held(tmp_path):
        raise AssertionError("nothing is held")
