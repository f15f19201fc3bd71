"""The relays' memory on disk: the same words come back, many at once in few commits, all or none."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from controller.ocpp.frames import Version
from controller.relay.answers import MOST_REMEMBERED
from controller.relay.saving import (
    Answered,
    Authorised,
    Entry,
    Gone,
    Kind,
    ListVersion,
    Mapped,
    Queued,
    Sent,
    SetAside,
    Told,
    Unmapped,
    Word,
)
from controller.store.relay import RelayStore

ENTRY = Entry(
    number=7, id="m7", version=Version.V16, action="StartTransaction",
    payload=b'{"connectorId": 1, "idTag":"\\u00e4"}', kind=Kind.TRANSACTION, taken=1.5,
    transaction=2_100_000_000,
)  # fmt: skip
LASTING: list[Word] = [
    Queued("CS01", "cpo", ENTRY),
    Answered("CS01", "print", b"{}"),
    Mapped("CS01", "cpo", 2_100_000_000, None),
    Mapped("CS01", "fleet", 5, 6),
    Told("CS01", "boot", Version.V21, "BootNotification", b'{ "reason":"PowerUp"}'),
    Authorised("CS01", "cache", "hash", "Accepted", 99.5, "group"),
    ListVersion("CS01", 3),
]


def test_what_is_saved_comes_back_as_it_was(tmp_path: Path) -> None:
    RelayStore(tmp_path).write(LASTING)
    assert list(RelayStore(tmp_path).load("CS01").words) == LASTING


def test_one_station_is_loaded_alone(tmp_path: Path) -> None:
    store = RelayStore(tmp_path)
    store.write([*LASTING, Mapped("CS02", "cpo", 1, 2)])
    assert list(store.load("CS01").words) == LASTING
    assert list(store.load("CS02").words) == [Mapped("CS02", "cpo", 1, 2)]


def test_a_later_word_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    store = RelayStore(tmp_path)
    store.write(LASTING)
    store.write([Sent("CS01", "cpo", 7), Mapped("CS01", "cpo", 2_100_000_000, 12), ListVersion("CS01", 4)])
    words = list(store.load("CS01").words)
    assert Queued("CS01", "cpo", msgspec.structs.replace(ENTRY, sent=True)) in words
    assert Mapped("CS01", "cpo", 2_100_000_000, 12) in words
    assert [word for word in words if isinstance(word, ListVersion)] == [ListVersion("CS01", 4)]


def test_what_is_over_is_gone(tmp_path: Path) -> None:
    store = RelayStore(tmp_path)
    store.write(LASTING)
    store.write([
        Gone("CS01", "cpo", 7), Unmapped("CS01", "cpo", 2_100_000_000), Unmapped("CS01", "fleet", 5),
        Told("CS01", "boot", Version.V21, "BootNotification", None),
        Authorised("CS01", "cache", "hash", None),
    ])  # fmt: skip
    assert list(store.load("CS01").words) == [Answered("CS01", "print", b"{}"), ListVersion("CS01", 3)]


def test_what_is_set_aside_waits_no_more_and_is_kept(tmp_path: Path) -> None:
    store = RelayStore(tmp_path)
    store.write(LASTING[:1])
    store.write([SetAside("CS01", "cpo", 7, "FormationViolation")])
    assert not any(isinstance(word, Queued) for word in store.load("CS01").words)
    assert RelayStore(tmp_path).set_aside() == [(LASTING[0], "FormationViolation")]


def test_entries_come_back_in_their_order(tmp_path: Path) -> None:
    store = RelayStore(tmp_path)
    entries = [msgspec.structs.replace(ENTRY, number=number, id=f"m{number}") for number in (1, 2, 10)]
    store.write([Queued("CS01", "cpo", entry) for entry in reversed(entries)])
    loaded = [word.entry for word in list(store.load("CS01").words) if isinstance(word, Queued)]
    assert loaded == entries


def test_the_answers_that_are_kept_are_bounded_and_the_newest(tmp_path: Path) -> None:
    store = RelayStore(tmp_path)
    store.write([Answered("CS01", f"p{number}", b"{}") for number in range(MOST_REMEMBERED + 3)])
    store.write([Answered("CS02", "other", b"{}")])
    prints = [word.fingerprint for word in list(store.load("CS01").words) if isinstance(word, Answered)]
    assert prints == [f"p{number}" for number in range(3, MOST_REMEMBERED + 3)]


def test_a_damaged_file_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "relay.sqlite").write_bytes(b"no database" * 1000)
    store = RelayStore(tmp_path)
    assert store.moved_aside is not None
    assert "relay.sqlite is damaged" in caplog.text


def test_a_number_that_is_used_again_takes_no_place_of_what_was_set_aside(tmp_path: Path) -> None:
    store = RelayStore(tmp_path)
    for reason in ("FormationViolation", "NotSupported"):
        store.write([LASTING[0], SetAside("CS01", "cpo", 7, reason)])
    assert [why for _, why in store.set_aside()] == ["FormationViolation", "NotSupported"]


@pytest.mark.parametrize("big", [2**63, -(10**30)])
def test_numbers_of_others_may_have_any_size(tmp_path: Path, big: int) -> None:
    words: list[Word] = [Mapped("CS01", "cpo", big, big), ListVersion("CS01", big)]
    RelayStore(tmp_path).write(words)
    assert list(RelayStore(tmp_path).load("CS01").words) == words
