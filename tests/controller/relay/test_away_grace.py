"""`grace`: the owner comes back in time, and the station notices nothing; or the station is closed."""

from __future__ import annotations

import pytest

from controller.model.observations import TransactionSeen
from controller.relay.call_queue import QUEUE_DEPTH
from controller.relay.events import FromStation
from controller.relay.station_relay import DRAIN_S
from tests.controller.relay.playbook import TIMEOUT_S, Playbook, call, result

GRACE_S = 20.0
START = call("1", "StartTransaction", '{"connectorId":1,"idTag":"A","meterStart":0,"timestamp":"T"}')


def says_start(talk: Playbook) -> None:
    talk.station(START)
    talk.site_learns(TransactionSeen(1, True))


@pytest.fixture
def talk() -> Playbook:
    talk = Playbook(grace_s=GRACE_S)
    talk.commandable()
    return talk


def test_grace_unanswered_call_is_repeated_unchanged_and_first(talk: Playbook) -> None:
    first, second = call("1"), call("2")
    talk.passes_up(first)
    talk.backend_lost()
    talk.station(second)
    talk.wait(GRACE_S - 1)
    talk.backend_up()
    talk.backend_hears(first)
    talk.backend(result("1"))
    talk.station_hears(result("1"))
    talk.backend_hears(second)
    talk.noted("waiting for it up to 20 s (grace)")


def test_away_grace_each_absence_has_own_grace(talk: Playbook) -> None:
    for _ in range(3):
        talk.backend_lost()
        talk.wait(GRACE_S - 1)
        talk.backend_up()
    talk.passes_up(call("1"))


def test_away_grace_dials_that_fail_do_not_prolong_it(talk: Playbook) -> None:
    talk.backend_lost()
    talk.wait(GRACE_S - 1)
    talk.backend_lost("connection refused")
    assert talk.relay.wants("cpo")
    talk.wait(2)
    talk.closes("backend cpo is away")


def test_away_grace_owner_that_is_not_there_at_first_is_waited_for() -> None:
    talk = Playbook(up=False, grace_s=GRACE_S)
    talk.commandable()
    says_start(talk)
    talk.backend_lost("connection refused")
    talk.wait(GRACE_S - 1)
    talk.backend_up()
    talk.backend_hears(START)


def test_after_grace_safe_limit_goes_first_and_then_station(talk: Playbook) -> None:
    says_start(talk)
    talk.backend_hears(START)
    talk.backend_lost()
    limit = talk.own()
    talk.station_hears(limit)
    talk.wait(GRACE_S)
    talk.done()  # still waits for the station's word to it
    talk.station('[3,"00000000-0000-0000-0000-000000000001",{"status":"Accepted"}]')
    talk.own_answered(b'{"status":"Accepted"}')
    talk.closes("backend cpo is away")
    assert not talk.relay.wants("cpo")


def test_away_grace_station_that_does_not_take_limit_is_closed_all_same(talk: Playbook) -> None:
    talk.backend_lost()
    talk.station_hears(talk.own())
    talk.wait(GRACE_S + DRAIN_S)
    talk.own_answered(None, "backend cpo is away")
    talk.closes("backend cpo is away")


def test_unanswered_transaction_waits_for_another_link(talk: Playbook) -> None:
    """An error would count as one of its tries at the station."""
    talk.passes_up('[2,"0","MeterValues",{}]')
    talk.wait(TIMEOUT_S)
    says_start(talk)
    talk.backend_hears(START)
    talk.wait(TIMEOUT_S)
    talk.redials("no answer to MeterValues, StartTransaction")
    talk.backend_lost()
    talk.backend_up()
    talk.backend_hears(START)


def test_away_grace_meanwhile_line_fills_and_socket_is_left_alone(talk: Playbook) -> None:
    talk.backend_lost()
    said = 0
    while talk.relay.accepts_messages:
        said += 1
        assert talk.relay.handle(FromStation(call(str(said))), talk.now, talk.now) == []
    assert said == QUEUE_DEPTH
