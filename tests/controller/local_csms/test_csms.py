"""Local CSMS of one station: what it answers, what it persists first, and what it sends of its own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controller.local_csms.cards import Card, CardList
from controller.local_csms.csms import SETUP_DELAY_S, CsmsText, LocalCsms
from controller.local_csms.csms_memory import (
    MOST_TRANSACTIONS,
    REMOTE_START_S,
    CsmsMemory,
    TransactionNumbers,
)
from controller.local_csms.csms_records import (
    LocalTransactionEnded,
    LocalTransactionStored,
    TransactionIdAllocated,
)
from controller.local_csms.csms_settings import CsmsSettings
from controller.model.journal import Persist, Record
from controller.ocpp.frames import Version
from controller.ocpp.id_tokens import IdToken
from controller.ocpp.payloads import StationTime, format_time
from controller.offline.journal_records import ResponseStored
from tests.controller.ocpp.schemas import check, request

UTC = 1_795_000_000.0
CARDS = CardList([Card(token="04A1B2", label="Anna"), Card(token="DEAD", is_blocked=True)])
FREE = CardList([Card(token="DEAD", is_blocked=True)], "free")
START = {"connectorId": 1, "idTag": "04a1b2", "meterStart": 100, "timestamp": "2026-11-18T00:00:00Z"}


class CsmsHarness:
    """A station and the local CSMS; every text of the CSMS is checked by the official schemas."""

    def __init__(
        self, version: Version = Version.V16, cards: CardList = CARDS, memory: CsmsMemory | None = None
    ) -> None:
        self.version = version
        self.memory = memory or CsmsMemory("CS01")
        self.csms = LocalCsms("CS01", version, cards, CsmsSettings(), self.memory)
        self.records: list[Record] = []
        self.commands: list[list[Any]] = []
        self.now = 100.0
        self._number = 0

    def call(self, action: str, payload: dict[str, Any]) -> Any:
        """Send a CALL; return the payload of its answer, or the error's code."""
        self._number += 1
        frames = self.send([2, f"s{self._number}", action, payload])
        [answer] = [frame for frame in frames if frame[0] in (3, 4)]
        assert answer[1] == f"s{self._number}"
        if answer[0] == 3:
            check(self.version, f"{action}Response", json.dumps(answer[2]).encode())
        return answer[2]

    def answer(self, result: dict[str, Any] | None) -> None:
        """Answer the last command of the CSMS; None: with an error."""
        message_id = self.commands[-1][1]
        self.send([4, message_id, "NotSupported", "", {}] if result is None else [3, message_id, result])

    def send(self, frame: list[Any]) -> list[list[Any]]:
        return self._take(self.csms.on_text(json.dumps(frame), self.now, UTC))

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self._take(self.csms.on_time(self.now))

    def _take(self, effects: list[Any]) -> list[list[Any]]:
        frames = []
        for effect in effects:
            if isinstance(effect, Persist):
                assert not frames, "records come before the answer that depends on them"
                self.records += effect.records
            elif isinstance(effect, CsmsText):
                frames.append(json.loads(effect.text))
        for frame in frames:
            if frame[0] == 2:
                check(self.version, request(self.version, frame[2]), json.dumps(frame[3]).encode())
                self.commands.append(frame)
        return frames


def event(kind: str, number: int, token: str | None = None, transaction: str = "T1") -> dict[str, Any]:
    payload: dict[str, Any] = {
        "eventType": kind,
        "timestamp": "2026-11-18T00:00:00Z",
        "triggerReason": "Authorized",
        "seqNo": number,
        "transactionInfo": {"transactionId": transaction},
        "evse": {"id": 1},
    }
    if token is not None:
        payload["idToken"] = {"idToken": token, "type": "ISO14443"}
    return payload


@pytest.mark.parametrize("version", Version)
def test_csms_boot_is_accepted_with_heartbeat_interval(version: Version) -> None:
    boot = (
        {"chargePointVendor": "V", "chargePointModel": "M"}
        if version is Version.V16
        else {"reason": "PowerUp", "chargingStation": {"vendorName": "V", "model": "M"}}
    )
    answer = CsmsHarness(version).call("BootNotification", boot)
    assert (answer["status"], answer["interval"]) == ("Accepted", 300)


def test_csms_heartbeat_gets_time() -> None:
    assert CsmsHarness().call("Heartbeat", {}) == {"currentTime": "2026-11-18T11:06:40Z"}


