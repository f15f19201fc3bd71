"""The boots that a restart of ours remembers."""

from __future__ import annotations

from pathlib import Path

from controller.model.observations import Booted
from controller.store.boot_store import BootStore

OLD = Booted("Wall Box Chargers", "PLP1-0-2-4", "5.17.87")
NEW = Booted("Wall Box Chargers", "PLP1-0-2-4", "6.7.38")


def test_the_last_boot_of_each_station_is_there_again(tmp_path: Path) -> None:
    store = BootStore(tmp_path)
    assert store.load() == {}
    store.save("CS01", OLD)
    store.save("CS02", OLD)
    store.save("CS01", NEW)
    store.save("CS01", NEW)
    assert store.load() == {"CS01": NEW, "CS02": OLD}
    store.close()
    assert BootStore(tmp_path).load() == {"CS01": NEW, "CS02": OLD}
