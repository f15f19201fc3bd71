"""Limits of offline mode: signed messages, and the backend's later answers."""

from __future__ import annotations

import json

import pytest

from controller.ocpp.frames import Version
from controller.offline.journal_records import OutboxEntry, RecordKind
from controller.offline.offline_responder import MOST_ENDED, OfflineRules
from tests.controller.ocpp.schemas import check, request
from tests.scenario.offline_harness import (
    BOOT_16,
    METER_16,
    START,
    STATUS_16,
    STOP,
    TAG,
    TOKEN,
    UTC,
    V16,
    V21,
    V201,
    OfflineHarness,
    Payload,
    each_2x_version,
    event,
)

# -- signed -----------------------------------------------------------------------------------------

SIGNATURES: Payload = {"signatures": [{"keyId": "k", "value": "v"}]}


@pytest.mark.parametrize(
    ("version", "action", "payload"),
    [
        (V16, "StatusNotification", STATUS_16),
        (V16, "MeterValues", METER_16),
        (V16, "StopTransaction", STOP | {"idTag": TAG}),
        (V201, "TransactionEvent", event()),
        (V21, "NotifyEvent", {}),
    ],
)
def test_autonomy_limits_empty_answer_needs_no_signature(
    version: Version, action: str, payload: Payload
) -> None:
    answer = OfflineHarness(version).answer_call(action, payload | SIGNATURES)
    assert (answer.result, answer.queue) == (b"{}", True)


@pytest.mark.parametrize(
    ("version", "action", "payload"),
    [
        (V16, "Authorize", {"idTag": TAG} | SIGNATURES),
        (V16, "Heartbeat", SIGNATURES),
        (V16, "BootNotification", BOOT_16 | SIGNATURES),
        (V201, "NotifyEVChargingSchedule", SIGNATURES),
        (V201, "Authorize-Signed", {"payload": "", "signatures": []}),
        (V21, "NotifyEvent-Signed", {}),
    ],
)
def test_autonomy_limits_signed_question_is_not_answered_unsigned(
    version: Version, action: str, payload: Payload
) -> None:
    answer = OfflineHarness(version).answer_call(action, payload)
    assert answer.text is not None
    assert answer.text.startswith('[4,"id 1","GenericError"')
    assert not answer.queue


@pytest.mark.parametrize(
    ("version", "action", "payload"),
    [
        (V16, "StartTransaction", START | SIGNATURES),
        (V201, "TransactionEvent", event(idToken=TOKEN) | SIGNATURES),
        (V21, "TransactionEvent-Signed", {}),
    ],
)
def test_autonomy_limits_signed_transaction_is_left_unanswered(
    version: Version, action: str, payload: Payload
) -> None:
    scenario = OfflineHarness(version, OfflineRules(authorize="everyone"))
    answer = scenario.answer_call(action, payload)
    assert (answer.text, answer.result, answer.queue, answer.records) == (None, None, False, ())
    assert "signed" in answer.note


# -- responses of the backend afterwards ---------------------------------------------------------


def _entry(version: Version, action: str, payload: Payload, transaction: int | None = None) -> OutboxEntry:
    return OutboxEntry(
        number=1,
        id="id 1",
        version=version,
        action=action,
        payload=json.dumps(payload).encode(),
        kind=RecordKind.TRANSACTION,
        taken=UTC,
        transaction=transaction,
    )


def _judged(version: Version, status: str) -> bytes:
    if version is V16:
        return json.dumps({"transactionId": 5, "idTagInfo": {"status": status}}).encode()
    return json.dumps({"idTokenInfo": {"status": status}}).encode()


REFUSALS: list[tuple[Version, str, Payload, str, Payload]] = [
    (V16, "StartTransaction", START, "RemoteStopTransaction", {"transactionId": 777}),
    *each_2x_version(
        lambda version: [
            (version, "TransactionEvent", event(kind), "RequestStopTransaction", {"transactionId": "t1"})
            for kind in ("Started", "Updated")
        ]
    ),
]


@pytest.mark.parametrize(("version", "action", "payload", "command", "response"), REFUSALS)
def test_autonomy_limits_transaction_that_backend_does_not_accept_is_ended(
    version: Version, action: str, payload: Payload, command: str, response: Payload
) -> None:
    entry = _entry(version, action, payload, 777 if version is V16 else None)
    scenario = OfflineHarness(version)
    stop = scenario.responder.on_outbox_result(entry, _judged(version, "Blocked"))
    assert stop is not None
    assert (stop[0], json.loads(stop[1])) == (command, response)
    check(version, request(version, command), stop[1])
    assert scenario.responder.on_outbox_result(entry, _judged(version, "Accepted")) is None
    assert scenario.responder.on_outbox_result(entry, b"{}") is None
    lenient = OfflineHarness(version, OfflineRules(stop_unauthorized=False))
    assert lenient.responder.on_outbox_result(entry, _judged(version, "Blocked")) is None


@pytest.mark.parametrize(
    ("version", "begin", "end"),
    [
        (V16, ("StartTransaction", START), ("StopTransaction", STOP | {"transactionId": 777})),
        (V201, ("TransactionEvent", event("Started")), ("TransactionEvent", event("Ended"))),
    ],
)
def test_autonomy_limits_transaction_that_is_over_is_left_alone(
    version: Version, begin: tuple[str, Payload], end: tuple[str, Payload]
) -> None:
    scenario = OfflineHarness(version)
    scenario.answer_call(*end)
    entry = _entry(version, *begin, 777 if version is V16 else None)
    assert scenario.responder.on_outbox_result(entry, _judged(version, "Invalid")) is None
    for number in range(MOST_ENDED):
        other: Payload = {"transactionId": number, "transactionInfo": {"transactionId": str(number)}}
        scenario.answer_call(end[0], end[1] | other)
    assert (
        scenario.responder.on_outbox_result(entry, _judged(version, "Invalid")) is not None
    )  # the station will refuse


@pytest.mark.parametrize(
    ("now", "entry"),
    [
        (V201, _entry(V16, "StartTransaction", START, 777)),
        (V16, _entry(V201, "TransactionEvent", event())),
        (V16, _entry(V16, "StartTransaction", START)),
        (V16, _entry(V16, "StopTransaction", STOP)),
        (V201, _entry(V201, "TransactionEvent", event("Ended"))),
        (V201, _entry(V201, "TransactionEvent", {})),
    ],
)
def test_transaction_without_known_id_is_not_stopped(now: Version, entry: OutboxEntry) -> None:
    for version in (V16, V201):
        assert OfflineHarness(now).responder.on_outbox_result(entry, _judged(version, "Invalid")) is None