@pytest.mark.parametrize(
    ("token", "cards", "status"),
    [
        ("04a1B2", CARDS, "Accepted"),
        ("04A1B3", CARDS, "Invalid"),
        ("dead", CARDS, "Blocked"),
        ("04A1B3", FREE, "Accepted"),
        ("DEAD", FREE, "Blocked"),
    ],
)
def test_csms_authorize_gives_status_of_card(token: str, cards: CardList, status: str) -> None:
    assert CsmsHarness(cards=cards).call("Authorize", {"idTag": token}) == {"idTagInfo": {"status": status}}


def test_csms_authorize_after_last_day_gives_expired() -> None:
    cards = CardList([Card(token="A", valid_until=UTC)])
    assert CsmsHarness(cards=cards).call("Authorize", {"idTag": "A"})["idTagInfo"]["status"] == "Expired"
    cards = CardList([Card(token="A", valid_until=UTC + 1)])
    assert cards.authorize(Version.V16, IdToken("A", ""), 60.0) == "Expired"  # the clock is not set
    assert CsmsHarness(cards=cards).call("Authorize", {"idTag": "A"})["idTagInfo"]["status"] == "Accepted"


def test_unknown_token_of_2x_gives_unknown() -> None:
    answer = CsmsHarness(Version.V201).call("Authorize", {"idToken": {"idToken": "X", "type": "ISO14443"}})
    assert answer == {"idTokenInfo": {"status": "Unknown"}}


def test_csms_station_without_authorization_charges_only_where_it_is_free() -> None:
    without = {"idToken": {"idToken": "", "type": "NoAuthorization"}}
    assert CsmsHarness(Version.V201).call("Authorize", without)["idTokenInfo"]["status"] == "Unknown"
    assert CsmsHarness(Version.V201, FREE).call("Authorize", without)["idTokenInfo"]["status"] == "Accepted"


def test_transaction_is_numbered_stored_and_ended() -> None:
    scenario = CsmsHarness()
    answer = scenario.call("StartTransaction", START)
    assert answer["idTagInfo"] == {"status": "Accepted"}
    number = answer["transactionId"]
    assert 2_013_265_920 <= number < 2**31
    kinds = [type(each) for each in scenario.records]
    assert kinds == [TransactionIdAllocated, LocalTransactionStored, ResponseStored]
    scenario.call(
        "StopTransaction", {"transactionId": number, "meterStop": 9, "timestamp": "2026-11-18T01:00:00Z"}
    )
    assert LocalTransactionEnded("CS01", str(number)) in scenario.records
    assert not scenario.memory.is_running(str(number))


def test_csms_repeated_start_counts_once_also_after_restart() -> None:
    first = CsmsHarness()
    answer = first.call("StartTransaction", START)
    assert first.call("StartTransaction", START) == answer
    restarted = CsmsMemory("CS01")
    restarted.restore(first.records)
    again = CsmsHarness(memory=restarted)
    assert again.call("StartTransaction", START) == answer
    assert again.records == []
    assert restarted.is_running(str(answer["transactionId"]))


def test_csms_equal_start_after_stop_is_another_transaction() -> None:
    scenario = CsmsHarness()
    first = scenario.call("StartTransaction", START)["transactionId"]
    stop = {"transactionId": first, "meterStop": 9, "timestamp": "2026-11-18T01:00:00Z"}
    scenario.call("StopTransaction", stop)
    second = scenario.call("StartTransaction", START)["transactionId"]
    assert scenario.memory.is_running(str(second))
    assert len([each for each in scenario.records if isinstance(each, LocalTransactionStored)]) == 2


def test_two_starts_of_one_second_get_two_numbers() -> None:
    scenario = CsmsHarness()
    numbers = {
        scenario.call("StartTransaction", START | {"connectorId": connector})["transactionId"]
        for connector in (1, 2, 3)
    }
    assert len(numbers) == 3


def test_csms_numbers_are_unique_over_all_stations_and_restart() -> None:
    numbers = TransactionNumbers()
    harnesses = [CsmsHarness(memory=CsmsMemory(name, numbers)) for name in ("CS01", "CS02")]
    given = [scenario.call("StartTransaction", START)["transactionId"] for scenario in harnesses]
    restarted = TransactionNumbers()
    memory = CsmsMemory("CS02", restarted)
    memory.restore(harnesses[1].records)
    given.append(
        CsmsHarness(memory=CsmsMemory("CS03", restarted)).call("StartTransaction", START)["transactionId"]
    )
    assert len(set(given)) == 3


