"""Free space of the store's disk, and when it is low."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.store.disk_space import MIB, DiskSpace, read_disk_space
from controller.store.state_store import StateStore


@pytest.mark.parametrize(
    ("size_mb", "bound_mb"),
    [(500, 100), (8000, 800), (1_000_000, 2048)],
    ids=["small disk", "memory card", "large disk"],
)
def test_disk_space_is_low_below_bound_of_its_size(size_mb: int, bound_mb: int) -> None:
    at_bound = DiskSpace(bound_mb * MIB, size_mb * MIB)
    assert not at_bound.is_low()
    assert DiskSpace(at_bound.free_bytes - 1, at_bound.size_bytes).is_low()


def test_disk_space_of_absent_directory_is_unknown(tmp_path: Path) -> None:
    assert read_disk_space(tmp_path / "absent") is None
    found = read_disk_space(tmp_path)
    assert found is not None
    assert 0 <= found.free_bytes <= found.size_bytes


def test_store_space_is_low_until_it_is_well_above_bound(tmp_path: Path) -> None:
    free_mb = iter((900, 799, 801, 999, 1001, 801))
    store = StateStore(tmp_path, read_space=lambda _: DiskSpace(next(free_mb) * MIB, 8000 * MIB))
    seen = []
    for _ in range(6):
        store.check()
        seen.append(store.status.is_low)
    store.close()
    assert seen == [False, True, True, True, False, False]


def test_store_space_that_cannot_be_read_is_not_low(tmp_path: Path) -> None:
    store = StateStore(tmp_path, read_space=lambda _: None)
    store.check()
    store.close()
    assert (store.status.space, store.status.is_low) == (None, False)
