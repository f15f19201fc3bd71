"""Turns and counts, in numbers; and a storm on a virtual clock."""

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from controller.transport.token_bucket import AddressCounter, TokenBucket


def test_a_burst_goes_at_once_and_what_follows_comes_evenly() -> None:
    bucket = TokenBucket(rate=10, burst=3)
    assert [bucket.take(100.0) for _ in range(5)] == pytest.approx([0, 0, 0, 0.1, 0.2])


def test_rest_gives_the_burst_back_and_no_more() -> None:
    bucket = TokenBucket(rate=10, burst=2)
    for _ in range(2):
        bucket.take(0.0)
    assert [bucket.take(1000.0) for _ in range(3)] == pytest.approx([0, 0, 0.1])


def test_to_look_takes_no_turn() -> None:
    bucket = TokenBucket(rate=1)
    bucket.take(5.0)
    assert bucket.wait_s(5.25) == bucket.wait_s(5.25) == pytest.approx(0.75)


def test_a_rate_of_nothing_is_no_limit() -> None:
    bucket = TokenBucket(rate=0)
    assert {bucket.take(7.0) for _ in range(1000)} == {0.0}


@given(
    rate=st.floats(0.1, 1000),
    burst=st.integers(1, 50),
    gaps=st.lists(st.floats(0, 1), min_size=2, max_size=60),
)
def test_no_stretch_of_time_has_more_turns_than_rate_and_burst_allow(
    rate: float, burst: int, gaps: list[float]
) -> None:
    bucket = TokenBucket(rate, burst)
    now, turns = 0.0, []
    for gap in gaps:
        now += gap
        turns.append(now + bucket.take(now))
    for first, start in enumerate(turns):
        for last in range(first, len(turns)):
            assert last - first + 1 <= burst + (turns[last] - start) * rate + 1e-6


async def test_a_storm_of_a_thousand_is_served_whole_and_in_even_steps(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bucket = TokenBucket(rate=200, burst=200)
    served: list[float] = []
    start = trio.current_time()

    async def station() -> None:
        await trio.sleep(bucket.take(trio.current_time()))
        served.append(trio.current_time() - start)

    async with trio.open_nursery() as nursery:
        for _ in range(1000):
            nursery.start_soon(station)
    per_second = [sum(second <= at < second + 1 for at in served) for second in range(5)]
    assert len(served) == 1000
    assert max(served) == pytest.approx(4.0, abs=0.01)
    assert per_second[0] <= 401
    assert max(per_second[1:]) <= 201


def test_an_address_holds_as_many_as_it_may() -> None:
    addresses = AddressCounter(limit=2)
    assert [addresses.enter("a") for _ in range(3)] == [True, True, False]
    assert addresses.enter("b")
    addresses.leave("a")
    assert addresses.enter("a")
    assert not addresses.enter("a")


def test_refusals_of_an_address_are_told_once_until_it_changes() -> None:
    addresses = AddressCounter(limit=1)
    addresses.enter("a")
    assert [addresses.worth_a_complaint("a") for _ in range(3)] == [True, False, False]
    addresses.leave("a")
    assert addresses.worth_a_complaint("a")


def test_without_a_limit_all_may_come() -> None:
    addresses = AddressCounter(limit=0)
    assert all(addresses.enter("a") for _ in range(10_000))
