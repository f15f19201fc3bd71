"""`autonomous`: a station is served while its owner is away, who then hears all of it once, in order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from controller.offline.offline_responder import OfflineRules
from controller.offline.outbox_sender import WAITS_S
from tests.controller.relay.playbook import TIMEOUT_S, Playbook, call, result
from tests.controller.relay.remembered import Remembered

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
def house(tmp_path: Path) -> Remembered:
    return Remembered(tmp_path)


def known(talk: Playbook) -> None:
    """The station has booted, and its owner has accepted it."""
    talk.passes_up(call("boot", "BootNotification", BOOT))
    talk.passes_down(result("boot", ACCEPTED))


def served(talk: Playbook, message_id: str, action: str, payload: str) -> dict[str, object]:
    """The station asks and has a good answer, of nobody else."""
    talk.station(call(message_id, action, payload))
    kind, heard_id, answered = json.loads(talk.station_hears_text())
    assert (kind, heard_id) == (3, message_id)
    assert isinstance(answered, dict)
    talk.done()
    return answered


def told(talk: Playbook, text: str, answered: str) -> None:
    """The owner hears exactly this, and answers it."""
    talk.backend_hears(text)
    talk.backend(result(json.loads(text)[1], answered))


def introduced(talk: Playbook, *statuses: str, boot: bool = False) -> None:
    """The owner gets the station's states, and its boot if it has not accepted that one."""
    boots = [("BootNotification", BOOT, ACCEPTED)] if boot else []
    for action, payload, answered in boots + [("StatusNotification", status, "{}") for status in statuses]:
        heard = talk.backend_hears_call(action)
        assert heard.payload.decode() == payload
        talk.backend(result(heard.id, answered))


def a_transaction(talk: Playbook) -> int:
    """Served while the owner is away; the station's id."""
    own = served(talk, "1", "StartTransaction", START)["transactionId"]
    assert isinstance(own, int)
    assert served(talk, "2", "MeterValues", meter(own)) == {}
    assert served(talk, "3", "StopTransaction", stop(own)) == {}
    return own


def handed_over(talk: Playbook) -> None:
    """The owner hears the transaction, under its own number."""
    told(talk, call("1", "StartTransaction", START), STARTED)
    told(talk, call("2", "MeterValues", meter(THEIRS)), "{}")
    told(talk, call("3", "StopTransaction", stop(THEIRS)), "{}")
    talk.done()


def test_station_is_served_and_owner_gets_all_in_order_with_ids(house: Remembered) -> None:
    talk = house.link()
    known(talk)
    talk.backend_lost()
    talk.noted("the station is served offline (autonomous)")
    assert served(talk, "b", "BootNotification", BOOT)["status"] == "Accepted"
    assert served(talk, "s", "StatusNotification", STATUS) == {}
    assert "currentTime" in served(talk, "h", "Heartbeat", "{}")
    assert served(talk, "a", "Authorize", '{"idTag":"A"}') == {"idTagInfo": {"status": "Accepted"}}
    a_transaction(talk)
    talk.backend_up()
    introduced(talk, STATUS, boot=True)
    told(talk, call("s", "StatusNotification", STATUS), "{}")
    handed_over(talk)
    assert len(house.outbox) == 0


def test_away_autonomous_restart_in_between_changes_nothing_of_it(house: Remembered) -> None:
    talk = house.link()
    known(talk)
    talk.backend_lost()
    a_transaction(talk)
    house = house.restarted(talk)
    talk = house.link()
    introduced(talk)
    handed_over(talk)


@pytest.mark.parametrize("heard", range(3))
def test_restart_in_middle_of_handing_over_goes_on_where_it_was(house: Remembered, heard: int) -> None:
    talk = house.link()
    known(talk)
    talk.backend_lost()
    a_transaction(talk)
    talk.backend_up()
    introduced(talk)
    parts = [
        (call("1", "StartTransaction", START), STARTED),
        (call("2", "MeterValues", meter(THEIRS)), "{}"),
        (call("3", "StopTransaction", stop(THEIRS)), "{}"),
    ]
    for text, answered in parts[:heard]:
        told(talk, text, answered)
    talk.backend_hears(parts[heard][0])  # and we die before its answer
    talk = house.restarted(talk).link()
    introduced(talk)
    for text, answered in parts[heard:]:
        told(talk, text, answered)
    talk.done()
    talk.noted(f"{parts[heard][0].split(',')[2][1:-1]} {heard + 1} goes again: its answer was never seen")


