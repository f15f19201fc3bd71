"""`autonomous`: a station is served while its owner is away, which then gets all messages once, in order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from controller.offline.journal_records import RecordKind
from controller.offline.offline_responder import OfflineRules
from controller.offline.outbox import Outbox
from controller.offline.outbox_sender import LATE_ANSWER_S, WAITS_S
from tests.scenario.frames import call, result
from tests.scenario.relay_harness import TIMEOUT_S, RelayHarness
from tests.scenario.stored_relay import StoredRelay

BOOT = '{"chargePointVendor":"ACME","chargePointModel":"One"}'
ACCEPTED = '{"status":"Accepted","currentTime":"2026-03-29T12:00:00Z","interval":60}'
STATUS = '{"connectorId":1,"errorCode":"NoError","status":"Available"}'
START = '{"connectorId":1, "idTag":"A","meterStart":0,"timestamp":"2026-03-29T12:00:01Z"}'
THEIRS = 70
STARTED = f'{{"transactionId":{THEIRS},"idTagInfo":{{"status":"Accepted"}}}}'


def meter(transaction: int) -> str:
    value = '[{"timestamp":"2026-03-29T12:00:02Z","sampledValue":[{"value":"1"}]}]'
    return f'{{"connectorId":1, "transactionId":{transaction},"meterValue":{value}}}'


def stop(transaction: int) -> str:
    return f'{{"transactionId":{transaction}, "meterStop":9,"timestamp":"2026-03-29T12:00:03Z"}}'


@pytest.fixture
def stored(tmp_path: Path) -> StoredRelay:
    return StoredRelay(tmp_path)


def known(scenario: RelayHarness) -> None:
    """The station has booted, and its owner has accepted it."""
    scenario.forward_up(call("boot", "BootNotification", BOOT))
    scenario.forward_down(result("boot", ACCEPTED))


def served(scenario: RelayHarness, message_id: str, action: str, payload: str) -> dict[str, object]:
    """Send a CALL of the station that the controller answers; return the payload."""
    scenario.station.send(call(message_id, action, payload))
    kind, received_id, answered = json.loads(scenario.station.receive_text())
    assert (kind, received_id) == (3, message_id)
    assert isinstance(answered, dict)
    scenario.expect_nothing()
    return answered


def confirm(scenario: RelayHarness, text: str, answered: str) -> None:
    """Expect exactly this text at the owner, and answer it."""
    scenario.csms.receive(text)
    scenario.csms.send(result(json.loads(text)[1], answered))


def introduced(scenario: RelayHarness, *statuses: str, boot: bool = False) -> None:
    """The owner gets the station's states, and its boot if it has not accepted that one."""
    boots = [("BootNotification", BOOT, ACCEPTED)] if boot else []
    for action, payload, answered in boots + [("StatusNotification", status, "{}") for status in statuses]:
        received = scenario.csms.receive_call(action)
        assert received.payload.decode() == payload
        scenario.csms.send(result(received.id, answered))


def a_transaction(scenario: RelayHarness) -> int:
    """Served while the owner is away; the station's id."""
    own = served(scenario, "1", "StartTransaction", START)["transactionId"]
    assert isinstance(own, int)
    assert served(scenario, "2", "MeterValues", meter(own)) == {}
    assert served(scenario, "3", "StopTransaction", stop(own)) == {}
    return own


def handed_over(scenario: RelayHarness) -> None:
    """Expect the transaction at the owner, under its own number."""
    confirm(scenario, call("1", "StartTransaction", START), STARTED)
    confirm(scenario, call("2", "MeterValues", meter(THEIRS)), "{}")
    confirm(scenario, call("3", "StopTransaction", stop(THEIRS)), "{}")
    scenario.expect_nothing()


