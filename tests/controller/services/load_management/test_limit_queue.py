"""Queue of limits: each is durable before it is sent, or what the store covers already is sent."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from controller.load_management.events import LimitAnswered, SetLimit
from controller.load_management.evse.limit_delivery import DeliveryMemory
from controller.model.observations import EvseRef
from controller.profiles.limit_profiles import LimitKind
from controller.services.load_management.limit_queue import SENT_AT_ONCE, LimitQueue
from controller.store.limit_records import LimitStored
from controller.store.state_store import StateStore
from tests.bounds import HANG_S

REF = EvseRef("CS01", 1)


def lease(token: int, amps: float) -> SetLimit:
    return SetLimit(
        token=token, ref=REF, kind=LimitKind.LEASE, limit_a=amps, duration_s=180.0, fallback_a=6.0
    )


def memory(held_a: float) -> dict[EvseRef, DeliveryMemory]:
    until = trio.current_time() + 180.0
    return {REF: DeliveryMemory(has_fallback=True, fallback_a=6.0, held_a=held_a, until=until)}


class SentLimits:
    """Tokens of the limits that were sent, and of those that failed."""

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.failed: list[int] = []

    def send(self, limit: SetLimit) -> None:
        self.sent.append(limit.token)

    def on_answered(self, answer: LimitAnswered) -> None:
        self.failed.append(answer.token)


async def wait_handled(receiver: SentLimits, count: int) -> None:
    with trio.fail_after(HANG_S):
        while len(receiver.sent) + len(receiver.failed) < count:
            await trio.lowlevel.checkpoint()


async def test_limit_queue_limit_is_durable_before_it_is_sent(tmp_path: Path, nursery: trio.Nursery) -> None:
    store = StateStore(tmp_path)
    queue, receiver = LimitQueue(store), SentLimits()
    nursery.start_soon(store.run)
    queue.add([lease(1, 16.0)], memory(16.0))
    stored: list[float] = []

    def send(limit: SetLimit) -> None:
        stored.extend(each.held_a for each in store.load(LimitStored))
        receiver.send(limit)

    nursery.start_soon(queue.run, send, receiver.on_answered)
    await wait_handled(receiver, 1)
    assert (receiver.sent, stored) == ([1], [16.0])
    assert [*queue.stored_evses] == [REF]


async def test_limit_queue_without_store_only_covered_limits_are_sent(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    store = StateStore(tmp_path)
    queue, receiver = LimitQueue(store), SentLimits()
    nursery.start_soon(store.run)
    nursery.start_soon(queue.run, receiver.send, receiver.on_answered)
    queue.add([lease(1, 10.0)], memory(10.0))
    await wait_handled(receiver, 1)
    store.close()
    queue.add([lease(2, 16.0)], memory(16.0))
    queue.add([lease(3, 6.0)], memory(6.0))
    await wait_handled(receiver, 3)
    assert (receiver.sent, receiver.failed) == ([1, 3], [2])


async def test_limit_queue_lets_messages_pass_between_many_limits(
    tmp_path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = StateStore(tmp_path)
    queue, receiver = LimitQueue(store), SentLimits()
    nursery.start_soon(store.run)
    passes: list[int] = []
    checkpoint = trio.lowlevel.checkpoint

    async def pass_messages() -> None:
        # How many limits another task finds sent is left to trio, which runs tasks in any order.
        passes.append(len(receiver.sent))
        await checkpoint()

    monkeypatch.setattr(trio.lowlevel, "checkpoint", pass_messages)
    count = 3 * SENT_AT_ONCE
    queue.add([lease(token, 16.0) for token in range(count)], memory(16.0))
    nursery.start_soon(queue.run, receiver.send, receiver.on_answered)
    with trio.fail_after(HANG_S):
        while len(receiver.sent) < count:
            await checkpoint()
    assert [sent for sent in passes if sent] == [SENT_AT_ONCE, 2 * SENT_AT_ONCE]
    assert receiver.sent == [*range(count)], "in their order"