def test_transaction_that_owner_was_reported_live_is_not_reported_twice(house: Remembered) -> None:
    talk = house.link()
    known(talk)
    talk.passes_up(call("1", "StartTransaction", START))
    talk.backend_lost()
    kind, _, started = json.loads(talk.station_hears_text())
    own = started["transactionId"]
    assert (kind, own != THEIRS) == (3, True)
    talk.backend_up()
    introduced(talk)
    told(talk, call("1", "StartTransaction", START), STARTED)
    talk.noted("StartTransaction 1 goes again: its answer was never seen")
    talk.backend(call("r", "RemoteStopTransaction", f'{{"transactionId":{THEIRS}}}'))
    talk.station_hears(call("r", "RemoteStopTransaction", f'{{"transactionId":{own}}}'))


def test_away_autonomous_driver_whom_owner_does_not_accept_is_stopped(house: Remembered) -> None:
    talk = house.link()
    known(talk)
    talk.backend_lost()
    own = served(talk, "1", "StartTransaction", START)["transactionId"]
    talk.backend_up()
    introduced(talk)
    told(talk, call("1", "StartTransaction", START), STARTED.replace("Accepted", "Blocked"))
    assert json.loads(talk.station_hears_call("RemoteStopTransaction").payload) == {"transactionId": own}


def test_away_autonomous_one_that_owner_has_never_accepted_stays_pending(house: Remembered) -> None:
    talk = house.link(up=False)
    talk.backend_lost()
    assert served(talk, "b", "BootNotification", BOOT)["status"] == "Pending"


def test_autonomous_unknown_token_is_refused_by_known_only(tmp_path: Path) -> None:
    talk = Remembered(tmp_path, rules=OfflineRules()).link()
    known(talk)
    talk.backend_lost()
    started = served(talk, "1", "StartTransaction", START)
    assert started["idTagInfo"] == {"status": "Invalid"}


def test_away_autonomous_owner_that_does_not_answer_is_away(house: Remembered) -> None:
    talk = house.link()
    known(talk)
    talk.passes_up(call("h", "Heartbeat", "{}"))
    talk.wait(TIMEOUT_S)
    assert json.loads(talk.station_hears_text())[:2] == [3, "h"]
    talk.done()
    talk.passes_up(call("d", "Authorize", '{"idTag":"A"}'))
    talk.wait(TIMEOUT_S)
    assert json.loads(talk.station_hears_text())[:2] == [3, "d"]
    talk.redials("no answer to Heartbeat, Authorize")
    talk.backend(result("h", '{"currentTime":"2026-03-29T12:00:00Z"}'))  # late: nobody waits for it
    talk.done()


@pytest.mark.parametrize("message_id", ["1", "another"])
@pytest.mark.parametrize("up", [True, False])
def test_autonomous_repeated_call_gets_the_same_answer_once(
    house: Remembered, message_id: str, *, up: bool
) -> None:
    talk = house.link()
    known(talk)
    talk.backend_lost()
    first = served(talk, "1", "StartTransaction", START)
    talk = house.restarted(talk).link(up=up)
    if up:
        talk.backend_hears(call("1", "StartTransaction", START))
    assert served(talk, message_id, "StartTransaction", START) == first


def test_autonomous_entry_the_owner_rejects_is_set_aside(house: Remembered) -> None:
    talk = house.link()
    known(talk)
    talk.backend_lost()
    a_transaction(talk)
    talk.backend_up()
    introduced(talk)
    talk.backend_hears(call("1", "StartTransaction", START))
    talk.backend('[4,"1","FormationViolation","",{}]')
    talk.done()  # what belongs to it could hit another transaction of the owner
    assert house.outbox.set_aside_count == 2
    talk.noted("StartTransaction 1 is answered with FormationViolation: it is set aside")


def test_away_autonomous_owner_in_trouble_is_waited_for_and_asked_again(house: Remembered) -> None:
    talk = house.link()
    known(talk)
    talk.backend_lost()
    a_transaction(talk)
    talk.backend_up()
    introduced(talk)
    for wait_s in WAITS_S[:2]:
        talk.backend_hears(call("1", "StartTransaction", START))
        talk.backend('[4,"1","InternalError","",{}]')
        talk.wait(wait_s)
    handed_over(talk)


@pytest.mark.parametrize("late", [result("1", STARTED), '[4,"1","InternalError","",{}]'])
def test_repeated_call_before_owner_answer_is_served_rest_waits(house: Remembered, late: str) -> None:
    talk = house.link()
    known(talk)
    talk.passes_up(call("1", "StartTransaction", START))
    first = served(talk, "again", "StartTransaction", START)
    own = first["transactionId"]
    assert isinstance(own, int)
    assert served(talk, "2", "MeterValues", meter(own)) == {}
    talk.backend(late)
    kind, heard_id, again = json.loads(talk.station_hears_text())
    assert (kind, heard_id, again) == (3, "1", first)
    if "InternalError" in late:
        told(talk, call("1", "StartTransaction", START), STARTED)
    told(talk, call("2", "MeterValues", meter(THEIRS)), "{}")
    talk.passes_up(call("h", "Heartbeat", "{}"))
