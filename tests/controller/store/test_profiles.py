"""The kept profiles that a restart remembers."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.store.database import StoreFailed
from controller.store.profiles import FILE, KeptProfile, ProfileStore

ONE = KeptProfile("CS01", "ocpp1.6", 0, b'{"chargingProfileId":1}')
TWO = KeptProfile("CS01", "ocpp1.6", 2, b'{"chargingProfileId": 2, "x": "\xc3\xa4"}')
OTHER = KeptProfile("CS02", "ocpp2.1", 0, b"{}")


def test_what_is_saved_is_there_again_and_a_station_replaces_its_own(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path)
    store.save("CS01", [ONE, TWO])
    store.save("CS02", [OTHER])
    store.save("CS01", [TWO])
    store.close()
    assert ProfileStore(tmp_path).load() == [OTHER, TWO]


def test_a_damaged_file_is_told_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database" * 1000)
    with pytest.raises(StoreFailed, match=f"{FILE}.*move a damaged file away"):
        ProfileStore(tmp_path)
