"""Which uplink is dialled next: the machine on a clock of its own, with chances that are known."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.backends.failover import (
    DENIED_WAIT_S,
    FAILBACK_S,
    LASTING_S,
    LONGEST_WAIT_S,
    MOST_PATIENCE_S,
    PROBE_S,
    EndpointSelector,
)

NEVER = float("inf")


class Highest(random.Random):
    """Each chance is the longest wait."""

    def uniform(self, a: float, b: float) -> float:
        return b


def two() -> EndpointSelector:
    return EndpointSelector([("second", 10), ("first", 0)], Highest())


def fail(machine: EndpointSelector, uplink: str, now: float, retry_after_s: float | None = None) -> None:
    machine.dialling(uplink)
    machine.failed(uplink, now, now, retry_after_s)


def reach(machine: EndpointSelector, uplink: str, now: float, station: str = "CS01") -> None:
    machine.dialling(uplink)
    machine.answered(station, uplink, now)


# -- one dial after the other --------------------------------------------------------------------------


def test_the_lowest_priority_number_goes_first_and_the_next_when_it_fails() -> None:
    machine = two()
    assert machine.next("CS01", 0) == "first"
    fail(machine, "first", 0)
    assert machine.next("CS01", 0) == "second"
    assert machine.next("CS02", 0) == "second"  # what one station has found out, all know
    fail(machine, "second", 0)
    assert machine.next("CS01", 0) is None
    assert machine.ready_at("CS01") == 1
    assert machine.next("CS01", 1) == "first"


def test_uplinks_that_were_tried_are_left_out() -> None:
    machine = two()
    assert machine.next("CS01", 0, {"first"}) == "second"
    assert machine.next("CS01", 0, {"first", "second"}) is None


def test_the_back_off_doubles_up_to_the_longest_and_begins_anew_after_a_link() -> None:
    machine = EndpointSelector([("only", 0)], Highest())
    now, waits = 0.0, []
    for _ in range(9):
        fail(machine, "only", now)
        waits.append(machine.ready_at("CS01") - now)
        now = machine.ready_at("CS01")
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    machine.dialling("only")
    assert machine.answered("CS01", "only", now)
    assert machine.next("CS02", now) == "only"
    fail(machine, "only", now)
    assert machine.ready_at("CS01") == now + 1


@given(seed=st.integers(), failures=st.integers(1, 3000))
def test_the_jitter_is_full(seed: int, failures: int) -> None:
    machine = EndpointSelector([("only", 0)], random.Random(seed))
    for _ in range(failures):
        fail(machine, "only", 0)
    assert 0 <= machine.ready_at("CS01") <= LONGEST_WAIT_S


def test_the_same_seed_gives_the_same_waits_and_another_seed_others() -> None:
    def wait(seed: int) -> float:
        machine = EndpointSelector([("only", 0)], random.Random(seed))
        fail(machine, "only", 0)
        return machine.ready_at("CS01")

    assert wait(1) == wait(1)
    assert len({wait(seed) for seed in range(20)}) == 20


@pytest.mark.parametrize(("said", "waits"), [(0, 0), (7.5, 7.5), (600, 600), (1e12, MOST_PATIENCE_S)])
def test_what_the_backend_says_of_coming_back_holds(said: float, waits: float) -> None:
    machine = EndpointSelector([("only", 0)], Highest())
    fail(machine, "only", 100, said)
    assert machine.ready_at("CS01") == 100 + waits


def test_dials_that_were_under_way_together_fail_once() -> None:
    machine = EndpointSelector([("only", 0)], Highest())
    for _ in range(1000):
        machine.dialling("only")
    assert machine.failed("only", 0, 10)
    assert not any(machine.failed("only", 0, 10) for _ in range(999))
    assert machine.ready_at("CS01") == 11


def test_after_the_wait_one_dials_and_the_others_wait_for_what_becomes_of_it() -> None:
    machine = EndpointSelector([("only", 0)], Highest())
    fail(machine, "only", 0)
    assert not machine.is_trying("CS02", 1)
    machine.dialling("only")
    assert machine.next("CS02", 1) is None
    assert machine.is_trying("CS02", 1)
    assert machine.ready_at("CS02") == NEVER
    machine.abandoned("only")
    assert machine.next("CS02", 1) == "only"
    reach(machine, "only", 1)
    assert [machine.next(f"CS{number}", 1) for number in range(3)] == ["only"] * 3


def test_while_all_is_well_everybody_dials_at_once() -> None:
    machine = EndpointSelector([("only", 0)], Highest())
    machine.dialling("only")
    assert machine.next("CS02", 0) == "only"
    assert not machine.is_trying("CS02", 0)


# -- links that are lost -------------------------------------------------------------------------------


def test_after_a_lost_link_one_tries_the_uplink_and_all_others_use_another() -> None:
    machine = two()
    machine.lost("CS01", "first", LASTING_S, 50, clean=False)
    assert machine.next("CS01", 50) == "first"
    machine.dialling("first")
    assert machine.next("CS02", 50) == "second"
    machine.answered("CS01", "first", 51)
    assert machine.next("CS02", 51) == "first"


def test_a_suspect_that_does_not_answer_is_down() -> None:
    machine = two()
    machine.lost("CS01", "first", LASTING_S, 50, clean=False)
    fail(machine, "first", 50)
    assert machine.next("CS01", 51.5) == "second"


def test_a_link_that_its_backend_closed_properly_says_nothing_of_the_uplink() -> None:
    machine = two()
    machine.lost("CS01", "first", LASTING_S, 50, clean=True)
    machine.dialling("first")
    assert machine.next("CS02", 50) == "first"


def test_a_station_whose_links_do_not_last_waits_longer_each_time() -> None:
    machine = EndpointSelector([("only", 0)], Highest())
    now, waits = 0.0, []
    for _ in range(4):
        reach(machine, "only", now)
        machine.lost("CS01", "only", 0.1, now, clean=True)
        waits.append(machine.ready_at("CS01") - now)
        assert machine.next("CS02", now) == "only"
        now = machine.ready_at("CS01")
    assert waits == [1, 2, 4, 8]
    reach(machine, "only", now)
    machine.lost("CS01", "only", LASTING_S, now, clean=True)
    assert machine.next("CS01", now) == "only"


def test_a_station_that_gets_no_answers_goes_elsewhere_and_others_look_for_themselves() -> None:
    machine = two()
    machine.unanswered("CS01", "first", 50)
    assert machine.next("CS01", 50) == "second"
    assert machine.next("CS02", 50) == "first"
    machine.dialling("first")
    assert machine.next("CS03", 50) == "second"


def test_a_station_that_gets_no_answers_again_and_again_waits_longer() -> None:
    machine = EndpointSelector([("only", 0)], Highest())
    now, waits = 0.0, []
    for _ in range(3):
        reach(machine, "only", now)
        machine.unanswered("CS01", "only", now)
        waits.append(machine.ready_at("CS01") - now)
        now = machine.ready_at("CS01")
    assert waits == [1, 2, 4]


# -- a station that is not wanted ----------------------------------------------------------------------


def test_a_station_that_is_not_wanted_waits_and_nobody_else() -> None:
    machine = EndpointSelector([("only", 0)], Highest())
    machine.dialling("only")
    assert machine.denied("CS01", "only", 0)
    assert machine.next("CS01", DENIED_WAIT_S) is None
    assert machine.ready_at("CS01") == 1.5 * DENIED_WAIT_S
    assert machine.next("CS02", 0) == "only"
    assert not machine.denied("CS01", "only", 90)  # that is told once
    reach(machine, "only", 200)
    assert machine.denied("CS01", "only", 300)  # it had been wanted in between


def test_a_station_that_is_not_wanted_over_one_uplink_takes_the_next_and_stays_there() -> None:
    machine = two()
    machine.denied("CS01", "first", 0)
    assert machine.next("CS01", 0) == "second"
    assert machine.outdone_at("CS01", "second") == NEVER
    assert machine.outdone_at("CS02", "second") < 0


def test_an_uplink_that_was_down_and_denies_is_up() -> None:
    machine = EndpointSelector([("only", 0)], Highest())
    fail(machine, "only", 0)
    machine.dialling("only")
    machine.denied("CS01", "only", 1)
    assert machine.next("CS02", 1) == "only"


# -- back to the better one ----------------------------------------------------------------------------


def test_a_better_uplink_takes_links_when_it_has_answered_for_a_while() -> None:
    machine = two()
    fail(machine, "first", 0)
    reach(machine, "second", 0)
    assert machine.probe_at() == 1
    assert machine.to_probe(0.5) == []
    now = 1.0
    while now < 1 + FAILBACK_S:
        assert machine.to_probe(now) == ["first"]
        assert not machine.probe_answered("first", now)
        assert machine.next("CS02", now) == "second"
        assert machine.outdone_at("CS01", "second") == NEVER
        assert machine.probe_at() == now + PROBE_S
        now += PROBE_S
    assert machine.probe_answered("first", now)
    assert machine.next("CS02", now) == "first"
    assert machine.outdone_at("CS01", "second") <= now
    assert machine.outdone_at("CS01", "first") == NEVER
    assert machine.probe_at() is None


def test_a_probe_that_fails_begins_the_while_anew() -> None:
    machine = two()
    fail(machine, "first", 0)
    machine.probe_answered("first", 1)
    machine.failed("first", 41, 41)
    assert machine.probe_at() == 43  # the second failure: 2 s
    machine.probe_answered("first", 43)
    assert not machine.probe_answered("first", 1 + FAILBACK_S)
    assert machine.probe_answered("first", 43 + FAILBACK_S)


def test_what_is_better_but_down_is_taken_where_there_is_nothing_else() -> None:
    machine = two()
    fail(machine, "first", 0)
    machine.probe_answered("first", 1)
    fail(machine, "second", 20)
    assert machine.next("CS01", 20) == "first"
    reach(machine, "first", 20)
    assert machine.next("CS02", 20) == "first"


def test_a_link_moves_only_when_the_better_uplink_has_been_up_for_a_while() -> None:
    machine = two()
    machine.lost("CS01", "first", LASTING_S, 50, clean=False)
    reach(machine, "first", 51)
    assert machine.outdone_at("CS02", "second") == 51 + FAILBACK_S


def test_a_probe_that_answers_after_a_dial_did_changes_nothing() -> None:
    machine = two()
    assert not machine.probe_answered("first", 5)
    assert machine.next("CS01", 5) == "first"


def test_where_nothing_is_up_a_dial_is_the_probe() -> None:
    machine = two()
    fail(machine, "first", 0)
    fail(machine, "second", 0)
    assert machine.probe_at() is None
