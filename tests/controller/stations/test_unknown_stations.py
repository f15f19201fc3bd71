from __future__ import annotations

from controller.stations.unknown_stations import MOST_UNKNOWN, UnknownStations


def test_attempts_of_one_station_are_counted() -> None:
    book = UnknownStations()
    book.on_unknown("CS9", "192.0.2.1", ["ocpp1.6"], 100.0)
    book.on_unknown("CS9", "192.0.2.2", ["ocpp2.0.1"], 200.0)
    [attempts] = book.latest_first
    assert (attempts.first_seen, attempts.last_seen, attempts.tries) == (100.0, 200.0, 2)
    assert (attempts.peer, attempts.protocols) == ("192.0.2.2", ("ocpp2.0.1",))


def test_unknown_stations_newest_station_is_first_and_oldest_dropped() -> None:
    book = UnknownStations()
    for number in range(MOST_UNKNOWN + 1):
        book.on_unknown(f"CS{number}", "192.0.2.1", [], float(number))
    assert len(book.latest_first) == MOST_UNKNOWN
    assert book.latest_first[0].station == f"CS{MOST_UNKNOWN}"
    assert "CS0" not in {each.station for each in book.latest_first}


def test_unknown_stations_station_that_tries_again_is_not_oldest() -> None:
    book = UnknownStations()
    for number in range(MOST_UNKNOWN):
        book.on_unknown(f"CS{number}", "192.0.2.1", [], float(number))
    book.on_unknown("CS0", "192.0.2.1", [], 1000.0)
    book.on_unknown("new", "192.0.2.1", [], 1001.0)
    stations = {each.station for each in book.latest_first}
    assert "CS0" in stations
    assert "CS1" not in stations


def test_dismissed_station_is_removed() -> None:
    book = UnknownStations()
    book.on_unknown("CS9", "192.0.2.1", [], 1.0)
    assert book.remove("CS9")
    assert not book.remove("CS9")
    assert book.latest_first == []


def test_offered_protocols_are_bounded() -> None:
    book = UnknownStations()
    book.on_unknown("CS9", "192.0.2.1", ["x" * 1000] * 100, 1.0)
    assert sum(map(len, book.latest_first[0].protocols)) <= 160
