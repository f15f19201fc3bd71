"""Latest messages of a station: kept within bounds, and decoded and redacted when they are shown."""

from __future__ import annotations

import msgspec

from controller.services.web.message_reader import decode_messages
from controller.stations.recent_messages import LONGEST_TEXT, MOST_MESSAGES, RecentMessages

START = '[2,"7","StartTransaction",{"connectorId":1,"idTag":"04AABB","meterStart":0}]'
STARTED = '[3,"7",{"transactionId":9,"idTagInfo":{"status":"Accepted","parentIdTag":"PARENT"}}]'


def recent(*texts: tuple[str, bool]) -> RecentMessages:
    made = RecentMessages()
    for second, (text, is_from_station) in enumerate(texts):
        made.add_message(1_795_262_400.25 + second, text, is_from_station=is_from_station)
    return made


def test_recent_messages_drop_oldest_and_cut_long_ones() -> None:
    long_text = f'[2,"x","DataTransfer",{{"data":"{"a" * LONGEST_TEXT}"}}]'
    made = recent(*[(START, True)] * MOST_MESSAGES, (long_text, True))
    assert len(made.messages) == MOST_MESSAGES
    assert (made.messages[-1].length, len(made.messages[-1].text)) == (len(long_text), 200)
    [shown, *_] = decode_messages(made.messages, show_identities=True)
    assert (shown.action, shown.cut, shown.payload) == ("DataTransfer", True, None)


def test_decode_messages_answer_has_action_of_its_request() -> None:
    # The id of a request of the other side is another request's.
    crossed = '[2,"7","Reset",{"type":"Soft"}]'
    answer, _, request = decode_messages(
        recent((START, True), (crossed, False), (STARTED, False)).messages, show_identities=True
    )
    assert (request.kind, request.direction, request.action) == ("call", "from-station", "StartTransaction")
    assert request.time == "2026-11-21T12:00:00.250+00:00"
    assert (answer.kind, answer.direction, answer.action) == ("result", "to-station", "StartTransaction")
    assert answer.payload == {
        "transactionId": 9,
        "idTagInfo": {"status": "Accepted", "parentIdTag": "PARENT"},
    }


def test_decode_messages_without_permission_name_no_driver() -> None:
    error = '[4,"8","GenericError","card 04AABB unknown",{"idTag":"04AABB"}]'
    broken = '[2,"9","Authorize",{"idTag":"04AABB"'
    made = recent((START, True), (STARTED, False), (error, False), (broken, True), ("04AABB", True))
    shown = decode_messages(made.messages, show_identities=False)
    text = msgspec.json.encode(shown).decode()
    assert "04AABB" not in text
    assert "PARENT" not in text
    assert [each.kind for each in shown] == ["unreadable", "call", "error", "result", "call"]
    whole = decode_messages(made.messages, show_identities=True)
    assert [each.payload for each in whole[:2]] == ["04AABB", broken]


def test_decode_messages_hostile_texts_are_shown_safely() -> None:
    nested = f'[2,"1","DataTransfer",{"[" * 1500}{"]" * 1500}]'
    large = '[2,"2","DataTransfer",{"data":1' + "0" * 400 + "}]"
    secret = '[2,"3","ChangeConfiguration",{"key":"AuthorizationKey","value":"hunter2"'
    made = recent((nested, True), (large, True), (secret, False), ("[9]", True), ('[3,"none",{}]', True))
    shown = decode_messages(made.messages, show_identities=True)
    assert "hunter2" not in msgspec.json.encode(shown).decode()
    assert [each.kind for each in shown] == ["result", "unreadable", "call", "call", "call"]
