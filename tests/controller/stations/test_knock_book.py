from __future__ import annotations

from controller.stations.knock_book import MOST_KNOCKS, KnockBook


def test_attempts_of_one_station_are_counted() -> None:
    book = KnockBook()
    book.on_unknown("CS9", "192.0.2.1", ["ocpp1.6"], 100.0)
    book.on_unknown("CS9", "192.0.2.2", ["ocpp2.0.1"], 200.0)
    [knock] = book.knocks
    assert (knock.first_seen, knock.last_seen, knock.tries) == (100.0, 200.0, 2)
    assert (knock.peer, knock.protocols) == ("192.0.2.2", ("ocpp2.0.1",))


def test_knock_book_newest_station_is_first_and_oldest_dropped() -> None:
    book = KnockBook()
    for number in range(MOST_KNOCKS + 1):
        book.on_unknown(f"CS{number}", "192.0.2.1", [], float(number))
    assert len(book.knocks) == MOST_KNOCKS
    assert book.knocks[0].station == f"CS{MOST_KNOCKS}"
    assert "CS0" not in {each.station for each in book.knocks}


def test_knock_book_station_that_tries_again_is_not_oldest() -> None:
    book = KnockBook()
    for number in range(MOST_KNOCKS):
        book.on_unknown(f"CS{number}", "192.0.2.1", [], float(number))
    book.on_unknown("CS0", "192.0.2.1", [], 1000.0)
    book.on_unknown("new", "192.0.2.1", [], 1001.0)
    stations = {each.station for each in book.knocks}
    assert "CS0" in stations
    assert "CS1" not in stations


def test_dismissed_station_is_removed() -> None:
    book = KnockBook()
    book.on_unknown("CS9", "192.0.2.1", [], 1.0)
    assert book.remove("CS9")
    assert not book.remove("CS9")
    assert book.knocks == []


def test_offered_protocols_are_bounded() -> None:
    book = KnockBook()
    book.on_unknown("CS9", "192.0.2.1", ["x" * 1000] * 100, 1.0)
    assert sum(map(len, book.knocks[0].protocols)) <= 160
