"""Stations that were removed while the controller runs, until they are gone."""

from __future__ import annotations

from controller.stations.removed_stations import RemovedStations


def test_removed_station_without_tries_is_gone_after_its_time() -> None:
    removed = RemovedStations(1800.0)
    removed.set_stations(["CS01"], 100.0)
    assert removed.note_tries(lambda _: 0, 200.0) == []
    assert removed.find_gone(1899.0) == []
    assert removed.find_gone(1900.0) == ["CS01"]


def test_removed_station_that_tries_stays_and_is_named_once() -> None:
    removed = RemovedStations(1800.0)
    removed.set_stations(["CS01", "CS02"], 0.0)
    tries = {"CS01": 0, "CS02": 1}
    assert removed.note_tries(tries.__getitem__, 1700.0) == ["CS02"]
    tries["CS02"] = 2
    assert removed.note_tries(tries.__getitem__, 1750.0) == []
    assert removed.find_gone(1800.0) == ["CS01"]
    assert removed.find_gone(3550.0) == ["CS01", "CS02"]


def test_removed_station_of_next_reload_keeps_its_time() -> None:
    removed = RemovedStations(1800.0)
    removed.set_stations(["CS01"], 0.0)
    removed.set_stations(["CS01", "CS00"], 1000.0)
    assert list(removed.stations) == ["CS01", "CS00"]
    assert removed.find_gone(1800.0) == ["CS01"]


def test_removed_station_that_is_back_is_not_gone() -> None:
    removed = RemovedStations(1800.0)
    removed.set_stations(["CS01"], 0.0)
    removed.set_stations([], 10.0)
    assert removed.find_gone(9999.0) == []