def test_csms_ids_of_ended_transactions_are_not_given_after_restart() -> None:
    """Three starts within a second, all stopped: the ids are ahead of the clock and none of them runs."""
    scenario, given = CsmsHarness(), []
    for meter in range(3):
        given.append(scenario.call("StartTransaction", START | {"meterStart": meter})["transactionId"])
        stop = {"transactionId": given[-1], "meterStop": 9, "timestamp": "2026-11-18T01:00:00Z"}
        scenario.call("StopTransaction", stop)
    stored = [each for each in scenario.records if isinstance(each, TransactionIdAllocated)]
    memory = CsmsMemory("CS01", TransactionNumbers(stored[-1:]))
    memory.restore([])
    assert CsmsHarness(memory=memory).call("StartTransaction", START)["transactionId"] not in given


def test_csms_events_of_2x_store_transaction_once_and_end_it() -> None:
    scenario = CsmsHarness(Version.V21)
    assert scenario.call("TransactionEvent", event("Started", 0)) == {}
    assert scenario.call("TransactionEvent", event("Updated", 1, "04A1B2")) == {
        "idTokenInfo": {"status": "Accepted"}
    }
    assert scenario.call("TransactionEvent", event("Ended", 2)) == {}
    kinds = [type(each) for each in scenario.records if not isinstance(each, ResponseStored)]
    assert kinds == [LocalTransactionStored, LocalTransactionEnded]


@pytest.mark.parametrize("version", [Version.V16, Version.V201])
def test_csms_transaction_with_unknown_card_is_stopped(version: Version) -> None:
    scenario = CsmsHarness(version)
    if version is Version.V16:
        number = scenario.call("StartTransaction", START | {"idTag": "X"})["transactionId"]
        expected = ["RemoteStopTransaction", {"transactionId": number}]
    else:
        scenario.call("TransactionEvent", event("Started", 0, "X"))
        expected = ["RequestStopTransaction", {"transactionId": "T1"}]
    assert scenario.commands[0][2:] == expected


def test_csms_station_with_too_many_transactions_loses_oldest() -> None:
    scenario = CsmsHarness(Version.V201)
    for number in range(MOST_TRANSACTIONS + 3):
        started = event("Started", 0, transaction=f"T{number}")
        scenario.call("TransactionEvent", started | {"evse": {"id": number + 1}})
    assert len(list(scenario.memory.running)) == MOST_TRANSACTIONS
    assert not scenario.memory.is_running("T0")


def test_csms_start_at_occupied_evse_ends_lost_transaction() -> None:
    scenario = CsmsHarness()
    first = scenario.call("StartTransaction", START)["transactionId"]
    scenario.call("StartTransaction", START | {"timestamp": "2026-11-18T02:00:00Z"})
    assert not scenario.memory.is_running(str(first))
    assert len(list(scenario.memory.running)) == 1


def test_csms_remote_token_is_accepted_for_time_alone() -> None:
    scenario = CsmsHarness()
    token = scenario.memory.make_remote_token(scenario.now)
    assert scenario.call("Authorize", {"idTag": token})["idTagInfo"]["status"] == "Accepted"
    scenario.now += REMOTE_START_S
    assert scenario.call("Authorize", {"idTag": token})["idTagInfo"]["status"] == "Invalid"


@pytest.mark.parametrize(
    ("action", "payload"),
    [
        ("DataTransfer", {"vendorId": "V"}),
        ("FirmwareStatusNotification", {"status": "Idle"}),
        ("SignCertificate", {"csr": "x"}),
    ],
)
def test_csms_other_messages_of_16_get_valid_answer(action: str, payload: dict[str, Any]) -> None:
    assert isinstance(CsmsHarness().call(action, payload), dict)


def test_unknown_action_and_malformed_frame_are_answered_with_errors() -> None:
    scenario = CsmsHarness()
    assert scenario.call("Bogus", {}) == "NotImplemented"
    assert scenario.send([2, "x", "Heartbeat"])[0][:3] == [4, "x", "FormationViolation"]


def test_csms_start_that_cannot_be_read_still_gets_transaction() -> None:
    scenario = CsmsHarness(cards=FREE)
    number, _ = scenario.memory.allocate_id(UTC)
    [answer] = [
        frame
        for frame in scenario.send([2, "x", "StartTransaction", {"connectorId": "one"}])
        if frame[0] == 3
    ]
    assert answer[2] == {"transactionId": number + 1, "idTagInfo": {"status": "Accepted"}}


