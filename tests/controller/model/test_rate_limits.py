"""Token bucket, connections per address and back-off; a storm on a virtual clock."""

import random

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from controller.model.rate_limits import AddressCounter, Backoff, RepeatFilter, TokenBucket


def test_token_bucket_after_burst_spaces_tokens_evenly() -> None:
    bucket = TokenBucket(rate=10, burst=3)
    assert [bucket.take(100.0) for _ in range(5)] == pytest.approx([0, 0, 0, 0.1, 0.2])


def test_token_bucket_after_rest_has_one_burst_in_stock() -> None:
    bucket = TokenBucket(rate=10, burst=2)
    for _ in range(2):
        bucket.take(0.0)
    assert [bucket.take(1000.0) for _ in range(3)] == pytest.approx([0, 0, 0.1])


def test_token_bucket_wait_takes_no_token() -> None:
    bucket = TokenBucket(rate=1)
    bucket.take(5.0)
    assert bucket.wait_s(5.25) == bucket.wait_s(5.25) == pytest.approx(0.75)


def test_token_bucket_with_rate_zero_never_waits() -> None:
    bucket = TokenBucket(rate=0)
    assert {bucket.take(7.0) for _ in range(1000)} == {0.0}


@given(
    rate=st.floats(0.1, 1000),
    burst=st.integers(1, 50),
    gaps=st.lists(st.floats(0, 1), min_size=2, max_size=60),
)
def test_token_bucket_never_exceeds_rate_and_burst(rate: float, burst: int, gaps: list[float]) -> None:
    bucket = TokenBucket(rate, burst)
    now, turns = 0.0, []
    for gap in gaps:
        now += gap
        turns.append(now + bucket.take(now))
    for first, start in enumerate(turns):
        for last in range(first, len(turns)):
            assert last - first + 1 <= burst + (turns[last] - start) * rate + 1e-6


async def test_token_bucket_under_storm_serves_all_evenly(
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


def test_address_counter_at_limit_rejects() -> None:
    addresses = AddressCounter(limit=2)
    assert [addresses.enter("a") for _ in range(3)] == [True, True, False]
    assert addresses.enter("b")
    addresses.leave("a")
    assert addresses.enter("a")
    assert not addresses.enter("a")


def test_address_counter_reports_first_rejection_once() -> None:
    addresses = AddressCounter(limit=1)
    addresses.enter("a")
    assert [addresses.should_report("a") for _ in range(3)] == [True, False, False]
    addresses.leave("a")
    assert addresses.should_report("a")


def test_address_counter_without_limit_accepts_all() -> None:
    addresses = AddressCounter(limit=0)
    assert all(addresses.enter("a") for _ in range(10_000))


def test_token_bucket_try_take_counts_rejected_attempts() -> None:
    bucket = TokenBucket(rate=1 / 60, burst=2)
    assert [bucket.try_take(5.0) for _ in range(4)] == [True, True, False, False]
    assert (bucket.pop_rejected(), bucket.pop_rejected()) == (2, 0)
    assert not bucket.try_take(64.9)
    assert bucket.try_take(65.0)


def test_token_bucket_take_of_many_tokens_waits_for_all() -> None:
    bucket = TokenBucket(rate=100, burst=100)
    assert bucket.take(0.0, 300) == 0.0
    assert bucket.take(0.0, 1) == pytest.approx(2.01)


def test_rate_limits_backoff_doubles_up_to_longest_wait() -> None:
    backoff = Backoff(first_s=1, longest_s=60)
    assert [backoff.wait_s(failures) for failures in (1, 2, 3, 7, 10_000)] == [1, 2, 4, 60, 60]


def test_rate_limits_backoff_jitter_draws_within_part_of_wait() -> None:
    chance = random.Random(1)
    full, half = Backoff(8, 8, jitter=1.0), Backoff(8, 8, jitter=0.5)
    waits = [full.wait_s(1, chance) for _ in range(200)]
    assert 0 <= min(waits) < 1
    assert 7 < max(waits) <= 8
    assert all(4 <= half.wait_s(3, chance) <= 8 for _ in range(200))


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 20)), max_size=30))
def test_token_bucket_charge_is_take_and_then_wait(steps: list[tuple[float, float]]) -> None:
    charged, taken, now = TokenBucket(2.0, burst=4), TokenBucket(2.0, burst=4), 0.0
    for pause_s, tokens in steps:
        now += pause_s
        taken.take(now, tokens)
        assert charged.charge(now, tokens) == taken.wait_s(now)


def test_repeat_filter_reports_once_a_period_with_count_of_repeats() -> None:
    repeats = RepeatFilter(60.0, 10)
    assert [repeats.count_repeats("a", now) for now in (0.0, 1.0, 59.9)] == [0, None, None]
    assert repeats.count_repeats("b", 59.9) == 0
    assert repeats.count_repeats("a", 60.0) == 2
    assert repeats.count_repeats("a", 119.9) is None
    assert repeats.count_repeats("a", 500.0) == 1


def test_repeat_filter_reports_bounded_number_of_keys_a_period() -> None:
    repeats = RepeatFilter(60.0, 3)
    reported = [key for key in range(1000) if repeats.count_repeats(key, key / 1000) is not None]
    assert reported == [0, 1, 2]
    assert repeats.count_repeats(1000, 60.0) == 0
    assert repeats.count_repeats(1001, 60.0) is None
    assert len(repeats._reported) == 3
