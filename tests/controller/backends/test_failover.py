"""Endpoint selection on a clock of the test, with known chances."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.backends.failover import (
    BACKOFF,
    FAILBACK_S,
    LASTING_S,
    LONGEST_WAIT_S,
    MOST_HOLDS,
    PROBE_INTERVAL_S,
    REFUSED_WAIT_S,
    WAITING_S,
    BackendVerdict,
    EndpointSelector,
)

NEVER = float("inf")
VERDICT = BackendVerdict("HTTP status 401", 401)


class Highest(random.Random):
    """Each chance is the longest wait."""

    def uniform(self, a: float, b: float) -> float:
        return b


def two() -> EndpointSelector:
    return EndpointSelector([("second", 10), ("first", 0)], Highest())


def fail(machine: EndpointSelector, endpoint: str, now: float) -> None:
    machine.on_dial_started(endpoint)
    machine.on_unreachable(endpoint, "refused", now, now)


def fail_upgrade(
    machine: EndpointSelector, station: str, now: float, retry_after_s: float | None = None
) -> tuple[bool, bool]:
    machine.on_dial_started("only")
    return machine.on_upgrade_failed(station, station, "only", "HTTP status 500", now, now, retry_after_s)


def reach(machine: EndpointSelector, endpoint: str, now: float, station: str = "CS01") -> None:
    machine.on_dial_started(endpoint)
    machine.on_link_opened(station, station, endpoint, now)


# -- one dial after the other --------------------------------------------------------------------------


def test_select_takes_lowest_priority_then_next_on_failure() -> None:
    machine = two()
    assert machine.select("CS01", 0) == "first"
    fail(machine, "first", 0)
    assert machine.select("CS01", 0) == "second"
    assert machine.select("CS02", 0) == "second"  # what one station has found out, all know
    fail(machine, "second", 0)
    assert machine.select("CS01", 0) is None
    assert machine.ready_at("CS01") == 1
    assert machine.select("CS01", 1) == "first"


def test_select_leaves_out_tried_endpoints() -> None:
    machine = two()
    assert machine.select("CS01", 0, {"first"}) == "second"
    assert machine.select("CS01", 0, {"first", "second"}) is None


def test_failover_backoff_doubles_and_restarts_after_link() -> None:
    machine = EndpointSelector([("only", 0)], Highest())
    now, waits = 0.0, []
    for _ in range(9):
        fail(machine, "only", now)
        waits.append(machine.ready_at("CS01") - now)
        now = machine.ready_at("CS01")
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    machine.on_dial_started("only")
    assert machine.on_link_opened("CS01", "CS01", "only", now)
    assert machine.select("CS02", now) == "only"
    fail(machine, "only", now)
    assert machine.ready_at("CS01") == now + 1


@given(seed=st.integers(), failures=st.integers(1, 3000))
def test_backoff_jitter_is_full(seed: int, failures: int) -> None:
    machine = EndpointSelector([("only", 0)], random.Random(seed))
    for _ in range(failures):
        fail(machine, "only", 0)
    assert 0 <= machine.ready_at("CS01") <= BACKOFF.longest_s


def test_backoff_of_same_seed_is_equal() -> None:
    def wait(seed: int) -> float:
        machine = EndpointSelector([("only", 0)], random.Random(seed))
        fail(machine, "only", 0)
        return machine.ready_at("CS01")

    assert wait(1) == wait(1)
    assert len({wait(seed) for seed in range(20)}) == 20


@pytest.mark.parametrize(("sent_s", "waits"), [(0, 0), (7.5, 7.5), (600, 600), (1e12, LONGEST_WAIT_S)])
def test_retry_after_of_backend_holds_for_station_and_all(sent_s: float, waits: float) -> None:
    machine = EndpointSelector([("only", 0)], Highest())
    for station in ("CS01", "CS02"):
        fail_upgrade(machine, station, 100, sent_s)
        assert machine.ready_at(station) == 100 + waits
    assert machine.ready_at("CS03") == 100 + waits


def test_simultaneous_dials_fail_once() -> None:
    machine = EndpointSelector([("only", 0)], Highest())
    for _ in range(1000):
        machine.on_dial_started("only")
    assert machine.on_unreachable("only", "refused", 0, 10)
    assert not any(machine.on_unreachable("only", "refused", 0, 10) for _ in range(999))
    assert machine.ready_at("CS01") == 11


def test_trial_is_one_dial_for_which_others_wait() -> None:
    machine = EndpointSelector([("only", 0)], Highest())
    fail(machine, "only", 0)
    assert not machine.is_trial_running("CS02", 1)
    machine.on_dial_started("only")
    assert machine.select("CS02", 1) is None
    assert machine.is_trial_running("CS02", 1)
    assert machine.ready_at("CS02") == NEVER
    machine.on_dial_cancelled("only")
    assert machine.select("CS02", 1) == "only"
    reach(machine, "only", 1)
    assert [machine.select(f"CS{number}", 1) for number in range(3)] == ["only"] * 3


def test_endpoint_that_is_up_is_dialled_by_all() -> None:
    machine = EndpointSelector([("only", 0)], Highest())
    machine.on_dial_started("only")
    assert machine.select("CS02", 0) == "only"
    assert not machine.is_trial_running("CS02", 0)


# -- links that are lost -------------------------------------------------------------------------------


def test_suspect_endpoint_is_tried_by_one_station() -> None:
    machine = two()
    machine.on_link_lost("CS01", "first", "lost", LASTING_S, 50, is_clean=False)
    assert machine.select("CS01", 50) == "first"
    machine.on_dial_started("first")
    assert machine.select("CS02", 50) == "second"
    machine.on_link_opened("CS01", "CS01", "first", 51)
    assert machine.select("CS02", 51) == "first"


def test_suspect_endpoint_that_fails_is_down() -> None:
    machine = two()
    machine.on_link_lost("CS01", "first", "lost", LASTING_S, 50, is_clean=False)
    fail(machine, "first", 50)
    assert machine.select("CS01", 51.5) == "second"


def test_cleanly_closed_link_leaves_endpoint_up() -> None:
    machine = two()
    machine.on_link_lost("CS01", "first", "lost", LASTING_S, 50, is_clean=True)
    machine.on_dial_started("first")
    assert machine.select("CS02", 50) == "first"


def test_station_with_short_links_waits_longer_each_time() -> None:
    machine = EndpointSelector([("only", 0)], Highest())
    now, waits = 0.0, []
    for _ in range(4):
        reach(machine, "only", now)
        machine.on_link_lost("CS01", "only", "lost", 0.1, now, is_clean=True)
        waits.append(machine.ready_at("CS01") - now)
        assert machine.select("CS02", now) == "only"
        now = machine.ready_at("CS01")
    assert waits == [1, 2, 4, 8]
    reach(machine, "only", now)
    machine.on_link_lost("CS01", "only", "lost", LASTING_S, now, is_clean=True)
    assert machine.select("CS01", now) == "only"


def test_station_without_answers_uses_another_endpoint() -> None:
    machine = two()
    machine.on_calls_unanswered("CS01", "first", 50)
    assert machine.select("CS01", 50) == "second"
    assert machine.select("CS02", 50) == "first"
    machine.on_dial_started("first")
    assert machine.select("CS03", 50) == "second"


def test_station_without_answers_again_waits_longer() -> None:
    machine = EndpointSelector([("only", 0)], Highest())
    now, waits = 0.0, []
    for _ in range(3):
        reach(machine, "only", now)
        machine.on_calls_unanswered("CS01", "only", now)
        waits.append(machine.ready_at("CS01") - now)
        now = machine.ready_at("CS01")
    assert waits == [1, 2, 4]


# -- a station that is not wanted ----------------------------------------------------------------------


def test_refused_station_waits_alone() -> None:
    machine = EndpointSelector([("only", 0)], Highest())
    machine.on_dial_started("only")
    assert machine.on_station_refused("CS01", "only", VERDICT, 0)
    assert machine.select("CS01", REFUSED_WAIT_S) is None
    assert machine.ready_at("CS01") == 1.5 * REFUSED_WAIT_S
    assert machine.select("CS02", 0) == "only"
    assert not machine.on_station_refused("CS01", "only", VERDICT, 90)  # that is told once
    reach(machine, "only", 200)
    assert machine.on_station_refused("CS01", "only", VERDICT, 300)  # it had been wanted in between


def test_refused_station_uses_next_endpoint_and_stays() -> None:
    machine = two()
    machine.on_station_refused("CS01", "first", VERDICT, 0)
    assert machine.select("CS01", 0) == "second"
    assert machine.better_at("CS01", "second") == NEVER
    assert machine.better_at("CS02", "second") < 0


def test_down_endpoint_that_refuses_is_up() -> None:
    machine = EndpointSelector([("only", 0)], Highest())
    fail(machine, "only", 0)
    machine.on_dial_started("only")
    machine.on_station_refused("CS01", "only", VERDICT, 1)
    assert machine.select("CS02", 1) == "only"


# -- back to the better one ----------------------------------------------------------------------------


def test_failover_better_endpoint_takes_links_after_answering_while() -> None:
    machine = two()
    fail(machine, "first", 0)
    reach(machine, "second", 0)
    assert machine.next_probe_at() == 1
    assert machine.endpoints_to_probe(0.5) == []
    now = 1.0
    while now < 1 + FAILBACK_S:
        assert machine.endpoints_to_probe(now) == ["first"]
        assert not machine.on_probe_answered("first", now)
        assert machine.select("CS02", now) == "second"
        assert machine.better_at("CS01", "second") == NEVER
        assert machine.next_probe_at() == now + PROBE_INTERVAL_S
        now += PROBE_INTERVAL_S
    assert machine.on_probe_answered("first", now)
    assert machine.select("CS02", now) == "first"
    assert machine.better_at("CS01", "second") <= now
    assert machine.better_at("CS01", "first") == NEVER
    assert machine.next_probe_at() is None


def test_failover_failed_probe_restarts_failback_time() -> None:
    machine = two()
    fail(machine, "first", 0)
    machine.on_probe_answered("first", 1)
    machine.on_unreachable("first", "refused", 41, 41)
    assert machine.next_probe_at() == 43  # the second failure: 2 s
    machine.on_probe_answered("first", 43)
    assert not machine.on_probe_answered("first", 1 + FAILBACK_S)
    assert machine.on_probe_answered("first", 43 + FAILBACK_S)


def test_better_endpoint_that_is_down_is_used_without_another() -> None:
    machine = two()
    fail(machine, "first", 0)
    machine.on_probe_answered("first", 1)
    fail(machine, "second", 20)
    assert machine.select("CS01", 20) == "first"
    reach(machine, "first", 20)
    assert machine.select("CS02", 20) == "first"


def test_failover_link_moves_when_better_endpoint_is_up_while() -> None:
    machine = two()
    machine.on_link_lost("CS01", "first", "lost", LASTING_S, 50, is_clean=False)
    reach(machine, "first", 51)
    assert machine.better_at("CS02", "second") == 51 + FAILBACK_S


def test_probe_answer_of_endpoint_that_is_up_changes_nothing() -> None:
    machine = two()
    assert not machine.on_probe_answered("first", 5)
    assert machine.select("CS01", 5) == "first"


def test_without_endpoint_up_no_probe_is_made() -> None:
    machine = two()
    fail(machine, "first", 0)
    fail(machine, "second", 0)
    assert machine.next_probe_at() is None


# -- one station's failed upgrade ----------------------------------------------------------------------


def test_one_stations_failed_upgrades_leave_endpoint_up() -> None:
    machine = EndpointSelector([("only", 0)], Highest())
    assert fail_upgrade(machine, "CS01", 0) == (True, False)
    assert machine.select("CS01", 0.5) is None
    assert machine.select("CS02", 0) == "only"
    assert fail_upgrade(machine, "CS01", 1) == (False, False)
    assert machine.ready_at("CS01") == 3
    assert [machine.select(f"CS{number}", 1) for number in range(2, 9)] == ["only"] * 7


def test_two_stations_failed_upgrades_set_endpoint_down() -> None:
    machine = EndpointSelector([("only", 0)], Highest())
    fail_upgrade(machine, "CS01", 0)
    assert fail_upgrade(machine, "CS02", 0) == (True, True)
    assert machine.is_down
    assert machine.select("CS03", 0) is None
    assert machine.select("CS03", 1) == "only"


def test_station_that_fails_while_others_succeed_never_sets_endpoint_down() -> None:
    machine = EndpointSelector([("only", 0)], Highest())
    for station in ("CS01", "CS02"):
        fail_upgrade(machine, station, 0)
        reach(machine, "only", 1, "CS03")
    for now in range(2, 100):
        fail_upgrade(machine, "CS01", now)
        fail_upgrade(machine, "CS02", now)
        assert machine.select("CS04", now) == "only"
    reach(machine, "only", 100, "CS01")
    assert fail_upgrade(machine, "CS01", 200) == (False, False)
    assert fail_upgrade(machine, "CS05", 200) == (True, True)


def test_trial_after_failed_upgrade_is_another_stations_turn() -> None:
    machine = EndpointSelector([("only", 0)], Highest())
    fail(machine, "only", 0)
    fail_upgrade(machine, "CS01", 1)
    assert machine.select("CS01", 1) is None
    assert machine.select("CS02", 1) == "only"
    reach(machine, "only", 1, "CS02")
    assert machine.select("CS03", 1) == "only"


def test_failover_verdict_is_held_against_claim_until_it_ends() -> None:
    machine = EndpointSelector([("only", 0)], Highest())
    machine.on_station_refused("CS01 wrong", "only", VERDICT, 0)
    assert machine.find_verdict("CS01 wrong", 1) == VERDICT
    assert machine.find_verdict("CS01 right", 1) is None
    assert machine.select("CS01 right", 1) == "only"
    assert machine.find_verdict("CS01 wrong", 1.5 * REFUSED_WAIT_S) is None


def test_holds_of_many_claims_are_bounded() -> None:
    machine = EndpointSelector([("only", 0)], Highest())
    for number in range(3 * MOST_HOLDS):
        machine.on_station_refused(f"CS01 {number}", "only", VERDICT, 0)
    assert len(machine._holds) == MOST_HOLDS


def test_only_endpoint_is_probed_while_stations_are_turned_away() -> None:
    machine = EndpointSelector([("only", 0)], Highest())
    fail(machine, "only", 0)
    assert machine.next_probe_at() is None
    machine.on_station_turned_away(0.5)
    assert machine.next_probe_at() == 1
    machine.on_unreachable("only", "refused", 1, 1)
    assert machine.next_probe_at() == 3
    machine.on_probe_answered("only", 3)
    assert not machine.is_down
    assert machine.select("CS01", 3) == "only"
    for now in range(4, 500, 60):
        fail(machine, "only", now)
    assert 0.5 + WAITING_S < 500
    assert machine.next_probe_at() is None
