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
    assert book.ends_at == 50.0


def test_override_ends_by_itself_once() -> None:
    book = OverrideBook()
    book.set(pause(1, 50.0))
    book.set(pause(2, 100.0))
    assert book.take_ended(49.9) == []
    assert book.take_ended(50.0) == [EvseRef("CS01", 1)]
    assert book.take_ended(50.0) == []
    assert book.ends_at == 100.0


def test_removed_override_is_gone() -> None:
    book = OverrideBook()
    book.set(pause(1, 50.0))
    assert book.remove(EvseRef("CS01", 1))
    assert not book.remove(EvseRef("CS01", 1))
    assert book.ends_at is None
