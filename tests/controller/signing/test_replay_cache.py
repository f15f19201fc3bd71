"""The same message twice, on a clock that others may set."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controller.signing.payload_signatures import KeyId
from controller.signing.replay_cache import ReplayCache, ReplayRecord, ReplayWait, SeenText

ALICE, BOB = KeyId("secp256r1", b"alice"), KeyId("secp256r1", b"bob")
NOW = 1_795_269_600.0
MONTH = 30 * 86_400.0


def taken(cache: ReplayCache, made: float | None, utc: float, digest: bytes = b"d", *by: KeyId) -> bool:
    return isinstance(cache.add(by or (ALICE,), digest, made, utc), ReplayRecord)


def test_replay_cache_accepts_text_once() -> None:
    cache = ReplayCache(300)
    assert taken(cache, NOW, NOW)
    assert cache.add([ALICE], b"d", NOW, NOW + 1) == "it was received before"
    assert taken(cache, NOW, NOW + 2, b"another")


def test_replay_cache_counts_text_of_each_signer() -> None:
    cache = ReplayCache(300)
    assert taken(cache, NOW, NOW, b"d", ALICE, BOB)
    assert not taken(cache, NOW, NOW, b"d", BOB)
    assert not taken(cache, NOW, NOW, b"d", ALICE)
    assert taken(cache, NOW, NOW, b"d2", ALICE)
    assert taken(cache, NOW, NOW, b"d2", BOB)


def test_replay_cache_rejects_times_before_and_after_window() -> None:
    cases = {-301: False, -300: True, 0: True, 300: True, 301: False}
    for seconds, good in cases.items():
        assert taken(ReplayCache(300), NOW + seconds, NOW) is good
    cache = ReplayCache(300)
    assert (
        cache.add([ALICE], b"d", NOW - 400, NOW) == "it was made 400 s before now, at most 300 s are allowed"
    )
    assert (
        cache.add([ALICE], b"d", NOW + 400, NOW) == "it was made 400 s after now, at most 300 s are allowed"
    )


def test_replay_cache_rejects_text_without_time() -> None:
    assert "has no time" in str(ReplayCache(300).add([ALICE], b"d", None, NOW))


def test_replay_cache_drops_only_what_left_window() -> None:
    cache = ReplayCache(300)
    assert taken(cache, NOW + 200, NOW, b"1")
    assert taken(cache, NOW, NOW, b"2")
    assert taken(cache, NOW + 301, NOW + 301, b"3")
    assert len(cache) == 2
    assert not taken(cache, NOW + 200, NOW + 301, b"1")


def test_replay_cache_after_clock_set_back_accepts_no_old_text() -> None:
    cache = ReplayCache(300)
    assert taken(cache, NOW, NOW)
    assert taken(cache, NOW + 1000, NOW + 1000, b"later")
    assert cache.add([ALICE], b"d", NOW, NOW) == "it is older than the stored texts: the clock was set"
    assert taken(cache, NOW + 1, NOW + 1, b"new, and made after all that is forgotten")


def test_replay_cache_drops_nothing_by_clock_that_is_not_trusted() -> None:
    cache = ReplayCache(300)
    cache.clock_trusted = False
    assert taken(cache, NOW + MONTH, NOW + MONTH, b"signed by a clock that was ahead, too")
    assert taken(cache, NOW + 2 * MONTH, NOW + 2 * MONTH, b"later")
    assert taken(cache, NOW, NOW, b"the clock is set back")
    cache.clock_trusted = True
    assert cache.find_wait(NOW + 1) is None
    assert taken(cache, NOW + 1, NOW + 1, b"and synchronised")
    assert not taken(cache, NOW + MONTH, NOW + MONTH, b"signed by a clock that was ahead, too")


def test_replay_cache_that_is_full_drops_by_any_clock() -> None:
    cache = ReplayCache(300, capacity=1)
    cache.clock_trusted = False
    assert taken(cache, NOW, NOW)
    assert taken(cache, NOW + 400, NOW + 400, b"later")
    assert not taken(cache, NOW, NOW)


def test_replay_cache_names_end_of_wait_after_clock_was_ahead() -> None:
    cache = ReplayCache(300)
    assert taken(cache, NOW + MONTH, NOW + MONTH)
    assert taken(cache, NOW + MONTH + 301, NOW + MONTH + 301, b"later")
    assert cache.find_wait(NOW) == ReplayWait(NOW + MONTH, can_shorten=True)
    reason = cache.add([ALICE], b"now", NOW, NOW)
    assert "until 2026-12-21T14:00:00Z count as received: the clock was set back" in str(reason)
    assert "signing-waits" in str(reason)


def test_replay_cache_wait_is_shortened_to_one_window() -> None:
    cache = ReplayCache(300)
    assert cache.end_wait(NOW) is None
    assert taken(cache, NOW + MONTH, NOW + MONTH)
    assert taken(cache, NOW + MONTH + 301, NOW + MONTH + 301, b"later")
    assert cache.end_wait(NOW) == ReplayRecord((), NOW + 300)
    assert cache.end_wait(NOW) is None
    assert cache.find_wait(NOW) == ReplayWait(NOW + 300, can_shorten=False)
    assert not taken(cache, NOW + 300, NOW, b"may have been received before")
    assert taken(cache, NOW + 301, NOW + 301, b"new")
    assert not taken(cache, NOW + MONTH + 301, NOW + MONTH + 301, b"later")


def test_replay_cache_after_loss_accepts_nothing_before_trusted_clock() -> None:
    cache = ReplayCache(300)
    cache.clock_trusted = False
    cache.load(ReplayRecord((), 1000.0, provisional=True))
    assert cache.confirm_wait(1000) is None
    assert cache.find_wait(NOW) == ReplayWait(None, can_shorten=True)
    assert "the clock is not trusted" in str(cache.add([ALICE], b"d", NOW, NOW))
    cache.clock_trusted = True
    assert cache.confirm_wait(NOW) == ReplayRecord((), NOW + 300)
    assert cache.confirm_wait(NOW) is None
    assert not taken(cache, NOW + 300, NOW)
    assert taken(cache, NOW + 301, NOW + 301)


def test_replay_cache_after_loss_keeps_later_end_that_was_stored() -> None:
    cache = ReplayCache(300)
    cache.load(ReplayRecord((), NOW + MONTH, provisional=True))
    assert cache.confirm_wait(NOW) == ReplayRecord((), NOW + MONTH)
    assert cache.find_wait(NOW) == ReplayWait(NOW + MONTH, can_shorten=True)


def test_replay_cache_with_wider_window_accepts_no_old_text() -> None:
    cache = ReplayCache(300)
    assert taken(cache, NOW, NOW)
    assert taken(cache, NOW + 400, NOW + 400, b"later")
    cache.window_s = 1000
    assert not taken(cache, NOW, NOW + 400)
    assert taken(cache, NOW + 1, NOW + 400, b"as late as the wider window has it")


def test_replay_cache_that_is_full_rejects_texts() -> None:
    cache = ReplayCache(300, capacity=2)
    assert taken(cache, NOW, NOW, b"1")
    assert "memory is full" in str(cache.add([ALICE, BOB], b"2", NOW, NOW))
    assert taken(cache, NOW, NOW, b"2")
    assert "memory is full" in str(cache.add([ALICE], b"3", NOW, NOW))
    assert taken(cache, NOW + 400, NOW + 400, b"3")


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(-400, 400), st.integers(0, 2000)), max_size=30),
    st.integers(0, 30),
)
def test_replay_cache_with_random_clock_accepts_no_text_twice(
    messages: list[tuple[int, int, int]], restart: int
) -> None:
    """Each message is a text with its own time of creation in it, on a clock that jumps."""
    cache = ReplayCache(300)
    on_disk: dict[bytes, float] = {}
    forgotten = float("-inf")
    seen: set[tuple[int, int]] = set()
    for number, (text, made, clock) in enumerate(messages):
        if number == restart:
            cache = ReplayCache(300)
            rows = tuple(SeenText(token, made) for token, made in on_disk.items())
            cache.load(ReplayRecord(rows, forgotten))
        result = cache.add([ALICE], b"%d %d" % (text, made), NOW + made, NOW + clock)
        if isinstance(result, ReplayRecord):
            assert (text, made) not in seen
            seen.add((text, made))
            forgotten = result.forgotten_until
            on_disk = {token: made for token, made in on_disk.items() if made > forgotten}
            on_disk |= {each.token: each.made for each in result.seen}
