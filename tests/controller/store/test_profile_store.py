"""The kept profiles that a restart remembers."""

from __future__ import annotations

from pathlib import Path

from controller.store.profile_store import AbsorbedProfile, ProfileStore

ONE = AbsorbedProfile("CS01", "ocpp1.6", 0, b'{"chargingProfileId":1}')
TWO = AbsorbedProfile("CS01", "ocpp1.6", 2, b'{"chargingProfileId": 2, "x": "\xc3\xa4"}')
OTHER = AbsorbedProfile("CS02", "ocpp2.1", 0, b"{}")


def test_what_is_saved_is_there_again_and_a_station_replaces_its_own(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path)
    store.save("CS01", [ONE, TWO])
    store.save("CS02", [OTHER])
    store.save("CS01", [TWO])
    store.close()
    assert ProfileStore(tmp_path).load() == [OTHER, TWO]