def test_away_autonomous_serves_station_and_delivers_all_in_order(stored: StoredRelay) -> None:
    scenario = stored.open_link()
    known(scenario)
    scenario.csms.disconnect()
    scenario.expect_log("the station is served offline (autonomous)")
    assert served(scenario, "b", "BootNotification", BOOT)["status"] == "Accepted"
    assert served(scenario, "s", "StatusNotification", STATUS) == {}
    assert "currentTime" in served(scenario, "h", "Heartbeat", "{}")
    assert served(scenario, "a", "Authorize", '{"idTag":"A"}') == {"idTagInfo": {"status": "Accepted"}}
    a_transaction(scenario)
    scenario.csms.connect()
    introduced(scenario, STATUS, boot=True)
    confirm(scenario, call("s", "StatusNotification", STATUS), "{}")
    handed_over(scenario)
    assert len(stored.outbox) == 0


@pytest.mark.parametrize("transaction", [-1, 0, 2**31 - 1, 2**63 - 1, 2**63, 2**64 - 1])
def test_autonomous_meter_values_of_no_transaction_make_room(stored: StoredRelay, transaction: int) -> None:
    """Idle stations put such an id into their periodic meter values."""
    stored.outbox = Outbox("CS01", "cpo", capacity=5)
    scenario = stored.open_link()
    known(scenario)
    scenario.csms.disconnect()
    for number in range(8):
        assert served(scenario, f"m{number}", "MeterValues", meter(transaction)) == {}
    assert {entry.kind for entry in stored.outbox.entries} == {RecordKind.METER}
    own = a_transaction(scenario)
    kept = [entry for entry in stored.outbox.entries if entry.kind is RecordKind.TRANSACTION]
    assert [entry.action for entry in kept] == ["StartTransaction", "MeterValues", "StopTransaction"]
    assert own != transaction


def test_away_autonomous_restart_keeps_queued_transaction(stored: StoredRelay) -> None:
    scenario = stored.open_link()
    known(scenario)
    scenario.csms.disconnect()
    a_transaction(scenario)
    stored = stored.restart(scenario)
    scenario = stored.open_link()
    introduced(scenario)
    handed_over(scenario)


@pytest.mark.parametrize("received", range(3))
def test_restart_during_delivery_continues_with_next_message(stored: StoredRelay, received: int) -> None:
    scenario = stored.open_link()
    known(scenario)
    scenario.csms.disconnect()
    a_transaction(scenario)
    scenario.csms.connect()
    introduced(scenario)
    parts = [
        (call("1", "StartTransaction", START), STARTED),
        (call("2", "MeterValues", meter(THEIRS)), "{}"),
        (call("3", "StopTransaction", stop(THEIRS)), "{}"),
    ]
    for text, answered in parts[:received]:
        confirm(scenario, text, answered)
    scenario.csms.receive(parts[received][0])  # and we die before its answer
    scenario = stored.restart(scenario).open_link()
    introduced(scenario)
    scenario.expect_nothing()  # its answer may come over this link
    scenario.wait(LATE_ANSWER_S)
    for text, answered in parts[received:]:
        confirm(scenario, text, answered)
    scenario.expect_nothing()
    scenario.expect_log(
        f"{parts[received][0].split(',')[2][1:-1]} {received + 1} goes again: its answer was never seen"
    )


def test_transaction_delivered_live_is_not_delivered_again(stored: StoredRelay) -> None:
    scenario = stored.open_link()
    known(scenario)
    scenario.forward_up(call("1", "StartTransaction", START))
    scenario.csms.disconnect()
    kind, _, started = json.loads(scenario.station.receive_text())
    own = started["transactionId"]
    assert (kind, own != THEIRS) == (3, True)
    scenario.csms.connect()
    introduced(scenario)
    scenario.wait(LATE_ANSWER_S)
    confirm(scenario, call("1", "StartTransaction", START), STARTED)
    scenario.expect_log("StartTransaction 1 goes again: its answer was never seen")
    scenario.csms.send(call("r", "RemoteStopTransaction", f'{{"transactionId":{THEIRS}}}'))
    scenario.station.receive(call("r", "RemoteStopTransaction", f'{{"transactionId":{own}}}'))


