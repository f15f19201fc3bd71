"""Messages that backends reject, read from the store for the page and the API."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.ocpp.frames import Version
from controller.offline.journal_records import EntryQueued, EntrySetAside, OutboxEntry, RecordKind
from controller.services.web.record_readers import read_set_aside
from controller.store.state_store import StateStore


def queued(number: int, station: str = "CS01") -> EntryQueued:
    entry = OutboxEntry(
        number=number,
        id=f"m{number}",
        version=Version.V16,
        action="StopTransaction",
        payload=b'{"idTag":"secret"}',
        kind=RecordKind.TRANSACTION,
        taken=1_800_000_000.0 + number,
    )
    return EntryQueued(station, "cpo", entry)


def test_set_aside_messages_are_read_with_reason_and_without_content(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    store.persist_now([queued(3, "CS02"), queued(1), queued(2), queued(4)])
    assert read_set_aside(store) == []
    store.persist_now([EntrySetAside("CS02", "cpo", 3, "a"), EntrySetAside("CS01", "cpo", 4, "b")])
    store.persist_now([EntrySetAside("CS01", "cpo", 1, "GenericError: unknown")])
    found = read_set_aside(store)
    assert [(each.station, each.number, each.reason) for each in found] == [
        ("CS01", 1, "GenericError: unknown"),
        ("CS01", 4, "b"),
        ("CS02", 3, "a"),
    ]
    assert found[0].action == "StopTransaction"
    assert found[0].received == "2027-01-15T08:00:01+00:00"
    assert "secret" not in repr(found)
    store.close()


@pytest.mark.parametrize("records", [[EntrySetAside("CS01", "cpo", 9, "gone")]])
def test_set_aside_message_that_is_not_queued_is_left_out(
    tmp_path: Path, records: list[EntrySetAside]
) -> None:
    store = StateStore(tmp_path)
    store.persist_now(records)
    assert read_set_aside(store) == []
    store.close()