def test_csms_setup_reads_changes_and_sends_list() -> None:
    scenario = CsmsHarness()
    scenario.call("Heartbeat", {})
    scenario.pass_time(SETUP_DELAY_S)
    assert scenario.commands[-1][2] == "GetConfiguration"
    keys = [
        {"key": "MeterValueSampleInterval", "readonly": False, "value": "900"},
        {"key": "MeterValuesSampledData", "readonly": False, "value": "Energy.Active.Import.Register"},
        {"key": "LocalAuthListEnabled", "readonly": False, "value": "true"},
        {"key": "SendLocalListMaxLength", "readonly": True, "value": "1"},
    ]
    scenario.answer({"configurationKey": keys})
    assert scenario.commands[-1][3] == {"key": "MeterValueSampleInterval", "value": "60"}
    scenario.answer({"status": "Accepted"})
    assert scenario.commands[-1][3] == {
        "key": "MeterValuesSampledData",
        "value": "Energy.Active.Import.Register,Current.Import,Power.Active.Import",
    }
    scenario.answer({"status": "Rejected"})
    assert scenario.commands[-1][2] == "GetLocalListVersion"
    scenario.answer({"listVersion": 0})
    first, second = scenario.commands[-1], None
    scenario.answer({"status": "Accepted"})
    second = scenario.commands[-1]
    assert [first[3]["updateType"], second[3]["updateType"]] == ["Full", "Differential"]
    assert second[3]["listVersion"] == first[3]["listVersion"] + 1
    scenario.answer({"status": "Accepted"})
    assert len(scenario.commands) == 6
    scenario.call("Heartbeat", {})
    scenario.pass_time(SETUP_DELAY_S)
    assert len(scenario.commands) == 6


def test_csms_setup_continues_without_answer_and_repeats_after_boot() -> None:
    scenario = CsmsHarness()
    scenario.call("Heartbeat", {})
    scenario.pass_time(SETUP_DELAY_S)
    scenario.pass_time(60)
    assert scenario.commands[-1][2] == "GetLocalListVersion"
    scenario.answer(None)
    assert len(scenario.commands) == 2
    scenario.call("BootNotification", {"chargePointVendor": "V", "chargePointModel": "M"})
    scenario.call("StatusNotification", {"connectorId": 0, "errorCode": "NoError", "status": "Available"})
    assert len(scenario.commands) == 2
    scenario.pass_time(SETUP_DELAY_S)
    assert scenario.commands[-1][2] == "GetConfiguration"


def test_csms_station_with_current_list_gets_none() -> None:
    scenario = CsmsHarness(Version.V201)
    scenario.call("Heartbeat", {})
    scenario.pass_time(SETUP_DELAY_S)
    listed = {"component": {"name": "LocalAuthListCtrlr"}, "variable": {"name": "Enabled"}}
    scenario.answer(
        {"getVariableResult": [{"attributeStatus": "Accepted", "attributeValue": "true", **listed}]}
    )
    scenario.answer({"versionNumber": 0})
    version = scenario.commands[-1][3]["versionNumber"]
    scenario.answer({"status": "Accepted"})
    count = len(scenario.commands)
    scenario.call(
        "BootNotification", {"reason": "PowerUp", "chargingStation": {"vendorName": "V", "model": "M"}}
    )
    scenario.call("Heartbeat", {})
    scenario.pass_time(SETUP_DELAY_S)
    scenario.answer(
        {"getVariableResult": [{"attributeStatus": "Accepted", "attributeValue": "true", **listed}]}
    )
    scenario.answer({"versionNumber": version})
    assert [each[2] for each in scenario.commands[count:]] == ["GetVariables", "GetLocalListVersion"]


def test_free_charging_sends_no_list() -> None:
    scenario = CsmsHarness(cards=FREE)
    scenario.call("Heartbeat", {})
    scenario.pass_time(SETUP_DELAY_S)
    scenario.answer({"configurationKey": []})
    assert [each[2] for each in scenario.commands] == ["GetConfiguration"]


def test_records_and_cards_show_no_token() -> None:
    assert "04A1B2" not in repr(Card(token="04A1B2", label="Anna"))


def test_station_gets_last_known_time_while_clock_is_not_set() -> None:
    settings = CsmsSettings(station_time=StationTime(UTC - 60.0))
    csms = LocalCsms("CS01", Version.V16, CARDS, settings, CsmsMemory("CS01"))

    def told(action: str, payload: dict[str, Any], utc: float) -> str:
        [effect] = csms.on_text(json.dumps([2, action, action, payload]), 100.0, utc)
        assert isinstance(effect, CsmsText)
        return str(json.loads(effect.text)[2]["currentTime"])

    boot = {"chargePointVendor": "V", "chargePointModel": "M"}
    assert told("BootNotification", boot, 60.0) == format_time(UTC)
    assert told("Heartbeat", {}, 360.0) == format_time(UTC + 300)
    assert told("Heartbeat", {}, UTC + 7200) == format_time(UTC + 7200)
