from __future__ import annotations

import msgspec
import pytest

from controller.demo.message_ledger import FLIGHT_S, End, MessageCounts, MessageLedger

HEARTBEAT = '[2, "1", "Heartbeat", {}]'
BEAT = '[3,"1",{"currentTime":"2026-03-01T12:00:00Z"}]'
SET = '[2,"5d1c","SetChargingProfile",{}]'
SET_DONE = '[3,"5d1c",{"status":"Accepted"}]'


class Wires:
    """Two ends and what lies between them."""

    def __init__(self) -> None:
        self.ledger = MessageLedger()
        self.links = {end: self.ledger.new_link() for end in End}
        self.now = 0.0

    def sent(self, end: End, text: str, *arrives: str) -> None:
        """`end` sends a text; what arrives of it at the other end."""
        self.ledger.sent(end, "CS", self.links[end], text, self.now)
        other = End.BACKEND if end is End.STATION else End.STATION
        for each in arrives:
            self.got(other, each)

    def got(self, end: End, text: str) -> None:
        """Record that `end` received a text."""
        self.ledger.got(end, "CS", self.links[end], text, self.now)

    def result(self) -> dict[str, int]:
        """The counts that are not 0."""
        return {name: count for name, count in msgspec.structs.asdict(self.ledger.count()).items() if count}


@pytest.fixture
def wires() -> Wires:
    return Wires()


def test_message_ledger_same_bytes_are_relayed(wires: Wires) -> None:
    wires.sent(End.STATION, HEARTBEAT, HEARTBEAT)
    wires.sent(End.BACKEND, BEAT, BEAT)
    assert wires.result() == {"relayed": 2}


def test_message_ledger_other_bytes_are_altered_even_where_they_mean_same(wires: Wires) -> None:
    wires.sent(End.STATION, HEARTBEAT, '[2,"1","Heartbeat",{}]')
    assert wires.result() == {"altered": 1}


def test_ledger_missing_message_counts_as_lost(wires: Wires) -> None:
    wires.sent(End.STATION, HEARTBEAT)
    assert wires.result() == {"lost": 1}


def test_ledger_second_delivery_counts_as_duplicated(wires: Wires) -> None:
    wires.sent(End.STATION, HEARTBEAT, HEARTBEAT, HEARTBEAT)
    assert wires.result() == {"relayed": 1, "duplicated": 1}


def test_message_ledger_own_call_and_its_answer_are_counted_own(wires: Wires) -> None:
    wires.got(End.STATION, SET)
    wires.sent(End.STATION, SET_DONE)
    assert wires.result() == {"own": 1}


def test_message_ledger_own_answer_that_leaks_is_duplicated(wires: Wires) -> None:
    wires.got(End.STATION, SET)
    wires.sent(End.STATION, SET_DONE, SET_DONE)
    assert wires.result() == {"own": 1, "duplicated": 1}


def test_message_ledger_own_message_to_backend_is_counted_own(wires: Wires) -> None:
    wires.got(End.BACKEND, '[2,"n","ClearedChargingLimit",{"chargingLimitSource":"EMS"}]')
    wires.sent(End.BACKEND, '[3,"n",{}]')
    assert wires.result() == {"own": 1}


def test_message_ledger_send_frame_is_relayed_like_call(wires: Wires) -> None:
    text = '[6,"x","NotifyPeriodicEventStream",{}]'
    wires.sent(End.STATION, text, text)
    assert wires.result() == {"relayed": 1}


def test_call_that_controller_answers_for_silent_peer_is_settled(wires: Wires) -> None:
    wires.sent(End.STATION, HEARTBEAT)
    wires.got(End.STATION, '[4,"1","GenericError","the backend gave no answer",{}]')
    assert wires.result() == {}


def test_answer_twice_with_error_of_controllers_is_duplicated(wires: Wires) -> None:
    wires.sent(End.STATION, HEARTBEAT, HEARTBEAT)
    wires.sent(End.BACKEND, BEAT, BEAT, '[4,"1","GenericError","",{}]')
    assert wires.result() == {"relayed": 2, "duplicated": 1}


def test_message_ledger_call_to_backend_that_no_station_made_is_duplicated(wires: Wires) -> None:
    wires.got(End.BACKEND, HEARTBEAT)
    assert wires.result() == {"duplicated": 1}


def test_message_ledger_frame_on_way_when_link_ends_is_not_lost(wires: Wires) -> None:
    wires.sent(End.STATION, HEARTBEAT)
    wires.ledger.link_ended(wires.links[End.STATION], wires.now + FLIGHT_S / 2)
    assert wires.result() == {}


def test_message_ledger_undelivered_frame_after_grace_is_lost(wires: Wires) -> None:
    wires.sent(End.STATION, HEARTBEAT)
    wires.ledger.link_ended(wires.links[End.STATION], wires.now + FLIGHT_S)
    assert wires.result() == {"lost": 1}


def test_message_ledger_same_text_on_second_link_must_arrive_as_well(wires: Wires) -> None:
    wires.sent(End.STATION, HEARTBEAT)
    wires.ledger.link_ended(wires.links[End.STATION], 1.0)
    wires.links[End.STATION] = wires.ledger.new_link()
    wires.now = 10.0
    wires.sent(End.STATION, HEARTBEAT, HEARTBEAT)
    assert wires.result() == {"relayed": 1}


def test_stations_are_counted_separately(wires: Wires) -> None:
    wires.sent(End.STATION, HEARTBEAT)
    wires.ledger.got(End.BACKEND, "other", wires.links[End.BACKEND], HEARTBEAT, 0.0)
    assert wires.ledger.count() == MessageCounts(relayed=0, own=0, lost=1, duplicated=1, altered=0)
