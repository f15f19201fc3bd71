"""When an alarm rings, whose deadline moves, on a virtual clock."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from controller.transport.deadline_timer import DeadlineTimer


class Machine:
    """Has a `deadline`; counts how often it is called."""

    def __init__(self, deadline: float | None) -> None:
        self.deadline = deadline
        self.asked = 0
        self.alarm = DeadlineTimer(self._ask)

    def _ask(self) -> float | None:
        self.asked += 1
        return self.deadline

    def move(self, deadline: float | None) -> None:
        self.deadline = deadline
        self.alarm.update()


@pytest.mark.parametrize(
    ("deadline", "moves", "rings_at"),
    [
        (10.0, [], 10.0),
        (10.0, [5.0], 5.0),
        (10.0, [20.0], 20.0),
        (10.0, [None, 30.0], 30.0),
        (None, [7.0], 7.0),
        (10.0, [20.0, 4.0, 6.0], 6.0),
    ],
)
async def test_timer_is_due_at_the_moved_deadline(
    deadline: float | None, moves: list[float | None], rings_at: float, autojump_clock: MockClock
) -> None:
    machine = Machine(deadline)
    started = trio.current_time()
    if machine.deadline is not None:
        machine.deadline += started
    async with trio.open_nursery() as nursery:
        nursery.start_soon(machine.alarm.wait_due)
        for move in moves:
            await trio.sleep(1)
            machine.move(None if move is None else started + move)
    assert trio.current_time() - started == pytest.approx(rings_at)


async def test_timer_later_deadline_resumes_no_task(autojump_clock: MockClock) -> None:
    machine = Machine(trio.current_time() + 10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(machine.alarm.wait_due)
        await wait_all_tasks_blocked()
        asked = machine.asked
        for later in (20, 30, 40):
            machine.move(trio.current_time() + later)
            await wait_all_tasks_blocked()
        assert machine.asked == asked + 3  # by the stirring; who waited was not woken to ask itself
        nursery.cancel_scope.cancel()


async def test_deadline_that_stays_in_past_yields_to_other_tasks() -> None:
    machine = Machine(0.0)
    with trio.move_on_after(0.01) as patience:
        while True:
            await machine.alarm.wait_due()
    assert patience.cancelled_caught


async def test_deadline_timer_update_wakes_all_waiting_tasks() -> None:
    machine = Machine(None)
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(machine.alarm.wait_updated)
        await wait_all_tasks_blocked()
        machine.alarm.update()
