from __future__ import annotations

from controller.commands.overrides import OverrideBook, OverrideKind, OverrideStored
from controller.model.observations import EvseRef


def pause(evse: int, until: float) -> OverrideStored:
    return OverrideStored("CS01", evse, OverrideKind.PAUSE, 0.0, until, "anna")


def test_overrides_override_is_replaced_by_newer_one() -> None:
    book = OverrideBook()
    book.set(pause(1, 100.0))
    book.set(pause(1, 50.0))
    assert book.find(EvseRef("CS01", 1)) == pause(1, 50.0)
    assert book.measure_next_end(0.0, 0.0) == 50.0


def test_override_ends_by_itself_once() -> None:
    book = OverrideBook()
    book.set(pause(1, 50.0))
    book.set(pause(2, 100.0))
    assert book.take_ended(49.9, 0.0) == []
    assert book.take_ended(50.0, 0.0) == [EvseRef("CS01", 1)]
    assert book.take_ended(50.0, 0.0) == []
    assert book.measure_next_end(50.0, 0.0) == 50.0


def test_removed_override_is_gone() -> None:
    book = OverrideBook()
    book.set(pause(1, 50.0))
    assert book.remove(EvseRef("CS01", 1))
    assert not book.remove(EvseRef("CS01", 1))
    assert book.measure_next_end(0.0, 0.0) is None


def test_override_measures_its_span_by_uptime_of_machine() -> None:
    override = OverrideStored("CS01", 1, OverrideKind.LIMIT, 10.0, 1900.0, "anna", 1000.0, 500.0)
    assert override.measure_left(1e9, 600.0) == 800.0, "the wall clock was set ahead"
    assert override.measure_left(0.0, 600.0) == 800.0, "the wall clock was set back"
    assert override.measure_left(1700.0, 60.0) == 200.0, "the machine was restarted: the wall clock counts"
    assert override.measure_left(0.0, 60.0) == 840.0, "but no longer than the span since then"