def test_transaction_answered_late_over_next_link_is_not_delivered_again(stored: StoredRelay) -> None:
    scenario = stored.open_link()
    known(scenario)
    scenario.forward_up(call("1", "StartTransaction", START))
    scenario.csms.disconnect()
    own = json.loads(scenario.station.receive_text())[2]["transactionId"]
    scenario.station.send(call("2", "MeterValues", meter(own)))
    scenario.station.receive_text()
    scenario.csms.connect()
    introduced(scenario)
    scenario.expect_nothing()
    scenario.csms.send(result("1", STARTED))
    scenario.csms.receive(call("2", "MeterValues", meter(THEIRS)))
    scenario.expect_log("answer came late action=StartTransaction id=1")


def test_away_autonomous_transaction_owner_rejects_is_stopped(stored: StoredRelay) -> None:
    scenario = stored.open_link()
    known(scenario)
    scenario.csms.disconnect()
    own = served(scenario, "1", "StartTransaction", START)["transactionId"]
    scenario.csms.connect()
    introduced(scenario)
    confirm(scenario, call("1", "StartTransaction", START), STARTED.replace("Accepted", "Blocked"))
    assert json.loads(scenario.station.receive_call("RemoteStopTransaction").payload) == {
        "transactionId": own
    }


def test_away_autonomous_never_accepted_station_stays_pending(stored: StoredRelay) -> None:
    scenario = stored.open_link(up=False)
    scenario.csms.disconnect()
    assert served(scenario, "b", "BootNotification", BOOT)["status"] == "Pending"


def test_autonomous_unknown_token_is_refused_by_known_only(tmp_path: Path) -> None:
    scenario = StoredRelay(tmp_path, rules=OfflineRules()).open_link()
    known(scenario)
    scenario.csms.disconnect()
    started = served(scenario, "1", "StartTransaction", START)
    assert started["idTagInfo"] == {"status": "Invalid"}


def test_away_autonomous_owner_that_does_not_answer_is_away(stored: StoredRelay) -> None:
    scenario = stored.open_link()
    known(scenario)
    scenario.forward_up(call("h", "Heartbeat", "{}"))
    scenario.wait(TIMEOUT_S)
    assert json.loads(scenario.station.receive_text())[:2] == [3, "h"]
    scenario.expect_nothing()
    scenario.forward_up(call("d", "Authorize", '{"idTag":"A"}'))
    scenario.wait(TIMEOUT_S)
    assert json.loads(scenario.station.receive_text())[:2] == [3, "d"]
    scenario.expect_redial("no answer to Heartbeat, Authorize")
    scenario.csms.send(result("h", '{"currentTime":"2026-03-29T12:00:00Z"}'))  # late: nothing waits for it
    scenario.expect_nothing()


@pytest.mark.parametrize("message_id", ["1", "another"])
@pytest.mark.parametrize("up", [True, False])
def test_autonomous_repeated_call_gets_the_same_answer_once(
    stored: StoredRelay, message_id: str, *, up: bool
) -> None:
    scenario = stored.open_link()
    known(scenario)
    scenario.csms.disconnect()
    first = served(scenario, "1", "StartTransaction", START)
    scenario = stored.restart(scenario).open_link(up=up)
    if up:
        scenario.csms.receive(call("1", "StartTransaction", START))
    assert served(scenario, message_id, "StartTransaction", START) == first


def test_autonomous_entry_the_owner_rejects_is_set_aside(stored: StoredRelay) -> None:
    scenario = stored.open_link()
    known(scenario)
    scenario.csms.disconnect()
    a_transaction(scenario)
    scenario.csms.connect()
    introduced(scenario)
    scenario.csms.receive(call("1", "StartTransaction", START))
    scenario.csms.send('[4,"1","FormationViolation","",{}]')
    scenario.expect_nothing()  # what belongs to it could hit another transaction of the owner
    assert stored.outbox.set_aside_count == 2
    scenario.expect_log("StartTransaction 1 is answered with FormationViolation: it is set aside")


def test_away_autonomous_owner_with_errors_is_retried_later(stored: StoredRelay) -> None:
    scenario = stored.open_link()
    known(scenario)
    scenario.csms.disconnect()
    a_transaction(scenario)
    scenario.csms.connect()
    introduced(scenario)
    for wait_s in WAITS_S[:2]:
        scenario.csms.receive(call("1", "StartTransaction", START))
        scenario.csms.send('[4,"1","InternalError","",{}]')
        scenario.wait(wait_s)
    handed_over(scenario)


