"""A repeated message, and messages that only resemble one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.ocpp.frames import Version
from controller.offline.dedup_key import dedup_key

V16, V201 = Version.V16, Version.V201

START = {"connectorId": 1, "idTag": "04A2B3C4", "meterStart": 7, "timestamp": "2027-01-15T08:00:00Z"}
STOP = {"transactionId": 5, "meterStop": 70, "timestamp": "2027-01-15T09:00:00Z"}
EVENT = {
    "eventType": "Updated",
    "timestamp": "2027-01-15T08:00:00Z",
    "triggerReason": "MeterValuePeriodic",
    "seqNo": 3,
    "transactionInfo": {"transactionId": "t1", "chargingState": "Charging"},
}
METER = {"connectorId": 1, "transactionId": 5, "meterValue": [{"timestamp": "2027-01-15T08:00:00Z"}]}

CASES = [
    (V16, "StartTransaction", START),
    (V16, "StopTransaction", STOP),
    (V16, "MeterValues", METER),
    (V201, "TransactionEvent", EVENT),
]


def _print(version: Version, action: str, payload: dict[str, Any]) -> str:
    return dedup_key(version, action, json.dumps(payload).encode())


@pytest.mark.parametrize(
    ("version", "action", "first", "again"),
    [
        (V16, "StartTransaction", START, dict(reversed(START.items()))),
        (V16, "StartTransaction", START, START | {"reservationId": 4}),
        (V16, "StopTransaction", STOP, STOP | {"reason": "PowerLoss", "transactionData": []}),
        (V201, "TransactionEvent", EVENT, EVENT | {"offline": True, "triggerReason": "EVDetected"}),
        (
            V201,
            "TransactionEvent",
            EVENT,
            EVENT | {"transactionInfo": {"transactionId": "t1", "chargingState": "Idle"}},
        ),
    ],
)
def test_dedup_key_of_repeated_message_is_same(
    version: Version, action: str, first: dict[str, Any], again: dict[str, Any]
) -> None:
    assert _print(version, action, first) == _print(version, action, again)


@pytest.mark.parametrize(
    ("version", "action", "first", "other"),
    [
        *((V16, "StartTransaction", START, START | {name: 9}) for name in START),
        *((V16, "StopTransaction", STOP, STOP | {name: 9}) for name in STOP),
        *(
            (V201, "TransactionEvent", EVENT, EVENT | {name: 9})
            for name in ("eventType", "timestamp", "seqNo")
        ),
        (V201, "TransactionEvent", EVENT, EVENT | {"transactionInfo": {"transactionId": "t2"}}),
        (V16, "MeterValues", METER, METER | {"connectorId": 2}),
        (V201, "StartTransaction", START, START | {"reservationId": 4}),  # not of this version: all counts
    ],
)
def test_dedup_key_of_other_message_is_another(
    version: Version, action: str, first: dict[str, Any], other: dict[str, Any]
) -> None:
    assert _print(version, action, first) != _print(version, action, other)


def test_dedup_key_of_two_offline_transaction_ends_differs() -> None:
    first, second = STOP | {"transactionId": -1}, STOP | {"transactionId": -1, "meterStop": 90}
    assert _print(V16, "StopTransaction", first) != _print(V16, "StopTransaction", second)


@pytest.mark.parametrize(("version", "action", "payload"), CASES)
def test_dedup_key_without_a_member_covers_the_whole_payload(
    version: Version, action: str, payload: dict[str, Any]
) -> None:
    poor = {"seqNo": 1, "vendorInfo": "a"}
    assert _print(version, action, poor) != _print(version, action, poor | {"vendorInfo": "b"})


def test_dedup_key_action_counts() -> None:
    assert _print(V16, "MeterValues", METER) != _print(V16, "DataTransfer", METER)


@given(st.binary(max_size=200), st.sampled_from(CASES))
def test_dedup_key_of_any_bytes_has_64_digits(
    payload: bytes, case: tuple[Version, str, dict[str, Any]]
) -> None:
    assert len(dedup_key(case[0], case[1], payload)) == 64


def test_dedup_key_depth_without_end_is_no_end_of_own() -> None:
    deep = b"[" * 100_000
    assert dedup_key(V16, "StartTransaction", deep) != dedup_key(V16, "StartTransaction", deep + b"[")
