"""Runs of the collector stay short, and garbage among frozen objects is found."""

from __future__ import annotations

import gc
import weakref

import trio
from trio.testing import MockClock

from controller.services.machine.garbage_collection import CHECKED_EACH_S, ShortCollections, collect_all


class Node:
    """One of two objects that refer to each other."""

    def __init__(self) -> None:
        self.other: Node | None = None


def make_pair() -> Node:
    one, other = Node(), Node()
    one.other, other.other = other, one
    return one


def test_full_run_leaves_next_one_only_new_objects() -> None:
    with ShortCollections():
        kept = [make_pair() for _ in range(5_000)]
        gc.collect()
        assert all(each is not kept for each in gc.get_objects())
        assert len(gc.get_objects()) < 2_500
    assert len(gc.get_objects()) > 5_000


def test_many_objects_made_are_frozen_without_request() -> None:
    with ShortCollections():
        collect_all()
        before = gc.get_freeze_count()
        kept = [make_pair() for _ in range(100_000)]
        assert gc.get_freeze_count() - before > len(kept)


def test_garbage_among_frozen_objects_is_collected_with_all() -> None:
    with ShortCollections():
        pair = make_pair()
        gc.collect()
        gone = weakref.ref(pair)
        del pair
        gc.collect()
        assert gone() is not None
        collect_all()
        assert gone() is None


async def test_frozen_garbage_is_collected_once_it_has_grown(autojump_clock: MockClock) -> None:
    with ShortCollections() as collections:
        gc.collect()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collections.run)
            await trio.sleep(CHECKED_EACH_S + 1)
            pairs = [make_pair() for _ in range(gc.get_freeze_count())]
            gone = weakref.ref(pairs[0])
            gc.collect()
            del pairs
            assert gone() is not None
            await trio.sleep(CHECKED_EACH_S)
            assert gone() is None
            nursery.cancel_scope.cancel()
