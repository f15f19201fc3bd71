"""Two sides, two numbers: what passes between them, and what must not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.model.journal import Record
from controller.offline.journal_records import NewestTransactionId, TransactionMapped, TransactionUnmapped
from controller.offline.transaction_id_map import (
    FIRST_ID,
    MOST_ID,
    MOST_PAST,
    IdRewriteError,
    TransactionIdMap,
)

UTC = 1_800_000_000.0


def _payload(**members: Any) -> bytes:
    return json.dumps(members).encode()


def _mapped(own: int, theirs: int) -> TransactionIdMap:
    ids = TransactionIdMap("CS01", "csms")
    ids.expect_backend_id(own)
    ids.set_backend_id(own, theirs)
    return ids


def _given(utc: float, count: int, ids: TransactionIdMap, taken: set[int]) -> list[int]:
    return [ids.allocate_id(utc, taken)[0] for _ in range(count)]


@pytest.mark.parametrize("utc", [0.0, UTC, 2.0**27 - 1, 2.0**31, 4e9])
def test_transaction_id_map_own_ids_are_new_and_near_maximum(utc: float) -> None:
    ids = TransactionIdMap("CS01", "csms")
    first = _given(utc, 3, ids, set())
    others = _given(utc, 3, TransactionIdMap("CS01", "csms"), set(first))
    assert len({*first, *others}) == 6
    assert all(FIRST_ID <= number <= MOST_ID for number in (*first, *others))


def test_transaction_id_map_ids_given_before_restart_are_not_given_again() -> None:
    ids = TransactionIdMap("CS01", "csms")
    before = []
    for _ in range(5):
        number, records = ids.allocate_id(UTC)
        assert TransactionMapped("CS01", "csms", number, None) in records
        before.append(number)
        ids.end_transaction(number)
    assert TransactionIdMap("CS01", "csms").allocate_id(UTC + 5)[0] not in before


@pytest.mark.parametrize("later", [UTC, UTC - 3600, 0.0])
def test_transaction_id_map_clock_set_back_over_restart_gives_higher_id(later: float) -> None:
    ids, stored = TransactionIdMap("CS01", "csms"), list[Record]()
    for utc in (UTC, UTC + 1):
        newest, records = ids.allocate_id(utc)
        stored += records
        ids.end_transaction(newest)
    restored = TransactionIdMap("CS01", "csms")
    restored.restore([each for each in stored if not isinstance(each, TransactionMapped)])
    assert restored.allocate_id(later)[0] == newest + 1


def test_transaction_id_map_stored_id_out_of_range_counts_as_none() -> None:
    ids = TransactionIdMap("CS01", "csms")
    ids.restore([NewestTransactionId("CS01", "csms", 2**40), NewestTransactionId("CS02", "csms", MOST_ID)])
    assert ids.allocate_id(0.0)[0] == FIRST_ID


def test_transaction_id_map_clock_that_goes_back_gives_no_id_twice() -> None:
    ids = TransactionIdMap("CS01", "csms")
    numbers = [ids.allocate_id(utc)[0] for utc in (UTC, UTC - 3600, UTC + 1, UTC - 1e9, UTC + 1)]
    assert len(set(numbers)) == 5


@pytest.mark.parametrize(
    ("action", "payload"),
    [
        ("MeterValues", _payload(connectorId=1, transactionId=7, meterValue=[])),
        ("StopTransaction", _payload(transactionId=7, meterStop=7, timestamp="7")),
    ],
)
def test_transaction_id_map_translates_id_for_backend(action: str, payload: bytes) -> None:
    expected = payload.replace(b'"transactionId": 7', b'"transactionId": 123')
    assert _mapped(7, 123).translate_for_backend(action, payload) == expected


@pytest.mark.parametrize(
    ("action", "payload"),
    [
        ("RemoteStopTransaction", _payload(transactionId=123)),
        (
            "SetChargingProfile",
            _payload(connectorId=123, csChargingProfiles={"transactionId": 123, "x": 123}),
        ),
        ("RemoteStartTransaction", _payload(idTag="123", chargingProfile={"transactionId": 123})),
    ],
)
def test_transaction_id_map_translates_id_for_station(action: str, payload: bytes) -> None:
    expected = payload.replace(b'"transactionId": 123', b'"transactionId": 7')
    assert _mapped(7, 123).translate_for_station(action, payload) == expected


@pytest.mark.parametrize(
    ("action", "payload"),
    [
        ("DataTransfer", _payload(vendorId="x", transactionId=7)),
        ("TransactionEvent", _payload(transactionInfo={"transactionId": "7"})),
        ("MeterValues", _payload(connectorId=1, meterValue=[])),
        ("StopTransaction", _payload(transactionId=-1)),
        ("StopTransaction", _payload(transactionId=8)),
        ("StopTransaction", _payload(transactionId=8, signatures=[])),
        ("MeterValues-Signed", _payload(transactionId=7)),
    ],
)
def test_id_map_foreign_id_passes_to_backend_unchanged(action: str, payload: bytes) -> None:
    assert _mapped(7, 123).translate_for_backend(action, payload) is payload


def test_id_map_foreign_id_passes_to_station_unchanged() -> None:
    payload = _payload(transactionId=8)
    assert _mapped(7, 123).translate_for_station("RemoteStopTransaction", payload) is payload
    assert TransactionIdMap("CS01", "csms").translate_for_station("RemoteStopTransaction", payload) is payload


@pytest.mark.parametrize("signed", [{"signatures": [{"keyId": "x"}]}, {"customData": {"signatures": []}}])
def test_transaction_id_map_signed_message_is_not_changed(signed: dict[str, Any]) -> None:
    ids = _mapped(7, 123)
    assert isinstance(
        ids.translate_for_backend("StopTransaction", _payload(transactionId=7, **signed)), IdRewriteError
    )
    assert isinstance(
        ids.translate_for_station("RemoteStopTransaction", _payload(transactionId=123, **signed)),
        IdRewriteError,
    )


def test_signed_message_with_same_id_on_both_sides_passes() -> None:
    payload = _payload(transactionId=7, signatures=[])
    assert _mapped(7, 7).translate_for_backend("StopTransaction", payload) == payload


def test_foreign_transaction_number_stops_no_other_transaction() -> None:
    ids = _mapped(7, 123)
    assert isinstance(
        ids.translate_for_station("RemoteStopTransaction", _payload(transactionId=7)), IdRewriteError
    )
    assert isinstance(
        ids.translate_for_backend("StopTransaction", _payload(transactionId=123)), IdRewriteError
    )


def test_transaction_id_map_own_id_is_translated_once_numbered() -> None:
    ids = TransactionIdMap("CS01", "csms")
    own, _ = ids.allocate_id(UTC)
    stop = _payload(transactionId=own)
    assert ids.translate_for_backend("StopTransaction", stop) == stop
    assert ids.set_backend_id(own, 42) == [TransactionMapped("CS01", "csms", own, 42)]
    assert ids.translate_for_backend("StopTransaction", stop) == _payload(transactionId=42)
    assert ids.station_id(42) == own


def test_messages_of_never_delivered_start_are_dropped() -> None:
    ids = TransactionIdMap("CS01", "csms")
    own, _ = ids.allocate_id(UTC)
    assert ids.end_transaction(own) == [TransactionUnmapped("CS01", "csms", own)]
    assert ids.end_transaction(own) == []


def test_transaction_id_map_meter_value_after_end_still_finds_transaction() -> None:
    ids = _mapped(7, 123)
    ids.end_transaction(7)
    assert ids.translate_for_backend("MeterValues", _payload(transactionId=7)) == _payload(transactionId=123)
    assert ids.station_id(123) is None
    for number in range(1000, 1000 + MOST_PAST):
        ids.set_backend_id(number, number + 5000)
        ids.end_transaction(number)
    assert ids.translate_for_backend("MeterValues", _payload(transactionId=7)) == _payload(transactionId=7)


def test_transaction_id_map_backend_that_gives_every_transaction_same_id() -> None:
    ids = _mapped(7, 1)
    ids.end_transaction(7)
    ids.set_backend_id(8, 1)
    assert ids.station_id(1) == 8
    ids.set_backend_id(9, 1)
    ids.end_transaction(8)
    assert ids.station_id(1) == 9


def test_id_map_is_restored_from_its_records() -> None:
    records: list[Record] = [
        TransactionMapped("CS01", "csms", FIRST_ID + 5, None),
        TransactionMapped("CS01", "csms", 8, 9),
        TransactionMapped("CS02", "csms", 1, 2),
        TransactionMapped("CS01", "fleet", 3, 4),
    ]
    ids = TransactionIdMap("CS01", "csms")
    ids.restore(records)
    assert [ids.is_known(own) for own in (FIRST_ID + 5, 8, 1, 3)] == [True, True, False, False]
    assert ids.station_id(9) == 8
    assert ids.allocate_id(0.0)[0] == FIRST_ID + 6


@given(st.dictionaries(st.integers(1, 50), st.integers(100, 150), min_size=1), st.integers(1, 50))
def test_up_and_down_are_each_other_s_inverse(pairs: dict[int, int], own: int) -> None:
    ids = TransactionIdMap("CS01", "csms")
    for ours, theirs in pairs.items():
        ids.set_backend_id(ours, theirs)
    payload = _payload(transactionId=own)
    there = ids.translate_for_backend("StopTransaction", payload)
    assert isinstance(there, bytes)
    last = {theirs: ours for ours, theirs in pairs.items()}
    if own in pairs and last[pairs[own]] == own:
        assert ids.translate_for_station("RemoteStopTransaction", there) == payload
