"""Each message of each version while the backend is away: its answer, and its entry in the outbox."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import pytest

from controller.model.plausible_time import EARLIEST
from controller.ocpp.frames import Version
from controller.ocpp.payloads import StationTime
from controller.offline.journal_records import NewestTransactionId, TokenAuthorized, TransactionMapped
from controller.offline.offline_responder import PENDING_S, OfflineRules
from controller.offline.transaction_id_map import FIRST_ID
from tests.controller.ocpp.schemas import check, request
from tests.scenario.offline_harness import (
    BOOT_2,
    BOOT_16,
    HASHES,
    METER_2,
    METER_16,
    NOW,
    START,
    STATUS_2,
    STATUS_16,
    STOP,
    TAG,
    TOKEN,
    V16,
    V21,
    V201,
    OfflineHarness,
    Payload,
    each_2x_version,
    event,
    result,
)

REPORTS_16: list[tuple[Version, str, Payload]] = [
    (V16, "StatusNotification", STATUS_16),
    (V16, "MeterValues", METER_16),
    (V16, "MeterValues", METER_16 | {"transactionId": -1}),
    (V16, "StopTransaction", STOP),
    (V16, "DiagnosticsStatusNotification", {"status": "Idle"}),
    (V16, "FirmwareStatusNotification", {"status": "Idle"}),
    (V16, "LogStatusNotification", {"status": "Idle", "requestId": 1}),
    (V16, "SecurityEventNotification", {"type": "a", "timestamp": NOW}),
    (V16, "SignedFirmwareStatusNotification", {"status": "Idle", "requestId": 1}),
]
REPORTS_2: list[tuple[str, Payload]] = [
    ("StatusNotification", STATUS_2),
    ("MeterValues", METER_2),
    ("TransactionEvent", event()),
    ("TransactionEvent", event("Ended", meterValue=METER_2["meterValue"])),
    ("ClearedChargingLimit", {"chargingLimitSource": "EMS"}),
    ("FirmwareStatusNotification", {"status": "Idle"}),
    ("LogStatusNotification", {"status": "Idle"}),
    ("NotifyChargingLimit", {"chargingLimit": {"chargingLimitSource": "EMS"}}),
    ("NotifyCustomerInformation", {"data": "x", "seqNo": 0, "generatedAt": NOW, "requestId": 1}),
    ("NotifyDisplayMessages", {"requestId": 1}),
    ("NotifyMonitoringReport", {"requestId": 1, "seqNo": 0, "generatedAt": NOW}),
    ("NotifyReport", {"requestId": 1, "seqNo": 0, "generatedAt": NOW}),
    ("ReservationStatusUpdate", {"reservationId": 1, "reservationUpdateStatus": "Expired"}),
    ("SecurityEventNotification", {"type": "a", "timestamp": NOW}),
]
REPORTS_21 = [
    "BatterySwap",
    "ClosePeriodicEventStream",
    "NotifyDERAlarm",
    "NotifyDERStartStop",
    "NotifyEvent",
    "NotifyPriorityCharging",
    "NotifySettlement",
    "NotifyWebPaymentStarted",
    "PublishFirmwareStatusNotification",
    "ReportChargingProfiles",
    "ReportDERControl",
]


@pytest.mark.parametrize(
    ("version", "action", "payload"),
    REPORTS_16
    + each_2x_version(lambda version: [(version, action, payload) for action, payload in REPORTS_2]),
)
def test_offline_responder_report_is_taken_and_kept_for_backend(
    version: Version, action: str, payload: Payload
) -> None:
    check(version, request(version, action), json.dumps(payload).encode())
    answer = OfflineHarness(version).answer_call(action, payload)
    assert (answer.result, answer.queue, answer.records, answer.note) == (b"{}", True, (), "")


@pytest.mark.parametrize("action", REPORTS_21)
def test_offline_responder_reports_of_2_1_are_queued_and_answered(action: str) -> None:
    answer = OfflineHarness(V21).answer_call(action, {})
    assert (answer.result, answer.queue) == (b"{}", True)


@pytest.mark.parametrize("version", [V201, V21])
def test_offline_responder_charging_schedule_is_accepted_and_queued(version: Version) -> None:
    answer = OfflineHarness(version).answer_call("NotifyEVChargingSchedule", {})
    assert (result(answer), answer.queue) == ({"status": "Accepted"}, True)


REFUSED: list[tuple[Version, str, str]] = [
    (V16, "DataTransfer", "Rejected"),
    (V16, "SignCertificate", "Rejected"),
    *each_2x_version(
        lambda version: [
            (version, "DataTransfer", "Rejected"),
            (version, "SignCertificate", "Rejected"),
            (version, "Get15118EVCertificate", "Failed"),
            (version, "GetCertificateStatus", "Failed"),
            (version, "NotifyEVChargingNeeds", "Rejected"),
        ]
    ),
    (V21, "PullDynamicScheduleUpdate", "Rejected"),
    (V21, "OpenPeriodicEventStream", "Rejected"),
]


@pytest.mark.parametrize(("version", "action", "status"), REFUSED)
def test_responder_request_that_needs_the_backend_is_rejected(
    version: Version, action: str, status: str
) -> None:
    answer = OfflineHarness(version).answer_call(action, {})
    assert (result(answer)["status"], answer.queue) == (status, False)
    assert action in answer.note


@pytest.mark.parametrize(
    ("version", "action"),
    [
        (V16, "SomethingNew"),
        (V16, "TransactionEvent"),
        (V201, "StartTransaction"),
        (V21, "VatNumberValidation"),
        (V21, "GetCertificateChainStatus"),
    ],
)
def test_responder_unanswered_call_may_be_repeated(version: Version, action: str) -> None:
    answer = OfflineHarness(version).answer_call(action, {})
    assert answer.text is not None
    assert f'[4,"id 1","GenericError","the backend that could answer {action} is away",{{}}]' == answer.text
    assert not answer.queue


def _actions(version: Version) -> set[str]:
    """All actions that OCPP has an answer to."""
    package = {V16: "ocpp.v16", V201: "ocpp.v201", V21: "ocpp.v21"}[version]
    names = {file.name for file in (resources.files(package) / "schemas").iterdir()}
    return {name.removesuffix("Response.json") for name in names if name.endswith("Response.json")}


@pytest.mark.parametrize("version", list(Version))
def test_offline_responder_no_answer_to_any_action_is_against_schema(version: Version) -> None:
    actions = _actions(version)
    assert len(actions) > 30
    good = {
        action for action in actions if OfflineHarness(version).answer_call(action, {}).result is not None
    }
    assert {"BootNotification", "Heartbeat", "Authorize", "MeterValues"} <= good
    assert not {"Reset", "SetChargingProfile", "ClearCache", "UpdateFirmware"} & good


# -- boot and clock ---------------------------------------------------------------------------------


@pytest.mark.parametrize("version", list(Version))
def test_offline_responder_clock_is_own(version: Version) -> None:
    answer = OfflineHarness(version).answer_call("Heartbeat", {})
    assert (result(answer), answer.queue) == ({"currentTime": NOW}, False)


def test_offline_responder_gives_last_known_time_while_clock_is_not_set() -> None:
    harness = OfflineHarness(V16, OfflineRules(station_time=StationTime(EARLIEST)))
    told = [
        harness.responder.answer_call("1", "Heartbeat", b"{}", utc).result for utc in (60.0, EARLIEST + 5.0)
    ]
    assert [json.loads(each or b"")["currentTime"] for each in told] == [
        "2026-01-01T00:01:00Z",
        "2026-01-01T00:00:05Z",
    ]


@pytest.mark.parametrize(("version", "boot"), [(V16, BOOT_16), (V201, BOOT_2), (V21, BOOT_2)])
def test_station_is_accepted_if_backend_has_done_so_before(version: Version, boot: Payload) -> None:
    scenario = OfflineHarness(version)
    pending = scenario.answer_call("BootNotification", boot)
    assert result(pending) == {"status": "Pending", "currentTime": NOW, "interval": PENDING_S}
    assert "never accepted" in pending.note
    accepted = json.dumps({"status": "Accepted", "interval": 77, "currentTime": NOW}).encode()
    scenario.snapshot.on_boot_answer(version, json.dumps(boot).encode(), accepted)
    known = scenario.answer_call("BootNotification", boot)
    assert result(known) == {"status": "Accepted", "currentTime": NOW, "interval": 77}
    assert (known.queue, known.note) == (False, "")


# -- drivers ----------------------------------------------------------------------------------------

ASKING: list[tuple[Version, str, Payload, bool]] = [
    (V16, "Authorize", {"idTag": TAG}, False),
    (V16, "StartTransaction", START, True),
    (V16, "StopTransaction", STOP | {"idTag": TAG}, True),
    *each_2x_version(
        lambda version: [
            (version, "Authorize", {"idToken": TOKEN}, False),
            (version, "TransactionEvent", event("Started", idToken=TOKEN), True),
            (version, "TransactionEvent", event("Updated", idToken=TOKEN), True),
            (version, "TransactionEvent", event("Ended", idToken=TOKEN), True),
        ]
    ),
]
VERDICTS = [
    ("known", None, None, "Invalid"),
    ("known", "Accepted", None, "Accepted"),
    ("known", "Accepted", NOW, "Expired"),
    ("known", "Blocked", None, "Blocked"),
    ("known", "Nonsense", None, "Invalid"),
    ("everyone", None, None, "Accepted"),
    ("everyone", "Accepted", NOW, "Expired"),
    ("everyone", "Blocked", None, "Blocked"),
]


@pytest.mark.parametrize(("version", "action", "payload", "queue"), ASKING)
@pytest.mark.parametrize(("authorize", "sent", "until", "verdict"), VERDICTS)
def test_offline_responder_authorizes_token_by_cache(
    version: Version,
    action: str,
    payload: Payload,
    queue: bool,
    authorize: Any,
    sent: str | None,
    until: str | None,
    verdict: str,
) -> None:
    check(version, request(version, action), json.dumps(payload).encode())
    scenario = OfflineHarness(version, OfflineRules(authorize=authorize))
    if sent is not None:
        scenario.remember_answer(sent, until)
    answer = scenario.answer_call(action, payload)
    info = result(answer)["idTagInfo" if version is V16 else "idTokenInfo"]
    assert (info, answer.queue) == ({"status": verdict}, queue)
    assert TAG not in answer.note
    assert not any(isinstance(word, TokenAuthorized) for word in answer.records)


@pytest.mark.parametrize("version", [V201, V21])
def test_offline_responder_without_authorization_accepts_all(version: Version) -> None:
    token = {"idToken": "", "type": "NoAuthorization"}
    answer = OfflineHarness(version).answer_call("TransactionEvent", event("Started", idToken=token))
    assert result(answer) == {"idTokenInfo": {"status": "Accepted"}}


@pytest.mark.parametrize("version", [V201, V21])
@pytest.mark.parametrize("contract", [{"certificate": "PEM"}, {"iso15118CertificateHashData": HASHES}])
def test_responder_unverified_certificate_is_not_accepted(version: Version, contract: Payload) -> None:
    scenario = OfflineHarness(version, OfflineRules(authorize="everyone"))
    asked = {"idToken": TOKEN} | contract
    check(version, "AuthorizeRequest", json.dumps(asked).encode())
    scenario.remember_answer("Accepted")
    assert scenario.answer_call("Authorize", asked).result is None


def test_transaction_gets_number_of_own_that_is_saved_with_it() -> None:
    scenario = OfflineHarness(V16)
    first, second = (
        scenario.answer_call("StartTransaction", START),
        scenario.answer_call("StartTransaction", START),
    )
    numbers = [result(answer)["transactionId"] for answer in (first, second)]
    assert numbers == [first.transaction, second.transaction]
    assert FIRST_ID <= numbers[0] < numbers[1]
    assert first.records == (
        NewestTransactionId("CS01", "csms", numbers[0]),
        TransactionMapped("CS01", "csms", numbers[0], None),
    )