@pytest.mark.parametrize("late", [result("1", STARTED), '[4,"1","InternalError","",{}]'])
def test_repeated_call_before_owner_answer_is_served_rest_waits(stored: StoredRelay, late: str) -> None:
    scenario = stored.open_link()
    known(scenario)
    scenario.forward_up(call("1", "StartTransaction", START))
    first = served(scenario, "again", "StartTransaction", START)
    own = first["transactionId"]
    assert isinstance(own, int)
    assert served(scenario, "2", "MeterValues", meter(own)) == {}
    scenario.csms.send(late)
    kind, received_id, again = json.loads(scenario.station.receive_text())
    assert (kind, received_id, again) == (3, "1", first)
    if "InternalError" in late:
        confirm(scenario, call("1", "StartTransaction", START), STARTED)
    confirm(scenario, call("2", "MeterValues", meter(THEIRS)), "{}")
    scenario.forward_up(call("h", "Heartbeat", "{}"))


HEARTBEAT_ANSWER = '{"currentTime":"2026-03-29T12:00:00Z"}'


def test_queued_start_whose_id_is_used_again_is_sent_under_another(stored: StoredRelay) -> None:
    """A station that counts its ids anew after each start sends a Heartbeat with that of a queued start."""
    scenario = stored.open_link()
    known(scenario)
    scenario.csms.disconnect()
    served(scenario, "s", "StatusNotification", STATUS)
    served(scenario, "1", "StartTransaction", START)
    scenario.csms.connect()
    received = scenario.csms.receive_call("StatusNotification")
    scenario.station.send(call("1", "Heartbeat", "{}"))
    scenario.csms.send(result(received.id, "{}"))
    confirm(scenario, call("1", "Heartbeat", "{}"), HEARTBEAT_ANSWER)
    scenario.station.receive(result("1", HEARTBEAT_ANSWER))
    confirm(scenario, call("s", "StatusNotification", STATUS), "{}")
    start = scenario.csms.receive_call("StartTransaction")
    assert (start.id != "1", start.payload.decode()) == (True, START)
    scenario.csms.send(result("1", HEARTBEAT_ANSWER))  # the owner answers the Heartbeat twice
    scenario.csms.disconnect()
    assert [entry.id for entry in stored.outbox.entries] == [start.id]


def test_sent_start_is_not_ended_by_late_answer_to_reused_id(stored: StoredRelay) -> None:
    scenario = stored.open_link()
    known(scenario)
    scenario.csms.disconnect()
    served(scenario, "1", "StartTransaction", START)
    scenario.csms.connect()
    scenario.csms.receive(call("1", "StartTransaction", START))
    scenario.csms.send('[4,"1","InternalError","",{}]')
    scenario.forward_up(call("1", "Heartbeat", "{}"))
    scenario.wait(WAITS_S[0])
    scenario.csms.send(result("1", HEARTBEAT_ANSWER))
    scenario.station.receive(result("1", HEARTBEAT_ANSWER))
    scenario.csms.receive(call("1", "StartTransaction", START))
    scenario.csms.send('[4,"1","InternalError","",{}]')
    scenario.csms.send(result("1", HEARTBEAT_ANSWER))
    scenario.wait(WAITS_S[1])
    confirm(scenario, call("1", "StartTransaction", START), STARTED)
    assert len(stored.outbox) == 0


HOSTILE = "x station=CS02 " * 10_000


def test_ids_and_actions_of_station_stay_short_in_log(stored: StoredRelay) -> None:
    scenario = stored.open_link()
    known(scenario)
    scenario.station.send(result(HOSTILE, "{}"))
    scenario.csms.send(result(HOSTILE, "{}"))
    scenario.csms.disconnect()
    scenario.station.send(call("1", HOSTILE, "{}"))
    scenario.drop_effects()
    assert [entry.text for entry in scenario.log if len(entry.text) > 250] == []
    scenario.expect_log('id="x station=CS02 x', count=2)
