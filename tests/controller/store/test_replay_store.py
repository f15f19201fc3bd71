"""What has been seen stays seen when the controller starts anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.signing.payload_signatures import KeyId
from controller.signing.replay_cache import ReplayCache, ReplayRecord
from controller.store.database import StoreError
from controller.store.replay_store import FILE, ReplayStore

ALICE = KeyId("secp256r1", b"alice")
NOW = 1_795_269_600.0


def take(cache: ReplayCache, store: ReplayStore, digest: bytes, utc: float) -> bool:
    taken = cache.add([ALICE], digest, utc, utc)
    if isinstance(taken, ReplayRecord):
        store.save(taken)
        return True
    return False


def restarted(store: ReplayStore, directory: Path) -> tuple[ReplayCache, ReplayStore]:
    store.close()
    store = ReplayStore(directory)
    cache = ReplayCache(300)
    cache.load(store.load())
    return cache, store


def test_a_restart_makes_nothing_new(tmp_path: Path) -> None:
    cache, store = restarted(ReplayStore(tmp_path), tmp_path)
    assert take(cache, store, b"1", NOW)
    cache, store = restarted(store, tmp_path)
    assert not take(cache, store, b"1", NOW)
    assert take(cache, store, b"2", NOW + 1000)
    assert len(store.load().seen) == 1
    cache, store = restarted(store, tmp_path)
    assert not take(cache, store, b"1", NOW)
    assert not take(cache, store, b"2", NOW + 1000)
    assert take(cache, store, b"3", NOW + 1001)


def test_a_damaged_file_is_no_empty_one(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(StoreError, match=FILE):
        ReplayStore(tmp_path)
